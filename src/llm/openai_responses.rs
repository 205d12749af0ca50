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
mod response;
mod split;

use super::anew::{Attribution, CallId, OPENAI_ATTRIBUTION};
use super::fields::{self, read_members, read_word};
use super::judge::{Document, Events};
use super::openai_chat;
use super::semantics::{OPENAI_TOKENS, Says, Semantics};
use super::usage;
use super::{ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit};
use super::{asks_for, form_by_stream_member, is_flag, json_or_sse, number_member};
use crate::json::{Canonical, Malformed, Read, Reader, Role};

/// The form of a response. Padding against observers of lengths changes nothing in an answer.
fn form(body: &Canonical) -> Result<Form, Unfit> {
    let form = form_by_stream_member(body)?;
    if is_padding(&form.options) {
        return Ok(Form::new(form.framing, b""));
    }
    Ok(form)
}

/// Whether these `stream_options` speak of padding alone.
fn is_padding(options: &[u8]) -> bool {
    matches!(
        options,
        b"{}" | br#"{"include_obfuscation":false}"# | br#"{"include_obfuscation":true}"#
    )
}

/// Items whose ids say nothing because all of the item is here. The provider looks others up by
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

impl Protocol for OpenaiResponses {
    fn name(&self) -> &'static str {
        "openai_responses"
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/responses")
    }

    fn chooses_form(&self, _path: &[u8], name: &str, value: &[u8]) -> bool {
        match name {
            "stream" => is_flag(value),
            "stream_options" => value == b"null" || is_padding(value),
            _ => false,
        }
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn call_ids(&self) -> &'static [CallId] {
        CALL_IDS
    }

    /// A stored prompt may bring tools.
    fn words_for_more(&self) -> &'static [&'static [u8]] {
        &[b"prompt"]
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        if asks_for(body, "background") {
            return Err(Unfit::Background);
        }
        if asks_for(body, "conversation") {
            return Err(Unfit::Conversation);
        }
        Ok(RequestTraits {
            form: Some(form(body)?),
            choices: 1,
            temperature: number_member(body, "temperature"),
            server_tools: runs_server_tools(body),
        })
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type)
    }

    fn judge_by(
        &self,
        _ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        let words = words.clone();
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

    fn max_growth(&self) -> usize {
        split::MAX_GROWTH
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => usage::zero_document(answer, &["/usage"]),
            Framing::Sse => usage::zero_events(answer, &["/response/usage"]),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

/// Tools that are not the client's to run; `tools[].type` names them. Beyond `tools`: a stored
/// `prompt` may bring tools that cannot be seen here, xAI has `search_parameters`.
fn runs_server_tools(body: &Canonical) -> bool {
    let asks = |name: &&str| asks_for(body, name);
    if ["prompt", "search_parameters"].iter().any(asks) || openai_chat::searches(body) {
        return true;
    }
    // Tools of another shape than ours may be anything.
    let are_the_client_s = |tools: &[u8]| fields::all_objects(tools, Tool::is_the_client_s);
    asks_for(body, "tools") && !body.member("tools").is_some_and(are_the_client_s)
}

#[derive(Default)]
struct Tool {
    r#type: ToolType,
    /// Of a namespace.
    tools: InNamespace,
}

read_members!(Tool: r#type as "type", tools);

impl Tool {
    fn is_the_client_s(&self) -> bool {
        match self.r#type {
            ToolType::Client => true,
            ToolType::Namespace => self.tools == InNamespace::Client,
            ToolType::Other => false,
        }
    }
}

/// The tools that a namespace holds, as Codex groups those of an MCP server that it calls itself.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum InNamespace {
    #[default]
    None,
    /// All are the client's.
    Client,
    Other,
}

impl<'a> Read<'a> for InNamespace {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        #[derive(Default)]
        struct Nested {
            r#type: ToolType,
        }

        read_members!(Nested: r#type as "type");
        // Lists of other things may be anything.
        if json.peek() != Some(b'[') {
            *self = Self::Other;
            return json.skip();
        }
        json.each_element(&mut |json| {
            let mut nested = Nested::default();
            nested.read(json)?;
            *self = match (*self, nested.r#type) {
                (Self::None | Self::Client, ToolType::Client) => Self::Client,
                _ => Self::Other,
            };
            Ok(())
        })
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolType {
    #[default]
    Client,
    Namespace,
    /// Web and file search, MCP and connectors, code interpreter, computer use, image generation,
    /// shells, which may be containers of the provider, and whatever comes next.
    Other,
}

read_word!(ToolType, ToolType::Client, |word| match word {
    "function" | "custom" | "local_shell" | "apply_patch" => ToolType::Client,
    "namespace" => ToolType::Namespace,
    _ => ToolType::Other,
});

static SEMANTICS: Semantics = Semantics {
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
    usage: &["/usage", "/response/usage"],
    tokens: OPENAI_TOKENS,
    usage_event: None,
};

#[cfg(test)]
mod tests;
