//! Responses and their dialects: OpenAI, Azure, OpenRouter, DeepSeek, Bedrock's OpenAI endpoint.
//!
//! Source: the OpenAI API reference, "Responses" (object `response`, "Streaming events"); the
//! dialects' deviations as recorded from them. A stream ends with an event that holds the whole
//! response, the one that the API would have sent as JSON; its `status` says how it came to its
//! end. OpenRouter and Bedrock name the events in the data only or after it, and OpenRouter sends
//! `data: [DONE]` last.
//!
//! What a provider keeps between requests:
//! - `conversation` changes with each request, so that equal requests mean different things: never
//!   from a cache.
//! - `previous_response_id` names a response, which never changes, and is in the key: equal
//!   requests mean the same. A hit gives the id of the response that is stored, which the provider
//!   knows as long as it keeps it, and adds none of its own (`store`).

mod join;
mod judge;
mod request;
mod split;

use crate::json::{Canonical, Role};
use crate::llm::convert::usage;
use crate::llm::judge::framings::{Document, Events};
use crate::llm::request::is_flag;
use crate::llm::request::path::Path;
use crate::llm::request::volatile::{CallId, OPENAI_ATTRIBUTION};
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
};

/// Items that come in full, so that nothing depends on their ids. The provider looks others up by
/// theirs: `item_reference`, reasoning, images that it made.
const WHOLE_ITEMS: &[&str] = &[
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
];

const CALLS: &[&str] = &[
    "function_call",
    "custom_tool_call",
    "local_shell_call",
    "shell_call",
    "apply_patch_call",
    "computer_call",
];

const CALL_IDS: &[CallId] = &[
    ("/input/*/call_id", Role::Names, CALLS),
    ("/input/*/call_id", Role::Refers, OUTPUTS),
    ("/input/*/id", Role::Names, WHOLE_ITEMS),
];

const OUTPUTS: &[&str] = &[
    "function_call_output",
    "custom_tool_call_output",
    "local_shell_call_output",
    "shell_call_output",
    "apply_patch_call_output",
    "computer_call_output",
];

/// `POST .../responses`.
pub(super) struct OpenaiResponses;

static FACTS: Facts = Facts {
    name: "openai_responses",
    streams: Facts::SSE,
    attribution: OPENAI_ATTRIBUTION,
    call_ids: CALL_IDS,
    looked_for: &[
        "background",
        "conversation",
        "model",
        "plugins",
        "previous_response_id",
        "prompt",
        "search_parameters",
        "stream",
        "stream_options",
        "temperature",
        "tools",
    ],
    suspicious_words: &[b"background", b"conversation", b"previous_"],
    // A stored prompt may bring tools.
    suspicious_here: &[b"prompt"],
    max_growth: split::MAX_GROWTH,
    usage: &["/usage", "/response/usage"],
    semantics: Semantics {
        said: &[(
            "",
            &[
                Says::Text(&["/output/*/content/*/text"]),
                Says::Text(&["/output/*/content/*/refusal"]),
                Says::Text(&["/output/*/content/*/transcript"]),
                Says::Calls("/output/*", "/name", &["/arguments", "/input"]),
                // Calls of tools without a name: a shell, a computer, patches, code, images.
                Says::Value("/output/*/action"),
                Says::Value("/output/*/actions"),
                Says::Value("/output/*/operation"),
                Says::Value("/output/*/code"),
                Says::Value("/output/*/result"),
                Says::Value("/status"),
                Says::Value("/incomplete_details/reason"),
            ],
        )],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for OpenaiResponses {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/responses")
    }

    fn chooses_form(&self, _path: Path<'_>, name: &str, value: &[u8]) -> bool {
        match name {
            "stream" => is_flag(value),
            "stream_options" => value == b"null" || request::is_padding(value),
            _ => false,
        }
    }

    fn read(&self, _path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        request::read(body)
    }

    fn judge(
        &self,
        _traits: &RequestTraits,
        framing: Framing,
        words: FinishWords,
    ) -> Box<dyn Judge> {
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge::judge(json, &words))),
            _ => Box::new(Events::new(judge::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        join::join(stream)
    }

    /// The padding that `stream_options.include_obfuscation` asks for is left out: it only hides
    /// the lengths of pieces, and here there is one piece.
    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        match wanted.framing {
            // Options that are not known may ask for a stream of another look.
            Framing::Sse if wanted.options.is_empty() => split::split(json),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => usage::zero_document(answer, &["/usage"]),
            Framing::Sse => usage::zero_events(answer, &["/response/usage"]),
            _ => Err(ConversionError::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests;
