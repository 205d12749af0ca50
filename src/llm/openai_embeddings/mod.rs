//! Embeddings and their dialects: OpenAI, Azure, Mistral, vLLM and the rest.
//!
//! Source: the OpenAI API reference, "Embeddings" (`POST /v1/embeddings`, object `embedding`). An
//! answer is one JSON document, never a stream. It is whole with one embedding per input, each
//! with its index.

pub(super) mod judge;
pub(super) mod request;

use crate::json::Canonical;
use crate::llm::convert::usage;
use crate::llm::json_or_sse;
use crate::llm::judge::Document;
use crate::llm::ollama::Ollama;
use crate::llm::request::volatile::{Attribution, OPENAI_ATTRIBUTION};
use crate::llm::semantics::{OPENAI_TOKENS, Says, Semantics};
use crate::llm::{
    ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit,
};

/// `POST .../embeddings`.
pub(super) struct OpenaiEmbeddings;

impl Protocol for OpenaiEmbeddings {
    fn name(&self) -> &'static str {
        "openai_embeddings"
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/embeddings") && !Ollama.owns(path)
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        Ok(RequestTraits {
            form: Some(Form::json()),
            choices: request::inputs(body),
            temperature: None,
            server_tools: false,
        })
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type).filter(|framing| *framing == Framing::Json)
    }

    fn judge_by(
        &self,
        ask: &RequestTraits,
        _framing: Framing,
        _words: &FinishWords,
    ) -> Box<dyn Judge> {
        let inputs = judge::Inputs::of(ask);
        Box::new(Document(move |json: &[u8]| judge::judge(json, inputs)))
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => usage::zero_document(answer, &["/usage"]),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

static SEMANTICS: Semantics = Semantics {
    said: &[("/data/*", &[Says::Value("/embedding")])],
    usage: &["/usage"],
    tokens: OPENAI_TOKENS,
    usage_event: None,
};

#[cfg(test)]
mod tests;
