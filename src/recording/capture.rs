//! A bounded copy of a passing answer.

use crate::budget::{CaptureBudget, NoRoom, Reservation};
use crate::report::NotStored;

impl From<NoRoom> for NotStored {
    fn from(NoRoom: NoRoom) -> Self {
        Self::CaptureLimit
    }
}

/// A copy of the answer so far. Its share of the budget is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Capture {
    bytes: Vec<u8>,
    max_bytes: usize,
    /// The highest capacity that is reserved in advance.
    max_capacity: usize,
    /// The capacity of `bytes`.
    reservation: Reservation,
}

impl Capture {
    pub(super) fn new(budget: &CaptureBudget, max_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max_bytes,
            max_capacity: max_bytes,
            reservation: Reservation::new(budget),
        }
    }

    /// The answer says how many bytes it has. Room is still reserved only as they come, because the
    /// upstream may send none of them.
    pub(super) fn expect(&mut self, bytes: usize) -> Result<(), NotStored> {
        if bytes > self.max_bytes {
            return Err(NotStored::ResponseTooLarge);
        }
        self.max_capacity = bytes;
        Ok(())
    }

    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), NotStored> {
        let length = self.bytes.len().saturating_add(chunk.len());
        if length > self.max_bytes {
            return Err(NotStored::ResponseTooLarge);
        }
        if length > self.reservation.bytes() {
            // Doubling keeps the copying linear; an answer rarely ends at the limit.
            let doubled = self.reservation.bytes().saturating_mul(2);
            let room = length.max(doubled.min(self.max_capacity));
            self.reservation
                .set(room)
                .or_else(|NoRoom| self.reservation.set(length))?;
            let more = self.reservation.bytes().saturating_sub(self.bytes.len());
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_gives_back_what_it_took() {
        let budget = CaptureBudget::new(100);
        let mut capture = Capture::new(&budget, 80);
        capture.push(&[1; 30]).unwrap();
        capture.push(&[2; 30]).unwrap();
        assert_eq!(capture.bytes().len(), 60);
        assert!(budget.left() <= 40);
        drop(capture);
        assert_eq!(budget.left(), 100);
    }

    #[test]
    fn an_answer_over_its_limit_is_dropped_before_it_is_copied() {
        let budget = CaptureBudget::new(100);
        let mut capture = Capture::new(&budget, 10);
        assert_eq!(capture.push(&[0; 11]), Err(NotStored::ResponseTooLarge));
        assert_eq!(capture.expect(11), Err(NotStored::ResponseTooLarge));
        capture.push(&[0; 10]).unwrap();
        assert_eq!(capture.push(&[0; 1]), Err(NotStored::ResponseTooLarge));
    }

    #[test]
    fn an_answer_whose_length_is_known_takes_as_much_room_as_has_come_and_no_more_than_that() {
        let budget = CaptureBudget::new(100);
        let mut capture = Capture::new(&budget, 80);
        capture.expect(50).unwrap();
        assert_eq!(budget.left(), 100);
        capture.push(&[1; 30]).unwrap();
        assert_eq!(budget.left(), 70);
        capture.push(&[1; 10]).unwrap();
        assert_eq!(budget.left(), 50, "not doubled beyond its end");
        capture.push(&[1; 20]).unwrap();
        assert_eq!(capture.bytes().len(), 60, "who counts decides, not this");
    }

    #[test]
    fn captures_of_one_worker_share_one_budget() {
        let budget = CaptureBudget::new(100);
        let mut one = Capture::new(&budget, 100);
        let mut other = Capture::new(&budget, 100);
        one.push(&[0; 70]).unwrap();
        assert_eq!(other.push(&[0; 31]), Err(NotStored::CaptureLimit));
        // The copy that fits exactly fits, although doubling would not.
        one.push(&[0; 30]).unwrap();
        assert_eq!(budget.left(), 0);
        drop(one);
        other.push(&[0; 31]).unwrap();
    }
}
