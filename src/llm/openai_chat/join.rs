//! The completion that a stream of chunks makes.
//!
//! Source: openai-python's accumulation of chunks, and the dialects as recorded. What comes in
//! pieces is known by its name, and adds up; anything else is said once, or again and again the same
//! ([`Carried`]); what is neither is lossy. Padding is dropped.

use serde_json::Value;

use super::Shape;
use super::content::Content;
use super::judge::{MAX_CHOICES, MAX_TOOL_CALLS};
use super::pieces::{append, append_items, append_member, keep, keep_last};
use crate::llm::ConversionError;
use crate::llm::convert::carried::Carried;
use crate::llm::convert::events;
use crate::llm::convert::tree::{
    self, Object, in_order, is_blank, object, says_nothing, set, set_some,
};

/// Hides the length of a chunk, or of an answer, and says nothing (OpenAI, Mistral, Copilot).
const PADDING: [&str; 3] = ["obfuscation", "p", "padding"];

/// Members of a delta that are about this piece alone, which no whole message has: Groq's channel,
/// which the names of the members tell as well, and Together's token.
pub(super) const OF_A_PIECE: [&str; 2] = ["channel", "token_id"];

/// Top-level members of which the last value is kept: Azure's first chunk has an empty id, and
/// Perplexity tells the time of each chunk and all that it has found so far.
const LAST_COUNTS: [&str; 17] = [
    "id",
    "created",
    "model",
    "system_fingerprint",
    "service_tier",
    "provider",
    "request_id",
    "prompt_filter_results",
    "moderation",
    "latency_checkpoint",
    "sla_metrics",
    "citations",
    "search_results",
    "usage_breakdown",
    // llama.cpp and Copilot, of all so far.
    "timings",
    "prompt_progress",
    "copilot_usage",
];

/// The same for members of a choice. Azure's filters have a result for each piece.
const LAST_OF_CHOICE_COUNTS: [&str; 4] = [
    "native_finish_reason",
    "stop_reason",
    "content_filter_results",
    "content_filter_result",
];

/// Joins a stream of chunks that report usage.
///
/// # Errors
/// If the conversion would lose or invent something.
pub(in crate::llm) fn join(stream: &[u8], shape: Shape) -> Result<Object, ConversionError> {
    let answer = join_any(stream, shape)?;
    match answer.get("usage") {
        None => Err(ConversionError::NoUsage),
        Some(_) => Ok(answer),
    }
}

/// Joins a stream of chunks, which may report no usage.
///
/// # Errors
/// If the conversion would lose or invent something.
pub(in crate::llm) fn join_any(stream: &[u8], shape: Shape) -> Result<Object, ConversionError> {
    let mut answer = Joined::default();
    events::objects(stream, &mut |chunk| answer.take(chunk))?;
    answer.finish(shape)
}

/// A completion in the making.
#[derive(Default)]
struct Joined {
    top: Object,
    x_groq: Object,
    usage: Value,
    choices: Vec<Choice>,
}

impl Joined {
    fn take(&mut self, chunk: Object) -> Result<(), ConversionError> {
        for (name, value) in chunk {
            match (name.as_str(), value) {
                ("object", _) => {}
                (padding, _) if PADDING.contains(&padding) => {}
                ("choices", Value::Array(choices)) => {
                    for choice in choices {
                        self.take_choice(choice)?;
                    }
                }
                ("choices", Value::Null) => {}
                ("choices", _) => return Err(ConversionError::Malformed),
                ("usage", usage) => keep_last(&mut self.usage, usage),
                ("x_groq", Value::Object(x_groq)) => self.take_x_groq(x_groq)?,
                (_, value) => {
                    let last_counts = LAST_COUNTS.contains(&name.as_str());
                    keep(&mut self.top, name, value, last_counts)?;
                }
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: Value) -> Result<(), ConversionError> {
        let choice = tree::into_object(choice)?;
        let index = match choice.get("index") {
            None | Some(Value::Null) => 0,
            Some(index) => index.as_u64().ok_or(ConversionError::Malformed)?,
        };
        let joined = match self.choices.iter().position(|joined| joined.index == index) {
            Some(position) => self
                .choices
                .get_mut(position)
                .ok_or(ConversionError::Malformed)?,
            None if self.choices.len() >= MAX_CHOICES => return Err(ConversionError::Malformed),
            None => self.choices.push_mut(Choice {
                index,
                ..Choice::default()
            }),
        };
        joined.take(choice)
    }

    /// Groq's request id and seed come with the first chunk, its usage with the last; in a whole
    /// completion the usage has a place of its own.
    fn take_x_groq(&mut self, x_groq: Object) -> Result<(), ConversionError> {
        for (name, value) in x_groq {
            match name.as_str() {
                "usage" if self.usage.is_null() => self.usage = value,
                "usage" => {}
                // The same of each model, which has such a place as well.
                "usage_breakdown" => keep(&mut self.top, name, value, true)?,
                _ => keep(&mut self.x_groq, name, value, false)?,
            }
        }
        Ok(())
    }

    fn finish(self, shape: Shape) -> Result<Object, ConversionError> {
        if self.choices.is_empty() {
            return Err(ConversionError::Malformed);
        }
        let mut choices = Vec::new();
        for choice in self.choices {
            choices.push((choice.index, choice.finish(shape)?));
        }
        let mut answer = self.top;
        set(&mut answer, "object", shape.object().into());
        set(&mut answer, "choices", Value::Array(in_order(choices)));
        if !self.usage.is_null() {
            set(&mut answer, "usage", self.usage);
        }
        if !self.x_groq.is_empty() {
            set(&mut answer, "x_groq", self.x_groq.into());
        }
        Ok(answer)
    }
}

/// A choice in the making.
#[derive(Default)]
struct Choice {
    index: u64,
    message: Object,
    content: Content,
    calls: Vec<Call>,
    function_call: Object,
    text: String,
    logprobs: Option<Value>,
    finish_reason: Value,
    rest: Object,
    /// What its deltas have besides.
    carried: Carried,
    /// Perplexity: the message so far, beside the delta.
    so_far: Value,
}

impl Choice {
    fn take(&mut self, choice: Object) -> Result<(), ConversionError> {
        for (name, value) in choice {
            match (name.as_str(), value) {
                // Where in the stream a filter stood: a whole completion has no such place.
                ("index" | "content_filter_offsets", _) | ("delta", Value::Null) => {}
                ("delta", Value::Object(delta)) => self.take_delta(delta)?,
                ("text", text) => append(&mut self.text, &text)?,
                ("logprobs", logprobs) => self.take_logprobs(logprobs)?,
                ("finish_reason", reason) => keep_last(&mut self.finish_reason, reason),
                ("message", message) => self.so_far = message,
                ("delta", _) => return Err(ConversionError::UnknownMember),
                // vLLM, if asked to.
                ("token_ids", Value::Array(ids)) => append_items(&mut self.rest, name, ids)?,
                (_, value) => {
                    let last_counts = LAST_OF_CHOICE_COUNTS.contains(&name.as_str());
                    keep(&mut self.rest, name, value, last_counts)?;
                }
            }
        }
        Ok(())
    }

    fn take_delta(&mut self, delta: Object) -> Result<(), ConversionError> {
        let mut unknown = Vec::new();
        let mut says = false;
        for (name, value) in delta {
            let is_said = !is_blank(&value);
            match (name.as_str(), value) {
                ("content", content) => self.content.take(content)?,
                ("role", role) => {
                    let kept = self.message.entry("role").or_insert(Value::Null);
                    if is_blank(kept) {
                        *kept = role;
                    }
                    // Some say it with every delta.
                    continue;
                }
                ("refusal" | "reasoning_content" | "reasoning", piece) => {
                    append_member(&mut self.message, name, piece)?;
                }
                ("tool_calls", Value::Array(calls)) if !calls.is_empty() => {
                    for call in calls {
                        self.take_call(call)?;
                    }
                }
                ("function_call", Value::Object(call)) => {
                    take_function(&mut self.function_call, call, "arguments")?;
                }
                ("annotations", Value::Array(annotations)) => {
                    append_items(&mut self.message, name, annotations)?;
                }
                ("reasoning_details", Value::Array(details)) if !details.is_empty() => {
                    for detail in details {
                        self.take_reasoning_detail(detail)?;
                    }
                }
                ("executed_tools", Value::Array(tools)) => {
                    take_executed_tools(self.message.entry(name).or_insert(Value::Null), tools)?;
                }
                // Azure On Your Data, and search services: whole objects.
                ("context" | "citations", value) => {
                    keep(&mut self.message, name, value, false)?;
                    continue;
                }
                // Mistral has the choice's index here as well.
                ("index", index) if index.as_u64() == Some(self.index) => continue,
                (padding, _) if PADDING.contains(&padding) || OF_A_PIECE.contains(&padding) => {
                    continue;
                }
                (piece, blank) if is_blank(&blank) && IN_PIECES.contains(&piece) => {
                    self.message.entry(name).or_insert(blank);
                }
                (piece, _) if piece == "index" || IN_PIECES.contains(&piece) => {
                    return Err(ConversionError::UnknownMember);
                }
                ("audio" | "images", value) if !says_nothing(&value) => {
                    return Err(ConversionError::Content);
                }
                (_, value) => {
                    unknown.push((name, value));
                    continue;
                }
            }
            says |= is_said;
        }
        self.carried.take(unknown, says)
    }

    /// As the judge does, but a second id with the same index is refused: clients treat it
    /// differently.
    fn take_call(&mut self, call: Value) -> Result<(), ConversionError> {
        let call = tree::into_object(call)?;
        let index = call.get("index").and_then(Value::as_u64);
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let position = match index {
            Some(_) => self.calls.iter().position(|joined| joined.index == index),
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self
                .calls
                .iter()
                .position(|joined| joined.members.get("id").and_then(Value::as_str) == Some(id)),
        };
        let joined = match position {
            Some(position) => self
                .calls
                .get_mut(position)
                .ok_or(ConversionError::Malformed)?,
            None if self.calls.len() >= MAX_TOOL_CALLS => return Err(ConversionError::Malformed),
            None => self.calls.push_mut(Call {
                index,
                members: Object::new(),
            }),
        };
        joined.take(call)
    }

    /// OpenRouter: pieces of one text or summary follow one another and have the same index; a
    /// signature comes with one of them. Anything else is whole.
    fn take_reasoning_detail(&mut self, detail: Value) -> Result<(), ConversionError> {
        let details = self
            .message
            .entry("reasoning_details")
            .or_insert(Value::Null);
        if details.is_null() {
            *details = Value::Array(Vec::new());
        }
        let (Value::Array(details), Value::Object(detail)) = (details, detail) else {
            return Err(ConversionError::Malformed);
        };
        let kept = match details.last_mut() {
            Some(Value::Object(last)) if same_detail(last, &detail) => last,
            _ => {
                details.push(detail.into());
                return Ok(());
            }
        };
        for (name, value) in detail {
            match name.as_str() {
                "text" | "summary" => append_member(kept, name, value)?,
                _ => keep(kept, name, value, false)?,
            }
        }
        Ok(())
    }

    fn take_logprobs(&mut self, logprobs: Value) -> Result<(), ConversionError> {
        match (self.logprobs.get_or_insert_default(), logprobs) {
            (_, Value::Null) => {}
            (none @ Value::Null, logprobs @ Value::Object(_)) => *none = logprobs,
            (Value::Object(kept), Value::Object(logprobs)) => {
                for (name, value) in logprobs {
                    match value {
                        Value::Array(items) => append_items(kept, name, items)?,
                        Value::Null => {
                            kept.entry(name).or_insert(Value::Null);
                        }
                        _ => return Err(ConversionError::UnknownMember),
                    }
                }
            }
            _ => return Err(ConversionError::Malformed),
        }
        Ok(())
    }

    fn finish(mut self, shape: Shape) -> Result<Value, ConversionError> {
        let mut choice = object([
            ("index", self.index.into()),
            ("finish_reason", self.finish_reason),
        ]);
        match shape {
            Shape::Text
                if !self.message.is_empty()
                    || self.content.is_said()
                    || !says_nothing(&self.so_far) =>
            {
                return Err(ConversionError::UnknownMember);
            }
            // Together has what the delta says beside it as well.
            Shape::Chat if !self.text.is_empty() && !self.content.is(&self.text) => {
                return Err(ConversionError::UnknownMember);
            }
            Shape::Chat if !is_content(&self.so_far, &self.content) => {
                return Err(ConversionError::UnknownMember);
            }
            Shape::Text => {
                set(&mut choice, "text", self.text.into());
            }
            Shape::Chat => {
                // The only one that a completion's message can have.
                let role = self.message.remove("role");
                let role = role.filter(|role| !is_blank(role));
                let mut message = object([
                    ("role", role.unwrap_or_else(|| "assistant".into())),
                    ("content", self.content.finish()),
                ]);
                message.extend(self.message);
                self.carried.finish(&mut message)?;
                if !self.calls.is_empty() {
                    // Calls without an index stay where they are, after those with one.
                    let position = |call: &Call| call.index.unwrap_or(u64::MAX);
                    let calls = self.calls.into_iter();
                    let calls = calls.map(|call| (position(&call), call.members.into()));
                    let calls = Value::Array(in_order(calls.collect()));
                    set(&mut message, "tool_calls", calls);
                }
                if !self.function_call.is_empty() {
                    set(&mut message, "function_call", self.function_call.into());
                }
                set(&mut choice, "message", message.into());
            }
        }
        set_some(&mut choice, "logprobs", self.logprobs);
        choice.extend(self.rest);
        Ok(choice.into())
    }
}

/// Members of a delta that come in pieces, each of its own type.
pub(super) const IN_PIECES: [&str; 7] = [
    "refusal",
    "reasoning_content",
    "reasoning",
    "tool_calls",
    "function_call",
    "annotations",
    "reasoning_details",
];

/// Groq's Compound tells of a tool when it is called, and again with what came of it.
fn take_executed_tools(kept: &mut Value, tools: Vec<Value>) -> Result<(), ConversionError> {
    if kept.is_null() {
        *kept = Value::Array(Vec::new());
    }
    let kept = kept.as_array_mut().ok_or(ConversionError::Malformed)?;
    for tool in tools {
        let named = |name| tool.get(name).is_some_and(|value| !value.is_null());
        let same = |kept: &&mut Value| {
            named("index")
                && ["index", "type", "arguments"]
                    .iter()
                    .all(|name| kept.get(name) == tool.get(name))
        };
        // Most often it is the last one.
        match kept.last_mut().filter(same) {
            Some(kept) => *kept = tool,
            None => kept.push(tool),
        }
    }
    Ok(())
}

/// Whether a message that tells what was said so far says what the deltas said.
fn is_content(so_far: &Value, content: &Content) -> bool {
    match so_far.get("content") {
        Some(Value::String(text)) if !text.is_empty() => content.is(text),
        _ => {
            says_nothing(so_far)
                || so_far.as_object().is_some_and(|message| {
                    message
                        .iter()
                        .all(|(name, value)| name == "role" || says_nothing(value))
                })
        }
    }
}

/// A tool call in the making.
struct Call {
    index: Option<u64>,
    members: Object,
}

impl Call {
    fn take(&mut self, call: Object) -> Result<(), ConversionError> {
        for (name, value) in call {
            match (name.as_str(), value) {
                ("index", _) => {}
                ("function", Value::Object(piece)) => {
                    take_function(self.object(name)?, piece, "arguments")?;
                }
                ("custom", Value::Object(piece)) => {
                    take_function(self.object(name)?, piece, "input")?;
                }
                (_, value) => keep(&mut self.members, name, value, false)?,
            }
        }
        Ok(())
    }

    fn object(&mut self, name: String) -> Result<&mut Object, ConversionError> {
        let kept = self.members.entry(name).or_insert(Value::Null);
        if kept.is_null() {
            *kept = Object::new().into();
        }
        kept.as_object_mut().ok_or(ConversionError::Malformed)
    }
}

/// Adds a piece of a function call: of its arguments more and more comes, everything else once.
fn take_function(kept: &mut Object, piece: Object, adds_up: &str) -> Result<(), ConversionError> {
    for (name, value) in piece {
        if name == adds_up {
            let text = kept.entry(name).or_insert_with(|| "".into());
            let Value::String(text) = text else {
                return Err(ConversionError::Malformed);
            };
            append(text, &value)?;
        } else {
            keep(kept, name, value, false)?;
        }
    }
    Ok(())
}

/// Whether two of OpenRouter's reasoning details are pieces of one.
pub(super) fn same_detail(a: &Object, b: &Object) -> bool {
    let kind = a.get("type").and_then(Value::as_str);
    matches!(kind, Some("reasoning.text" | "reasoning.summary"))
        && a.get("type") == b.get("type")
        && a.get("index") == b.get("index")
}
