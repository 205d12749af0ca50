//! What a worker knows of refreshes: those that are under way, and those that the upstream refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use crate::budget::{CaptureBudget, Reservation};
use crate::cache::CacheKey;
use crate::callout::CalloutFault;
use crate::clock::UnixMillis;
use crate::request::ResolvedRequest;
use crate::shares::{Share, Shares};

/// The number that may be under way at once, per worker: half of it for one caller.
const MAX_REFRESHES: usize = 32;

/// For how long requests go in the place of callouts after the upstream has refused one.
const BY_REQUEST_FOR: Duration = Duration::from_mins(1);

/// The number of refusals that are remembered, per worker.
const MAX_REFUSED: usize = 1_024;

/// What a worker knows of refreshes.
#[derive(Debug)]
pub(crate) struct Refreshes {
    under_way: RefCell<Vec<(CacheKey, Share)>>,
    shares: Shares,
    /// The keys for which the upstream has refused callouts, and until when, the oldest first. Looked
    /// through only where there would be a callout.
    refused: RefCell<VecDeque<(CacheKey, UnixMillis)>>,
}

impl Refreshes {
    pub(crate) fn new() -> Self {
        Self {
            under_way: RefCell::default(),
            shares: Shares::new(MAX_REFRESHES),
            refused: RefCell::default(),
        }
    }

    /// Whether a key is being refreshed by this worker.
    pub(crate) fn has(&self, key: &CacheKey) -> bool {
        self.under_way
            .borrow()
            .iter()
            .any(|(other, _)| other == key)
    }

    /// One more begins, if there is room for it and its request of this many bytes.
    pub(crate) fn begin(
        &self,
        request: &ResolvedRequest,
        bytes: usize,
        budget: &CaptureBudget,
    ) -> Option<Reservation> {
        let share = self.shares.take(request.tenant, 1)?;
        let reservation = Reservation::take(&budget.of(request.tenant), bytes)?;
        self.under_way.borrow_mut().push((request.key, share));
        Some(reservation)
    }

    /// One has ended, with this status if there was an answer.
    pub(crate) fn ended(&self, key: &CacheKey, status: Result<u16, CalloutFault>, now: UnixMillis) {
        self.under_way
            .borrow_mut()
            .retain(|(other, _)| other != key);
        // 429, 5xx and connections that break come to any request; all else that is not an answer
        // speaks of this way of asking.
        if !matches!(status, Ok(200 | 429 | 500..) | Err(CalloutFault::NoReply)) {
            let mut refused = self.refused.borrow_mut();
            refused.retain(|(other, until)| other != key && now < *until);
            // To forget them all would have each of them asked for anew.
            if refused.len() >= MAX_REFUSED {
                refused.pop_front();
            }
            refused.push_back((*key, now + BY_REQUEST_FOR));
        }
    }

    pub(crate) fn were_refused(&self, key: &CacheKey, now: UnixMillis) -> bool {
        let refused = self.refused.borrow();
        let refused = refused.iter().find(|(other, _)| other == key);
        refused.is_some_and(|(_, until)| now < *until && *until <= now + BY_REQUEST_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);
    const LATER: UnixMillis = UnixMillis::from_millis(1_700_000_000_001);

    fn key(number: usize) -> CacheKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        CacheKey::from_bytes(bytes)
    }

    #[test]
    fn one_refusal_too_many_has_the_oldest_forgotten_and_no_other() {
        let refreshes = Refreshes::new();
        for number in 0..=MAX_REFUSED {
            refreshes.ended(&key(number), Ok(404), NOW);
        }
        assert!(!refreshes.were_refused(&key(0), NOW));
        assert!((1..=MAX_REFUSED).all(|number| refreshes.were_refused(&key(number), NOW)));
        refreshes.ended(&key(1), Ok(404), LATER);
        refreshes.ended(&key(0), Ok(404), LATER);
        let still = (0..=MAX_REFUSED).filter(|number| refreshes.were_refused(&key(*number), LATER));
        assert_eq!(still.count(), MAX_REFUSED);
        assert!(refreshes.were_refused(&key(1), LATER), "it came again");
    }
}
