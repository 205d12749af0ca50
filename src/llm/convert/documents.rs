//! Stored answers as the JSON documents that they consist of, for conversions between forms.
//!
//! Everything here takes any bytes: what is stored was judged whole, but a foreign store may hold
//! something else.

use memchr::memchr;

use super::tree::{self, Object, push_json};
use super::{ConversionError, events};
use crate::json::Elements;
use crate::llm::Framing;
use crate::llm::judge::DONE;
use crate::ndjson;

/// The JSON objects of an answer, in order; without `[DONE]`.
///
/// # Errors
/// If it is not in that framing, or a document is not an object.
pub(crate) fn objects(answer: &[u8], framing: Framing) -> Result<Vec<Object>, ConversionError> {
    let mut objects = Vec::new();
    match framing {
        Framing::Json => objects.push(tree::parse(answer)),
        Framing::Sse => events::objects(answer, &mut |object| {
            objects.push(Ok(object));
            Ok(())
        })?,
        Framing::Ndjson => {
            let mut parser = ndjson::Parser::new();
            parser.feed(answer, |line| objects.push(tree::parse(line)));
            or_malformed(!parser.finish().pending)?;
        }
        Framing::JsonArray => {
            let mut elements = Elements::new();
            let fed = elements.feed(answer, |element| objects.push(tree::parse(element)));
            or_malformed(fed.is_ok() && elements.is_ended())?;
        }
        Framing::EventStream => return Err(ConversionError::Unsupported),
    }
    objects.into_iter().collect()
}

/// A stream of these objects, one a line.
///
/// # Errors
/// If an object cannot be written, which does not happen.
pub(crate) fn write_lines(objects: &[Object]) -> Result<Vec<u8>, ConversionError> {
    let mut stream = Vec::new();
    for object in objects {
        push_json(&mut stream, object)?;
        stream.push(b'\n');
    }
    Ok(stream)
}

/// Changes an object, and tells whether it did.
type Change<'c> = &'c mut dyn FnMut(&mut Object) -> bool;

/// A copy of an answer in which `change` was applied to each object. All other bytes stay as they are.
///
/// # Errors
/// As [`objects`].
pub(crate) fn rewrite(
    answer: &[u8],
    framing: Framing,
    change: Change<'_>,
) -> Result<Vec<u8>, ConversionError> {
    let mut out = Vec::with_capacity(answer.len());
    match framing {
        Framing::Json => rewrite_object(answer, &mut out, change)?,
        Framing::Sse => {
            // `edit` takes what it is given, and leaves an event that is cut as it is.
            events::objects(answer, &mut |_| Ok(()))?;
            return events::edit(answer, &mut |data| {
                if data == DONE {
                    return Ok(None);
                }
                let mut members = tree::parse(data)?;
                change(&mut members)
                    .then(|| tree::to_json(&members))
                    .transpose()
            });
        }
        Framing::Ndjson => {
            for line in answer.split_inclusive(|byte| *byte == b'\n') {
                if line.trim_ascii().is_empty() {
                    out.extend_from_slice(line);
                } else {
                    rewrite_object(line, &mut out, change)?;
                }
            }
        }
        Framing::JsonArray => rewrite_elements(answer, &mut out, change)?,
        Framing::EventStream => return Err(ConversionError::Unsupported),
    }
    Ok(out)
}

/// Copies the object that `json` holds, with the white space around it.
fn rewrite_object(
    json: &[u8],
    out: &mut Vec<u8>,
    change: Change<'_>,
) -> Result<(), ConversionError> {
    let mut members = tree::parse(json)?;
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
    change: Change<'_>,
) -> Result<(), ConversionError> {
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
    or_malformed(fed.is_ok() && elements.is_ended())?;
    out.extend_from_slice(rest);
    rewritten
}

fn or_malformed(is_whole: bool) -> Result<(), ConversionError> {
    is_whole.then_some(()).ok_or(ConversionError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::convert::usage::zero;

    fn zero_n(answer: &str, framing: Framing) -> Result<String, ConversionError> {
        let mut change = |object: &mut Object| object.get_mut("n").is_some_and(zero);
        rewrite(answer.as_bytes(), framing, &mut change).map(|out| String::from_utf8(out).unwrap())
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
            assert_eq!(
                zero_n(bad, framing),
                Err(ConversionError::Malformed),
                "{bad}"
            );
            let objects = objects(bad.as_bytes(), framing);
            assert_eq!(objects, Err(ConversionError::Malformed), "{bad}");
        }
    }
}
