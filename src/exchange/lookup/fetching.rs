//! The memory does not serve: the store behind HTTP is asked.

use crate::cache::Tier;
use crate::callout::CalloutResult;
use crate::exchange::state::State;
use crate::exchange::{Miss, Output, Worker};
use crate::shares::Share;
use crate::store::{Lookup, StoreFault};

use super::Search;
use super::found::{Found, Stale};

/// The store behind HTTP is being asked.
#[derive(Debug)]
pub(in crate::exchange) struct Fetching {
    search: Search,
    /// Why the memory did not serve.
    miss: Miss,
    /// What the memory has, expired.
    stale: Option<Stale>,
    _room: Share,
}

impl Search {
    /// Asks the store behind HTTP, if there is one and it is well.
    pub(super) fn fetch(
        self,
        miss: Miss,
        stale: Option<Stale>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Some(remote) = &worker.http else {
            return self.missed(miss, stale, now, worker, out);
        };
        let key = self.request.key;
        let fault = match remote.look_up(&key, self.request.tenant, now, worker, out) {
            Lookup::Ask(callout, room) => {
                out.push(Output::Call(callout));
                let search = self;
                return State::Fetching(Box::new(Fetching {
                    search,
                    miss,
                    stale,
                    _room: room,
                }));
            }
            Lookup::Probe => StoreFault::BreakerOpen,
            Lookup::Refused(fault) => fault,
        };
        self.missed(Miss::Store(fault), stale, now, worker, out)
    }

    /// Whether what is too old for this request is so under every rule, and nothing replaces it.
    fn may_delete(&self, worker: &Worker) -> bool {
        let window = self.request.settings.stale_window();
        let mut all = worker.config.all_settings();
        // Where an answer may follow, that replaces it, and a removal might come after it.
        let is_replaced = self.may_store() && !self.directives.only_if_cached;
        self.request.settings.mode.writes()
            && all.all(|settings| settings.stale_window() <= window)
            && !is_replaced
    }
}

impl Fetching {
    pub(in crate::exchange) fn called(
        self,
        result: CalloutResult,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            miss: from_memory,
            stale,
            _room,
        } = self;
        let Some(remote) = &worker.http else {
            return search.missed(from_memory, stale, now, worker, out);
        };
        let found = remote.looked_up(result, now, worker, out);
        let key = search.request.key;
        let found = search.examine(found, Tier::Http, now, worker);
        if found.is_ok() {
            search.remember(None, worker);
        }
        match found {
            Ok(Found::Fresh(usable, ttl)) => {
                let settings = &search.request.settings;
                let copy = worker.copy_for_memory(key, &usable.entry, settings, now);
                let state = search.hit(usable, ttl, now, worker, out);
                out.extend(copy);
                state
            }
            Ok(Found::Stale(other)) => {
                let newest = match stale {
                    Some(stale) if stale.expired_for <= other.expired_for => stale,
                    _ => other,
                };
                search.missed(Miss::Expired, Some(newest), now, worker, out)
            }
            Err(miss) => {
                if miss == Miss::Expired && search.may_delete(worker) {
                    worker.delete(&key, search.request.tenant, now, out);
                }
                let miss = match miss {
                    Miss::Absent => from_memory,
                    miss => miss,
                };
                search.missed(miss, stale, now, worker, out)
            }
        }
    }
}
