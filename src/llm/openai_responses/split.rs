//! The stream that a JSON answer stands for: the events of the API reference, "Streaming events",
//! one piece per text, each list of parts in its order.

use serde_json::Value;

use crate::json;
use crate::llm::ConversionError;
use crate::llm::convert::tree::{self, Object, push_json};
use crate::llm::convert::{events, memory};

/// What would take more events is no response of any provider.
const MAX_EVENTS: usize = 16_384;

/// How many times as long as the answer the stream may be. A text comes five times: as piece, as
/// text, in its part, in its item, and in the response.
pub(super) const MAX_GROWTH: usize = 8;

pub(super) fn split(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let Ok(Value::Object(response)) = json::parse(json) else {
        return Err(ConversionError::Malformed);
    };
    let end = match response.get("status").and_then(Value::as_str) {
        Some("completed") => "response.completed",
        Some("incomplete") => "response.incomplete",
        _ => return Err(ConversionError::Malformed),
    };
    let Some(Value::Array(output)) = response.get("output") else {
        return Err(ConversionError::Malformed);
    };
    let started = started(&response);
    let mut stream = Stream {
        bytes: Vec::new(),
        events: 0,
        limit: memory::max_stream(json.len(), MAX_GROWTH),
    };
    stream.event(
        "response.created",
        &[("response", Member::Object(&started))],
    )?;
    stream.event(
        "response.in_progress",
        &[("response", Member::Object(&started))],
    )?;
    for (output_index, item) in output.iter().enumerate() {
        let item = tree::as_object(item)?;
        stream.item(output_index, item)?;
    }
    stream.event(end, &[("response", Member::Object(&response))])?;
    Ok(stream.bytes)
}

/// The response as it was when nothing of it was made. `service_tier` and the like, which a
/// provider settles on the way, have their final values.
fn started(response: &Object) -> Object {
    let before = |(name, value): (&String, &Value)| {
        let value = match name.as_str() {
            "status" => Value::from("in_progress"),
            "output" => Value::Array(Vec::new()),
            "output_text" => Value::from(""),
            "usage" | "completed_at" | "incomplete_details" | "content_filters" | "moderation" => {
                Value::Null
            }
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    tree::collect(&mut response.iter().map(before))
}

/// The value of a member of an event.
#[derive(Clone, Copy)]
enum Member<'a> {
    Json(&'a Value),
    Object(&'a Object),
    Text(&'a str),
    Index(usize),
    List(&'a [Value]),
}

impl Member<'_> {
    fn write(self, out: &mut Vec<u8>) -> Result<(), ConversionError> {
        match self {
            Self::Json(value) => push_json(out, value),
            Self::Object(members) => push_json(out, members),
            Self::Text(text) => push_json(out, text),
            Self::Index(index) => push_json(out, &index),
            Self::List(values) => push_json(out, values),
        }
    }
}

type NamedMember<'a> = (&'a str, Member<'a>);

/// The members of an event: those that say where it belongs, then its own.
fn with<'a>(at: &[NamedMember<'a>], own: &[NamedMember<'a>]) -> Vec<NamedMember<'a>> {
    [at, own].concat()
}

struct Stream {
    bytes: Vec<u8>,
    events: usize,
    /// In bytes: a long id that many parts repeat must not take all memory.
    limit: usize,
}

impl Stream {
    fn event(&mut self, kind: &str, members: &[(&str, Member<'_>)]) -> Result<(), ConversionError> {
        if self.events >= MAX_EVENTS || self.bytes.len() > self.limit {
            return Err(ConversionError::TooLarge);
        }
        events::write_name(&mut self.bytes, kind);
        for text in ["data: {\"type\":\"", kind, "\""] {
            self.bytes.extend_from_slice(text.as_bytes());
        }
        let number = [("sequence_number", Member::Index(self.events))];
        for (name, value) in members.iter().chain(&number) {
            for text in [",\"", name, "\":"] {
                self.bytes.extend_from_slice(text.as_bytes());
            }
            value.write(&mut self.bytes)?;
        }
        self.bytes.extend_from_slice(b"}\n\n");
        self.events = self.events.saturating_add(1);
        Ok(())
    }

    fn item(&mut self, output_index: usize, item: &Object) -> Result<(), ConversionError> {
        let kind = text(item, "type")?;
        let indexed = IndexedItem { output_index, item };
        let added = |not_yet: &[&str]| started_item(item, not_yet);
        match kind {
            "message" => {
                self.added(output_index, &added(&["content"]))?;
                if !item.get("content").is_some_and(Value::is_array) {
                    return Err(ConversionError::Malformed);
                }
                for (index, part) in list(item, "content")?.iter().enumerate() {
                    self.content_part(indexed, index, part)?;
                }
            }
            "reasoning" => {
                self.added(output_index, &added(&["summary", "content"]))?;
                for (index, part) in list(item, "summary")?.iter().enumerate() {
                    self.summary_part(indexed, index, part)?;
                }
                for (index, part) in list(item, "content")?.iter().enumerate() {
                    self.content_part(indexed, index, part)?;
                }
            }
            "function_call" => {
                self.added(output_index, &added(&["arguments"]))?;
                self.whole_text(indexed, "response.function_call_arguments", "arguments")?;
            }
            "custom_tool_call" => {
                self.added(output_index, &added(&["input"]))?;
                self.whole_text(indexed, "response.custom_tool_call_input", "input")?;
            }
            "mcp_call" => {
                self.added(output_index, &added(&["arguments", "output", "error"]))?;
                self.state(indexed, "in_progress")?;
                self.whole_text(indexed, "response.mcp_call_arguments", "arguments")?;
                self.end(indexed)?;
            }
            "mcp_list_tools" => {
                self.added(output_index, &added(&["tools", "error"]))?;
                self.state(indexed, "in_progress")?;
                self.end(indexed)?;
            }
            "code_interpreter_call" => {
                self.added(output_index, &added(&["code", "outputs"]))?;
                self.state(indexed, "in_progress")?;
                if item.get("code").is_some_and(Value::is_string) {
                    self.whole_text(indexed, "response.code_interpreter_call_code", "code")?;
                }
                self.state(indexed, "interpreting")?;
                self.end(indexed)?;
            }
            "web_search_call" | "file_search_call" => {
                self.added(output_index, &added(&["action", "results"]))?;
                self.state(indexed, "in_progress")?;
                self.state(indexed, "searching")?;
                self.end(indexed)?;
            }
            "image_generation_call" => {
                self.added(output_index, &added(&["result"]))?;
                self.state(indexed, "in_progress")?;
                self.state(indexed, "generating")?;
                self.end(indexed)?;
            }
            // Nothing is known of its pieces.
            _ => self.added(output_index, item)?,
        }
        self.event(
            "response.output_item.done",
            &[
                ("item", Member::Object(item)),
                ("output_index", Member::Index(output_index)),
            ],
        )
    }

    fn added(&mut self, output_index: usize, item: &Object) -> Result<(), ConversionError> {
        self.event(
            "response.output_item.added",
            &[
                ("item", Member::Object(item)),
                ("output_index", Member::Index(output_index)),
            ],
        )
    }

    /// What a tool of the provider's is at: `response.<type of the item>.<state>`.
    fn state(&mut self, indexed: IndexedItem<'_>, state: &str) -> Result<(), ConversionError> {
        let kind = text(indexed.item, "type")?;
        self.event(
            &format!("response.{kind}.{state}"),
            &[
                ("item_id", Member::Text(indexed.id()?)),
                ("output_index", Member::Index(indexed.output_index)),
            ],
        )
    }

    /// How a tool of the provider's came to its end. Only those of MCP have an event for failure.
    fn end(&mut self, indexed: IndexedItem<'_>) -> Result<(), ConversionError> {
        let status = indexed.item.get("status").and_then(Value::as_str);
        let error = indexed.item.get("error");
        let failed = status == Some("failed") || error.is_some_and(|error| !error.is_null());
        match text(indexed.item, "type")? {
            "mcp_call" | "mcp_list_tools" if failed => self.state(indexed, "failed"),
            _ if failed => Ok(()),
            _ => self.state(indexed, "completed"),
        }
    }

    /// A text that is a member of the item itself, told by `<kind>.delta` and `<kind>.done`.
    fn whole_text(
        &mut self,
        indexed: IndexedItem<'_>,
        kind: &str,
        name: &str,
    ) -> Result<(), ConversionError> {
        let whole = text(indexed.item, name)?;
        let id = ("item_id", Member::Text(indexed.id()?));
        let index = ("output_index", Member::Index(indexed.output_index));
        if !whole.is_empty() {
            self.event(
                &format!("{kind}.delta"),
                &[("delta", Member::Text(whole)), id, index],
            )?;
        }
        self.event(
            &format!("{kind}.done"),
            &[(name, Member::Text(whole)), id, index],
        )
    }

    fn content_part(
        &mut self,
        indexed: IndexedItem<'_>,
        index: usize,
        part: &Value,
    ) -> Result<(), ConversionError> {
        let part = tree::as_object(part)?;
        let at = [
            ("content_index", Member::Index(index)),
            ("item_id", Member::Text(indexed.id()?)),
            ("output_index", Member::Index(indexed.output_index)),
        ];
        let kind = text(part, "type")?;
        let started = match kind {
            "output_text" => started_item(part, &["text", "annotations", "logprobs"]),
            "reasoning_text" => started_item(part, &["text"]),
            "refusal" => started_item(part, &["refusal"]),
            // Nothing is known of its pieces.
            _ => part.clone(),
        };
        self.event(
            "response.content_part.added",
            &with(&at, &[("part", Member::Object(&started))]),
        )?;
        match kind {
            "output_text" => {
                let text = text(part, "text")?;
                let logprobs = ("logprobs", Member::List(list(part, "logprobs")?));
                if !text.is_empty() {
                    self.event(
                        "response.output_text.delta",
                        &with(&at, &[("delta", Member::Text(text)), logprobs]),
                    )?;
                }
                for (index, annotation) in list(part, "annotations")?.iter().enumerate() {
                    self.event(
                        "response.output_text.annotation.added",
                        &with(
                            &at,
                            &[
                                ("annotation", Member::Json(annotation)),
                                ("annotation_index", Member::Index(index)),
                            ],
                        ),
                    )?;
                }
                self.event(
                    "response.output_text.done",
                    &with(&at, &[logprobs, ("text", Member::Text(text))]),
                )?;
            }
            "reasoning_text" | "refusal" => {
                let (name, delta, done) = match kind {
                    "refusal" => ("refusal", "response.refusal.delta", "response.refusal.done"),
                    _ => (
                        "text",
                        "response.reasoning_text.delta",
                        "response.reasoning_text.done",
                    ),
                };
                let text = text(part, name)?;
                if !text.is_empty() {
                    self.event(delta, &with(&at, &[("delta", Member::Text(text))]))?;
                }
                self.event(done, &with(&at, &[(name, Member::Text(text))]))?;
            }
            _ => {}
        }
        self.event(
            "response.content_part.done",
            &with(&at, &[("part", Member::Object(part))]),
        )
    }

    fn summary_part(
        &mut self,
        indexed: IndexedItem<'_>,
        index: usize,
        part: &Value,
    ) -> Result<(), ConversionError> {
        let part = tree::as_object(part)?;
        let at = [
            ("item_id", Member::Text(indexed.id()?)),
            ("output_index", Member::Index(indexed.output_index)),
            ("summary_index", Member::Index(index)),
        ];
        let text = text(part, "text")?;
        self.event(
            "response.reasoning_summary_part.added",
            &with(
                &at,
                &[("part", Member::Object(&started_item(part, &["text"])))],
            ),
        )?;
        if !text.is_empty() {
            self.event(
                "response.reasoning_summary_text.delta",
                &with(&at, &[("delta", Member::Text(text))]),
            )?;
        }
        self.event(
            "response.reasoning_summary_text.done",
            &with(&at, &[("text", Member::Text(text))]),
        )?;
        self.event(
            "response.reasoning_summary_part.done",
            &with(&at, &[("part", Member::Object(part))]),
        )
    }
}

/// An output item and its index.
#[derive(Clone, Copy)]
struct IndexedItem<'a> {
    output_index: usize,
    item: &'a Object,
}

impl<'a> IndexedItem<'a> {
    /// What the events of an item name it by.
    fn id(&self) -> Result<&'a str, ConversionError> {
        text(self.item, "id")
    }
}

/// An item or part as it is when it begins: in progress, and the members of `not_yet` empty.
fn started_item(item: &Object, not_yet: &[&str]) -> Object {
    let before = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(_) if name == "status" => Value::from("in_progress"),
            // These have no empty value, and are not there yet.
            _ if matches!(name.as_str(), "encrypted_content" | "action") => return None,
            Value::String(_) if not_yet.contains(&name.as_str()) => Value::from(""),
            Value::Array(_) if not_yet.contains(&name.as_str()) => Value::Array(Vec::new()),
            _ if not_yet.contains(&name.as_str()) => Value::Null,
            value => value.clone(),
        };
        Some((name.clone(), value))
    };
    tree::collect(&mut item.iter().filter_map(before))
}

fn text<'a>(object: &'a Object, name: &str) -> Result<&'a str, ConversionError> {
    object
        .get(name)
        .and_then(Value::as_str)
        .ok_or(ConversionError::Malformed)
}

/// A list that may be absent or null.
fn list<'a>(object: &'a Object, name: &str) -> Result<&'a [Value], ConversionError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(ConversionError::Malformed),
    }
}
