//! What becomes of an answer, and what that means to those who wait for it.

use crate::cache::CacheKey;
use crate::store::Lease;

use super::{LeaseKind, NotStored, Output, Report, Worker};

/// Whoever waits for a key that proved not to be storable would wait in vain: for this long, in
/// milliseconds, nobody does.
const UNSTORABLE_FOR: u64 = 5_000;

/// The part of the one that asks the upstream on behalf of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
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

/// An answer that is to be stored under a key, and who waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    key: CacheKey,
    lead: Option<Lead>,
}

impl Fate {
    pub(super) fn new(key: CacheKey, lead: Option<Lead>) -> Self {
        Self { key, lead }
    }

    pub(super) fn key(self) -> CacheKey {
        self.key
    }

    pub(super) fn lead(self) -> Option<Lead> {
        self.lead
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
        let (kind, lease) = match self.lead {
            None => return,
            Some(Lead::Refresh(lease)) => (LeaseKind::Refresh, Some(lease)),
            Some(Lead::Collapse { flight, lease }) => {
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
