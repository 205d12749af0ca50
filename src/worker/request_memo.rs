//! The short way for requests that come again byte for byte.
//!
//! What a request asks for, and under which key, comes of reading its JSON and digesting all of it:
//! most of what a hit costs. [`RequestMemo`] remembers what came of it, and where the answer was found,
//! for requests that a store had an answer to. A request that comes again is known by a fingerprint
//! of its bytes. That this changes nothing but the time it takes rests on five things:
//!
//! 1. *The fingerprint covers all that decides.* What is remembered is a function of the
//!    configuration, of which a worker has one; of the body; of the headers that
//!    [`KeyHeaderFilter`](super::key_headers::KeyHeaderFilter) picks; and of the attributes, the
//!    route's cluster among them, which are read each time. The long way gets these and no others. So
//!    an input that is missing here is missing in the key as well, and the tests of the key fail. An
//!    exchange reads all other headers each time.
//! 2. *No two requests have one fingerprint.* It is a keyed hash of 128 bits (HighwayHash) over an
//!    encoding that differs wherever two requests differ, and its key are 256 random bits that
//!    nobody outside the worker learns. Without randomness from the host there is no short way. The
//!    hash of a long request is known where the same bytes were hashed before ([`LongRequests`]).
//! 3. *No entry is trusted for it.* The slot names the full key, and so does the entry, and both
//!    are held against the key that is remembered. Age, directives and form are examined each time.
//! 4. *An entry is taken as verified and decoded only where the same bytes were.* [`SlotRef`] names the
//!    slot and the version of its value, every new value has a new version, and after a
//!    second it is done again. The headers of a reply are used again ([`HitHeaders`]) where they would
//!    say the same.
//! 5. *It is bounded.* There are [`MEMOS`] of some 500 bytes, and at the most [`MAX_OPTION_BYTES`],
//!    256 bytes of a model's name and four times [`MAX_HEAD_BYTES`] more, 2 KiB with `respond.explain`,
//!    and 4 MiB of long requests; new ones take the place of
//!    old ones. A new configuration means a new worker.

mod fingerprint;
mod hit_headers;
mod long;

use std::cell::RefCell;
use std::rc::Rc;

use highway::{HighwayHash, HighwayHasher, Key};

use crate::attributes::Attributes;
use crate::cache::EntryHead;
use crate::http::Headers;
use crate::request::ResolvedRequest;
use crate::store::SlotRef;

pub(crate) use fingerprint::Fingerprint;
pub(crate) use hit_headers::{HitConditions, HitHeaders};
use long::LongRequests;

/// How many requests a worker remembers; a power of two.
const MEMOS: usize = 4_096;

/// A request that says more of the form of its answer is not remembered.
const MAX_OPTION_BYTES: usize = 256;

/// An entry that says more of its answer is looked up and decoded anew each time.
const MAX_HEAD_BYTES: usize = 512;

/// What the memory had for a request, verified.
#[derive(Clone, Debug)]
pub(crate) struct MemoEntry {
    /// Where, and in which version.
    pub(crate) slot: SlotRef,
    pub(crate) head: Rc<EntryHead>,
    pub(crate) hit_headers: Rc<HitHeaders>,
}

/// What is remembered of a request.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) resolved: Rc<ResolvedRequest>,
    pub(crate) entry: Option<MemoEntry>,
}

#[derive(Debug)]
struct Memo {
    fingerprint: Fingerprint,
    remembered: Remembered,
}

/// The requests that a worker remembers.
#[derive(Debug)]
pub(crate) struct RequestMemo {
    key: [u64; 4],
    long: RefCell<LongRequests>,
    /// Room for the key headers and the attributes of the request that is looked at.
    pairs: RefCell<Vec<u8>>,
    /// Each fingerprint has one index.
    memos: RefCell<Vec<Option<Box<Memo>>>>,
}

impl RequestMemo {
    /// `key` must be random, and known to nobody else.
    pub(crate) fn new(key: [u64; 4]) -> Self {
        let mut memos = Vec::new();
        memos.resize_with(MEMOS, || None);
        Self {
            key,
            long: RefCell::default(),
            pairs: RefCell::default(),
            memos: RefCell::new(memos),
        }
    }

    /// The fingerprint of a request, and what is remembered of it.
    pub(crate) fn find(
        &self,
        key_headers: &Headers,
        attributes: &Attributes,
        body: &[u8],
    ) -> (Fingerprint, Option<Remembered>) {
        let mut pairs = self.pairs.borrow_mut();
        pairs.clear();
        // Both say how many and how long they are: the body cannot pass for a part of them.
        key_headers.write_pairs(&mut pairs);
        attributes.write(&mut pairs);
        let compared = self.long.borrow().fingerprint(&pairs, body);
        let fingerprint = compared.unwrap_or_else(|| self.hash(&pairs, body));
        let found = self.remembered(fingerprint);
        // What was answered from a store before, and comes again, may come once more.
        if found.is_some() && compared.is_none() {
            self.long.borrow_mut().keep(&pairs, body, fingerprint);
        }
        (fingerprint, found)
    }

    fn remembered(&self, fingerprint: Fingerprint) -> Option<Remembered> {
        let memos = self.memos.borrow();
        let memo = memos.get(index(fingerprint))?.as_deref()?;
        (memo.fingerprint == fingerprint).then(|| memo.remembered.clone())
    }

    fn hash(&self, pairs: &[u8], body: &[u8]) -> Fingerprint {
        let mut hasher = HighwayHasher::new(Key(self.key));
        hasher.append(pairs);
        hasher.append(body);
        Fingerprint(hasher.finalize128())
    }

    /// A store had an answer to this request: `entry`, if it was the memory.
    pub(crate) fn remember(
        &self,
        fingerprint: Fingerprint,
        entry: Option<MemoEntry>,
        resolved: &Rc<ResolvedRequest>,
    ) {
        let entry = entry.filter(|entry| entry.head.len() <= MAX_HEAD_BYTES);
        let mut memos = self.memos.borrow_mut();
        let Some(memo_at) = memos.get_mut(index(fingerprint)) else {
            return;
        };
        match memo_at {
            Some(memo) if memo.fingerprint == fingerprint => memo.remembered.entry = entry,
            _ => {
                let form = resolved.traits.form.as_ref();
                if form.is_none_or(|form| form.options.len() <= MAX_OPTION_BYTES) {
                    *memo_at = Some(Box::new(Memo {
                        fingerprint,
                        remembered: Remembered {
                            resolved: Rc::clone(resolved),
                            entry,
                        },
                    }));
                }
            }
        }
    }
}

fn index(Fingerprint([bits, _]): Fingerprint) -> usize {
    const { assert!(MEMOS.is_power_of_two(), "a mask takes part of the bits") };
    usize::try_from(bits & (MEMOS as u64 - 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
