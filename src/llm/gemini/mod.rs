//! Gemini: `generateContent`, its two streams, and embeddings.
//!
//! Source: the Gemini API reference, "Generating content" (object `GenerateContentResponse`) and
//! "Embeddings", and their like in Vertex AI. The form is chosen in the URL: the method
//! `:streamGenerateContent` answers in a JSON array whose elements come one by one, or in an event
//! stream with `alt=sse`. No stream has an end marker of its own; the last chunk of a candidate
//! holds its `finishReason`, and the array ends with its bracket.

mod join;
mod judge;
mod request;
mod split;

use crate::json::{Canonical, Role};
use crate::llm::convert::documents;
use crate::llm::convert::usage::{zero, zero_beside};
use crate::llm::judge::framings::{ArrayElements, Document, Events};
use crate::llm::request::path::Path;
use crate::llm::request::volatile::{Attribution, CallId};
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// Protocol buffers take both spellings of a name.
const CALL_IDS: &[CallId] = &[
    ("/contents/*/parts/*/functionCall/id", Role::Names, &[]),
    ("/contents/*/parts/*/function_call/id", Role::Names, &[]),
    ("/contents/*/parts/*/functionResponse/id", Role::Refers, &[]),
    (
        "/contents/*/parts/*/function_response/id",
        Role::Refers,
        &[],
    ),
];

/// `POST .../models/<model>:generateContent` and its like.
pub(super) struct Gemini;

static FACTS: Facts = Facts {
    name: "gemini",
    streams: Facts::SSE,
    attribution: &[Attribution::Member("/labels")],
    call_ids: CALL_IDS,
    looked_for: &["generationConfig", "generation_config", "requests", "tools"],
    usage: &["/usageMetadata"],
    semantics: Semantics {
        said: &[
            (
                "/candidates/*",
                &[
                    Says::Text(&["/content/parts/*/text"]),
                    Says::Calls("/content/parts/*/functionCall", "/name", &["/args"]),
                    Says::Value("/content/parts/*/inlineData/data"),
                    Says::Value("/content/parts/*/fileData/fileUri"),
                    Says::Value("/content/parts/*/executableCode/code"),
                    Says::Value("/content/parts/*/codeExecutionResult/output"),
                    Says::Value("/finishReason"),
                ],
            ),
            (
                "",
                &[
                    Says::Value("/promptFeedback/blockReason"),
                    Says::Value("/promptFeedback/blockReasonMessage"),
                    Says::Value("/embedding/values"),
                    Says::Value("/embeddings/*/values"),
                ],
            ),
        ],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for Gemini {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        request::Method::of(path).is_some()
    }

    fn key_path(&self, path: Path<'_>) -> Option<Vec<u8>> {
        request::key_path(path)
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
        let stream = judge::Stream::new(traits.choices, words);
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge::judge(json, stream))),
            Framing::JsonArray => Box::new(ArrayElements::new(stream)),
            _ => Box::new(Events::new(stream)),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        join::join(stream, form.framing)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        split::split(json, wanted.framing)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        documents::rewrite(answer, form.framing, &mut |chunk| {
            chunk.get_mut("usageMetadata").is_some_and(zero) | zero_beside(chunk)
        })
    }
}

#[cfg(test)]
mod tests;
