//! The answer of `Converse` that a stream of `ConverseStream` comes to.

use serde_json::Value;

use super::judge::MAX_BLOCKS;
use crate::llm::ConversionError;
use crate::llm::convert::tree::{
    self, Object, in_order, nothing_else, object, take_count, take_object, take_string,
};

/// An answer on its way, event by event.
#[derive(Default)]
pub(in crate::llm::bedrock) struct Assembly {
    role: Option<Value>,
    blocks: Vec<(u64, Block)>,
    /// What `messageStop` and `metadata` say: members of the answer itself.
    ends: Object,
    has_metadata: bool,
}

/// A content block, by what its deltas are.
enum Block {
    Text {
        text: String,
        citations: Vec<Value>,
    },
    ToolUse {
        start: Object,
        input: String,
    },
    Reasoning {
        text: String,
        signature: Option<String>,
    },
    Redacted(String),
}

impl Assembly {
    /// Takes the next event.
    ///
    /// # Errors
    /// If the conversion would lose or invent something.
    pub(in crate::llm::bedrock) fn take(
        &mut self,
        event: &str,
        mut payload: Object,
    ) -> Result<(), ConversionError> {
        super::super::drop_padding(&mut payload);
        match event {
            "messageStart" if self.role.is_none() => {
                self.role = Some(payload.remove("role").ok_or(ConversionError::Malformed)?);
            }
            "contentBlockStart" => {
                let index = take_count(&mut payload, INDEX)?;
                let mut start = take_object(&mut payload, "start")?;
                // Images and the results of tools that the provider runs come in pieces, too.
                let tool =
                    take_object(&mut start, "toolUse").map_err(|_| ConversionError::Content)?;
                nothing_else(&start)?;
                let block = Block::ToolUse {
                    start: tool,
                    input: String::new(),
                };
                self.open(index, block)?;
            }
            "contentBlockDelta" => {
                let index = take_count(&mut payload, INDEX)?;
                let delta = take_object(&mut payload, "delta")?;
                self.extend_block(index, delta)?;
            }
            "contentBlockStop" => {
                let index = take_count(&mut payload, INDEX)?;
                // An empty text or no block at all.
                self.block(index).ok_or(ConversionError::Content)?;
            }
            "messageStop" => self.end(std::mem::take(&mut payload))?,
            "metadata" if !self.has_metadata => {
                self.has_metadata = true;
                self.end(std::mem::take(&mut payload))?;
            }
            "messageStart" | "metadata" => return Err(ConversionError::Malformed),
            _ => return Err(ConversionError::UnknownMember),
        }
        nothing_else(&payload)
    }

    /// Takes members of the answer itself, each of which comes once.
    fn end(&mut self, payload: Object) -> Result<(), ConversionError> {
        for (name, value) in payload {
            if self
                .ends
                .get(&name)
                .is_some_and(|earlier| *earlier != value)
            {
                return Err(ConversionError::UnknownMember);
            }
            self.ends.insert(name, value);
        }
        Ok(())
    }

    /// The answer, if its last event has come.
    ///
    /// # Errors
    /// What it lacks.
    pub(in crate::llm::bedrock) fn finish(self) -> Result<Object, ConversionError> {
        let role = self.role.ok_or(ConversionError::Malformed)?;
        if !self.ends.get("stopReason").is_some_and(Value::is_string) || !self.has_metadata {
            return Err(ConversionError::Malformed);
        }
        if !self.ends.get("usage").is_some_and(Value::is_object) {
            return Err(ConversionError::NoUsage);
        }
        if self.ends.contains_key("output") {
            return Err(ConversionError::UnknownMember);
        }
        let mut content = Vec::new();
        for (index, block) in self.blocks {
            content.push((index, block.finish()?));
        }
        let content = Value::Array(in_order(content));
        let message = object([("role", role), ("content", content)]);
        let output = object([("message", Value::Object(message))]);
        let mut answer = object([("output", Value::Object(output))]);
        answer.extend(self.ends);
        Ok(answer)
    }

    fn block(&mut self, index: u64) -> Option<&mut Block> {
        let mut blocks = self.blocks.iter_mut().rev();
        blocks.find(|(at, _)| *at == index).map(|(_, block)| block)
    }

    fn open(&mut self, index: u64, block: Block) -> Result<(), ConversionError> {
        if self.block(index).is_some() || self.blocks.len() >= MAX_BLOCKS {
            return Err(ConversionError::Malformed);
        }
        self.blocks.push((index, block));
        Ok(())
    }

    fn extend_block(&mut self, index: u64, mut delta: Object) -> Result<(), ConversionError> {
        let (name, value) = match delta.iter().next() {
            Some((name, _)) if delta.len() == 1 => {
                let name = name.clone();
                let value = delta.remove(&name).ok_or(ConversionError::Malformed)?;
                (name, value)
            }
            _ => return Err(ConversionError::UnknownMember),
        };
        if self.block(index).is_none() {
            self.open(index, Block::opened_by(&name, &value)?)?;
        }
        let block = self.block(index).ok_or(ConversionError::Malformed)?;
        block.extend(&name, value)
    }
}

impl Block {
    /// The block that has such a delta first, and no start.
    fn opened_by(name: &str, value: &Value) -> Result<Self, ConversionError> {
        match name {
            "text" | "citation" => Ok(Self::Text {
                text: String::new(),
                citations: Vec::new(),
            }),
            "reasoningContent" if value.get("redactedContent").is_some() => {
                Ok(Self::Redacted(String::new()))
            }
            "reasoningContent" => Ok(Self::Reasoning {
                text: String::new(),
                signature: None,
            }),
            "toolUse" => Err(ConversionError::Malformed),
            _ => Err(ConversionError::Content),
        }
    }

    fn extend(&mut self, name: &str, value: Value) -> Result<(), ConversionError> {
        match (self, name, value) {
            (Self::Text { text, .. }, "text", Value::String(more)) => text.push_str(&more),
            (Self::Text { citations, .. }, "citation", citation) => citations.push(citation),
            (Self::ToolUse { input, .. }, "toolUse", Value::Object(mut call)) => {
                input.push_str(&take_string(&mut call, "input")?);
                return nothing_else(&call);
            }
            (Self::Reasoning { text, signature }, "reasoningContent", Value::Object(mut part)) => {
                if part.contains_key("text") {
                    text.push_str(&take_string(&mut part, "text")?);
                }
                if part.contains_key("signature") {
                    // In pieces or again: which, nothing tells.
                    let new = take_string(&mut part, "signature")?;
                    if signature.replace(new).is_some() {
                        return Err(ConversionError::Content);
                    }
                }
                return nothing_else(&part);
            }
            (Self::Redacted(content), "reasoningContent", Value::Object(mut part)) => {
                // Base64 that is cut anywhere cannot be put together again as text.
                if !content.is_empty() {
                    return Err(ConversionError::Content);
                }
                *content = take_string(&mut part, "redactedContent")?;
                return nothing_else(&part);
            }
            _ => return Err(ConversionError::Content),
        }
        Ok(())
    }

    fn finish(self) -> Result<Value, ConversionError> {
        let block = match self {
            Self::Text { text, citations } if citations.is_empty() => {
                object([("text", Value::String(text))])
            }
            Self::Text { text, citations } => {
                let text = object([("text", Value::String(text))]);
                let cited = object([
                    ("content", Value::Array(vec![Value::Object(text)])),
                    ("citations", Value::Array(citations)),
                ]);
                object([("citationsContent", Value::Object(cited))])
            }
            Self::ToolUse { mut start, input } => {
                let input = if input.is_empty() { "{}" } else { &input };
                let input = tree::parse(input.as_bytes())?;
                if start.contains_key("input") {
                    return Err(ConversionError::Malformed);
                }
                start.insert("input".to_owned(), Value::Object(input));
                object([("toolUse", Value::Object(start))])
            }
            Self::Reasoning { text, signature } => {
                let mut reasoning = object([("text", Value::String(text))]);
                if let Some(signature) = signature {
                    reasoning.insert("signature".to_owned(), Value::String(signature));
                }
                let reasoning = object([("reasoningText", Value::Object(reasoning))]);
                object([("reasoningContent", Value::Object(reasoning))])
            }
            Self::Redacted(content) => {
                let reasoning = object([("redactedContent", Value::String(content))]);
                object([("reasoningContent", Value::Object(reasoning))])
            }
        };
        Ok(Value::Object(block))
    }
}

const INDEX: &str = "contentBlockIndex";
