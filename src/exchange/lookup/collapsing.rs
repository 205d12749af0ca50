//! No store has a fresh answer: one of many identical requests asks the upstream, and the others wait
//! for its answer.

use std::time::Duration;

use crate::bytes::Bytes;
use crate::cache::{CacheStatus, Tier};
use crate::clock::DeltaSeconds;
use crate::report::{CollapseFault, Miss, RequestResult};
use crate::request::{Leadership, LeaseKind};
use crate::step::Cx;
use crate::store::Joined;
use crate::worker::Release;

use super::forwarding::forward_of;
use super::{Found, Search, Searched, Stale, Usable, Waiting};

impl Search {
    /// No store has a fresh answer.
    pub(super) fn missed(mut self, miss: Miss, stale: Option<Stale>, cx: &Cx<'_>) -> Searched {
        let stale = match stale {
            Some(stale) if self.may_revalidate(&stale) => return self.revalidate(stale, cx),
            stale => stale.filter(|stale| self.may_stand_in(stale)),
        };
        if !self.may_collapse() {
            return self.forward_miss(miss, stale, None, cx);
        }
        let settings = &self.request.settings;
        let is_stream = self.request.asks_for_stream();
        let flights = &cx.worker.flights;
        let waits = (settings.collapse.streams || !is_stream) && flights.have_room();
        // Nobody is to wait for an answer that will not be stored.
        let leads = settings.store_if.streams || !is_stream;
        match (flights.has(&self.request.key, cx.now()), waits, leads) {
            (true, true, _) => self.wait(miss, stale, cx),
            (true, false, _) | (false, _, false) => self.forward_miss(miss, stale, None, cx),
            (false, waits, true) => {
                let (key, max_age) = (self.request.key, self.leased_for());
                let joined = cx.join_lease(&key, LeaseKind::Collapse, max_age, waits);
                if let Joined::Leads(lease) = joined
                    && let Some((usable, ttl)) = self.stored_meanwhile(cx)
                {
                    cx.release_lease(&key, LeaseKind::Collapse, lease, Duration::ZERO);
                    return self.hit(usable, ttl, cx);
                }
                self.joined(joined, miss, stale, cx)
            }
        }
    }

    fn joined(self, joined: Joined, miss: Miss, stale: Option<Stale>, cx: &Cx<'_>) -> Searched {
        let (key, flights) = (self.request.key, &cx.worker.flights);
        match joined {
            Joined::Leads(_) | Joined::Unavailable => {
                let until = cx.now() + self.leased_for();
                let leadership = Leadership::Collapse {
                    flight: flights.lead(key, cx.now(), until),
                    // Without one, only those of this worker wait.
                    lease: match joined {
                        Joined::Leads(lease) => Some(lease),
                        _ => None,
                    },
                };
                self.forward_miss(miss, stale, Some(leadership), cx)
            }
            Joined::Waits { .. } => {
                flights.follow(key, cx.now());
                self.wait(miss, stale, cx)
            }
            Joined::Held { .. } | Joined::Unstorable => self.forward_miss(miss, stale, None, cx),
        }
    }

    fn may_collapse(&self) -> bool {
        !self.request.settings.collapse.max_wait.is_zero()
            && !self.is_shadow()
            && !self.directives.only_if_cached
            && self.may_store()
    }

    fn may_stand_in(&self, stale: &Stale) -> bool {
        // A request with only-if-cached does not ask the upstream, which then cannot fail.
        !self.is_shadow()
            && !self.directives.only_if_cached
            && stale.expired_for < self.request.settings.stale_if_error
    }

    /// A leader that vanished is waited for no longer than this.
    fn leased_for(&self) -> Duration {
        let max_wait = self.request.settings.collapse.max_wait;
        max_wait.saturating_mul(2)
    }

    /// What the former holder of a lease has stored since the memory was asked.
    pub(super) fn stored_meanwhile(&mut self, cx: &Cx<'_>) -> Option<(Usable, DeltaSeconds)> {
        let found = cx.look_up(&self.request.key);
        let found = found.map(|found| found.map(|stored| stored.bytes));
        match self.examine(found, Tier::Memory, cx) {
            Ok(Found::Fresh(usable, ttl)) => Some((usable, ttl)),
            Ok(Found::Stale(_)) | Err(_) => None,
        }
    }

    fn wait(self, miss: Miss, stale: Option<Stale>, cx: &Cx<'_>) -> Searched {
        let since = cx.now();
        Searched::Waiting(Box::new(Waiting {
            deadline: since + self.request.settings.collapse.max_wait,
            since,
            search: self,
            miss,
            stale,
        }))
    }
}

impl Waiting {
    /// What is waited for.
    pub(in crate::exchange) fn key(&self) -> &crate::cache::CacheKey {
        &self.search.request.key
    }

    /// It has been waited for long enough, or there is an answer.
    pub(in crate::exchange) fn released(self, release: Release, cx: &Cx<'_>) -> Searched {
        let Self {
            mut search,
            miss,
            stale,
            ..
        } = self;
        let (bytes, tier) = match release {
            Release::Go(fault) => {
                return search.forward_miss(Miss::Collapse(fault), stale, None, cx);
            }
            Release::Answer { entry, tier } => (Bytes::clone(&entry), tier),
        };
        match search.examine(Ok(Some(bytes)), tier, cx) {
            Ok(Found::Fresh(usable, ttl)) => {
                let (because, _) = forward_of(miss);
                let status = CacheStatus::Collapsed { because, ttl };
                Searched::Replied(search.serve(usable, &status, RequestResult::Collapsed, cx))
            }
            Ok(Found::Stale(_)) | Err(_) => {
                let unusable = Miss::Collapse(CollapseFault::Unusable);
                search.forward_miss(unusable, stale, None, cx)
            }
        }
    }
}
