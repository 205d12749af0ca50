//! How many sets the store has, which all workers agree on, and what becomes of the sets beyond.
//!
//! A smaller configuration closes the sets that it does not use: an empty head. Who comes to write
//! to such a set, or to one that nobody has used yet, looks whether it is one of the store's; who
//! comes to any other set need not.

use super::MAX_TRIES;
use super::names::{GEOMETRY, head_name, slot_name};
use super::set::SetHead;
use crate::store::{IF_ABSENT, SetFault, SharedData, Versioned};

/// What the largest configuration gives the store (64 GiB). A number beyond is not one of ours.
pub(super) const MAX_SETS: u32 = 1 << 16;

/// The number of sets that the latest configuration gave the store.
pub(super) fn read(shared: &dyn SharedData) -> Option<u32> {
    decode(shared.get(GEOMETRY).ok()??.value)
}

fn decode(value: Vec<u8>) -> Option<u32> {
    let sets = u32::from_le_bytes(value.try_into().ok()?);
    (1..=MAX_SETS).contains(&sets).then_some(sets)
}

/// Sets the number of sets, and says what it was before.
pub(super) fn change(shared: &dyn SharedData, sets: u32) -> u32 {
    for _ in 0..MAX_TRIES {
        let Ok(before) = shared.get(GEOMETRY) else {
            break;
        };
        let version = before.as_ref().map_or(IF_ABSENT, |before| before.version);
        let before = before.and_then(|before| decode(before.value));
        if before == Some(sets) {
            break;
        }
        match shared.set(GEOMETRY, &sets.to_le_bytes(), Some(version)) {
            Ok(()) => return before.unwrap_or(sets),
            Err(SetFault::VersionMismatch) => {}
            Err(SetFault::Host) => break,
        }
    }
    // If the host refuses, lookups and inserts will say so.
    sets
}

/// Closes a set that the store does not use any more, and frees what it holds. A writer that was
/// about to claim a slot finds its head changed, and one that has claimed one, its slot.
pub(super) fn close_set(shared: &dyn SharedData, set: u32) {
    let name = head_name(set);
    for _ in 0..MAX_TRIES {
        let Ok(Some(Versioned { value, version })) = shared.get(&name) else {
            return;
        };
        if value.is_empty() {
            return;
        }
        match shared.set(&name, &[], Some(version)) {
            Err(SetFault::VersionMismatch) => {}
            Ok(()) | Err(SetFault::Host) => {
                match SetHead::decode(value) {
                    Some(head) => empty_slots(shared, set, head.ways()),
                    None => empty_slots(shared, set, 0..=u8::MAX),
                }
                return;
            }
        }
    }
}

/// Frees the bytes of slots; their names stay. A slot that the host refuses to empty keeps its
/// bytes until it is written again.
pub(super) fn empty_slots(shared: &dyn SharedData, set: u32, ways: impl IntoIterator<Item = u8>) {
    for way in ways {
        let _unset = shared.set(&slot_name(set, way), &[], None);
    }
}
