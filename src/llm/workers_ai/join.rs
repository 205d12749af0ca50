//! Workers AI's answers from one form to the other.
//!
//! Tool calls of models that do not answer with chat completions are declined: whole answers have
//! `{name, arguments}` with an object, streams pieces in OpenAI's shape.

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::carried::Carried;
use crate::llm::convert::events;
use crate::llm::convert::tree::{self, Object, is_blank, object, set};
use crate::llm::openai_chat::{Shape, join as chat_join};

/// The JSON answer that a stream makes.
pub(super) fn join(stream: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let result = if is_completion(stream)? {
        chat_join::join(stream, Shape::Chat)?
    } else {
        join_pieces(stream)?
    };
    let mut envelope = bare_envelope();
    set(&mut envelope, "result", result.into());
    tree::to_json(&envelope)
}

/// What is around the result of an answer.
pub(super) fn bare_envelope() -> Object {
    object([
        ("success", true.into()),
        ("errors", Value::Array(Vec::new())),
        ("messages", Value::Array(Vec::new())),
    ])
}

/// Whether a stream is one of chunks of a chat completion.
fn is_completion(stream: &[u8]) -> Result<bool, ConversionError> {
    let mut has_choices = false;
    events::objects(stream, &mut |piece| {
        has_choices |= piece.contains_key("choices");
        Ok(())
    })?;
    Ok(has_choices)
}

/// Whether a stream reports usage.
pub(super) fn has_usage(stream: &[u8]) -> Result<bool, ConversionError> {
    let mut has_usage = false;
    events::objects(stream, &mut |piece| {
        has_usage |= piece.get("usage").is_some_and(|usage| !usage.is_null());
        Ok(())
    })?;
    Ok(has_usage)
}

fn join_pieces(stream: &[u8]) -> Result<Object, ConversionError> {
    let mut response = String::new();
    let mut usage = Value::Null;
    let mut rest = Object::new();
    let mut carried = Carried::default();
    events::objects(stream, &mut |piece| {
        let says = piece.get("response").is_some_and(|text| !is_blank(text));
        let mut unknown = Vec::new();
        for (name, value) in piece {
            match (name.as_str(), value) {
                ("p", _) | ("response", Value::Null) => {}
                ("response", Value::String(text)) => response.push_str(&text),
                // A piece that looks like a number comes as one: its white space is lost.
                ("response", _) => return Err(ConversionError::Content),
                ("usage", Value::Null) => {}
                ("usage", value) => usage = value,
                ("finish_reason", value @ (Value::Null | Value::String(_))) => {
                    if value.is_string() || !rest.contains_key(&name) {
                        rest.insert(name, value);
                    }
                }
                ("tool_calls", Value::Null) => {}
                ("tool_calls", Value::Array(calls)) if calls.is_empty() => {
                    rest.insert(name, calls.into());
                }
                ("tool_calls", _) => return Err(ConversionError::Content),
                ("finish_reason", _) => return Err(ConversionError::UnknownMember),
                (_, value) => unknown.push((name, value)),
            }
        }
        carried.take(unknown, says)
    })?;
    if usage.is_null() {
        return Err(ConversionError::NoUsage);
    }
    let mut result = object([("response", response.into()), ("usage", usage)]);
    result.extend(rest);
    carried.finish(&mut result)?;
    Ok(result)
}
