//! Where a value is or goes to, and how it is read and written there.
//!
//! A writer first claims its slot in the head, by compare-and-set, and then writes the slot, by
//! compare-and-set on the version that it saw before its claim. So what the slots of a set hold
//! is never more than what its head accounts for, however many write at the same time; a writer that
//! loses the second race empties the slot, which costs an entry and no bytes.

use super::names::SetId;
use super::set::{Placement, SetHead};
use super::sizes::empty_slots;
use super::tries::MAX_TRIES;
use crate::store::{
    HostFault, IF_ABSENT, SetFault, SharedData, StoreFault, StoreKey, Version, Versioned,
};

/// A set, and what tells a value apart there.
pub(super) struct SlotAddress {
    pub(super) set: SetId,
    tag: u64,
}

impl SlotAddress {
    /// Where a segment goes in a store of this many sets: the key chooses the set of the first, the
    /// others follow round robin.
    pub(super) fn of(key: &StoreKey, index: u16, sets: u32) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, s0, s1, s2, s3, ..] = *key;
        let tag = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let first = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        let set = first.wrapping_add(u64::from(index)) % u64::from(sets.max(1));
        Self {
            set: SetId {
                sets,
                // Below the number of sets, which has 32 bits.
                set: u32::try_from(set).unwrap_or(0),
            },
            // Segments of one entry may share a set: each needs a tag of its own.
            tag: tag.wrapping_add(u64::from(index)),
        }
    }

    /// Which slot of the set it is in, and what that holds.
    pub(super) fn read(
        &self,
        shared: &dyn SharedData,
    ) -> Result<Option<(u8, Versioned)>, HostFault> {
        let name = self.set.head_name();
        let Some(Versioned { value, version }) = shared.get(&name)? else {
            return Ok(None);
        };
        let Some(mut head) = SetHead::decode(&value) else {
            return Ok(None);
        };
        let Some(way) = head.find(self.tag) else {
            return Ok(None);
        };
        if head.touch(self.tag) {
            // Recency is advice: a head that was changed meanwhile is newer.
            let _lost = shared.set(&name, &head.encode(), Some(version));
        }
        let slot = shared.get(&self.set.slot_name(way))?;
        Ok(slot.map(|slot| (way, slot)))
    }

    /// Stores a value, and says how many unexpired ones made room for it.
    pub(super) fn write(
        &self,
        shared: &dyn SharedData,
        value: &[u8],
        now: u32,
        expires: u32,
    ) -> Result<u32, StoreFault> {
        let bytes = u32::try_from(value.len()).map_err(|_| StoreFault::TooLarge)?;
        let name = self.set.head_name();
        for _ in 0..MAX_TRIES {
            let (mut head, version) = self.read_head(shared, &name)?;
            let Placement {
                way,
                emptied,
                evicted,
            } = head
                .place(self.tag, bytes, expires, now)
                .ok_or(StoreFault::TooLarge)?;
            let slot = self.set.slot_name(way);
            let seen = shared.get(&slot)?.map_or(IF_ABSENT, |slot| slot.version);
            match shared.set(&name, &head.encode(), Some(version)) {
                Ok(()) => {}
                Err(SetFault::VersionMismatch) => continue,
                Err(SetFault::Host) => return Err(StoreFault::Unavailable),
            }
            empty_slots(shared, self.set, emptied);
            return match shared.set(&slot, value, Some(seen)) {
                Ok(()) => Ok(evicted),
                Err(fault) => {
                    empty_slots(shared, self.set, [way]);
                    Err(match fault {
                        SetFault::VersionMismatch => StoreFault::Contended,
                        SetFault::Host => StoreFault::Unavailable,
                    })
                }
            };
        }
        Err(StoreFault::Contended)
    }

    /// The head of the set, and its version.
    fn read_head(
        &self,
        shared: &dyn SharedData,
        name: &str,
    ) -> Result<(SetHead, Version), HostFault> {
        let Some(Versioned { value, version }) = shared.get(name)? else {
            return Ok((SetHead::default(), IF_ABSENT));
        };
        let head = SetHead::decode(&value).unwrap_or_else(|| {
            // What the slots hold is unknown, so none of it may count as free room.
            empty_slots(shared, self.set, 0..=u8::MAX);
            SetHead::default()
        });
        Ok((head, version))
    }
}
