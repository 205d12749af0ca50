//! Any other API that answers a POST with one JSON document: for rules that name it, since no path
//! tells it. Reranking, moderation, embeddings of other shapes.
//!
//! Nothing is known of its finish values: an answer is whole when it parses and is no error
//! object.

mod judge;

use crate::json::Canonical;
use crate::llm::convert::usage;
use crate::llm::json_or_sse;
use crate::llm::judge::Document;
use crate::llm::request::number_member;
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit,
};

/// Only by its name.
pub(super) struct Json;

impl Protocol for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn owns(&self, _path: &[u8]) -> bool {
        false
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        Ok(RequestTraits {
            form: Some(Form::json()),
            temperature: body.and_then(|body| number_member(body, "temperature")),
            ..RequestTraits::unreadable()
        })
    }

    fn looked_for(&self) -> &'static [&'static str] {
        &["temperature"]
    }

    /// A `stream` in the request is in the key like any member; a stream in answer has no framing.
    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type).filter(|framing| *framing == Framing::Json)
    }

    fn judge_by(
        &self,
        _ask: &RequestTraits,
        _framing: Framing,
        _words: &FinishWords,
    ) -> Box<dyn Judge> {
        Box::new(Document(judge::judge))
    }

    /// Where the APIs that are known for it report counts: `usage` (OpenAI and its like, Jina,
    /// Voyage), `meta` (Cohere).
    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => {
                usage::zero_places(answer, &["/usage", "/meta/billed_units", "/meta/tokens"])
            }
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

/// The whole document but for what most APIs draw anew for each answer.
static SEMANTICS: Semantics = Semantics {
    said: &[("", &[Says::AllBut(&["id", "created", "usage", "meta"])])],
    usage: &["/usage", "/meta"],
    tokens: &[
        &["/total_tokens"],
        &["/prompt_tokens", "/completion_tokens"],
        &["/tokens/input_tokens", "/tokens/output_tokens"],
        &["/billed_units/input_tokens", "/billed_units/output_tokens"],
    ],
    usage_event: None,
};

#[cfg(test)]
mod tests;
