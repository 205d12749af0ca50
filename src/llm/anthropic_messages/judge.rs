//! Whether a message is whole, as JSON and in a stream of its events.

use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::judge::framings::{EventJudge, StreamJudge};
use crate::llm::judge::held::{list_bytes, text_bytes};
use crate::llm::judge::{DONE, arguments};
use crate::llm::scan::{self, Arguments, Said, Text, read_members, read_word};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};
use crate::sse;

/// More content blocks in one answer than any provider sends.
const MAX_BLOCKS: u64 = 4_096;

/// More content blocks than any provider fills at the same time: it is one.
pub(super) const MAX_OPEN_BLOCKS: usize = 64;

/// Judges a `message`.
pub(in crate::llm) fn judge(json: &[u8], words: &FinishWords) -> Result<Verdict, NotWhole> {
    let message: Message<'_> = scan::parse_object(json)?;
    if message.error.0 || message.r#type == Type::Error {
        return Err(NotWhole::Error);
    }
    if message.r#type != Type::Message {
        return Err(NotWhole::Malformed);
    }
    let finish = message.stop_reason.finish(&STOP_REASONS, words)?;
    let content = message.content.ok_or(NotWhole::Malformed)?;
    if content.iter().any(Block::has_text_for_input) {
        return Err(NotWhole::ToolArguments);
    }
    if content.iter().any(Block::lacks_text) {
        return Err(NotWhole::Malformed);
    }
    Ok(Verdict {
        finish: with_guardrail(finish, message.guardrail),
        empty: !content.iter().any(Block::says_something),
        marked_end: finish.is_some(),
    })
}

pub(in crate::llm) fn with_guardrail(finish: Option<Finish>, guardrail: Guardrail) -> Finish {
    let finish = finish.unwrap_or(Finish::Complete);
    match guardrail {
        Guardrail::Passed => finish,
        Guardrail::Intervened => finish.worse(Finish::Filtered),
    }
}

/// Judges the events of a message, which servers that are not Anthropic wrap in other ways.
#[derive(Debug, Default)]
pub(in crate::llm) struct Stream {
    words: FinishWords,
    started: bool,
    /// How many content blocks have begun: they are numbered from 0, in order.
    blocks: u64,
    open: Vec<OpenBlock>,
    finish: Option<Finish>,
    guardrail: Guardrail,
    said: bool,
    stopped: bool,
}

/// A content block between its start and its stop.
#[derive(Debug)]
struct OpenBlock {
    index: u64,
    /// The arguments of a tool call, so far.
    arguments: String,
}

impl Stream {
    pub(in crate::llm) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    /// Takes the next event of a framing that has no names for them. It is UTF-8.
    pub(in crate::llm) fn take(
        &mut self,
        json: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        self.take_named(None, json, listener)
    }

    /// Anthropic's clients skip an event that has no name, or is called a ping, whatever its data
    /// says; others go by the name alone.
    fn take_named(
        &mut self,
        name: Option<Type>,
        json: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        let event: Event<'_> = scan::parse_object(json)?;
        if event.error.0 || event.r#type == Type::Error {
            return Err(NotWhole::Error);
        }
        match name {
            Some(Type::None) if event.r#type == Type::Ping => {}
            Some(name) if name != event.r#type => return Err(NotWhole::Malformed),
            _ => {}
        }
        match event.r#type {
            Type::Ping => return Ok(()),
            Type::None | Type::Message | Type::Error => return Err(NotWhole::Malformed),
            _ if self.stopped => return Err(NotWhole::AfterEnd),
            _ => {}
        }
        if event.guardrail != Guardrail::Passed {
            self.guardrail = event.guardrail;
        }
        match event.r#type {
            Type::MessageStart => self.start(event.message.as_ref()),
            // The reference: new types of events may be added.
            Type::Other => Ok(()),
            _ if !self.started => Err(NotWhole::Malformed),
            Type::BlockStart => self.start_block(event.index, event.content_block, listener),
            Type::BlockDelta => self.extend_block(event.index, event.delta, listener),
            Type::BlockStop => self.stop_block(event.index),
            Type::MessageDelta => {
                event.usage.ok_or(NotWhole::Malformed)?;
                let reason = event.delta.ok_or(NotWhole::Malformed)?.stop_reason;
                self.finish = reason.finish(&STOP_REASONS, &self.words)?.or(self.finish);
                Ok(())
            }
            _ => {
                self.stopped = true;
                Ok(())
            }
        }
    }

    /// A second start in one stream is two answers spliced, as a proxy that tries again may do.
    /// Anthropic's clients add what follows to the content and to the usage of the first, and raise
    /// where it has none.
    fn start(&mut self, message: Option<&Message<'_>>) -> Result<(), NotWhole> {
        let message = message.ok_or(NotWhole::Malformed)?;
        let is_empty = message.content.as_ref().is_some_and(Vec::is_empty);
        if self.started || !is_empty || message.usage.is_none() {
            return Err(NotWhole::Malformed);
        }
        self.started = true;
        Ok(())
    }

    fn start_block(
        &mut self,
        index: Option<u64>,
        block: Option<Block<'_>>,
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        let (index, block) = index.zip(block).ok_or(NotWhole::Malformed)?;
        if index != self.blocks || self.finish.is_some() || block.lacks_text() {
            return Err(NotWhole::Malformed);
        }
        if index >= MAX_BLOCKS || self.open.len() >= MAX_OPEN_BLOCKS {
            return Err(NotWhole::Choices);
        }
        self.blocks = index.saturating_add(1);
        self.open.push(OpenBlock {
            index,
            arguments: String::new(),
        });
        self.said |= block.says_something();
        if let Some(text) = block.text.as_str()
            && !text.is_empty()
        {
            listener(0, text);
        }
        Ok(())
    }

    fn extend_block(
        &mut self,
        index: Option<u64>,
        delta: Option<Delta<'_>>,
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        let delta = delta.ok_or(NotWhole::Malformed)?;
        let block = self
            .open
            .iter_mut()
            .find(|block| Some(block.index) == index)
            .ok_or(NotWhole::Malformed)?;
        match delta.r#type {
            Part::Text => {
                let text = delta.text.as_str().ok_or(NotWhole::Malformed)?;
                self.said |= !text.is_empty();
                listener(0, text);
            }
            Part::InputJson => {
                let more = delta.partial_json.as_str().ok_or(NotWhole::Malformed)?;
                block.arguments.push_str(more);
            }
            Part::Silent | Part::Other => {}
        }
        Ok(())
    }

    fn stop_block(&mut self, index: Option<u64>) -> Result<(), NotWhole> {
        let position = self
            .open
            .iter()
            .position(|block| Some(block.index) == index)
            .ok_or(NotWhole::Malformed)?;
        arguments::check(&self.open.swap_remove(position).arguments)
    }
}

impl EventJudge for Stream {
    fn event(&mut self, event: &sse::Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.event == b"error" {
            return Err(NotWhole::Error);
        }
        // Servers that also speak OpenAI's protocol end this one with its marker, too. Clients parse
        // it if it has a name.
        if event.data == DONE && self.stopped && event.event.is_empty() {
            return Ok(());
        }
        let name = std::str::from_utf8(event.event).map_or(Type::Other, Type::of);
        self.take_named(Some(name), event.data, listener)
    }

    /// Anthropic's clients skip names that they do not know, and what has none.
    fn no_data(&self, name: &[u8]) -> Result<(), NotWhole> {
        let kind = std::str::from_utf8(name).map_or(Type::Other, Type::of);
        match kind {
            Type::Error => Err(NotWhole::Error),
            Type::None | Type::Ping | Type::Other | Type::Message => Ok(()),
            _ => Err(NotWhole::NoData),
        }
    }
}

impl StreamJudge for Stream {
    fn is_over(&self) -> bool {
        self.stopped
    }

    /// What the unfinished content blocks hold. There are at most [`MAX_OPEN_BLOCKS`].
    fn held_bytes(&self) -> usize {
        let arguments = self.open.iter().map(|block| text_bytes(&block.arguments));
        arguments.fold(list_bytes(&self.open), usize::saturating_add)
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if !self.started {
            return Err(NotWhole::Choices);
        }
        for block in &self.open {
            arguments::check(&block.arguments)?;
        }
        // Cut off: a server that leaves out the one sends the other.
        if !self.open.is_empty() || (self.finish.is_none() && !self.stopped) {
            return Err(NotWhole::Unfinished);
        }
        Ok(Verdict {
            finish: with_guardrail(self.finish, self.guardrail),
            empty: !self.said,
            marked_end: self.stopped && self.finish.is_some(),
        })
    }
}

/// Of `stop_reason`.
const STOP_REASONS: Vocabulary = Vocabulary {
    complete: &["end_turn", "stop_sequence", "tool_use"],
    length: &["max_tokens", "model_context_window_exceeded"],
    filtered: &["refusal"],
    // The client is to send the answer back for the rest of it.
    unfinished: &["pause_turn", "compaction"],
    ..Vocabulary::EMPTY
};

/// The `type` of an event or of a whole message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Type {
    #[default]
    None,
    Message,
    MessageStart,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    Ping,
    Error,
    Other,
}

impl Type {
    fn of(word: &str) -> Self {
        match word {
            "" => Self::None,
            "message" => Self::Message,
            "message_start" => Self::MessageStart,
            "content_block_start" => Self::BlockStart,
            "content_block_delta" => Self::BlockDelta,
            "content_block_stop" => Self::BlockStop,
            "message_delta" => Self::MessageDelta,
            "message_stop" => Self::MessageStop,
            "ping" => Self::Ping,
            "error" => Self::Error,
            _ => Self::Other,
        }
    }
}

read_word!(Type, Type::None, Type::of);

/// The `type` of a content block or of a delta of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    Text,
    InputJson,
    /// What the client does not show, as far as it decides whether an answer says anything.
    Silent,
    #[default]
    Other,
}

read_word!(Part, Part::Other, |word| match word {
    "text" | "text_delta" => Part::Text,
    "input_json_delta" => Part::InputJson,
    "thinking" | "redacted_thinking" | "fallback" | "mcp_tool_listing" => Part::Silent,
    _ => Part::Other,
});

/// Bedrock's word on what a guardrail did to the answer; Anthropic itself has no such member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::llm) enum Guardrail {
    #[default]
    Passed,
    Intervened,
}

read_word!(Guardrail, Guardrail::Passed, |word| match word {
    "" | "NONE" => Guardrail::Passed,
    _ => Guardrail::Intervened,
});

/// An event, as far as the judge looks.
#[derive(Default)]
struct Event<'a> {
    r#type: Type,
    error: Said,
    message: Option<Message<'a>>,
    index: Option<u64>,
    content_block: Option<Block<'a>>,
    delta: Option<Delta<'a>>,
    usage: Option<Usage>,
    guardrail: Guardrail,
}

read_members!(Event<'a>:
    r#type as "type", error, message, index, content_block, delta, usage,
    guardrail as "amazon-bedrock-guardrailAction"
);

/// A message, and the start of one in a stream.
#[derive(Default)]
struct Message<'a> {
    r#type: Type,
    error: Said,
    content: Option<Vec<Block<'a>>>,
    stop_reason: Reason<'a>,
    usage: Option<Usage>,
    guardrail: Guardrail,
}

read_members!(Message<'a>:
    r#type as "type", error, content, stop_reason, usage,
    guardrail as "amazon-bedrock-guardrailAction"
);

/// What it counts does not matter.
#[derive(Default)]
struct Usage;

read_members!(Usage:);

#[derive(Default)]
struct Block<'a> {
    r#type: Part,
    text: Text<'a>,
    thinking: Text<'a>,
    name: Text<'a>,
    /// An object; some servers begin that of a stream with an empty text.
    input: Arguments<'a>,
}

read_members!(Block<'a>: r#type as "type", text, thinking, name, input);

#[derive(Default)]
struct Delta<'a> {
    r#type: Part,
    text: Text<'a>,
    thinking: Text<'a>,
    partial_json: Text<'a>,
    stop_reason: Reason<'a>,
}

read_members!(Delta<'a>: r#type as "type", text, thinking, partial_json, stop_reason);

impl Block<'_> {
    fn has_text_for_input(&self) -> bool {
        self.input.as_str().is_some()
    }

    /// Clients add the text of the pieces to that of the block.
    fn lacks_text(&self) -> bool {
        self.r#type == Part::Text && self.text.as_str().is_none()
    }

    fn says_something(&self) -> bool {
        match self.r#type {
            Part::Text => self.text.is_said(),
            Part::Silent => false,
            Part::InputJson | Part::Other => true,
        }
    }
}
