//! Setting reported usage to zero.

use serde_json::{Map, Number, Value};

/// Sets every number in the members of `answer` of these names to zero, at any depth, and tells
/// whether there was one. Durations stay.
pub(super) fn zero(answer: &mut Map<String, Value>, names: &[&str]) -> bool {
    let mut found = false;
    for name in names {
        if let Some(usage) = answer.get_mut(*name) {
            found |= zero_numbers(usage);
        }
    }
    found
}

/// As deep as the JSON parser lets a document be.
fn zero_numbers(value: &mut Value) -> bool {
    match value {
        Value::Number(number) => {
            *number = Number::from(0);
            true
        }
        // Not `any`, which would stop at the first.
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |found, item| zero_numbers(item) | found),
        Value::Object(members) => members
            .iter_mut()
            .filter(|(name, _)| !is_duration(name))
            .fold(false, |found, (_, member)| zero_numbers(member) | found),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
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

    #[test]
    fn counts_and_costs_are_zeroed_and_durations_stay() {
        let mut answer = serde_json::from_str(
            r#"{"usage":{"total_tokens":7,"details":{"cached_tokens":3,"none":null},"cost":0.25,
            "is_byok":false,"queue_time":0.5,"latency_checkpoint":{"total_ms":9},"size":"low"},
            "created":5,"list":[{"n":1},{"n":2}]}"#,
        )
        .unwrap();
        assert!(zero(&mut answer, &["usage", "list", "absent"]));
        assert_eq!(
            Value::Object(answer).to_string(),
            r#"{"created":5,"list":[{"n":0},{"n":0}],"usage":{"cost":0,"details":{"cached_tokens":0,"none":null},"is_byok":false,"latency_checkpoint":{"total_ms":9},"queue_time":0.5,"size":"low","total_tokens":0}}"#
        );
        let mut none = serde_json::from_str(r#"{"usage":null,"created":5}"#).unwrap();
        assert!(!zero(&mut none, &["usage"]));
    }
}
