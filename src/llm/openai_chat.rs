//! Chat completions and their dialects.
//!
//! Source: the OpenAI API reference, "Chat" (object `chat.completion`, object
//! `chat.completion.chunk`); the dialects' deviations as recorded from them. A whole stream has a
//! `finish_reason` for every choice and ends with `data: [DONE]`. Neither alone is proof: vLLM and
//! OpenRouter send `[DONE]` after errors, and a finish may be followed by the usage.

use serde::Deserialize;

use super::fields::{self, Said, deserialize_word};
use super::{Answer, Ask, EventJudge, Fault, Finish, Unfit, Wire};
use crate::json::Canonical;
use crate::sse::Event;

/// More choices than any provider gives; what claims more is not worth the memory.
const MAX_CHOICES: usize = 1_024;

/// A longer `stream_options` is not one that any provider knows.
const MAX_STREAM_OPTIONS_BYTES: usize = 512;

pub(super) fn read(body: &Canonical) -> Result<Ask, Unfit> {
    if runs_server_tools(body) {
        return Err(Unfit::ServerTools);
    }
    let wire = match body.member("stream") {
        None | Some(b"null" | b"false") => Wire::Json,
        Some(b"true") => match body.member("stream_options") {
            None | Some(b"null") => Wire::Stream(Box::default()),
            Some(options)
                if options.starts_with(b"{") && options.len() <= MAX_STREAM_OPTIONS_BYTES =>
            {
                Wire::Stream(options.into())
            }
            Some(_) => return Err(Unfit::UnclearWire),
        },
        Some(_) => return Err(Unfit::UnclearWire),
    };
    let choices = body
        .member("n")
        .and_then(|n| std::str::from_utf8(n).ok()?.parse().ok())
        .unwrap_or(1);
    Ok(Ask { wire, choices })
}

/// OpenAI: `web_search_options`, and tools that are neither the client's functions nor its custom
/// tools. Providers name their own in `tools[].type`.
fn runs_server_tools(body: &Canonical) -> bool {
    #[derive(Deserialize)]
    struct Tool {
        #[serde(default)]
        r#type: ToolType,
    }
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
struct Completion {
    #[serde(default)]
    error: Said,
    #[serde(default)]
    object: Object,
    #[serde(default, deserialize_with = "fields::list")]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    finish_reason: Reason,
    #[serde(default, alias = "message", deserialize_with = "fields::object")]
    delta: Message,
    #[serde(default)]
    error: Said,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(default)]
    content: Said,
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

impl Completion {
    fn parse(json: &[u8]) -> Result<Self, Fault> {
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
    fn take(&mut self, choice: &Choice) -> Result<(), Fault> {
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
        state.said |= message.content.0
            || message.refusal.0
            || message.tool_calls.0
            || message.function_call.0
            || message.audio.0
            || message.images.0;
        match choice.finish_reason {
            // OpenRouter sends a null after the finish, with the usage: it takes nothing back.
            Reason::None => {}
            Reason::Known(finish) => {
                state.finish = Some(state.finish.map_or(finish, |old| worse(old, finish)));
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
                worse(finish, Finish::Filtered)
            } else {
                finish
            }
        };
        Ok(Answer {
            finish: self.0.iter().map(finish).fold(Finish::Complete, worse),
            empty: self.0.iter().any(|state| !state.said),
            marked_end: marked && self.0.iter().all(|state| state.finish.is_some()),
        })
    }

    fn has(&self, index: u64) -> bool {
        self.0.iter().any(|state| state.index == index)
    }
}

fn worse(one: Finish, other: Finish) -> Finish {
    match (one, other) {
        (Finish::Filtered, _) | (_, Finish::Filtered) => Finish::Filtered,
        (Finish::Length, _) | (_, Finish::Length) => Finish::Length,
        (Finish::Complete, Finish::Complete) => Finish::Complete,
    }
}

/// Judges a `chat.completion`. White space around it is fine: DeepSeek sends blank lines first, to
/// keep the connection alive.
pub(super) fn judge(json: &[u8], expected_choices: u32) -> Result<Answer, Fault> {
    // serde_json does not look into the strings that it skips.
    std::str::from_utf8(json).map_err(|_| Fault::Malformed)?;
    let completion = Completion::parse(json)?;
    let mut choices = Choices::default();
    for choice in &completion.choices {
        choices.take(choice)?;
    }
    choices.answer(expected_choices, true)
}

/// Judges a stream of `chat.completion.chunk` events.
#[derive(Debug, Default)]
pub(super) struct Stream {
    choices: Choices,
    done: bool,
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>) -> Result<(), Fault> {
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
        }
        Ok(())
    }
}

impl Stream {
    pub(super) fn finish(self, expected_choices: u32) -> Result<Answer, Fault> {
        self.choices.answer(expected_choices, self.done)
    }
}

#[cfg(test)]
mod tests;
