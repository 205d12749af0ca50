//! A request that the host sends to one of its clusters on behalf of the filter, and its result.

use std::time::Duration;

use crate::http::Headers;

/// A request to a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Callout {
    /// The name of the cluster.
    pub cluster: String,
    /// Its headers, `:method`, `:path` and `:authority` among them.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// How long the whole of it may take, whole milliseconds and at least one.
    pub timeout: Duration,
    /// A reply with a longer body is not read.
    pub max_reply_bytes: usize,
}

impl Callout {
    /// About how many bytes it has allocated.
    pub fn held_bytes(&self) -> usize {
        let fields = self.headers.iter();
        let texts = fields.map(|(name, value)| name.len().saturating_add(value.len()));
        let fields = self.headers.capacity().saturating_mul(FIELD_BYTES);
        texts
            .fold(fields, usize::saturating_add)
            .saturating_add(self.body.capacity())
    }
}

/// The overhead of a field of [`Callout::headers`]: the pair, and what an allocator adds to each text.
const FIELD_BYTES: usize = size_of::<(String, String)>() + 32;

/// The result of a callout.
pub type CalloutResult = Result<CalloutReply, CalloutFault>;

/// The reply to a callout: the server's, or Envoy's own if it has none (504 after the timeout, 503
/// without a connection).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalloutReply {
    /// Its status code.
    pub status: u16,
    /// Its headers, `:status` included.
    pub headers: Headers,
    /// Its trailers.
    pub trailers: Headers,
    /// Its body, or `None` if that is too long to be read.
    pub body: Option<Vec<u8>>,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalloutFault {
    /// It was not sent: there is no such cluster, or no room in it, or callouts are restricted.
    NotSent,
    /// The connection broke, or the reply is not one.
    NoReply,
}

impl std::fmt::Debug for Callout {
    /// Headers hold credentials, bodies hold prompts and answers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callout")
            .field("cluster", &self.cluster)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
