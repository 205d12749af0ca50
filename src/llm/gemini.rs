//! Gemini: `generateContent`, its two streams, and embeddings.
//!
//! Source: the Gemini API reference, "Generating content" (object `GenerateContentResponse`) and
//! "Embeddings", and their like in Vertex AI. The form is chosen in the URL: the method
//! `:streamGenerateContent` answers in a JSON array whose elements come one by one, or in an event
//! stream with `alt=sse`. No stream has an end marker of its own; the last chunk of a candidate
//! holds its `finishReason`, and the array ends with its bracket.

mod ask;
mod join;

use std::borrow::Cow;

use super::documents;
use super::fields::{self, Content, Said, read_members, read_word};
use super::judge::{ArrayElements, Document, DocumentJudge, EventJudge, Events};
use super::meaning::{Meaning, Says};
use super::usage::{zero, zero_beside};
use super::{Answer, Ask, Fault, Finish, Form, Framing, Judge, Listener, Lossy, Protocol, Unfit};
use crate::http;
use crate::json::Canonical;
use crate::sse::Event;

/// More candidates than the API gives; what claims more is not worth the memory.
const MAX_CANDIDATES: usize = 1_024;

/// `POST .../models/<model>:generateContent` and its like.
pub(super) struct Gemini;

impl Protocol for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn owns(&self, path: &[u8]) -> bool {
        ask::Method::of(path).is_some()
    }

    fn key_path<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        ask::key_path(path)
    }

    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<Ask, Unfit> {
        ask::read(path, body)
    }

    fn framing(&self, ask: &Ask, media_type: &str) -> Option<Framing> {
        match media_type {
            "text/event-stream" => Some(Framing::Sse),
            // Both a document and an array of them have this type.
            json if http::is_json(json) => match &ask.form {
                Some(form) if form.framing == Framing::JsonArray => Some(Framing::JsonArray),
                _ => Some(Framing::Json),
            },
            _ => None,
        }
    }

    fn judge(&self, ask: &Ask, framing: Framing) -> Box<dyn Judge> {
        let expected = ask.choices;
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge(json, expected))),
            Framing::JsonArray => Box::new(ArrayElements::new(Stream::new(expected))),
            _ => Box::new(Events::new(Stream::new(expected))),
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        join::join(stream, form.framing)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, Lossy> {
        join::split(json, wanted.framing)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        documents::rewrite(answer, form.framing, &mut |chunk| {
            chunk.get_mut("usageMetadata").is_some_and(zero) | zero_beside(chunk)
        })
    }

    fn meaning(&self) -> &'static Meaning {
        &MEANING
    }
}

/// What a `finishReason` means. Absent, null and `""` are [`Reason::None`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    #[default]
    None,
    Known(Finish),
    Unknown,
}

read_word!(Reason, Reason::None, |word| match word {
    "" => Reason::None,
    "STOP" => Reason::Known(Finish::Complete),
    "MAX_TOKENS" => Reason::Known(Finish::Length),
    "SAFETY"
    | "RECITATION"
    | "LANGUAGE"
    | "BLOCKLIST"
    | "PROHIBITED_CONTENT"
    | "SPII"
    | "MODEL_ARMOR"
    | "IMAGE_SAFETY"
    | "IMAGE_PROHIBITED_CONTENT"
    | "IMAGE_RECITATION" => {
        Reason::Known(Finish::Filtered)
    }
    // `MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`, `OTHER`, and whatever comes next.
    _ => Reason::Unknown,
});

/// A `GenerateContentResponse`, whole or a chunk, as far as the judge looks.
#[derive(Default)]
struct Chunk<'a> {
    error: Said,
    candidates: Vec<Candidate<'a>>,
    prompt_feedback: PromptFeedback,
    /// Of `embedContent`.
    embedding: Option<Embedding>,
    /// Of `batchEmbedContents`.
    embeddings: Option<Vec<Embedding>>,
}

read_members!(Chunk<'a>:
    error, candidates, prompt_feedback as "promptFeedback", embedding, embeddings
);

#[derive(Default)]
struct PromptFeedback {
    block_reason: Said,
    block_reason_message: Said,
}

read_members!(PromptFeedback:
    block_reason as "blockReason", block_reason_message as "blockReasonMessage"
);

#[derive(Default)]
struct Embedding {
    values: Said,
}

read_members!(Embedding: values);

#[derive(Default)]
struct Candidate<'a> {
    /// Left out where it is 0.
    index: Option<u64>,
    finish_reason: Reason,
    content: Parts<'a>,
}

read_members!(Candidate<'a>: index, finish_reason as "finishReason", content);

#[derive(Default)]
struct Parts<'a> {
    parts: Vec<Part<'a>>,
}

read_members!(Parts<'a>: parts);

#[derive(Default)]
struct Part<'a> {
    text: Content<'a>,
    thought: Said,
    function_call: Option<FunctionCall>,
    inline_data: Said,
    file_data: Said,
    executable_code: Said,
    code_execution_result: Said,
}

read_members!(Part<'a>:
    text, thought, function_call as "functionCall", inline_data as "inlineData",
    file_data as "fileData", executable_code as "executableCode",
    code_execution_result as "codeExecutionResult"
);

/// Its arguments are an object, or come in pieces: then all but the last say that more will come.
#[derive(Default)]
struct FunctionCall {
    will_continue: Said,
}

read_members!(FunctionCall: will_continue as "willContinue");

impl<'a> Chunk<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, Fault> {
        let chunk: Self = fields::parse_object(json)?;
        if chunk.error.0 {
            return Err(Fault::Error);
        }
        Ok(chunk)
    }
}

/// What is known of one candidate so far.
#[derive(Debug, Default)]
struct CandidateState {
    index: u64,
    finish: Option<Finish>,
    /// It went on after its finish, so that no finish of it tells the end: older models say `STOP`
    /// in every chunk.
    went_on: bool,
    said: bool,
    /// The arguments of its last function call are still to come.
    open_call: bool,
}

impl CandidateState {
    fn take(&mut self, candidate: &Candidate<'_>) -> Result<(), Fault> {
        self.went_on |= self.finish.is_some() && !candidate.content.parts.is_empty();
        for part in &candidate.content.parts {
            let text = part.text.is_said() && !part.thought.0;
            self.said |= text
                || part.function_call.is_some()
                || part.inline_data.0
                || part.file_data.0
                || part.executable_code.0
                || part.code_execution_result.0;
            if let Some(call) = &part.function_call {
                self.open_call = call.will_continue.0;
            }
        }
        match candidate.finish_reason {
            Reason::None => {}
            Reason::Known(finish) => {
                self.finish = Some(self.finish.map_or(finish, |old| old.worse(finish)));
            }
            Reason::Unknown => return Err(Fault::UnknownFinish),
        }
        Ok(())
    }
}

/// The answer so far.
#[derive(Debug)]
struct Stream {
    expected: u32,
    candidates: Vec<CandidateState>,
    /// The prompt was refused: there may be no candidate at all.
    blocked: bool,
}

impl Stream {
    fn new(expected: u32) -> Self {
        Self {
            expected,
            candidates: Vec::new(),
            blocked: false,
        }
    }

    fn take(&mut self, chunk: &Chunk<'_>, listener: Listener<'_>) -> Result<(), Fault> {
        let feedback = &chunk.prompt_feedback;
        self.blocked |= feedback.block_reason.0 || feedback.block_reason_message.0;
        for candidate in &chunk.candidates {
            let index = candidate.index.unwrap_or(0);
            self.state(index)?.take(candidate)?;
            for part in &candidate.content.parts {
                if let (Some(text), false) = (part.text.as_str(), part.thought.0) {
                    listener(index, text);
                }
            }
        }
        Ok(())
    }

    fn state(&mut self, index: u64) -> Result<&mut CandidateState, Fault> {
        let place = self.candidates.iter().position(|c| c.index == index);
        let place = match place {
            Some(place) => place,
            None if self.candidates.len() >= MAX_CANDIDATES => return Err(Fault::Choices),
            None => {
                self.candidates.push(CandidateState {
                    index,
                    ..CandidateState::default()
                });
                self.candidates.len().saturating_sub(1)
            }
        };
        self.candidates.get_mut(place).ok_or(Fault::Choices)
    }

    fn answer(&self) -> Result<Answer, Fault> {
        if self.candidates.is_empty() && self.blocked {
            return Ok(Answer {
                finish: Finish::Filtered,
                empty: true,
                marked_end: true,
            });
        }
        let has = |index| self.candidates.iter().any(|c| c.index == index);
        if self.candidates.is_empty() || !(0..u64::from(self.expected)).all(has) {
            return Err(Fault::Choices);
        }
        if self.candidates.iter().any(|c| c.open_call) {
            return Err(Fault::ToolArguments);
        }
        let blocked = if self.blocked {
            Finish::Filtered
        } else {
            Finish::Complete
        };
        Ok(Answer {
            finish: self
                .candidates
                .iter()
                .filter_map(|c| c.finish)
                .fold(blocked, Finish::worse),
            empty: self.candidates.iter().any(|c| !c.said),
            marked_end: (self.candidates.iter()).all(|c| c.finish.is_some() && !c.went_on),
        })
    }
}

impl DocumentJudge for Stream {
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), Fault> {
        self.take(&Chunk::parse(json)?, listener)
    }

    fn finish(&self) -> Result<Answer, Fault> {
        self.answer()
    }
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), Fault> {
        if event.event == b"error" {
            return Err(Fault::Error);
        }
        self.document(event.data, listener)
    }

    fn finish(&self) -> Result<Answer, Fault> {
        self.answer()
    }
}

/// Judges a `GenerateContentResponse`, or the answer to a request for embeddings: one for each
/// content.
fn judge(json: &[u8], expected: u32) -> Result<Answer, Fault> {
    let chunk = Chunk::parse(json)?;
    if chunk.embedding.is_none() && chunk.embeddings.is_none() {
        let mut stream = Stream::new(expected);
        stream.take(&chunk, &mut |_, _| {})?;
        return stream.answer();
    }
    let batch = chunk.embeddings.unwrap_or_default();
    let embeddings = || batch.iter().chain(&chunk.embedding);
    if u32::try_from(embeddings().count()) != Ok(expected) {
        return Err(Fault::Choices);
    }
    Ok(Answer {
        finish: Finish::Complete,
        empty: embeddings().any(|embedding| !embedding.values.0),
        marked_end: true,
    })
}

static MEANING: Meaning = Meaning {
    said: &[
        (
            "/candidates/*",
            &[
                Says::Text(&["/content/parts/*/text"]),
                Says::Calls("/content/parts/*/functionCall", "/name", &["/args"]),
                Says::Value("/content/parts/*/inlineData/data"),
                Says::Value("/content/parts/*/fileData/fileUri"),
                Says::Value("/content/parts/*/executableCode/code"),
                Says::Value("/content/parts/*/codeExecutionResult/output"),
                Says::Value("/finishReason"),
            ],
        ),
        (
            "",
            &[
                Says::Value("/promptFeedback/blockReason"),
                Says::Value("/promptFeedback/blockReasonMessage"),
                Says::Value("/embedding/values"),
                Says::Value("/embeddings/*/values"),
            ],
        ),
    ],
    usage: &["/usageMetadata"],
    tokens: &[
        &["/totalTokenCount"],
        &[
            "/promptTokenCount",
            "/toolUsePromptTokenCount",
            "/thoughtsTokenCount",
            "/candidatesTokenCount",
        ],
    ],
    usage_event: None,
};

#[cfg(test)]
mod tests;
