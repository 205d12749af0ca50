//! Ollama: `/api/chat`, `/api/generate`, `/api/embed` and the older `/api/embeddings`.
//!
//! Source: Ollama's `docs/api.md` and `api/types.go` (`ChatResponse`, `GenerateResponse`,
//! `EmbedResponse`, `EmbeddingResponse`). Chats and generations stream, a JSON document per line, unless the request
//! says `"stream": false`; a stream ends with the document that says `"done": true` and why
//! (`done_reason`). Without a reason the runner's connection was lost.

mod join;

use super::anew::{CHAT_CALL_IDS, CallId};
use super::documents;
use super::fields::{self, ArgumentsObject, Listed, Said, Text, read_members};
use super::finish::Reason;
use super::judge::{Document, DocumentJudge, Lines};
use super::openai_embeddings::{self, Inputs};
use super::paths::split_query;
use super::semantics::{Says, Semantics};
use super::usage::{zero, zero_beside};
use super::{
    ConversionError, Finish, FinishWords, Form, Framing, Judge, Listener, NotWhole, Protocol,
    RequestTraits, Unfit, Verdict, is_flag,
};
use crate::http;
use crate::json::Canonical;

/// `POST /api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`.
pub(super) struct Ollama;

impl Protocol for Ollama {
    fn name(&self) -> &'static str {
        "ollama"
    }

    fn owns(&self, path: &[u8]) -> bool {
        Endpoint::of(path).is_some()
    }

    fn chooses_form(&self, path: &[u8], name: &str, value: &[u8]) -> bool {
        let endpoint = Endpoint::of(split_query(path).0).unwrap_or(Endpoint::Generation);
        endpoint == Endpoint::Generation && name == "stream" && is_flag(value)
    }

    fn call_ids(&self) -> &'static [CallId] {
        CHAT_CALL_IDS
    }

    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        let endpoint = Endpoint::of(split_query(path).0).unwrap_or(Endpoint::Generation);
        let (form, choices) = match endpoint {
            Endpoint::Generation => (form(body)?, 1),
            Endpoint::Embed => (Form::json(), inputs(body)),
            Endpoint::Embeddings => (Form::json(), openai_embeddings::inputs(body)),
        };
        Ok(RequestTraits {
            form: Some(form),
            choices,
            temperature: temperature(body),
            // It runs none: searching the web is a tool of the client's there.
            server_tools: false,
        })
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        match media_type {
            "application/x-ndjson" => Some(Framing::Ndjson),
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
        let (expected, inputs, words) = (ask.choices, Inputs::of(ask), words.clone());
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| {
                let response = Response::parse(json)?;
                if response.data.0 {
                    return openai_embeddings::judge(json, inputs);
                }
                response.judge(expected, &words)
            })),
            _ => Box::new(Lines::new(Stream {
                words,
                ..Stream::default()
            })),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        join::join(stream, form.framing)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        join::split(json, wanted.framing)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        documents::rewrite(answer, form.framing, &mut |response| {
            let counts = ["prompt_eval_count", "eval_count"];
            let zeroed = counts.map(|name| response.get_mut(name).is_some_and(zero));
            let usage = response.get_mut("usage").is_some_and(zero);
            zeroed.contains(&true) | usage | zero_beside(response)
        })
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Generation,
    Embed,
    /// Ollama's takes one `prompt`; servers that speak OpenAI's API under `/api` (Open WebUI) take
    /// `input`, and answer in OpenAI's form.
    Embeddings,
}

impl Endpoint {
    /// By a path without its query.
    fn of(path: &[u8]) -> Option<Self> {
        [
            (Self::Generation, &b"/api/chat"[..]),
            (Self::Generation, b"/api/generate"),
            (Self::Embed, b"/api/embed"),
            (Self::Embeddings, b"/api/embeddings"),
        ]
        .into_iter()
        .find_map(|(endpoint, end)| path.ends_with(end).then_some(endpoint))
    }
}

fn form(body: &Canonical) -> Result<Form, Unfit> {
    match body.member("stream") {
        None | Some(b"null" | b"true") => Ok(Form::new(Framing::Ndjson, b"")),
        Some(b"false") => Ok(Form::json()),
        Some(_) => Err(Unfit::UnclearForm),
    }
}

/// How many texts are to be embedded: `input` is one, or a list.
fn inputs(body: &Canonical) -> u32 {
    body.member("input")
        .and_then(fields::count_elements)
        .unwrap_or(1)
}

fn temperature(body: &Canonical) -> Option<f64> {
    #[derive(Default)]
    struct Options {
        temperature: Option<f64>,
    }

    read_members!(Options: temperature);
    let options = fields::parse_object::<Options>(body.member("options")?);
    options.ok()?.temperature
}

/// What a `done_reason` means.
fn known(word: &str) -> Result<Finish, NotWhole> {
    match word {
        "stop" => Ok(Finish::Complete),
        "length" => Ok(Finish::Length),
        // The model was loaded or unloaded, and nothing else was asked for.
        "load" | "unload" => Err(NotWhole::Unfinished),
        _ => Err(NotWhole::UnknownFinish),
    }
}

/// A `ChatResponse` or a `GenerateResponse`, as far as the judge looks.
#[derive(Default)]
struct Response<'a> {
    error: Said,
    errors: Said,
    done: Option<bool>,
    done_reason: Reason<'a>,
    /// Of a chat.
    message: Option<Message<'a>>,
    /// Of a generation.
    response: Text<'a>,
    thinking: Text<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    image: Said,
    /// Of `/api/embed`.
    embeddings: Option<Listed>,
    /// Of `/api/embeddings`.
    embedding: Option<Listed>,
    /// Of the same, in OpenAI's form.
    data: Said,
}

read_members!(Response<'a>:
    error, errors, done, done_reason, message, response, thinking, tool_calls, image, embeddings, embedding,
    data
);

#[derive(Default)]
struct Message<'a> {
    role: Text<'a>,
    content: Text<'a>,
    thinking: Text<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    images: Said,
}

read_members!(Message<'a>: role, content, thinking, tool_calls, images);

#[derive(Default)]
struct ToolCall<'a> {
    function: Function<'a>,
}

read_members!(ToolCall<'a>: function);

#[derive(Default)]
struct Function<'a> {
    name: Text<'a>,
    arguments: ArgumentsObject,
}

read_members!(Function<'a>: name, arguments);

impl<'a> Response<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, NotWhole> {
        let response: Self = fields::parse_object(json)?;
        if response.error.0 || response.errors.0 {
            return Err(NotWhole::Error);
        }
        // `{"detail": ...}`, say.
        let embeds = response.embeddings.is_some() || response.embedding.is_some();
        if response.done.is_none() && !embeds && !response.data.0 {
            return Err(NotWhole::Malformed);
        }
        if response.message.as_ref().is_some_and(Message::lacks_role) {
            return Err(NotWhole::Malformed);
        }
        let of_message = response.message.iter().flat_map(|said| &said.tool_calls);
        if of_message
            .chain(&response.tool_calls)
            .any(|call| !call.is_whole())
        {
            return Err(NotWhole::ToolArguments);
        }
        Ok(response)
    }

    /// Which of the two it is. Ollama's client raises on a chat without a message.
    fn kind(&self) -> Result<Kind, NotWhole> {
        match (&self.message, self.response.as_str()) {
            (Some(_), None) => Ok(Kind::Chat),
            (None, Some(_)) => Ok(Kind::Generation),
            (None, None) if self.says() || self.thinking.is_said() => Ok(Kind::Generation),
            _ => Err(NotWhole::Malformed),
        }
    }

    fn says(&self) -> bool {
        self.message.as_ref().is_some_and(Message::says)
            || self.response.is_said()
            || !self.tool_calls.is_empty()
            || self.image.0
    }

    /// Judges a response that is not a stream, or embeddings: one for each input.
    fn judge(&self, expected: u32, words: &FinishWords) -> Result<Verdict, NotWhole> {
        let (length, all_said) = match (&self.embeddings, &self.embedding) {
            (Some(embeddings), _) => (embeddings.length, embeddings.all_said),
            // Its elements are numbers.
            (None, Some(embedding)) => (1, embedding.length > 0 && embedding.all_said),
            (None, None) => {
                self.kind()?;
                return Ok(Verdict {
                    finish: self.finish(words)?.ok_or(NotWhole::Unfinished)?,
                    empty: !self.says(),
                    marked_end: true,
                });
            }
        };
        if u32::try_from(length) != Ok(expected) {
            return Err(NotWhole::Choices);
        }
        Ok(Verdict {
            finish: Finish::Complete,
            empty: !all_said,
            marked_end: true,
        })
    }

    /// `None` if more is to come.
    fn finish(&self, words: &FinishWords) -> Result<Option<Finish>, NotWhole> {
        if self.done != Some(true) {
            return Ok(None);
        }
        let finish = self.done_reason.finish(known, words)?;
        finish.ok_or(NotWhole::Unfinished).map(Some)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Chat,
    Generation,
}

impl Message<'_> {
    fn lacks_role(&self) -> bool {
        self.role.as_str().is_none()
    }

    fn says(&self) -> bool {
        self.content.is_said() || !self.tool_calls.is_empty() || self.images.0
    }
}

impl ToolCall<'_> {
    /// Ollama's client raises on arguments that are no object.
    fn is_whole(&self) -> bool {
        self.function.name.as_str().is_some() && self.function.arguments.is_there
    }
}

/// The stream so far.
#[derive(Debug, Default)]
struct Stream {
    words: FinishWords,
    /// Of all lines so far.
    kind: Option<Kind>,
    said: bool,
    finish: Option<Finish>,
}

impl DocumentJudge for Stream {
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        // Every object says whether it is the last one. Of those that hold nothing, a line of three
        // bytes would cost as much as one of a hundred.
        if json.trim_ascii() == b"{}" {
            return Err(NotWhole::Malformed);
        }
        let response = Response::parse(json)?;
        if self.finish.is_some() {
            return Err(NotWhole::AfterEnd);
        }
        let kind = response.kind()?;
        if self.kind.is_some_and(|before| before != kind) {
            return Err(NotWhole::Malformed);
        }
        self.kind = Some(kind);
        self.said |= response.says();
        let of_message = response.message.as_ref().map(|message| &message.content);
        let texts = of_message.into_iter().chain([&response.response]);
        for text in texts.filter_map(Text::as_str) {
            listener(0, text);
        }
        self.finish = response.finish(&self.words)?;
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn is_over(&self) -> bool {
        self.finish.is_some()
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if self.kind.is_none() {
            return Err(NotWhole::Choices);
        }
        Ok(Verdict {
            finish: self.finish.unwrap_or(Finish::Complete),
            empty: !self.said,
            marked_end: self.finish.is_some(),
        })
    }
}

static SEMANTICS: Semantics = Semantics {
    said: &[(
        "",
        &[
            Says::Text(&["/message/content"]),
            Says::Text(&["/response"]),
            Says::Calls(
                "/message/tool_calls/*",
                "/function/name",
                &["/function/arguments"],
            ),
            Says::Calls("/tool_calls/*", "/function/name", &["/function/arguments"]),
            Says::Value("/message/images/*"),
            Says::Value("/image"),
            Says::Value("/done_reason"),
            Says::Value("/embeddings/*"),
            Says::Value("/embedding"),
            Says::Value("/data/*/embedding"),
        ],
    )],
    usage: &["", "/usage"],
    tokens: &[&["/prompt_eval_count", "/eval_count"], &["/total_tokens"]],
    usage_event: None,
};

#[cfg(test)]
mod tests;
