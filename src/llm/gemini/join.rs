//! Gemini's chunks as one `GenerateContentResponse`, and the other way round.
//!
//! Both have one shape; a chunk holds what is new. The whole response in one chunk is a stream, so
//! splitting cuts nothing up.

use serde_json::Value;

use super::judge::MAX_CANDIDATES;
use crate::llm::convert::documents;
use crate::llm::convert::tree::{self, Object, in_order, is_blank};
use crate::llm::{ConversionError, Framing};

/// # Errors
/// If arguments of a function call come in pieces, metadata does not grow, or content has members
/// that are not known.
pub(super) fn join(stream: &[u8], framing: Framing) -> Result<Vec<u8>, ConversionError> {
    let mut chunks = documents::objects(stream, framing)?.into_iter();
    let mut response = chunks.next().ok_or(ConversionError::Malformed)?;
    check(&response)?;
    for chunk in chunks {
        check(&chunk)?;
        for (name, value) in chunk {
            merge_member(&mut response, name, value)?;
        }
    }
    if let Some(Value::Array(candidates)) = response.get_mut("candidates") {
        let indexed = std::mem::take(candidates).into_iter();
        *candidates = in_order(
            indexed
                .map(|candidate| (index(&candidate), candidate))
                .collect(),
        );
    }
    tree::to_json(&response)
}

/// Whether a chunk can be merged.
fn check(chunk: &Object) -> Result<(), ConversionError> {
    let candidates = match chunk.get("candidates") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(candidates)) => candidates,
        Some(_) => return Err(ConversionError::Malformed),
    };
    if candidates.len() > MAX_CANDIDATES {
        return Err(ConversionError::Malformed);
    }
    let mut seen = Vec::new();
    for candidate in candidates {
        let index = index(candidate);
        if seen.contains(&index) {
            return Err(ConversionError::Malformed);
        }
        seen.push(index);
        let content = match candidate.get("content") {
            None | Some(Value::Null) => continue,
            Some(content) => content.as_object().ok_or(ConversionError::Malformed)?,
        };
        let parts = match content.get("parts") {
            None | Some(Value::Null) => continue,
            Some(parts) => parts.as_array().ok_or(ConversionError::Malformed)?,
        };
        let calls = parts.iter().filter_map(|part| part.get("functionCall"));
        // Pieces of arguments name their places by JSON paths: no JSON answer has them.
        let in_pieces =
            |call: &Value| call.get("partialArgs").is_some() || call.get("willContinue").is_some();
        if calls.into_iter().any(in_pieces) {
            return Err(ConversionError::Content);
        }
    }
    Ok(())
}

fn merge_member(response: &mut Object, name: String, value: Value) -> Result<(), ConversionError> {
    match (name.as_str(), value) {
        (_, Value::Null) => {}
        ("candidates", Value::Array(candidates)) => {
            let position = response.entry(name).or_insert_with(|| Value::Array(vec![]));
            if position.is_null() {
                *position = Value::Array(vec![]);
            }
            let merged = position.as_array_mut().ok_or(ConversionError::Malformed)?;
            for candidate in candidates {
                let full = merged.len() >= MAX_CANDIDATES;
                let same = index(&candidate);
                match merged.iter_mut().find(|other| index(other) == same) {
                    None if full => return Err(ConversionError::Malformed),
                    None => merged.push(candidate),
                    Some(into) => merge_candidate(into, candidate)?,
                }
            }
        }
        // The prompt is judged once, at the beginning.
        ("promptFeedback", feedback) => {
            if response.get(&name).is_none_or(Value::is_null) {
                response.insert(name, feedback);
            }
        }
        (_, value) => {
            let last_counts = LAST_COUNTS.contains(&name.as_str());
            keep(
                response.entry(name).or_insert(Value::Null),
                value,
                last_counts,
            )?;
        }
    }
    Ok(())
}

fn merge_candidate(into: &mut Value, candidate: Value) -> Result<(), ConversionError> {
    let (Value::Object(into), Value::Object(candidate)) = (into, candidate) else {
        return Err(ConversionError::Malformed);
    };
    for (name, value) in candidate {
        if value.is_null() {
            continue;
        }
        let old = match into.get_mut(&name) {
            Some(old) if !old.is_null() => old,
            _ => {
                into.insert(name, value);
                continue;
            }
        };
        match (name.as_str(), value) {
            ("content", value) => merge_content(old, value)?,
            ("citationMetadata", value) => merge_citations(old, value)?,
            // Ratings of what came so far.
            ("safetyRatings", value) => *old = value,
            (_, value) => {
                let last_counts = ["finishReason", "finishMessage"].contains(&name.as_str());
                keep(old, value, last_counts)?;
            }
        }
    }
    Ok(())
}

/// Members of a response of which the last value is kept. Usage counts up, so that its last value is
/// that of the whole response.
const LAST_COUNTS: [&str; 6] = [
    "usageMetadata",
    "modelVersion",
    "responseId",
    "createTime",
    "modelStatus",
    "sdkHttpResponse",
];

/// Keeps a value that comes once, always the same, or grows. A number is that of all so far.
fn keep(kept: &mut Value, value: Value, last_counts: bool) -> Result<(), ConversionError> {
    let is_number = value.is_number() || value.is_boolean();
    if last_counts || is_number || is_blank(kept) || extends(&value, kept) {
        *kept = value;
        Ok(())
    } else if is_blank(&value) {
        Ok(())
    } else {
        Err(ConversionError::Content)
    }
}

fn merge_content(into: &mut Value, content: Value) -> Result<(), ConversionError> {
    let (Value::Object(into), Value::Object(content)) = (into, content) else {
        return Err(ConversionError::Malformed);
    };
    for (name, value) in content {
        match (into.get_mut(&name), value) {
            (_, Value::Null) => {}
            (None | Some(Value::Null), value) => {
                into.insert(name, value);
            }
            (Some(Value::Array(into)), Value::Array(parts)) if name == "parts" => {
                merge_parts(into, parts);
            }
            (Some(old), value) if *old == value => {}
            _ if name == "parts" => return Err(ConversionError::Malformed),
            _ => return Err(ConversionError::UnknownMember),
        }
    }
    Ok(())
}

/// Text goes on where it was cut; every other part is a piece of its own.
fn merge_parts(into: &mut Vec<Value>, parts: Vec<Value>) {
    let mut parts = parts.into_iter();
    if let Some(first) = parts.next() {
        let goes_on = match (into.last_mut(), plain_text(&first)) {
            (Some(last), Some((thought, text))) => {
                text.is_empty() && thought.is_none() || append_text(last, thought, text)
            }
            _ => false,
        };
        if !goes_on {
            into.push(first);
        }
    }
    into.extend(parts);
}

/// Appends to a part that is plain text of the same kind.
fn append_text(part: &mut Value, thought: Option<&Value>, text: &str) -> bool {
    if plain_text(part).is_none_or(|(other, _)| other != thought) {
        return false;
    }
    match part.get_mut("text") {
        Some(Value::String(whole)) => {
            whole.push_str(text);
            true
        }
        _ => false,
    }
}

/// The `thought` and the `text` of a part that has no other members.
fn plain_text(part: &Value) -> Option<(Option<&Value>, &str)> {
    let part = part.as_object()?;
    let thought = part.get("thought");
    let members = 1 + usize::from(thought.is_some());
    let text = part.get("text")?.as_str()?;
    (part.len() == members).then_some((thought, text))
}

/// Chunks cite their own sources (`citationSources`; `citations` in Vertex AI).
fn merge_citations(into: &mut Value, metadata: Value) -> Result<(), ConversionError> {
    let (Value::Object(into), Value::Object(metadata)) = (into, metadata) else {
        return Err(ConversionError::Malformed);
    };
    for (name, value) in metadata {
        match (into.get_mut(&name), value) {
            (Some(Value::Array(cited)), Value::Array(sources)) => {
                // Some repeat what an earlier chunk cited.
                let repeats = sources.starts_with(cited);
                let new = if repeats { cited.len() } else { 0 };
                cited.extend(sources.into_iter().skip(new));
            }
            (None, value) => {
                into.insert(name, value);
            }
            (Some(old), value) if *old == value => {}
            _ => return Err(ConversionError::Content),
        }
    }
    Ok(())
}

/// Whether a value says all that an earlier one said.
fn extends(value: &Value, earlier: &Value) -> bool {
    match (value, earlier) {
        (Value::Object(value), Value::Object(earlier)) => earlier
            .iter()
            .all(|(name, old)| value.get(name).is_some_and(|new| extends(new, old))),
        (Value::Array(value), Value::Array(earlier)) => value.starts_with(earlier),
        _ => value == earlier,
    }
}

/// Left out where it is 0.
fn index(candidate: &Value) -> u64 {
    candidate.get("index").and_then(Value::as_u64).unwrap_or(0)
}
