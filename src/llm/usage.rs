//! Setting the counts of tokens that an answer reports to zero.

use memchr::memmem;
use serde_json::Value;

use super::{Lossy, events};
use crate::json;

/// The JSON answer with the numbers zero in the objects that these JSON pointers (RFC 6901) lead
/// to, as it came where there are none.
///
/// # Errors
/// If it is not JSON.
pub(super) fn zero_document(json: &[u8], usages: &[&str]) -> Result<Vec<u8>, Lossy> {
    Ok(zeroed(json, usages)?.unwrap_or_else(|| json.to_vec()))
}

/// The event stream with the numbers zero in the objects that these JSON pointers lead to in the
/// data of its events. Events where there are none, and all lines that are not data, stay byte
/// for byte.
///
/// # Errors
/// If the data of an event that may hold one is not JSON.
pub(super) fn zero_events(stream: &[u8], usages: &[&str]) -> Result<Vec<u8>, Lossy> {
    events::edit(stream, &mut |data| zero_json(data, usages))
}

/// The JSON text with the numbers zero in the objects that these JSON pointers lead to; `None`
/// where nothing changes.
///
/// # Errors
/// If it may hold one and is not JSON.
pub(super) fn zero_json(json: &[u8], usages: &[&str]) -> Result<Option<Vec<u8>>, Lossy> {
    // Most events of a stream hold none.
    match memmem::find(json, b"\"usage") {
        Some(_) => zeroed(json, usages),
        None => Ok(None),
    }
}

fn zeroed(json: &[u8], usages: &[&str]) -> Result<Option<Vec<u8>>, Lossy> {
    let mut value = json::parse(json).map_err(|_| Lossy::Malformed)?;
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
/// durations stay. Whether any changed.
pub(super) fn zero(usage: &mut Value) -> bool {
    match usage {
        // Not `any`, which would stop at the first.
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

/// Groq has `queue_time` and the like, Azure a `latency_checkpoint`.
fn is_duration(name: &str) -> bool {
    ["_time", "_ms", "duration"]
        .iter()
        .any(|end| name.ends_with(end))
        || name.contains("latency")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeroed_stream(stream: &str) -> String {
        String::from_utf8(zero_events(stream.as_bytes(), &["/usage", "/a/usage"]).unwrap()).unwrap()
    }

    #[test]
    fn every_count_and_cost_becomes_zero_and_durations_stay() {
        let json = r#"{"id":7,"usage":{"a_tokens":12,"by":[{"n":4}],"cost":0.00012,"details":{"cached":3,"none":null},"latency_checkpoint":{"total_ms":9},"own_key":false,"total_time":1.50}}"#;
        let zero = r#"{"id":7,"usage":{"a_tokens":0,"by":[{"n":0}],"cost":0,"details":{"cached":0,"none":null},"latency_checkpoint":{"total_ms":9},"own_key":false,"total_time":1.50}}"#;
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
            assert_eq!(zeroed_stream(&stream), expected);
        }
        assert_eq!(
            zeroed_stream("\u{feff}data: {\"usage\":{\"n\":3}}\n\n"),
            "\u{feff}data: {\"usage\":{\"n\":0}}\n\n"
        );
    }
}
