//! Whether an answer of `Converse` or of `ConverseStream` is whole.

use crate::llm::judge::arguments;
use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::judge::framings::{MessageJudge, StreamJudge};
use crate::llm::judge::held::{list_bytes, text_bytes};
use crate::llm::scan::{self, Said, Text, read_members};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};

/// More content blocks in one answer than any model gives.
pub(in crate::llm::bedrock) const MAX_BLOCKS: usize = 1_024;

/// Of `stopReason`. `malformed_model_output`, `malformed_tool_use` and new words are unknown on purpose.
const STOP_REASONS: Vocabulary = Vocabulary {
    complete: &["end_turn", "tool_use", "stop_sequence"],
    length: &["max_tokens", "model_context_window_exceeded"],
    filtered: &["guardrail_intervened", "content_filtered"],
    ..Vocabulary::EMPTY
};

/// An answer of `Converse`, as far as the judge looks.
#[derive(Default)]
struct Response<'a> {
    output: Option<Output<'a>>,
    stop_reason: Reason<'a>,
    /// An AWS error has this, and a message, and no output.
    error: Said,
    message: Said,
    /// The same.
    capital_message: Said,
}

read_members!(Response<'a>: output, stop_reason as "stopReason", error as "__type", message, capital_message as "Message");

#[derive(Default)]
struct Output<'a> {
    message: Option<Message<'a>>,
}

read_members!(Output<'a>: message);

#[derive(Default)]
struct Message<'a> {
    content: Vec<Block<'a>>,
}

read_members!(Message<'a>: content);

#[derive(Default)]
struct Block<'a> {
    text: Text<'a>,
    reasoning: Said,
}

read_members!(Block<'a>: text, reasoning as "reasoningContent");

impl Block<'_> {
    fn says_something(&self) -> bool {
        match self.text.as_str() {
            Some(text) => !text.is_empty(),
            None => !self.reasoning.0,
        }
    }
}

/// Judges an answer of `Converse`.
pub(in crate::llm::bedrock) fn judge(
    json: &[u8],
    words: &FinishWords,
) -> Result<Verdict, NotWhole> {
    let response: Response<'_> = scan::parse_object(json)?;
    let Some(message) = response.output.and_then(|output| output.message) else {
        return Err(
            if response.error.0 || response.message.0 || response.capital_message.0 {
                NotWhole::Error
            } else {
                NotWhole::Malformed
            },
        );
    };
    let finish = response.stop_reason.finish(&STOP_REASONS, words)?;
    Ok(Verdict::ended_by(
        finish,
        !message.content.iter().any(Block::says_something),
    ))
}

/// The payload of any event of a stream, as far as the judge looks.
#[derive(Default)]
struct Payload<'a> {
    index: Option<u64>,
    delta: Option<Delta<'a>>,
    stop_reason: Reason<'a>,
}

read_members!(Payload<'a>: index as "contentBlockIndex", delta, stop_reason as "stopReason");

#[derive(Default)]
struct Delta<'a> {
    text: Text<'a>,
    tool_use: Option<ToolUse<'a>>,
    reasoning: Said,
}

read_members!(Delta<'a>: text, tool_use as "toolUse", reasoning as "reasoningContent");

#[derive(Default)]
struct ToolUse<'a> {
    input: Text<'a>,
}

read_members!(ToolUse<'a>: input);

/// Judges a stream of `ConverseStream`.
#[derive(Debug, Default)]
pub(in crate::llm::bedrock) struct Stream {
    words: FinishWords,
    started: bool,
    /// Every content block seen. Text has no start of its own: its first delta opens the block.
    blocks: Vec<BlockState>,
    /// The allocated bytes of the arguments of all of them.
    argument_bytes: usize,
    finish: Option<Finish>,
    said: bool,
    stopped: bool,
    ended: bool,
}

#[derive(Debug)]
struct BlockState {
    index: u64,
    is_open: bool,
    /// The arguments of a tool call, so far.
    arguments: String,
}

impl MessageJudge for Stream {
    fn message(
        &mut self,
        event: &str,
        payload: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        if self.ended {
            return Err(NotWhole::AfterEnd);
        }
        let payload: Payload<'_> = scan::parse_object(payload)?;
        match event {
            "messageStart" if !self.started => self.started = true,
            "messageStop" if self.started && !self.stopped => {
                self.stopped = true;
                self.finish = payload.stop_reason.finish(&STOP_REASONS, &self.words)?;
            }
            "metadata" => self.ended = true,
            "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" => {
                if !self.started || self.stopped {
                    return Err(NotWhole::Malformed);
                }
                let index = payload.index.ok_or(NotWhole::Malformed)?;
                match event {
                    "contentBlockStart" => self.start_block(index)?,
                    "contentBlockDelta" => {
                        let delta = payload.delta.ok_or(NotWhole::Malformed)?;
                        self.extend_block(index, &delta, listener)?;
                    }
                    _ => self.stop_block(index)?,
                }
            }
            "messageStart" | "messageStop" => return Err(NotWhole::Malformed),
            // The clients skip events that they do not know.
            _ => {}
        }
        Ok(())
    }
}

impl StreamJudge for Stream {
    fn is_over(&self) -> bool {
        self.ended
    }

    fn held_bytes(&self) -> usize {
        list_bytes(&self.blocks).saturating_add(self.argument_bytes)
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if !self.started {
            return Err(NotWhole::Choices);
        }
        let mut open = self.blocks.iter().filter(|block| block.is_open).peekable();
        let any_open = open.peek().is_some();
        open.try_for_each(|block| arguments::check(&block.arguments))?;
        if any_open || !self.stopped && !self.ended {
            return Err(NotWhole::Unfinished);
        }
        Ok(Verdict {
            finish: self.finish.unwrap_or(Finish::Complete),
            empty: !self.said,
            marked_end: self.ended && self.finish.is_some(),
        })
    }
}

impl Stream {
    pub(in crate::llm::bedrock) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    /// Only blocks with something to tell at the start have one: tool calls.
    fn start_block(&mut self, index: u64) -> Result<(), NotWhole> {
        if self.blocks.iter().any(|block| block.index == index) {
            return Err(NotWhole::Malformed);
        }
        self.said = true;
        self.block(index).map(|_| ())
    }

    fn extend_block(
        &mut self,
        index: u64,
        delta: &Delta<'_>,
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        let block = self.block(index)?;
        if !block.is_open {
            return Err(NotWhole::Malformed);
        }
        let mut grown = 0;
        if let Some(call) = &delta.tool_use {
            let more = call.input.as_str().ok_or(NotWhole::Malformed)?;
            let held = text_bytes(&block.arguments);
            block.arguments.push_str(more);
            grown = text_bytes(&block.arguments).saturating_sub(held);
        }
        self.argument_bytes = self.argument_bytes.saturating_add(grown);
        match delta.text.as_str() {
            Some(text) => {
                self.said |= !text.is_empty();
                listener(0, text);
            }
            None => self.said |= !delta.reasoning.0,
        }
        Ok(())
    }

    /// A text without a single delta has only a stop.
    fn stop_block(&mut self, index: u64) -> Result<(), NotWhole> {
        let block = self.block(index)?;
        if !block.is_open {
            return Err(NotWhole::Malformed);
        }
        arguments::check(&block.arguments)?;
        block.is_open = false;
        let arguments = std::mem::take(&mut block.arguments);
        let held = text_bytes(&arguments);
        self.argument_bytes = self.argument_bytes.saturating_sub(held);
        Ok(())
    }

    /// The block with that index. It is opened if there is none yet.
    fn block(&mut self, index: u64) -> Result<&mut BlockState, NotWhole> {
        match self.blocks.iter().rposition(|block| block.index == index) {
            Some(position) => self.blocks.get_mut(position).ok_or(NotWhole::Choices),
            None if self.blocks.len() >= MAX_BLOCKS => Err(NotWhole::Choices),
            None => Ok(self.blocks.push_mut(BlockState {
                index,
                is_open: true,
                arguments: String::new(),
            })),
        }
    }
}
