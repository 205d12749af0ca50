//! Embeddings and their dialects: OpenAI, Azure, Mistral, vLLM and the rest.
//!
//! Source: the OpenAI API reference, "Embeddings" (`POST /v1/embeddings`, object `embedding`). An
//! answer is one JSON document, never a stream. It is whole with one embedding per input, each
//! with its index.

pub(super) mod judge;
pub(super) mod request;

use crate::json::Canonical;
use crate::llm::convert::usage;
use crate::llm::judge::framings::Document;
use crate::llm::ollama::Ollama;
use crate::llm::request::path::Path;
use crate::llm::request::volatile::OPENAI_ATTRIBUTION;
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// `POST .../embeddings`.
pub(super) struct OpenaiEmbeddings;

static FACTS: Facts = Facts {
    name: "openai_embeddings",
    attribution: OPENAI_ATTRIBUTION,
    looked_for: &["input", "model"],
    usage: &["/usage"],
    semantics: Semantics {
        said: &[("/data/*", &[Says::Value("/embedding")])],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for OpenaiEmbeddings {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/embeddings") && !Ollama.owns(path)
    }

    fn read(&self, _path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
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

    fn judge(
        &self,
        traits: &RequestTraits,
        _framing: Framing,
        _words: FinishWords,
    ) -> Box<dyn Judge> {
        let inputs = judge::Inputs::of(traits);
        Box::new(Document(move |json: &[u8]| judge::judge(json, inputs)))
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => usage::zero_document(answer, &["/usage"]),
            _ => Err(ConversionError::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests;
