//! Whether a response is whole: a document, or a line for each piece.

use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::judge::framings::{DocumentJudge, StreamJudge};
use crate::llm::openai_embeddings::judge::{self as embeddings, Inputs};
use crate::llm::scan::{self, ArgumentsObject, Listed, Said, Text, read_members};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};

/// Of `done_reason`.
const DONE_REASONS: Vocabulary = Vocabulary {
    complete: &["stop"],
    length: &["length"],
    // The model was loaded or unloaded, and nothing else was asked for.
    unfinished: &["load", "unload"],
    ..Vocabulary::EMPTY
};

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
        let response: Self = scan::parse_object(json)?;
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

    /// Judges what is not in the form of OpenAI: `expected` is how many embeddings there must be.
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
        Ok(Verdict::complete(!all_said))
    }

    /// `None` if more is to come.
    fn finish(&self, words: &FinishWords) -> Result<Option<Finish>, NotWhole> {
        if self.done != Some(true) {
            return Ok(None);
        }
        let finish = self.done_reason.finish(&DONE_REASONS, words)?;
        finish.ok_or(NotWhole::Unfinished).map(Some)
    }
}

/// Judges a response that is not a stream, or embeddings: one for each input.
pub(super) fn judge(json: &[u8], inputs: Inputs, words: &FinishWords) -> Result<Verdict, NotWhole> {
    let response = Response::parse(json)?;
    match response.data.0 {
        true => embeddings::judge(json, inputs),
        false => response.judge(inputs.least(), words),
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
pub(super) struct Stream {
    words: FinishWords,
    /// Of all lines so far.
    kind: Option<Kind>,
    said: bool,
    finish: Option<Finish>,
}

impl Stream {
    pub(super) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }
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
}

impl StreamJudge for Stream {
    fn is_over(&self) -> bool {
        self.finish.is_some()
    }

    fn held_bytes(&self) -> usize {
        0
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
