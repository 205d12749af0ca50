//! Cohere: chat in its versions 1 and 2, and embeddings.
//!
//! Source: the Cohere API reference, "Chat" v2 and v1 with their "with streaming" pages, and
//! "Embed" v2 and v1. Version 2 streams events that build a message up and ends with `message-end` and
//! `data: [DONE]`; version 1 streams a JSON document per line, of which the last one,
//! `stream-end`, holds the whole response.

mod join;
mod split;
pub(super) mod v1;
mod v2;

use serde_json::Value;

use super::anew::{CHAT_CALL_IDS, CallId};
use super::documents::{self, Object};
use super::fields::{self, Listed, Said, Text, read_members, read_word};
use super::finish::Reason;
use super::judge::{Document, Events, Lines};
use super::paths::split_query;
use super::semantics::{Says, Semantics};
use super::usage::{zero, zero_beside};
use super::{
    ConversionError, Finish, FinishWords, Form, Framing, Judge, NotWhole, Protocol, RequestTraits,
    Unfit, Verdict,
};
use super::{asks_for, is_flag, number_member};
use crate::http;
use crate::json::{Canonical, Malformed, Read, Reader};

/// `POST /v2/chat`, `/v1/chat`, `/v2/embed`, `/v1/embed`.
pub(super) struct Cohere;

impl Protocol for Cohere {
    fn name(&self) -> &'static str {
        "cohere"
    }

    fn owns(&self, path: &[u8]) -> bool {
        Endpoint::of(path).is_some()
    }

    fn chooses_form(&self, path: &[u8], name: &str, value: &[u8]) -> bool {
        let bare = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        Endpoint::of(bare) != Some(Endpoint::Embed) && name == "stream" && is_flag(value)
    }

    fn call_ids(&self) -> &'static [CallId] {
        CHAT_CALL_IDS
    }

    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        let endpoint = Endpoint::of(split_query(path).0).unwrap_or(Endpoint::ChatV2);
        if endpoint == Endpoint::ChatV1 && asks_for(body, "conversation_id") {
            return Err(Unfit::Conversation);
        }
        Ok(RequestTraits {
            form: Some(endpoint.form(body)?),
            choices: match endpoint {
                Endpoint::ChatV1 | Endpoint::ChatV2 => 1,
                Endpoint::Embed => inputs(body),
            },
            temperature: number_member(body, "temperature"),
            server_tools: runs_server_tools(body),
        })
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        match media_type {
            "text/event-stream" => Some(Framing::Sse),
            "application/stream+json" | "application/x-ndjson" => Some(Framing::Ndjson),
            json if http::is_json(json) => Some(Framing::Json),
            _ => None,
        }
    }

    fn judge_by(
        &self,
        ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        let (expected, words) = (ask.choices, words.clone());
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge(json, expected, &words))),
            Framing::Ndjson => Box::new(Lines::new(v1::Stream::new(words))),
            _ => Box::new(Events::new(v2::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Ndjson => v1::join(stream),
            Framing::Sse => join::join(stream),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        match wanted.framing {
            Framing::Ndjson => v1::split(json),
            Framing::Sse => split::split(json),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        documents::rewrite(answer, form.framing, &mut zero_usage)
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    ChatV1,
    ChatV2,
    Embed,
}

impl Endpoint {
    fn of(path: &[u8]) -> Option<Self> {
        [
            (Self::ChatV1, &b"/v1/chat"[..]),
            (Self::ChatV2, b"/v2/chat"),
            (Self::Embed, b"/v1/embed"),
            (Self::Embed, b"/v2/embed"),
        ]
        .into_iter()
        .find_map(|(endpoint, end)| path.ends_with(end).then_some(endpoint))
    }

    fn form(self, body: &Canonical) -> Result<Form, Unfit> {
        let stream = match self {
            Self::ChatV1 => Framing::Ndjson,
            Self::ChatV2 => Framing::Sse,
            Self::Embed => return Ok(Form::json()),
        };
        match body.member("stream") {
            None | Some(b"null" | b"false") => Ok(Form::json()),
            Some(b"true") => Ok(Form::new(stream, b"")),
            Some(_) => Err(Unfit::UnclearForm),
        }
    }
}

/// How many embeddings are asked for: of `texts`, `images` or `inputs`.
pub(super) fn inputs(body: &Canonical) -> u32 {
    let lists =
        ["texts", "images", "inputs"].map(|name| fields::count_elements(body.member(name)?));
    lists
        .into_iter()
        .flatten()
        .fold(0_u32, u32::saturating_add)
        .max(1)
}

/// Version 1: `connectors`, which search on Cohere's side. Version 2 has none; what is no function
/// there is not known to be the client's.
fn runs_server_tools(body: &Canonical) -> bool {
    #[derive(Default)]
    struct Tool {
        r#type: ToolType,
    }

    read_members!(Tool: r#type as "type");
    // Tools of another shape than ours may be anything.
    let are_the_client_s =
        |tools: &[u8]| fields::all_objects(tools, |tool: &Tool| tool.r#type == ToolType::Client);
    asks_for(body, "connectors")
        || asks_for(body, "tools") && !body.member("tools").is_some_and(are_the_client_s)
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolType {
    #[default]
    Client,
    Other,
}

read_word!(ToolType, ToolType::Client, |word| match word {
    "function" => ToolType::Client,
    _ => ToolType::Other,
});

/// What a `finish_reason` means.
fn known(word: &str) -> Result<Finish, NotWhole> {
    match word {
        "COMPLETE" | "STOP_SEQUENCE" | "TOOL_CALL" => Ok(Finish::Complete),
        "MAX_TOKENS" => Ok(Finish::Length),
        "ERROR_TOXIC" => Ok(Finish::Filtered),
        "ERROR" | "ERROR_LIMIT" | "TIMEOUT" => Err(NotWhole::Error),
        // `USER_CANCEL`, and whatever comes next.
        _ => Err(NotWhole::UnknownFinish),
    }
}

/// A response of any of the three, as far as the judge looks.
#[derive(Default)]
struct Response<'a> {
    error: Said,
    finish_reason: Reason<'a>,
    /// Of version 2.
    message: Option<Message<'a>>,
    /// Of version 1.
    text: Text<'a>,
    /// Of version 1, with parameters that are objects.
    tool_calls: Said,
    /// By their type: `float`, `int8`, `base64` and so on; of version 1, a list where no type was
    /// asked for.
    embeddings: Option<Embeddings>,
}

read_members!(Response<'a>: error, finish_reason, message, text, tool_calls, embeddings);

#[derive(Default)]
struct Message<'a> {
    content: Vec<Block<'a>>,
    tool_calls: Vec<ToolCall<'a>>,
}

read_members!(Message<'a>: content, tool_calls);

/// A part of a message's content, or what an event adds to it.
#[derive(Default)]
struct Block<'a> {
    text: Text<'a>,
    thinking: Text<'a>,
    r#type: BlockType,
}

read_members!(Block<'a>: text, thinking, r#type as "type");

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum BlockType {
    #[default]
    Text,
    Thinking,
    Other,
}

read_word!(BlockType, BlockType::Text, |word| match word {
    "text" => BlockType::Text,
    "thinking" => BlockType::Thinking,
    _ => BlockType::Other,
});

impl Block<'_> {
    fn says(&self) -> bool {
        self.text.is_said() || self.r#type == BlockType::Other
    }
}

#[derive(Default)]
struct ToolCall<'a> {
    function: Function<'a>,
}

read_members!(ToolCall<'a>: function);

#[derive(Default)]
struct Function<'a> {
    /// JSON text.
    arguments: Text<'a>,
}

read_members!(Function<'a>: arguments);

impl<'a> Response<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, NotWhole> {
        fields::parse_object(json)
    }

    fn judge(&self, expected: u32, words: &FinishWords) -> Result<Verdict, NotWhole> {
        if self.error.0 {
            return Err(NotWhole::Error);
        }
        if let Some(embeddings) = &self.embeddings {
            return embeddings.judge(expected);
        }
        // `{"detail": ...}`, say. An error of Cohere's is `{"message": "..."}`.
        if self.message.is_none() && self.text.as_str().is_none() && !self.tool_calls.0 {
            return Err(NotWhole::Malformed);
        }
        let finish = self.finish_reason.finish(known, words)?;
        let says = if let Some(message) = &self.message {
            let mut calls = message.tool_calls.iter();
            if !calls.all(|call| parses(call.function.arguments.as_str().unwrap_or_default())) {
                return Err(NotWhole::ToolArguments);
            }
            let is_bare = message.content.is_empty() && message.tool_calls.is_empty();
            if is_bare && finish.is_none() {
                return Err(NotWhole::Malformed);
            }
            message.content.iter().any(Block::says) || !message.tool_calls.is_empty()
        } else {
            self.text.is_said() || self.tool_calls.0
        };
        Ok(Verdict {
            finish: finish.unwrap_or(Finish::Complete),
            empty: !says,
            marked_end: finish.is_some(),
        })
    }
}

pub(super) fn judge(json: &[u8], expected: u32, words: &FinishWords) -> Result<Verdict, NotWhole> {
    Response::parse(json)?.judge(expected, words)
}

/// The embeddings of each type.
#[derive(Default)]
pub(super) struct Embeddings(Vec<Listed>);

impl<'a> Read<'a> for Embeddings {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.peek() == Some(b'[') {
            let mut list = Listed::default();
            list.read(json)?;
            self.0.push(list);
            return Ok(());
        }
        json.each_member(&mut |_, json| {
            let mut of_type = None::<Listed>;
            of_type.read(json)?;
            self.0.extend(of_type);
            Ok(())
        })
    }
}

impl Embeddings {
    /// There is one of each type for each input.
    pub(super) fn judge(&self, expected: u32) -> Result<Verdict, NotWhole> {
        let is_expected = |of_type: &Listed| u32::try_from(of_type.length) == Ok(expected);
        if self.0.is_empty() || !self.0.iter().all(is_expected) {
            return Err(NotWhole::Choices);
        }
        Ok(Verdict {
            finish: Finish::Complete,
            empty: !self.0.iter().all(|of_type| of_type.all_said),
            marked_end: true,
        })
    }
}

/// Whether arguments are JSON. A call without arguments may have none.
fn parses(arguments: &str) -> bool {
    arguments.is_empty() || Reader::is_json(arguments.as_bytes())
}

/// Usage stands in `usage` of a response and of `message-end`, and in `meta` of version 1 and of
/// embeddings.
pub(super) fn zero_usage(document: &mut Object) -> bool {
    let usage = document.get_mut("usage").is_some_and(zero);
    let delta = document
        .get_mut("delta")
        .and_then(|delta| delta.get_mut("usage"));
    let delta = delta.is_some_and(zero);
    let meta = document.get_mut("meta").is_some_and(zero_meta);
    let response = document.get_mut("response");
    let response = response
        .and_then(|response| response.get_mut("meta"))
        .is_some_and(zero_meta);
    usage | delta | meta | response | zero_beside(document)
}

fn zero_meta(meta: &mut Value) -> bool {
    let counts = ["billed_units", "tokens", "cached_tokens"];
    let zeroed = counts.map(|name| meta.get_mut(name).is_some_and(zero));
    zeroed.contains(&true)
}

/// What makes up the total: all tokens, where there is more than what is billed.
const TOKENS: &[&[&str]] = &[
    &["/tokens/input_tokens", "/tokens/output_tokens"],
    &[
        "/billed_units/input_tokens",
        "/billed_units/image_tokens",
        "/billed_units/output_tokens",
    ],
];

static SEMANTICS: Semantics = Semantics {
    said: &[(
        "",
        &[
            Says::Text(&["/message/content/*/text"]),
            Says::Calls(
                "/message/tool_calls/*",
                "/function/name",
                &["/function/arguments"],
            ),
            // Of version 1.
            Says::Text(&["/text"]),
            Says::Calls("/tool_calls/*", "/name", &["/parameters"]),
            Says::Value("/search_queries/*/text"),
            Says::Value("/finish_reason"),
            Says::Value("/embeddings"),
        ],
    )],
    usage: &["/usage", "/delta/usage", "/meta", "/response/meta"],
    tokens: TOKENS,
    usage_event: None,
};

#[cfg(test)]
mod tests;
