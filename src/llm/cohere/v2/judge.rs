//! Whether a stream of version 2 is whole.

use super::super::judge::{Block, FINISH_REASONS, ToolCall};
use crate::json::{Malformed, Read, Reader};
use crate::llm::judge::finish::Reason;
use crate::llm::judge::framings::{EventJudge, StreamJudge};
use crate::llm::judge::held::{list_bytes, text_bytes};
use crate::llm::judge::{DONE, arguments};
use crate::llm::scan::{self, Said, read_members, read_word};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};
use crate::{sse, steps};

/// More blocks and calls than any message has. A message that claims more is refused, to bound memory.
pub(super) const MAX_BLOCKS: usize = 1_024;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    MessageStart,
    ContentStart,
    ContentDelta,
    ContentEnd,
    CallStart,
    CallDelta,
    CallEnd,
    MessageEnd,
    Other,
}

read_word!(Kind, Kind::None, |word| match word {
    "message-start" => Kind::MessageStart,
    "content-start" => Kind::ContentStart,
    "content-delta" => Kind::ContentDelta,
    "content-end" => Kind::ContentEnd,
    "tool-call-start" => Kind::CallStart,
    "tool-call-delta" => Kind::CallDelta,
    "tool-call-end" => Kind::CallEnd,
    "message-end" => Kind::MessageEnd,
    // `tool-plan-delta`, `citation-start`, `citation-end`, `debug`, and whatever comes next.
    _ => Kind::Other,
});

#[derive(Default)]
struct Event<'a> {
    r#type: Kind,
    index: u64,
    error: Said,
    delta: Delta<'a>,
}

read_members!(Event<'a>: r#type as "type", index, error, delta);

#[derive(Default)]
struct Delta<'a> {
    error: Said,
    finish_reason: Reason<'a>,
    message: Message<'a>,
}

read_members!(Delta<'a>: error, finish_reason, message);

/// In `message-start` both are empty lists.
#[derive(Default)]
struct Message<'a> {
    content: ObjectOrEmptyList<Block<'a>>,
    tool_calls: ObjectOrEmptyList<ToolCall<'a>>,
}

read_members!(Message<'a>: content, tool_calls);

#[derive(Default)]
struct ObjectOrEmptyList<T>(T);

impl<'a, T: Read<'a>> Read<'a> for ObjectOrEmptyList<T> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'[') => json.each_element(&mut |_| Err(Malformed)),
            _ => self.0.read(json),
        }
    }
}

/// The stream so far.
#[derive(Debug, Default)]
pub(in crate::llm::cohere) struct Stream {
    words: FinishWords,
    started: bool,
    said: bool,
    /// How many blocks and calls have begun.
    blocks: usize,
    open_blocks: Vec<u64>,
    /// The arguments so far of the calls that are open.
    open_calls: Vec<(u64, String)>,
    /// The allocated bytes of these arguments.
    argument_bytes: usize,
    /// `message-end` has come.
    ended: bool,
    finish: Option<Finish>,
    /// `[DONE]` has come.
    done: bool,
}

impl EventJudge for Stream {
    fn event(&mut self, event: &sse::Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.event == b"error" {
            return Err(NotWhole::Error);
        }
        if self.done {
            return Err(NotWhole::AfterEnd);
        }
        if event.data == DONE {
            self.done = true;
            return Ok(());
        }
        let event: Event<'_> = scan::parse_object(event.data)?;
        if event.error.0 || event.delta.error.0 {
            return Err(NotWhole::Error);
        }
        if self.ended {
            return Err(NotWhole::AfterEnd);
        }
        self.take(&event, listener)
    }
}

impl StreamJudge for Stream {
    /// `[DONE]` may follow, which says nothing.
    fn is_over(&self) -> bool {
        self.ended
    }

    fn held_bytes(&self) -> usize {
        list_bytes(&self.open_blocks)
            .saturating_add(list_bytes(&self.open_calls))
            .saturating_add(self.argument_bytes)
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if !self.started {
            return Err(NotWhole::Choices);
        }
        Ok(Verdict {
            finish: self.finish.unwrap_or(Finish::Complete),
            empty: !self.said,
            marked_end: self.ended && self.finish.is_some(),
        })
    }
}

impl Stream {
    pub(in crate::llm::cohere) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    fn take(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        let message = &event.delta.message;
        let arguments = message.tool_calls.0.function.arguments.as_str();
        let arguments = arguments.unwrap_or_default();
        match event.r#type {
            Kind::None => return Err(NotWhole::Malformed),
            Kind::Other => {}
            Kind::MessageStart if self.started => return Err(NotWhole::Malformed),
            Kind::MessageStart => self.started = true,
            Kind::ContentStart => {
                self.count_block()?;
                if self.open_blocks.contains(&event.index) {
                    return Err(NotWhole::Malformed);
                }
                self.open_blocks.push(event.index);
                self.take_block(&message.content.0, listener);
            }
            Kind::ContentDelta if self.open_blocks.contains(&event.index) => {
                self.take_block(&message.content.0, listener);
            }
            Kind::ContentEnd if self.open_blocks.contains(&event.index) => {
                self.open_blocks.retain(|open| *open != event.index);
            }
            Kind::ContentDelta | Kind::ContentEnd => return Err(NotWhole::Malformed),
            Kind::CallStart => {
                self.count_block()?;
                self.said = true;
                if self.open_call(event.index).is_some() {
                    return Err(NotWhole::Malformed);
                }
                let arguments = arguments.to_owned();
                let held = text_bytes(&arguments);
                self.argument_bytes = self.argument_bytes.saturating_add(held);
                self.open_calls.push((event.index, arguments));
            }
            Kind::CallDelta => {
                let position = self.open_call(event.index);
                let call = position.and_then(|position| self.open_calls.get_mut(position));
                let (_, so_far) = call.ok_or(NotWhole::Malformed)?;
                let held = text_bytes(so_far);
                so_far.push_str(arguments);
                let grown = text_bytes(so_far).saturating_sub(held);
                self.argument_bytes = self.argument_bytes.saturating_add(grown);
            }
            Kind::CallEnd => {
                let position = self.open_call(event.index).ok_or(NotWhole::Malformed)?;
                let (_, arguments) = self.open_calls.swap_remove(position);
                let held = text_bytes(&arguments);
                self.argument_bytes = self.argument_bytes.saturating_sub(held);
                arguments::check(&arguments)?;
            }
            Kind::MessageEnd => self.end(&event.delta.finish_reason)?,
        }
        Ok(())
    }

    /// Where the call of that index is among those that are open.
    fn open_call(&self, index: u64) -> Option<usize> {
        steps::take(self.open_calls.len());
        self.open_calls.iter().position(|(open, _)| *open == index)
    }

    fn take_block(&mut self, block: &Block<'_>, listener: Listener<'_>) {
        self.said |= block.says();
        if let Some(text) = block.text.as_str() {
            listener(0, text);
        }
    }

    fn count_block(&mut self) -> Result<(), NotWhole> {
        self.blocks = self.blocks.saturating_add(1);
        if self.blocks > MAX_BLOCKS {
            return Err(NotWhole::Choices);
        }
        Ok(())
    }

    fn end(&mut self, reason: &Reason<'_>) -> Result<(), NotWhole> {
        self.finish = reason.finish(&FINISH_REASONS, &self.words)?;
        self.ended = true;
        // A limit on tokens may fall into a call, and then ends it.
        let mut open_calls = self.open_calls.iter();
        open_calls.try_for_each(|(_, arguments)| arguments::check(arguments))?;
        if !self.started || !self.open_blocks.is_empty() || !self.open_calls.is_empty() {
            return Err(NotWhole::Unfinished);
        }
        Ok(())
    }
}
