//! What an answer cost its upstream, which each hit saves.

use std::time::Duration;

use crate::clock::as_millis;
use crate::llm::Tokens;

/// What an answer cost its upstream. Bounded, so that no entry can claim to save more than an answer may
/// cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCost {
    /// The tokens that the answer reports, if it does.
    tokens: Option<[u32; 3]>,
    first_byte: u32,
    last_byte: u32,
}

/// More of one kind than any model takes or makes for one answer.
const MAX_TOKENS: u32 = 1 << 27;

/// Longer than any answer takes, in milliseconds: a day.
const MAX_MILLIS: u32 = 86_400_000;

/// How many bytes it takes in an entry.
pub(super) const ENCODED_BYTES: usize = 1 + 5 * 4;

impl UpstreamCost {
    /// The cost of an answer that reports these tokens, and whose first and last byte came so long after
    /// its request was sent.
    pub fn new(tokens: Option<Tokens>, first_byte: Duration, last_byte: Duration) -> Self {
        let bounded = |value: u64, max: u32| u32::try_from(value).unwrap_or(max).min(max);
        let [first_byte, last_byte] =
            [first_byte, last_byte].map(|time| bounded(as_millis(time), MAX_MILLIS));
        Self {
            tokens: tokens.map(|tokens| {
                [tokens.input, tokens.cached_input, tokens.output]
                    .map(|count| bounded(count, MAX_TOKENS))
            }),
            first_byte: first_byte.min(last_byte),
            last_byte,
        }
    }

    /// The tokens that the answer reports, if it does.
    pub fn tokens(self) -> Option<Tokens> {
        let [input, cached_input, output] = self.tokens?.map(u64::from);
        Some(Tokens {
            input,
            cached_input,
            output,
        })
    }

    /// The time from the request to the answer's first byte.
    pub fn first_byte(self) -> Duration {
        Duration::from_millis(self.first_byte.into())
    }

    /// The time from the request to the answer's last byte.
    pub fn last_byte(self) -> Duration {
        Duration::from_millis(self.last_byte.into())
    }

    /// `reports tokens u8  input u32  cached input u32  output u32  first byte u32  last byte u32`.
    pub(super) fn encode(self) -> [u8; ENCODED_BYTES] {
        let [input, cached_input, output] = self.tokens.unwrap_or_default();
        let numbers = [input, cached_input, output, self.first_byte, self.last_byte];
        let mut bytes = [0; ENCODED_BYTES];
        let [reports, rest @ ..] = &mut bytes;
        *reports = u8::from(self.tokens.is_some());
        for (place, number) in rest.as_chunks_mut().0.iter_mut().zip(numbers) {
            *place = number.to_le_bytes();
        }
        bytes
    }

    /// `None` if [`UpstreamCost::encode`] does not write such bytes.
    pub(super) fn decode(bytes: &[u8; ENCODED_BYTES]) -> Option<Self> {
        let [reports, rest @ ..] = bytes;
        let (&[input, cached_input, output, first_byte, last_byte], []) = rest.as_chunks() else {
            return None;
        };
        let tokens = [input, cached_input, output].map(u32::from_le_bytes);
        let cost = Self {
            tokens: (*reports != 0).then_some(tokens),
            first_byte: u32::from_le_bytes(first_byte),
            last_byte: u32::from_le_bytes(last_byte),
        };
        let is_bounded = tokens.iter().all(|count| *count <= MAX_TOKENS)
            && cost.first_byte <= cost.last_byte
            && cost.last_byte <= MAX_MILLIS;
        (is_bounded && cost.encode() == *bytes).then_some(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(input: u64, cached_input: u64, output: u64) -> Tokens {
        Tokens {
            input,
            cached_input,
            output,
        }
    }

    #[test]
    fn a_cost_survives_a_round_trip() {
        let millis = Duration::from_millis;
        for cost in [
            UpstreamCost::default(),
            UpstreamCost::new(Some(tokens(0, 0, 0)), millis(0), millis(0)),
            UpstreamCost::new(Some(tokens(1, 2, 3)), millis(4), millis(5)),
            UpstreamCost::new(None, millis(4), millis(5)),
        ] {
            assert_eq!(UpstreamCost::decode(&cost.encode()), Some(cost));
        }
    }

    #[test]
    fn a_cost_beyond_what_an_answer_may_cost_is_cut() {
        let cost = UpstreamCost::new(
            Some(tokens(u64::MAX, 1 << 32, 1 << 27)),
            Duration::MAX,
            Duration::from_hours(48),
        );
        let most = u64::from(MAX_TOKENS);
        assert_eq!(cost.tokens(), Some(tokens(most, most, most)));
        assert_eq!(cost.first_byte(), Duration::from_hours(24));
        assert_eq!(cost.last_byte(), Duration::from_hours(24));
        // A clock that was set back.
        let cost = UpstreamCost::new(None, Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(cost.first_byte(), Duration::from_secs(1));
    }

    #[test]
    fn bytes_that_are_never_written_are_no_cost() {
        let one = UpstreamCost::new(Some(tokens(1, 2, 3)), Duration::ZERO, Duration::ZERO).encode();
        let changed = |place: usize, byte: u8| {
            let mut bytes = one;
            bytes[place] = byte;
            UpstreamCost::decode(&bytes)
        };
        assert_eq!(changed(0, 2), None, "a flag that is neither");
        assert_eq!(changed(0, 0), None, "tokens that are not reported");
        assert_eq!(changed(4, 9), None, "too many tokens");
        assert_eq!(changed(20, 6), None, "too long");
        assert_eq!(changed(13, 1), None, "the first byte after the last one");
    }
}
