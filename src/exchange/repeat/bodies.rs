//! Long bodies that came again, and their digests: to compare two bodies takes a fraction of the
//! time in which one is digested.

use std::collections::VecDeque;

/// Shorter ones are digested as fast.
const LONG: usize = 8 << 10;

/// What all bodies that a worker keeps take together. The oldest make room.
const MAX_BYTES: usize = 4 << 20;

/// A longer one would leave room for too few others.
const LONGEST: usize = MAX_BYTES / 4;

/// So many words of a body say which one it may be equal to.
const SAMPLES: usize = 16;

/// Stands for a body.
pub(super) type Digest = [u64; 2];

/// Bodies and their digests.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// The oldest first, no two of one sample.
    kept: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    sample: u64,
    digest: Digest,
    body: Box<[u8]>,
}

impl Bodies {
    /// The digest of a body, if these very bytes are kept.
    pub(super) fn digest_of(&self, body: &[u8]) -> Option<Digest> {
        if !is_kept(body) {
            return None;
        }
        let sample = sample(body);
        let kept = self.kept.iter().find(|kept| kept.sample == sample)?;
        is_same(&kept.body, body).then_some(kept.digest)
    }

    /// Keeps a body for the next time, if it is a long one.
    pub(super) fn keep(&mut self, body: &[u8], digest: Digest) {
        if !is_kept(body) {
            return;
        }
        // Of those that only look alike one is compared, whatever clients send.
        let sample = sample(body);
        self.kept.retain(|kept| kept.sample != sample);
        self.bytes = self.kept.iter().map(|kept| kept.body.len()).sum();
        while self.bytes.saturating_add(body.len()) > MAX_BYTES {
            let oldest = self.kept.pop_front().map_or(0, |kept| kept.body.len());
            self.bytes = self.bytes.saturating_sub(oldest);
        }
        self.bytes = self.bytes.saturating_add(body.len());
        self.kept.push_back(Kept {
            sample,
            digest,
            body: body.into(),
        });
    }
}

fn is_kept(body: &[u8]) -> bool {
    (LONG..=LONGEST).contains(&body.len())
}

/// The length and some words of a body: of two that differ, it may be the same.
fn sample(body: &[u8]) -> u64 {
    let mix = |mixed: u64, word: u64| {
        (mixed ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    };
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let pieces = body.chunks(body.len().div_ceil(SAMPLES).max(1));
    let words = pieces.filter_map(|piece| piece.first_chunk());
    let last = body.last_chunk();
    words
        .chain(last)
        .map(|word| u64::from_le_bytes(*word))
        .fold(length, mix)
}

/// Whether two bodies are the same. `==` would go byte by byte: the C library for wasm has no other.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    /// Words that are compared at once.
    const AT_ONCE: usize = 8;

    let (one_words, one_rest) = one.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    let (one_blocks, one_words) = one_words.as_chunks::<AT_ONCE>();
    let (other_blocks, other_words) = other_words.as_chunks::<AT_ONCE>();
    let differ =
        |one: &[u8; 8], other: &[u8; 8]| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other);
    one.len() == other.len()
        && one_blocks.iter().zip(other_blocks).all(|(one, other)| {
            let [a, b, c, d, e, f, g, h] = one;
            let [i, j, k, l, m, n, o, p] = other;
            0 == differ(a, i)
                | differ(b, j)
                | differ(c, k)
                | differ(d, l)
                | differ(e, m)
                | differ(f, n)
                | differ(g, o)
                | differ(h, p)
        })
        && one_words == other_words
        && one_rest == other_rest
}

#[cfg(test)]
mod tests;
