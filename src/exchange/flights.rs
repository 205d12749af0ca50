//! Requests that are on their way to the upstream, and the identical ones that wait for their
//! answers: the part of collapsing that one worker knows.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::cache::CacheKey;

/// The flights of one worker, by their keys.
#[derive(Debug, Default)]
pub(super) struct Flights(RefCell<BTreeMap<CacheKey, Flight>>);

#[derive(Debug)]
struct Flight {
    leader: Leader,
    waiting: Vec<Waiter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    /// An exchange of this worker, which will say how it ends.
    Here,
    /// One of another worker, which tells this one of its end, or ends by the age of its lease.
    Elsewhere,
    /// It has ended, and its answer is being fetched.
    Landed,
}

/// An exchange that waits.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    exchange: u32,
    /// In milliseconds since 1970.
    deadline: u64,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Exchanges that have waited long enough.
    pub(super) overdue: Vec<u32>,
    /// Keys whose leader is, or was, in another worker: nothing was heard of it.
    pub(super) unheard: Vec<CacheKey>,
}

impl Flights {
    /// Whether somebody asks the upstream for a key, as far as this worker knows.
    pub(super) fn has(&self, key: &CacheKey) -> bool {
        self.0.borrow().contains_key(key)
    }

    /// An exchange of this worker asks.
    pub(super) fn lead(&self, key: CacheKey) {
        self.begin(key, Leader::Here);
    }

    /// An exchange of another worker asks.
    pub(super) fn follow(&self, key: CacheKey) {
        self.begin(key, Leader::Elsewhere);
    }

    fn begin(&self, key: CacheKey, leader: Leader) {
        let mut flights = self.0.borrow_mut();
        let flight = flights.entry(key).or_insert_with(|| Flight {
            leader,
            waiting: Vec::new(),
        });
        flight.leader = leader;
    }

    /// An exchange waits for a flight until `deadline`, in milliseconds since 1970; whether there is
    /// one.
    pub(super) fn wait(&self, key: &CacheKey, exchange: u32, deadline: u64) -> bool {
        let mut flights = self.0.borrow_mut();
        let flight = flights.get_mut(key);
        flight
            .map(|flight| flight.waiting.push(Waiter { exchange, deadline }))
            .is_some()
    }

    /// An exchange waits no more.
    pub(super) fn leave(&self, key: &CacheKey, exchange: u32) {
        let mut flights = self.0.borrow_mut();
        if let Some(flight) = flights.get_mut(key) {
            flight.waiting.retain(|waiter| waiter.exchange != exchange);
            if flight.waiting.is_empty() && flight.leader != Leader::Here {
                flights.remove(key);
            }
        }
    }

    /// The leader of a flight has ended, and its answer is to be fetched for those who wait; whether
    /// there are any. Without them the flight is over.
    pub(super) fn land(&self, key: &CacheKey) -> bool {
        let mut flights = self.0.borrow_mut();
        let Some(flight) = flights.get_mut(key) else {
            return false;
        };
        let first = flight.leader != Leader::Landed;
        flight.leader = Leader::Landed;
        if flight.waiting.is_empty() {
            flights.remove(key);
            return false;
        }
        first
    }

    /// A flight is over; who waited for it.
    pub(super) fn end(&self, key: &CacheKey) -> Vec<u32> {
        let flight = self.0.borrow_mut().remove(key);
        let waiting = flight.map(|flight| flight.waiting).unwrap_or_default();
        waiting.into_iter().map(|waiter| waiter.exchange).collect()
    }

    /// Whether anybody waits.
    pub(super) fn are_waited_for(&self) -> bool {
        let flights = self.0.borrow();
        flights.values().any(|flight| !flight.waiting.is_empty())
    }

    /// Takes out who has waited long enough at `now`, and says of whom nothing was heard.
    pub(super) fn due(&self, now: u64) -> Due {
        let mut due = Due::default();
        self.0.borrow_mut().retain(|key, flight| {
            flight.waiting.retain(|waiter| {
                let waits = now < waiter.deadline;
                if !waits {
                    due.overdue.push(waiter.exchange);
                }
                waits
            });
            if flight.leader == Leader::Elsewhere && !flight.waiting.is_empty() {
                due.unheard.push(*key);
            }
            !flight.waiting.is_empty() || flight.leader == Leader::Here
        });
        due
    }
}

#[cfg(test)]
mod tests;
