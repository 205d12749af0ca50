//! The whole contract with the host: what it tells an exchange, and what it is told to do.

use crate::cache::{CacheKey, Entry};
use crate::callout::{Callout, CalloutResult};
use crate::http::Headers;
use crate::store::StoreFault;

use super::Report;

/// What happened to an exchange.
#[derive(Debug)]
pub enum Input<'a> {
    /// The request's headers came.
    RequestHeaders {
        /// Pseudo-headers included.
        headers: Headers,
        /// No body follows.
        end_of_stream: bool,
    },
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
        found: Result<Option<Vec<u8>>, StoreFault>,
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
    ResponseTrailers,
    /// Answers [`Output::Insert`]: how many other entries made room.
    Inserted(Result<u32, StoreFault>),
    /// The stream is over, whether or not the response came to its end.
    Closed {
        /// The client ended it, and nobody else.
        by_client: bool,
    },
}

/// What the host is to do. Whether it holds the request back is not among these: it asks
/// [`Exchange::holds_request`](super::Exchange::holds_request).
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Answer with [`Input::RequestBodyRead`], at once.
    ReadRequestBody,
    /// Look the key up in memory and answer with [`Input::LookedUp`], at once.
    LookUp(CacheKey),
    /// Send this and answer with [`Input::Called`], at once if it could not be sent.
    Call(Callout),
    /// Answer the client; the request goes no further.
    Reply(Reply),
    /// Set a header of the response, whatever its values were.
    SetHeader(&'static str, String),
    /// Add a header to the response, beside those of its name.
    AddHeader(&'static str, String),
    /// Keep an entry in memory and answer with [`Input::Inserted`], at once.
    Insert {
        /// Where.
        key: CacheKey,
        /// What: an encoded entry.
        entry: Vec<u8>,
        /// When it was created, in milliseconds since 1970.
        created: u64,
        /// How long it is of use, in milliseconds.
        lifetime: u64,
    },
    /// Tell the operators.
    Report(Report),
    /// Call [`Worker::awake`](super::Worker::awake) soon, and not from within a request.
    Wake,
}

/// What the host is to do for a worker.
#[derive(Debug, PartialEq, Eq)]
pub enum WorkerOutput {
    /// Send this and answer with [`Worker::called`](super::Worker::called) and its number.
    Call {
        /// Its number.
        id: u32,
        /// What to send.
        callout: Callout,
    },
    /// Tell the operators.
    Report(Report),
}

/// An answer by the cache itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its headers, without `:status` and `content-length`.
    pub headers: Headers,
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
