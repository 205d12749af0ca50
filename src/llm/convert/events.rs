//! Taking stored event streams apart and writing new ones, for the APIs that stream JSON documents
//! as server-sent events.

use memchr::memchr2;
use serde_json::Value;

use super::{ConversionError, tree};
use crate::llm::convert::tree::Object;
use crate::llm::judge::DONE;
use crate::sse;

/// Calls `take` with the object that each event holds, in order, without the end marker.
///
/// # Errors
/// What `take` says, or [`ConversionError::Malformed`] where an event holds anything else, comes after the
/// end marker and is not the usage alone, or is not finished.
pub(crate) fn objects(
    stream: &[u8],
    take: &mut dyn FnMut(Object) -> Result<(), ConversionError>,
) -> Result<(), ConversionError> {
    let mut parser = sse::Parser::new();
    let mut done = false;
    let mut result = Ok(());
    parser.feed(stream, |event| {
        // Some keep connections alive with events that say nothing.
        if result.is_err() || event.data.trim_ascii().is_empty() {
        } else if event.data == DONE {
            done = true;
        } else {
            result = tree::parse(event.data).and_then(|object| match done && !is_usage(&object) {
                true => Err(ConversionError::Malformed),
                false => take(object),
            });
        }
    });
    result?;
    let ending = parser.finish();
    let is_cut = |pending: &sse::Pending| !pending.is(DONE);
    if ending.pending.as_ref().is_some_and(is_cut) || ending.stray_lines > 0 {
        return Err(ConversionError::Malformed);
    }
    Ok(())
}

/// Whether a chunk of a completion reports usage and says nothing: judges take it behind the marker.
fn is_usage(chunk: &Object) -> bool {
    let says_nothing = match chunk.get("choices") {
        None | Some(Value::Null) => true,
        Some(choices) => choices.as_array().is_some_and(Vec::is_empty),
    };
    says_nothing && chunk.get("usage").is_some_and(Value::is_object)
}

/// Writes an event with a name. `data` is as for [`write()`].
pub(crate) fn write_named(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    write_name(out, name);
    write(out, data);
}

/// Writes the name of an event whose data is to follow.
pub(crate) fn write_name(out: &mut Vec<u8>, name: &str) {
    for text in ["event: ", name, "\n"] {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes an event without a name. `data` has no line end in it, as compact JSON has none.
pub(crate) fn write(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Takes the data of an event, and gives some to put in its place.
pub(crate) type Edit<'e> = &'e mut dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, ConversionError>;

/// The same stream with new data in those events for which `edit` gives some; everything else
/// stays byte for byte, comments, names and line ends included. The new data has no line end.
///
/// # Errors
/// What `edit` says.
pub(crate) fn edit(stream: &[u8], edit: Edit<'_>) -> Result<Vec<u8>, ConversionError> {
    let mut out = Vec::with_capacity(stream.len());
    let mut rest = stream;
    let mut lines = Vec::new();
    while let Some((line, tail)) = split_line(rest) {
        rest = tail;
        let blank = line.text.is_empty();
        lines.push(line);
        if blank {
            edit_event(&mut out, &lines, edit)?;
            lines.clear();
        }
    }
    // Without its blank line, an event does not count.
    lines.iter().for_each(|line| line.write(&mut out));
    out.extend_from_slice(rest);
    Ok(out)
}

fn edit_event(
    out: &mut Vec<u8>,
    lines: &[Line<'_>],
    edit: Edit<'_>,
) -> Result<(), ConversionError> {
    let values: Vec<_> = lines.iter().filter_map(Line::data).collect();
    let mut new = match values.as_slice() {
        [] => None,
        [value] if value.trim_ascii().is_empty() => None,
        [value] => edit(value)?,
        several => edit(&several.join(&b'\n'))?,
    };
    let changed = new.is_some();
    for line in lines {
        if !changed || line.data().is_none() {
            line.write(out);
        } else if let Some(data) = new.take() {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&data);
            out.extend_from_slice(line.end);
        }
    }
    Ok(())
}

struct Line<'s> {
    text: &'s [u8],
    end: &'s [u8],
}

impl<'s> Line<'s> {
    /// The value of a `data` field.
    fn data(&self) -> Option<&'s [u8]> {
        let after = self.text.strip_prefix(b"data")?;
        match after.strip_prefix(b":") {
            Some(value) => Some(value.strip_prefix(b" ").unwrap_or(value)),
            None if after.is_empty() => Some(b""),
            None => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text);
        out.extend_from_slice(self.end);
    }
}

fn split_line(bytes: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let (text, rest) = bytes.split_at_checked(memchr2(b'\r', b'\n', bytes)?)?;
    let length = if rest.starts_with(b"\r\n") { 2 } else { 1 };
    let (end, rest) = rest.split_at_checked(length)?;
    Some((Line { text, end }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(data: &[u8]) -> Result<Option<Vec<u8>>, ConversionError> {
        Ok(data.ends_with(b"x").then(|| b"NEW".to_vec()))
    }

    #[test]
    fn only_events_with_new_data_change() {
        for (stream, expected) in [
            ("data: x\n\ndata:y\n\n", "data: NEW\n\ndata:y\n\n"),
            (
                ": c\nevent: e\ndata:x\nid: 1\n\n",
                ": c\nevent: e\ndata: NEW\nid: 1\n\n",
            ),
            (
                "data: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n",
                "data: NEW\r\n\r\ndata: y\r\n\r\n",
            ),
            ("data: x\r\rdata\r\r", "data: NEW\r\rdata\r\r"),
            ("data: x\n", "data: x\n"),
            ("data: x", "data: x"),
            ("datax: x\n\n", "datax: x\n\n"),
            ("", ""),
        ] {
            let edited = edit(stream.as_bytes(), &mut marked).unwrap();
            assert_eq!(String::from_utf8(edited).unwrap(), expected, "{stream:?}");
        }
    }

    #[test]
    fn what_is_not_an_object_per_event_is_malformed() {
        let count = |stream: &str| {
            let mut count = 0;
            let mut take = |_| {
                count += 1;
                Ok(())
            };
            objects(stream.as_bytes(), &mut take).map(|()| count)
        };
        assert_eq!(
            count("data: {}\n\n: c\n\ndata: {\ndata: }\n\ndata: [DONE]\n\n"),
            Ok(2)
        );
        let usage = "data: [DONE]\n\ndata: {\"choices\":[],\"usage\":{}}\n\n";
        assert_eq!(count(usage), Ok(1));
        for malformed in [
            "data: 1\n\n",
            "data: {\n\n",
            "data: {}",
            "data: {}\n",
            "oops: {}\n\n",
            "data: [DONE]\n\ndata: {}\n\n",
            "data: [DONE]\n\ndata: {\"choices\":[{}],\"usage\":{}}\n\n",
        ] {
            assert_eq!(
                count(malformed),
                Err(ConversionError::Malformed),
                "{malformed}"
            );
        }
    }
}
