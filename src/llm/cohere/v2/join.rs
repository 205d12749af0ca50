//! The events of version 2 as one response.

use serde_json::Value;

use super::judge::MAX_BLOCKS;
use crate::llm::convert::documents;
use crate::llm::convert::tree::{self, Object, in_order, is_blank, object_of_some, set_some};
use crate::llm::{ConversionError, Framing};

/// # Errors
/// If an event has members that are not known, beside those of the start and the end of the
/// message, which come once.
pub(in crate::llm::cohere) fn join(stream: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let mut message = Joined::default();
    for event in documents::objects(stream, Framing::Sse)? {
        message.take(event)?;
    }
    tree::to_json(&message.response()?)
}

/// The message so far.
#[derive(Default)]
struct Joined {
    id: Option<Value>,
    role: Option<Value>,
    /// What `message-start` has of the message besides.
    start: Object,
    content: Vec<(u64, Value)>,
    tool_plan: String,
    tool_calls: Vec<(u64, Value)>,
    citations: Vec<Value>,
    logprobs: Vec<Value>,
    /// What `message-end` holds.
    end: Option<Object>,
}

impl Joined {
    fn take(&mut self, mut event: Object) -> Result<(), ConversionError> {
        if self.end.is_some() {
            return Err(ConversionError::Malformed);
        }
        let kind = event.remove("type");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        let index = event.remove("index");
        let index = index.as_ref().and_then(Value::as_u64).unwrap_or(0);
        if let Some(id) = event.remove("id") {
            self.id = Some(id);
        }
        match event.remove("logprobs") {
            None | Some(Value::Null) => {}
            Some(logprobs) => self.logprobs.push(logprobs),
        }
        let mut delta = take_object(&mut event, "delta")?;
        nothing_but_nulls(&event)?;
        if kind == "message-end" {
            self.end = Some(delta);
            return Ok(());
        }
        let mut message = take_object(&mut delta, "message")?;
        nothing_but_nulls(&delta)?;
        match kind {
            "message-start" => {
                self.role = message.remove("role");
                // What comes in pieces starts empty.
                message.retain(|_, value| !is_blank(value));
                if IN_PIECES.iter().any(|name| message.contains_key(*name)) {
                    return Err(ConversionError::UnknownMember);
                }
                self.start.append(&mut message);
            }
            "content-start" => {
                let block = take_object(&mut message, "content")?;
                start(&mut self.content, index, block)?;
            }
            "content-delta" => {
                let block = at(&mut self.content, index).ok_or(ConversionError::Malformed)?;
                let piece = take_object(&mut message, "content")?;
                append(block, piece, &["text", "thinking"])?;
            }
            "tool-plan-delta" => match message.remove("tool_plan") {
                Some(Value::String(text)) => self.tool_plan.push_str(&text),
                _ => return Err(ConversionError::Malformed),
            },
            "tool-call-start" => {
                let call = take_object(&mut message, "tool_calls")?;
                start(&mut self.tool_calls, index, call)?;
            }
            "tool-call-delta" => {
                let call = at(&mut self.tool_calls, index).ok_or(ConversionError::Malformed)?;
                let mut piece = take_object(&mut message, "tool_calls")?;
                let arguments = take_object(&mut piece, "function")?;
                nothing_but_nulls(&piece)?;
                let function = call.get_mut("function").and_then(Value::as_object_mut);
                append(
                    function.ok_or(ConversionError::Malformed)?,
                    arguments,
                    &["arguments"],
                )?;
            }
            "citation-start" => {
                let citation = message
                    .remove("citations")
                    .ok_or(ConversionError::Malformed)?;
                self.citations.push(citation);
            }
            "content-end" | "tool-call-end" | "citation-end" => {}
            _ => return Err(ConversionError::UnknownMember),
        }
        nothing_but_nulls(&message)
    }

    fn response(self) -> Result<Object, ConversionError> {
        let list = |list: Vec<Value>| (!list.is_empty()).then_some(Value::Array(list));
        let tool_plan = Some(self.tool_plan).filter(|plan| !plan.is_empty());
        let mut message = object_of_some([
            ("role", self.role),
            ("content", list(in_order(self.content))),
            ("tool_plan", tool_plan.map(Value::String)),
            ("tool_calls", list(in_order(self.tool_calls))),
            ("citations", list(self.citations)),
        ]);
        message.extend(self.start);
        let message = Some(Value::Object(message));
        let mut response = object_of_some([("id", self.id), ("message", message)]);
        let mut end = self.end.ok_or(ConversionError::Malformed)?;
        end.retain(|_, value| !value.is_null());
        if ["id", "message"].iter().any(|name| end.contains_key(*name)) {
            return Err(ConversionError::UnknownMember);
        }
        response.extend(end);
        set_some(&mut response, "logprobs", list(self.logprobs));
        Ok(response)
    }
}

/// Members of a message that come in events of their own.
const IN_PIECES: [&str; 4] = ["content", "tool_plan", "tool_calls", "citations"];

/// Takes a member that is an object, or nothing, out of another.
fn take_object(object: &mut Object, name: &str) -> Result<Object, ConversionError> {
    match object.remove(name) {
        Some(Value::Object(member)) => Ok(member),
        None | Some(Value::Null) => Ok(Object::new()),
        Some(_) => Err(ConversionError::Malformed),
    }
}

/// Fails if the event still holds a member that is not null: a response has no place for it.
fn nothing_but_nulls(object: &Object) -> Result<(), ConversionError> {
    if object.values().all(Value::is_null) {
        Ok(())
    } else {
        Err(ConversionError::UnknownMember)
    }
}

fn start(blocks: &mut Vec<(u64, Value)>, index: u64, block: Object) -> Result<(), ConversionError> {
    if at(blocks, index).is_some() || blocks.len() >= MAX_BLOCKS {
        return Err(ConversionError::Malformed);
    }
    blocks.push((index, block.into()));
    Ok(())
}

/// The block that was started at that index: most often it is the last one.
fn at(blocks: &mut [(u64, Value)], index: u64) -> Option<&mut Object> {
    let mut blocks = blocks.iter_mut().rev();
    blocks.find(|(at, _)| *at == index)?.1.as_object_mut()
}

/// Appends texts of the names given to those of a block.
fn append(block: &mut Object, piece: Object, names: &[&str]) -> Result<(), ConversionError> {
    for (name, value) in piece {
        if !names.contains(&name.as_str()) && block.get(&name) != Some(&value) {
            return Err(ConversionError::UnknownMember);
        }
        match (block.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more)) if names.contains(&name.as_str()) => {
                text.push_str(&more);
            }
            (None | Some(Value::Null), more @ Value::String(_)) => {
                block.insert(name, more);
            }
            (Some(old), value) if *old == value => {}
            _ => return Err(ConversionError::Malformed),
        }
    }
    Ok(())
}
