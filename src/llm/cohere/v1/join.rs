//! The response that the lines of version 1 come to.

use serde_json::Value;

use crate::llm::convert::{documents, tree};
use crate::llm::{ConversionError, Framing};

/// The response that the last line holds.
///
/// # Errors
/// If it is not there.
pub(in crate::llm::cohere) fn join(stream: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let mut lines = documents::objects(stream, Framing::Ndjson)?;
    let mut end = lines.pop().ok_or(ConversionError::Malformed)?;
    if end.get("event_type").and_then(Value::as_str) != Some("stream-end") {
        return Err(ConversionError::Malformed);
    }
    let Some(Value::Object(mut response)) = end.remove("response") else {
        return Err(ConversionError::Malformed);
    };
    // Early streams say it beside the response only.
    if let Some(reason) = end.remove("finish_reason") {
        response.entry("finish_reason").or_insert(reason);
    }
    tree::to_json(&response)
}
