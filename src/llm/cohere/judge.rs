//! Whether a JSON answer is whole: of a chat in either version, or of embeddings.

use crate::json::{Malformed, Read, Reader};
use crate::llm::judge::arguments;
use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::scan::{self, Listed, Said, Text, read_members, read_word};
use crate::llm::{FinishWords, NotWhole, Verdict};

/// Of `finish_reason`. `USER_CANCEL` and new words are unknown on purpose.
pub(super) const FINISH_REASONS: Vocabulary = Vocabulary {
    complete: &["COMPLETE", "STOP_SEQUENCE", "TOOL_CALL"],
    length: &["MAX_TOKENS"],
    filtered: &["ERROR_TOXIC"],
    error: &["ERROR", "ERROR_LIMIT", "TIMEOUT"],
    ..Vocabulary::EMPTY
};

/// A response of any of the three, as far as the judge looks.
#[derive(Default)]
pub(super) struct Response<'a> {
    error: Said,
    finish_reason: Reason<'a>,
    /// Of version 2.
    message: Option<Message<'a>>,
    /// Of version 1.
    text: Text<'a>,
    /// Of version 1, with parameters that are objects.
    tool_calls: Said,
    /// By their type: `float`, `int8`, `base64` and so on; of version 1, a list where no type was
    /// asked for.
    embeddings: Option<Embeddings>,
}

read_members!(Response<'a>: error, finish_reason, message, text, tool_calls, embeddings);

#[derive(Default)]
struct Message<'a> {
    content: Vec<Block<'a>>,
    tool_calls: Vec<ToolCall<'a>>,
}

read_members!(Message<'a>: content, tool_calls);

/// A part of a message's content, or what an event adds to it.
#[derive(Default)]
pub(super) struct Block<'a> {
    pub(super) text: Text<'a>,
    thinking: Text<'a>,
    r#type: BlockType,
}

read_members!(Block<'a>: text, thinking, r#type as "type");

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum BlockType {
    #[default]
    Text,
    Thinking,
    Other,
}

read_word!(BlockType, BlockType::Text, |word| match word {
    "text" => BlockType::Text,
    "thinking" => BlockType::Thinking,
    _ => BlockType::Other,
});

impl Block<'_> {
    pub(super) fn says(&self) -> bool {
        self.text.is_said() || self.r#type == BlockType::Other
    }
}

#[derive(Default)]
pub(super) struct ToolCall<'a> {
    pub(super) function: Function<'a>,
}

read_members!(ToolCall<'a>: function);

#[derive(Default)]
pub(super) struct Function<'a> {
    /// JSON text.
    pub(super) arguments: Text<'a>,
}

read_members!(Function<'a>: arguments);

impl<'a> Response<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, NotWhole> {
        scan::parse_object(json)
    }

    pub(super) fn judge(&self, expected: u32, words: &FinishWords) -> Result<Verdict, NotWhole> {
        if self.error.0 {
            return Err(NotWhole::Error);
        }
        if let Some(embeddings) = &self.embeddings {
            return embeddings.judge(expected);
        }
        // `{"detail": ...}`, say. An error of Cohere's is `{"message": "..."}`.
        if self.message.is_none() && self.text.as_str().is_none() && !self.tool_calls.0 {
            return Err(NotWhole::Malformed);
        }
        let finish = self.finish_reason.finish(&FINISH_REASONS, words)?;
        let says = if let Some(message) = &self.message {
            for call in &message.tool_calls {
                arguments::check(call.function.arguments.as_str().unwrap_or_default())?;
            }
            let is_bare = message.content.is_empty() && message.tool_calls.is_empty();
            if is_bare && finish.is_none() {
                return Err(NotWhole::Malformed);
            }
            message.content.iter().any(Block::says) || !message.tool_calls.is_empty()
        } else {
            self.text.is_said() || self.tool_calls.0
        };
        Ok(Verdict::ended_by(finish, !says))
    }
}

pub(in crate::llm) fn judge(
    json: &[u8],
    expected: u32,
    words: &FinishWords,
) -> Result<Verdict, NotWhole> {
    Response::parse(json)?.judge(expected, words)
}

/// The embeddings of each type.
#[derive(Default)]
pub(in crate::llm) struct Embeddings(Vec<Listed>);

impl<'a> Read<'a> for Embeddings {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.peek() == Some(b'[') {
            let mut list = Listed::default();
            list.read(json)?;
            self.0.push(list);
            return Ok(());
        }
        json.each_member(&mut |_, json| {
            let mut of_type = None::<Listed>;
            of_type.read(json)?;
            self.0.extend(of_type);
            Ok(())
        })
    }
}

impl Embeddings {
    /// There is one of each type for each input.
    pub(in crate::llm) fn judge(&self, expected: u32) -> Result<Verdict, NotWhole> {
        let is_expected = |of_type: &Listed| u32::try_from(of_type.length) == Ok(expected);
        if self.0.is_empty() || !self.0.iter().all(is_expected) {
            return Err(NotWhole::Choices);
        }
        Ok(Verdict::complete(
            !self.0.iter().all(|of_type| of_type.all_said),
        ))
    }
}
