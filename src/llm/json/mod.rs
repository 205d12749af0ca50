//! Any other API that answers a POST with one JSON document: for rules that name it, since no path
//! tells it. Reranking, moderation, embeddings of other shapes.
//!
//! Its finish values are not known: an answer is whole if it parses and is not an error object.

mod judge;

use crate::json::Canonical;
use crate::llm::convert::usage;
use crate::llm::judge::framings::Document;
use crate::llm::request::number_member;
use crate::llm::request::path::Path;
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// Only by its name.
pub(super) struct Json;

static FACTS: Facts = Facts {
    name: "json",
    looked_for: &["temperature"],
    has_names_of_its_own: true,
    // The whole document except what most APIs make new for each answer.
    usage: &["/usage", "/meta"],
    semantics: Semantics {
        said: &[("", &[Says::AllBut(&["id", "created", "usage", "meta"])])],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for Json {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, _path: &[u8]) -> bool {
        false
    }

    fn read(&self, _path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        Ok(RequestTraits {
            form: Some(Form::json()),
            temperature: body.and_then(|body| number_member(body, "temperature")),
            ..RequestTraits::unreadable()
        })
    }

    fn judge(
        &self,
        _traits: &RequestTraits,
        _framing: Framing,
        _words: FinishWords,
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
}

#[cfg(test)]
mod tests;
