//! The circuit breaker: a store that fails again and again is left alone for a while.
//!
//! ```text
//!      breaker.failures in a row
//!   Closed ───────────► Suspected ─────────────► Open ◄───────────┐
//!     ▲  ▲                │     the probe failed,  │ time is up   │ the probe failed,
//!     │  └────────────────┘     or is overdue      ▼              │ or is overdue
//!     │    anything succeeded                  HalfOpen ──────────┘
//!     └────────────────────────────────────────────┘ the probe succeeded
//! ```
//! A lookup fails as well if the entry is too large for the time that it has, and a caller can have
//! large entries stored, and ask for them over and over. So failures only make a store suspect. A
//! probe, which asks for next to nothing, tells a store that is slow from an entry that is large;
//! requests go on asking meanwhile.
//!
//! While it is open or half-open, requests do not wait for the store at all: the probe is sent beside
//! them. How long it stays open doubles with every failed probe and is drawn at random below that
//! ("full jitter"), so that a fleet of workers does not come back all at once.

use std::time::Duration;

use crate::clock::{UnixMillis, as_millis};
use crate::config;
use crate::random::Random;

/// Where a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The store is asked.
    Closed,
    /// The store is left alone.
    Open,
    /// One probe is on its way.
    HalfOpen,
}

impl BreakerState {
    /// The word for metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What it was.
    pub from: BreakerState,
    /// What it is now.
    pub to: BreakerState,
    /// How long it stays open, if it does.
    pub open_for: Option<Duration>,
}

/// Whether the store may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Closed,
    /// It may not, but for one probe, which is due now.
    Probe,
    /// It may not.
    Refused,
}

/// The breaker of one store in one worker.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: config::Breaker,
    /// How long a probe may take.
    probe_timeout: Duration,
    state: State,
    random: Random,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// The store is asked, and one probe is on its way.
    Suspected {
        since: UnixMillis,
    },
    Open {
        since: UnixMillis,
        until: UnixMillis,
        /// How often in a row it has opened.
        times: u32,
    },
    HalfOpen {
        since: UnixMillis,
        times: u32,
    },
}

impl Breaker {
    /// A closed breaker; `seed` makes its randomness.
    pub(super) fn new(settings: config::Breaker, probe_timeout: Duration, seed: u64) -> Self {
        Self {
            settings,
            probe_timeout,
            state: State::Closed { failures: 0 },
            random: Random::new(seed),
        }
    }

    /// Whether the store may be asked at `now`.
    pub(super) fn admit(&mut self, now: UnixMillis) -> (Admission, Option<Turn>) {
        match self.state {
            State::Closed { .. } => (Admission::Closed, None),
            // A clock that was set back must not keep it open for years.
            State::Open {
                since,
                until,
                times,
            } if !(since..until).contains(&now) => {
                let turn = self.turn(State::HalfOpen { since: now, times }, None);
                (Admission::Probe, Some(turn))
            }
            State::Open { .. } => (Admission::Refused, None),
            State::HalfOpen { since, times } => {
                let overdue = self.is_overdue(since, now);
                let turn = overdue.then(|| self.open(times.saturating_add(1), now));
                (Admission::Refused, turn)
            }
            State::Suspected { since } if self.is_overdue(since, now) => {
                let turn = self.open(1, now);
                (Admission::Refused, Some(turn))
            }
            State::Suspected { .. } => (Admission::Closed, None),
        }
    }

    fn is_overdue(&self, since: UnixMillis, now: UnixMillis) -> bool {
        !(since..=since + self.probe_timeout).contains(&now)
    }

    /// The store answered a request that was admitted while the breaker was closed.
    pub(super) fn succeeded(&mut self) {
        // What was sent before it opened says nothing about the store as it is now.
        if let State::Closed { .. } | State::Suspected { .. } = self.state {
            self.state = State::Closed { failures: 0 };
        }
    }

    /// The store did not. Whether it is to be probed now.
    pub(super) fn failed(&mut self, now: UnixMillis) -> bool {
        let State::Closed { failures } = &mut self.state else {
            return false;
        };
        *failures = failures.saturating_add(1);
        let is_suspect = *failures >= self.settings.failures;
        if is_suspect {
            self.state = State::Suspected { since: now };
        }
        is_suspect
    }

    /// The probe came back.
    pub(super) fn probed(&mut self, healthy: bool, now: UnixMillis) -> Option<Turn> {
        match (self.state, healthy) {
            (State::Suspected { .. }, true) => {
                self.state = State::Closed { failures: 0 };
                None
            }
            (State::Suspected { .. }, false) => Some(self.open(1, now)),
            (State::HalfOpen { .. }, true) => Some(self.turn(State::Closed { failures: 0 }, None)),
            (State::HalfOpen { times, .. }, false) => Some(self.open(times.saturating_add(1), now)),
            (State::Closed { .. } | State::Open { .. }, _) => None,
        }
    }

    fn open(&mut self, times: u32, now: UnixMillis) -> Turn {
        let (min, max) = (self.settings.min_open, self.settings.max_open);
        let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
        let ceiling = min.saturating_mul(factor).min(max);
        let spread = as_millis(ceiling.saturating_sub(min));
        let open_for = min.saturating_add(Duration::from_millis(self.random.up_to(spread)));
        let open = State::Open {
            since: now,
            until: now + open_for,
            times,
        };
        self.turn(open, Some(open_for))
    }

    fn turn(&mut self, to: State, open_for: Option<Duration>) -> Turn {
        let from = std::mem::replace(&mut self.state, to).name();
        Turn {
            from,
            to: to.name(),
            open_for,
        }
    }
}

impl State {
    fn name(self) -> BreakerState {
        match self {
            Self::Closed { .. } | Self::Suspected { .. } => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests;
