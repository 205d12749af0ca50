//! What happens to an exchange.

use crate::callout::CalloutResult;
use crate::http::Headers;
use crate::worker::Release;

/// What happened to an exchange.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The request's headers came, pseudo-headers included.
    RequestHeaders {
        headers: Headers,
        /// No body follows.
        end_of_stream: bool,
    },
    /// More of the request's body came.
    RequestBody {
        /// Bytes of the body that are held now, those just come included.
        held_bytes: usize,
        /// The body is complete.
        end_of_stream: bool,
    },
    /// The request's trailers came, and so its body is complete.
    RequestTrailers,
    /// The callout has come to this.
    Called(CalloutResult),
    /// It need wait no longer.
    Released(Release),
    /// The response's headers came.
    ResponseHeaders(ResponseHead<'a>),
    /// More of the response's body came, and is on its way to the client.
    ResponseBody {
        /// The bytes just come, or `None` if the host cannot give them.
        chunk: Option<&'a [u8]>,
        /// The response is complete.
        end_of_stream: bool,
    },
    /// The response's trailers came, or `None` if the host cannot give them; and so its body is
    /// complete.
    ResponseTrailers(Option<&'a Headers>),
    /// The stream is over, whether or not the response came to its end.
    Closed {
        /// The client ended it, and nobody else.
        by_client: bool,
    },
}

/// The headers of a response, and what is known of it then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseHead<'a> {
    /// `:status` included.
    pub(crate) headers: &'a Headers,
    /// The upstream sent them, and not Envoy or one of its filters.
    pub(crate) via_upstream: bool,
    /// No body follows.
    pub(crate) end_of_stream: bool,
}
