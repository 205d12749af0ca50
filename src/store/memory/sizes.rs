//! The sizes that the store has had, and how the sets of the others are emptied.
//!
//! The number of sets stands in every name, so that stores of different sizes share no set: after a
//! configuration has changed `max_bytes`, the store is empty. Shared data keeps the old names, and
//! the bytes under them. So a worker that opens a store empties those of other sizes, which are listed
//! in one value. Every worker opens the store at every update of the configuration. What a worker with
//! the old configuration stores after that stays until the next update.

use super::names::{SIZES, SetId};
use super::set::SetHead;
use super::tries::MAX_TRIES;
use crate::store::{IF_ABSENT, SetFault, SharedData, Versioned};

/// What the largest configuration gives the store (64 GiB). A number beyond is not one of ours.
pub(super) const MAX_SETS: u32 = 1 << 16;

/// How many sizes are remembered, with the one in use. What is forgotten has been emptied.
const MAX_SIZES: usize = 4;

/// Notes that there is a store of this many sets, and empties those of other sizes.
pub(super) fn open(shared: &dyn SharedData, sets: u32) {
    for other in note(shared, sets) {
        for set in 0..other {
            empty_set(shared, SetId { sets: other, set });
        }
    }
}

/// Adds a size to those that the store has had, and returns the others. If the host refuses, there
/// are none: lookups and inserts will say so.
fn note(shared: &dyn SharedData, sets: u32) -> Vec<u32> {
    for _ in 0..MAX_TRIES {
        let Ok(before) = shared.get(SIZES) else {
            break;
        };
        let version = before.as_ref().map_or(IF_ABSENT, |before| before.version);
        let mut sizes = before.map_or_else(Vec::new, |before| decode(&before.value));
        if let [newest, others @ ..] = sizes.as_slice()
            && *newest == sets
        {
            return others.to_vec();
        }
        sizes.retain(|size| *size != sets);
        sizes.insert(0, sets);
        let kept = sizes.iter().take(MAX_SIZES);
        let value: Vec<_> = kept.flat_map(|size| size.to_le_bytes()).collect();
        match shared.set(SIZES, &value, Some(version)) {
            Ok(()) => return sizes.split_off(1),
            Err(SetFault::VersionMismatch) => {}
            Err(SetFault::Host) => break,
        }
    }
    Vec::new()
}

/// The sizes that the store has had, the newest first: little-endian numbers of four bytes.
fn decode(value: &[u8]) -> Vec<u32> {
    let sizes = value.as_chunks().0.iter();
    let sizes = sizes.map(|size| u32::from_le_bytes(*size));
    let possible = sizes.filter(|size| (1..=MAX_SETS).contains(size));
    possible.take(MAX_SIZES).collect()
}

/// Frees what a set holds. A writer that was about to claim a slot finds its head changed, and one
/// that has claimed one, its slot.
fn empty_set(shared: &dyn SharedData, set: SetId) {
    let head_name = set.head_name();
    for _ in 0..MAX_TRIES {
        let Ok(Some(Versioned { value, version })) = shared.get(&head_name) else {
            return;
        };
        let empty = SetHead::default().encode();
        if value == empty {
            return;
        }
        match shared.set(&head_name, &empty, Some(version)) {
            Ok(()) => {
                match SetHead::decode(&value) {
                    Some(head) => empty_slots(shared, set, head.ways()),
                    None => empty_slots(shared, set, 0..=u8::MAX),
                }
                return;
            }
            Err(SetFault::VersionMismatch) => {}
            Err(SetFault::Host) => return,
        }
    }
}

/// Frees the bytes of slots; their names stay. A slot that the host refuses to empty keeps its
/// bytes until it is written again.
pub(super) fn empty_slots(shared: &dyn SharedData, set: SetId, ways: impl IntoIterator<Item = u8>) {
    for way in ways {
        let _unset = shared.set(&set.slot_name(way), &[], None);
    }
}
