//! The two directions in which Zstandard has its bits read.

/// Bits from the first byte on, the lowest of each byte first.
#[derive(Debug)]
pub(super) struct Forward<'a> {
    bytes: &'a [u8],
    /// How many bits were read.
    position: usize,
}

impl<'a> Forward<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next bits, at most 16.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let bits = window(self.bytes, self.position) & ((1 << count) - 1);
        self.position = self.position.checked_add(count as usize)?;
        (self.position <= self.bytes.len() * 8).then_some(bits as u32)
    }

    /// Goes back by a bit.
    pub(super) fn give_back(&mut self) {
        self.position = self.position.saturating_sub(1);
    }

    /// The bytes after the last one of which something was read.
    pub(super) fn rest(&self) -> Option<&'a [u8]> {
        self.bytes.get(self.position.div_ceil(8)..)
    }
}

/// Bits from the last byte on, the highest first. Beyond the first byte there are zeros.
#[derive(Debug)]
pub(super) struct Backward<'a> {
    bytes: &'a [u8],
    /// How many bits are left; negative once more were read.
    left: i64,
}

impl<'a> Backward<'a> {
    /// The highest bit that is set marks the beginning.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let last = bytes.last().filter(|last| **last != 0)?;
        let bits = i64::try_from(bytes.len()).ok()? * 8;
        Some(Self {
            bytes,
            left: bits - i64::from(last.leading_zeros()) - 1,
        })
    }

    /// The next bits, at most 32, without reading them.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> u32 {
        let mask = (1_u64 << count) - 1;
        let start = self.left - i64::from(count);
        let bits = match usize::try_from(start) {
            Ok(start) => window(self.bytes, start),
            // Before the first byte.
            Err(_) => match u32::try_from(-start) {
                Ok(missing @ 0..64) => window(self.bytes, 0) << missing,
                _ => 0,
            },
        };
        (bits & mask) as u32
    }

    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.left -= i64::from(count);
    }

    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// Every bit was read, and none more.
    pub(super) fn is_at_end(&self) -> bool {
        self.left == 0
    }

    pub(super) fn is_beyond_end(&self) -> bool {
        self.left < 0
    }
}

/// At least 57 bits from this one on, the lowest of each byte first, and zeros after the last byte.
#[inline]
fn window(bytes: &[u8], position: usize) -> u64 {
    let rest = bytes.get(position / 8..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    };
    word >> (position % 8)
}
