//! Decoders of content codings. Requests and answers are decoded to be read; what is stored and what
//! passes stays encoded as it came.
//!
//! Source: RFC 9110, section 8.4; RFC 1950 (zlib), RFC 1951 (deflate), RFC 1952 (gzip), RFC 8878 and
//! RFC 9659 (Zstandard). Brotli is not among them: its decoder is 170 KB of module, those of the
//! others 75 KB in all.
//!
//! The sender chooses every bit, so the work is bounded by the length of the output ([`effort::Effort`]). Only
//! one gzip member or one Zstandard frame is accepted, because some clients stop after the first of
//! several.

use std::mem;

mod effort;
mod fault;
mod history;
mod inflate;
mod xxh64;
mod zstd;

pub use fault::CodingFault;
use inflate::Inflate;
use zstd::Zstd;

/// Undoes one content coding as the bytes come.
///
/// It holds [`Decoder::held_bytes`] bytes: for gzip and deflate 64 KB, for Zstandard the window
/// that the frame asks for, at most 8.25 MiB and no more than was decoded.
#[derive(Debug)]
pub struct Decoder {
    stage: Stage,
    /// How many more bytes it may give.
    left: usize,
}

/// Decodes a whole body of at most `max_bytes` decoded bytes.
///
/// # Errors
/// If the coding is not known, or the body is not as it says.
pub fn decode(coding: &[u8], body: &[u8], max_bytes: usize) -> Result<Vec<u8>, CodingFault> {
    let mut decoder = Decoder::new(coding, max_bytes).ok_or(CodingFault::Malformed)?;
    let mut out = Vec::new();
    decoder.decode(body, &mut out)?;
    decoder.finish().map(|()| out)
}

/// The highest compression ratio of a prompt. Agents' prompts with source files have 4, listings and
/// logs 8, few-shot questions of one pattern 25; only text that is repeated dozens of times has more.
pub const MAX_PROMPT_RATIO: usize = 32;

/// The decoded length that is allowed for a prompt of any length.
pub const FREE_PROMPT_BYTES: usize = 64 << 10;

/// Decodes a prompt of at most `max_bytes` decoded bytes. All of it is parsed, sorted and hashed, so its
/// length is bounded by that of the body as well: otherwise 16 KB would cost as much work as 16 MB.
///
/// # Errors
/// As [`decode`], and [`CodingFault::Laborious`] if the ratio is too high.
pub fn decode_prompt(coding: &[u8], body: &[u8], max_bytes: usize) -> Result<Vec<u8>, CodingFault> {
    let worth = body.len().saturating_mul(MAX_PROMPT_RATIO);
    let worth = worth.max(FREE_PROMPT_BYTES);
    decode(coding, body, max_bytes.min(worth)).map_err(|fault| match fault {
        CodingFault::TooLarge if worth < max_bytes => CodingFault::Laborious,
        fault => fault,
    })
}

impl Decoder {
    /// A decoder for an answer with this `content-encoding`, which gives at most `max_bytes`. `None` if
    /// the coding is not known, or is a list of several.
    pub fn new(content_encoding: &[u8], max_bytes: usize) -> Option<Self> {
        let stage = match content_encoding
            .trim_ascii()
            .to_ascii_lowercase()
            .as_slice()
        {
            b"" | b"identity" => Stage::Identity,
            b"gzip" | b"x-gzip" => Stage::Inflate(Box::new(Inflate::gzip())),
            // Zlib, as the RFC says. Raw deflate, which some servers once sent, is a fault.
            b"deflate" => Stage::Inflate(Box::new(Inflate::zlib())),
            b"zstd" => Stage::Zstd(Box::new(Zstd::new())),
            _ => return None,
        };
        Some(Self {
            stage,
            left: max_bytes,
        })
    }

    /// Takes the next bytes, cut anywhere, and adds to `out` what they decode to.
    ///
    /// # Errors
    /// As soon as the bytes cannot be decoded, or decode to too much. Later bytes do not change that.
    /// What was added to `out` before then must not be trusted.
    pub fn decode(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), CodingFault> {
        let mut rest = chunk;
        while !rest.is_empty() && !matches!(self.stage, Stage::Faulty(_)) {
            let stage = mem::replace(&mut self.stage, Stage::Faulty(CodingFault::Malformed));
            self.stage = stage
                .step(&mut rest, out, &mut self.left)
                .unwrap_or_else(Stage::Faulty);
        }
        match self.stage {
            Stage::Faulty(fault) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// If it did not decode, or is not exactly at its end.
    pub fn finish(self) -> Result<(), CodingFault> {
        match self.stage {
            Stage::Faulty(fault) => Err(fault),
            _ if self.is_ended() => Ok(()),
            _ => Err(CodingFault::Truncated),
        }
    }

    /// Whether the answer may end here: the coding's own end has come, if it has one.
    pub fn is_ended(&self) -> bool {
        match &self.stage {
            Stage::Identity | Stage::End => true,
            Stage::Zstd(zstd) => zstd.is_ended(),
            Stage::Inflate(_) | Stage::Faulty(_) => false,
        }
    }

    /// Bytes of memory that it holds.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.stage.held_bytes())
    }
}

/// Where in the coded answer the next byte is.
///
/// ```text
/// Identity
/// Inflate ---> End
/// Zstd
///
/// each ---> Faulty
/// ```
#[derive(Debug)]
enum Stage {
    Identity,
    Inflate(Box<Inflate>),
    End,
    Zstd(Box<Zstd>),
    Faulty(CodingFault),
}

impl Stage {
    /// Takes some of `input`, which is not empty, or goes on to the next stage.
    fn step(
        self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<Self, CodingFault> {
        Ok(match self {
            Self::Identity => {
                *left = left.checked_sub(input.len()).ok_or(CodingFault::TooLarge)?;
                out.extend_from_slice(mem::take(input));
                self
            }
            Self::Inflate(mut inflate) => match inflate.run(input, out, left)? {
                true => Self::End,
                false => Self::Inflate(inflate),
            },
            Self::Zstd(mut zstd) => {
                zstd.run(input, out, left)?;
                Self::Zstd(zstd)
            }
            Self::End => return Err(CodingFault::AfterEnd),
            Self::Faulty(fault) => return Err(fault),
        })
    }

    /// Bytes of memory.
    fn held_bytes(&self) -> usize {
        match self {
            Self::Inflate(inflate) => inflate.held_bytes(),
            Self::Zstd(zstd) => zstd.held_bytes(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
