//! The store in Envoy's shared data, shared by all workers of the process.
//!
//! Shared data never deletes, evicts or bounds anything. So the store uses a fixed set of names:
//! `llm-cache/<sets>/<set>` is the head of a set ([`set`]) and `llm-cache/<sets>/<set>/<way>` one of
//! its slots ([`segment`]). An entry longer than [`SEGMENT_BYTES`] is cut into segments, which go to the slots
//! of consecutive sets; if one of them is gone, so is the entry. [`slot_address`] says how workers write at
//! the same time, [`sizes`] what becomes of the bytes when the store gets another size.

mod names;
mod segment;
mod set;
mod sizes;
mod slot_address;
mod tries;
mod usage;

use std::time::Duration;

use crate::bytes::Bytes;
use crate::clock::UnixMillis;

use super::{HostFault, SharedData, StoreFault, StoreKey, Version};
use names::SetId;
use segment::{SEGMENT_BYTES, Segment, TRAILER_BYTES, Trailer};
use set::{SET_BYTES, SET_SLOT_BYTES};
use sizes::MAX_SETS;
use slot_address::SlotAddress;

pub use usage::{MemoryUsage, UsageSurvey};

/// How long an entry is read from its slot before the set's head is read again, which notes that the
/// entry is in use. Versions take far longer to wrap around.
const SEEN_FOR: Duration = Duration::from_secs(1);

/// Where an entry is, and in which version. Equal ones name the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRef {
    set: SetId,
    way: u8,
    version: Version,
    /// When the head named it.
    found_at: UnixMillis,
}

/// An entry as it was found, not yet verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Any bytes at all.
    pub bytes: Bytes,
    /// Where, if it is in one piece.
    pub seen: Option<SlotRef>,
}

/// The store in Envoy's shared data.
#[derive(Debug)]
pub struct MemoryStore {
    sets: u32,
    max_entry_bytes: usize,
}

impl MemoryStore {
    /// Opens the store with room for `max_bytes`, at least 1 MiB, and empties those of other sizes
    /// that earlier configurations opened under the same `vm_id`.
    pub fn open(shared: &dyn SharedData, max_bytes: u64, max_entry_bytes: usize) -> Self {
        let sets = u32::try_from(max_bytes / SET_BYTES)
            .unwrap_or(MAX_SETS)
            .clamp(1, MAX_SETS);
        sizes::open(shared, sets);
        Self {
            sets,
            max_entry_bytes,
        }
    }

    /// The entry under a key, not yet verified: any bytes may come back.
    ///
    /// # Errors
    /// [`StoreFault::Unavailable`] if the host does not answer as it should.
    pub fn look_up(
        &self,
        shared: &dyn SharedData,
        key: &StoreKey,
        now: UnixMillis,
    ) -> Result<Option<Stored>, StoreFault> {
        let Some((way, segment)) = self.read_segment(shared, key, 0)? else {
            return Ok(None);
        };
        let Segment {
            piece: mut entry,
            trailer: first,
            version,
        } = segment;
        for index in 1..first.segments {
            match self.read_segment(shared, key, index)? {
                Some((_, next)) if next.trailer.same_entry(&first) => {
                    entry.extend_from_slice(&next.piece);
                }
                _ => return Ok(None),
            }
        }
        let seen = SlotRef {
            set: self.address_of(key, 0).set,
            way,
            version,
            found_at: now,
        };
        Ok(first.is_whole(&entry).then(|| Stored {
            bytes: entry,
            seen: (first.segments == 1).then_some(seen),
        }))
    }

    /// The same where the entry was seen before: in the same slot, if it is still there, without
    /// reading the head of the set.
    ///
    /// # Errors
    /// [`StoreFault::Unavailable`] if the host does not answer as it should.
    pub fn look_again(
        &self,
        shared: &dyn SharedData,
        key: &StoreKey,
        seen: SlotRef,
        now: UnixMillis,
    ) -> Result<Option<Stored>, StoreFault> {
        let is_recent = seen.found_at <= now && now.since(seen.found_at) < SEEN_FOR;
        if is_recent && self.address_of(key, 0).set == seen.set {
            let slot = shared.get(&seen.set.slot_name(seen.way))?;
            let segment = slot.and_then(|slot| Segment::decode(slot, key, 0));
            if let Some(Segment {
                piece: bytes,
                trailer,
                version,
            }) = segment
                && trailer.segments == 1
                && trailer.is_whole(&bytes)
            {
                let seen = SlotRef { version, ..seen };
                return Ok(Some(Stored {
                    bytes,
                    seen: Some(seen),
                }));
            }
        }
        self.look_up(shared, key, now)
    }

    /// Stores an entry until `expires`, and says how many unexpired values made room for it.
    ///
    /// # Errors
    /// Why it was not stored. What was stored under the key before may be gone.
    pub fn insert(
        &self,
        shared: &dyn SharedData,
        key: &StoreKey,
        entry: &[u8],
        now: UnixMillis,
        expires: UnixMillis,
    ) -> Result<u32, StoreFault> {
        let entry_bytes = u32::try_from(entry.len()).map_err(|_| StoreFault::TooLarge)?;
        let pieces: Vec<_> = entry.chunks(SEGMENT_BYTES).collect();
        let segments = u16::try_from(pieces.len()).map_err(|_| StoreFault::TooLarge)?;
        if entry.len() > self.max_entry_bytes || !self.holds(pieces.len()) {
            return Err(StoreFault::TooLarge);
        }
        let (now, expires) = (seconds(now), seconds(expires));
        let mut evicted: u32 = 0;
        // The first segment comes last: as long as it is missing, nobody looks for the others.
        for (index, piece) in (0..segments).zip(pieces).rev() {
            let trailer = Trailer {
                key: *key,
                index,
                segments,
                entry_bytes,
            };
            let mut value = Vec::with_capacity(piece.len() + TRAILER_BYTES);
            value.extend_from_slice(piece);
            trailer.encode(&mut value);
            let address = self.address_of(key, index);
            evicted = evicted.saturating_add(address.write(shared, &value, now, expires)?);
        }
        Ok(evicted)
    }

    /// Goes on with a survey, and says how full the store is once all of it was looked at. The next call
    /// begins anew.
    pub fn survey(&self, survey: &mut UsageSurvey, shared: &dyn SharedData) -> Option<MemoryUsage> {
        survey.go_on(self.sets, shared)
    }

    /// Whether this many segments fit, spread over all sets.
    fn holds(&self, segments: usize) -> bool {
        let sets = usize::try_from(self.sets).unwrap_or(usize::MAX);
        let per_set = u64::try_from(segments.div_ceil(sets.max(1))).unwrap_or(u64::MAX);
        let largest = (SEGMENT_BYTES + TRAILER_BYTES) as u64;
        per_set <= 1 || per_set.saturating_mul(largest) <= SET_SLOT_BYTES
    }

    /// A segment, and in which slot of its set it is.
    fn read_segment(
        &self,
        shared: &dyn SharedData,
        key: &StoreKey,
        index: u16,
    ) -> Result<Option<(u8, Segment)>, HostFault> {
        let found = self.address_of(key, index).read(shared)?;
        Ok(found.and_then(|(way, slot)| Some((way, Segment::decode(slot, key, index)?))))
    }

    fn address_of(&self, key: &StoreKey, index: u16) -> SlotAddress {
        SlotAddress::of(key, index, self.sets)
    }
}

/// As heads of sets have instants: seconds since 1970 in 32 bits, which last until 2106.
fn seconds(instant: UnixMillis) -> u32 {
    u32::try_from(instant.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
