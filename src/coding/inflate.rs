//! The deflate format (RFC 1951), decoded from bytes as they come.
//!
//! Its own decoder, because the work must be bounded by what comes out. A block of ten bits, which
//! decodes to nothing, has others build the tables of the static codes anew: 4 µs. Here they are
//! built once, and blocks with codes of their own are counted.

use std::mem;

use super::history::{History, STEP_BYTES};
use super::{CodingFault, Effort};

/// A deflate stream, on its way through its window.
#[derive(Debug)]
pub(super) struct Inflate {
    block: Block,
    /// The block is the last one.
    is_last: bool,
    bits: Bits,
    history: History,
    /// The codes that the format itself has.
    fixed: Option<Box<Codes>>,
    /// Room for the codes of a block.
    spare: Box<Codes>,
    effort: Effort,
}

/// Where in a block the next bit is.
#[derive(Debug)]
enum Block {
    Header,
    StoredLength,
    /// How many bytes are to come.
    Stored(u16),
    Counts,
    /// The lengths of the codes for the lengths of codes.
    LengthLengths(Box<Described>),
    /// The lengths of codes.
    Lengths(Box<Described>),
    Fixed,
    /// The codes are in [`Inflate::spare`].
    Dynamic,
    /// The stream has ended.
    Ended,
}

/// What came of a block with the input at hand.
enum Step {
    Next(Block),
    /// It needs more input.
    Waits(Block),
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self {
            block: Block::Header,
            is_last: false,
            bits: Bits::default(),
            history: History::new(HISTORY_BYTES),
            fixed: None,
            spare: Box::default(),
            effort: Effort::default(),
        }
    }

    /// Takes the input up to the stream's end, or all of it. Tells whether the stream ended.
    pub(super) fn run(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<bool, CodingFault> {
        loop {
            let block = mem::replace(&mut self.block, Block::Ended);
            let step = self.step(block, input).ok_or(CodingFault::Malformed)?;
            let before = *left;
            self.history.hand_out(out, left)?;
            self.effort.allow(before.saturating_sub(*left));
            self.effort.check()?;
            let (block, waits) = match step {
                Step::Next(block) => (block, false),
                Step::Waits(block) => (block, true),
            };
            self.block = block;
            if matches!(self.block, Block::Ended) {
                return Ok(true);
            }
            // What is waited for may have come after all, where a step ended early.
            if waits && input.is_empty() {
                return Ok(false);
            }
        }
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        let codes = 2 * size_of::<Codes>() + size_of::<Described>();
        size_of::<Self>() + codes + self.history.held()
    }

    /// After the stream's end: the next byte, of which some may have been taken already.
    pub(super) fn byte(&mut self, input: &mut &[u8]) -> Option<u8> {
        self.bits.align();
        let byte = self.bits.take(8, input)?;
        u8::try_from(byte).ok()
    }

    /// Whether bytes were taken that do not belong to what has been read.
    pub(super) fn has_more(&self) -> bool {
        self.bits.count >= 8
    }

    /// `None` if it is malformed.
    fn step(&mut self, block: Block, input: &mut &[u8]) -> Option<Step> {
        Some(match block {
            Block::Header => match self.bits.take(3, input) {
                None => Step::Waits(Block::Header),
                Some(header) => {
                    self.effort.spend(BLOCK_EFFORT);
                    self.is_last = header & 1 == 1;
                    Step::Next(match header >> 1 {
                        0 => {
                            self.bits.align();
                            Block::StoredLength
                        }
                        1 => Block::Fixed,
                        2 => Block::Counts,
                        _ => return None,
                    })
                }
            },
            Block::StoredLength => match self.bits.take(32, input) {
                None => Step::Waits(Block::StoredLength),
                Some(lengths) => {
                    let (length, check) = (lengths as u16, (lengths >> 16) as u16);
                    if length != !check {
                        return None;
                    }
                    Step::Next(Block::Stored(length))
                }
            },
            Block::Stored(0) => Step::Next(self.next_block()),
            Block::Stored(length) => self.stored(length, input),
            Block::Counts => match self.bits.take(14, input) {
                None => Step::Waits(Block::Counts),
                Some(counts) => {
                    let described = Described::new(counts)?;
                    Step::Next(Block::LengthLengths(Box::new(described)))
                }
            },
            Block::LengthLengths(mut described) => loop {
                if described.known >= described.length_lengths {
                    self.effort.spend(TABLE_EFFORT);
                    // Its place is free until the lengths are known.
                    self.spare.distances.set(&described.ordered(), true)?;
                    described.known = 0;
                    break Step::Next(Block::Lengths(described));
                }
                let Some(length) = self.bits.take(3, input) else {
                    break Step::Waits(Block::LengthLengths(described));
                };
                described.add(length as u8, 1)?;
            },
            Block::Lengths(mut described) => loop {
                if described.known >= described.lengths() {
                    described.codes(&mut self.spare)?;
                    break Step::Next(Block::Dynamic);
                }
                self.bits.refill(input);
                let mut bits = self.bits;
                if described.read(&self.spare.distances, &mut bits)?.is_none() {
                    break Step::Waits(Block::Lengths(described));
                }
                self.bits = bits;
            },
            Block::Fixed => {
                let fixed = match &mut self.fixed {
                    Some(fixed) => fixed,
                    none => none.insert(Codes::fixed()?),
                };
                let said = said(fixed, &mut self.bits, &mut self.history, input)?;
                self.after(said, Block::Fixed)
            }
            Block::Dynamic => {
                let said = said(&self.spare, &mut self.bits, &mut self.history, input)?;
                self.after(said, Block::Dynamic)
            }
            Block::Ended => Step::Next(Block::Ended),
        })
    }

    fn next_block(&self) -> Block {
        match self.is_last {
            true => Block::Ended,
            false => Block::Header,
        }
    }

    fn after(&self, said: Said, block: Block) -> Step {
        match said {
            Said::All => Step::Next(self.next_block()),
            Said::Enough => Step::Next(block),
            Said::Waits => Step::Waits(block),
        }
    }

    fn stored(&mut self, length: u16, input: &mut &[u8]) -> Step {
        // Whole bytes that were taken already come first.
        if self.bits.count > 0 {
            return match self.bits.take(8, input) {
                None => Step::Waits(Block::Stored(length)),
                Some(byte) => {
                    self.history.push(byte as u8);
                    Step::Next(Block::Stored(length.saturating_sub(1)))
                }
            };
        }
        let taken = usize::from(length).min(input.len());
        let (bytes, rest) = input.split_at_checked(taken).unwrap_or((input, b""));
        self.history.extend(bytes);
        *input = rest;
        let left = length.saturating_sub(u16::try_from(taken).unwrap_or(length));
        match left {
            0 => Step::Next(self.next_block()),
            left => Step::Waits(Block::Stored(left)),
        }
    }
}

/// What a block says, until it ends, or says much, or needs more input.
fn said(codes: &Codes, bits: &mut Bits, history: &mut History, input: &mut &[u8]) -> Option<Said> {
    while history.fresh().len() < STEP_BYTES {
        bits.refill(input);
        // What is read of a symbol that is not all there is read again.
        let mut next = *bits;
        let Some(symbol) = codes.literals.symbol(&mut next)? else {
            return Some(Said::Waits);
        };
        match symbol {
            0..=255 => history.push(symbol as u8),
            END_OF_BLOCK => {
                *bits = next;
                return Some(Said::All);
            }
            _ => {
                let Some(length) = part(length(symbol)?, &mut next) else {
                    return Some(Said::Waits);
                };
                let Some(symbol) = codes.distances.symbol(&mut next)? else {
                    return Some(Said::Waits);
                };
                let Some(distance) = part(distance(symbol)?, &mut next) else {
                    return Some(Said::Waits);
                };
                history.repeat(distance, length)?;
            }
        }
        *bits = next;
    }
    Some(Said::Enough)
}

enum Said {
    /// It is at its end.
    All,
    /// Enough for one step.
    Enough,
    Waits,
}

/// A length or a distance: `base`, and so many `extra` bits added. `None` is a lack of bits.
fn part((base, extra): (u16, u16), bits: &mut Bits) -> Option<usize> {
    let more = bits.pop(u32::from(extra))?;
    Some(usize::from(base).saturating_add(more as usize))
}

/// The least length that a symbol from 257 on stands for, and how many bits are added.
fn length(symbol: u16) -> Option<(u16, u16)> {
    Some(match symbol.checked_sub(257)? {
        step @ 0..8 => (3 + step, 0),
        step @ 8..28 => {
            let extra = step / 4 - 1;
            (((4 + step % 4) << extra) + 3, extra)
        }
        28 => (258, 0),
        _ => return None,
    })
}

/// The least distance that a symbol stands for, and how many bits are added.
fn distance(symbol: u16) -> Option<(u16, u16)> {
    Some(match symbol {
        0..4 => (1 + symbol, 0),
        4..30 => {
            let extra = symbol / 2 - 1;
            (((2 + symbol % 2) << extra) + 1, extra)
        }
        _ => return None,
    })
}

/// Bits that were taken from the input, the next one lowest.
#[derive(Clone, Copy, Debug, Default)]
struct Bits {
    held: u64,
    count: u32,
}

impl Bits {
    /// Takes as many whole bytes as there is room for.
    fn refill(&mut self, input: &mut &[u8]) {
        // Enough for a length and a distance with all that belongs to them.
        if self.count >= 48 {
            return;
        }
        if self.count < 32
            && let Some((word, rest)) = input.split_first_chunk::<4>()
        {
            self.held |= u64::from(u32::from_le_bytes(*word)) << self.count;
            self.count = self.count.saturating_add(32);
            *input = rest;
        }
        while self.count <= 56
            && let Some((byte, rest)) = input.split_first()
        {
            self.held |= u64::from(*byte) << self.count;
            self.count = self.count.saturating_add(8);
            *input = rest;
        }
    }

    /// Takes the next bits, at most 32. `None` if there are not as many.
    fn take(&mut self, count: u32, input: &mut &[u8]) -> Option<u32> {
        while self.count < count {
            let (byte, rest) = input.split_first()?;
            self.held |= u64::from(*byte) << self.count;
            self.count = self.count.saturating_add(8);
            *input = rest;
        }
        self.pop(count)
    }

    /// The same of those that were taken from the input.
    fn pop(&mut self, count: u32) -> Option<u32> {
        let rest = self.count.checked_sub(count)?;
        let bits = self.held & (1_u64 << count).saturating_sub(1);
        self.held >>= count;
        self.count = rest;
        u32::try_from(bits).ok()
    }

    /// Passes over the rest of a byte.
    fn align(&mut self) {
        let _padding = self.pop(self.count % 8);
    }
}

/// The lengths of a block's codes, as far as they are known.
#[derive(Debug)]
struct Described {
    length_lengths: usize,
    literals: usize,
    distances: usize,
    all: [u8; MAX_LITERALS + MAX_DISTANCES],
    known: usize,
}

impl Described {
    fn new(counts: u32) -> Option<Self> {
        let described = Self {
            literals: (counts & 31) as usize + 257,
            distances: ((counts >> 5) & 31) as usize + 1,
            length_lengths: (counts >> 10) as usize + 4,
            all: [0; MAX_LITERALS + MAX_DISTANCES],
            known: 0,
        };
        let fits = described.literals <= MAX_LITERALS && described.distances <= MAX_DISTANCES;
        fits.then_some(described)
    }

    fn lengths(&self) -> usize {
        self.literals.saturating_add(self.distances)
    }

    /// The lengths of the codes for lengths, in the order of what they stand for.
    fn ordered(&self) -> [u8; 19] {
        let mut ordered = [0; 19];
        let known = self.all.get(..self.length_lengths).unwrap_or_default();
        for (length, place) in known.iter().zip(LENGTHS_ORDER) {
            if let Some(ordered) = ordered.get_mut(place) {
                *ordered = *length;
            }
        }
        ordered
    }

    fn add(&mut self, length: u8, times: usize) -> Option<()> {
        let end = self.known.saturating_add(times);
        self.all.get_mut(self.known..end)?.fill(length);
        self.known = end;
        Some(())
    }

    /// Reads the next lengths. The inner `None` is a lack of bits.
    fn read(&mut self, code: &Code, bits: &mut Bits) -> Option<Option<()>> {
        let Some(symbol) = code.symbol(bits)? else {
            return Some(None);
        };
        let (length, least, extra) = match symbol {
            0..16 => (symbol as u8, 1, 0),
            16 => (*self.all.get(self.known.checked_sub(1)?)?, 3, 2),
            17 => (0, 3, 3),
            _ => (0, 11, 7),
        };
        let Some(more) = bits.pop(extra) else {
            return Some(None);
        };
        if self.known.saturating_add(least + more as usize) > self.lengths() {
            return None;
        }
        self.add(length, least + more as usize).map(Some)
    }

    fn codes(&self, codes: &mut Codes) -> Option<()> {
        let lengths = self.all.get(..self.lengths())?;
        let (literals, distances) = lengths.split_at_checked(self.literals)?;
        // Without a code for its end a block has none.
        if literals.get(usize::from(END_OF_BLOCK)) == Some(&0) {
            return None;
        }
        codes.literals.set(literals, false)?;
        codes.distances.set(distances, false)
    }
}

/// The two codes of a block.
#[derive(Debug, Default)]
struct Codes {
    literals: Code,
    distances: Code,
}

impl Codes {
    fn fixed() -> Option<Box<Self>> {
        let mut literals = [8; 288];
        literals.get_mut(144..256)?.fill(9);
        literals.get_mut(256..280)?.fill(7);
        let mut fixed = Box::<Self>::default();
        fixed.literals.set(&literals, true)?;
        fixed.distances.set(&[5; 32], true)?;
        Some(fixed)
    }
}

/// A canonical Huffman code.
#[derive(Debug)]
struct Code {
    /// For the next bits: a symbol, and in the lowest four bits how many of them it takes, or 0 if
    /// more are needed.
    short: [u16; 1 << SHORT_BITS],
    /// How many codes there are of each length.
    counts: [u16; MAX_LENGTH + 1],
    /// The symbols, by their codes.
    symbols: [u16; 288],
}

impl Default for Code {
    fn default() -> Self {
        Self {
            short: [0; 1 << SHORT_BITS],
            counts: [0; MAX_LENGTH + 1],
            symbols: [0; 288],
        }
    }
}

impl Code {
    /// Makes it the code of these lengths. `None` if these cannot be the lengths of a code. As in zlib, one that leaves something out
    /// has a single symbol, or none, and must not do so where it is to be `complete`.
    fn set(&mut self, lengths: &[u8], complete: bool) -> Option<()> {
        let mut counts = [0_u16; MAX_LENGTH + 1];
        for length in lengths {
            *counts.get_mut(usize::from(*length))? += 1;
        }
        *counts.first_mut()? = 0;
        let mut left = 1_i32;
        let mut next_code = [0_u32; MAX_LENGTH + 1];
        let mut next_place = [0_u16; MAX_LENGTH + 1];
        let (mut code, mut place, mut longest) = (0, 0, 0);
        for (length, count) in counts.iter().enumerate().skip(1) {
            left = (left << 1) - i32::from(*count);
            if left < 0 {
                return None;
            }
            code <<= 1;
            *next_code.get_mut(length)? = code;
            *next_place.get_mut(length)? = place;
            code += u32::from(*count);
            place += count;
            if *count > 0 {
                longest = length;
            }
        }
        if left > 0 && (complete || longest > 1) {
            return None;
        }
        self.short = [0; 1 << SHORT_BITS];
        self.counts = counts;
        for (symbol, length) in lengths
            .iter()
            .enumerate()
            .filter(|(_, length)| **length > 0)
        {
            let (at, symbol) = (usize::from(*length), u16::try_from(symbol).ok()?);
            let place = next_place.get_mut(at)?;
            *self.symbols.get_mut(usize::from(*place))? = symbol;
            *place += 1;
            let code = next_code.get_mut(at)?;
            if u32::from(*length) <= SHORT_BITS {
                // The first bit of a code is its highest, and the lowest of what was read.
                let reversed = code.reverse_bits() >> (32 - u32::from(*length));
                let step = 1_usize << *length;
                for entry in self.short.iter_mut().skip(reversed as usize).step_by(step) {
                    *entry = (symbol << 4) | u16::from(*length);
                }
            }
            *code += 1;
        }
        Some(())
    }

    /// The next symbol. The inner `None` is a lack of bits.
    #[inline]
    fn symbol(&self, bits: &mut Bits) -> Option<Option<u16>> {
        let next = (bits.held & ((1 << SHORT_BITS) - 1)) as usize;
        match self.short.get(next) {
            Some(entry @ 1..) => Some(bits.pop(u32::from(entry & 15)).map(|_| entry >> 4)),
            _ => self.long(bits),
        }
    }

    fn long(&self, bits: &mut Bits) -> Option<Option<u16>> {
        let (mut code, mut first, mut place) = (0_u32, 0_u32, 0_u32);
        for count in self.counts.iter().skip(1) {
            let Some(bit) = bits.pop(1) else {
                return Some(None);
            };
            code |= bit;
            let count = u32::from(*count);
            if code < first + count {
                let place = place + code.checked_sub(first)?;
                return self.symbols.get(place as usize).copied().map(Some);
            }
            place += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// How far back deflate reaches.
const HISTORY_BYTES: usize = 32 * 1024;
const END_OF_BLOCK: u16 = 256;
const MAX_LITERALS: usize = 286;
const MAX_DISTANCES: usize = 30;
const MAX_LENGTH: usize = 15;
const SHORT_BITS: u32 = 9;

/// What it takes to begin a block, in steps: what flushes after each line has two for a line.
const BLOCK_EFFORT: usize = 192;

/// What it takes to build the tables of one block, in steps.
const TABLE_EFFORT: usize = 1_024;

const LENGTHS_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
