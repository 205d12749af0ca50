//! The events that a whole message could have come in: one delta for each thing that comes in
//! deltas.

use std::mem;

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::tree::{self, Object, object, set};

/// The members of a `compaction` block that come in its delta.
pub(super) const COMPACTION: [&str; 2] = ["content", "encrypted_content"];

/// Takes an event, with its `type` by itself.
pub(super) type Emit<'e> = &'e mut dyn FnMut(&'static str, &Object) -> Result<(), ConversionError>;

/// Calls `emit` with each event of the message, in order.
///
/// # Errors
/// What would be lost, or guessed, or what `emit` says.
pub(super) fn split(mut message: Object, emit: Emit<'_>) -> Result<(), ConversionError> {
    let is_message = message.get("type").and_then(Value::as_str) == Some("message");
    let has_reason = message.get("stop_reason").is_some_and(Value::is_string);
    let content = match message.get_mut("content") {
        Some(Value::Array(blocks)) => mem::take(blocks),
        _ => return Err(ConversionError::Malformed),
    };
    if !is_message || !has_reason {
        return Err(ConversionError::Malformed);
    }
    let end = split_end(&mut message)?;
    let start = object([
        ("type", Value::from(MESSAGE_START)),
        ("message", Value::Object(message)),
    ]);
    emit(MESSAGE_START, &start)?;
    for (index, block) in content.into_iter().enumerate() {
        let block = tree::into_object(block)?;
        split_block(index, block, emit)?;
    }
    emit(MESSAGE_DELTA, &end)?;
    emit(MESSAGE_STOP, &object([("type", Value::from(MESSAGE_STOP))]))
}

/// Takes what is known only at the end out of the message: the `message_delta` event.
fn split_end(message: &mut Object) -> Result<Object, ConversionError> {
    let mut delta = Object::new();
    for name in ["stop_reason", "stop_sequence", "stop_details", "container"] {
        // The start has these as null.
        if let Some(value) = message.get_mut(name) {
            set(&mut delta, name, mem::take(value));
        }
    }
    let Some(Value::Object(usage)) = message.get_mut("usage") else {
        return Err(ConversionError::NoUsage);
    };
    let mut counts = Object::new();
    for name in [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ] {
        if let Some(count) = usage.get(name) {
            set(&mut counts, name, count.clone());
        }
    }
    // At the start nothing has been put out yet.
    match usage.get_mut("output_tokens") {
        Some(count @ Value::Number(_)) => {
            set(&mut counts, "output_tokens", mem::replace(count, 0.into()));
        }
        _ => return Err(ConversionError::NoUsage),
    }
    for name in [
        "output_tokens_details",
        "server_tool_use",
        "iterations",
        "fallback_credit",
    ] {
        if let Some(count) = usage.remove(name) {
            set(&mut counts, name, count);
        }
    }
    let mut event = object([
        ("type", Value::from(MESSAGE_DELTA)),
        ("delta", Value::Object(delta)),
        ("usage", Value::Object(counts)),
    ]);
    let name = "context_management";
    if let Some(value) = message.remove(name) {
        set(&mut event, name, value);
    }
    Ok(event)
}

fn split_block(index: usize, mut block: Object, emit: Emit<'_>) -> Result<(), ConversionError> {
    let deltas = take_deltas(&mut block)?;
    let event = |name, rest: [(&str, Value); 1]| {
        let mut event = object([("type", Value::from(name)), ("index", index.into())]);
        event.extend(object(rest));
        event
    };
    let start = event(BLOCK_START, [("content_block", Value::Object(block))]);
    emit(BLOCK_START, &start)?;
    for delta in deltas {
        emit(
            BLOCK_DELTA,
            &event(BLOCK_DELTA, [("delta", Value::Object(delta))]),
        )?;
    }
    let stop = object([("type", Value::from(BLOCK_STOP)), ("index", index.into())]);
    emit(BLOCK_STOP, &stop)
}

/// Takes what comes in deltas out of a block, which is then as its start has it.
fn take_deltas(block: &mut Object) -> Result<Vec<Object>, ConversionError> {
    let kind = block.get("type").and_then(Value::as_str);
    let kind = kind.ok_or(ConversionError::Malformed)?.to_owned();
    let mut deltas = Vec::new();
    let mut add = |kind: &'static str, name, value| {
        deltas.push(object([("type", Value::from(kind)), (name, value)]));
    };
    match kind.as_str() {
        "text" => {
            if let Some(Value::Array(citations)) = block.get_mut("citations") {
                for citation in mem::take(citations) {
                    add("citations_delta", "citation", citation);
                }
            }
            let text = take_text(block, "text")?;
            if !text.is_empty() {
                add("text_delta", "text", Value::String(text));
            }
        }
        "thinking" => {
            let thinking = take_text(block, "thinking")?;
            if !thinking.is_empty() {
                add("thinking_delta", "thinking", Value::String(thinking));
            }
            if let Some(Value::String(signature)) = block.get_mut("signature")
                && !signature.is_empty()
            {
                let signature = mem::take(signature);
                add("signature_delta", "signature", Value::String(signature));
            }
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let input = block.get_mut("input").ok_or(ConversionError::Malformed)?;
            let input = mem::replace(input, Value::Object(Object::new()));
            // No arguments are no text.
            let partial = match &input {
                Value::Object(none) if none.is_empty() => String::new(),
                some => tree::to_text(some)?,
            };
            add("input_json_delta", "partial_json", Value::String(partial));
        }
        "compaction" => {
            let mut delta = object([("type", Value::from("compaction_delta"))]);
            for name in COMPACTION {
                if let Some(value) = block.get_mut(name) {
                    set(&mut delta, name, mem::take(value));
                }
            }
            deltas.push(delta);
        }
        whole if comes_whole(whole) => {}
        // `fallback` for example: its start names a model that the message does not hold.
        _ => return Err(ConversionError::UnknownMember),
    }
    Ok(deltas)
}

/// Blocks that have no deltas.
fn comes_whole(kind: &str) -> bool {
    kind.ends_with("_tool_result")
        || ["redacted_thinking", "container_upload", "mcp_tool_listing"].contains(&kind)
}

fn take_text(block: &mut Object, name: &str) -> Result<String, ConversionError> {
    match block.get_mut(name) {
        Some(Value::String(text)) => Ok(mem::take(text)),
        _ => Err(ConversionError::Malformed),
    }
}

const MESSAGE_START: &str = "message_start";
const BLOCK_START: &str = "content_block_start";
const BLOCK_DELTA: &str = "content_block_delta";
const BLOCK_STOP: &str = "content_block_stop";
const MESSAGE_DELTA: &str = "message_delta";
const MESSAGE_STOP: &str = "message_stop";
