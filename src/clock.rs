//! Instants as the host's clock tells them, and the whole seconds in which HTTP counts time.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// An instant, in milliseconds since 1970-01-01 00:00 UTC.
///
/// The clock is the host's wall clock: it may be set back, and the clocks of two gateways differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// The instant this many milliseconds after 1970.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for UnixMillis {
    type Output = Self;

    /// The instant `duration` later, or the last one there is.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(as_millis(duration)))
    }
}

/// Whole seconds, as headers state ages and lifetimes (RFC 9111, section 1.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeltaSeconds(u64);

impl DeltaSeconds {
    /// This many seconds.
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// How many they are.
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The whole seconds that have passed in a duration.
    pub const fn floor(duration: Duration) -> Self {
        Self(duration.as_secs())
    }

    /// The seconds that have begun in a duration.
    pub fn ceil(duration: Duration) -> Self {
        Self(as_millis(duration).div_ceil(1_000))
    }
}

impl fmt::Display for DeltaSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The milliseconds of a duration.
pub fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_saturate_at_both_ends() {
        let (first, last) = (UnixMillis::default(), UnixMillis(u64::MAX));
        let minute = Duration::from_mins(1);
        assert_eq!(first + minute, UnixMillis(60_000));
        assert_eq!((first + minute).since(first), minute);
        assert_eq!(first.since(first + minute), Duration::ZERO);
        assert_eq!(last + minute, last);
        assert_eq!(first + Duration::MAX, last);
        assert_eq!((first + minute).as_secs(), 60);
    }

    #[test]
    fn a_part_of_a_second_has_begun_and_not_passed() {
        let seconds = |milliseconds| {
            let duration = Duration::from_millis(milliseconds);
            [DeltaSeconds::floor(duration), DeltaSeconds::ceil(duration)].map(|it| it.to_string())
        };
        assert_eq!(seconds(0), ["0", "0"]);
        assert_eq!(seconds(1), ["0", "1"]);
        assert_eq!(seconds(1_000), ["1", "1"]);
        assert_eq!(seconds(1_001), ["1", "2"]);
    }
}
