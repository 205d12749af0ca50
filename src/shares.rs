//! Room that the callers of a worker share, so that none of them takes it all.
//!
//! A caller may hold as much as it leaves free (the dynamic thresholds of Choudhury and Hahne, 1998,
//! with a factor of one): one alone gets half of the room, each of two a third, and there is always
//! some for the next. Nothing is set aside for callers who do not come.

use std::cell::RefCell;
use std::rc::Rc;

/// Room for a limited amount at once.
#[derive(Clone, Debug)]
pub struct Shares(Rc<RefCell<Room>>);

#[derive(Debug)]
struct Room {
    free: usize,
    /// What each caller holds that holds anything.
    held: Vec<(u64, usize)>,
}

/// What a caller holds, until this is dropped.
#[derive(Debug)]
pub struct Share {
    room: Shares,
    caller: u64,
    amount: usize,
}

impl Shares {
    /// Room for this amount, of which one caller alone gets half.
    pub fn new(room: usize) -> Self {
        let held = Vec::new();
        Self(Rc::new(RefCell::new(Room { free: room, held })))
    }

    /// Takes this amount for a caller; `None` if the caller would then hold more than is left.
    pub fn take(&self, caller: u64, amount: usize) -> Option<Share> {
        let mut room = self.0.borrow_mut();
        let index = room.held.iter().position(|(holder, _)| *holder == caller);
        let held = index.and_then(|index| room.held.get(index));
        let held = held.map_or(0, |(_, held)| *held).checked_add(amount)?;
        let free = room.free.checked_sub(amount).filter(|free| held <= *free)?;
        room.free = free;
        match index.and_then(|index| room.held.get_mut(index)) {
            Some((_, before)) => *before = held,
            None => room.held.push((caller, held)),
        }
        Some(Share {
            room: self.clone(),
            caller,
            amount,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut room = self.room.0.borrow_mut();
        room.free = room.free.saturating_add(self.amount);
        for (caller, held) in &mut room.held {
            if *caller == self.caller {
                *held = held.saturating_sub(self.amount);
            }
        }
        room.held.retain(|(_, held)| *held > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(shares: &Shares, caller: u64) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(caller, 1)).collect()
    }

    #[test]
    fn one_caller_alone_gets_half_and_leaves_room_for_the_next() {
        let shares = Shares::new(32);
        let first = take_all(&shares, 1);
        assert_eq!(first.len(), 16);
        let second = take_all(&shares, 2);
        assert_eq!(second.len(), 8);
        assert_eq!(take_all(&shares, 1).len(), 0);
        drop(first);
        assert_eq!(take_all(&shares, 2).len(), 8, "16 with those it has");
        drop(second);
        assert_eq!(take_all(&shares, 3).len(), 16);
    }

    #[test]
    fn no_number_of_callers_leaves_nothing_for_a_newcomer_until_there_are_as_many_as_places() {
        let shares = Shares::new(32);
        let mut held = Vec::new();
        for caller in 0..5 {
            let more = take_all(&shares, caller);
            assert!(!more.is_empty(), "{caller}");
            held.extend(more);
        }
        assert!(held.len() <= 32);
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_never_been_taken() {
        let shares = Shares::new(100);
        assert!(shares.take(1, 51).is_none(), "no more than half");
        let large = shares.take(1, 50).unwrap();
        assert!(shares.take(1, 1).is_none());
        let other = shares.take(2, 25).unwrap();
        drop((large, other));
        let room = shares.0.borrow();
        assert_eq!((room.free, room.held.len()), (100, 0));
    }

    #[test]
    fn amounts_beyond_all_bounds_are_refused() {
        let shares = Shares::new(usize::MAX);
        let _held = shares.take(1, usize::MAX / 2).unwrap();
        assert!(shares.take(1, usize::MAX).is_none());
        assert!(Shares::new(0).take(1, 1).is_none());
    }
}
