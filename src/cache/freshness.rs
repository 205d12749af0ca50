//! Freshness and age, pure in `now` (RFC 9111, section 4.2).

use std::time::Duration;

use crate::clock::{DeltaSeconds, UnixMillis};

/// How far the clock of the gateway that stored an entry may be ahead of this one. An entry from further
/// in the future would be served that much longer than its lifetime.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(1);

/// Whether an entry may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It may.
    Fresh {
        /// The time since the answer was received.
        age: DeltaSeconds,
        /// The time until it expires.
        ttl: DeltaSeconds,
    },
    /// Its lifetime is over.
    Expired {
        /// The time since the answer was received.
        age: DeltaSeconds,
        /// For how long it has been.
        expired_for: Duration,
    },
    /// It was stored too far in the future to be trusted.
    FromTheFuture,
}

/// The freshness at `now` of what was created at `created` and lives for `lifetime`.
pub fn freshness(now: UnixMillis, created: UnixMillis, lifetime: Duration) -> Freshness {
    if created > now + MAX_CLOCK_SKEW {
        return Freshness::FromTheFuture;
    }
    let age = now.since(created);
    match lifetime.checked_sub(age) {
        None | Some(Duration::ZERO) => Freshness::Expired {
            age: DeltaSeconds::floor(age),
            expired_for: age.saturating_sub(lifetime),
        },
        Some(left) => Freshness::Fresh {
            age: DeltaSeconds::floor(age),
            ttl: DeltaSeconds::floor(left),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freshness(now: u64, created: u64, lifetime: u64) -> Freshness {
        let (now, created) = (
            UnixMillis::from_millis(now),
            UnixMillis::from_millis(created),
        );
        super::freshness(now, created, Duration::from_millis(lifetime))
    }

    #[test]
    fn an_entry_is_fresh_until_its_last_millisecond() {
        let fresh = |age, ttl| Freshness::Fresh {
            age: DeltaSeconds::new(age),
            ttl: DeltaSeconds::new(ttl),
        };
        assert_eq!(freshness(10_000, 10_000, 5_000), fresh(0, 5));
        assert_eq!(freshness(14_999, 10_000, 5_000), fresh(4, 0));
        let expired = |age, milliseconds| Freshness::Expired {
            age: DeltaSeconds::new(age),
            expired_for: Duration::from_millis(milliseconds),
        };
        assert_eq!(freshness(15_000, 10_000, 5_000), expired(5, 0));
        assert_eq!(freshness(16_500, 10_000, 5_000), expired(6, 1_500));
        assert_eq!(
            freshness(u64::MAX, 0, 5_000),
            expired(u64::MAX / 1_000, u64::MAX - 5_000)
        );
        assert_eq!(freshness(10_000, 10_000, 0), expired(0, 0));
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_is_forgiven_and_one_far_ahead_is_not() {
        let fresh = Freshness::Fresh {
            age: DeltaSeconds::new(0),
            ttl: DeltaSeconds::new(5),
        };
        assert_eq!(freshness(10_000, 70_000, 5_000), fresh);
        assert_eq!(freshness(10_000, 70_001, 5_000), Freshness::FromTheFuture);
        assert_eq!(freshness(0, u64::MAX, u64::MAX), Freshness::FromTheFuture);
    }
}
