//! Ollama: `/api/chat`, `/api/generate` and `/api/embed`.
//!
//! Source: Ollama's `docs/api.md` and `api/types.go` (`ChatResponse`, `GenerateResponse`,
//! `EmbedResponse`). Chats and generations stream, a JSON document per line, unless the request
//! says `"stream": false`; a stream ends with the document that says `"done": true` and why
//! (`done_reason`). Without a reason the runner's connection was lost.

mod join;

use super::documents;
use super::fields::{self, Content, Listed, Said, read_members, read_word};
use super::judge::{Document, DocumentJudge, Lines};
use super::meaning::{Meaning, Says};
use super::usage::{zero, zero_beside};
use super::{Answer, Ask, Fault, Finish, Form, Framing, Judge, Listener, Lossy, Protocol, Unfit};
use crate::http;
use crate::json::{Canonical, Reader};

/// `POST /api/chat`, `/api/generate`, `/api/embed`.
pub(super) struct Ollama;

impl Protocol for Ollama {
    fn name(&self) -> &'static str {
        "ollama"
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/api/chat") || path.ends_with(b"/api/generate") || is_embed(path)
    }

    fn form_members(&self) -> &'static [&'static str] {
        &["stream"]
    }

    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<Ask, Unfit> {
        let Some(body) = body else {
            return Ok(Ask::unreadable());
        };
        let bare = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        let embeds = is_embed(bare);
        Ok(Ask {
            form: Some(if embeds { Form::json() } else { form(body)? }),
            choices: if embeds { inputs(body) } else { 1 },
            temperature: temperature(body),
            // It runs none: searching the web is a tool of the client's there.
            server_tools: false,
        })
    }

    fn framing(&self, _ask: &Ask, media_type: &str) -> Option<Framing> {
        match media_type {
            "application/x-ndjson" => Some(Framing::Ndjson),
            json if http::is_json(json) => Some(Framing::Json),
            _ => None,
        }
    }

    fn judge(&self, ask: &Ask, framing: Framing) -> Box<dyn Judge> {
        let expected = ask.choices;
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge(json, expected))),
            _ => Box::new(Lines::new(Stream::default())),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        join::join(stream, form.framing)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, Lossy> {
        join::split(json, wanted.framing)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        documents::rewrite(answer, form.framing, &mut |response| {
            let counts = ["prompt_eval_count", "eval_count"];
            let zeroed = counts.map(|name| response.get_mut(name).is_some_and(zero));
            zeroed.contains(&true) | zero_beside(response)
        })
    }

    fn meaning(&self) -> &'static Meaning {
        &MEANING
    }
}

fn is_embed(path: &[u8]) -> bool {
    path.ends_with(b"/api/embed")
}

fn form(body: &Canonical) -> Result<Form, Unfit> {
    // Go's `encoding/json` does not mind the case of a name.
    let odd = |name: &[u8]| name.eq_ignore_ascii_case(b"\"stream\"") && name != b"\"stream\"";
    if body.members().any(|(name, _)| odd(name)) {
        return Err(Unfit::UnclearForm);
    }
    match body.member("stream") {
        None | Some(b"null" | b"true") => Ok(Form::stream(Framing::Ndjson, b"")),
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

/// What a `done_reason` means. Absent, null and `""` are [`Reason::None`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    #[default]
    None,
    Known(Finish),
    /// The model was loaded or unloaded, and nothing else was asked for.
    Housekeeping,
    Unknown,
}

read_word!(Reason, Reason::None, |word| match word {
    "" => Reason::None,
    "stop" => Reason::Known(Finish::Complete),
    "length" => Reason::Known(Finish::Length),
    "load" | "unload" => Reason::Housekeeping,
    _ => Reason::Unknown,
});

/// A `ChatResponse` or a `GenerateResponse`, as far as the judge looks.
#[derive(Default)]
struct Response<'a> {
    error: Said,
    done: Said,
    done_reason: Reason,
    /// Of a chat.
    message: Message<'a>,
    /// Of a generation.
    response: Content<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    image: Said,
    /// Of `/api/embed`.
    embeddings: Option<Listed>,
}

read_members!(Response<'a>:
    error, done, done_reason, message, response, tool_calls, image, embeddings
);

#[derive(Default)]
struct Message<'a> {
    content: Content<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    images: Said,
}

read_members!(Message<'a>: content, tool_calls, images);

#[derive(Default)]
struct ToolCall<'a> {
    function: Function<'a>,
}

read_members!(ToolCall<'a>: function);

#[derive(Default)]
struct Function<'a> {
    /// An object; where another server sends text, it must be that of an object.
    arguments: Content<'a>,
}

read_members!(Function<'a>: arguments);

impl<'a> Response<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, Fault> {
        let response: Self = fields::parse_object(json)?;
        if response.error.0 {
            return Err(Fault::Error);
        }
        let mut calls = response
            .message
            .tool_calls
            .iter()
            .chain(&response.tool_calls);
        if calls.any(|call| !call.parses()) {
            return Err(Fault::ToolArguments);
        }
        Ok(response)
    }

    fn says(&self) -> bool {
        self.message.content.is_said()
            || !self.message.tool_calls.is_empty()
            || self.message.images.0
            || self.response.is_said()
            || !self.tool_calls.is_empty()
            || self.image.0
    }

    /// `None` if more is to come.
    fn finish(&self) -> Result<Option<Finish>, Fault> {
        match (self.done.0, self.done_reason) {
            (false, _) => Ok(None),
            (true, Reason::Known(finish)) => Ok(Some(finish)),
            (true, Reason::None | Reason::Housekeeping) => Err(Fault::Unfinished),
            (true, Reason::Unknown) => Err(Fault::UnknownFinish),
        }
    }
}

impl ToolCall<'_> {
    fn parses(&self) -> bool {
        let text = self.function.arguments.as_str().unwrap_or_default();
        text.is_empty() || Reader::is_json(text.as_bytes())
    }
}

/// The stream so far.
#[derive(Debug, Default)]
struct Stream {
    any: bool,
    said: bool,
    finish: Option<Finish>,
}

impl DocumentJudge for Stream {
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), Fault> {
        let response = Response::parse(json)?;
        if self.finish.is_some() {
            return Err(Fault::AfterEnd);
        }
        self.any = true;
        self.said |= response.says();
        let texts: [&Content<'_>; 2] = [&response.message.content, &response.response];
        for text in texts.into_iter().filter_map(Content::as_str) {
            listener(0, text);
        }
        self.finish = response.finish()?;
        Ok(())
    }

    fn finish(&self) -> Result<Answer, Fault> {
        if !self.any {
            return Err(Fault::Choices);
        }
        Ok(Answer {
            finish: self.finish.unwrap_or(Finish::Complete),
            empty: !self.said,
            marked_end: self.finish.is_some(),
        })
    }
}

/// Judges a response that is not a stream, or embeddings: one for each input.
fn judge(json: &[u8], expected: u32) -> Result<Answer, Fault> {
    let response = Response::parse(json)?;
    if let Some(embeddings) = &response.embeddings {
        if u32::try_from(embeddings.length) != Ok(expected) {
            return Err(Fault::Choices);
        }
        return Ok(Answer {
            finish: Finish::Complete,
            empty: !embeddings.all_said,
            marked_end: true,
        });
    }
    Ok(Answer {
        finish: response.finish()?.ok_or(Fault::Unfinished)?,
        empty: !response.says(),
        marked_end: true,
    })
}

static MEANING: Meaning = Meaning {
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
        ],
    )],
    usage: &[""],
    tokens: &[&["/prompt_eval_count", "/eval_count"]],
    usage_event: None,
};

#[cfg(test)]
mod tests;
