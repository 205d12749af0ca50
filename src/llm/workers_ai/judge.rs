//! Whether an answer is whole: a result in its envelope, or an event stream of pieces.

use crate::llm::judge::DONE;
use crate::llm::judge::finish::Reason;
use crate::llm::judge::framings::{EventJudge, StreamJudge};
use crate::llm::openai_chat::judge::{Choice, Choices, FINISH_REASONS, ToolCall, ToolCalls};
use crate::llm::scan::{self, Content, Said, read_members};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};
use crate::sse::Event;

/// A JSON answer, as far as the judge looks.
#[derive(Default)]
struct Envelope<'a> {
    result: Option<Piece<'a>>,
    success: bool,
    errors: Said,
    error: Said,
}

read_members!(Envelope<'a>: result, success, errors, error);

/// What a model says, whole or in part.
#[derive(Default)]
struct Piece<'a> {
    response: Content<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    finish_reason: Reason<'a>,
    /// The chat completions of newer models, and their chunks.
    choices: Vec<Choice<'a>>,
    /// Embeddings.
    data: Said,
    /// Transcripts.
    text: Said,
    translated_text: Said,
    summary: Said,
    usage: Said,
    error: Said,
    errors: Said,
    detail: Said,
    message: Said,
    code: Said,
}

read_members!(Piece<'a>:
    response, tool_calls, finish_reason, choices, data, text, translated_text, summary, usage,
    error, errors, detail, message, code
);

impl Piece<'_> {
    fn errs(&self) -> bool {
        let in_its_place = self.detail.0 || self.message.0 || self.code.0;
        self.error.0
            || self.errors.0
            || self.choices.iter().any(Choice::errs)
            || in_its_place && !self.says() && self.choices.is_empty() && !self.usage.0
    }

    fn says(&self) -> bool {
        self.response.is_said()
            || !self.tool_calls.is_empty()
            || [&self.data, &self.text, &self.translated_text, &self.summary]
                .iter()
                .any(|member| member.0)
    }
}

/// Judges a JSON answer.
pub(super) fn judge(json: &[u8], words: &FinishWords) -> Result<Verdict, NotWhole> {
    let envelope: Envelope<'_> = scan::parse_object(json)?;
    if !envelope.success || envelope.errors.0 || envelope.error.0 {
        return Err(NotWhole::Error);
    }
    let result = envelope.result.ok_or(NotWhole::Choices)?;
    if result.errs() {
        return Err(NotWhole::Error);
    }
    if !result.choices.is_empty() {
        let mut choices = Choices::new(words.clone());
        for choice in &result.choices {
            choices.take_whole(choice)?;
        }
        return choices.answer(1, true);
    }
    result
        .tool_calls
        .iter()
        .try_for_each(ToolCall::check_whole)?;
    Ok(Verdict {
        finish: (result.finish_reason.finish(&FINISH_REASONS, words)?).unwrap_or(Finish::Complete),
        empty: !result.says(),
        marked_end: true,
    })
}

/// Judges a stream: of pieces, or of chunks of a chat completion.
#[derive(Debug, Default)]
pub(super) struct Stream {
    words: FinishWords,
    choices: Choices,
    tool_calls: ToolCalls,
    finish: Option<Finish>,
    said: bool,
    done: bool,
}

impl Stream {
    pub(super) fn new(words: FinishWords) -> Self {
        Self {
            choices: Choices::new(words.clone()),
            words,
            ..Self::default()
        }
    }
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.event == b"error" {
            return Err(NotWhole::Error);
        }
        if event.data == DONE {
            self.done = true;
            return Ok(());
        }
        let piece: Piece<'_> = scan::parse_object(event.data)?;
        if piece.errs() {
            return Err(NotWhole::Error);
        }
        if self.done {
            return Err(NotWhole::AfterEnd);
        }
        for choice in &piece.choices {
            self.choices.take_piece(choice)?;
            choice.tell(listener);
        }
        for call in &piece.tool_calls {
            self.tool_calls.take(call)?;
        }
        if let Some(finish) = piece.finish_reason.finish(&FINISH_REASONS, &self.words)? {
            self.finish = Some(finish.worst(self.finish));
        }
        self.said |= piece.says();
        if let Some(text) = piece.response.as_str() {
            listener(0, text);
        }
        Ok(())
    }
}

impl StreamJudge for Stream {
    fn is_over(&self) -> bool {
        self.done
    }

    fn held_bytes(&self) -> usize {
        let calls = self.tool_calls.held_bytes();
        calls.saturating_add(self.choices.held_bytes())
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if !self.choices.is_empty() {
            // Not both.
            if self.said {
                return Err(NotWhole::Malformed);
            }
            return self.choices.answer(1, self.done);
        }
        self.tool_calls.check()?;
        Ok(Verdict {
            finish: self.finish.unwrap_or(Finish::Complete),
            empty: !self.said,
            marked_end: self.done && self.finish.is_some(),
        })
    }
}
