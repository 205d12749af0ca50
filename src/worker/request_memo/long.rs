//! Long requests that came again, and their fingerprints: to compare two of them takes a fraction of
//! the time in which one is hashed.
//!
//! Key headers are compared first, so that how long it takes tells nobody about the prompts of
//! another tenant.

use std::collections::VecDeque;

use super::fingerprint::Fingerprint;

/// Shorter bodies are hashed as fast.
const LONG: usize = 8 << 10;

/// What all requests that a worker keeps take together.
const MAX_BYTES: usize = 4 << 20;

/// A longer body would leave room for too few others.
const LONGEST: usize = MAX_BYTES / 4;

/// When the room is full, one request in this many makes the oldest go. If all did, and more come in
/// turn than there is room for, each would be gone when it comes again.
const ADMITTED: u32 = 8;

/// The number of words in the midst of a body, and of bytes at either end of it, by which it is found which
/// one it may be equal to. Prompts that have much in common mostly differ in how they begin or end.
const SAMPLES: usize = 16;
const ENDS: usize = 512;

/// Requests and their fingerprints.
#[derive(Debug, Default)]
pub(crate) struct LongRequests {
    /// The oldest first, no two of one sample.
    kept: VecDeque<Kept>,
    /// How many have found the room full.
    too_many: u32,
}

#[derive(Debug)]
struct Kept {
    sample: u64,
    fingerprint: Fingerprint,
    /// The key headers and the attributes.
    pairs: Box<[u8]>,
    body: Box<[u8]>,
}

impl Kept {
    fn len(&self) -> usize {
        self.pairs.len().saturating_add(self.body.len())
    }
}

impl LongRequests {
    /// The fingerprint of a request, if these very bytes are kept.
    pub(crate) fn fingerprint(&self, pairs: &[u8], body: &[u8]) -> Option<Fingerprint> {
        if !is_of_use(body) {
            return None;
        }
        let sample = sample(pairs, body);
        let kept = self.kept.iter().find(|kept| kept.sample == sample)?;
        (is_same(&kept.pairs, pairs) && is_same(&kept.body, body)).then_some(kept.fingerprint)
    }

    /// Keeps a request for the next time, if it is a long one.
    pub(crate) fn keep(&mut self, pairs: &[u8], body: &[u8], fingerprint: Fingerprint) {
        let length = pairs.len().saturating_add(body.len());
        if !is_of_use(body) || length > MAX_BYTES {
            return;
        }
        let room = MAX_BYTES.saturating_sub(length);
        if self.bytes() > room {
            self.too_many = self.too_many.wrapping_add(1);
            if !self.too_many.is_multiple_of(ADMITTED) {
                return;
            }
        }
        let kept = Kept {
            sample: sample(pairs, body),
            fingerprint,
            pairs: pairs.into(),
            body: body.into(),
        };
        // Of those that only look alike one is compared, whatever clients send.
        self.kept.retain(|other| other.sample != kept.sample);
        while self.bytes() > room {
            self.kept.pop_front();
        }
        self.kept.push_back(kept);
    }

    fn bytes(&self) -> usize {
        self.kept.iter().map(Kept::len).sum()
    }
}

fn is_of_use(body: &[u8]) -> bool {
    (LONG..=LONGEST).contains(&body.len())
}

/// Lengths and some words: of two requests that differ, it may be the same.
fn sample(pairs: &[u8], body: &[u8]) -> u64 {
    let mix = |mixed: u64, word: u64| {
        (mixed ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    };
    let lengths = [pairs, body].map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX));
    let pieces = body.chunks(body.len().div_ceil(SAMPLES).max(1));
    let midst = pieces.filter_map(|piece| piece.first_chunk());
    let first = body.get(..ENDS).unwrap_or(body).as_chunks().0;
    let last = body.last_chunk::<ENDS>().map_or(body, |last| last);
    let ends = [pairs.as_chunks().0, first, last.as_chunks().0];
    let words = ends.into_iter().flatten().chain(midst);
    let words = words.map(|word| u64::from_le_bytes(*word));
    lengths.into_iter().chain(words).fold(0, mix)
}

/// Words that are compared at once.
type Block = [[u8; 8]; 8];

/// Whether two texts are the same. `==` would go byte by byte: the C library for wasm has no other.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (one_words, one_rest) = one.as_chunks();
    let (other_words, other_rest) = other.as_chunks();
    let (one_blocks, one_words) = one_words.as_chunks();
    let (other_blocks, other_words) = other_words.as_chunks();
    let mut blocks = one_blocks.iter().zip(other_blocks);
    one.len() == other.len()
        && blocks.all(|(one, other)| is_same_block(one, other))
        && one_words == other_words
        && one_rest == other_rest
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn is_same_block(one: &Block, other: &Block) -> bool {
    use std::arch::wasm32::{u64x2, v128_any_true, v128_or, v128_xor};

    let vectors = |block: &Block| {
        let [a, b, c, d, e, f, g, h] = block.map(u64::from_le_bytes);
        [u64x2(a, b), u64x2(c, d), u64x2(e, f), u64x2(g, h)]
    };
    let ([a, b, c, d], [e, f, g, h]) = (vectors(one), vectors(other));
    let first = v128_or(v128_xor(a, e), v128_xor(b, f));
    let second = v128_or(v128_xor(c, g), v128_xor(d, h));
    !v128_any_true(v128_or(first, second))
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn is_same_block(one: &Block, other: &Block) -> bool {
    one == other
}

#[cfg(test)]
mod tests;
