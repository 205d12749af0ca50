//! Requests that are on their way to the upstream, and the identical ones that wait for their
//! answers: the part of collapsing that one worker knows.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::time::Duration;

use crate::cache::CacheKey;
use crate::clock::UnixMillis;

/// The number of exchanges that may wait at once, per worker.
const MAX_WAITING: usize = 4_096;

/// How often the lease of another worker's leader is checked while no message comes from it.
const UNHEARD: Duration = Duration::from_millis(250);

/// The flights of one worker, by their keys.
#[derive(Debug)]
pub(crate) struct Flights {
    flights: RefCell<HashMap<[u8; 32], Flight, Seed>>,
    last_number: Cell<u32>,
    /// How many wait: as many as there are of [`Seat`].
    waiting: Rc<Cell<usize>>,
}

/// Makes another order of the keys in each worker: clients can compute their keys, and would find
/// some that get in each other's way. Not what `HashMap` has for this, which asks the host for
/// randomness of its own.
#[derive(Debug)]
struct Seed(u64);

/// Hashes a key, which is a digest, by its first bytes.
struct KeyHasher {
    seed: u64,
    hash: u64,
}

impl BuildHasher for Seed {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher {
            seed: self.0,
            hash: 0,
        }
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            let mixed = u64::from_le_bytes(*first) ^ self.seed;
            let [low, high] = [0, 64].map(|shift| {
                let product = u128::from(mixed).wrapping_mul(u128::from(self.seed | 1));
                u64::try_from((product >> shift) & u128::from(u64::MAX)).unwrap_or(0)
            });
            self.hash = low ^ high;
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[derive(Debug)]
struct Flight {
    leader: Leader,
    waiting: Vec<Waiter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    /// An exchange of this worker, which will say how it ends. From `since` until `until` it is
    /// waited for.
    Here {
        number: u32,
        since: UnixMillis,
        until: UnixMillis,
    },
    /// One of another worker, which tells this one of its end, or ends by the age of its lease.
    Elsewhere {
        /// When it was looked after.
        peeked: UnixMillis,
    },
    /// It has ended, and its answer is being fetched.
    Landed,
}

/// An exchange that waits, from `since` until `deadline`.
#[derive(Debug)]
struct Waiter {
    exchange: u32,
    since: UnixMillis,
    deadline: UnixMillis,
    _seat: Seat,
}

/// Counts a waiter until it is dropped, so that the number is right however a waiter is removed.
#[derive(Debug)]
struct Seat(Rc<Cell<usize>>);

impl Seat {
    fn take(waiting: &Rc<Cell<usize>>) -> Self {
        waiting.set(waiting.get().saturating_add(1));
        Self(Rc::clone(waiting))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Exchanges that have waited long enough.
    pub(crate) overdue: Vec<u32>,
    /// Keys whose leader is, or was, in another worker: nothing was heard of it.
    pub(crate) unheard: Vec<CacheKey>,
}

impl Flights {
    /// No flights; `seed` is best unknown to others.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            flights: RefCell::new(HashMap::with_hasher(Seed(seed))),
            last_number: Cell::default(),
            waiting: Rc::default(),
        }
    }

    /// Whether somebody asks the upstream for a key, as far as this worker knows, and has not done
    /// so for too long.
    pub(crate) fn has(&self, key: &CacheKey, now: UnixMillis) -> bool {
        let flights = self.flights.borrow();
        match flights.get(key.as_bytes()).map(|flight| flight.leader) {
            None => false,
            Some(Leader::Here { since, until, .. }) => (since..until).contains(&now),
            Some(Leader::Elsewhere { .. } | Leader::Landed) => true,
        }
    }

    /// An exchange of this worker asks, and is waited for until `until`; the number of its flight.
    pub(crate) fn lead(&self, key: CacheKey, since: UnixMillis, until: UnixMillis) -> u32 {
        let number = self.last_number.get().wrapping_add(1);
        self.last_number.set(number);
        self.begin(
            key,
            Leader::Here {
                number,
                since,
                until,
            },
        );
        number
    }

    /// An exchange of another worker asks.
    pub(crate) fn follow(&self, key: CacheKey, now: UnixMillis) {
        self.begin(key, Leader::Elsewhere { peeked: now });
    }

    /// Whether the leader of a flight is in another worker.
    pub(crate) fn follows(&self, key: &CacheKey) -> bool {
        let flights = self.flights.borrow();
        let leader = flights.get(key.as_bytes()).map(|flight| flight.leader);
        matches!(leader, Some(Leader::Elsewhere { .. }))
    }

    fn begin(&self, key: CacheKey, leader: Leader) {
        let mut flights = self.flights.borrow_mut();
        let flight = flights.entry(*key.as_bytes()).or_insert_with(|| Flight {
            leader,
            waiting: Vec::new(),
        });
        flight.leader = leader;
    }

    /// Whether one more may wait.
    pub(crate) fn have_room(&self) -> bool {
        self.waiting.get() < MAX_WAITING
    }

    /// An exchange waits for a flight; whether there is one.
    pub(crate) fn wait(
        &self,
        key: &CacheKey,
        exchange: u32,
        since: UnixMillis,
        deadline: UnixMillis,
    ) -> bool {
        let mut flights = self.flights.borrow_mut();
        let Some(flight) = flights.get_mut(key.as_bytes()) else {
            return false;
        };
        flight.waiting.push(Waiter {
            exchange,
            since,
            deadline,
            _seat: Seat::take(&self.waiting),
        });
        true
    }

    /// An exchange waits no more.
    pub(crate) fn leave(&self, key: &CacheKey, exchange: u32) {
        let mut flights = self.flights.borrow_mut();
        if let Some(flight) = flights.get_mut(key.as_bytes()) {
            flight.waiting.retain(|waiter| waiter.exchange != exchange);
            if flight.waiting.is_empty() && !matches!(flight.leader, Leader::Here { .. }) {
                flights.remove(key.as_bytes());
            }
        }
    }

    /// Whether a flight is still the one of this number: another leader may have taken over.
    pub(crate) fn is_led_by(&self, key: &CacheKey, number: u32) -> bool {
        let flights = self.flights.borrow();
        let leader = flights.get(key.as_bytes()).map(|flight| flight.leader);
        matches!(leader, Some(Leader::Here { number: led, .. }) if led == number)
    }

    /// The leader of a flight has ended, and its answer is to be fetched for those who wait; whether
    /// there are any. Without them the flight is over.
    pub(crate) fn land(&self, key: &CacheKey) -> bool {
        let mut flights = self.flights.borrow_mut();
        let Some(flight) = flights.get_mut(key.as_bytes()) else {
            return false;
        };
        let first = flight.leader != Leader::Landed;
        flight.leader = Leader::Landed;
        if flight.waiting.is_empty() {
            flights.remove(key.as_bytes());
            return false;
        }
        first
    }

    /// A flight is over; who waited for it.
    pub(crate) fn end(&self, key: &CacheKey) -> Vec<u32> {
        let flight = self.flights.borrow_mut().remove(key.as_bytes());
        let waiting = flight.map(|flight| flight.waiting).unwrap_or_default();
        waiting.into_iter().map(|waiter| waiter.exchange).collect()
    }

    /// Whether anybody waits.
    pub(crate) fn are_waited_for(&self) -> bool {
        self.waiting.get() > 0
    }

    /// Takes out the exchanges that have waited long enough at `now`, and names the keys whose leaders
    /// were not heard of.
    pub(crate) fn due(&self, now: UnixMillis) -> Due {
        let mut due = Due::default();
        self.flights.borrow_mut().retain(|key, flight| {
            flight.waiting.retain(|waiter| {
                // A clock that was set back must not make anybody wait longer.
                let waits = (waiter.since..waiter.deadline).contains(&now);
                if !waits {
                    due.overdue.push(waiter.exchange);
                }
                waits
            });
            let nobody = flight.waiting.is_empty();
            match &mut flight.leader {
                Leader::Here { .. } => true,
                _ if nobody => false,
                Leader::Elsewhere { peeked } => {
                    if !(*peeked..*peeked + UNHEARD).contains(&now) {
                        *peeked = now;
                        due.unheard.push(CacheKey::from_bytes(*key));
                    }
                    true
                }
                Leader::Landed => true,
            }
        });
        due
    }
}

#[cfg(test)]
mod tests;
