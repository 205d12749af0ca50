//! What a worker is to do while no request waits for it, or after the request that asked for it is
//! gone, as plain data. What is done stands in `background`.

use std::cell::{Cell, RefCell};

use crate::budget::Reservation;
use crate::cache::CacheKey;
use crate::callout::Callout;
use crate::clock::UnixMillis;
use crate::report::CollapseFault;
use crate::request::{FetchPermit, KeyedRequest};
use crate::store::WriteRoom;

/// What is to be done in the background.
#[derive(Debug)]
pub(crate) enum Task {
    /// Write an entry to the store behind HTTP.
    Write {
        key: CacheKey,
        entry: Vec<u8>,
        /// When it is of no more use.
        expires: UnixMillis,
        /// Of those who wait for it, if they are to be told when it is written.
        permit: Option<FetchPermit>,
        room: WriteRoom,
    },
    /// Remove an entry from the store behind HTTP.
    Delete(CacheKey, WriteRoom),
    /// Find out whether the store behind HTTP is well.
    Probe,
    /// Ask the upstream for a new answer.
    Refresh {
        request: Box<KeyedRequest>,
        callout: Callout,
        /// Until it is sent, and the host has the request's body.
        reservation: Reservation,
    },
    /// Find the entry that a flight ended with, for those who wait for it.
    Find(CacheKey),
    /// Find out whether a flight of another worker has ended.
    Peek(CacheKey),
    /// Let exchanges go that have waited.
    Free(Vec<u32>, CollapseFault),
}

/// The tasks of a worker that are to be begun.
#[derive(Debug, Default)]
pub(crate) struct TaskQueue {
    tasks: RefCell<Vec<Task>>,
    /// The host has been told to call the worker.
    woken: Cell<bool>,
}

impl TaskQueue {
    pub(crate) fn push(&self, task: Task) {
        self.tasks.borrow_mut().push(task);
    }

    pub(crate) fn extend(&self, tasks: impl IntoIterator<Item = Task>) {
        self.tasks.borrow_mut().extend(tasks);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// All that is to be begun now. The host is to be told of what comes later.
    pub(crate) fn take(&self) -> Vec<Task> {
        self.woken.set(false);
        self.tasks.take()
    }

    /// Whether there is something of which the host has not been told, as it is from now on.
    pub(crate) fn must_wake(&self) -> bool {
        !self.is_empty() && !self.woken.replace(true)
    }

    /// The host cannot be told. It will be tried again for what comes later.
    pub(crate) fn not_woken(&self) {
        self.woken.set(false);
    }
}
