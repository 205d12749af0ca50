//! Exchanges that have waited for the answer to an identical request, and how each continues.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::budget::Charged;
use crate::bytes::Bytes;
use crate::cache::Tier;
use crate::report::CollapseFault;

/// The number of exchanges that are released in one go. Envoy sends local replies one from within
/// another (each runs the response's callbacks of its stream, at whose end the next is sent), on one
/// stack.
const RELEASED_AT_ONCE: usize = 16;

/// How an exchange that has waited continues.
#[derive(Clone, Debug)]
pub(crate) enum Release {
    /// With the answer to the identical request.
    Answer {
        /// The entry, not verified. Many may wait for it.
        entry: Rc<Charged<Bytes>>,
        /// Where it was found.
        tier: Tier,
    },
    /// To the upstream.
    Go(CollapseFault),
}

/// Those that are to be released, in order.
#[derive(Debug, Default)]
pub(crate) struct ReleaseQueue(RefCell<VecDeque<(u32, Release)>>);

impl ReleaseQueue {
    /// All of these are to be released in the same way.
    pub(crate) fn push(&self, exchanges: Vec<u32>, release: &Release) {
        let released = exchanges.into_iter().map(|id| (id, release.clone()));
        self.0.borrow_mut().extend(released);
    }

    /// Those whose turn it is. There may be more.
    pub(crate) fn take(&self) -> Vec<(u32, Release)> {
        let mut released = self.0.borrow_mut();
        let now = released.len().min(RELEASED_AT_ONCE);
        released.drain(..now).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
