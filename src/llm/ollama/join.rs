//! Ollama's lines as one response, and the other way round.
//!
//! The server makes its own responses that are not streams like this (`server/routes.go`): the
//! last line, with the text, thinking, tool calls and log probabilities of all lines.

use serde_json::Value;

use super::super::carried::Carried;
use super::super::documents::{self, Object, push_json};
use super::super::members::{is_blank, object_of_some, set, set_some};
use super::super::{ConversionError, Framing};

/// # Errors
/// If something may come in pieces of which it is not known how they add up.
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
    let mut json = Vec::new();
    push_json(&mut json, &response)?;
    Ok(json)
}

/// A line for the thinking, one for the text, one for the tool calls, as far as there are any, and
/// the last one with all the rest.
///
/// # Errors
/// If it is not the response of a server, or not done.
pub(super) fn split(json: &[u8], framing: Framing) -> Result<Vec<u8>, ConversionError> {
    if framing != Framing::Ndjson {
        return Err(ConversionError::Unsupported);
    }
    let mut last = documents::object(json)?;
    if !matches!(
        last.get("message"),
        None | Some(Value::Null | Value::Object(_))
    ) {
        return Err(ConversionError::Malformed);
    }
    if !is_done(&last) {
        return Err(ConversionError::Malformed);
    }
    let mut lines = Vec::new();
    for name in PIECES {
        lines.extend(take_piece(&mut last, name));
    }
    if let Some(line) = lines.last_mut()
        && let Some(logprobs) = last.remove("logprobs")
    {
        set(line, "logprobs", logprobs);
    }
    lines.push(last);
    let mut stream = Vec::new();
    for line in &lines {
        push_json(&mut stream, line)?;
        stream.push(b'\n');
    }
    Ok(stream)
}

/// What comes in pieces: of a chat's message, or of a generation itself.
const PIECES: [&str; 4] = ["thinking", "content", "response", "tool_calls"];

/// What every line says again.
const EACH_LINE: [&str; 4] = ["model", "remote_model", "remote_host", "created_at"];

fn is_done(line: &Object) -> bool {
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
            (known, old, value) if EACH_LINE.contains(&known) || known == "context" => *old = value,
            (_, old, value @ (Value::Bool(_) | Value::Number(_))) => *old = value,
            (_, old, value) if *old == value || is_blank(&value) => {}
            (_, old, value) if is_blank(old) => *old = value,
            _ => return Err(ConversionError::UnknownMember),
        }
    }
    Ok(())
}

/// A line with one of [`PIECES`], which is taken out of the last line, if it says anything.
fn take_piece(last: &mut Object, name: &str) -> Option<Object> {
    let mut line = object_of_some(EACH_LINE.map(|name| (name, last.get(name).cloned())));
    if let Some(piece) = take_said(last, name) {
        set_some(&mut line, "response", empty_text(last, "response"));
        set(&mut line, name, piece);
    } else {
        let message = last.get_mut("message")?.as_object_mut()?;
        let piece = take_said(message, name)?;
        let small = object_of_some([
            ("role", message.get("role").cloned()),
            ("content", empty_text(message, "content")),
            (name, Some(piece)),
        ]);
        set(&mut line, "message", Value::Object(small));
    }
    set(&mut line, "done", Value::Bool(false));
    Some(line)
}

/// The server sends the text with every line, empty where there is only something else.
fn empty_text(object: &Object, name: &str) -> Option<Value> {
    let is_text = object.get(name)?.is_string();
    is_text.then(|| "".into())
}

/// The last line keeps an empty text, as the server sends it.
fn take_said(object: &mut Object, name: &str) -> Option<Value> {
    match object.get_mut(name)? {
        Value::String(text) if !text.is_empty() => {
            let text = std::mem::take(text);
            if name == "thinking" {
                object.remove(name);
            }
            Some(Value::String(text))
        }
        Value::Array(list) if !list.is_empty() => object.remove(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_leaves_what_the_server_would_send_last() {
        let mut last =
            documents::object(br#"{"response":"a","thinking":"b","done":true}"#).unwrap();
        assert!(take_piece(&mut last, "thinking").is_some());
        assert!(take_piece(&mut last, "response").is_some());
        let rest = documents::object(br#"{"response":"","done":true}"#).unwrap();
        assert_eq!(last, rest);
    }
}
