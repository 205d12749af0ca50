//! Ollama: `/api/chat`, `/api/generate`, `/api/embed` and the older `/api/embeddings`.
//!
//! Source: Ollama's `docs/api.md` and `api/types.go` (`ChatResponse`, `GenerateResponse`,
//! `EmbedResponse`, `EmbeddingResponse`). Chats and generations stream, a JSON document per line, unless the request
//! says `"stream": false`; a stream ends with the document that says `"done": true` and why
//! (`done_reason`). Without a reason the runner's connection was lost.

mod join;
mod judge;
mod request;
mod split;

use crate::json::Canonical;
use crate::llm::convert::documents;
use crate::llm::convert::usage::{zero, zero_beside};
use crate::llm::judge::framings::{Document, Lines};
use crate::llm::openai_embeddings::judge::Inputs;
use crate::llm::request::is_flag;
use crate::llm::request::path::Path;
use crate::llm::request::volatile::CHAT_CALL_IDS;
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// `POST /api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`.
pub(super) struct Ollama;

static FACTS: Facts = Facts {
    name: "ollama",
    streams: &[("application/x-ndjson", Framing::Ndjson)],
    call_ids: CHAT_CALL_IDS,
    looked_for: &["input", "model", "options", "stream"],
    usage: &["", "/usage"],
    semantics: Semantics {
        said: &[(
            "",
            &[
                Says::Text(&["/message/content"]),
                Says::Text(&["/response"]),
                Says::Calls(
                    "/message/tool_calls/*",
                    "/function/name",
                    &["/function/arguments"],
                ),
                Says::Calls("/tool_calls/*", "/function/name", &["/function/arguments"]),
                Says::Value("/message/images/*"),
                Says::Value("/image"),
                Says::Value("/done_reason"),
                Says::Value("/embeddings/*"),
                Says::Value("/embedding"),
                Says::Value("/data/*/embedding"),
            ],
        )],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for Ollama {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        request::Endpoint::of(path).is_some()
    }

    fn chooses_form(&self, path: Path<'_>, name: &str, value: &[u8]) -> bool {
        let endpoint = request::Endpoint::of(path.bare).unwrap_or(request::Endpoint::Generation);
        endpoint == request::Endpoint::Generation && name == "stream" && is_flag(value)
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
        let inputs = Inputs::of(traits);
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| {
                judge::judge(json, inputs, &words)
            })),
            _ => Box::new(Lines::new(judge::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        join::join(stream, form.framing)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        split::split(json, wanted.framing)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        documents::rewrite(answer, form.framing, &mut |response| {
            let counts = ["prompt_eval_count", "eval_count"];
            let zeroed = counts.map(|name| response.get_mut(name).is_some_and(zero));
            let usage = response.get_mut("usage").is_some_and(zero);
            zeroed.contains(&true) | usage | zero_beside(response)
        })
    }
}

#[cfg(test)]
mod tests;
