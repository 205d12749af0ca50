//! Stored answers as the JSON documents that they consist of, for conversions between forms.
//!
//! Everything here takes any bytes: what is stored was judged whole, but a foreign store may hold
//! something else.

use memchr::{memchr, memchr2};
use serde_json::{Map, Value};

use super::{Framing, Lossy};
use crate::json::Elements;
use crate::{ndjson, sse};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// The JSON objects of an answer, in order; without `[DONE]`.
///
/// # Errors
/// If it is not in that framing, or a document is not an object.
pub(super) fn objects(answer: &[u8], framing: Framing) -> Result<Vec<Object>, Lossy> {
    let mut objects = Vec::new();
    let mut take = |json: &[u8]| {
        objects.push(object(json));
    };
    match framing {
        Framing::Json => take(answer),
        Framing::Sse => {
            let mut parser = sse::Parser::new();
            parser.feed(answer, |event| {
                if event.data != DONE {
                    take(event.data);
                }
            });
            let ending = parser.finish();
            whole(ending.pending.is_none() && ending.stray_lines == 0)?;
        }
        Framing::Ndjson => {
            let mut parser = ndjson::Parser::new();
            parser.feed(answer, take);
            whole(!parser.finish().pending)?;
        }
        Framing::JsonArray => {
            let mut elements = Elements::new();
            let fed = elements.feed(answer, take);
            whole(fed.is_ok() && elements.is_ended())?;
        }
        Framing::EventStream => return Err(Lossy::Unsupported),
    }
    objects.into_iter().collect()
}

/// One JSON object.
pub(super) fn object(json: &[u8]) -> Result<Object, Lossy> {
    serde_json::from_slice(json).map_err(|_| Lossy::Malformed)
}

/// Appends a JSON value.
pub(super) fn push_json(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Lossy> {
    serde_json::to_writer(out, value).map_err(|_| Lossy::Malformed)
}

/// A copy of an answer in which `change` was applied to each object and told whether it changed
/// it. All other bytes stay as they are.
///
/// # Errors
/// As [`objects`].
pub(super) fn rewrite(
    answer: &[u8],
    framing: Framing,
    mut change: impl FnMut(&mut Object) -> bool,
) -> Result<Vec<u8>, Lossy> {
    let mut out = Vec::with_capacity(answer.len());
    match framing {
        Framing::Json => rewrite_object(answer, &mut out, &mut change)?,
        Framing::Sse => rewrite_events(answer, &mut out, &mut change)?,
        Framing::Ndjson => {
            for line in answer.split_inclusive(|byte| *byte == b'\n') {
                if line.trim_ascii().is_empty() {
                    out.extend_from_slice(line);
                } else {
                    rewrite_object(line, &mut out, &mut change)?;
                }
            }
        }
        Framing::JsonArray => rewrite_elements(answer, &mut out, &mut change)?,
        Framing::EventStream => return Err(Lossy::Unsupported),
    }
    Ok(out)
}

/// Sets every number in a value to zero and says whether there was another one.
pub(super) fn zero(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            let changed = *number != 0.into();
            *number = 0.into();
            changed
        }
        Value::Array(values) => values
            .iter_mut()
            .fold(false, |any, value| zero(value) | any),
        Value::Object(members) => members
            .values_mut()
            .fold(false, |any, value| zero(value) | any),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// Copies the object that `json` holds, with the white space around it.
fn rewrite_object(
    json: &[u8],
    out: &mut Vec<u8>,
    change: &mut impl FnMut(&mut Object) -> bool,
) -> Result<(), Lossy> {
    let mut members = object(json)?;
    if !change(&mut members) {
        out.extend_from_slice(json);
        return Ok(());
    }
    let after = json.len().saturating_sub(json.trim_ascii_end().len());
    let before = json.len().saturating_sub(json.trim_ascii_start().len());
    out.extend_from_slice(json.get(..before).unwrap_or_default());
    push_json(out, &members)?;
    let after = json.len().saturating_sub(after);
    out.extend_from_slice(json.get(after..).unwrap_or_default());
    Ok(())
}

fn rewrite_elements(
    array: &[u8],
    out: &mut Vec<u8>,
    change: &mut impl FnMut(&mut Object) -> bool,
) -> Result<(), Lossy> {
    let mut rest = array;
    let mut rewritten = Ok(());
    let mut elements = Elements::new();
    let fed = elements.feed(array, |element| {
        // Between elements there is no brace.
        let start = memchr(b'{', rest).unwrap_or(rest.len());
        let (between, tail) = rest.split_at_checked(start).unwrap_or_default();
        out.extend_from_slice(between);
        rest = tail.get(element.len()..).unwrap_or_default();
        if rewritten.is_ok() {
            rewritten = rewrite_object(element, out, change);
        }
    });
    whole(fed.is_ok() && elements.is_ended())?;
    out.extend_from_slice(rest);
    rewritten
}

/// Reads lines as [`sse::Parser`] does, but keeps all their bytes.
fn rewrite_events(
    stream: &[u8],
    out: &mut Vec<u8>,
    change: &mut impl FnMut(&mut Object) -> bool,
) -> Result<(), Lossy> {
    let mut rest = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    out.extend_from_slice(
        stream
            .get(..stream.len().saturating_sub(rest.len()))
            .unwrap_or_default(),
    );
    let mut event = Vec::new();
    while let Some(line) = Line::split_first(&mut rest) {
        if line.text.is_empty() {
            rewrite_event(&event, out, change)?;
            out.extend_from_slice(line.end);
            event.clear();
        } else {
            event.push(line);
        }
    }
    // An event that is never dispatched, and what has no line end.
    whole(rest.is_empty() && event.iter().all(|line| line.data().is_none()))?;
    for line in &event {
        line.push_to(out);
    }
    Ok(())
}

fn rewrite_event(
    lines: &[Line<'_>],
    out: &mut Vec<u8>,
    change: &mut impl FnMut(&mut Object) -> bool,
) -> Result<(), Lossy> {
    let data: Vec<&[u8]> = lines.iter().filter_map(Line::data).collect();
    let data = data.join(&b'\n');
    let changed = if data.is_empty() || data == DONE {
        None
    } else {
        let mut members = object(&data)?;
        change(&mut members).then_some(members)
    };
    let Some(members) = changed else {
        lines.iter().for_each(|line| line.push_to(out));
        return Ok(());
    };
    let mut written = false;
    for line in lines {
        if line.data().is_none() {
            line.push_to(out);
        } else if !written {
            written = true;
            out.extend_from_slice(b"data: ");
            push_json(out, &members)?;
            out.extend_from_slice(line.end);
        }
    }
    Ok(())
}

/// A line of an event stream.
#[derive(Clone, Copy)]
struct Line<'s> {
    text: &'s [u8],
    /// CR, LF or CR LF.
    end: &'s [u8],
}

impl<'s> Line<'s> {
    fn split_first(rest: &mut &'s [u8]) -> Option<Self> {
        let (text, tail) = rest.split_at_checked(memchr2(b'\r', b'\n', rest)?)?;
        let end = if tail.starts_with(b"\r\n") { 2 } else { 1 };
        let (end, tail) = tail.split_at_checked(end)?;
        *rest = tail;
        Some(Self { text, end })
    }

    fn data(&self) -> Option<&'s [u8]> {
        let value = match self.text.strip_prefix(b"data")? {
            b"" => b"",
            after_name => after_name.strip_prefix(b":")?,
        };
        Some(value.strip_prefix(b" ").unwrap_or(value))
    }

    fn push_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text);
        out.extend_from_slice(self.end);
    }
}

fn whole(is_whole: bool) -> Result<(), Lossy> {
    is_whole.then_some(()).ok_or(Lossy::Malformed)
}

const DONE: &[u8] = b"[DONE]";

#[cfg(test)]
mod tests {
    use super::*;

    fn zero_n(answer: &str, framing: Framing) -> Result<String, Lossy> {
        let change = |object: &mut Object| object.get_mut("n").is_some_and(zero);
        rewrite(answer.as_bytes(), framing, change).map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn only_objects_that_change_are_written_anew() {
        for (framing, before, after) in [
            (
                Framing::Json,
                " { \"n\" : [1, 2.50] }\n",
                " {\"n\":[0,0]}\n",
            ),
            (
                Framing::Json,
                "{ \"m\" : 1.50, \"n\":0 }",
                "{ \"m\" : 1.50, \"n\":0 }",
            ),
            (
                Framing::Ndjson,
                "{ }\r\n\n{\"n\": 1 }\r\n{ \"m\": 1}\n",
                "{ }\r\n\n{\"n\":0}\r\n{ \"m\": 1}\n",
            ),
            (
                Framing::JsonArray,
                "[ { \"m\": [1]}\r\n,\n{\"n\": {\"a\":7}} ,{ } ]\n",
                "[ { \"m\": [1]}\r\n,\n{\"n\":{\"a\":0}} ,{ } ]\n",
            ),
            (Framing::JsonArray, "[ ] ", "[ ] "),
            (
                Framing::Sse,
                ": hi\n\nevent: x\r\ndata:{ \"m\":1 }\r\n\r\nid: 1\rdata: {\"n\":\rdata:1}\r\rdata: [DONE]\n\n",
                ": hi\n\nevent: x\r\ndata:{ \"m\":1 }\r\n\r\nid: 1\rdata: {\"n\":0}\r\rdata: [DONE]\n\n",
            ),
            (
                Framing::Sse,
                "\u{feff}data: {\"n\":1}\n\n:end\n",
                "\u{feff}data: {\"n\":0}\n\n:end\n",
            ),
        ] {
            assert_eq!(zero_n(before, framing).as_deref(), Ok(after));
        }
    }

    #[test]
    fn what_cannot_be_taken_apart_is_malformed() {
        for (framing, bad) in [
            (Framing::Json, "[]"),
            (Framing::Json, ""),
            (Framing::Ndjson, "{}\n{"),
            (Framing::Ndjson, "1\n"),
            (Framing::JsonArray, "[{}"),
            (Framing::JsonArray, "[{]"),
            (Framing::Sse, "data: {}"),
            (Framing::Sse, "data: {}\n"),
            (Framing::Sse, "data: {\n\n"),
        ] {
            assert_eq!(zero_n(bad, framing), Err(Lossy::Malformed), "{bad}");
            let objects = objects(bad.as_bytes(), framing);
            assert_eq!(objects, Err(Lossy::Malformed), "{bad}");
        }
    }

    #[test]
    fn every_number_becomes_zero_and_nothing_else_changes() {
        let mut value = serde_json::json!({"a": [1, {"b": 2.5}], "c": "3", "d": null, "e": true});
        assert!(zero(&mut value));
        let zeroed = serde_json::json!({"a": [0, {"b": 0}], "c": "3", "d": null, "e": true});
        assert_eq!(value, zeroed);
        assert!(!zero(&mut value));
    }
}
