//! The Huffman codes of literals (RFC 8878, section 4.2).

use super::bits::Backward;
use super::fse::Table;
use crate::coding::effort::Effort;
use crate::steps;

/// A code: for each value of the next bits a symbol, and how many of them it takes.
#[derive(Debug)]
pub(super) struct Huffman {
    entries: [(u8, u8); 1 << MAX_BITS],
    /// How many bits the longest codes have.
    bits: u32,
}

impl Huffman {
    /// Reads the description of a code, and what comes after it.
    pub(super) fn read<'a>(bytes: &'a [u8], effort: &mut Effort) -> Option<(Box<Self>, &'a [u8])> {
        let (header, rest) = bytes.split_first()?;
        let header = usize::from(*header);
        let (weights, rest) = if let Some(count) = header.checked_sub(127).filter(|n| *n > 0) {
            let (bytes, rest) = rest.split_at_checked(count.div_ceil(2))?;
            let mut weights: Vec<u8> = bytes.iter().flat_map(|b| [b >> 4, b & 15]).collect();
            weights.truncate(count);
            (weights, rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(header)?;
            (compressed_weights(bytes, effort)?, rest)
        };
        Some((Self::new(weights, effort)?, rest))
    }

    /// All weights but the last, which is what is missing.
    fn new(mut weights: Vec<u8>, effort: &mut Effort) -> Option<Box<Self>> {
        let mut sum = 0_u32;
        for weight in &weights {
            if u32::from(*weight) > MAX_BITS {
                return None;
            }
            sum += (1 << *weight) >> 1;
        }
        let bits = sum.checked_ilog2()? + 1;
        let missing = (1_u32 << bits) - sum;
        if bits > MAX_BITS || !missing.is_power_of_two() {
            return None;
        }
        weights.push(u8::try_from(missing.ilog2() + 1).ok()?);
        effort.spend((1 << bits) + weights.len() * bits as usize);
        let mut huffman = Box::new(Self {
            entries: [(0, 0); 1 << MAX_BITS],
            bits,
        });
        // The longest codes come first, and of one length those of the lower symbols.
        let mut start = 0;
        for wanted in 1..=bits {
            for (symbol, _) in weights
                .iter()
                .enumerate()
                .filter(|(_, w)| u32::from(**w) == wanted)
            {
                let end = start + (1 << (wanted - 1));
                let length = u8::try_from(bits + 1 - wanted).ok()?;
                let symbol = u8::try_from(symbol).ok()?;
                huffman.entries.get_mut(start..end)?.fill((symbol, length));
                start = end;
            }
        }
        Some(huffman)
    }

    /// Decodes this many symbols, which are all that there is.
    pub(super) fn decode(&self, bytes: &[u8], count: usize, out: &mut Vec<u8>) -> Option<()> {
        let mut bits = Backward::new(bytes)?;
        steps::take(count);
        for _ in 0..count {
            let (symbol, length) = *self.entries.get(bits.peek(self.bits) as usize)?;
            bits.skip(u32::from(length));
            out.push(symbol);
        }
        bits.is_at_end().then_some(())
    }
}

/// Two states take turns, until the bits have run out.
fn compressed_weights(bytes: &[u8], effort: &mut Effort) -> Option<Vec<u8>> {
    let (table, rest) = Table::read(bytes, 6, MAX_WEIGHT, effort)?;
    let mut bits = Backward::new(rest)?;
    let mut places = (table.begin(&mut bits), table.begin(&mut bits));
    if bits.is_beyond_end() {
        return None;
    }
    let mut weights = Vec::new();
    loop {
        let (now, then) = places;
        weights.push(table.symbol(now)?);
        // With the one that is missing there are 256 at the most.
        if weights.len() > 254 {
            return None;
        }
        let next = table.next(now, &mut bits)?;
        if bits.is_beyond_end() {
            weights.push(table.symbol(then)?);
            return Some(weights);
        }
        places = (then, next);
    }
}

const MAX_BITS: u32 = 11;
/// The largest weight that makes a code of [`MAX_BITS`], and one more, which is refused later.
const MAX_WEIGHT: usize = 12;
