//! What a worker may hold on behalf of requests and answers, whoever chose how long they are.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

/// What all exchanges of one worker may hold together, in bytes of allocated memory.
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

/// So much is not left in the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Hold {
    /// Nothing yet.
    pub(super) fn new(budget: &CaptureBudget) -> Self {
        Self {
            bytes: 0,
            budget: budget.clone(),
        }
    }

    /// `None` if so much is not left.
    pub(super) fn take(budget: &CaptureBudget, bytes: usize) -> Option<Self> {
        let mut hold = Self::new(budget);
        hold.set(bytes).ok().map(|()| hold)
    }

    /// How much is held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds so much from now on, more than before or less.
    ///
    /// # Errors
    /// If so much is not left: then it is what it was.
    pub(super) fn set(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let all = self.budget.left.get().saturating_add(self.bytes);
        self.budget.left.set(all.checked_sub(bytes).ok_or(NoRoom)?);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let left = &self.budget.left;
        left.set(left.get().saturating_add(self.bytes));
    }
}

/// A value, and the bytes of the budget that it takes.
pub struct Held<T> {
    value: T,
    _hold: Hold,
}

impl<T> Held<T> {
    /// `None` if so much is not left.
    pub(super) fn new(value: T, bytes: usize, budget: &CaptureBudget) -> Option<Self> {
        let hold = Hold::take(budget, bytes)?;
        Some(Self { value, _hold: hold })
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Held<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let budget = CaptureBudget::new(100);
        let mut hold = Hold::take(&budget, 60).unwrap();
        assert!(Hold::take(&budget, 41).is_none());
        assert_eq!(hold.set(101), Err(NoRoom));
        assert_eq!((hold.bytes(), budget.left()), (60, 40));
        assert_eq!(hold.set(100), Ok(()));
        assert_eq!(budget.left(), 0);
        assert_eq!(hold.set(10), Ok(()));
        let held = Held::new("value", 90, &budget).unwrap();
        assert_eq!(*held, "value");
        assert!(Held::new("value", 1, &budget).is_none());
        drop(held);
        drop(hold);
        assert_eq!(budget.left(), 100);
    }
}
