//! Chat completions and their dialects.
//!
//! Source: the OpenAI API reference, "Chat" (object `chat.completion`, object
//! `chat.completion.chunk`); the dialects' deviations as recorded from them. A whole stream has a
//! `finish_reason` for every choice and ends with `data: [DONE]`. Neither alone is proof: vLLM and
//! OpenRouter send `[DONE]` after errors, and a finish may be followed by the usage.

mod content;
pub(super) mod join;
pub(super) mod judge;
mod pieces;
pub(super) mod request;
pub(super) mod split;

use crate::json::Canonical;
use crate::llm::convert::{tree, usage};
use crate::llm::judge::framings::{Document, Events};
use crate::llm::request::path::Path;
use crate::llm::request::volatile::{CHAT_CALL_IDS, OPENAI_ATTRIBUTION};
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// `POST .../chat/completions`.
pub(super) struct OpenaiChat;

static FACTS: Facts = Facts {
    name: "openai_chat",
    streams: Facts::SSE,
    attribution: OPENAI_ATTRIBUTION,
    call_ids: CHAT_CALL_IDS,
    looked_for: &[
        "compound_custom",
        "dataSources",
        "data_sources",
        "deferred",
        "enable_search",
        "model",
        "n",
        "plugins",
        "search_parameters",
        "stream",
        "stream_options",
        "temperature",
        "tools",
        "web_search_options",
    ],
    suspicious_words: &[
        b"deferred",
        // Azure's data, and models that search.
        b"data_sources",
        b"datasources",
        b"sonar",
        b"compound",
        b":online",
    ],
    usage: &["/usage", "/x_groq/usage"],
    semantics: Semantics {
        said: &[("/choices/*", CHOICE)],
        usage_event: USAGE_EVENT,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for OpenaiChat {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        // Mistral answers on the latter two with chat completions as well.
        [
            &b"/chat/completions"[..],
            b"/fim/completions",
            b"/agents/completions",
        ]
        .iter()
        .any(|end| path.ends_with(end))
    }

    fn chooses_form(&self, _path: Path<'_>, name: &str, value: &[u8]) -> bool {
        request::chooses_form(name, value)
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
        let choices = traits.choices;
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| {
                judge::judge(json, choices, &words)
            })),
            _ => {
                let expected = match traits.form {
                    Some(_) => judge::Expected::Exactly(choices),
                    None => judge::Expected::AtLeast(choices),
                };
                Box::new(Events::new(judge::Stream::new(expected, words)))
            }
        }
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        tree::to_json(&join::join(stream, Shape::Chat)?)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        split::split_json(json, Shape::Chat, wanted, FACTS.max_growth)
    }

    fn restream(
        &self,
        stream: &[u8],
        _stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        split::restream(stream, Shape::Chat, wanted, FACTS.max_growth)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        zero_usage(answer, form)
    }
}

/// Which of the two kinds of completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `choices[].message` and `.delta`.
    Chat,
    /// `choices[].text`.
    Text,
}

impl Shape {
    /// The `object` of a whole completion.
    fn object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion",
            Self::Text => "text_completion",
        }
    }

    /// The `object` of a chunk.
    fn chunk_object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Text => "text_completion",
        }
    }
}

/// Where a completion and its chunks report usage. Groq's Compound does so per model too.
pub(super) const USAGES: [&str; 4] = [
    "/usage",
    "/usage_breakdown",
    "/x_groq/usage",
    "/x_groq/usage_breakdown",
];

/// [`ProviderApi::zero_usage`] for completions of both kinds.
pub(super) fn zero_usage(answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
    match form.framing {
        Framing::Json => usage::zero_document(answer, &USAGES),
        _ => usage::zero_events(answer, &USAGES),
    }
}

/// What a choice of a chat completion says.
pub(super) const CHOICE: &[Says] = &[
    // Mistral has a list where the model reasons.
    Says::Text(&["/message/content", "/message/content/*/text"]),
    Says::Text(&["/message/refusal"]),
    Says::Text(&["/message/audio/transcript"]),
    Says::Calls(
        "/message/tool_calls/*",
        "/function/name",
        &["/function/arguments"],
    ),
    Says::Calls("/message/tool_calls/*", "/custom/name", &["/custom/input"]),
    Says::Calls("/message/function_call", "/name", &["/arguments"]),
    Says::Value("/message/images/*/image_url/url"),
    Says::Value("/finish_reason"),
];

/// Before a stream whose request did not ask for usage.
pub(super) const USAGE_EVENT: Option<&[u8]> = Some(b"data: {\"usage\":{\"total_tokens\":0}}\n\n");

#[cfg(test)]
mod tests;
