//! The permit to ask the upstream for the answer under a key, and what its end means to the requests that
//! wait for that answer.

use crate::cache::CacheKey;
use crate::store::Lease;

use super::{LeaseKind, NotStored, Output, Report, Worker};

/// Whoever waits for a key that proved not to be storable would wait in vain: for this long, in
/// milliseconds, nobody does.
const UNSTORABLE_FOR: u64 = 5_000;

/// Why a request asks the upstream on behalf of others, and by what right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leadership {
    /// Of identical requests, which wait for the answer.
    Collapse {
        /// The number of the flight in this worker.
        flight: u32,
        /// Tells the other workers; without one, only this worker knows.
        lease: Option<Lease>,
    },
    /// Of those that are served what has expired.
    Refresh(Lease),
}

/// Held by whoever asks the upstream for an answer that is to be stored. It ends with the answer in a
/// store, or without.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchPermit {
    key: CacheKey,
    leadership: Option<Leadership>,
}

impl FetchPermit {
    pub(super) fn new(key: CacheKey, leadership: Option<Leadership>) -> Self {
        Self { key, leadership }
    }

    pub(super) fn key(self) -> CacheKey {
        self.key
    }

    pub(super) fn leadership(self) -> Option<Leadership> {
        self.leadership
    }

    /// The answer is in a store, where those who wait will find it.
    pub(super) fn stored(self, worker: &Worker, out: &mut Vec<Output>) {
        out.push(Output::Report(Report::stored()));
        self.found(worker, out);
    }

    /// An answer is in a store, and counted already, if it is this one's.
    pub(super) fn found(self, worker: &Worker, out: &mut Vec<Output>) {
        self.end(true, 0, worker, out);
    }

    /// There will be no answer in a store.
    pub(super) fn not_stored(self, reason: NotStored, worker: &Worker, out: &mut Vec<Output>) {
        out.push(Output::Report(Report::not_stored(reason)));
        let unstorable_for = if proves(reason) { UNSTORABLE_FOR } else { 0 };
        self.end(false, unstorable_for, worker, out);
    }

    /// Nobody will ask for an answer after all.
    pub(super) fn abandoned(self, worker: &Worker, out: &mut Vec<Output>) {
        self.end(false, 0, worker, out);
    }

    fn end(self, stored: bool, unstorable_for: u64, worker: &Worker, out: &mut Vec<Output>) {
        let (kind, lease) = match self.leadership {
            None => return,
            Some(Leadership::Refresh(lease)) => (LeaseKind::Refresh, Some(lease)),
            Some(Leadership::Collapse { flight, lease }) => {
                worker.landed(self.key, flight, stored, out);
                (LeaseKind::Collapse, lease)
            }
        };
        if let Some(lease) = lease {
            out.push(Output::GiveBack {
                key: self.key,
                kind,
                lease,
                unstorable_for,
            });
        }
    }
}

/// Whether the next answer under the key is likely not to be stored either. That a client left, that
/// there was no room or no upstream, says nothing about it.
fn proves(reason: NotStored) -> bool {
    !matches!(
        reason,
        NotStored::Aborted
            | NotStored::CaptureLimit
            | NotStored::LocalReply
            | NotStored::Store(_)
            | NotStored::Unreadable
    )
}
