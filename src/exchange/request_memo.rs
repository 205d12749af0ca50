//! The short way for requests that come again byte for byte.
//!
//! What a request asks for, and under which key, comes of reading its JSON and digesting all of it:
//! most of what a hit costs. [`RequestMemo`] remembers what came of it, and where the answer was found,
//! for requests that a store had an answer to. A request that comes again is known by a fingerprint
//! of its bytes. That this changes nothing but the time it takes rests on five things:
//!
//! 1. *The fingerprint covers all that decides.* What is remembered is a function of the
//!    configuration, of which a worker has one; of the body; of the headers that [`KeyHeaderFilter`] picks;
//!    and of the attributes, the route's cluster among them, which are read each time. The long way
//!    is given these and no others. So one that were forgotten here would be missing in the key as
//!    well, and the tests of the key would say so. All other headers that an exchange looks at, it
//!    looks at each time.
//! 2. *No two requests have one fingerprint.* It is a keyed hash of 128 bits (HighwayHash) over an
//!    encoding that differs wherever two requests differ, and its key are 256 random bits that
//!    nobody outside the worker learns. Without randomness from the host there is no short way. The
//!    hash of a long request is known where the same bytes were hashed before ([`LongRequests`]).
//! 3. *No entry is trusted for it.* The slot names the full key, and so does the entry, and both
//!    are held against the key that is remembered. Age, directives and form are examined each time.
//! 4. *An entry is taken as verified and decoded only where the same bytes were.* [`SlotRef`] names the
//!    slot and the version of its value, whoever sets a value gives it a new version, and after a
//!    second it is done again. The headers of a reply are used again ([`HitHeaders`]) where they would
//!    say the same.
//! 5. *It is bounded.* There are [`RECORDS`] of some 500 bytes, and at the most [`MAX_OPTION_BYTES`],
//!    256 bytes of a model's name and four times [`MAX_HEAD_BYTES`] more, 2 KiB with `respond.explain`,
//!    and 4 MiB of long requests; new ones take the place of
//!    old ones. A new configuration means a new worker.

mod long;

use std::cell::RefCell;
use std::rc::Rc;

use highway::{HighwayHash, HighwayHasher, Key};

use crate::attributes::Attributes;
use crate::cache::{CacheKey, EntryHead, key_headers, steers_by_prefix};
use crate::config::{Config, Settings};
use crate::http::Headers;
use crate::llm::{Api, RequestTraits};
use crate::store::SlotRef;

use super::reply::HitHeaders;
use super::request::Keyed;
use long::LongRequests;

/// How many requests a worker remembers; a power of two.
const RECORDS: usize = 4_096;

/// A request that says more of the form of its answer is not remembered.
const MAX_OPTION_BYTES: usize = 256;

/// An entry that says more of its answer is looked up and decoded anew each time.
const MAX_HEAD_BYTES: usize = 512;

/// The headers that decide what a request asks for and under which key, by the length of their
/// names.
#[derive(Debug)]
pub(super) struct KeyHeaderFilter {
    by_length: Vec<Vec<Box<[u8]>>>,
}

impl KeyHeaderFilter {
    pub(super) fn new(config: &Config) -> Self {
        let settings = config.all_settings();
        let names = [":authority", ":scheme", ":path"]
            .into_iter()
            .chain(settings.flat_map(|settings| key_headers(&settings.key)))
            .chain(
                config
                    .rules
                    .iter()
                    .flat_map(|rule| rule.when.header_names()),
            );
        let mut by_length: Vec<Vec<Box<[u8]>>> = Vec::new();
        for name in names.map(str::as_bytes) {
            if by_length.len() <= name.len() {
                by_length.resize_with(name.len().saturating_add(1), Vec::new);
            }
            if let Some(names) = by_length.get_mut(name.len())
                && names.iter().all(|known| **known != *name)
            {
                names.push(name.into());
            }
        }
        Self { by_length }
    }

    /// Those of a request's headers that decide.
    pub(super) fn pick(&self, headers: &Headers) -> Headers {
        headers.filtered(|name| self.has(name))
    }

    /// Whether headers of this name decide.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        let names = self.by_length.get(name.len());
        // The last bytes tell most names of one length apart, without a call of `memcmp`.
        let is_name = |known: &[u8]| known.last() == name.last() && known == name;
        let is_listed = names.is_some_and(|names| names.iter().any(|known| is_name(known)));
        is_listed || steers_by_prefix(name)
    }
}

/// Stands for a request: for its deciding headers and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint([u64; 2]);

/// What is decided of a request.
#[derive(Clone, Debug)]
pub(super) struct ResolvedRequest {
    pub(super) key: CacheKey,
    pub(super) tenant: u64,
    pub(super) api: Api,
    pub(super) settings: Rc<Settings>,
    pub(super) ask: Rc<RequestTraits>,
    /// What the key is made of, with `respond.explain`.
    pub(super) parts: Option<Rc<str>>,
    /// See [`Keyed::model`]; at most 256 bytes.
    pub(super) model: Option<Rc<str>>,
}

impl ResolvedRequest {
    pub(super) fn of(request: &Keyed) -> Self {
        Self {
            key: request.key,
            tenant: request.tenant,
            api: request.api,
            settings: Rc::clone(&request.settings),
            ask: Rc::clone(&request.ask),
            parts: request.parts.clone(),
            model: request.model.clone(),
        }
    }
}

/// What the memory had for a request, verified.
#[derive(Clone, Debug)]
pub(super) struct MemoEntry {
    /// Where, and in which version.
    pub(super) seen: SlotRef,
    pub(super) head: Rc<EntryHead>,
    pub(super) told: Rc<HitHeaders>,
}

#[derive(Debug)]
struct Record {
    fingerprint: Fingerprint,
    resolved: ResolvedRequest,
    known: Option<MemoEntry>,
}

/// The requests that a worker remembers.
#[derive(Debug)]
pub(super) struct RequestMemo {
    key: [u64; 4],
    long: RefCell<LongRequests>,
    /// Room for the deciding headers and the attributes of the request that is looked at.
    pairs: RefCell<Vec<u8>>,
    /// Each fingerprint has one place.
    records: RefCell<Vec<Option<Box<Record>>>>,
}

impl RequestMemo {
    /// `key` must be random, and known to nobody else.
    pub(super) fn new(key: [u64; 4]) -> Self {
        let mut records = Vec::new();
        records.resize_with(RECORDS, || None);
        Self {
            key,
            long: RefCell::default(),
            pairs: RefCell::default(),
            records: RefCell::new(records),
        }
    }

    /// The fingerprint of a request, and what is remembered of it.
    pub(super) fn find(
        &self,
        deciding: &Headers,
        attributes: &Attributes,
        body: &[u8],
    ) -> (Fingerprint, Option<(ResolvedRequest, Option<MemoEntry>)>) {
        let mut pairs = self.pairs.borrow_mut();
        pairs.clear();
        // Both say how many and how long they are: the body cannot pass for a part of them.
        deciding.write_pairs(&mut pairs);
        attributes.write(&mut pairs);
        let known = self.long.borrow().fingerprint(&pairs, body);
        let fingerprint = known.unwrap_or_else(|| self.hash(&pairs, body));
        let found = self.remembered(fingerprint);
        // What was answered from a store before, and comes again, may come once more.
        if found.is_some() && known.is_none() {
            self.long.borrow_mut().keep(&pairs, body, fingerprint);
        }
        (fingerprint, found)
    }

    fn remembered(&self, fingerprint: Fingerprint) -> Option<(ResolvedRequest, Option<MemoEntry>)> {
        let records = self.records.borrow();
        let record = records.get(place(fingerprint))?.as_deref()?;
        (record.fingerprint == fingerprint).then(|| (record.resolved.clone(), record.known.clone()))
    }

    fn hash(&self, pairs: &[u8], body: &[u8]) -> Fingerprint {
        let mut hasher = HighwayHasher::new(Key(self.key));
        hasher.append(pairs);
        hasher.append(body);
        Fingerprint(hasher.finalize128())
    }

    /// A store had an answer to this request; `known` says more, if it was the memory.
    pub(super) fn remember(
        &self,
        fingerprint: Fingerprint,
        known: Option<MemoEntry>,
        resolved: impl FnOnce() -> ResolvedRequest,
    ) {
        let known = known.filter(|known| known.head.len() <= MAX_HEAD_BYTES);
        let mut records = self.records.borrow_mut();
        let Some(place) = records.get_mut(place(fingerprint)) else {
            return;
        };
        match place {
            Some(record) if record.fingerprint == fingerprint => record.known = known,
            _ => {
                let resolved = resolved();
                let form = resolved.ask.form.as_ref();
                if form.is_none_or(|form| form.options.len() <= MAX_OPTION_BYTES) {
                    *place = Some(Box::new(Record {
                        fingerprint,
                        resolved,
                        known,
                    }));
                }
            }
        }
    }
}

fn place(Fingerprint([bits, _]): Fingerprint) -> usize {
    const { assert!(RECORDS.is_power_of_two(), "a mask takes part of the bits") };
    usize::try_from(bits & (RECORDS as u64 - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
