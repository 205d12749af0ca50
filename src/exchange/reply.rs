//! What the cache answers itself: hits, and the refusal that `only-if-cached` asks for.

use std::borrow::Cow;
use std::rc::Rc;

use crate::cache::{CacheKey, CacheStatus, Entry, Forward};
use crate::clock::DeltaSeconds;
use crate::config::{Respond, Usage};
use crate::host::{Reply, ReplyBody};
use crate::http::Headers;
use crate::llm::Form;
use crate::report::{Bypass, Report};
use crate::request::Origin;
use crate::step::Cx;
use crate::worker::{HitConditions, HitHeaders};

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, and the request goes no further.
    Yes,
    /// The host could not send it. The request goes to the upstream, so that it does not hang.
    No,
}

/// Answers the request.
pub(super) fn send(reply: Reply, cx: &Cx<'_>) -> Sent {
    match cx.host.reply(reply) {
        Ok(()) => Sent::Yes,
        Err(_) => Sent::No,
    }
}

/// What a hit serves.
#[derive(Debug)]
pub(super) struct Served {
    entry: Entry,
    /// The answer in the form and with the bytes that it was converted to, which are not compressed.
    converted: Option<(Form, Vec<u8>)>,
    to: Addressee,
}

/// What response headers tell the client of its key, as far as the configuration wants that.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced {
    /// Its key, if it got as far.
    pub(super) key: Option<CacheKey>,
    /// What that is made of, with `respond.explain`.
    pub(super) parts: Option<Rc<str>>,
}

/// What a hit says differently to each client.
#[derive(Debug)]
pub(super) struct Addressee {
    pub(super) origin: Origin,
    /// The header by which the API's clients know an exchange, and the id that Envoy gave to this one.
    /// The stored answer's would be another exchange's.
    pub(super) request_id: Option<(&'static str, Box<[u8]>)>,
}

/// The headers with which an entry is served; `converted` is the form of its answer where that is
/// not the one that is stored, byte for byte. A copy of it is stored with the same.
pub(super) fn headers_of(entry: &Entry, converted: Option<&Form>) -> Headers {
    let other = converted.filter(|form| **form != entry.head.form);
    let is_kept = |name: &[u8]| match name {
        // What was converted is not compressed.
        b"content-encoding" => converted.is_none(),
        b"content-type" => other.is_none(),
        // Bedrock says this of one form, and that in the body of the other.
        b"x-amzn-bedrock-content-type" => other.is_none(),
        name if is_count(name) => other.is_none(),
        _ => true,
    };
    let mut headers = entry.head.headers.filtered(is_kept);
    if let Some(form) = other {
        headers.push("content-type", form.framing.content_type());
        if form.framing.is_stream() && !headers.contains("cache-control") {
            headers.push("cache-control", "no-cache");
        }
    }
    headers
}

impl Served {
    /// An entry, as it is or converted.
    pub(super) fn new(entry: Entry, converted: Option<(Form, Vec<u8>)>, to: Addressee) -> Self {
        Self {
            entry,
            converted,
            to,
        }
    }

    /// The reply to a request; `age` is in seconds.
    pub(super) fn reply(
        self,
        announced: &Announced,
        respond: Respond,
        status: &CacheStatus,
        age: DeltaSeconds,
    ) -> Reply {
        let headers = self.headers(announced, respond, status, age);
        self.with_headers(Rc::new(headers))
    }

    /// The same with the headers of an earlier hit, if they would say the same.
    pub(super) fn reply_again(
        self,
        hit_headers: &HitHeaders,
        announced: &Announced,
        respond: Respond,
        status: &CacheStatus,
        age: DeltaSeconds,
    ) -> Reply {
        if self.to.request_id.is_some() {
            return self.reply(announced, respond, status, age);
        }
        let conditions = HitConditions {
            status: *status,
            age,
            to_page: self.to.origin != Origin::Absent,
        };
        let make = || self.headers(announced, respond, status, age);
        let headers = hit_headers.get(conditions, make);
        self.with_headers(headers)
    }

    fn headers(
        &self,
        announced: &Announced,
        respond: Respond,
        status: &CacheStatus,
        age: DeltaSeconds,
    ) -> Headers {
        let form = self.converted.as_ref().map(|(form, _)| form);
        let stored = headers_of(&self.entry, form);
        let mut headers = stored.filtered(|name| self.to.origin.is_sent(name, &stored));
        if respond.usage == Usage::Zero {
            headers = without_counts(&headers);
        }
        if let Some((name, id)) = &self.to.request_id {
            headers.push(name, id);
        }
        for (name, value) in own_headers(status, respond, announced) {
            headers.push(name, value.as_bytes());
        }
        headers.push("age", age.to_string());
        let form = form.unwrap_or(&self.entry.head.form);
        if respond.anti_buffering && form.framing.is_stream() {
            headers.push("x-accel-buffering", "no");
        }
        headers
    }

    /// What operators are told of it; `age` is the time since it was received.
    pub(super) fn report(&self, age: DeltaSeconds) -> Report {
        Report::Served(crate::report::Served {
            age,
            cost: self.entry.head.cost,
        })
    }

    fn with_headers(self, headers: Rc<Headers>) -> Reply {
        Reply {
            status: self.entry.head.status,
            headers,
            body: match self.converted {
                Some((_, body)) => ReplyBody::Converted(body),
                None => ReplyBody::Stored(self.entry),
            },
            details: "llm_cache_hit",
        }
    }
}

/// Whether a header tells how many tokens there were.
fn is_count(name: &[u8]) -> bool {
    name.ends_with(b"-token-count")
}

/// The headers with every count of tokens 0.
fn without_counts(headers: &Headers) -> Headers {
    let fields = headers.iter();
    let zeroed = fields.map(|(name, value)| match is_count(name) {
        true => (name, &b"0"[..]),
        false => (name, value),
    });
    zeroed.collect()
}

/// RFC 9111, section 5.2.1.7: 504 for `only-if-cached` without a stored response.
pub(super) fn only_if_cached() -> Reply {
    const ONLY_IF_CACHED: &str = "only_if_cached";
    let status = CacheStatus::Refused {
        detail: ONLY_IF_CACHED,
    };
    let status_line = status.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-cache", status.x_cache()),
        ("cache-status", status_line.as_str()),
    ];
    Reply {
        status: 504,
        headers: Rc::new(headers.into_iter().collect()),
        body: ReplyBody::Own(
            r#"{"error":{"message":"The request said only-if-cached, and the cache has no answer to it.","type":"cache_error","param":null,"code":"only_if_cached"}}"#,
        ),
        details: "llm_cache_only_if_cached",
    }
}

/// The headers that tell how the cache handled a request.
pub(super) fn own_headers<'a>(
    status: &CacheStatus,
    respond: Respond,
    announced: &'a Announced,
) -> impl Iterator<Item = (&'static str, Cow<'a, str>)> + use<'a> {
    let key = announced.key.filter(|_| respond.expose_key);
    let parts = announced.parts.as_deref();
    [
        ("x-cache", Cow::Borrowed(status.x_cache())),
        ("cache-status", Cow::Owned(status.to_string())),
    ]
    .into_iter()
    .chain(key.map(|key| ("x-cache-key", Cow::Owned(key.to_string()))))
    .chain(parts.map(|parts| ("x-cache-key-parts", Cow::Borrowed(parts))))
}

/// How a request that passes the cache by is announced.
pub(super) fn bypassed(reason: Bypass) -> CacheStatus {
    CacheStatus::Forwarded {
        because: Forward::Bypass,
        detail: Some(reason.as_str()),
        waited: false,
    }
}
