//! The header and the trailer of gzip (RFC 1952, section 2.3).

use crc32fast::Hasher;

use super::CodingFault;

/// The header of a gzip member, as far as it has come.
#[derive(Debug)]
pub(super) struct Header {
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
    /// A name or a comment, up to a zero byte: how many bytes have come.
    Text(u16),
    Checksum([u8; 2]),
    ChecksumHigh(u8),
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            field: Field::Fixed(0),
            flags: 0,
            checksum: Hasher::new(),
        }
    }

    /// Takes the next byte. `None` if that was the last one.
    pub(super) fn byte(mut self, byte: u8) -> Result<Option<Self>, CodingFault> {
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
            Field::Text(_) if byte == 0 => return Ok(self.next_field()),
            Field::Text(MAX_TEXT_BYTES) => return Err(CodingFault::Laborious),
            Field::Text(come) => Field::Text(come.saturating_add(1)),
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
            Field::Text(0)
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

/// More than any file system's names have. An answer has none.
const MAX_TEXT_BYTES: u16 = 1_024;

/// What the data of a gzip member comes to.
#[derive(Debug, Default)]
pub(super) struct Sums {
    checksum: Hasher,
    /// Modulo 2^32, as the trailer has it.
    length: u32,
}

impl Sums {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
        self.length = self.length.wrapping_add(bytes.len() as u32);
    }

    /// The trailer of a member with this data.
    pub(super) fn trailer(self) -> [u8; 8] {
        let [a, b, c, d] = self.checksum.finalize().to_le_bytes();
        let [e, f, g, h] = self.length.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }
}
