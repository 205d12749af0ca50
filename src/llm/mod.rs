//! The LLM APIs: which request asks for what, and whether an answer is whole.
//!
//! One module per API. Each reads the request's body for what decides about its answer
//! ([`Ask`]), and judges the answer as it passes ([`Judge`]). Adding an API is one new file and
//! one line in each `match` of this one.

mod fields;
mod openai_chat;

use std::fmt;

use crate::json::Canonical;
use crate::sse;

/// An API, told by the end of a request's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `POST .../chat/completions`: OpenAI, Azure, vLLM, DeepSeek, Mistral, Groq, OpenRouter, ...
    OpenaiChat,
}

impl Api {
    /// Every API.
    pub const ALL: [Self; 1] = [Self::OpenaiChat];

    /// The word for it in configuration and keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai_chat",
        }
    }

    /// The API of a path (without its query), if it is a known one.
    pub fn from_path(path: &[u8]) -> Option<Self> {
        path.ends_with(b"/chat/completions")
            .then_some(Self::OpenaiChat)
    }

    /// Reads what a request asks for. `None` as the body stands for one that is not plain JSON.
    ///
    /// # Errors
    /// Why the answer to this request must not come from a cache.
    pub fn read(self, body: Option<&Canonical>) -> Result<Ask, Unfit> {
        let Some(body) = body else {
            return Ok(Ask {
                wire: Wire::Unknown,
                choices: 1,
            });
        };
        match self {
            Self::OpenaiChat => openai_chat::read(body),
        }
    }

    /// The top-level members of a request's body that choose the wire and so stay out of the key,
    /// because one entry serves both.
    pub fn wire_members(self) -> &'static [&'static str] {
        match self {
            Self::OpenaiChat => &["stream", "stream_options"],
        }
    }
}

/// What a request asks for, as far as it decides which answers fit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// One JSON document or a stream.
    pub wire: Wire,
    /// How many choices a whole answer has at least.
    pub choices: u32,
}

/// The form in which an answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// One JSON document.
    Json,
    /// A stream, with what the request says of its form: the canonical JSON of its
    /// `stream_options`, empty when absent.
    Stream(Box<[u8]>),
    /// The body is not plain JSON; the key holds all its bytes, so what was answered once fits.
    Unknown,
}

/// Why the answer to a request must not come from a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// `stream` or `stream_options` is neither absent, null nor of its type: servers differ in
    /// what they make of it.
    UnclearWire,
    /// The provider may run tools on its side; a hit would skip what they do.
    ServerTools,
}

impl Unfit {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnclearWire => "unclear_wire",
            Self::ServerTools => "server_tools",
        }
    }
}

/// How an answer came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Complete,
    /// A limit on tokens cut it off.
    Length,
    /// A filter or a refusal replaced it.
    Filtered,
}

/// A whole answer, as far as its API's rules tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The worst finish of its choices.
    pub finish: Finish,
    /// Whether it says anything at all.
    pub empty: bool,
    /// Whether the API's end marker and every finish reason were there.
    pub marked_end: bool,
}

/// Why an answer is not whole, or not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error object or event.
    Error,
    /// Not what the API sends: unparsable JSON, wrong types, invalid UTF-8.
    Malformed,
    /// Lines in an event stream that belong to no event.
    StrayLines,
    /// The stream ended inside an event.
    Pending,
    /// Events after the end marker.
    AfterEnd,
    /// A finish reason that is not known to mean a whole answer.
    UnknownFinish,
    /// Fewer choices than asked for, or far more.
    Choices,
}

impl Fault {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error_in_answer",
            Self::Malformed => "malformed",
            Self::StrayLines => "stray_lines",
            Self::Pending => "pending_event",
            Self::AfterEnd => "after_end",
            Self::UnknownFinish => "unknown_finish",
            Self::Choices => "choices",
        }
    }
}

/// The framing of an answer, told by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON document.
    Json,
    /// A WHATWG event stream.
    Sse,
}

impl Framing {
    /// The framing of a media type's essence; `None` if no API answers in it.
    pub fn from_media_type(essence: &str) -> Option<Self> {
        match essence {
            "text/event-stream" => Some(Self::Sse),
            essence if crate::http::is_json(essence) => Some(Self::Json),
            _ => None,
        }
    }

    /// Whether answers in this framing are streams.
    pub fn is_stream(self) -> bool {
        self == Self::Sse
    }
}

/// Judges one answer as it passes.
pub struct Judge {
    choices: u32,
    form: Form,
}

enum Form {
    /// Judged at the end, from the captured whole.
    OpenaiChatJson,
    OpenaiChatSse(Box<Events<openai_chat::Stream>>),
}

impl Judge {
    /// A judge for an answer to `ask` in this framing.
    pub fn new(api: Api, framing: Framing, ask: &Ask) -> Self {
        let form = match (api, framing) {
            (Api::OpenaiChat, Framing::Json) => Form::OpenaiChatJson,
            (Api::OpenaiChat, Framing::Sse) => Form::OpenaiChatSse(Box::default()),
        };
        Self {
            choices: ask.choices,
            form,
        }
    }

    /// Takes the next bytes of the answer, in order and cut anywhere.
    ///
    /// # Errors
    /// As soon as the answer cannot be whole any more. Later bytes do not change that.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        match &mut self.form {
            Form::OpenaiChatJson => Ok(()),
            Form::OpenaiChatSse(events) => events.feed(chunk),
        }
    }

    /// Gives the verdict at the answer's end. `whole` is all that was fed.
    ///
    /// # Errors
    /// Why the answer is not whole.
    pub fn finish(self, whole: &[u8]) -> Result<Answer, Fault> {
        match self.form {
            Form::OpenaiChatJson => openai_chat::judge(whole, self.choices),
            Form::OpenaiChatSse(events) => events.finish()?.finish(self.choices),
        }
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

/// What an API makes of the events of a stream.
trait EventJudge: Default {
    fn event(&mut self, event: &sse::Event<'_>) -> Result<(), Fault>;
}

/// An event stream on its way to an [`EventJudge`]: what holds for the events of every API.
#[derive(Default)]
struct Events<J> {
    parser: sse::Parser,
    judge: J,
}

impl<J: EventJudge> Events<J> {
    fn feed(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        let judge = &mut self.judge;
        let mut verdict = Ok(());
        self.parser.feed(chunk, |event| {
            if verdict.is_ok() {
                verdict = judge.event(&event);
            }
        });
        verdict?;
        if self.parser.stray_lines() > 0 {
            return Err(Fault::StrayLines);
        }
        if self.parser.invalid_utf8_lines() > 0 {
            return Err(Fault::Malformed);
        }
        Ok(())
    }

    fn finish(self) -> Result<J, Fault> {
        let ending = self.parser.finish();
        if ending.stray_lines > 0 {
            return Err(Fault::StrayLines);
        }
        if ending.invalid_utf8_lines > 0 {
            return Err(Fault::Malformed);
        }
        // Even where the pending text is the end marker: a stream that lacks its last line end
        // was cut, and would be cut again on every hit.
        if ending.pending.is_some() {
            return Err(Fault::Pending);
        }
        Ok(self.judge)
    }
}
