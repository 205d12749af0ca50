//! Setting the counts of tokens that an answer reports, and its costs, to zero.
//!
//! The position of an API's usage is known. Gateways and dialects add more beside it (`cost`,
//! `copilot_usage`, `timings`, `provider_metadata`), which is known by name, and only where no
//! content is: a tool's argument may be named `cost` as well.

use memchr::memmem;
use serde_json::Value;

use super::{ConversionError, events};
use crate::json;
use crate::llm::convert::tree::{self, Object};

/// The JSON answer with the numbers zero in the objects that these JSON pointers (RFC 6901) lead
/// to. One without any stays as it came.
///
/// # Errors
/// If it is not JSON.
pub(crate) fn zero_places(json: &[u8], usages: &[&str]) -> Result<Vec<u8>, ConversionError> {
    let zeroed = edited(json, &mut |value| zero_at(value, usages))?;
    Ok(zeroed.unwrap_or_else(|| json.to_vec()))
}

/// The same, and zero in what stands beside the content of an answer and is named as a count.
///
/// # Errors
/// If it is not JSON.
pub(crate) fn zero_document(json: &[u8], usages: &[&str]) -> Result<Vec<u8>, ConversionError> {
    Ok(zeroed(json, usages)?.unwrap_or_else(|| json.to_vec()))
}

/// The event stream with the numbers zero in the objects that these JSON pointers lead to in the
/// data of its events, and in what is named as a count. Events without any, and all lines that are not
/// data, stay byte for byte.
///
/// # Errors
/// If the data of an event that may hold one is not JSON.
pub(crate) fn zero_events(stream: &[u8], usages: &[&str]) -> Result<Vec<u8>, ConversionError> {
    events::edit(stream, &mut |data| zero_json(data, usages))
}

/// The JSON text with the numbers zero in the objects that these JSON pointers lead to; `None`
/// where nothing changes.
///
/// # Errors
/// If it may hold one and is not JSON.
pub(crate) fn zero_json(json: &[u8], usages: &[&str]) -> Result<Option<Vec<u8>>, ConversionError> {
    // Most events of a stream hold none.
    match HINTS.iter().any(|hint| memmem::find(json, hint).is_some()) {
        true => zeroed(json, usages),
        false => Ok(None),
    }
}

/// Part of every name of a count.
const HINTS: [&[u8]; 8] = [
    b"usage", b"Usage", b"cost", b"Cost", b"oken", b"illed", b"timings", b"redits",
];

fn zeroed(json: &[u8], usages: &[&str]) -> Result<Option<Vec<u8>>, ConversionError> {
    edited(json, &mut |value| {
        let beside = value.as_object_mut().is_some_and(zero_beside);
        zero_at(value, usages) | beside
    })
}

fn edited(
    json: &[u8],
    edit: &mut dyn FnMut(&mut Value) -> bool,
) -> Result<Option<Vec<u8>>, ConversionError> {
    let mut value = json::parse(json).map_err(|_| ConversionError::Malformed)?;
    edit(&mut value).then(|| tree::to_json(&value)).transpose()
}

fn zero_at(value: &mut Value, usages: &[&str]) -> bool {
    usages.iter().fold(false, |changed, usage| {
        value.pointer_mut(usage).is_some_and(zero) | changed
    })
}

/// Objects, and lists of objects, in which counts stand beside content.
const AROUND_CONTENT: [&str; 6] = [
    "choices",
    "message",
    "delta",
    "candidates",
    "result",
    "x_groq",
];

/// Sets to zero what stands beside the content of an answer and is named as a count or a cost.
/// Whether anything changed.
pub(crate) fn zero_beside(object: &mut Object) -> bool {
    // `response` is what a model said, but in the events of Responses.
    let is_response = |value: &Value| value.get("object").is_some_and(|kind| kind == "response");
    object.iter_mut().fold(false, |changed, (name, value)| {
        let around =
            AROUND_CONTENT.contains(&name.as_str()) || name == "response" && is_response(value);
        changed
            | match value {
                value if is_count(name, value) => zero(value),
                value if is_metadata(name) => zero_named(value),
                Value::Object(members) if around => zero_beside(members),
                Value::Array(elements) if around => {
                    let objects = elements.iter_mut().filter_map(Value::as_object_mut);
                    objects.fold(false, |changed, object| zero_beside(object) | changed)
                }
                _ => false,
            }
    })
}

/// Sets to zero what is named as a count in an object, however deep.
fn zero_named(value: &mut Value) -> bool {
    match value {
        Value::Object(members) => members.iter_mut().fold(false, |changed, (name, value)| {
            let zeroed = match is_count(name, value) {
                true => zero(value),
                false => zero_named(value),
            };
            zeroed | changed
        }),
        Value::Array(elements) => elements
            .iter_mut()
            .fold(false, |changed, value| zero_named(value) | changed),
        _ => false,
    }
}

/// `provider_metadata`, but not `metadata`, which is the client's own.
fn is_metadata(name: &str) -> bool {
    ["_metadata", "Metadata"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// Whether a member is named as what counts tokens, or what they cost. A list of `tokens` is one of
/// ids, and `max_output_tokens` is what the request said.
fn is_count(name: &str, value: &Value) -> bool {
    let any = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let is_single = value.is_number() || value.is_string();
    let is_bound = any(&["max", "min", "budget", "limit"]);
    any(&["usage", "Usage", "cost", "Cost", "illed", "redits"])
        || name == "timings"
        || is_single && !is_bound && any(&["tokens", "Tokens", "oken_count", "okenCount"])
}

/// Sets the numbers in a usage object to zero, whatever they count: tokens, requests, costs, which
/// some write as text. Only durations stay. Whether any changed.
pub(crate) fn zero(usage: &mut Value) -> bool {
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
        Value::String(text) if text.parse().is_ok_and(|number: f64| number != 0.0) => {
            *usage = Value::from("0");
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
        assert_eq!(
            zero_document(b"{", &["/usage"]),
            Err(ConversionError::Malformed)
        );
    }

    #[test]
    fn what_gateways_and_dialects_count_and_charge_becomes_zero_and_content_stays() {
        let json = r#"{"choices":[{"index":7,"logprobs":{"tokens":["a"],"token_logprobs":[-1]},"message":{"content":[{"cost":5}],"provider_metadata":{"gateway":{"attempts":[{"startTime":3.5}],"cost":"0.0012","n":4},"google":{"usageMetadata":{"promptTokenCount":28,"trafficType":"ON"}}},"tokens":[1,2],"tool_calls":[{"function":{"arguments":{"cost":5}}}]}}],"copilot_usage":{"token_details":[{"token_count":153}]},"cost":{"usd":0.1},"created":9,"max_output_tokens":16,"metadata":{"cost":"5"},"timings":{"predicted_ms":7.5,"predicted_n":3,"predicted_per_second":4},"token_count":5}"#;
        let zero = r#"{"choices":[{"index":7,"logprobs":{"tokens":["a"],"token_logprobs":[-1]},"message":{"content":[{"cost":5}],"provider_metadata":{"gateway":{"attempts":[{"startTime":3.5}],"cost":"0","n":4},"google":{"usageMetadata":{"promptTokenCount":0,"trafficType":"ON"}}},"tokens":[1,2],"tool_calls":[{"function":{"arguments":{"cost":5}}}]}}],"copilot_usage":{"token_details":[{"token_count":0}]},"cost":{"usd":0},"created":9,"max_output_tokens":16,"metadata":{"cost":"5"},"timings":{"predicted_ms":7.5,"predicted_n":0,"predicted_per_second":0},"token_count":0}"#;
        let value = |json: &[u8]| -> Value { serde_json::from_slice(json).unwrap() };
        let zeroed = zero_document(json.as_bytes(), &["/usage"]).unwrap();
        assert_eq!(value(&zeroed), value(zero.as_bytes()));
        let stream = zeroed_stream(&format!("data: {json}\n\n"));
        assert_eq!(
            value(stream.strip_prefix("data: ").unwrap().as_bytes()),
            value(zero.as_bytes())
        );
        // Any JSON may be all content.
        let positions = zero_places(json.as_bytes(), &["/usage"]).unwrap();
        assert_eq!(String::from_utf8(positions).unwrap(), json);
        let schema = r#"{"result":{"response":{"cost":5}}}"#;
        let same = zero_document(schema.as_bytes(), &[]).unwrap();
        assert_eq!(String::from_utf8(same).unwrap(), schema);
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
    }
}
