//! The older completions, of text without messages.
//!
//! Source: the OpenAI API reference, "Completions" (object `text_completion` for answers and
//! chunks alike); vLLM's as recorded. They end as chat completions do.

use super::anew::{Attribution, OPENAI_ATTRIBUTION};
use super::fields::count_elements;
use super::openai_chat::{self, OpenaiChat, Shape, USAGE_EVENT, join, split};
use super::semantics::{OPENAI_TOKENS, Says, Semantics};
use super::{ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit};
use super::{events, json_or_sse, memory, number_member};
use crate::json::Canonical;

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
        openai_chat::chooses_form(name, value)
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        let per_prompt: u32 = number_member(body, "n").unwrap_or(1);
        Ok(RequestTraits {
            form: Some(openai_chat::form(body)?),
            choices: per_prompt.saturating_mul(prompts(body)),
            temperature: number_member(body, "temperature"),
            server_tools: openai_chat::searches(body),
        })
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

/// How many prompts there are: `prompt` is a string, its tokens as numbers, or a list of either.
fn prompts(body: &Canonical) -> u32 {
    let is_list = body
        .member("prompt")
        .is_some_and(|prompt| prompt.starts_with(b"[\"") || prompt.starts_with(b"[["));
    if !is_list {
        return 1;
    }
    body.member("prompt")
        .and_then(count_elements)
        .unwrap_or(u32::MAX)
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
