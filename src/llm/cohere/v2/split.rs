//! A response of version 2 as the events that build it up.

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::events;
use crate::llm::convert::tree::{self, Object, object, object_of_some, set};
use crate::llm::judge::DONE;

/// # Errors
/// If it is no response, or has log probabilities that are not those of its one text.
pub(in crate::llm::cohere) fn split(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let mut response = tree::parse(json)?;
    let mut message = match response.remove("message") {
        Some(Value::Object(message)) => message,
        _ => return Err(ConversionError::Malformed),
    };
    let mut events = Events::default();
    let id = response.remove("id");
    let content = list(&mut message, "content")?;
    let plan = message.remove("tool_plan");
    let calls = list(&mut message, "tool_calls")?;
    let citations = list(&mut message, "citations")?;
    // What is left comes once: the role, and unknown members.
    let mut empty = message;
    for name in ["content", "tool_calls", "citations"] {
        set(&mut empty, name, Value::Array(Vec::new()));
    }
    set(&mut empty, "tool_plan", "".into());
    let start = object_of_some([
        ("id", id),
        ("type", Some("message-start".into())),
        ("delta", Some(object([("message", empty.into())]).into())),
    ]);
    events.push("message-start", &start)?;

    let logprobs = list(&mut response, "logprobs")?;
    events.content(content, logprobs)?;
    match plan {
        None | Some(Value::Null) => {}
        Some(Value::String(plan)) if plan.is_empty() => {}
        Some(Value::String(plan)) => {
            events.delta("tool-plan-delta", None, "tool_plan", plan.into())?
        }
        Some(_) => return Err(ConversionError::Content),
    }
    for (index, call) in calls.into_iter().enumerate() {
        events.tool_call(index, call)?;
    }
    for (index, citation) in citations.into_iter().enumerate() {
        events.delta("citation-start", Some(index), "citations", citation)?;
        events.end("citation-end", index)?;
    }
    let delta = response;
    events.push(
        "message-end",
        &object([("type", "message-end".into()), ("delta", delta.into())]),
    )?;
    let mut stream = events.0;
    events::write(&mut stream, DONE);
    Ok(stream)
}

/// The stream so far.
#[derive(Default)]
struct Events(Vec<u8>);

impl Events {
    fn push(&mut self, kind: &str, event: &Object) -> Result<(), ConversionError> {
        events::write_named(&mut self.0, kind, &tree::to_json(event)?);
        Ok(())
    }

    /// An event with one member of the message.
    fn delta(
        &mut self,
        kind: &str,
        index: Option<usize>,
        name: &str,
        value: Value,
    ) -> Result<(), ConversionError> {
        self.push(kind, &delta(kind, index, name, value))
    }

    fn end(&mut self, kind: &str, index: usize) -> Result<(), ConversionError> {
        self.push(
            kind,
            &object([("type", kind.into()), ("index", index.into())]),
        )
    }

    fn content(&mut self, blocks: Vec<Value>, logprobs: Vec<Value>) -> Result<(), ConversionError> {
        let mut pieces = Some(logprobs).filter(|logprobs| !logprobs.is_empty());
        for (index, block) in blocks.into_iter().enumerate() {
            let Value::Object(mut block) = block else {
                return Err(ConversionError::Content);
            };
            let texts = ["thinking", "text"].map(|name| (name, take_text(&mut block, name)));
            self.delta("content-start", Some(index), "content", block.into())?;
            for (name, text) in texts {
                let Some(text) = text else {
                    continue;
                };
                match pieces.take_if(|_| name == "text") {
                    Some(pieces) => self.pieces(index, &text, pieces)?,
                    None => self.content_delta(index, name, &text)?,
                }
            }
            self.end("content-end", index)?;
        }
        if pieces.is_some() {
            return Err(ConversionError::Content);
        }
        Ok(())
    }

    fn content_delta(
        &mut self,
        index: usize,
        name: &str,
        text: &str,
    ) -> Result<(), ConversionError> {
        let piece = object([(name, text.into())]);
        self.delta("content-delta", Some(index), "content", piece.into())
    }

    /// An event holds the log probabilities of its own text.
    fn pieces(
        &mut self,
        index: usize,
        text: &str,
        pieces: Vec<Value>,
    ) -> Result<(), ConversionError> {
        let mut rest = text;
        for piece in pieces {
            let own = piece.get("text").and_then(Value::as_str);
            let own = own.ok_or(ConversionError::Content)?;
            rest = rest.strip_prefix(own).ok_or(ConversionError::Content)?;
            let kind = "content-delta";
            let content = object([("text", own.into())]);
            let mut event = delta(kind, Some(index), "content", content.into());
            set(&mut event, "logprobs", piece);
            self.push(kind, &event)?;
        }
        if !rest.is_empty() {
            return Err(ConversionError::Content);
        }
        Ok(())
    }

    fn tool_call(&mut self, index: usize, call: Value) -> Result<(), ConversionError> {
        let Value::Object(mut call) = call else {
            return Err(ConversionError::Content);
        };
        let function = call.get_mut("function").and_then(Value::as_object_mut);
        let arguments = function.and_then(|function| take_text(function, "arguments"));
        self.delta("tool-call-start", Some(index), "tool_calls", call.into())?;
        if let Some(arguments) = arguments {
            let piece = object([("function", object([("arguments", arguments.into())]).into())]);
            self.delta("tool-call-delta", Some(index), "tool_calls", piece.into())?;
        }
        self.end("tool-call-end", index)
    }
}

fn delta(kind: &str, index: Option<usize>, name: &str, value: Value) -> Object {
    let message = object([(name, value)]);
    let delta = object([("message", message.into())]);
    object_of_some([
        ("type", Some(kind.into())),
        ("index", index.map(Value::from)),
        ("delta", Some(delta.into())),
    ])
}

/// Takes a text that says something, and leaves an empty one.
fn take_text(object: &mut Object, name: &str) -> Option<String> {
    match object.get_mut(name)? {
        Value::String(text) if !text.is_empty() => Some(std::mem::take(text)),
        _ => None,
    }
}

/// Takes a list, or nothing, out of an object.
fn list(object: &mut Object, name: &str) -> Result<Vec<Value>, ConversionError> {
    match object.remove(name) {
        Some(Value::Array(list)) => Ok(list),
        None | Some(Value::Null) => Ok(vec![]),
        Some(_) => Err(ConversionError::Content),
    }
}
