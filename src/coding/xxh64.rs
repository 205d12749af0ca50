//! XXH64 with the seed 0, which Zstandard takes its checksums from (RFC 8878, section 3.1.1).
//!
//! Source: the xxHash specification, "XXH64 Algorithm Description".

/// The digest of what has come so far.
#[derive(Debug)]
pub(super) struct Xxh64 {
    lanes: [u64; 4],
    /// What has come of the next stripe.
    pending: Vec<u8>,
    length: u64,
}

impl Xxh64 {
    pub(super) fn new() -> Self {
        Self {
            lanes: [P1.wrapping_add(P2), P2, 0, 0_u64.wrapping_sub(P1)],
            pending: Vec::new(),
            length: 0,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        let mut rest = bytes;
        if !self.pending.is_empty() {
            let missing = STRIPE.saturating_sub(self.pending.len()).min(rest.len());
            let (head, tail) = rest.split_at_checked(missing).unwrap_or((rest, b""));
            self.pending.extend_from_slice(head);
            rest = tail;
            if let Some((stripe, _)) = self.pending.split_first_chunk::<STRIPE>() {
                let stripe = *stripe;
                self.stripe(&stripe);
                self.pending.clear();
            }
        }
        while let Some((stripe, tail)) = rest.split_first_chunk::<STRIPE>() {
            self.stripe(stripe);
            rest = tail;
        }
        self.pending.extend_from_slice(rest);
    }

    fn stripe(&mut self, stripe: &[u8; STRIPE]) {
        let (words, _) = stripe.as_chunks::<8>();
        for (lane, word) in self.lanes.iter_mut().zip(words) {
            *lane = round(*lane, u64::from_le_bytes(*word));
        }
    }

    pub(super) fn digest(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut hash = if self.length < STRIPE as u64 {
            P5
        } else {
            let turned = [(a, 1), (b, 7), (c, 12), (d, 18)].map(|(lane, by)| lane.rotate_left(by));
            let sum = turned.into_iter().fold(0, u64::wrapping_add);
            self.lanes.into_iter().fold(sum, |hash, lane| {
                (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4)
            })
        };
        hash = hash.wrapping_add(self.length);
        let (words, rest) = self.pending.as_chunks::<8>();
        for word in words {
            hash ^= round(0, u64::from_le_bytes(*word));
            hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(P1);
            hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        }
        for byte in rest {
            hash ^= u64::from(*byte).wrapping_mul(P5);
            hash = hash.rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
        hash ^ (hash >> 32)
    }
}

fn round(lane: u64, word: u64) -> u64 {
    let mixed = lane.wrapping_add(word.wrapping_mul(P2));
    mixed.rotate_left(31).wrapping_mul(P1)
}

const STRIPE: usize = 32;
const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_reference() {
        // By xxHash's own `xxh64sum`.
        for (text, digest) in [
            ("", 0xef46_db37_51d8_e999),
            ("a", 0xd24e_c4f1_a98c_6e5b),
            ("abc", 0x44bc_2cf5_ad77_0999),
        ] {
            let mut hash = Xxh64::new();
            hash.update(text.as_bytes());
            assert_eq!(hash.digest(), digest, "{text}");
        }
    }

    #[test]
    fn a_digest_does_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let mut whole = Xxh64::new();
        whole.update(&bytes);
        for size in [1, 3, 31, 32, 33, 100] {
            let mut pieces = Xxh64::new();
            bytes.chunks(size).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.digest(), whole.digest(), "{size}");
        }
    }
}
