//! What a message says: text, or parts.

use serde_json::{Map, Value};

use super::pieces::{append, keep};
use crate::llm::ConversionError;
use crate::llm::convert::tree::object;

/// What a message says. Mistral's reasoning models send text as strings, and thoughts as arrays
/// of parts, in one stream; the whole message then is an array of parts.
#[derive(Default)]
pub(super) enum Content {
    #[default]
    None,
    Text(String),
    Parts(Vec<Value>),
}

impl Content {
    pub(super) fn take(&mut self, content: Value) -> Result<(), ConversionError> {
        match content {
            Value::Null => Ok(()),
            Value::String(piece) => match self {
                Self::None => {
                    *self = Self::Text(piece);
                    Ok(())
                }
                Self::Text(text) => {
                    text.push_str(&piece);
                    Ok(())
                }
                Self::Parts(parts) => add_text(parts, piece),
            },
            Value::Array(new) => {
                let mut parts = match std::mem::take(self) {
                    Self::None => Vec::new(),
                    Self::Parts(parts) => parts,
                    Self::Text(text) => {
                        let mut parts = Vec::new();
                        add_text(&mut parts, text)?;
                        parts
                    }
                };
                for part in new {
                    add_part(&mut parts, part)?;
                }
                *self = Self::Parts(parts);
                Ok(())
            }
            _ => Err(ConversionError::Malformed),
        }
    }

    pub(super) fn is_said(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether it is this text.
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(self, Self::Text(own) if own == text)
    }

    pub(super) fn finish(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Text(text) => text.into(),
            Self::Parts(parts) => parts.into(),
        }
    }
}

fn add_text(parts: &mut Vec<Value>, text: String) -> Result<(), ConversionError> {
    if text.is_empty() {
        return Ok(());
    }
    let part = object([("type", "text".into()), ("text", text.into())]);
    add_part(parts, part.into())
}

/// Adds a part: to the last one where both are text, or both are thoughts; else after it.
fn add_part(parts: &mut Vec<Value>, part: Value) -> Result<(), ConversionError> {
    // What is among the parts has been looked at.
    let last = parts
        .last_mut()
        .filter(|last| last.get("type") == part.get("type"));
    match (PartKind::of(&part)?, last) {
        (PartKind::Text, Some(last)) => {
            let piece = part.get("text").unwrap_or(&Value::Null);
            let Some(Value::String(text)) = last.get_mut("text") else {
                return Err(ConversionError::Malformed);
            };
            append(text, piece)?;
        }
        (PartKind::Thinking, Some(last)) => {
            let (Some(Value::Array(thoughts)), Value::Object(mut part)) =
                (last.get_mut("thinking"), part)
            else {
                return Err(ConversionError::Malformed);
            };
            let Some(Value::Array(new)) = part.remove("thinking") else {
                return Err(ConversionError::Malformed);
            };
            for thought in new {
                add_part(thoughts, thought)?;
            }
            if let Value::Object(kept) = last {
                for (name, value) in part {
                    keep(kept, name, value, false)?;
                }
            }
        }
        _ => parts.push(part),
    }
    Ok(())
}

/// The parts of a message's content that Mistral has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    /// `{type, text}`.
    Text,
    /// `{type, thinking: [{type: "text", text}], closed}`.
    Thinking,
    /// One that comes whole: a reference to sources.
    Whole,
}

impl PartKind {
    /// # Errors
    /// If the part has an unknown member that may come in pieces.
    pub(super) fn of(part: &Value) -> Result<Self, ConversionError> {
        let kind = part
            .get("type")
            .and_then(Value::as_str)
            .ok_or(ConversionError::Malformed)?;
        let members = part.as_object().map_or(0, Map::len);
        match kind {
            "text" if members == 2 && part.get("text").is_some_and(Value::is_string) => {
                Ok(Self::Text)
            }
            // Mistral says of thoughts whether they are `closed`, with any piece but the first.
            "thinking" => {
                let thoughts = part.get("thinking").and_then(Value::as_array);
                let is_text = |thought: &Value| Self::of(thought) == Ok(Self::Text);
                if thoughts.is_some_and(|thoughts| thoughts.iter().all(is_text)) {
                    Ok(Self::Thinking)
                } else {
                    Err(ConversionError::UnknownMember)
                }
            }
            "reference" | "tool_reference" => Ok(Self::Whole),
            _ => Err(ConversionError::UnknownMember),
        }
    }
}
