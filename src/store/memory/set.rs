//! One set of the memory store: which slots it uses, how many bytes they hold, and which entry goes
//! when there is no room.
//!
//! Most LLM requests never come again, so entries that were found since they were stored are kept
//! apart from those that were not: one of many new entries does not push out what is in use. The
//! policy is ARC (N. Megiddo and D. S. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache",
//! FAST 2003), with bytes in the place of pages. A set remembers which entries it has evicted
//! lately; one that comes again shows that its part of the set was too small.
//!
//! The head of a set is one value in shared data:
//! ```text
//! "SH"  version u8  new share u16  new u16  found u16  evicted new u16
//! per slot in use: way u8  tag u64  bytes u32  expires u32
//! per entry evicted lately: the lower half of its tag, u32
//! ```
//! Numbers are little-endian. Slots with new entries come first, and so do evicted new entries; of
//! each kind the one used (evicted) last comes first. The order is the recency: there is no clock
//! that workers could disagree on.

/// Raised whenever the layout changes. A head of another version is no head: the set is emptied.
const MAGIC: [u8; 3] = [b'S', b'H', 2];
const HEADER_BYTES: usize = MAGIC.len() + 4 * 2;
const RECORD_BYTES: usize = 17;

/// Slots of a set. A head names them in one byte.
pub(super) const WAYS: usize = 256;

/// Entries evicted lately that a set remembers.
const GHOSTS: usize = WAYS;
const GHOST_BYTES: usize = 4;

/// What a set may hold in all: slots, their names, its head.
pub(super) const SET_BYTES: u64 = 1 << 20;

/// What a slot costs the host beyond its bytes, roughly: the allocation's slack.
const SLOT_OVERHEAD_BYTES: u64 = 64;

/// What is left of [`SET_BYTES`] for slots when every slot has its name and its node in the host's
/// map (about 112 bytes), and the head is at its longest, old and new at once while it is set.
pub(super) const SET_SLOT_BYTES: u64 = SET_BYTES
    - (WAYS * (112 + 2 * RECORD_BYTES) + 2 * (HEADER_BYTES + GHOSTS * GHOST_BYTES)) as u64;

/// The share of new entries in a set that has evicted none.
const FIRST_SHARE: u16 = u16::MAX / 2;

/// A slot in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlotRecord {
    /// Which slot of the set.
    way: u8,
    /// A part of the key: narrows the search, proves nothing.
    tag: u64,
    /// How many bytes the slot holds.
    bytes: u32,
    /// When what it holds is of no use any more, in seconds since 1970.
    expires: u32,
}

impl SlotRecord {
    fn charge(self) -> u64 {
        u64::from(self.bytes).saturating_add(SLOT_OVERHEAD_BYTES)
    }

    fn ghost(self) -> u32 {
        let [t0, t1, t2, t3, ..] = self.tag.to_le_bytes();
        u32::from_le_bytes([t0, t1, t2, t3])
    }

    fn decode(record: &[u8; RECORD_BYTES]) -> Self {
        let [way, rest @ ..] = record;
        let [t0, t1, t2, t3, t4, t5, t6, t7, rest @ ..] = rest;
        let [b0, b1, b2, b3, e0, e1, e2, e3] = rest;
        Self {
            way: *way,
            tag: u64::from_le_bytes([*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7]),
            bytes: u32::from_le_bytes([*b0, *b1, *b2, *b3]),
            expires: u32::from_le_bytes([*e0, *e1, *e2, *e3]),
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.push(self.way);
        out.extend_from_slice(&self.tag.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.expires.to_le_bytes());
    }
}

/// The slots of a set that are in use, and what was evicted from it lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetHead {
    /// Which part of the bytes new entries may keep when there is no room, of [`u16::MAX`].
    new_share: u16,
    /// Not found since they were stored.
    new: Vec<SlotRecord>,
    /// Found, or stored again soon after they had been evicted.
    found: Vec<SlotRecord>,
    evicted_new: Vec<u32>,
    evicted_found: Vec<u32>,
}

impl Default for SetHead {
    fn default() -> Self {
        Self {
            new_share: FIRST_SHARE,
            new: Vec::new(),
            found: Vec::new(),
            evicted_new: Vec::new(),
            evicted_found: Vec::new(),
        }
    }
}

/// Where a new value goes, and which slots are emptied for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// The slot that takes the value.
    pub(super) way: u8,
    /// Slots that were in use, are not any more, and do not take the value.
    pub(super) emptied: Vec<u8>,
    /// How many unexpired values of other keys made room.
    pub(super) evicted: u32,
}

impl SetHead {
    /// `None` if the bytes are not a head of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, bytes) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<8>()?;
        let (&[new_share, new, found, evicted_new], []) = header.as_chunks::<2>() else {
            return None;
        };
        let number = |number| usize::from(u16::from_le_bytes(number));
        let slots = number(new).checked_add(number(found))?;
        let (records, ghosts) = bytes.split_at_checked(slots.checked_mul(RECORD_BYTES)?)?;
        let (ghosts, odd) = ghosts.as_chunks::<GHOST_BYTES>();
        if slots > WAYS || ghosts.len() > GHOSTS || !odd.is_empty() {
            return None;
        }
        let (new, found) = records.as_chunks().0.split_at_checked(number(new))?;
        let (evicted_new, evicted_found) = ghosts.split_at_checked(number(evicted_new))?;
        let records = |records: &[_]| records.iter().map(SlotRecord::decode).collect();
        let ghosts = |ghosts: &[[u8; GHOST_BYTES]]| {
            let tags = ghosts.iter();
            tags.map(|tag| u32::from_le_bytes(*tag)).collect()
        };
        Some(Self {
            new_share: u16::from_le_bytes(new_share),
            new: records(new),
            found: records(found),
            evicted_new: ghosts(evicted_new),
            evicted_found: ghosts(evicted_found),
        })
    }

    /// What [`SetHead::decode`] takes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let ghosts = self
            .evicted_new
            .len()
            .saturating_add(self.evicted_found.len());
        let slots = self.new.len().saturating_add(self.found.len());
        let mut out =
            Vec::with_capacity(HEADER_BYTES + slots * RECORD_BYTES + ghosts * GHOST_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.new_share.to_le_bytes());
        for length in [self.new.len(), self.found.len(), self.evicted_new.len()] {
            let length = u16::try_from(length).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
        }
        self.records().for_each(|record| record.encode(&mut out));
        for tag in self.evicted_new.iter().chain(&self.evicted_found) {
            out.extend_from_slice(&tag.to_le_bytes());
        }
        out
    }

    /// The slot that may hold the value of this tag.
    pub(super) fn find(&self, tag: u64) -> Option<u8> {
        let mut records = self.records();
        let record = records.find(|record| record.tag == tag)?;
        Some(record.way)
    }

    /// Every slot in use.
    pub(super) fn ways(&self) -> impl Iterator<Item = u8> {
        self.records().map(|record| record.way)
    }

    /// How many slots are in use, and how many bytes they hold.
    pub(super) fn usage(&self) -> (u64, u64) {
        self.records().fold((0, 0), |(slots, bytes), record| {
            let bytes: u64 = bytes;
            (slots + 1, bytes.saturating_add(record.bytes.into()))
        })
    }

    /// Notes that the value of this tag was found; whether the head changed. What is among the
    /// quarter found most recently stays where it is: a value in steady use costs no writes, and
    /// is still far from being evicted.
    pub(super) fn touch(&mut self, tag: u64) -> bool {
        let is_it = |record: &SlotRecord| record.tag == tag;
        if let Some(index) = self.new.iter().position(is_it) {
            let record = self.new.remove(index);
            self.found.insert(0, record);
            return true;
        }
        let index = self.found.iter().position(is_it);
        let index = index.filter(|index| *index > self.found.len() / 4);
        if let Some(front) = index.and_then(|index| self.found.get_mut(..=index)) {
            front.rotate_right(1);
        }
        index.is_some()
    }

    /// Makes room for `bytes` bytes under `tag`: first what has expired goes, then new entries if
    /// they hold more than their share, or else what was found least recently. `None` if the value
    /// is larger than a set.
    pub(super) fn place(
        &mut self,
        tag: u64,
        bytes: u32,
        expires: u32,
        now: u32,
    ) -> Option<Placement> {
        let mut record = SlotRecord {
            way: 0,
            tag,
            bytes,
            expires,
        };
        let room = SET_SLOT_BYTES.checked_sub(record.charge())?;
        let mut emptied = Vec::new();
        let mut replaced = None;
        let was_found = self.found.iter().any(|old| old.tag == tag);
        for records in [&mut self.new, &mut self.found] {
            records.retain(|old| {
                if old.tag == tag {
                    replaced = Some(old.way);
                } else if old.expires <= now {
                    emptied.push(old.way);
                }
                old.tag != tag && old.expires > now
            });
        }
        let is_known = self.recognize(record.ghost()) || was_found;
        let mut evicted: u32 = 0;
        while let held = charge(&self.new).saturating_add(charge(&self.found))
            && (held > room || self.records().count() >= WAYS)
        {
            let Some(old) = self.evict(held, tag) else {
                break;
            };
            emptied.push(old.way);
            evicted = evicted.saturating_add(1);
        }
        record.way = match replaced.or_else(|| emptied.pop()) {
            Some(way) => way,
            None => self.first_unused()?,
        };
        let records = if is_known {
            &mut self.found
        } else {
            &mut self.new
        };
        records.insert(0, record);
        Some(Placement {
            way: record.way,
            emptied,
            evicted,
        })
    }

    /// Evicts one of the new entries if they hold more than their share of the bytes held, or else a
    /// found one. The segments of an entry that share a set do not evict each other.
    fn evict(&mut self, held: u64, tag: u64) -> Option<SlotRecord> {
        let share = u64::from(self.new_share).saturating_mul(held);
        let is_over = charge(&self.new).saturating_mul(u16::MAX.into()) > share;
        // The tags of later segments follow closely, and these are stored first.
        let is_other = |old: &SlotRecord| old.tag.wrapping_sub(tag) > u16::MAX.into();
        let oldest = self.new.iter().rposition(is_other);
        let (old, evicted) = match oldest.filter(|_| is_over || self.found.is_empty()) {
            Some(index) => (self.new.remove(index), &mut self.evicted_new),
            None => match self.found.pop() {
                Some(old) => (old, &mut self.evicted_found),
                None => (self.new.pop()?, &mut self.evicted_new),
            },
        };
        evicted.insert(0, old.ghost());
        let (new, found) = (self.evicted_new.len(), self.evicted_found.len());
        if new.saturating_add(found) > GHOSTS {
            // The kind that has more than half forgets its oldest.
            if found > GHOSTS / 2 {
                self.evicted_found.pop();
            } else {
                self.evicted_new.pop();
            }
        }
        Some(old)
    }

    /// Whether the entry was evicted lately. If so, the share of its kind grows by one entry, or by
    /// more if fewer of its kind have been evicted than of the other.
    fn recognize(&mut self, ghost: u32) -> bool {
        let (new, found) = (self.evicted_new.len(), self.evicted_found.len());
        let entries = self.records().count().max(16);
        let step = |kind: usize, other: usize| {
            let entry = usize::from(u16::MAX) / entries;
            u16::try_from(entry.saturating_mul(other.max(kind)) / kind.max(1)).unwrap_or(u16::MAX)
        };
        if take(&mut self.evicted_new, ghost) {
            self.new_share = self.new_share.saturating_add(step(new, found));
            true
        } else if take(&mut self.evicted_found, ghost) {
            self.new_share = self.new_share.saturating_sub(step(found, new));
            true
        } else {
            false
        }
    }

    fn records(&self) -> impl Iterator<Item = SlotRecord> {
        self.new.iter().chain(&self.found).copied()
    }

    fn first_unused(&self) -> Option<u8> {
        let mut used = [false; WAYS];
        for way in self.ways() {
            if let Some(used) = used.get_mut(usize::from(way)) {
                *used = true;
            }
        }
        let way = used.iter().position(|used| !used)?;
        u8::try_from(way).ok()
    }
}

fn charge(records: &[SlotRecord]) -> u64 {
    let charges = records.iter().map(|record| record.charge());
    charges.fold(0, u64::saturating_add)
}

fn take(ghosts: &mut Vec<u32>, ghost: u32) -> bool {
    let index = ghosts.iter().position(|other| *other == ghost);
    index.map(|index| ghosts.remove(index)).is_some()
}

#[cfg(test)]
mod tests;
