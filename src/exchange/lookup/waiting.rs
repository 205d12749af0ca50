//! An identical request is with the upstream: its answer is waited for.

use crate::cache::CacheStatus;
use crate::exchange::state::State;
use crate::exchange::{CollapseFault, Miss, Output, Release, RequestResult, Worker, milliseconds};

use super::found::{Found, Stale};
use super::{Search, forward_of};

/// An identical request has gone to the upstream, and its answer is waited for.
#[derive(Debug)]
pub(in crate::exchange) struct Waiting {
    search: Search,
    /// Why it would have gone to the upstream itself.
    miss: Miss,
    stale: Option<Stale>,
}

impl Search {
    pub(super) fn wait(
        self,
        miss: Miss,
        stale: Option<Stale>,
        now: u64,
        out: &mut Vec<Output>,
    ) -> State {
        let max_wait = milliseconds(self.request.settings.collapse.max_wait);
        out.push(Output::Wait {
            key: self.request.key,
            since: now,
            deadline: now.saturating_add(max_wait),
        });
        State::Waiting(Box::new(Waiting {
            search: self,
            miss,
            stale,
        }))
    }
}

impl Waiting {
    pub(in crate::exchange) fn released(
        self,
        release: Release,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            miss,
            stale,
        } = self;
        let (bytes, tier) = match release {
            Release::Go(fault) => {
                return search.ask(Miss::Collapse(fault), stale, None, out);
            }
            Release::Answer { entry, tier } => (entry.to_vec(), tier),
        };
        match search.examine(Ok(Some(bytes)), tier, now, worker) {
            Ok(Found::Fresh(usable, ttl)) => {
                let (because, _) = forward_of(miss);
                let status = CacheStatus::Collapsed { because, ttl };
                search.serve(usable, &status, RequestResult::Collapsed, out)
            }
            Ok(Found::Stale(_)) | Err(_) => {
                let unusable = Miss::Collapse(CollapseFault::Unusable);
                search.ask(unusable, stale, None, out)
            }
        }
    }

    /// The client is gone.
    pub(in crate::exchange) fn leave(&self, out: &mut Vec<Output>) {
        out.push(Output::Leave(self.search.request.key));
    }
}
