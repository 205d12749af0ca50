//! Chat completions and their dialects.
//!
//! Source: the OpenAI API reference, "Chat" (object `chat.completion`, object
//! `chat.completion.chunk`); the dialects' deviations as recorded from them. A whole stream has a
//! `finish_reason` for every choice and ends with `data: [DONE]`. Neither alone is proof: vLLM and
//! OpenRouter send `[DONE]` after errors, and a finish may be followed by the usage.

use serde::Deserialize;

use super::fields::{self, Content, Said, deserialize_word};
use super::judge::{Document, EventJudge, Events};
use super::{Answer, Ask, Fault, Finish, Framing, Judge, Listener, Protocol, Unfit};
use super::{form_by_stream_member, json_or_sse, number_member};
use crate::json::Canonical;
use crate::sse::Event;

/// More choices than any provider gives; what claims more is not worth the memory.
const MAX_CHOICES: usize = 1_024;

/// `POST .../chat/completions`.
pub(super) struct OpenaiChat;

impl Protocol for OpenaiChat {
    fn name(&self) -> &'static str {
        "openai_chat"
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/chat/completions")
    }

    fn form_members(&self) -> &'static [&'static str] {
        &["stream", "stream_options"]
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<Ask, Unfit> {
        let Some(body) = body else {
            return Ok(Ask::unreadable());
        };
        Ok(Ask {
            form: Some(form_by_stream_member(body)?),
            choices: number_member(body, "n").unwrap_or(1),
            temperature: number_member(body, "temperature"),
            server_tools: runs_server_tools(body),
        })
    }

    fn framing(&self, _ask: &Ask, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type)
    }

    fn judge(&self, ask: &Ask, framing: Framing) -> Box<dyn Judge> {
        let choices = ask.choices;
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge(json, choices))),
            _ => Box::new(Events::new(Stream::new(choices))),
        }
    }
}

/// OpenAI: `web_search_options`, and tools that are neither the client's functions nor its custom
/// tools. Providers name their own in `tools[].type`.
fn runs_server_tools(body: &Canonical) -> bool {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(default)]
        r#type: ToolType,
    }
    // An empty object asks for a web search as well.
    if !matches!(body.member("web_search_options"), None | Some(b"null")) {
        return true;
    }
    // A `tools` of another shape is an error for the provider to tell.
    body.member("tools")
        .and_then(|tools| serde_json::from_slice::<Vec<Tool>>(tools).ok())
        .is_some_and(|tools| tools.iter().any(|tool| tool.r#type == ToolType::Other))
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolType {
    #[default]
    Client,
    Other,
}

deserialize_word!(ToolType, ToolType::Client, |word| match word {
    "function" | "custom" => ToolType::Client,
    _ => ToolType::Other,
});

/// What a `finish_reason` means. Absent, null and `""` are [`Reason::None`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    #[default]
    None,
    Known(Finish),
    Unknown,
}

deserialize_word!(Reason, Reason::None, |word| match word {
    "" => Reason::None,
    "stop" | "tool_calls" | "function_call" => Reason::Known(Finish::Complete),
    "length" | "model_length" => Reason::Known(Finish::Length),
    "content_filter" => Reason::Known(Finish::Filtered),
    // `error`, `abort`, `insufficient_system_resource`, and whatever comes next.
    _ => Reason::Unknown,
});

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Object {
    #[default]
    Other,
    Error,
}

deserialize_word!(Object, Object::Other, |word| match word {
    "error" => Object::Error,
    _ => Object::Other,
});

/// A completion and a chunk of one, as far as the judge looks.
#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(default)]
    error: Said,
    #[serde(default)]
    object: Object,
    #[serde(borrow, default, deserialize_with = "fields::list")]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    finish_reason: Reason,
    #[serde(
        borrow,
        default,
        alias = "message",
        deserialize_with = "fields::object"
    )]
    delta: Message<'a>,
    #[serde(default)]
    error: Said,
}

#[derive(Default, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(default)]
    refusal: Said,
    #[serde(default)]
    tool_calls: Said,
    #[serde(default)]
    function_call: Said,
    #[serde(default)]
    audio: Said,
    #[serde(default)]
    images: Said,
}

impl<'a> Completion<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, Fault> {
        let completion: Self = serde_json::from_slice(json).map_err(|_| Fault::Malformed)?;
        let errs = completion.error.0
            || completion.object == Object::Error
            || completion.choices.iter().any(|choice| choice.error.0);
        if errs {
            return Err(Fault::Error);
        }
        Ok(completion)
    }
}

/// What is known of one choice so far.
#[derive(Debug)]
struct ChoiceState {
    index: u64,
    finish: Option<Finish>,
    refused: bool,
    said: bool,
}

/// The choices seen so far.
#[derive(Debug, Default)]
struct Choices(Vec<ChoiceState>);

impl Choices {
    fn take(&mut self, choice: &Choice<'_>) -> Result<(), Fault> {
        let index = choice.index.unwrap_or(0);
        let place = match self.0.iter().position(|state| state.index == index) {
            Some(place) => place,
            None if self.0.len() >= MAX_CHOICES => return Err(Fault::Choices),
            None => {
                self.0.push(ChoiceState {
                    index,
                    finish: None,
                    refused: false,
                    said: false,
                });
                self.0.len().saturating_sub(1)
            }
        };
        let Some(state) = self.0.get_mut(place) else {
            return Err(Fault::Choices);
        };
        let message = &choice.delta;
        state.refused |= message.refusal.0;
        state.said |= message.content.is_said()
            || message.refusal.0
            || message.tool_calls.0
            || message.function_call.0
            || message.audio.0
            || message.images.0;
        match choice.finish_reason {
            // OpenRouter sends a null after the finish, with the usage: it takes nothing back.
            Reason::None => {}
            Reason::Known(finish) => {
                state.finish = Some(state.finish.map_or(finish, |old| old.worse(finish)));
            }
            Reason::Unknown => return Err(Fault::UnknownFinish),
        }
        Ok(())
    }

    /// `marked` is whether the API's end marker was there.
    fn answer(&self, expected: u32, marked: bool) -> Result<Answer, Fault> {
        if self.0.is_empty() || !(0..u64::from(expected)).all(|index| self.has(index)) {
            return Err(Fault::Choices);
        }
        let finish = |state: &ChoiceState| {
            let finish = state.finish.unwrap_or(Finish::Complete);
            if state.refused {
                finish.worse(Finish::Filtered)
            } else {
                finish
            }
        };
        Ok(Answer {
            finish: self
                .0
                .iter()
                .map(finish)
                .fold(Finish::Complete, Finish::worse),
            empty: self.0.iter().any(|state| !state.said),
            marked_end: marked && self.0.iter().all(|state| state.finish.is_some()),
        })
    }

    fn has(&self, index: u64) -> bool {
        self.0.iter().any(|state| state.index == index)
    }
}

/// Judges a `chat.completion`. White space around it is fine: DeepSeek sends blank lines first, to
/// keep the connection alive.
fn judge(json: &[u8], expected_choices: u32) -> Result<Answer, Fault> {
    let completion = Completion::parse(json)?;
    let mut choices = Choices::default();
    for choice in &completion.choices {
        choices.take(choice)?;
    }
    choices.answer(expected_choices, true)
}

/// Judges a stream of `chat.completion.chunk` events.
#[derive(Debug)]
struct Stream {
    expected_choices: u32,
    choices: Choices,
    done: bool,
}

impl Stream {
    fn new(expected_choices: u32) -> Self {
        Self {
            expected_choices,
            choices: Choices::default(),
            done: false,
        }
    }
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), Fault> {
        if event.event == b"error" {
            return Err(Fault::Error);
        }
        if event.data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk = Completion::parse(event.data)?;
        if self.done {
            return Err(Fault::AfterEnd);
        }
        for choice in &chunk.choices {
            self.choices.take(choice)?;
            if let Some(text) = choice.delta.content.as_str() {
                listener(choice.index.unwrap_or(0), text);
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.done
    }

    fn finish(&self) -> Result<Answer, Fault> {
        self.choices.answer(self.expected_choices, self.done)
    }
}

#[cfg(test)]
mod tests;
