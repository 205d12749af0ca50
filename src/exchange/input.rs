//! The whole contract with the host: what it tells an exchange, and what it is told to do.

use std::borrow::Cow;
use std::rc::Rc;

use crate::attributes::{Attribute, Attributes};
use crate::cache::{CacheKey, Entry, Tier};
use crate::callout::{Callout, CalloutResult};
use crate::http::Headers;
use crate::store::{Joined, Lease, SlotRef, StoreFault, Stored};

use super::{Charged, CollapseFault, Report};

/// What happened to an exchange, or to a task of its worker.
#[derive(Debug)]
pub enum Input<'a> {
    /// A task is to begin.
    Begin {
        /// Milliseconds since 1970.
        now: u64,
    },
    /// The request's headers came.
    RequestHeaders {
        /// Pseudo-headers included.
        headers: Headers,
        /// No body follows.
        end_of_stream: bool,
    },
    /// Answers [`Output::ReadAttributes`]: those that the host knows, and their values.
    AttributesRead(Vec<(Attribute, Vec<u8>)>),
    /// More of the request's body came.
    RequestBody {
        /// Bytes of the body that are held now, those just come included.
        held: usize,
        /// The body is complete.
        end_of_stream: bool,
    },
    /// The request's trailers came, and so its body is complete.
    RequestTrailers,
    /// Answers [`Output::ReadRequestBody`]: the whole body, or `None` if the host cannot give it.
    RequestBodyRead(Option<&'a [u8]>),
    /// Answers [`Output::LookUp`].
    LookedUp {
        /// What is under the key in memory, not verified; `Ok(None)` if nothing.
        found: Result<Option<Stored>, StoreFault>,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// Answers [`Output::Call`].
    Called {
        /// What came of it.
        result: CalloutResult,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// Answers [`Output::Lease`].
    Leased {
        /// What became of it.
        joined: Joined,
        /// What is under the key in memory after that; `Ok(None)` without the lease.
        found: Result<Option<Stored>, StoreFault>,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// Answers [`Output::ReadRequest`].
    RequestRead {
        /// The whole body, or `None` if the host cannot give it.
        body: Option<&'a [u8]>,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// Ends what [`Output::Wait`] began.
    Released {
        /// How.
        release: Release,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// Answers [`Output::Peek`].
    Peeked {
        /// Whether another worker still asks the upstream.
        held: bool,
    },
    /// The host could not carry out [`Output::Reply`].
    ReplyFailed,
    /// The response's headers came.
    ResponseHeaders {
        /// `:status` included.
        headers: &'a Headers,
        /// The upstream sent them, and not Envoy or one of its filters.
        via_upstream: bool,
        /// No body follows.
        end_of_stream: bool,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// More of the response's body came, and is on its way to the client.
    ResponseBody {
        /// The bytes just come, or `None` if the host cannot give them. Only looked at while
        /// [`Exchange::captures_response`](super::Exchange::captures_response).
        chunk: Option<&'a [u8]>,
        /// How many bytes came.
        size: usize,
        /// Milliseconds since 1970.
        now: u64,
        /// The response is complete.
        end_of_stream: bool,
    },
    /// The response's trailers came, and so its body is complete.
    ResponseTrailers {
        /// They, or `None` if the host cannot give them.
        trailers: Option<&'a Headers>,
        /// Milliseconds since 1970.
        now: u64,
    },
    /// Answers [`Output::Insert`]: how many other entries made room.
    Inserted(Result<u32, StoreFault>),
    /// The stream is over, whether or not the response came to its end.
    Closed {
        /// The client ended it, and nobody else.
        by_client: bool,
        /// Milliseconds since 1970. Only looked at while
        /// [`Exchange::captures_response`](super::Exchange::captures_response).
        now: u64,
    },
}

/// What the host is to do for an exchange or a task. Whether it holds the request back is not among
/// these: it asks [`Exchange::holds_request`](super::Exchange::holds_request).
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer with [`Input::AttributesRead`], at once.
    ReadAttributes(Rc<[Attribute]>),
    /// Answer with [`Input::RequestBodyRead`], at once.
    ReadRequestBody,
    /// Look the key up in memory and answer with [`Input::LookedUp`], at once.
    LookUp(CacheKey),
    /// The same where the entry was seen before.
    LookAgain(CacheKey, SlotRef),
    /// Send this and answer with [`Input::Called`], at once if it could not be sent.
    Call(Callout),
    /// Answer the client; the request goes no further.
    Reply(Reply),
    /// Set a header of the request, whatever its values were. Only from the request's headers on.
    SetRequestHeader(&'static str, String),
    /// Set a header of the response, whatever its values were.
    SetHeader(&'static str, Cow<'static, str>),
    /// Add a header to the response, beside those of its name.
    AddHeader(&'static str, Cow<'static, str>),
    /// Once the request is over, tell [`Worker::observe`](super::Worker::observe) how it came and by
    /// which route.
    WatchRoute(Charged<Headers>, Attributes),
    /// Keep an entry in memory and answer with [`Input::Inserted`], at once.
    Insert {
        /// Where.
        key: CacheKey,
        /// What: an encoded entry.
        entry: Vec<u8>,
        /// When it is of no more use, in milliseconds since 1970.
        expires: u64,
        /// The time, in milliseconds since 1970.
        now: u64,
    },
    /// Ask for the lease on a key; with the lease in hand, look the key up in memory; and answer with
    /// [`Input::Leased`], at once.
    Lease {
        /// The key.
        key: CacheKey,
        /// What for.
        kind: LeaseKind,
        /// How long it lasts at the most, in milliseconds.
        max_age: u64,
        /// If another worker has it: leave word that this one is to be told of its end.
        waits: bool,
    },
    /// Give a lease back, and tell the workers that wait for its end.
    GiveBack {
        /// The key.
        key: CacheKey,
        /// What it was for.
        kind: LeaseKind,
        /// The lease.
        lease: Lease,
        /// For how many milliseconds from now nobody is to wait for this key.
        unstorable_for: u64,
    },
    /// Say whether the lease on a key is held: [`Input::Peeked`], at once.
    Peek(CacheKey),
    /// Answer with [`Input::RequestRead`], at once.
    ReadRequest,
    /// Call [`Worker::wait`](super::Worker::wait), and keep the exchange at hand until
    /// [`Worker::take_released`](super::Worker::take_released) names it.
    Wait {
        /// What for.
        key: CacheKey,
        /// Since when, in milliseconds since 1970.
        since: u64,
        /// Until when at the most.
        deadline: u64,
    },
    /// Call [`Worker::leave`](super::Worker::leave): the exchange waits no more.
    Leave(CacheKey),
    /// Tell the operators.
    Report(Report),
    /// Run the tasks of [`Worker::take_tasks`](super::Worker::take_tasks), and release whom
    /// [`Worker::take_released`](super::Worker::take_released) names, soon and not from within a
    /// request.
    Wake,
}

/// What a lease is for. The two have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// Identical requests wait for the answer.
    Collapse,
    /// Others are served what has expired meanwhile.
    Refresh,
}

/// How an exchange that waits is let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// With the answer to the identical request.
    Answer {
        /// The entry, not verified. Many may wait for it.
        entry: Rc<Charged<Vec<u8>>>,
        /// Where it was found.
        tier: Tier,
    },
    /// To the upstream.
    Go(CollapseFault),
}

/// An answer by the cache itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its headers, without `:status` and `content-length`. Other replies may have the same.
    pub headers: Rc<Headers>,
    /// Its body.
    pub body: ReplyBody,
    /// Envoy's `response_code_details`.
    pub details: &'static str,
}

/// The body of a [`Reply`].
#[derive(Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// A stored one, lent from the entry that it is a part of.
    Stored(Entry),
    /// A stored one in another form than it was stored in.
    Converted(Vec<u8>),
    /// One of our own.
    Own(&'static str),
}

impl ReplyBody {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Stored(entry) => entry.body(),
            Self::Converted(body) => body,
            Self::Own(text) => text.as_bytes(),
        }
    }
}
