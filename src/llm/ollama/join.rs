//! Ollama's lines as one response, and the other way round.
//!
//! The server makes its own responses that are not streams like this (`server/routes.go`): the
//! last line, with the text, thinking, tool calls and log probabilities of all lines.

use serde_json::Value;

use crate::llm::convert::carried::Carried;
use crate::llm::convert::documents;
use crate::llm::convert::tree::{self, Object, is_blank};
use crate::llm::{ConversionError, Framing};

/// # Errors
/// If an unknown member may come in pieces.
pub(super) fn join(stream: &[u8], framing: Framing) -> Result<Vec<u8>, ConversionError> {
    let mut lines = documents::objects(stream, framing)?.into_iter();
    let mut response = lines.next().ok_or(ConversionError::Malformed)?;
    let mut carried = Carried::default();
    take_unknown(&mut carried, &mut response)?;
    for mut line in lines {
        if is_done(&response) {
            return Err(ConversionError::Malformed);
        }
        take_unknown(&mut carried, &mut line)?;
        append(&mut response, line)?;
    }
    if !is_done(&response) {
        return Err(ConversionError::Malformed);
    }
    if let Some(Value::Object(message)) = response.get_mut("message") {
        carried.finish(message)?;
    }
    tree::to_json(&response)
}

/// What comes in pieces: of a chat's message, or of a generation itself.
pub(super) const PIECES: [&str; 4] = ["thinking", "content", "response", "tool_calls"];

/// What every line says again.
pub(super) const EACH_LINE: [&str; 4] = ["model", "remote_model", "remote_host", "created_at"];

pub(super) fn is_done(line: &Object) -> bool {
    line.get("done") == Some(&Value::Bool(true))
}

/// Takes what is not known out of a line's message.
fn take_unknown(carried: &mut Carried, line: &mut Object) -> Result<(), ConversionError> {
    let message = match line.get_mut("message") {
        None | Some(Value::Null) => return Ok(()),
        Some(message) => message.as_object_mut().ok_or(ConversionError::Malformed)?,
    };
    let is_piece = |name: &str| PIECES.contains(&name);
    let says = (message.iter()).any(|(name, value)| is_piece(name) && !is_blank(value));
    let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(message)
        .into_iter()
        .partition(|(name, _)| name == "role" || is_piece(name));
    message.extend(known);
    carried.take(unknown, says)
}

/// Appends what a line, or the message in it, adds.
fn append(into: &mut Object, line: Object) -> Result<(), ConversionError> {
    for (name, value) in line {
        let Some(old) = into.get_mut(&name) else {
            into.insert(name, value);
            continue;
        };
        match (name.as_str(), old, value) {
            (_, _, Value::Null) => {}
            (_, old @ Value::Null, value) => *old = value,
            ("message", Value::Object(old), Value::Object(message)) => append(old, message)?,
            ("thinking" | "content" | "response", Value::String(old), Value::String(text)) => {
                old.push_str(&text);
            }
            ("tool_calls" | "logprobs", Value::Array(old), Value::Array(more)) => old.extend(more),
            ("message" | "thinking" | "content" | "response" | "tool_calls" | "logprobs", ..) => {
                return Err(ConversionError::Malformed);
            }
            // The last line counts, of what is known; a number is no piece of anything.
            (last, old, value) if EACH_LINE.contains(&last) || last == "context" => *old = value,
            (_, old, value @ (Value::Bool(_) | Value::Number(_))) => *old = value,
            (_, old, value) if *old == value || is_blank(&value) => {}
            (_, old, value) if is_blank(old) => *old = value,
            _ => return Err(ConversionError::UnknownMember),
        }
    }
    Ok(())
}
