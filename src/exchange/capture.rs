//! A bounded copy of an answer that passes.

use std::cell::Cell;
use std::rc::Rc;

use super::NotStored;

/// What all captures of one worker may hold together, in bytes of allocated memory.
#[derive(Clone, Debug)]
pub struct CaptureBudget {
    left: Rc<Cell<usize>>,
}

impl CaptureBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Rc::new(Cell::new(bytes)),
        }
    }

    /// How many bytes nobody holds.
    pub fn left(&self) -> usize {
        self.left.get()
    }
}

/// Bytes of the budget that are held until this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    bytes: usize,
    budget: CaptureBudget,
}

impl Hold {
    /// `None` if so much is not left.
    pub(super) fn take(budget: &CaptureBudget, bytes: usize) -> Option<Self> {
        budget.left.set(budget.left.get().checked_sub(bytes)?);
        Some(Self {
            bytes,
            budget: budget.clone(),
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let left = &self.budget.left;
        left.set(left.get().saturating_add(self.bytes));
    }
}

/// A copy of the answer so far. What it has taken of the budget it gives back when dropped.
#[derive(Debug)]
pub(super) struct Capture {
    bytes: Vec<u8>,
    max_bytes: usize,
    /// What was taken of the budget: the capacity of `bytes`.
    taken: usize,
    /// What was taken of it besides.
    charged: usize,
    budget: CaptureBudget,
}

impl Capture {
    pub(super) fn new(budget: &CaptureBudget, max_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max_bytes,
            taken: 0,
            charged: 0,
            budget: budget.clone(),
        }
    }

    /// Makes room at once for an answer whose length is known.
    pub(super) fn expect(&mut self, bytes: usize) -> Result<(), NotStored> {
        if bytes > self.max_bytes {
            return Err(NotStored::ResponseTooLarge);
        }
        self.grow_to(bytes)
    }

    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), NotStored> {
        let length = self.bytes.len().saturating_add(chunk.len());
        if length > self.max_bytes {
            return Err(NotStored::ResponseTooLarge);
        }
        if length > self.taken {
            // Doubling keeps the copying linear; an answer rarely ends at the limit.
            let doubled = self.taken.saturating_mul(2).min(self.max_bytes);
            self.grow_to(length.max(doubled))
                .or_else(|_| self.grow_to(length))?;
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Takes bytes of the budget for what others hold on behalf of this answer.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), NotStored> {
        let left = self.budget.left.get().checked_sub(bytes);
        self.budget.left.set(left.ok_or(NotStored::CaptureLimit)?);
        self.charged = self.charged.saturating_add(bytes);
        Ok(())
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn grow_to(&mut self, capacity: usize) -> Result<(), NotStored> {
        let more = capacity.saturating_sub(self.taken);
        let left = self.budget.left.get().checked_sub(more);
        self.budget.left.set(left.ok_or(NotStored::CaptureLimit)?);
        self.taken = self.taken.saturating_add(more);
        self.bytes
            .reserve_exact(capacity.saturating_sub(self.bytes.len()));
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let left = &self.budget.left;
        let held = self.taken.saturating_add(self.charged);
        left.set(left.get().saturating_add(held));
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

    #[test]
    fn what_is_charged_is_given_back_too() {
        let budget = CaptureBudget::new(100);
        let mut capture = Capture::new(&budget, 100);
        capture.charge(60).unwrap();
        assert_eq!(capture.push(&[0; 41]), Err(NotStored::CaptureLimit));
        assert_eq!(capture.charge(41), Err(NotStored::CaptureLimit));
        drop(capture);
        assert_eq!(budget.left(), 100);
    }
}
