//! Zlib and gzip (RFC 1950, 1952), by zlib-rs, with a bound on its work.
//!
//! The most expensive input is a block with codes of its own and almost no content: 11 bytes of input
//! take more than a microsecond. So decoding stops at the end of each block, and blocks are counted
//! ([`Effort`]); flate2 does not offer that. Blocks with the static codes need no tables.

use std::fmt;

use zlib_rs::{Inflate as Stream, InflateFlush, Status};

use super::effort::Effort;
use super::fault::CodingFault;
use crate::steps;

/// A zlib or gzip stream, on its way through its window.
pub(super) struct Inflate {
    stream: Stream,
    /// The output of one call.
    step: Box<[u8; STEP_BYTES]>,
    /// How many bytes of input the block has taken.
    block: usize,
    effort: Effort,
}

impl Inflate {
    pub(super) fn zlib() -> Self {
        Self::new(WINDOW_BITS)
    }

    pub(super) fn gzip() -> Self {
        Self::new(GZIP | WINDOW_BITS)
    }

    fn new(window_bits: u8) -> Self {
        Self {
            stream: Stream::new(true, window_bits),
            step: Box::new([0; STEP_BYTES]),
            block: 0,
            effort: Effort::default(),
        }
    }

    /// Takes the input up to the stream's end, or all of it. Tells whether the stream ended, as it
    /// does only after its checksum and its length.
    pub(super) fn run(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<bool, CodingFault> {
        let mut idle = 0;
        loop {
            let (taken, given) = (self.stream.total_in(), self.stream.total_out());
            let step = self.step.as_mut_slice();
            let status = self.stream.decompress(input, step, InflateFlush::Block);
            let taken = self.stream.total_in().saturating_sub(taken) as usize;
            let given = self.stream.total_out().saturating_sub(given) as usize;
            steps::take(1 + taken + given);
            *input = input.get(taken..).unwrap_or_default();
            let fresh = self.step.get(..given).unwrap_or_default();
            *left = left.checked_sub(given).ok_or(CodingFault::TooLarge)?;
            out.extend_from_slice(fresh);
            match status {
                Ok(Status::StreamEnd) => return Ok(true),
                Ok(Status::Ok | Status::BufError) => {}
                Err(_) => return Err(self.fault()),
            }
            self.effort.allow(given);
            self.block = self.block.saturating_add(taken);
            // Otherwise it may have stopped for more input, and not at the end of a block. A sender of
            // such short chunks causes more work elsewhere than here.
            if !input.is_empty() && given < STEP_BYTES {
                self.effort.spend(match self.block {
                    ..LEAST_CODES => BLOCK_EFFORT,
                    _ => TABLE_EFFORT,
                });
                self.effort.check()?;
                self.block = 0;
            }
            // A few bits that it holds may be enough for another block or two.
            idle = match (taken, given) {
                (0, 0) => idle + 1,
                _ => 0,
            };
            if idle == MAX_IDLE {
                return match input.is_empty() {
                    true => Ok(false),
                    false => Err(CodingFault::Malformed),
                };
            }
        }
    }

    fn fault(&self) -> CodingFault {
        match self.stream.error_message() {
            Some("incorrect data check" | "incorrect length check" | "header crc mismatch") => {
                CodingFault::Checksum
            }
            _ => CodingFault::Malformed,
        }
    }

    /// Bytes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Self>() + STREAM_BYTES + STEP_BYTES
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate")
            .field("taken", &self.stream.total_in())
            .field("given", &self.stream.total_out())
            .field("effort", &self.effort)
            .finish_non_exhaustive()
    }
}

const WINDOW_BITS: u8 = 15;
/// Added to them: a gzip header and trailer, not those of zlib.
const GZIP: u8 = 16;

/// What the library allocates: its window, its tables, and where it is.
const STREAM_BYTES: usize = 48 << 10;
const STEP_BYTES: usize = 16 << 10;

/// How often it may move by bits only: a block's end may take one.
const MAX_IDLE: u8 = 4;

/// A block with codes of its own takes no fewer bytes, of which one may count for that before it.
const LEAST_CODES: usize = 10;

/// What it takes to go through a block, in steps.
const BLOCK_EFFORT: usize = 64;

/// What it takes to build the tables of one block, in steps. A stream that is flushed after each event
/// of 90 bytes is still let pass.
const TABLE_EFFORT: usize = 2_816;
