//! Bounds the work of a decoder.

use super::fault::CodingFault;
use crate::steps;

/// Bounds the work on streams that decode to little: long descriptions of codes that are hardly used.
/// Real encoders describe a code only where that saves bytes.
#[derive(Debug, Default)]
pub(super) struct Effort {
    /// Steps of about a nanosecond.
    spent: usize,
    /// How many bytes it gave.
    decoded: usize,
}

impl Effort {
    const FREE: usize = 128 << 10;
    const PER_BYTE: usize = 32;

    pub(super) fn spend(&mut self, spent: usize) {
        steps::take(spent);
        self.spent = self.spent.saturating_add(spent);
    }

    pub(super) fn allow(&mut self, decoded: usize) {
        self.decoded = self.decoded.saturating_add(decoded);
    }

    pub(super) fn check(&self) -> Result<(), CodingFault> {
        let allowed = self.decoded.saturating_mul(Self::PER_BYTE);
        match self.spent > allowed.saturating_add(Self::FREE) {
            true => Err(CodingFault::Laborious),
            false => Ok(()),
        }
    }
}
