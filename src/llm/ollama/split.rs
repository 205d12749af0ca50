//! The lines that a response could have come in.

use serde_json::Value;

use super::join::{EACH_LINE, PIECES, is_done};
use crate::llm::convert::documents;
use crate::llm::convert::tree::{self, Object, object_of_some, set, set_some};
use crate::llm::{ConversionError, Framing};

/// A line for the thinking, one for the text, one for the tool calls, as far as there are any, and
/// the last one with all the rest.
///
/// # Errors
/// If it is not the response of a server, or not done.
pub(super) fn split(json: &[u8], framing: Framing) -> Result<Vec<u8>, ConversionError> {
    if framing != Framing::Ndjson {
        return Err(ConversionError::Unsupported);
    }
    let mut last = tree::parse(json)?;
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
    documents::write_lines(&lines)
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
        let mut last = tree::parse(br#"{"response":"a","thinking":"b","done":true}"#).unwrap();
        assert!(take_piece(&mut last, "thinking").is_some());
        assert!(take_piece(&mut last, "response").is_some());
        let rest = tree::parse(br#"{"response":"","done":true}"#).unwrap();
        assert_eq!(last, rest);
    }
}
