//! Cohere: chat in its versions 1 and 2, and embeddings.
//!
//! Source: the Cohere API reference, "Chat" v2 and v1 with their "with streaming" pages, and
//! "Embed" v2 and v1. Version 2 streams events that build a message up and ends with `message-end` and
//! `data: [DONE]`; version 1 streams a JSON document per line, of which the last one,
//! `stream-end`, holds the whole response.

pub(super) mod judge;
pub(super) mod request;
pub(super) mod v1;
mod v2;

use serde_json::Value;

use crate::json::Canonical;
use crate::llm::convert::documents;
use crate::llm::convert::tree::Object;
use crate::llm::convert::usage::{zero, zero_beside};
use crate::llm::judge::framings::{Document, Events, Lines};
use crate::llm::request::is_flag;
use crate::llm::request::path::Path;
use crate::llm::request::volatile::CHAT_CALL_IDS;
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// `POST /v2/chat`, `/v1/chat`, `/v2/embed`, `/v1/embed`.
pub(super) struct Cohere;

static FACTS: Facts = Facts {
    name: "cohere",
    streams: &[
        ("text/event-stream", Framing::Sse),
        ("application/stream+json", Framing::Ndjson),
        ("application/x-ndjson", Framing::Ndjson),
    ],
    call_ids: CHAT_CALL_IDS,
    looked_for: &[
        "connectors",
        "conversation_id",
        "images",
        "inputs",
        "stream",
        "temperature",
        "texts",
        "tools",
    ],
    suspicious_words: &[b"connector"],
    usage: &["/usage", "/delta/usage", "/meta", "/response/meta"],
    semantics: Semantics {
        said: &[(
            "",
            &[
                Says::Text(&["/message/content/*/text"]),
                Says::Calls(
                    "/message/tool_calls/*",
                    "/function/name",
                    &["/function/arguments"],
                ),
                // Of version 1.
                Says::Text(&["/text"]),
                Says::Calls("/tool_calls/*", "/name", &["/parameters"]),
                Says::Value("/search_queries/*/text"),
                Says::Value("/finish_reason"),
                Says::Value("/embeddings"),
            ],
        )],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for Cohere {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        request::Endpoint::of(path).is_some()
    }

    fn chooses_form(&self, path: Path<'_>, name: &str, value: &[u8]) -> bool {
        request::Endpoint::of(path.bare) != Some(request::Endpoint::Embed)
            && name == "stream"
            && is_flag(value)
    }

    fn read(&self, path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        request::read(path, body)
    }

    fn judge(
        &self,
        traits: &RequestTraits,
        framing: Framing,
        words: FinishWords,
    ) -> Box<dyn Judge> {
        let expected = traits.choices;
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| {
                judge::judge(json, expected, &words)
            })),
            Framing::Ndjson => Box::new(Lines::new(v1::judge::Stream::new(words))),
            _ => Box::new(Events::new(v2::judge::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Ndjson => v1::join::join(stream),
            Framing::Sse => v2::join::join(stream),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        match wanted.framing {
            Framing::Ndjson => v1::split::split(json),
            Framing::Sse => v2::split::split(json),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        documents::rewrite(answer, form.framing, &mut zero_usage)
    }
}

/// Usage stands in `usage` of a response and of `message-end`, and in `meta` of version 1 and of
/// embeddings.
pub(super) fn zero_usage(document: &mut Object) -> bool {
    let usage = document.get_mut("usage").is_some_and(zero);
    let delta = document
        .get_mut("delta")
        .and_then(|delta| delta.get_mut("usage"));
    let delta = delta.is_some_and(zero);
    let meta = document.get_mut("meta").is_some_and(zero_meta);
    let response = document.get_mut("response");
    let response = response
        .and_then(|response| response.get_mut("meta"))
        .is_some_and(zero_meta);
    usage | delta | meta | response | zero_beside(document)
}

fn zero_meta(meta: &mut Value) -> bool {
    let counts = ["billed_units", "tokens", "cached_tokens"];
    let zeroed = counts.map(|name| meta.get_mut(name).is_some_and(zero));
    zeroed.contains(&true)
}

#[cfg(test)]
mod tests;
