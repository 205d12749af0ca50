//! One set of the memory store: which slots it uses, how many bytes they hold, and which of them
//! was used least recently.
//!
//! The head of a set is one value in shared data:
//! ```text
//! "SH"  version u8  then per slot in use, most recently used first:
//! way u8  tag u64  bytes u32  expires u32
//! ```
//! Numbers are little-endian. The order is the recency: there is no clock that workers could
//! disagree on.

/// Raised whenever the layout changes. A head of another version is no head: the set is emptied.
const MAGIC: [u8; 3] = [b'S', b'H', 1];
const RECORD_BYTES: usize = 17;

/// Slots of a set. A head names them in one byte.
pub(super) const WAYS: usize = 256;

/// What a set may hold in all: slots, their names, its head.
pub(super) const SET_BYTES: u64 = 1 << 20;

/// What a slot costs the host beyond its bytes, roughly: the allocation's slack.
const SLOT_OVERHEAD_BYTES: u64 = 64;

/// What is left of [`SET_BYTES`] for slots when every slot has its name and its node in the host's
/// map (about 112 bytes), and the head is at its longest, old and new at once while it is set.
pub(super) const SET_SLOT_BYTES: u64 =
    SET_BYTES - (WAYS * (112 + 2 * RECORD_BYTES) + 2 * MAGIC.len()) as u64;

/// A slot in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// Which slot of the set.
    way: u8,
    /// A part of the key: narrows the search, proves nothing.
    tag: u64,
    /// How many bytes the slot holds.
    bytes: u32,
    /// When what it holds is of no use any more, in seconds since 1970.
    expires: u32,
}

impl Record {
    fn charge(self) -> u64 {
        u64::from(self.bytes).saturating_add(SLOT_OVERHEAD_BYTES)
    }

    #[inline]
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

    fn encode(self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        let (way, rest) = record.split_at_mut(1);
        let (tag, rest) = rest.split_at_mut(8);
        let (bytes, expires) = rest.split_at_mut(4);
        way.copy_from_slice(&[self.way]);
        tag.copy_from_slice(&self.tag.to_le_bytes());
        bytes.copy_from_slice(&self.bytes.to_le_bytes());
        expires.copy_from_slice(&self.expires.to_le_bytes());
        record
    }
}

/// The slots of a set that are in use, most recently used first, in the bytes in which they are
/// stored: a head is read at each lookup, and most of it is looked at once at the most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetHead {
    /// The magic and whole records, always.
    bytes: Vec<u8>,
}

impl Default for SetHead {
    fn default() -> Self {
        let bytes = MAGIC.to_vec();
        Self { bytes }
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
    pub(super) fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (records, odd) = bytes.strip_prefix(&MAGIC)?.as_chunks::<RECORD_BYTES>();
        let is_head = odd.is_empty() && records.len() <= WAYS;
        is_head.then_some(Self { bytes })
    }

    /// What [`SetHead::decode`] takes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The slot that may hold the value of this tag.
    pub(super) fn find(&self, tag: u64) -> Option<u8> {
        let record = self.records().get(self.place_of(tag)?)?;
        Some(Record::decode(record).way)
    }

    /// Every slot in use.
    pub(super) fn ways(&self) -> impl Iterator<Item = u8> {
        self.records()
            .iter()
            .map(|record| Record::decode(record).way)
    }

    /// Notes that the value of this tag was used; whether the head changed. What is among the
    /// quarter used most recently stays where it is: a value in steady use costs no writes, and
    /// is still three quarters of a set away from being evicted.
    pub(super) fn touch(&mut self, tag: u64) -> bool {
        let place = self.place_of(tag);
        let records = self.records_mut();
        match place {
            Some(place) if place > records.len() / 4 => {
                if let Some(front) = records.get_mut(..=place) {
                    front.rotate_right(1);
                }
                true
            }
            _ => false,
        }
    }

    /// Makes room for `bytes` bytes under `tag`: first what has expired goes, then what was used
    /// least recently. `None` if the value is larger than a set.
    pub(super) fn place(
        &mut self,
        tag: u64,
        bytes: u32,
        expires: u32,
        now: u32,
    ) -> Option<Placement> {
        let mut record = Record {
            way: 0,
            tag,
            bytes,
            expires,
        };
        if record.charge() > SET_SLOT_BYTES {
            return None;
        }
        let mut emptied = Vec::new();
        let mut replaced = None;
        let mut held = 0_u64;
        self.retain(|old| {
            if old.tag == tag {
                replaced = Some(old.way);
            } else if old.expires <= now {
                emptied.push(old.way);
            } else {
                held = held.saturating_add(old.charge());
                return true;
            }
            false
        });
        let mut evicted: u32 = 0;
        while held.saturating_add(record.charge()) > SET_SLOT_BYTES || self.records().len() >= WAYS
        {
            let Some(oldest) = self.pop() else {
                break;
            };
            held = held.saturating_sub(oldest.charge());
            emptied.push(oldest.way);
            evicted = evicted.saturating_add(1);
        }
        record.way = match replaced.or_else(|| emptied.pop()) {
            Some(way) => way,
            None => self.used().first_unused()?,
        };
        self.push_front(record);
        Some(Placement {
            way: record.way,
            emptied,
            evicted,
        })
    }

    fn records(&self) -> &[[u8; RECORD_BYTES]] {
        let records = self.bytes.get(MAGIC.len()..).unwrap_or_default();
        records.as_chunks().0
    }

    fn records_mut(&mut self) -> &mut [[u8; RECORD_BYTES]] {
        let records = self.bytes.get_mut(MAGIC.len()..).unwrap_or_default();
        records.as_chunks_mut().0
    }

    fn place_of(&self, tag: u64) -> Option<usize> {
        let has_tag = |record: &[u8; RECORD_BYTES]| Record::decode(record).tag == tag;
        self.records().iter().position(has_tag)
    }

    fn retain(&mut self, mut keeps: impl FnMut(Record) -> bool) {
        let mut kept = 0_usize;
        let records = self.records_mut();
        for place in 0..records.len() {
            if records
                .get(place)
                .is_some_and(|record| keeps(Record::decode(record)))
            {
                if kept != place {
                    records.swap(kept, place);
                }
                kept = kept.saturating_add(1);
            }
        }
        self.truncate(kept);
    }

    fn pop(&mut self) -> Option<Record> {
        let (last, rest) = self.records().split_last()?;
        let (last, rest) = (Record::decode(last), rest.len());
        self.truncate(rest);
        Some(last)
    }

    fn push_front(&mut self, record: Record) {
        self.bytes.extend_from_slice(&record.encode());
        self.records_mut().rotate_right(1);
    }

    fn truncate(&mut self, records: usize) {
        self.bytes.truncate(MAGIC.len() + records * RECORD_BYTES);
    }

    fn used(&self) -> Used {
        let mut used = Used::default();
        self.ways().for_each(|way| used.add(way));
        used
    }
}

/// A set of slots: a bit for each.
#[derive(Default)]
struct Used([u64; WAYS / 64]);

impl Used {
    fn add(&mut self, way: u8) {
        if let Some(bits) = self.0.get_mut(usize::from(way / 64)) {
            *bits |= 1 << (way % 64);
        }
    }

    fn first_unused(&self) -> Option<u8> {
        let bits = self.0.iter().position(|bits| *bits != u64::MAX)?;
        let bit = self.0.get(bits)?.trailing_ones();
        u8::try_from(bits * 64 + usize::try_from(bit).ok()?).ok()
    }
}

#[cfg(test)]
mod tests;
