//! Setting the counts of tokens that an answer reports to zero.

use memchr::{memchr2, memmem};
use serde_json::Value;

use super::Lossy;

/// The JSON answer with the numbers zero in the objects that these JSON pointers (RFC 6901) lead
/// to, as it came where there are none.
///
/// # Errors
/// If it is not JSON.
pub(super) fn zero_document(json: &[u8], usages: &[&str]) -> Result<Vec<u8>, Lossy> {
    Ok(zero_json(json, usages)?.unwrap_or_else(|| json.to_vec()))
}

/// The event stream with the numbers zero in the objects that these JSON pointers lead to in the
/// data of its events. Events where there are none, and all lines that are not data, stay byte
/// for byte.
///
/// # Errors
/// If the data of an event that may hold one is not JSON.
pub(super) fn zero_events(stream: &[u8], usages: &[&str]) -> Result<Vec<u8>, Lossy> {
    let mut out = Vec::with_capacity(stream.len());
    let mut rest = stream;
    while let Some((event, tail)) = split_event(rest) {
        let data = Line::all(event).filter_map(Line::data);
        let data = data.collect::<Vec<_>>().join(&b'\n');
        let zeroed = match memmem::find(&data, b"usage") {
            Some(_) => zero_json(&data, usages)?,
            None => None,
        };
        match zeroed {
            Some(zeroed) => write_event(&mut out, event, &zeroed),
            None => out.extend_from_slice(event),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    Ok(out)
}

/// `None` where nothing changes.
fn zero_json(json: &[u8], usages: &[&str]) -> Result<Option<Vec<u8>>, Lossy> {
    let mut value: Value = serde_json::from_slice(json).map_err(|_| Lossy::Malformed)?;
    let mut changed = false;
    for usage in usages {
        if let Some(usage) = value.pointer_mut(usage) {
            changed |= zero(usage);
        }
    }
    if !changed {
        return Ok(None);
    }
    serde_json::to_vec(&value)
        .map(Some)
        .map_err(|_| Lossy::Malformed)
}

/// Sets the numbers in a usage object to zero, whatever they count: tokens, requests, costs. Only
/// durations stay, which Groq puts there. Whether any changed.
fn zero(usage: &mut Value) -> bool {
    match usage {
        Value::Object(members) => members
            .iter_mut()
            .filter(|(name, _)| !is_duration(name))
            .fold(false, |changed, (_, value)| zero(value) | changed),
        Value::Array(elements) => elements
            .iter_mut()
            .fold(false, |changed, value| zero(value) | changed),
        Value::Number(number) if number.as_f64() != Some(0.0) => {
            *usage = Value::from(0);
            true
        }
        _ => false,
    }
}

fn is_duration(name: &str) -> bool {
    ["_time", "_duration", "_ms", "latency"]
        .into_iter()
        .any(|end| name.ends_with(end))
}

/// Writes the event with other data, in the place of its first line of data.
fn write_event(out: &mut Vec<u8>, event: &[u8], data: &[u8]) {
    let mut data = Some(data);
    for line in Line::all(event) {
        if line.data().is_none() {
            out.extend_from_slice(line.text);
            out.extend_from_slice(line.end);
        } else if let Some(data) = data.take() {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(data);
            out.extend_from_slice(line.end);
        }
    }
}

/// Splits a stream after its first blank line.
fn split_event(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for line in Line::all(stream) {
        length = length
            .saturating_add(line.text.len())
            .saturating_add(line.end.len());
        if line.text.is_empty() {
            return stream.split_at_checked(length);
        }
    }
    None
}

/// A line of an event stream. Source: WHATWG HTML, 9.2.5.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a [u8],
    /// CR, LF, CR LF, or nothing at the end of the stream.
    end: &'a [u8],
}

impl<'a> Line<'a> {
    fn all(mut rest: &'a [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let length = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (text, tail) = rest.split_at_checked(length)?;
            let end = match tail {
                [b'\r', b'\n', ..] => 2,
                [] => 0,
                _ => 1,
            };
            let (end, tail) = tail.split_at_checked(end)?;
            rest = tail;
            Some(Self { text, end })
        })
    }

    /// The value of a `data` line. A byte order mark can only stand before the first line.
    fn data(self) -> Option<&'a [u8]> {
        let line = self.text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(self.text);
        let value = line.strip_prefix(b"data")?;
        if value.is_empty() {
            return Some(value);
        }
        let value = value.strip_prefix(b":")?;
        Some(value.strip_prefix(b" ").unwrap_or(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeroed(stream: &str) -> String {
        String::from_utf8(zero_events(stream.as_bytes(), &["/usage", "/a/usage"]).unwrap()).unwrap()
    }

    #[test]
    fn every_count_and_cost_becomes_zero_and_durations_stay() {
        let json = r#"{"id":7,"usage":{"a_tokens":12,"cost":0.00012,"own_key":false,"total_time":1.50,"details":{"cached":3,"none":null},"by":[{"n":4}]}}"#;
        let zero = r#"{"id":7,"usage":{"a_tokens":0,"cost":0,"own_key":false,"total_time":1.50,"details":{"cached":0,"none":null},"by":[{"n":0}]}}"#;
        let zeroed = zero_document(json.as_bytes(), &["/usage"]).unwrap();
        assert_eq!(String::from_utf8(zeroed).unwrap(), zero);
    }

    #[test]
    fn an_answer_without_counts_stays_as_it_came() {
        for json in [
            r#" { "usage" : null } "#,
            r#"{"usage":{"total":0,"cost":0.0}}"#,
            "[1]",
        ] {
            let zeroed = zero_document(json.as_bytes(), &["/usage"]).unwrap();
            assert_eq!(zeroed, json.as_bytes());
        }
        assert_eq!(zero_document(b"{", &["/usage"]), Err(Lossy::Malformed));
    }

    #[test]
    fn only_data_with_counts_is_written_anew_in_a_stream() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = [
                ": hello",
                "",
                "data: { \"a\" :  {\"usage\":null}}",
                "event: e",
                "",
                "id: 1",
                "data: {\"a\":{\"usage\":{\"n\":3}},",
                "data:  \"b\": 1.0}",
                "event: last",
                "",
                "data",
                "",
                "data: [DONE]",
                "",
                "",
                "data: {\"usage\":{\"n\":5}}",
            ]
            .join(end);
            let expected = stream
                .replace("\"n\":3}},", "\"n\":0}},\"b\":1.0}")
                .replace(&format!("{end}data:  \"b\": 1.0}}"), "");
            assert_eq!(zeroed(&stream), expected);
        }
        assert_eq!(
            zeroed("\u{feff}data: {\"usage\":{\"n\":3}}\n\n"),
            "data: {\"usage\":{\"n\":0}}\n\n"
        );
    }
}
