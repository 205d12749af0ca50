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
pub(super) struct Record {
    /// Which slot of the set.
    pub(super) way: u8,
    /// A part of the key: narrows the search, proves nothing.
    pub(super) tag: u64,
    /// How many bytes the slot holds.
    pub(super) bytes: u32,
    /// When what it holds is of no use any more, in seconds since 1970.
    pub(super) expires: u32,
}

impl Record {
    fn charge(self) -> u64 {
        u64::from(self.bytes).saturating_add(SLOT_OVERHEAD_BYTES)
    }
}

/// The slots of a set that are in use, most recently used first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetHead {
    records: Vec<Record>,
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
    /// `None` if the bytes are not a head of this version, or contradict themselves.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (records, odd) = bytes.strip_prefix(&MAGIC)?.as_chunks::<RECORD_BYTES>();
        if !odd.is_empty() || records.len() > WAYS {
            return None;
        }
        let mut used = [false; WAYS];
        let records = records
            .iter()
            .map(|bytes| {
                let record = decode_record(bytes)?;
                let used = used.get_mut(usize::from(record.way))?;
                (!std::mem::replace(used, true)).then_some(record)
            })
            .collect::<Option<_>>()?;
        Some(Self { records })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MAGIC.len() + self.records.len() * RECORD_BYTES);
        out.extend_from_slice(&MAGIC);
        for record in &self.records {
            out.push(record.way);
            out.extend_from_slice(&record.tag.to_le_bytes());
            out.extend_from_slice(&record.bytes.to_le_bytes());
            out.extend_from_slice(&record.expires.to_le_bytes());
        }
        out
    }

    /// The slot that may hold the value of this tag.
    pub(super) fn find(&self, tag: u64) -> Option<u8> {
        let record = self.records.iter().find(|record| record.tag == tag)?;
        Some(record.way)
    }

    /// Every slot in use.
    pub(super) fn ways(&self) -> impl Iterator<Item = u8> {
        self.records.iter().map(|record| record.way)
    }

    /// Notes that the value of this tag was used; whether the head changed. What is among the
    /// quarter used most recently stays where it is: a value in steady use costs no writes, and
    /// is still three quarters of a set away from being evicted.
    pub(super) fn touch(&mut self, tag: u64) -> bool {
        let place = self.records.iter().position(|record| record.tag == tag);
        match place {
            Some(place) if place > self.records.len() / 4 => {
                self.move_to_front(place);
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
        self.records.retain(|old| {
            if old.tag == tag {
                replaced = Some(old.way);
            } else if old.expires <= now {
                emptied.push(old.way);
            } else {
                return true;
            }
            false
        });
        let mut held: u64 = self.records.iter().map(|record| record.charge()).sum();
        let mut evicted: u32 = 0;
        while held.saturating_add(record.charge()) > SET_SLOT_BYTES || self.records.len() >= WAYS {
            let Some(oldest) = self.records.pop() else {
                break;
            };
            held = held.saturating_sub(oldest.charge());
            emptied.push(oldest.way);
            evicted = evicted.saturating_add(1);
        }
        record.way = match replaced.or_else(|| emptied.pop()) {
            Some(way) => way,
            None => self.unused_way()?,
        };
        self.records.insert(0, record);
        Some(Placement {
            way: record.way,
            emptied,
            evicted,
        })
    }

    fn unused_way(&self) -> Option<u8> {
        (0..=u8::MAX).find(|way| self.ways().all(|used| used != *way))
    }

    fn move_to_front(&mut self, place: usize) {
        if let Some(front) = self.records.get_mut(..=place) {
            front.rotate_right(1);
        }
    }
}

fn decode_record(bytes: &[u8; RECORD_BYTES]) -> Option<Record> {
    let (way, rest) = bytes.split_first()?;
    let (tag, rest) = rest.split_first_chunk()?;
    let (bytes, rest) = rest.split_first_chunk()?;
    let (expires, _) = rest.split_first_chunk()?;
    Some(Record {
        way: *way,
        tag: u64::from_le_bytes(*tag),
        bytes: u32::from_le_bytes(*bytes),
        expires: u32::from_le_bytes(*expires),
    })
}

#[cfg(test)]
mod tests;
