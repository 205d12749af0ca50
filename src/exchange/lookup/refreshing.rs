//! What has expired is served, and refreshed in the background: who has the lease reads the request,
//! to ask the upstream the same.

use crate::cache::CacheStatus;
use crate::config::{Mode, Settings};
use crate::exchange::permit::{FetchPermit, Leadership};
use crate::exchange::refresh::{self, NotRefreshed};
use crate::exchange::request::Keyed;
use crate::exchange::state::State;
use crate::exchange::{Miss, Output, RequestResult, StaleBecause, Worker};
use crate::store::Lease;

use super::Search;
use super::found::Stale;
use super::leasing::Purpose;

/// The request is being read, to ask the upstream the same in the background.
#[derive(Debug)]
pub(in crate::exchange) struct Refreshing {
    search: Search,
    stale: Stale,
    permit: FetchPermit,
}

impl Search {
    pub(super) fn may_revalidate(&self, stale: &Stale) -> bool {
        let Settings {
            mode,
            stale_while_revalidate,
            ..
        } = *self.request.settings;
        mode != Mode::Shadow && stale.expired_for < stale_while_revalidate
    }

    /// Serves what has expired, and has it refreshed unless that is already under way.
    pub(super) fn revalidate(self, stale: Stale, worker: &Worker, out: &mut Vec<Output>) -> State {
        let is_due = self.may_store()
            && !self.directives.only_if_cached
            && !worker.refreshes.has(&self.request.key);
        if is_due {
            self.lease(Purpose::Refresh(stale), false, out)
        } else {
            self.serve_stale(stale, out)
        }
    }

    /// Has the request read, to be sent once more.
    pub(super) fn read_request(self, stale: Stale, lease: Lease, out: &mut Vec<Output>) -> State {
        out.push(Output::ReadRequest);
        let permit = FetchPermit::new(self.request.key, Some(Leadership::Refresh(lease)));
        let search = self;
        State::Refreshing(Box::new(Refreshing {
            search,
            stale,
            permit,
        }))
    }

    pub(super) fn serve_stale(&self, stale: Stale, out: &mut Vec<Output>) -> State {
        let Stale {
            usable,
            expired_for,
            ..
        } = stale;
        let status = CacheStatus::Stale {
            expired_for,
            tier: usable.tier,
        };
        let result = RequestResult::Stale(StaleBecause::Revalidating);
        self.serve(usable, &status, result, out)
    }
}

impl Refreshing {
    /// Refreshes by a callout and serves what has expired at once; or, where that cannot be, lets the
    /// request itself go.
    pub(in crate::exchange) fn request_read(
        self,
        body: Option<&[u8]>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            search,
            stale,
            permit,
        } = self;
        let request = Keyed {
            leadership: permit.leadership(),
            ..search.request.clone()
        };
        let Search {
            headers,
            attributes,
            ..
        } = &search;
        match refresh::begin(request, headers, attributes, body, now, worker, out) {
            Ok(()) => search.serve_stale(stale, out),
            Err(NotRefreshed) => {
                // What would have been served at once stands in, whatever `stale_if_error` says.
                search.ask(Miss::Expired, Some(stale), permit.leadership(), out)
            }
        }
    }
}
