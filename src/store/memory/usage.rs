//! How full the store is: what the heads of its sets account for, added up a part at a time, because a
//! large store has thousands of sets.

use crate::store::SharedData;

use super::names::SetId;
use super::set::SetHead;

/// How many heads are read at once.
const SETS_AT_ONCE: u32 = 256;

/// How full the memory store is. What has expired counts until it makes room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// The bytes of all slots in use.
    pub bytes: u64,
    /// How many slots are in use: one for each entry, or for each 256 KiB of it.
    pub entries: u64,
}

/// Looks at one set after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageSurvey {
    next_set: u32,
    so_far: MemoryUsage,
}

impl UsageSurvey {
    /// Whether some sets were looked at, and others were not.
    pub fn is_under_way(self) -> bool {
        self.next_set > 0
    }

    /// Looks at some sets of a store that has `sets` of them: see
    /// [`MemoryStore::survey`](super::MemoryStore::survey).
    pub(super) fn go_on(&mut self, sets: u32, shared: &dyn SharedData) -> Option<MemoryUsage> {
        let end = self.next_set.saturating_add(SETS_AT_ONCE).min(sets);
        for set in self.next_set..end {
            let head = shared.get(&SetId { sets, set }.head_name()).ok().flatten();
            if let Some(head) = head.and_then(|head| SetHead::decode(&head.value)) {
                let (slots, bytes) = head.usage();
                self.so_far.entries = self.so_far.entries.saturating_add(slots);
                self.so_far.bytes = self.so_far.bytes.saturating_add(bytes);
            }
        }
        self.next_set = end;
        (end == sets).then(|| std::mem::take(self).so_far)
    }
}
