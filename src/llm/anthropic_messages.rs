//! Anthropic's Messages API, and the servers that speak it.
//!
//! Source: the Anthropic API reference, "Messages" (object `message`) and "Streaming messages"
//! (its events), and the types of Anthropic's own clients. A whole stream opens and closes every
//! content block, gives a `stop_reason` in a `message_delta`, and ends with `message_stop`; an
//! error ends it with an event `error` instead.

pub(super) mod join;
mod split;
pub(super) mod whole;

use std::borrow::Cow;

use super::anew::{Attribution, CallId};
use super::fields::{self, Said, read_members, read_word};
use super::judge::{Document, Events};
use super::openai_chat;
use super::paths::{last_segment, split_query};
use super::semantics::{Says, Semantics};
use super::{ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit};
use super::{asks_for, events, is_flag, json_or_sse, number_member, usage};
use crate::json::{Canonical, Role};

/// Claude Code has a line at the top of its system prompt, with digests of what is asked.
const ATTRIBUTION: &[Attribution] = &[
    Attribution::Member("/metadata"),
    Attribution::Line("/system", BILLING_LINE),
    Attribution::Line("/system/*/text", BILLING_LINE),
];

pub(super) const BILLING_LINE: &str = "x-anthropic-billing-header:";

const CALL_IDS: &[CallId] = &[
    ("/messages/*/content/*/id", Role::Names, &["tool_use"]),
    (
        "/messages/*/content/*/tool_use_id",
        Role::Refers,
        &["tool_result"],
    ),
];

/// `POST /v1/messages`, and Vertex AI's `.../publishers/anthropic/models/<model>:rawPredict`.
pub(super) struct AnthropicMessages;

impl Protocol for AnthropicMessages {
    fn name(&self) -> &'static str {
        "anthropic_messages"
    }

    fn owns(&self, path: &[u8]) -> bool {
        is_messages(path) || Verb::of(path).is_some()
    }

    /// Vertex AI's verb chooses the form: both have the path of the one that answers in JSON.
    fn key_path<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        let (bare, query) = split_query(path);
        match (Verb::of(bare), bare.strip_suffix(Verb::Stream.suffix())) {
            (Some(Verb::Stream), Some(model)) => {
                Cow::Owned([model, Verb::Json.suffix(), query].concat())
            }
            _ => Cow::Borrowed(path),
        }
    }

    fn chooses_form(&self, _path: &[u8], name: &str, value: &[u8]) -> bool {
        name == "stream" && is_flag(value)
    }

    fn attribution(&self) -> &'static [Attribution] {
        ATTRIBUTION
    }

    fn call_ids(&self) -> &'static [CallId] {
        CALL_IDS
    }

    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let verb = Verb::of(split_query(path).0);
        let Some(body) = body else {
            // The path in the key does not tell the verb.
            return Ok(RequestTraits {
                form: verb.map(Verb::form),
                ..RequestTraits::unreadable()
            });
        };
        let form = match (verb, body.member("stream")) {
            (None | Some(Verb::Json), None | Some(b"null" | b"false")) => Form::json(),
            (None | Some(Verb::Stream), Some(b"true")) => Form::new(Framing::Sse, b""),
            // The verb is for Google, the member for the model: they may say it once.
            (Some(Verb::Stream), None | Some(b"null")) => Verb::Stream.form(),
            _ => return Err(Unfit::UnclearForm),
        };
        read_body(body, form)
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
        match framing {
            Framing::Json => {
                let words = words.clone();
                Box::new(Document(move |json: &[u8]| whole::judge(json, &words)))
            }
            _ => Box::new(Events::new(whole::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        let mut assembly = join::Assembly::default();
        events::objects(stream, &mut |event| assembly.take(event))?;
        events::text(&assembly.finish()?)
    }

    fn split(&self, json: &[u8], _wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        let mut out = Vec::new();
        split::split(events::object(json)?, &mut |name, event| {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
            events::write(&mut out, &events::text(event)?);
            Ok(())
        })?;
        Ok(out)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => zero_usage_of_message(answer),
            _ => events::edit(answer, &mut zero_usage_of_event),
        }
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

/// Whether a path is that of the API: `messages` behind a version or the vendor's name, or alone.
/// Behind anything else it adds to a conversation (`/v1/threads/<id>/messages`), or is another
/// server's.
fn is_messages(path: &[u8]) -> bool {
    let Some(parent) = path.strip_suffix(b"/messages") else {
        return false;
    };
    match last_segment(parent) {
        b"" => parent.is_empty(),
        b"anthropic" => true,
        [b'v', digit, ..] => digit.is_ascii_digit(),
        _ => false,
    }
}

/// Vertex AI's, behind the model in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Json,
    Stream,
}

impl Verb {
    /// The verb of a path without its query, if it asks one of Anthropic's models for a message.
    fn of(path: &[u8]) -> Option<Self> {
        let (verb, before) = [Self::Json, Self::Stream]
            .into_iter()
            .find_map(|verb| Some((verb, path.strip_suffix(verb.suffix())?)))?;
        let model = last_segment(before);
        let is_anthropic = before
            .strip_suffix(model)?
            .ends_with(b"/publishers/anthropic/models/");
        // Counting tokens is a model there.
        (is_anthropic && !model.is_empty() && model != b"count-tokens").then_some(verb)
    }

    fn suffix(self) -> &'static [u8] {
        match self {
            Self::Json => b":rawPredict",
            Self::Stream => b":streamRawPredict",
        }
    }

    fn form(self) -> Form {
        match self {
            Self::Json => Form::json(),
            Self::Stream => Form::new(Framing::Sse, b""),
        }
    }
}

/// What a request in this form asks for, by its body; Bedrock takes the same bodies.
pub(super) fn read_body(body: &Canonical, form: Form) -> Result<RequestTraits, Unfit> {
    // A container keeps files and processes from one request to the next.
    if asks_for(body, "container") {
        return Err(Unfit::Conversation);
    }
    Ok(RequestTraits {
        form: Some(form),
        choices: 1,
        temperature: number_member(body, "temperature"),
        server_tools: asks_for(body, "mcp_servers")
            || openai_chat::searches(body)
            || body.member("tools").is_some_and(has_server_tools),
    })
}

/// Whether a list of tools, as JSON, has one that Anthropic runs. The client runs its own tools and
/// those of Anthropic's that act on the client's machine (the reference, "Tool use"); web search,
/// web fetch, code execution, tool search, MCP and whatever comes next run on the server.
pub(super) fn has_server_tools(tools: &[u8]) -> bool {
    #[derive(Default)]
    struct Tool {
        r#type: ToolType,
        name: Said,
    }

    read_members!(Tool: r#type as "type", name);
    if tools == b"null" {
        return false;
    }
    // Tools of another shape than the client's, which have a name, may be anything.
    !fields::all_objects(tools, |tool: &Tool| {
        tool.r#type == ToolType::Client && tool.name.0
    })
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolType {
    #[default]
    Client,
    Server,
}

read_word!(ToolType, ToolType::Client, |word| match word {
    "custom" => ToolType::Client,
    _ if OF_THE_CLIENT.iter().any(|name| word.starts_with(name)) => ToolType::Client,
    _ => ToolType::Server,
});

/// Each with a date after it.
const OF_THE_CLIENT: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];

/// The same message, without usage.
pub(super) fn zero_usage_of_message(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    usage::zero_document(json, &["/usage"])
}

/// The same event, without usage; `None` if it holds none.
pub(super) fn zero_usage_of_event(json: &[u8]) -> Result<Option<Vec<u8>>, ConversionError> {
    usage::zero_json(json, &["/usage", "/message/usage"])
}

/// What a message says.
pub(super) const MESSAGE: &[Says] = &[
    Says::Text(&["/content/*/text"]),
    Says::Calls("/content/*", "/name", &["/input"]),
    Says::Value("/stop_reason"),
    Says::Value("/stop_sequence"),
];

/// What makes up the total.
pub(super) const TOKENS: &[&str] = &[
    "/input_tokens",
    "/cache_creation_input_tokens",
    "/cache_read_input_tokens",
    "/output_tokens",
];

static SEMANTICS: Semantics = Semantics {
    said: &[("", MESSAGE)],
    usage: &["/usage", "/message/usage"],
    tokens: &[TOKENS],
    usage_event: None,
};

#[cfg(test)]
mod tests;
