//! The headers of the last hit that served an entry as it is.

use std::cell::RefCell;
use std::rc::Rc;

use crate::cache::CacheStatus;
use crate::clock::DeltaSeconds;
use crate::http::Headers;

/// The headers of the last hit that served an entry as it is. They are the same for a second.
#[derive(Debug, Default)]
pub(crate) struct HitHeaders(RefCell<Option<(HitConditions, Rc<Headers>)>>);

/// What the headers of a hit depend on, but for the entry and what does not change for a worker that
/// serves it to identical requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HitConditions {
    pub(crate) status: CacheStatus,
    /// The time since the answer was received.
    pub(crate) age: DeltaSeconds,
    /// Whether the request has an origin.
    pub(crate) to_page: bool,
}

impl HitHeaders {
    /// The headers of a hit under these conditions: those of the last one if they were the same, or
    /// else made anew.
    pub(crate) fn get(
        &self,
        conditions: HitConditions,
        make: impl FnOnce() -> Headers,
    ) -> Rc<Headers> {
        let last = self.0.borrow().clone();
        if let Some((_, headers)) = last.filter(|(last, _)| *last == conditions) {
            return headers;
        }
        let headers = Rc::new(make());
        self.0.replace(Some((conditions, Rc::clone(&headers))));
        headers
    }
}
