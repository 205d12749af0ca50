//! The heads of sets that a worker remembers, so that it need not read them again to write.

use std::cell::{Cell, RefCell};

use super::set::SetHead;
use crate::store::Version;

/// How many heads of sets a worker remembers, and how many it does without after one had changed:
/// where many write, a head that is remembered costs more than it saves.
const HEADS: usize = 64;
pub(super) const HEADS_LEFT_OUT: u8 = 16;

/// The heads of sets in which this worker has just looked in vain, as they were: who looks in vain
/// comes back to write, and by its version a head can be changed that is still the same.
#[derive(Debug, Default)]
pub(super) struct Heads {
    heads: RefCell<Vec<Option<Head>>>,
    /// The number of heads that are still to be done without.
    left_out: Cell<u8>,
}

#[derive(Debug)]
pub(super) struct Head {
    pub(super) set: u32,
    pub(super) head: SetHead,
    pub(super) version: Version,
}

impl Heads {
    pub(super) fn keep(&self, head: Head) {
        if let Some(left_out) = self.left_out.get().checked_sub(1) {
            self.left_out.set(left_out);
            // An older one would only lose.
            self.take(head.set);
            return;
        }
        let mut heads = self.heads.borrow_mut();
        heads.resize_with(HEADS, || None);
        if let Some(place) = heads.get_mut(Self::place(head.set)) {
            *place = Some(head);
        }
    }

    /// Each serves once: it is changed then.
    pub(super) fn take(&self, set: u32) -> Option<Head> {
        let mut heads = self.heads.borrow_mut();
        heads
            .get_mut(Self::place(set))?
            .take_if(|head| head.set == set)
    }

    /// One was not what it had been when it was remembered.
    pub(super) fn had_changed(&self) {
        self.left_out.set(HEADS_LEFT_OUT);
    }

    fn place(set: u32) -> usize {
        usize::try_from(set).unwrap_or(0) % HEADS
    }
}
