//! What has expired is served, and refreshed in the background: the request that gets the lease is
//! sent once more.

use std::time::Duration;

use crate::cache::CacheStatus;
use crate::report::{Miss, RequestResult, StaleBecause};
use crate::request::{KeyedRequest, Leadership, LeaseKind};
use crate::step::{Cx, NotRefreshed};
use crate::store::{Joined, Lease};

use super::{Search, Searched, Stale};

/// For how long nobody else refreshes meanwhile.
const LEASED_FOR: Duration = Duration::from_secs(310);

impl Search {
    pub(super) fn may_revalidate(&self, stale: &Stale) -> bool {
        !self.is_shadow() && stale.expired_for < self.request.settings.stale_while_revalidate
    }

    /// Serves what has expired, and has it refreshed unless that is already under way.
    pub(super) fn revalidate(mut self, stale: Stale, cx: &Cx<'_>) -> Searched {
        let key = self.request.key;
        let is_due =
            self.may_store() && !self.directives.only_if_cached && !cx.worker.refreshes.has(&key);
        if !is_due {
            return self.serve_stale(stale, cx);
        }
        match cx.join_lease(&key, LeaseKind::Refresh, LEASED_FOR, false) {
            Joined::Leads(lease) => match self.stored_meanwhile(cx) {
                Some((usable, ttl)) => {
                    cx.release_lease(&key, LeaseKind::Refresh, lease, Duration::ZERO);
                    self.hit(usable, ttl, cx)
                }
                None => self.refresh(stale, lease, cx),
            },
            Joined::Waits { .. }
            | Joined::Held { .. }
            | Joined::Unstorable
            | Joined::Unavailable => self.serve_stale(stale, cx),
        }
    }

    /// Refreshes by a callout and serves what has expired at once; or, where that cannot be, lets the
    /// request itself go.
    fn refresh(self, stale: Stale, lease: Lease, cx: &Cx<'_>) -> Searched {
        let leadership = Some(Leadership::Refresh(lease));
        let request = KeyedRequest {
            leadership,
            ..self.request.clone()
        };
        match cx.refresh(request, &self.headers, &self.attributes) {
            Ok(()) => self.serve_stale(stale, cx),
            Err(NotRefreshed) => {
                // What would have been served at once stands in, whatever `stale_if_error` says.
                self.forward_miss(Miss::Expired, Some(stale), leadership, cx)
            }
        }
    }

    fn serve_stale(&self, stale: Stale, cx: &Cx<'_>) -> Searched {
        let status = CacheStatus::Stale {
            expired_for: stale.expired_for,
            tier: stale.usable.tier,
        };
        let result = RequestResult::Stale(StaleBecause::Revalidating);
        Searched::Replied(self.serve(stale.usable, &status, result, cx))
    }
}
