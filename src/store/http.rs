//! The store behind HTTP: Redis or Valkey through Webdis, or objects in a bucket. Many gateways
//! may share it, and it may hand back any bytes at all.
//!
//! A protocol is one file: what it asks, as a pure function of key and entry, and what it makes of
//! the reply. Around it are the bounds: a circuit breaker, and limits on what is being looked up and
//! written, of which each caller has a share.

mod breaker;
mod rest;
mod webdis;

use std::cell::RefCell;

pub use breaker::{BreakerState, Turn};

use super::StoreFault;
use crate::callout::{Callout, CalloutReply, CalloutResult};
use crate::clock::{DeltaSeconds, UnixMillis};
use crate::config::{self, StoreProtocol};
use crate::random::Random;
use crate::shares::{Share, Shares};
use breaker::{Admission, Breaker};

/// The number of lookups that may be on their way at once, per worker: half of it for one caller. Envoy lets a
/// cluster have 1,024 requests, and what exceeds that fails.
const MAX_LOOKUPS: usize = 512;

/// The number of writes that may be on their way at once, per worker: half of it for one caller.
const MAX_WRITES: usize = 128;

/// Their entries together may be this many times as long as the longest one.
const MAX_WRITTEN_ENTRIES: usize = 4;

/// A probe that has not come back after this many times its timeout is lost.
const PROBE_PATIENCE: u32 = 4;

/// A protocol between us and a store.
trait Protocol: std::fmt::Debug {
    /// Asks for the entry under a key.
    fn get(&self, prefix: &str, key: &str) -> StoreRequest;

    /// What the reply to that says; its status is below 500.
    fn found(&self, reply: CalloutReply) -> Result<Option<Vec<u8>>, StoreFault>;

    /// Stores an entry for this long.
    fn put(&self, prefix: &str, key: &str, ttl: DeltaSeconds, entry: Vec<u8>) -> StoreRequest;

    /// What the reply to that says.
    fn stored(&self, reply: &CalloutReply) -> Result<(), StoreFault>;

    /// Removes an entry that has expired, if the store does not do that by itself.
    fn delete(&self, prefix: &str, key: &str) -> Option<StoreRequest>;

    /// What the reply to that says.
    fn deleted(&self, reply: &CalloutReply) -> Result<(), StoreFault>;
}

/// What a protocol asks of its store.
#[derive(Debug, PartialEq, Eq)]
struct StoreRequest {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl StoreRequest {
    fn new(method: &'static str, path: String) -> Self {
        Self {
            method,
            path,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }
}

fn protocol(protocol: StoreProtocol) -> &'static dyn Protocol {
    match protocol {
        StoreProtocol::Webdis => &webdis::Webdis,
        StoreProtocol::Rest => &rest::Rest,
    }
}

/// The store behind HTTP, as one worker sees it. Keys are digests in hex: nothing else about a
/// request reaches the store.
#[derive(Debug)]
pub struct HttpStore {
    settings: config::Http,
    protocol: &'static dyn Protocol,
    breaker: RefCell<Breaker>,
    random: RefCell<Random>,
    lookups: Shares,
    writes: Shares,
    bytes_written: Shares,
}

/// The store has failed so often that it is to be tried with [`HttpStore::probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion;

/// Room for a write, until this is dropped.
#[derive(Debug)]
pub struct WriteRoom {
    _one: Share,
    _bytes: Share,
}

/// Whether, and how, an entry is to be looked up.
#[derive(Debug)]
pub enum Lookup {
    /// Send this and wait for the reply, with the room that it takes.
    Send(Callout, Share),
    /// Do not wait; the store is to be tried with [`HttpStore::probe`] meanwhile.
    Probe,
    /// Do not ask, and why.
    Refused(StoreFault),
}

/// Whether an entry may be written.
#[derive(Debug)]
pub enum WriteBegun {
    /// There is room.
    Yes(WriteRoom),
    /// Not now; the store is to be tried with [`HttpStore::probe`].
    Probe,
    /// Why not.
    No(StoreFault),
}

impl HttpStore {
    /// The store that the configuration names; `seed` makes the breaker's randomness.
    pub fn new(settings: config::Http, seed: u64) -> Self {
        let patience = settings.lookup_timeout.saturating_mul(PROBE_PATIENCE);
        let bytes_written = settings.max_entry_bytes.saturating_mul(MAX_WRITTEN_ENTRIES);
        Self {
            protocol: protocol(settings.protocol),
            breaker: RefCell::new(Breaker::new(settings.breaker, patience, seed)),
            random: RefCell::new(Random::new(seed)),
            lookups: Shares::new(MAX_LOOKUPS),
            writes: Shares::new(MAX_WRITES),
            bytes_written: Shares::new(bytes_written),
            settings,
        }
    }

    /// The name of its cluster.
    pub fn cluster(&self) -> &str {
        &self.settings.cluster
    }

    /// Whether an entry that has expired stays until it is deleted.
    pub fn keeps_expired(&self) -> bool {
        self.protocol.delete("", "").is_some()
    }

    /// Decides how to look a key up for a caller.
    pub fn look_up(&self, key: &str, caller: u64, now: UnixMillis) -> (Lookup, Option<Turn>) {
        let (admission, turn) = self.breaker.borrow_mut().admit(now);
        let lookup = match admission {
            Admission::Closed => match self.lookups.take(caller, 1) {
                Some(room) => Lookup::Send(self.get(key), room),
                None => Lookup::Refused(StoreFault::Busy),
            },
            Admission::Probe => Lookup::Probe,
            Admission::Refused => Lookup::Refused(StoreFault::BreakerOpen),
        };
        (lookup, turn)
    }

    /// Looks up what is not there, to see whether the store is well: an entry might be too large for
    /// the time that a lookup has. Nobody knows the key beforehand.
    pub fn probe(&self) -> Callout {
        let mut random = self.random.borrow_mut();
        let words = [(); 4].map(|()| format!("{:016x}", random.bits()));
        self.get(&words.concat())
    }

    fn get(&self, key: &str) -> Callout {
        let request = self.protocol.get(&self.settings.path_prefix, key);
        self.callout(request, self.settings.lookup_timeout)
    }

    /// What a lookup found, not verified: any bytes may come back.
    pub fn looked_up(
        &self,
        result: CalloutResult,
        now: UnixMillis,
    ) -> (Result<Option<Vec<u8>>, StoreFault>, Option<Suspicion>) {
        let found = self.found(result);
        let suspicion = self.note(found.as_ref().err().copied(), now);
        (found, suspicion)
    }

    /// What a probe says about the store.
    pub fn probed(
        &self,
        result: CalloutResult,
        now: UnixMillis,
    ) -> (Result<Option<Vec<u8>>, StoreFault>, Option<Turn>) {
        let found = self.found(result);
        let healthy = !found.as_ref().is_err_and(|fault| is_unwell(*fault));
        let turn = self.breaker.borrow_mut().probed(healthy, now);
        (found, turn)
    }

    /// Takes room for a caller's write of this many bytes.
    pub fn begin_write(
        &self,
        bytes: usize,
        caller: u64,
        now: UnixMillis,
    ) -> (WriteBegun, Option<Turn>) {
        let max_entry_bytes = self.settings.max_entry_bytes;
        if bytes > max_entry_bytes {
            return (WriteBegun::No(StoreFault::TooLarge), None);
        }
        let (admission, turn) = self.breaker.borrow_mut().admit(now);
        let begun = match admission {
            Admission::Refused => WriteBegun::No(StoreFault::BreakerOpen),
            Admission::Probe => WriteBegun::Probe,
            Admission::Closed => {
                let one = self.writes.take(caller, 1);
                match one.zip(self.bytes_written.take(caller, bytes)) {
                    Some((one, bytes)) => WriteBegun::Yes(WriteRoom {
                        _one: one,
                        _bytes: bytes,
                    }),
                    None => WriteBegun::No(StoreFault::Busy),
                }
            }
        };
        (begun, turn)
    }

    /// Writes an entry that is of use for this long.
    pub fn write(&self, key: &str, ttl: DeltaSeconds, entry: Vec<u8>) -> Callout {
        let prefix = &self.settings.path_prefix;
        let request = self.protocol.put(prefix, key, ttl, entry);
        self.callout(request, self.settings.store_timeout)
    }

    /// What came of a write.
    pub fn written(
        &self,
        result: CalloutResult,
        now: UnixMillis,
    ) -> (Result<(), StoreFault>, Option<Suspicion>) {
        let written = well(result).and_then(|reply| self.protocol.stored(&reply));
        let suspicion = self.note(written.err(), now);
        (written, suspicion)
    }

    /// Removes an entry that has expired; `None` if the store does that by itself.
    pub fn delete(&self, key: &str) -> Option<Callout> {
        let request = self.protocol.delete(&self.settings.path_prefix, key)?;
        Some(self.callout(request, self.settings.store_timeout))
    }

    /// What came of a removal.
    pub fn deleted(
        &self,
        result: CalloutResult,
        now: UnixMillis,
    ) -> (Result<(), StoreFault>, Option<Suspicion>) {
        let deleted = well(result).and_then(|reply| self.protocol.deleted(&reply));
        let suspicion = self.note(deleted.err(), now);
        (deleted, suspicion)
    }

    fn callout(&self, request: StoreRequest, timeout: std::time::Duration) -> Callout {
        let own = [
            (":method", request.method.to_owned()),
            (":path", request.path),
            (":authority", self.settings.authority.clone()),
        ];
        let configured = self.settings.headers.iter();
        Callout {
            cluster: self.settings.cluster.clone(),
            headers: own
                .into_iter()
                .chain(request.headers)
                .map(|(name, value)| (name.to_owned(), value))
                .chain(configured.map(|(name, value)| (name.clone(), value.expose().to_owned())))
                .collect(),
            body: request.body,
            timeout,
            max_reply_bytes: self.settings.max_entry_bytes,
        }
    }

    fn found(&self, result: CalloutResult) -> Result<Option<Vec<u8>>, StoreFault> {
        let found = self.protocol.found(well(result)?)?;
        let fits = |entry: &Vec<u8>| entry.len() <= self.settings.max_entry_bytes;
        if found.as_ref().is_none_or(fits) {
            Ok(found)
        } else {
            Err(StoreFault::TooLarge)
        }
    }

    /// Tells the breaker how an ordinary callout went.
    fn note(&self, fault: Option<StoreFault>, now: UnixMillis) -> Option<Suspicion> {
        let mut breaker = self.breaker.borrow_mut();
        if fault.is_some_and(is_unwell) {
            breaker.failed(now).then_some(Suspicion)
        } else {
            breaker.succeeded();
            None
        }
    }
}

/// The reply of a store that is well, whatever it says.
fn well(result: CalloutResult) -> Result<CalloutReply, StoreFault> {
    let reply = result.map_err(|_| StoreFault::Unavailable)?;
    match reply.status {
        // Envoy's own 504 is the end of the timeout.
        408 | 504 => Err(StoreFault::Timeout),
        429 | 500.. => Err(StoreFault::Unavailable),
        _ => Ok(reply),
    }
}

/// Whether a fault speaks of the store and not of what it was asked.
fn is_unwell(fault: StoreFault) -> bool {
    matches!(fault, StoreFault::Unavailable | StoreFault::Timeout)
}

#[cfg(test)]
mod tests;
