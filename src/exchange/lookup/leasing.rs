//! The lease on the key is asked for: who gets it asks the upstream, for all identical requests, or
//! to refresh what has expired.

use std::time::Duration;

use crate::cache::Tier;
use crate::exchange::permit::Leadership;
use crate::exchange::refresh::LEASE;
use crate::exchange::state::State;
use crate::exchange::{LeaseKind, Miss, Output, Worker, milliseconds};
use crate::store::{Joined, StoreFault, Stored};

use super::Search;
use super::found::{Found, Stale};

/// The lease on the key is being asked for.
#[derive(Debug)]
pub(in crate::exchange) struct Leasing {
    search: Search,
    purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    /// To ask the upstream on behalf of all identical requests.
    Ask { miss: Miss, stale: Option<Stale> },
    /// To refresh this entry.
    Refresh(Stale),
}

impl Search {
    pub(super) fn lease(self, purpose: Purpose, waits: bool, out: &mut Vec<Output>) -> State {
        let max_age = match purpose {
            Purpose::Ask { .. } => self.leased_for(),
            Purpose::Refresh(_) => LEASE,
        };
        out.push(Output::Lease {
            key: self.request.key,
            kind: purpose.kind(),
            max_age: milliseconds(max_age),
            waits,
        });
        let search = self;
        State::Leasing(Box::new(Leasing { search, purpose }))
    }

    /// A leader that vanished is waited for no longer than this.
    fn leased_for(&self) -> Duration {
        let max_wait = self.request.settings.collapse.max_wait;
        max_wait.saturating_mul(2)
    }
}

impl Leasing {
    pub(in crate::exchange) fn leased(
        self,
        joined: Joined,
        found: Result<Option<Stored>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            purpose,
        } = self;
        let key = search.request.key;
        if let Joined::Leads(lease) = joined {
            // Whoever had it before may have stored an answer since the memory was asked.
            let found = found.map(|found| found.map(|stored| stored.bytes));
            let found = search.examine(found, Tier::Memory, now, worker);
            if let Ok(Found::Fresh(usable, ttl)) = found {
                out.push(Output::GiveBack {
                    key,
                    kind: purpose.kind(),
                    lease,
                    unstorable_for: 0,
                });
                return search.hit(usable, ttl, now, worker, out);
            }
        }
        match (purpose, joined) {
            (Purpose::Ask { miss, stale }, Joined::Leads(_) | Joined::Unavailable) => {
                let until = now.saturating_add(milliseconds(search.leased_for()));
                let leadership = Leadership::Collapse {
                    flight: worker.flights.lead(key, now, until),
                    // Without one, only those of this worker wait.
                    lease: match joined {
                        Joined::Leads(lease) => Some(lease),
                        _ => None,
                    },
                };
                search.ask(miss, stale, Some(leadership), out)
            }
            (Purpose::Ask { miss, stale }, Joined::Waits { .. }) => {
                worker.flights.follow(key, now);
                search.wait(miss, stale, now, out)
            }
            (Purpose::Ask { miss, stale }, Joined::Held { .. } | Joined::Unstorable) => {
                search.ask(miss, stale, None, out)
            }
            (Purpose::Refresh(stale), Joined::Leads(lease)) => {
                search.read_request(stale, lease, out)
            }
            (Purpose::Refresh(stale), _) => search.serve_stale(stale, out),
        }
    }
}

impl Purpose {
    fn kind(&self) -> LeaseKind {
        match self {
            Self::Ask { .. } => LeaseKind::Collapse,
            Self::Refresh(_) => LeaseKind::Refresh,
        }
    }
}
