//! Which worker asks the upstream for a key, agreed on by all workers over shared data.
//!
//! A worker that takes the lease on a key leads: it alone asks the upstream. Others find the lease
//! held and leave the number of their queue in it; the leader that gives the lease back is told which
//! queues those are. A key whose answer has just proved not storable is remembered for a short
//! while: waiting for it would be in vain.
//!
//! Shared data never forgets a name, so there are [`BUCKETS`] of them, `llm-cache/leases/<bucket>`,
//! and the key chooses one. A bucket holds at most [`MAX_RECORDS`] records, no two of one key:
//! ```text
//! "LB"  version u8  then per record:
//! key [32]  ends u64  length u32  kind u8
//!     kind 1, held:  owner u64  generation u32  waiting u8  then as many times: queue u32
//!     kind 2, unstorable
//! ```
//! Numbers are little-endian, times are in milliseconds. A bucket changes by compare-and-set only,
//! as a whole: to give a lease back is to read who waits for it and to remove it at once, so nobody
//! can leave word in between and be forgotten. What is no bucket counts as an empty one. Whatever
//! goes wrong, a lease ends by its age.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::UnixMillis;

use super::{SetFault, SharedData, StoreKey, Versioned, get_or_create};

/// How many names the leases of all keys share: what one byte can say.
const BUCKETS: usize = 1 << u8::BITS;

/// Live records of one bucket, at most.
const MAX_RECORDS: usize = 16;

/// Workers that may wait for one lease, at most. With these bounds all buckets together stay below
/// 1.4 MB.
const MAX_WAITING: usize = 64;

/// How often a worker tries again when another was first: once more for each that may leave word
/// meanwhile, because a lease that is not given back keeps all of them waiting.
const MAX_TRIES: usize = MAX_WAITING + 1;

/// Nothing that a bucket says lasts longer, in milliseconds: an hour.
const MAX_LENGTH: u32 = 3_600_000;

/// Raised whenever the layout changes.
const MAGIC: [u8; 3] = [b'L', b'B', 1];
const HELD: u8 = 1;
const UNSTORABLE: u8 = 2;

/// One worker's part in the leases.
#[derive(Debug)]
pub struct Leases {
    owner: u64,
    queue: Option<u32>,
    next_generation: Cell<u32>,
}

/// Proves that a worker took a lease, to the [`Leases`] that it took it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a lease that is not released keeps others waiting"]
pub struct Lease {
    generation: u32,
}

/// What became of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The lease is ours: ask the upstream, then [`Leases::release`] it.
    Leads(Lease),
    /// Another worker holds it, and tells our queue when it gives it back.
    Waits {
        /// When the lease ends unless it is given back before.
        until: UnixMillis,
    },
    /// It is held, and nobody will tell us of its end: we did not want to wait, have no queue or
    /// hold it ourselves, or too many wait already.
    Held {
        /// When the lease ends unless it is given back before.
        until: UnixMillis,
    },
    /// The answer has just proved not storable: nobody should wait for it.
    Unstorable,
    /// There is no lease to be had: the bucket is full, or the host does not answer as it should.
    Unavailable,
}

/// Whether somebody holds the lease on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// Somebody does.
    Held {
        /// When the lease ends unless it is given back before.
        until: UnixMillis,
    },
    /// Nobody does, or it cannot be found out.
    Free,
}

impl Leases {
    /// `owner` is a random number that no other worker has; `queue` is where this one is told of
    /// the end of leases it waits for.
    pub fn new(owner: u64, queue: Option<u32>) -> Self {
        Self {
            owner,
            queue,
            next_generation: Cell::new(0),
        }
    }

    /// Takes the lease on a key for `max_age`, at most an hour; or, if it is held and
    /// `wait` says so, leaves word to be told of its end.
    ///
    /// A worker keeps its own waiters in its own memory: it never waits here for a lease that it
    /// holds itself.
    pub fn join(
        &self,
        shared: &dyn SharedData,
        key: &StoreKey,
        now: UnixMillis,
        max_age: Duration,
        wait: bool,
    ) -> Joined {
        let name = bucket_name(key);
        for _ in 0..MAX_TRIES {
            let Ok(Versioned { value, version }) = get_or_create(shared, &name) else {
                return Joined::Unavailable;
            };
            let mut bucket = Bucket::decode(&value).unwrap_or_default();
            bucket.drop_expired(now);
            let joined = match bucket.find(key) {
                None => {
                    let generation = self.next_generation.get();
                    self.next_generation.set(generation.wrapping_add(1));
                    let taken = bucket.hold(LeaseRecord {
                        key: *key,
                        term: Term::new(now, max_age),
                        kind: Kind::Held(Holder {
                            owner: self.owner,
                            generation,
                            waiting: Vec::new(),
                        }),
                    });
                    if !taken {
                        return Joined::Unavailable;
                    }
                    Joined::Leads(Lease { generation })
                }
                Some(LeaseRecord {
                    kind: Kind::Unstorable,
                    ..
                }) => return Joined::Unstorable,
                Some(LeaseRecord {
                    term,
                    kind: Kind::Held(holder),
                    ..
                }) => {
                    let until = term.ends;
                    let queue = self.queue.filter(|_| wait && holder.owner != self.owner);
                    let Some(queue) = queue else {
                        return Joined::Held { until };
                    };
                    if holder.waiting.contains(&queue) {
                        return Joined::Waits { until };
                    }
                    if holder.waiting.len() >= MAX_WAITING {
                        return Joined::Held { until };
                    }
                    holder.waiting.push(queue);
                    Joined::Waits { until }
                }
            };
            match shared.set(&name, &bucket.encode(), Some(version)) {
                Ok(()) => return joined,
                Err(SetFault::VersionMismatch) => {}
                Err(SetFault::Host) => return Joined::Unavailable,
            }
        }
        Joined::Unavailable
    }

    /// Gives a lease back, and says which queues are to be told. `unstorable_until` is for an
    /// answer that cannot be stored: until then, in milliseconds since 1970 and at most an hour
    /// from now, nobody waits for this key.
    ///
    /// A lease that has ended and that another worker has taken since stays untouched. If the host
    /// refuses, the lease ends by its age. Every queue that was seen to wait for this one is to be told in
    /// any case.
    pub fn release(
        &self,
        shared: &dyn SharedData,
        key: &StoreKey,
        lease: Lease,
        unstorable_until: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Vec<u32> {
        let name = bucket_name(key);
        let mut waiting = Vec::new();
        for _ in 0..MAX_TRIES {
            let Ok(Some(Versioned { value, version })) = shared.get(&name) else {
                return waiting;
            };
            let mut bucket = Bucket::decode(&value).unwrap_or_default();
            // Ended or not: as long as nobody else has taken it, those who wait can be told.
            let Some(holder) = bucket.take(key, self.owner, lease.generation) else {
                return waiting;
            };
            waiting = holder.waiting;
            bucket.drop_expired(now);
            if let Some(until) = unstorable_until.filter(|until| *until > now) {
                bucket.records.push(LeaseRecord {
                    key: *key,
                    term: Term::new(now, until.since(now)),
                    kind: Kind::Unstorable,
                });
            }
            match shared.set(&name, &bucket.encode(), Some(version)) {
                Err(SetFault::VersionMismatch) => {}
                Ok(()) | Err(SetFault::Host) => return waiting,
            }
        }
        waiting
    }

    /// Whether the lease on a key is held: for waiters that nobody can tell, or who do not rely
    /// on being told.
    pub fn peek(&self, shared: &dyn SharedData, key: &StoreKey, now: UnixMillis) -> Peeked {
        let Ok(Some(found)) = shared.get(&bucket_name(key)) else {
            return Peeked::Free;
        };
        let mut bucket = Bucket::decode(&found.value).unwrap_or_default();
        bucket.drop_expired(now);
        match bucket.find(key) {
            Some(LeaseRecord {
                term,
                kind: Kind::Held(_),
                ..
            }) => Peeked::Held { until: term.ends },
            _ => Peeked::Free,
        }
    }
}

/// The byte that chooses the bucket is none of those that choose slots in the memory store.
fn bucket_name(key: &StoreKey) -> String {
    const { assert!(BUCKETS == 256, "one byte chooses the bucket") };
    let [.., bucket] = *key;
    format!("llm-cache/leases/{bucket}")
}

/// The records of the keys that share a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bucket {
    records: Vec<LeaseRecord>,
}

/// What is said about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeaseRecord {
    key: StoreKey,
    term: Term,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Held(Holder),
    Unstorable,
}

/// Who holds a lease, and the queues of those who wait for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    owner: u64,
    generation: u32,
    waiting: Vec<u32>,
}

/// How long a record is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    /// When it is not any more.
    ends: UnixMillis,
    /// For how many milliseconds it was made, 1 to [`MAX_LENGTH`].
    length: u32,
}

impl Term {
    fn new(now: UnixMillis, length: Duration) -> Self {
        let length = u32::try_from(length.as_millis())
            .unwrap_or(MAX_LENGTH)
            .clamp(1, MAX_LENGTH);
        Self {
            ends: now + Duration::from_millis(length.into()),
            length,
        }
    }

    /// Whether it is valid. After a clock was set back, an end may be as far away as it likes, so
    /// it is not believed then. But a worker's `now` may be from before another worker made the
    /// record: what is away no further than twice the length is in order.
    fn runs(self, now: UnixMillis) -> bool {
        let left = self.ends.since(now);
        let length = Duration::from_millis(self.length.into());
        !left.is_zero() && left <= length.saturating_mul(2)
    }
}

impl Bucket {
    fn find(&mut self, key: &StoreKey) -> Option<&mut LeaseRecord> {
        self.records.iter_mut().find(|record| record.key == *key)
    }

    fn drop_expired(&mut self, now: UnixMillis) {
        self.records.retain(|record| record.term.runs(now));
    }

    /// Adds a lease; whether there was room. To know what is not storable saves a wait, to lead
    /// saves a question to the upstream: the former makes room, the one that ends first.
    fn hold(&mut self, lease: LeaseRecord) -> bool {
        if self.records.len() >= MAX_RECORDS {
            let unstorable = |record: &(usize, &LeaseRecord)| record.1.kind == Kind::Unstorable;
            let records = self.records.iter().enumerate().filter(unstorable);
            let Some((index, _)) = records.min_by_key(|(_, record)| record.term.ends) else {
                return false;
            };
            self.records.remove(index);
        }
        self.records.push(lease);
        true
    }

    /// Removes the lease of this owner and generation.
    fn take(&mut self, key: &StoreKey, owner: u64, generation: u32) -> Option<Holder> {
        let index = self.records.iter().position(|record| {
            record.key == *key
                && matches!(&record.kind, Kind::Held(holder)
                    if holder.owner == owner && holder.generation == generation)
        })?;
        match self.records.remove(index).kind {
            Kind::Held(holder) => Some(holder),
            Kind::Unstorable => None,
        }
    }

    /// `None` if the bytes are no bucket of this version, exceed its bounds, or contradict
    /// themselves.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes.strip_prefix(&MAGIC)?;
        let mut bucket = Self::default();
        while !bytes.is_empty() {
            let (record, rest) = LeaseRecord::decode(bytes)?;
            if bucket.records.len() >= MAX_RECORDS || bucket.find(&record.key).is_some() {
                return None;
            }
            bucket.records.push(record);
            bytes = rest;
        }
        Some(bucket)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for record in &self.records {
            record.encode(&mut out);
        }
        out
    }
}

impl LeaseRecord {
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (key, bytes) = bytes.split_first_chunk()?;
        let (ends, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first_chunk()?;
        let (kind, bytes) = bytes.split_first()?;
        let (kind, bytes) = match *kind {
            HELD => {
                let (holder, bytes) = Holder::decode(bytes)?;
                (Kind::Held(holder), bytes)
            }
            UNSTORABLE => (Kind::Unstorable, bytes),
            _ => return None,
        };
        let term = Term {
            ends: UnixMillis::from_millis(u64::from_le_bytes(*ends)),
            length: u32::from_le_bytes(*length),
        };
        let record = Self {
            key: *key,
            term,
            kind,
        };
        (1..=MAX_LENGTH)
            .contains(&term.length)
            .then_some((record, bytes))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.term.ends.as_millis().to_le_bytes());
        out.extend_from_slice(&self.term.length.to_le_bytes());
        match &self.kind {
            Kind::Held(holder) => {
                out.push(HELD);
                holder.encode(out);
            }
            Kind::Unstorable => out.push(UNSTORABLE),
        }
    }
}

impl Holder {
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (owner, bytes) = bytes.split_first_chunk()?;
        let (generation, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = bytes.split_first()?;
        let count = usize::from(*count);
        if count > MAX_WAITING {
            return None;
        }
        let (queues, bytes) = bytes.split_at_checked(count.saturating_mul(4))?;
        let (queues, _) = queues.as_chunks();
        let mut waiting = Vec::with_capacity(count);
        for queue in queues {
            let queue = u32::from_le_bytes(*queue);
            if waiting.contains(&queue) {
                return None;
            }
            waiting.push(queue);
        }
        let holder = Self {
            owner: u64::from_le_bytes(*owner),
            generation: u32::from_le_bytes(*generation),
            waiting,
        };
        Some((holder, bytes))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        const { assert!(MAX_WAITING < 256, "their number is one byte") };
        out.extend_from_slice(&self.owner.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.push(u8::try_from(self.waiting.len()).unwrap_or(u8::MAX));
        for queue in &self.waiting {
            out.extend_from_slice(&queue.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
