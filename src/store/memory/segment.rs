//! What a slot holds: a piece of an entry, and behind it a trailer that names the full key, so that
//! a slot proves whose it is:
//! ```text
//! piece of the entry  key [32]  index u16  segments u16  entry length u32  "SL"  version u8
//! ```
//! Numbers are little-endian. The trailer stands behind the piece so that taking it off moves
//! nothing.

use crate::bytes::Bytes;
use crate::store::{StoreKey, Version, Versioned};

/// An entry longer than this is stored in pieces: a quarter of a set, so that a large entry takes
/// room from several sets instead of emptying one.
pub(super) const SEGMENT_BYTES: usize = 256 << 10;

/// Raised whenever the trailer or the order of segments changes.
const MAGIC: [u8; 3] = [b'S', b'L', 1];
pub(super) const TRAILER_BYTES: usize = 32 + 2 + 2 + 4 + MAGIC.len();

/// A piece of an entry, as it was in its slot.
pub(super) struct Segment {
    pub(super) piece: Bytes,
    pub(super) trailer: Trailer,
    pub(super) version: Version,
}

impl Segment {
    /// `None` if it is not the one asked for.
    pub(super) fn decode(slot: Versioned, key: &StoreKey, index: u16) -> Option<Self> {
        let Versioned {
            value: mut piece,
            version,
        } = slot;
        let (piece_bytes, trailer) = Trailer::decode(&piece)?;
        piece.truncate(piece_bytes);
        (trailer.key == *key && trailer.index == index).then_some(Self {
            piece,
            trailer,
            version,
        })
    }
}

/// What stands behind the piece of an entry in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) key: StoreKey,
    pub(super) index: u16,
    pub(super) segments: u16,
    pub(super) entry_bytes: u32,
}

impl Trailer {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.segments.to_le_bytes());
        out.extend_from_slice(&self.entry_bytes.to_le_bytes());
        out.extend_from_slice(&MAGIC);
    }

    /// The trailer, and the length of the piece before it.
    fn decode(value: &[u8]) -> Option<(usize, Self)> {
        let value = value.strip_suffix(&MAGIC)?;
        let (value, entry_bytes) = value.split_last_chunk()?;
        let (value, segments) = value.split_last_chunk()?;
        let (value, index) = value.split_last_chunk()?;
        let (piece, key) = value.split_last_chunk()?;
        let trailer = Self {
            key: *key,
            index: u16::from_le_bytes(*index),
            segments: u16::from_le_bytes(*segments),
            entry_bytes: u32::from_le_bytes(*entry_bytes),
        };
        Some((piece.len(), trailer))
    }

    pub(super) fn same_entry(&self, first: &Self) -> bool {
        self.segments == first.segments && self.entry_bytes == first.entry_bytes
    }

    pub(super) fn is_whole(&self, entry: &[u8]) -> bool {
        u32::try_from(entry.len()) == Ok(self.entry_bytes)
    }
}
