//! Content codings: undone to judge an answer, while what is stored stays as it came.
//!
//! Source: RFC 9110, section 8.4; RFC 1950 (zlib), RFC 1951 (deflate), RFC 1952 (gzip). Brotli and
//! Zstandard are not among them: their decoders are 210 and 160 KB of module each, that of deflate
//! is 19 KB.

use std::{fmt, mem};

use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_IGNORE_ADLER32, TINFL_FLAG_PARSE_ZLIB_HEADER,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// Undoes one content coding as the bytes come.
///
/// For a compressed answer it holds about 60 KB, whatever comes.
#[derive(Debug)]
pub struct Decoder {
    stage: Stage,
    /// How many bytes may still come out.
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

impl Decoder {
    /// A decoder for an answer with this `content-encoding`, out of which may come `max_bytes` in
    /// all. `None` if the coding is not known, or is a list of several.
    pub fn new(content_encoding: &[u8], max_bytes: usize) -> Option<Self> {
        let stage = match content_encoding
            .trim_ascii()
            .to_ascii_lowercase()
            .as_slice()
        {
            b"" | b"identity" => Stage::Identity,
            b"gzip" | b"x-gzip" => Stage::GzipHeader(Header::new(), Inflate::new(Wrapper::None)),
            // Zlib, as the RFC says. Raw deflate, which some servers once sent, is a fault.
            b"deflate" => Stage::ZlibData(Inflate::new(Wrapper::Zlib)),
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
    /// As soon as the bytes cannot be decoded, or say too much. Later bytes do not change that.
    /// What was added to `out` before then is no proof of anything.
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
            Stage::Identity | Stage::GzipEnd(_) | Stage::ZlibEnd => Ok(()),
            Stage::Faulty(fault) => Err(fault),
            Stage::GzipHeader(..)
            | Stage::GzipData(..)
            | Stage::GzipTrailer(..)
            | Stage::ZlibData(_) => Err(CodingFault::Truncated),
        }
    }
}

/// Why an answer cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingFault {
    /// Not what the coding looks like.
    Malformed,
    /// Its checksum or its length is another one.
    Checksum,
    /// It ended before its end.
    Truncated,
    /// Something after its end.
    AfterEnd,
    /// It decodes to more than was allowed.
    TooLarge,
}

impl CodingFault {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "coding_malformed",
            Self::Checksum => "coding_checksum",
            Self::Truncated => "coding_truncated",
            Self::AfterEnd => "coding_after_end",
            Self::TooLarge => "coding_too_large",
        }
    }
}

/// Where in the coded answer the next byte is.
///
/// ```text
/// Identity             GzipHeader ---> GzipData ---> GzipTrailer ---> GzipEnd
///                           ^                                            |
/// ZlibData ---> ZlibEnd     +----------------- another member -----------+
///
/// each ---> Faulty
/// ```
#[derive(Debug)]
enum Stage {
    Identity,
    GzipHeader(Header, Inflate),
    GzipData(Sums, Inflate),
    GzipTrailer(Trailer, Inflate),
    /// A member is complete; another may follow (RFC 1952, section 2.2).
    GzipEnd(Inflate),
    /// Header and checksum included.
    ZlibData(Inflate),
    ZlibEnd,
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
            Self::GzipHeader(header, inflate) => match header.byte(take_byte(input)?)? {
                Some(header) => Self::GzipHeader(header, inflate),
                None => Self::GzipData(Sums::default(), inflate),
            },
            Self::GzipData(mut sums, mut inflate) => {
                let before = out.len();
                let ended = inflate.run(input, out, left)?;
                sums.update(out.get(before..).unwrap_or_default());
                if ended {
                    Self::GzipTrailer(Trailer::new(sums), inflate)
                } else {
                    Self::GzipData(sums, inflate)
                }
            }
            Self::GzipTrailer(trailer, mut inflate) => match trailer.byte(take_byte(input)?)? {
                Some(trailer) => Self::GzipTrailer(trailer, inflate),
                None => {
                    inflate.restart();
                    Self::GzipEnd(inflate)
                }
            },
            Self::GzipEnd(inflate) if input.starts_with(&[ID1]) => {
                Self::GzipHeader(Header::new(), inflate)
            }
            Self::ZlibData(mut inflate) => {
                if inflate.run(input, out, left)? {
                    Self::ZlibEnd
                } else {
                    Self::ZlibData(inflate)
                }
            }
            Self::GzipEnd(_) | Self::ZlibEnd => return Err(CodingFault::AfterEnd),
            Self::Faulty(fault) => return Err(fault),
        })
    }
}

fn take_byte(input: &mut &[u8]) -> Result<u8, CodingFault> {
    let (byte, rest) = input.split_first().ok_or(CodingFault::Truncated)?;
    *input = rest;
    Ok(*byte)
}

/// The header of a gzip member, as far as it has come (RFC 1952, section 2.3).
#[derive(Debug)]
struct Header {
    field: Field,
    /// The flags of the fields that are still to come.
    flags: u8,
    checksum: Hasher,
}

/// What the next byte of a header belongs to.
#[derive(Clone, Copy, Debug)]
enum Field {
    /// The ten bytes that every header has: how many have come.
    Fixed(u8),
    ExtraLength,
    ExtraLengthHigh(u8),
    /// How many bytes of it are to come, at least one.
    Extra(u16),
    /// A name or a comment, up to a zero byte. Its length is not bounded, but nothing is held.
    Text,
    Checksum([u8; 2]),
    ChecksumHigh(u8),
}

impl Header {
    fn new() -> Self {
        Self {
            field: Field::Fixed(0),
            flags: 0,
            checksum: Hasher::new(),
        }
    }

    /// Takes the next byte. `None` if that was the last one.
    fn byte(mut self, byte: u8) -> Result<Option<Self>, CodingFault> {
        self.checksum.update(&[byte]);
        self.field = match self.field {
            Field::Fixed(place) => {
                let fits = match place {
                    0 => byte == ID1,
                    1 => byte == ID2,
                    2 => byte == METHOD_DEFLATE,
                    3 => byte & FLAGS_RESERVED == 0,
                    // The time, how hard it was compressed, and on what system.
                    _ => true,
                };
                if !fits {
                    return Err(CodingFault::Malformed);
                }
                if place == 3 {
                    self.flags = byte;
                }
                if place == 9 {
                    return Ok(self.next_field());
                }
                Field::Fixed(place.saturating_add(1))
            }
            Field::ExtraLength => Field::ExtraLengthHigh(byte),
            Field::ExtraLengthHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => return Ok(self.next_field()),
                length => Field::Extra(length),
            },
            Field::Extra(1) => return Ok(self.next_field()),
            Field::Extra(left) => Field::Extra(left.saturating_sub(1)),
            Field::Text if byte == 0 => return Ok(self.next_field()),
            Field::Text => Field::Text,
            Field::Checksum([low, high]) if byte == low => Field::ChecksumHigh(high),
            Field::ChecksumHigh(high) if byte == high => return Ok(None),
            Field::Checksum(_) | Field::ChecksumHigh(_) => return Err(CodingFault::Checksum),
        };
        Ok(Some(self))
    }

    fn next_field(mut self) -> Option<Self> {
        self.field = if self.take_flag(FLAG_EXTRA) {
            Field::ExtraLength
        } else if self.take_flag(FLAG_NAME) || self.take_flag(FLAG_COMMENT) {
            Field::Text
        } else if self.take_flag(FLAG_CHECKSUM) {
            let [low, high, ..] = self.checksum.clone().finalize().to_le_bytes();
            Field::Checksum([low, high])
        } else {
            return None;
        };
        Some(self)
    }

    fn take_flag(&mut self, flag: u8) -> bool {
        let set = self.flags & flag != 0;
        self.flags &= !flag;
        set
    }
}

const ID1: u8 = 0x1f;
const ID2: u8 = 0x8b;
const METHOD_DEFLATE: u8 = 8;
const FLAG_CHECKSUM: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0b1110_0000;

/// What the data of a gzip member comes to.
#[derive(Debug, Default)]
struct Sums {
    checksum: Hasher,
    /// Modulo 2^32, as the trailer has it.
    length: u32,
}

impl Sums {
    fn update(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
        self.length = self.length.wrapping_add(bytes.len() as u32);
    }
}

/// The trailer of a gzip member, which must be this one.
#[derive(Debug)]
struct Trailer {
    expected: [u8; 8],
    /// How many bytes have come, fewer than eight.
    come: usize,
}

impl Trailer {
    fn new(sums: Sums) -> Self {
        let [a, b, c, d] = sums.checksum.finalize().to_le_bytes();
        let [e, f, g, h] = sums.length.to_le_bytes();
        Self {
            expected: [a, b, c, d, e, f, g, h],
            come: 0,
        }
    }

    /// Takes the next byte. `None` if that was the last one.
    fn byte(mut self, byte: u8) -> Result<Option<Self>, CodingFault> {
        if self.expected.get(self.come) != Some(&byte) {
            return Err(CodingFault::Checksum);
        }
        self.come = self.come.saturating_add(1);
        Ok((self.come < self.expected.len()).then_some(self))
    }
}

/// A deflate stream, on its way through a window.
///
/// The window does not wrap around, but moves down when it is full: so the decompressor knows where
/// the data begins, and refuses a distance that reaches before it, as every client does.
struct Inflate {
    decompressor: Box<DecompressorOxide>,
    window: Box<[u8]>,
    /// How much of the window is data.
    filled: usize,
    flags: u32,
}

#[derive(Clone, Copy)]
enum Wrapper {
    None,
    Zlib,
}

impl Inflate {
    fn new(wrapper: Wrapper) -> Self {
        let wrapper = match wrapper {
            Wrapper::None => TINFL_FLAG_IGNORE_ADLER32,
            Wrapper::Zlib => TINFL_FLAG_PARSE_ZLIB_HEADER,
        };
        Self {
            decompressor: Box::default(),
            window: vec![0; HISTORY_BYTES + STEP_BYTES].into(),
            filled: 0,
            flags: wrapper | TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        }
    }

    /// Goes back to the beginning, for another stream.
    fn restart(&mut self) {
        self.decompressor.init();
        self.filled = 0;
    }

    /// Takes the input up to the stream's end, or all of it. Tells whether the stream ended.
    fn run(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<bool, CodingFault> {
        loop {
            if let Some(surplus) = self.filled.checked_sub(HISTORY_BYTES)
                && self.filled == self.window.len()
            {
                self.window.copy_within(surplus.., 0);
                self.filled = HISTORY_BYTES;
            }
            let (status, read, written) = decompress(
                &mut self.decompressor,
                input,
                &mut self.window,
                self.filled,
                self.flags,
            );
            *input = input.get(read..).unwrap_or_default();
            let end = self.filled.saturating_add(written);
            let fresh = self.window.get(self.filled..end).unwrap_or_default();
            *left = left.checked_sub(fresh.len()).ok_or(CodingFault::TooLarge)?;
            out.extend_from_slice(fresh);
            self.filled = end;
            match status {
                TINFLStatus::Done => return Ok(true),
                TINFLStatus::NeedsMoreInput => return Ok(false),
                TINFLStatus::HasMoreOutput if self.filled == self.window.len() => {}
                TINFLStatus::Adler32Mismatch => return Err(CodingFault::Checksum),
                _ => return Err(CodingFault::Malformed),
            }
        }
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflate")
    }
}

/// How far back deflate reaches.
const HISTORY_BYTES: usize = 32 * 1024;
/// How much is decoded at once.
const STEP_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
