//! The stream that an answer could have come in.

use serde_json::Value;

use super::join::bare_envelope;
use crate::llm::convert::events;
use crate::llm::convert::tree::{self, Object, object};
use crate::llm::judge::DONE;
use crate::llm::openai_chat::{Shape, split as chat_split};
use crate::llm::{ConversionError, Form};

/// A stream that could have come instead of a JSON answer. Workers AI sends its usage unasked.
pub(super) fn split(
    json: &[u8],
    wanted: &Form,
    max_bytes: usize,
) -> Result<Vec<u8>, ConversionError> {
    let mut envelope = tree::parse(json)?;
    let Some(Value::Object(result)) = envelope.remove("result") else {
        return Err(ConversionError::Malformed);
    };
    // A stream has no place for anything else.
    if envelope != bare_envelope() {
        return Err(ConversionError::UnknownMember);
    }
    if result.contains_key("choices") {
        let with_usage = Form::new(wanted.framing, br#"{"include_usage":true}"#);
        return chat_split::split(result, Shape::Chat, &with_usage, max_bytes);
    }
    split_pieces(result)
}

fn split_pieces(mut result: Object) -> Result<Vec<u8>, ConversionError> {
    let Some(response @ Value::String(_)) = result.remove("response") else {
        return Err(ConversionError::Content);
    };
    if result.get("usage").is_none_or(Value::is_null) {
        return Err(ConversionError::NoUsage);
    }
    for (name, value) in &result {
        match (name.as_str(), value) {
            ("usage", _) | ("finish_reason", Value::Null | Value::String(_)) => {}
            ("tool_calls", Value::Array(calls)) if calls.is_empty() => {}
            ("tool_calls", _) => return Err(ConversionError::Content),
            ("finish_reason" | "p", _) => return Err(ConversionError::UnknownMember),
            // An unknown member comes once.
            _ => {}
        }
    }
    let mut last = object([("response", "".into())]);
    last.extend(result);
    let mut out = Vec::new();
    events::write(&mut out, &tree::to_json(&object([("response", response)]))?);
    events::write(&mut out, &tree::to_json(&last)?);
    events::write(&mut out, DONE);
    Ok(out)
}
