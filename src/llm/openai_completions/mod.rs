//! The older completions, of text without messages.
//!
//! Source: the OpenAI API reference, "Completions" (object `text_completion` for answers and
//! chunks alike); vLLM's as recorded. They end as chat completions do.

mod request;

use crate::json::Canonical;
use crate::llm::convert::tree;
use crate::llm::openai_chat::{self, OpenaiChat, Shape, USAGE_EVENT, join, split};
use crate::llm::request::path::Path;
use crate::llm::request::volatile::OPENAI_ATTRIBUTION;
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// `POST .../completions`.
pub(super) struct OpenaiCompletions;

static FACTS: Facts = Facts {
    name: "openai_completions",
    streams: Facts::SSE,
    attribution: OPENAI_ATTRIBUTION,
    looked_for: &[
        "model",
        "n",
        "plugins",
        "prompt",
        "stream",
        "stream_options",
        "temperature",
    ],
    usage: &["/usage"],
    semantics: Semantics {
        said: &[(
            "/choices/*",
            &[Says::Text(&["/text"]), Says::Value("/finish_reason")],
        )],
        usage_event: USAGE_EVENT,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for OpenaiCompletions {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/completions") && !OpenaiChat.owns(path)
    }

    fn chooses_form(&self, _path: Path<'_>, name: &str, value: &[u8]) -> bool {
        openai_chat::request::chooses_form(name, value)
    }

    fn read(&self, _path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        request::read(body)
    }

    fn judge(
        &self,
        traits: &RequestTraits,
        framing: Framing,
        words: FinishWords,
    ) -> Box<dyn Judge> {
        OpenaiChat.judge(traits, framing, words)
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        tree::to_json(&join::join(stream, Shape::Text)?)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        split::split_json(json, Shape::Text, wanted, FACTS.max_growth)
    }

    fn restream(
        &self,
        stream: &[u8],
        _stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        split::restream(stream, Shape::Text, wanted, FACTS.max_growth)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        openai_chat::zero_usage(answer, form)
    }
}

#[cfg(test)]
mod tests;
