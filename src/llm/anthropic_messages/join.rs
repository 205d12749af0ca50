//! The message that a stream of its events comes to.
//!
//! Source: the reference, "Streaming messages", and how Anthropic's own clients put a message
//! together. What they pass over in silence is [`ConversionError`] here.

use serde_json::Value;

use super::judge::MAX_OPEN_BLOCKS;
use crate::json;
use crate::llm::ConversionError;
use crate::llm::convert::tree::{Object, nothing_else, set, take_count, take_object, take_string};

/// A message on its way, event by event.
#[derive(Default)]
pub(in crate::llm) struct Assembly {
    message: Option<Object>,
    content: Vec<Value>,
    open: Vec<OpenBlock>,
    /// A `message_delta` told the final usage.
    has_usage: bool,
    stopped: bool,
}

struct OpenBlock {
    index: u64,
    arguments: String,
}

impl Assembly {
    /// Takes the next event.
    ///
    /// # Errors
    /// If the conversion would lose or invent something.
    pub(in crate::llm) fn take(&mut self, mut event: Object) -> Result<(), ConversionError> {
        let kind = take_string(&mut event, "type")?;
        if kind == "ping" {
            return Ok(());
        }
        if self.stopped {
            return Err(ConversionError::Malformed);
        }
        match kind.as_str() {
            "message_start" => self.start(&mut event)?,
            "content_block_start" => self.start_block(&mut event)?,
            "content_block_delta" => self.extend_block(&mut event)?,
            "content_block_stop" => self.stop_block(&mut event)?,
            "message_delta" => return self.extend_message(event),
            "message_stop" => self.stopped = true,
            "error" => return Err(ConversionError::Malformed),
            _ => return Err(ConversionError::UnknownMember),
        }
        nothing_else(&event)
    }

    /// The message, if its last event has come.
    ///
    /// # Errors
    /// What it lacks.
    pub(in crate::llm) fn finish(self) -> Result<Object, ConversionError> {
        let mut message = self.message.ok_or(ConversionError::Malformed)?;
        if !self.stopped || !self.open.is_empty() || !has_reason(&message) {
            return Err(ConversionError::Malformed);
        }
        if !self.has_usage {
            return Err(ConversionError::NoUsage);
        }
        set(&mut message, "content", Value::Array(self.content));
        Ok(message)
    }

    fn start(&mut self, event: &mut Object) -> Result<(), ConversionError> {
        let message = take_object(event, "message")?;
        let is_empty = match message.get("content") {
            None | Some(Value::Null) => true,
            Some(Value::Array(blocks)) => blocks.is_empty(),
            Some(_) => false,
        };
        if self.message.is_some() || !is_empty {
            return Err(ConversionError::Malformed);
        }
        self.message = Some(message);
        Ok(())
    }

    fn start_block(&mut self, event: &mut Object) -> Result<(), ConversionError> {
        let message = self.message.as_mut().ok_or(ConversionError::Malformed)?;
        let index = take_count(event, "index")?;
        let block = take_object(event, "content_block")?;
        let is_next = usize::try_from(index) == Ok(self.content.len());
        // As the judge has it, nothing begins after the stop reason.
        if !is_next || has_reason(message) || self.open.len() >= MAX_OPEN_BLOCKS {
            return Err(ConversionError::Malformed);
        }
        // The whole message has the name of the model that answered in the end.
        if block.get("type").and_then(Value::as_str) == Some("fallback")
            && let Some(model) = block.get("to").and_then(|to| to.get("model"))
        {
            set(message, "model", model.clone());
        }
        self.content.push(Value::Object(block));
        self.open.push(OpenBlock {
            index,
            arguments: String::new(),
        });
        Ok(())
    }

    fn extend_block(&mut self, event: &mut Object) -> Result<(), ConversionError> {
        let index = take_count(event, "index")?;
        let mut delta = take_object(event, "delta")?;
        let mut open = self.open.iter_mut();
        let open = open
            .find(|open| open.index == index)
            .ok_or(ConversionError::Malformed)?;
        let block = block_at(&mut self.content, index)?;
        match take_string(&mut delta, "type")?.as_str() {
            "text_delta" => append(block, "text", take_string(&mut delta, "text")?)?,
            "thinking_delta" => {
                append(block, "thinking", take_string(&mut delta, "thinking")?)?;
                // A hint for a progress bar, which the reference calls deliberately lossy.
                delta.remove("estimated_tokens");
            }
            "signature_delta" => {
                let signature = take_string(&mut delta, "signature")?;
                set(block, "signature", Value::String(signature));
            }
            "input_json_delta" => {
                let more = take_string(&mut delta, "partial_json")?;
                open.arguments.push_str(&more);
            }
            "citations_delta" => {
                let citation = delta.remove("citation").ok_or(ConversionError::Malformed)?;
                push(block, "citations", citation)?;
            }
            "compaction_delta" => {
                for name in super::split::COMPACTION {
                    if let Some(value) = delta.remove(name) {
                        set(block, name, value);
                    }
                }
            }
            _ => return Err(ConversionError::UnknownMember),
        }
        nothing_else(&delta)
    }

    fn stop_block(&mut self, event: &mut Object) -> Result<(), ConversionError> {
        let index = take_count(event, "index")?;
        let position = self.open.iter().position(|open| open.index == index);
        let open = self
            .open
            .swap_remove(position.ok_or(ConversionError::Malformed)?);
        if open.arguments.is_empty() {
            return Ok(());
        }
        let input =
            json::parse(open.arguments.as_bytes()).map_err(|_| ConversionError::Malformed)?;
        let block = block_at(&mut self.content, index)?;
        // Arguments came both whole and in pieces, and nothing says which to use.
        if let Some(Value::Object(whole)) = block.get("input")
            && !whole.is_empty()
        {
            return Err(ConversionError::Malformed);
        }
        set(block, "input", input);
        Ok(())
    }

    /// The counts of a `message_delta` are totals: they replace those of the start.
    fn extend_message(&mut self, mut event: Object) -> Result<(), ConversionError> {
        let message = self.message.as_mut().ok_or(ConversionError::Malformed)?;
        let mut delta = take_object(&mut event, "delta")?;
        if let Some(Value::Object(counts)) = event.remove("usage") {
            self.has_usage |= counts.get("output_tokens").is_some_and(Value::is_number);
            let usage = message
                .entry("usage")
                .or_insert_with(|| Value::Object(Object::new()));
            let usage = usage.as_object_mut().ok_or(ConversionError::Malformed)?;
            for (name, count) in counts {
                set_unless_null(usage, name, count);
            }
        }
        delta.extend(event);
        for (name, value) in delta {
            if matches!(name.as_str(), "content" | "usage" | "type") {
                return Err(ConversionError::UnknownMember);
            }
            set_unless_null(message, name, value);
        }
        Ok(())
    }
}

fn has_reason(message: &Object) -> bool {
    message.get("stop_reason").is_some_and(Value::is_string)
}

fn set_unless_null(members: &mut Object, name: String, value: Value) {
    if !value.is_null() || !members.contains_key(&name) {
        members.insert(name, value);
    }
}

fn block_at(content: &mut [Value], index: u64) -> Result<&mut Object, ConversionError> {
    usize::try_from(index)
        .ok()
        .and_then(|index| content.get_mut(index)?.as_object_mut())
        .ok_or(ConversionError::Malformed)
}

/// Appends to a member that is a string or not there yet.
fn append(block: &mut Object, name: &str, more: String) -> Result<(), ConversionError> {
    match block.get_mut(name) {
        Some(Value::String(text)) => text.push_str(&more),
        None | Some(Value::Null) => {
            set(block, name, Value::String(more));
        }
        Some(_) => return Err(ConversionError::Malformed),
    }
    Ok(())
}

/// Appends to a member that is a list or not there yet.
fn push(block: &mut Object, name: &str, item: Value) -> Result<(), ConversionError> {
    match block.get_mut(name) {
        Some(Value::Array(items)) => items.push(item),
        None | Some(Value::Null) => {
            set(block, name, Value::Array(vec![item]));
        }
        Some(_) => return Err(ConversionError::Malformed),
    }
    Ok(())
}
