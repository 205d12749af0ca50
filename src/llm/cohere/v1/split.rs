//! The lines of version 1 that a response could have come in.

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::documents;
use crate::llm::convert::tree::{self, Object, object, set_some};

/// # Errors
/// If it does not say why it finished, which the last line must say.
pub(in crate::llm::cohere) fn split(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let response = tree::parse(json)?;
    let member = |name: &str| response.get(name).filter(|value| !is_empty(value)).cloned();
    let finish_reason = member("finish_reason").ok_or(ConversionError::Malformed)?;
    let mut lines = vec![line(
        "stream-start",
        ["generation_id"].map(|n| (n, member(n))),
    )];
    for (kind, names) in [
        ("search-queries-generation", &["search_queries"][..]),
        ("search-results", &["search_results", "documents"]),
        ("text-generation", &["text"]),
        ("citation-generation", &["citations"]),
        ("tool-calls-generation", &["tool_calls"]),
    ] {
        let members = names.iter().map(|name| (*name, member(name)));
        if members.clone().any(|(_, value)| value.is_some()) {
            lines.push(line(kind, members));
        }
    }
    lines.push(object([
        ("is_finished", Value::Bool(true)),
        ("event_type", "stream-end".into()),
        ("response", Value::Object(response)),
        ("finish_reason", finish_reason),
    ]));
    documents::write_lines(&lines)
}

fn line<'n>(kind: &str, members: impl IntoIterator<Item = (&'n str, Option<Value>)>) -> Object {
    let mut line = object([
        ("is_finished", Value::Bool(false)),
        ("event_type", kind.into()),
    ]);
    for (name, value) in members {
        set_some(&mut line, name, value);
    }
    line
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
