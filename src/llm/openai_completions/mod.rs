//! The older completions, of text without messages.
//!
//! Source: the OpenAI API reference, "Completions" (object `text_completion` for answers and
//! chunks alike); vLLM's as recorded. They end as chat completions do.

mod request;

use crate::json::Canonical;
use crate::llm::convert::{events, memory};
use crate::llm::json_or_sse;
use crate::llm::openai_chat::{self, OpenaiChat, Shape, USAGE_EVENT, join, split};
use crate::llm::request::volatile::{Attribution, OPENAI_ATTRIBUTION};
use crate::llm::semantics::{OPENAI_TOKENS, Says, Semantics};
use crate::llm::{
    ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit,
};

/// `POST .../completions`.
pub(super) struct OpenaiCompletions;

impl Protocol for OpenaiCompletions {
    fn name(&self) -> &'static str {
        "openai_completions"
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/completions") && !OpenaiChat.owns(path)
    }

    fn chooses_form(&self, _path: &[u8], name: &str, value: &[u8]) -> bool {
        openai_chat::request::chooses_form(name, value)
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        request::read(body)
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type)
    }

    fn judge_by(
        &self,
        ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        openai_chat::judge_by(ask, framing, words)
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        events::text(&join::join(stream, Shape::Text)?)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        let max_bytes = memory::max_stream(json.len(), self.max_growth());
        split::split(events::object(json)?, Shape::Text, wanted, max_bytes)
    }

    /// A stream without usage serves requests that ask for none.
    fn restream(
        &self,
        stream: &[u8],
        _stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        let max_bytes = memory::max_stream(stream.len(), self.max_growth());
        let whole = join::join_any(stream, Shape::Text)?;
        split::split(whole, Shape::Text, wanted, max_bytes)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        openai_chat::zero_usage(answer, form)
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

static SEMANTICS: Semantics = Semantics {
    said: &[(
        "/choices/*",
        &[Says::Text(&["/text"]), Says::Value("/finish_reason")],
    )],
    usage: &["/usage"],
    tokens: OPENAI_TOKENS,
    usage_event: USAGE_EVENT,
};

#[cfg(test)]
mod tests;
