//! What the end of a permit means to the requests that wait for its answer.

use std::time::Duration;

use crate::cache::CacheKey;
use crate::report::{AnswerResult, CollapseFault, NotStored, Report, Subject};
use crate::request::{FetchPermit, Leadership, LeaseKind};
use crate::worker::Task;

use super::Cx;

/// For how long no request waits for a key whose last answer could not be stored.
const UNSTORABLE_FOR: Duration = Duration::from_secs(5);

impl FetchPermit {
    /// The answer is in a store, where those who wait will find it.
    pub(crate) fn stored(self, subject: &Subject, cx: &Cx<'_>) {
        cx.report_of(subject, Report::Answer(AnswerResult::Stored));
        self.found(cx);
    }

    /// An answer is in a store, and counted already, if it is this one's.
    pub(crate) fn found(self, cx: &Cx<'_>) {
        self.end(true, Duration::ZERO, cx);
    }

    /// There will be no answer in a store.
    pub(crate) fn not_stored(self, subject: &Subject, reason: NotStored, cx: &Cx<'_>) {
        let result = AnswerResult::NotStored(reason);
        cx.report_of(subject, Report::Answer(result));
        let unstorable_for = if proves_unstorable(reason) {
            UNSTORABLE_FOR
        } else {
            Duration::ZERO
        };
        self.end(false, unstorable_for, cx);
    }

    /// Nobody will ask for an answer after all.
    pub(crate) fn abandoned(self, cx: &Cx<'_>) {
        self.end(false, Duration::ZERO, cx);
    }

    fn end(self, stored: bool, unstorable_for: Duration, cx: &Cx<'_>) {
        let (kind, lease) = match self.leadership {
            None => return,
            Some(Leadership::Refresh(lease)) => (LeaseKind::Refresh, Some(lease)),
            Some(Leadership::Collapse { flight, lease }) => {
                land(self.key, flight, stored, cx);
                (LeaseKind::Collapse, lease)
            }
        };
        if let Some(lease) = lease {
            cx.release_lease(&self.key, kind, lease, unstorable_for);
        }
    }
}

/// A flight of this worker has ended, with an answer in a store or without.
fn land(key: CacheKey, flight: u32, stored: bool, cx: &Cx<'_>) {
    let flights = &cx.worker.flights;
    if !flights.is_led_by(&key, flight) {
        // Another leader has taken over in the meantime.
        return;
    }
    if stored {
        if flights.land(&key) {
            cx.add_task(Task::Find(key));
        }
    } else {
        let waiting = flights.end(&key);
        if !waiting.is_empty() {
            cx.add_task(Task::Free(waiting, CollapseFault::LeaderFailed));
        }
    }
}

/// Whether the next answer under the key is likely not to be stored either. That a client left, that
/// there was no room or no upstream, says nothing about it.
fn proves_unstorable(reason: NotStored) -> bool {
    !matches!(
        reason,
        NotStored::Aborted
            | NotStored::CaptureLimit
            | NotStored::LocalReply
            | NotStored::Store(_)
            | NotStored::Unreadable
    )
}
