//! The host that the core runs in. The core reaches the clock, randomness, shared data and streams
//! through this trait only.

use std::rc::Rc;
use std::time::Duration;

use crate::attributes::Attribute;
use crate::cache::Entry;
use crate::callout::{Callout, CalloutFault};
use crate::clock::UnixMillis;
use crate::http::Headers;
use crate::report::{Gauges, Report, Subject};
use crate::store::{HostFault, SharedData};

/// A host: Envoy through proxy-wasm, or another one.
///
/// Methods about a stream apply to the one whose callback is running, unless [`Host::enter_stream`]
/// has chosen another. They return `None` for what the host cannot give. No method may call back
/// into a [`WorkerContext`](crate::driver::WorkerContext) or a
/// [`StreamContext`](crate::driver::StreamContext).
pub trait Host {
    /// The time.
    ///
    /// A clock that cannot be read stands at 1970: entries seem to come from the future, and those
    /// stored are expired.
    fn now(&self) -> UnixMillis;

    /// A number that other workers are unlikely to have drawn.
    fn random(&self) -> u64;

    /// A key that nobody else knows; `None` if the host gives no randomness.
    fn secret(&self) -> Option<[u64; 4]>;

    /// The data that all workers of the process share.
    fn shared_data(&self) -> &dyn SharedData;

    /// Makes a queue by which any worker of the process can send messages to this one, and returns its
    /// number.
    ///
    /// # Errors
    /// [`HostFault`] if there is none to be had.
    fn register_queue(&self, name: &str) -> Result<u32, HostFault>;

    /// Puts a message into a queue. The worker that made it is called soon, and never from within
    /// this call.
    ///
    /// # Errors
    /// [`HostFault`] if there is no such queue.
    fn enqueue(&self, queue: u32, message: &[u8]) -> Result<(), HostFault>;

    /// Has [`WorkerContext::tick`](crate::driver::WorkerContext::tick) called at this interval; zero
    /// is never.
    fn set_tick_period(&self, period: Duration);

    /// Tells the operators.
    fn report(&self, subject: &Subject, report: Report);

    /// Tells the operators what the worker holds, and whatever else was not told at once.
    fn flush_reports(&self, gauges: &Gauges);

    /// Leaves what is to be said of the stream where access logs and traces find it: a
    /// `google.protobuf.Struct` in its binary form, in the place of the last one.
    fn set_log_record(&self, record: &[u8]);

    /// Sends a callout and returns its token. The result comes to the context whose callback is running.
    ///
    /// # Errors
    /// Why it was not sent.
    fn call(&self, callout: &Callout) -> Result<u32, CalloutFault>;

    /// An attribute of the stream, if the host knows it.
    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>>;

    /// The headers of the request: as they came, until they are sent; when the stream is over, as they
    /// were sent to the upstream.
    fn request_headers(&self) -> Option<Headers>;

    /// The whole body of the request that is held.
    fn request_body(&self) -> Option<Vec<u8>>;

    /// The headers of the response, when they come.
    fn response_headers(&self) -> Option<Headers>;

    /// This many bytes of the response's body, when they come.
    fn response_chunk(&self, size: usize) -> Option<Vec<u8>>;

    /// The trailers of the response, when they come.
    fn response_trailers(&self) -> Option<Headers>;

    /// Whether the response comes from the upstream, and not from the host or another filter.
    fn is_via_upstream(&self) -> bool;

    /// Whether the client left before the response came to its end. Only when the stream is over.
    fn is_closed_by_client(&self) -> bool;

    /// Sets a header of the request, whatever its values were. Only from its headers on, until they
    /// are sent.
    fn set_request_header(&self, name: &str, value: &str);

    /// Sets a header of the response, whatever its values were.
    fn set_response_header(&self, name: &str, value: &str);

    /// Adds a header to the response, beside those of its name.
    fn add_response_header(&self, name: &str, value: &str);

    /// Answers the request, which goes no further.
    ///
    /// # Errors
    /// [`HostFault`] if it is too late for that.
    fn reply(&self, reply: Reply) -> Result<(), HostFault>;

    /// Whether a request has gone to the upstream on behalf of the stream.
    fn has_asked_upstream(&self) -> bool;

    /// Makes what follows concern this stream, until the callback of the worker is over. Only from outside
    /// of all streams' callbacks.
    ///
    /// # Errors
    /// [`HostFault`] if the stream is gone.
    fn enter_stream(&self, stream: u32) -> Result<(), HostFault>;

    /// Resumes the stream's request, which one of its callbacks held back. Never called from a callback
    /// of the request itself.
    fn resume_request(&self);
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
