//! Bounds the memory that a worker holds for requests and answers, whose lengths others choose.
//!
//! A caller may hold as much as it leaves free, as with [`Shares`](crate::shares::Shares): a single
//! caller gets half of the budget, and some is always left for the next one. Unlike there, amounts grow,
//! and there may be as many callers as requests.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

/// What all exchanges of one worker may hold together, in bytes of allocated memory.
#[derive(Clone, Debug)]
pub struct CaptureBudget {
    room: Rc<Room>,
    /// The caller that is charged: [`CacheKey::tenant`](crate::cache::CacheKey::tenant). Without one, a
    /// reservation is bounded only by what is left, and must not outlive a callback.
    caller: Option<u64>,
}

#[derive(Debug)]
struct Room {
    left: Cell<usize>,
    /// What each caller holds, if anything, sorted by caller.
    held: RefCell<Vec<(u64, usize)>>,
}

impl CaptureBudget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            room: Rc::new(Room {
                left: Cell::new(bytes),
                held: RefCell::default(),
            }),
            caller: None,
        }
    }

    /// How many bytes are free.
    pub fn left(&self) -> usize {
        self.room.left.get()
    }

    /// The same budget, for what is held on behalf of this caller.
    pub(crate) fn of(&self, caller: u64) -> Self {
        Self {
            room: Rc::clone(&self.room),
            caller: Some(caller),
        }
    }

    /// Takes more bytes, or gives some back.
    fn change(&self, before: usize, after: usize) -> Result<(), NoRoom> {
        let left = self.left().saturating_add(before);
        let left = left.checked_sub(after).ok_or(NoRoom)?;
        if let Some(caller) = self.caller {
            self.room.change_share(caller, before, after, left)?;
        }
        self.room.left.set(left);
        Ok(())
    }
}

impl Room {
    /// Changes what a caller holds; `left` is what will be free afterwards.
    fn change_share(
        &self,
        caller: u64,
        before: usize,
        after: usize,
        left: usize,
    ) -> Result<(), NoRoom> {
        let mut held = self.held.borrow_mut();
        let found = held.binary_search_by_key(&caller, |(holder, _)| *holder);
        let share = found.ok().and_then(|index| held.get(index));
        let share = share.map_or(0, |(_, share)| *share);
        let share = share.saturating_sub(before).saturating_add(after);
        if after > before && share > left {
            return Err(NoRoom);
        }
        match found {
            Ok(index) if share == 0 => drop(held.remove(index)),
            Ok(index) => {
                if let Some((_, old)) = held.get_mut(index) {
                    *old = share;
                }
            }
            Err(_) if share == 0 => {}
            Err(index) => held.insert(index, (caller, share)),
        }
        Ok(())
    }
}

/// Bytes of the budget that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: usize,
    budget: CaptureBudget,
}

/// The budget has less left than is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Reservation {
    /// Nothing yet.
    pub(crate) fn new(budget: &CaptureBudget) -> Self {
        Self {
            bytes: 0,
            budget: budget.clone(),
        }
    }

    /// `None` if less is left.
    pub(crate) fn take(budget: &CaptureBudget, bytes: usize) -> Option<Self> {
        let mut reservation = Self::new(budget);
        reservation.set(bytes).ok().map(|()| reservation)
    }

    /// How much is held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds this many bytes from now on, more than before or fewer.
    ///
    /// # Errors
    /// If less is left: then it is what it was.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.budget.change(self.bytes, bytes)?;
        self.bytes = bytes;
        Ok(())
    }

    /// Holds it on behalf of this caller from now on.
    ///
    /// # Errors
    /// If the caller has its share: then it is what it was.
    pub(crate) fn charge(&mut self, caller: u64) -> Result<(), NoRoom> {
        let CaptureBudget {
            room,
            caller: holder,
        } = &mut self.budget;
        let left = room.left.get();
        room.change_share(caller, 0, self.bytes, left)?;
        match holder.replace(caller) {
            Some(previous) => room.change_share(previous, self.bytes, 0, left),
            None => Ok(()),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Giving back never fails.
        let _given = self.budget.change(self.bytes, 0);
    }
}

/// A value, and the bytes of the budget that it takes.
pub struct Charged<T> {
    value: T,
    reservation: Reservation,
}

impl<T> Charged<T> {
    /// `None` if less is left.
    pub(crate) fn new(value: T, bytes: usize, budget: &CaptureBudget) -> Option<Self> {
        let reservation = Reservation::take(budget, bytes)?;
        Some(Self { value, reservation })
    }

    /// As [`Reservation::charge`].
    pub(crate) fn charge(&mut self, caller: u64) -> Result<(), NoRoom> {
        self.reservation.charge(caller)
    }
}

impl<T> Deref for Charged<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Charged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let budget = CaptureBudget::new(100);
        let mut reservation = Reservation::take(&budget, 60).unwrap();
        assert!(Reservation::take(&budget, 41).is_none());
        assert_eq!(reservation.set(101), Err(NoRoom));
        assert_eq!((reservation.bytes(), budget.left()), (60, 40));
        assert_eq!(reservation.set(100), Ok(()));
        assert_eq!(budget.left(), 0);
        assert_eq!(reservation.set(10), Ok(()));
        let held = Charged::new("value", 90, &budget).unwrap();
        assert_eq!(*held, "value");
        assert!(Charged::new("value", 1, &budget).is_none());
        drop(held);
        drop(reservation);
        assert_eq!(budget.left(), 100);
    }

    #[test]
    fn a_caller_gets_as_much_as_it_leaves_and_the_next_finds_room() {
        let budget = CaptureBudget::new(100);
        let (one, other) = (budget.of(1), budget.of(2));
        assert!(Reservation::take(&one, 51).is_none(), "no more than half");
        let mut first = Reservation::take(&one, 30).unwrap();
        assert_eq!(first.set(51), Err(NoRoom));
        let second = Reservation::take(&one, 20).unwrap();
        assert!(Reservation::take(&one, 1).is_none());
        assert_eq!(first.set(31), Err(NoRoom), "both count");
        let next = Reservation::take(&other, 25).unwrap();
        assert!(Reservation::take(&other, 1).is_none());
        // A caller that holds more than its share since others came may give some back.
        assert_eq!(first.set(29), Ok(()));
        assert_eq!(first.set(30), Err(NoRoom));
        drop((first, second, next));
        assert_eq!(budget.left(), 100);
        assert!(budget.room.held.borrow().is_empty());
    }

    #[test]
    fn what_is_held_before_the_caller_is_known_is_charged_to_it_afterwards() {
        let budget = CaptureBudget::new(100);
        let _full = Reservation::take(&budget.of(1), 40).unwrap();
        let mut held = Charged::new("value", 30, &budget).unwrap();
        assert_eq!(held.charge(1), Err(NoRoom));
        assert_eq!(budget.left(), 30);
        assert_eq!(held.charge(2), Ok(()));
        assert_eq!(budget.left(), 30);
        assert_eq!(budget.room.held.borrow().last(), Some(&(2, 30)));
        drop(held);
        assert_eq!(budget.left(), 60);
    }
}
