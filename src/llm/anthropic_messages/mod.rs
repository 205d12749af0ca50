//! Anthropic's Messages API, and the servers that speak it.
//!
//! Source: the Anthropic API reference, "Messages" (object `message`) and "Streaming messages"
//! (its events), and the types of Anthropic's own clients. A whole stream opens and closes every
//! content block, gives a `stop_reason` in a `message_delta`, and ends with `message_stop`; an
//! error ends it with an event `error` instead.

pub(super) mod join;
pub(super) mod judge;
pub(super) mod request;
mod split;

use crate::json::{Canonical, Role};
use crate::llm::convert::{events, tree, usage};
use crate::llm::judge::framings::{Document, Events};
use crate::llm::request::is_flag;
use crate::llm::request::path::{Path, last_segment};
use crate::llm::request::volatile::{Attribution, CallId};
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};
use request::Verb;

/// Claude Code has a line at the top of its system prompt, with digests of what is asked.
const ATTRIBUTION: &[Attribution] = &[
    Attribution::Member("/metadata"),
    Attribution::Line("/system", BILLING_LINE),
    Attribution::Line("/system/*/text", BILLING_LINE),
];

pub(super) const BILLING_LINE: &str = "x-anthropic-billing-header:";

const CALL_IDS: &[CallId] = &[
    ("/messages/*/content/*/id", Role::Names, &["tool_use"]),
    (
        "/messages/*/content/*/tool_use_id",
        Role::Refers,
        &["tool_result"],
    ),
];

/// `POST /v1/messages`, and Vertex AI's `.../publishers/anthropic/models/<model>:rawPredict`.
pub(super) struct AnthropicMessages;

static FACTS: Facts = Facts {
    name: "anthropic_messages",
    streams: Facts::SSE,
    attribution: ATTRIBUTION,
    call_ids: CALL_IDS,
    looked_for: &[
        "container",
        "mcp_servers",
        "model",
        "plugins",
        "stream",
        "temperature",
        "tools",
    ],
    suspicious_words: &[b"container"],
    usage: &["/usage", "/message/usage"],
    semantics: Semantics {
        said: &[("", MESSAGE)],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for AnthropicMessages {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        is_messages(path) || Verb::of(path).is_some()
    }

    /// Vertex AI's verb chooses the form: both have the path of the one that answers in JSON.
    fn key_path(&self, path: Path<'_>) -> Option<Vec<u8>> {
        let model = path.bare.strip_suffix(Verb::Stream.suffix())?;
        let is_verb = Verb::of(path.bare).is_some();
        is_verb.then(|| [model, Verb::Json.suffix(), path.query].concat())
    }

    fn chooses_form(&self, _path: Path<'_>, name: &str, value: &[u8]) -> bool {
        name == "stream" && is_flag(value)
    }

    fn read(&self, path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        request::read(path, body)
    }

    fn judge(
        &self,
        _traits: &RequestTraits,
        framing: Framing,
        words: FinishWords,
    ) -> Box<dyn Judge> {
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge::judge(json, &words))),
            _ => Box::new(Events::new(judge::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        let mut assembly = join::Assembly::default();
        events::objects(stream, &mut |event| assembly.take(event))?;
        tree::to_json(&assembly.finish()?)
    }

    fn split(&self, json: &[u8], _wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        let mut out = Vec::new();
        split::split(tree::parse(json)?, &mut |name, event| {
            events::write_named(&mut out, name, &tree::to_json(event)?);
            Ok(())
        })?;
        Ok(out)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => zero_usage_of_message(answer),
            _ => events::edit(answer, &mut zero_usage_of_event),
        }
    }
}

/// Whether a path is that of the API: `messages` behind a version or the vendor's name, or alone.
/// Behind anything else it adds to a conversation (`/v1/threads/<id>/messages`), or is another
/// server's.
fn is_messages(path: &[u8]) -> bool {
    let Some(parent) = path.strip_suffix(b"/messages") else {
        return false;
    };
    match last_segment(parent) {
        b"" => parent.is_empty(),
        b"anthropic" => true,
        [b'v', digit, ..] => digit.is_ascii_digit(),
        _ => false,
    }
}

/// The same message, without usage.
pub(super) fn zero_usage_of_message(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    usage::zero_document(json, &["/usage"])
}

/// The same event, without usage; `None` if it holds none.
pub(super) fn zero_usage_of_event(json: &[u8]) -> Result<Option<Vec<u8>>, ConversionError> {
    usage::zero_json(json, &["/usage", "/message/usage"])
}

/// What a message says.
pub(super) const MESSAGE: &[Says] = &[
    Says::Text(&["/content/*/text"]),
    Says::Calls("/content/*", "/name", &["/input"]),
    Says::Value("/stop_reason"),
    Says::Value("/stop_sequence"),
];

#[cfg(test)]
mod tests;
