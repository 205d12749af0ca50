//! The store in Envoy's shared data, shared by all workers of the process.
//!
//! Shared data never deletes, evicts or bounds anything. So the store uses a fixed set of names:
//! `llm-cache/<set>` is the head of a set and `llm-cache/<set>/<way>` one of its slots. An entry
//! longer than [`SEGMENT_BYTES`] is cut into segments, which go to the slots of consecutive sets;
//! if one of them is gone, so is the entry. Each segment ends with a trailer that names the full
//! key, so that a slot proves whose it is:
//! ```text
//! piece of the entry  key [32]  index u16  segments u16  entry length u32  "SL"  version u8
//! ```
//! The trailer stands behind the piece so that taking it off moves nothing.
//!
//! A writer first claims its slot in the head, by compare-and-set, and then writes the slot, by
//! compare-and-set on the version that it saw before its claim. So what the slots of a set hold
//! is never more than what its head accounts for, whoever writes at the same time; a writer that
//! loses the second race empties the slot, which costs an entry and no bytes.
//!
//! A smaller configuration closes the sets that it does not use: an empty head. Who comes to write
//! to such a set, or to one that nobody has used yet, looks whether it is one of the store's; who
//! comes to any other set need not.

use std::cell::{Cell, RefCell};

use super::set::{Placement, SET_BYTES, SET_SLOT_BYTES, SetHead, WAYS};
use super::{HostFault, IF_ABSENT, SetFault, SharedData, StoreFault, Version, Versioned};

/// An entry longer than this is stored in pieces: a quarter of a set, so that a large entry takes
/// room from several sets instead of emptying one.
const SEGMENT_BYTES: usize = 256 << 10;

/// Raised whenever the trailer or the order of segments changes.
const MAGIC: [u8; 3] = [b'S', b'L', 1];
const TRAILER_BYTES: usize = 32 + 2 + 2 + 4 + MAGIC.len();

/// How many heads of sets a worker remembers, and how many it does without after one had changed:
/// where many write, a head that is remembered costs more than it saves.
const HEADS: usize = 64;
const HEADS_LEFT_OUT: u8 = 16;

/// How often a writer tries again when another worker was first.
const MAX_TRIES: usize = 8;

/// What the largest configuration gives the store (64 GiB). A number beyond is not one of ours.
const MAX_SETS: u32 = 1 << 16;

/// Under this name is the number of sets that the latest configuration gave the store.
const GEOMETRY: &str = "llm-cache/sets";

/// For so many milliseconds, and so many times, an entry is found where it was seen before the head
/// is asked again, which then knows that it is in use. More often would cost time. More seldom, and
/// it might be evicted meanwhile from a set that many others come to.
const SEEN_FOR: u64 = 1_000;
const SEEN_TIMES: usize = 15;

/// The longer entries are, the fewer evict one another: found so often that they come to so many
/// bytes, the head is asked again.
const SEEN_BYTES: usize = SEGMENT_BYTES / 4;

/// Where an entry is, and in which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    set: u32,
    way: u8,
    version: Version,
    /// Since when, in milliseconds since 1970. It ends long before a version can have come round.
    since: u64,
    /// How often it may be found there before the head is asked again.
    times_left: usize,
}

impl Seen {
    /// Whether both tell of the same bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.set, self.way) == (other.set, other.way)
            && (self.version, self.since) == (other.version, other.since)
    }
}

/// An entry as it was found, not yet verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Any bytes at all.
    pub bytes: Vec<u8>,
    /// Where, if it is in one piece.
    pub seen: Option<Seen>,
}

/// The store in Envoy's shared data.
#[derive(Debug)]
pub struct MemoryStore {
    /// Sets in use. Another configuration under the same `vm_id` may have changed it since.
    sets: Cell<u32>,
    /// The second, since 1970, in which that was read; at first none.
    read_in: Cell<u64>,
    heads: Heads,
    max_entry_bytes: usize,
}

/// The heads of sets in which this worker has just looked in vain, as they were: who looks in vain
/// comes back to write, and by its version a head can be changed that is still the same.
#[derive(Debug, Default)]
struct Heads {
    heads: RefCell<Vec<Option<Head>>>,
    /// So many are not remembered.
    left_out: Cell<u8>,
}

#[derive(Debug)]
struct Head {
    set: u32,
    head: SetHead,
    version: Version,
}

impl Heads {
    fn keep(&self, head: Head) {
        if let Some(left_out) = self.left_out.get().checked_sub(1) {
            self.left_out.set(left_out);
            return;
        }
        let mut heads = self.heads.borrow_mut();
        heads.resize_with(HEADS, || None);
        if let Some(place) = heads.get_mut(Self::place(head.set)) {
            *place = Some(head);
        }
    }

    /// Each serves once: it is changed then.
    fn take(&self, set: u32) -> Option<Head> {
        let mut heads = self.heads.borrow_mut();
        heads
            .get_mut(Self::place(set))?
            .take_if(|head| head.set == set)
    }

    fn place(set: u32) -> usize {
        usize::try_from(set).unwrap_or(0) % HEADS
    }
}

impl MemoryStore {
    /// Opens the store with room for `max_bytes`, at least 1 MiB, and empties what an earlier,
    /// larger configuration used beyond that.
    ///
    /// Plugins with the same `vm_id` share one store; the size configured last holds for all.
    pub fn open(shared: &impl SharedData, max_bytes: u64, max_entry_bytes: usize) -> Self {
        let sets = u32::try_from(max_bytes / SET_BYTES)
            .unwrap_or(MAX_SETS)
            .clamp(1, MAX_SETS);
        for set in sets..change_geometry(shared, sets) {
            close_set(shared, set);
        }
        Self {
            sets: Cell::new(sets),
            read_in: Cell::new(u64::MAX),
            heads: Heads::default(),
            max_entry_bytes,
        }
    }

    /// The entry under a key, not yet verified: any bytes may come back.
    ///
    /// # Errors
    /// [`StoreFault::Unavailable`] if the host does not answer as it should.
    pub fn lookup(
        &self,
        shared: &impl SharedData,
        key: &[u8; 32],
        now: u64,
    ) -> Result<Option<Stored>, StoreFault> {
        self.follow_geometry(shared, now / 1_000);
        let Some(Segment {
            piece: mut entry,
            trailer: first,
            set,
            way,
            version,
        }) = self.read_segment(shared, key, 0)?
        else {
            return Ok(None);
        };
        for index in 1..first.segments {
            match self.read_segment(shared, key, index)? {
                Some(next) if next.trailer.same_entry(&first) => {
                    entry.extend_from_slice(&next.piece);
                }
                _ => return Ok(None),
            }
        }
        let seen = Seen {
            set,
            way,
            version,
            since: now,
            times_left: SEEN_TIMES.min(SEEN_BYTES / entry.len().max(1)),
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
        shared: &impl SharedData,
        key: &[u8; 32],
        seen: Seen,
        now: u64,
    ) -> Result<Option<Stored>, StoreFault> {
        let is_recent = now
            .checked_sub(seen.since)
            .is_some_and(|passed| passed < SEEN_FOR);
        if is_recent && seen.times_left > 0 && self.place_of(key, 0).set == seen.set {
            let slot = shared.get(&slot_name(seen.set, seen.way))?;
            let segment = slot.and_then(|slot| Segment::decode(slot, seen.set, seen.way, key, 0));
            if let Some(Segment {
                piece: bytes,
                trailer,
                version,
                ..
            }) = segment
                && trailer.segments == 1
                && trailer.is_whole(&bytes)
            {
                let seen = Seen {
                    version,
                    times_left: seen.times_left.saturating_sub(1),
                    ..seen
                };
                return Ok(Some(Stored {
                    bytes,
                    seen: Some(seen),
                }));
            }
        }
        let mut found = self.lookup(shared, key, now)?;
        let again = found.as_mut().and_then(|found| found.seen.as_mut());
        if let Some(again) = again.filter(|_| is_recent) {
            again.since = seen.since;
        }
        Ok(found)
    }

    /// Stores an entry until `expires`, in seconds since 1970, and says how many unexpired values
    /// made room for it.
    ///
    /// # Errors
    /// Why it was not stored. What was stored under the key before may be gone.
    pub fn insert(
        &self,
        shared: &impl SharedData,
        key: &[u8; 32],
        entry: &[u8],
        now: u32,
        expires: u32,
    ) -> Result<u32, StoreFault> {
        self.follow_geometry(shared, now.into());
        if let Some(evicted) = self.write(shared, key, entry, now, expires)? {
            return Ok(evicted);
        }
        // It goes to another set by now.
        self.take_geometry_over(shared);
        let evicted = self.write(shared, key, entry, now, expires)?;
        evicted.ok_or(StoreFault::Contended)
    }

    /// As [`MemoryStore::insert`]; `None` if it belongs to a set that the store does not use any
    /// more.
    fn write(
        &self,
        shared: &impl SharedData,
        key: &[u8; 32],
        entry: &[u8],
        now: u32,
        expires: u32,
    ) -> Result<Option<u32>, StoreFault> {
        let entry_bytes = u32::try_from(entry.len()).map_err(|_| StoreFault::TooLarge)?;
        let pieces: Vec<_> = entry.chunks(SEGMENT_BYTES).collect();
        let segments = u16::try_from(pieces.len()).map_err(|_| StoreFault::TooLarge)?;
        if entry.len() > self.max_entry_bytes || !self.holds(pieces.len()) {
            return Err(StoreFault::TooLarge);
        }
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
            let place = self.place_of(key, index);
            let Some(more) = place.write(shared, &self.heads, &value, now, expires)? else {
                return Ok(None);
            };
            evicted = evicted.saturating_add(more);
        }
        Ok(Some(evicted))
    }

    /// Takes over the number of sets that another configuration may have given the store, once in
    /// each second: who does not know of it yet finds less, and stores nothing where it must not.
    fn follow_geometry(&self, shared: &impl SharedData, second: u64) {
        if self.read_in.replace(second) != second {
            self.take_geometry_over(shared);
        }
    }

    fn take_geometry_over(&self, shared: &impl SharedData) {
        if let Some(sets) = read_geometry(shared) {
            self.sets.set(sets);
        }
    }

    /// Whether so many segments fit, spread over all sets.
    fn holds(&self, segments: usize) -> bool {
        let sets = usize::try_from(self.sets.get()).unwrap_or(usize::MAX);
        let per_set = u64::try_from(segments.div_ceil(sets.max(1))).unwrap_or(u64::MAX);
        let largest = (SEGMENT_BYTES + TRAILER_BYTES) as u64;
        per_set <= 1 || per_set.saturating_mul(largest) <= SET_SLOT_BYTES
    }

    fn read_segment(
        &self,
        shared: &impl SharedData,
        key: &[u8; 32],
        index: u16,
    ) -> Result<Option<Segment>, HostFault> {
        let place = self.place_of(key, index);
        let found = place.read(shared, &self.heads)?;
        Ok(found.and_then(|(way, slot)| Segment::decode(slot, place.set, way, key, index)))
    }

    /// Where a segment goes: the key chooses the set of the first, the others follow round robin.
    fn place_of(&self, key: &[u8; 32], index: u16) -> Place {
        let [t0, t1, t2, t3, t4, t5, t6, t7, s0, s1, s2, s3, ..] = *key;
        let tag = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let first = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        let set = first.wrapping_add(u64::from(index)) % u64::from(self.sets.get().max(1));
        Place {
            // Below the number of sets, which has 32 bits.
            set: u32::try_from(set).unwrap_or(0),
            // Segments of one entry may share a set: each needs a tag of its own.
            tag: tag.wrapping_add(u64::from(index)),
        }
    }
}

/// Where a value is or goes to: a set, and what tells it apart there.
struct Place {
    set: u32,
    tag: u64,
}

impl Place {
    /// Which slot of the set it is in, and what that holds.
    fn read(
        &self,
        shared: &impl SharedData,
        heads: &Heads,
    ) -> Result<Option<(u8, Versioned)>, HostFault> {
        let name = head_name(self.set);
        let Some(Versioned { value, version }) = shared.get(&name)? else {
            return Ok(None);
        };
        let Some(mut head) = SetHead::decode(value) else {
            return Ok(None);
        };
        let Some(way) = head.find(self.tag) else {
            let set = self.set;
            heads.keep(Head { set, head, version });
            return Ok(None);
        };
        if head.touch(self.tag) {
            heads.take(self.set);
            // Recency is advice: whoever changed the head meanwhile knows better.
            let _lost = shared.set(&name, head.as_bytes(), Some(version));
        }
        let slot = shared.get(&slot_name(self.set, way))?;
        Ok(slot.map(|slot| (way, slot)))
    }

    /// How many unexpired values made room; `None` if the store does not use the set any more.
    fn write(
        &self,
        shared: &impl SharedData,
        heads: &Heads,
        value: &[u8],
        now: u32,
        expires: u32,
    ) -> Result<Option<u32>, StoreFault> {
        let bytes = u32::try_from(value.len()).map_err(|_| StoreFault::TooLarge)?;
        let name = head_name(self.set);
        for _ in 0..MAX_TRIES {
            let known = heads.take(self.set);
            let was_known = known.is_some();
            let (head, version) = match known {
                Some(Head { head, version, .. }) => (Some(head), version),
                None => self.read_head(shared, &name)?,
            };
            let was_closed = head.is_none();
            if was_closed && !self.is_in_use(shared) {
                return Ok(None);
            }
            let mut head = head.unwrap_or_default();
            let Placement {
                way,
                emptied,
                evicted,
            } = head
                .place(self.tag, bytes, expires, now)
                .ok_or(StoreFault::TooLarge)?;
            let slot = slot_name(self.set, way);
            let seen = shared.get(&slot)?.map_or(IF_ABSENT, |slot| slot.version);
            match shared.set(&name, head.as_bytes(), Some(version)) {
                Ok(()) => {}
                Err(SetFault::VersionMismatch) => {
                    if was_known {
                        heads.left_out.set(HEADS_LEFT_OUT);
                    }
                    continue;
                }
                Err(SetFault::Host) => return Err(StoreFault::Unavailable),
            }
            // Whoever gave the set up meanwhile may have been here before it was opened.
            if was_closed && !self.is_in_use(shared) {
                close_set(shared, self.set);
                return Ok(None);
            }
            empty_slots(shared, self.set, emptied);
            return match shared.set(&slot, value, Some(seen)) {
                Ok(()) => Ok(Some(evicted)),
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

    /// The head of the set, if it is open, and its version.
    fn read_head(
        &self,
        shared: &impl SharedData,
        name: &str,
    ) -> Result<(Option<SetHead>, Version), HostFault> {
        let Some(Versioned { value, version }) = shared.get(name)? else {
            return Ok((None, IF_ABSENT));
        };
        if value.is_empty() {
            return Ok((None, version));
        }
        let head = SetHead::decode(value).unwrap_or_else(|| {
            // What the slots hold is unknown, so none of it may count as free room.
            empty_slots(shared, self.set, 0..=u8::MAX);
            SetHead::default()
        });
        Ok((Some(head), version))
    }

    /// Whether the set is one that the latest configuration gave the store.
    fn is_in_use(&self, shared: &impl SharedData) -> bool {
        read_geometry(shared).is_none_or(|sets| self.set < sets)
    }
}

/// What a slot holds: a piece of an entry.
struct Segment {
    piece: Vec<u8>,
    trailer: Trailer,
    set: u32,
    way: u8,
    version: Version,
}

impl Segment {
    /// `None` if it is not the one asked for.
    fn decode(slot: Versioned, set: u32, way: u8, key: &[u8; 32], index: u16) -> Option<Self> {
        let Versioned {
            value: mut piece,
            version,
        } = slot;
        let (piece_bytes, trailer) = Trailer::decode(&piece)?;
        piece.truncate(piece_bytes);
        (trailer.key == *key && trailer.index == index).then_some(Self {
            piece,
            trailer,
            set,
            way,
            version,
        })
    }
}

/// What stands behind the piece of an entry in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trailer {
    key: [u8; 32],
    index: u16,
    segments: u16,
    entry_bytes: u32,
}

impl Trailer {
    fn encode(&self, out: &mut Vec<u8>) {
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

    fn same_entry(&self, first: &Self) -> bool {
        self.segments == first.segments && self.entry_bytes == first.entry_bytes
    }

    fn is_whole(&self, entry: &[u8]) -> bool {
        u32::try_from(entry.len()) == Ok(self.entry_bytes)
    }
}

fn read_geometry(shared: &impl SharedData) -> Option<u32> {
    decode_geometry(shared.get(GEOMETRY).ok()??.value)
}

fn decode_geometry(value: Vec<u8>) -> Option<u32> {
    let sets = u32::from_le_bytes(value.try_into().ok()?);
    (1..=MAX_SETS).contains(&sets).then_some(sets)
}

/// Sets the number of sets, and says what it was before.
fn change_geometry(shared: &impl SharedData, sets: u32) -> u32 {
    for _ in 0..MAX_TRIES {
        let Ok(before) = shared.get(GEOMETRY) else {
            break;
        };
        let version = before.as_ref().map_or(IF_ABSENT, |before| before.version);
        let before = before.and_then(|before| decode_geometry(before.value));
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
fn close_set(shared: &impl SharedData, set: u32) {
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
fn empty_slots(shared: &impl SharedData, set: u32, ways: impl IntoIterator<Item = u8>) {
    for way in ways {
        let _unset = shared.set(&slot_name(set, way), &[], None);
    }
}

fn head_name(set: u32) -> String {
    let mut name = String::with_capacity(32);
    name.push_str("llm-cache/");
    push_number(&mut name, set);
    name
}

fn slot_name(set: u32, way: u8) -> String {
    const { assert!(WAYS == 256, "a way is one byte") };
    let mut name = head_name(set);
    name.push('/');
    push_number(&mut name, way.into());
    name
}

/// As `write!` would, in a fraction of its time: every lookup spells names.
fn push_number(name: &mut String, number: u32) {
    if number > 9 {
        push_number(name, number / 10);
    }
    name.extend(char::from_digit(number % 10, 10));
}

#[cfg(test)]
mod tests;
