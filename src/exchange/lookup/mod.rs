//! Looks for an entry in the stores and verifies it. If no entry serves, the request goes to the
//! upstream, or waits for an identical one that is already there.
//!
//! | file | what it decides |
//! |---|---|
//! | `memory` | whether what the memory has is a hit |
//! | `found` | what an entry is worth to this request |
//! | `copy` | how an entry in another form is served |
//! | `fetching` | what the store behind HTTP adds |
//! | `collapsing` | whether the request waits for an identical one |
//! | `revalidating` | whether what has expired is served while it is refreshed |
//! | `forwarding` | how the request goes on to the upstream |
//! | `serving` | how an entry is served |

mod collapsing;
mod copy;
mod fetching;
mod forwarding;
mod found;
mod memory;
mod revalidating;
mod serving;

use std::rc::Rc;
use std::time::Duration;

use crate::attributes::Attributes;
use crate::budget::{Charged, Reservation};
use crate::cache::{Entry, Tier};
use crate::clock::{DeltaSeconds, UnixMillis};
use crate::config::Mode;
use crate::http::{Headers, RequestDirectives};
use crate::llm::Form;
use crate::report::Miss;
use crate::request::KeyedRequest;
use crate::shares::Share;
use crate::worker::{Fingerprint, HitHeaders, MemoEntry};

use super::reply::Sent;
use super::response::Forwarded;

pub(super) use forwarding::reply_only_if_cached;

/// A request for whose answer the stores are searched.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) request: KeyedRequest,
    pub(super) headers: Charged<Headers>,
    pub(super) attributes: Attributes,
    /// What the exchange takes beside.
    pub(super) reservation: Reservation,
    pub(super) directives: RequestDirectives,
    /// By this the worker recognizes the request when it comes again.
    pub(super) fingerprint: Option<Fingerprint>,
    /// What the memory had for it before.
    pub(super) memo_entry: Option<MemoEntry>,
    /// The one member in which it differs from an earlier request.
    pub(super) near_miss: Option<&'static str>,
}

/// What comes of a search, for now.
#[derive(Debug)]
pub(super) enum Searched {
    /// The cache answers.
    Replied(Sent),
    /// The request goes on to the upstream.
    Forwarded(Box<Forwarded>),
    /// The store behind HTTP is being asked.
    Fetching(Box<Fetching>),
    /// An identical request is with the upstream, and its answer is waited for.
    Waiting(Box<Waiting>),
}

/// The store behind HTTP is being asked.
#[derive(Debug)]
pub(super) struct Fetching {
    search: Search,
    /// Why the memory did not serve.
    miss: Miss,
    /// What the memory has, expired.
    stale: Option<Stale>,
    since: UnixMillis,
    _room: Share,
}

/// An identical request has gone to the upstream, and its answer is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    search: Search,
    /// Why it would have gone to the upstream itself.
    miss: Miss,
    stale: Option<Stale>,
    pub(super) since: UnixMillis,
    pub(super) deadline: UnixMillis,
}

/// An entry that is not too old for a request, in whatever form.
#[derive(Debug)]
struct Verified {
    entry: Entry,
    /// The time since the answer was received.
    age: DeltaSeconds,
    tier: Tier,
    validity: Validity,
}

/// Of an entry that is not too old.
#[derive(Clone, Copy, Debug)]
enum Validity {
    Fresh {
        /// The time until it expires.
        ttl: DeltaSeconds,
    },
    Expired {
        /// For how long it has been.
        expired_for: Duration,
    },
}

/// An entry that can serve a request.
#[derive(Debug)]
struct Usable {
    entry: Entry,
    /// The answer in it in the form asked for, where that is not the entry as it is.
    converted: Option<(Form, Vec<u8>)>,
    /// The time since the answer was received.
    age: DeltaSeconds,
    tier: Tier,
    /// Those of earlier hits, if it was found before, and is served as it is.
    hit_headers: Option<Rc<HitHeaders>>,
}

/// An entry that could serve a request if it had not expired, and may yet.
#[derive(Debug)]
struct Stale {
    usable: Usable,
    /// For how long it has been expired.
    expired_for: Duration,
    reservation: Reservation,
}

/// An entry that can serve a request, or could if it were fresh.
enum Found {
    /// The time until it expires.
    Fresh(Usable, DeltaSeconds),
    Stale(Stale),
}

impl Search {
    fn is_shadow(&self) -> bool {
        self.request.settings.mode == Mode::Shadow
    }

    fn may_store(&self) -> bool {
        self.request.settings.mode.writes() && !self.request.ttl.is_zero()
    }
}
