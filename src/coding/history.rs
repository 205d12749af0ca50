//! What was decoded last: what a compressed text refers back to.

use super::fault::CodingFault;
use crate::steps;

/// The last bytes that were decoded, of which the newest are still to be handed out.
#[derive(Debug)]
pub(super) struct History {
    bytes: Vec<u8>,
    /// Where the bytes begin that were not handed out.
    fresh: usize,
    /// How far back a reference may reach.
    reach: usize,
}

impl History {
    pub(super) fn new(reach: usize) -> Self {
        Self {
            bytes: Vec::new(),
            fresh: 0,
            reach,
        }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn fill(&mut self, byte: u8, length: usize) {
        let length = self.bytes.len().saturating_add(length);
        self.bytes.resize(length, byte);
    }

    /// Says again what was said this many bytes ago. What is said again may itself be a part of that.
    /// `None` if it reaches too far back.
    pub(super) fn repeat(&mut self, distance: usize, length: usize) -> Option<()> {
        steps::take(length);
        if distance == 0 || distance > self.reach {
            return None;
        }
        let start = self.bytes.len().checked_sub(distance)?;
        if distance >= length {
            self.bytes
                .extend_from_within(start..start.saturating_add(length));
            return Some(());
        }
        if let (1, Some(byte)) = (distance, self.bytes.last().copied()) {
            self.fill(byte, length);
            return Some(());
        }
        let mut left = length;
        while left > 0 {
            // Whatever was added is a repetition too: each round copies twice as much.
            let copied = left.min(self.bytes.len().saturating_sub(start));
            self.bytes
                .extend_from_within(start..start.saturating_add(copied));
            left = left.saturating_sub(copied);
        }
        Some(())
    }

    /// The bytes that were not handed out.
    pub(super) fn fresh(&self) -> &[u8] {
        self.bytes.get(self.fresh..).unwrap_or_default()
    }

    /// Hands out what is fresh, if no more than `left` may come.
    pub(super) fn hand_out(
        &mut self,
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<(), CodingFault> {
        let fresh = self.fresh();
        *left = left.checked_sub(fresh.len()).ok_or(CodingFault::TooLarge)?;
        out.extend_from_slice(fresh);
        self.fresh = self.bytes.len();
        // Rarely enough for the copying to stay in proportion.
        let surplus = self.bytes.len().saturating_sub(self.reach);
        if surplus >= self.reach / 4 + STEP_BYTES {
            steps::take(self.bytes.len());
            self.bytes.drain(..surplus);
            self.fresh = self.bytes.len();
        }
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What is decoded between two times of handing out, or a little more.
const STEP_BYTES: usize = 16 * 1024;
