//! The stream of chunks that a completion could have come as.
//!
//! Source: the OpenAI API reference, "The chat completion chunk object", and streams as recorded:
//! for each choice the role, what it says, each tool call, and the finish; then the usage, if it
//! was asked for, in a chunk without choices.

use serde_json::Value;

use super::Shape;
use super::content::PartKind;
use super::join::{IN_PIECES, OF_A_PIECE, join_any, same_detail};
use super::request::StreamOptions;
use crate::llm::convert::tree::{self, Object, in_order, is_blank, object, says_nothing, set};
use crate::llm::convert::{events, memory};
use crate::llm::judge::DONE;
use crate::llm::{ConversionError, Form};

/// Splits a whole completion, given as JSON, into a stream that is at most `max_growth` times as long.
///
/// # Errors
/// If the conversion would lose or invent something.
pub(in crate::llm) fn split_json(
    json: &[u8],
    shape: Shape,
    wanted: &Form,
    max_growth: usize,
) -> Result<Vec<u8>, ConversionError> {
    let max_bytes = memory::max_stream(json.len(), max_growth);
    split(tree::parse(json)?, shape, wanted, max_bytes)
}

/// Splits the completion that a stream makes. A stream without usage serves requests that ask for
/// none.
///
/// # Errors
/// If the conversion would lose or invent something.
pub(in crate::llm) fn restream(
    stream: &[u8],
    shape: Shape,
    wanted: &Form,
    max_growth: usize,
) -> Result<Vec<u8>, ConversionError> {
    let max_bytes = memory::max_stream(stream.len(), max_growth);
    split(join_any(stream, shape)?, shape, wanted, max_bytes)
}

/// Splits a whole completion into a stream of the form `wanted`, of at most `max_bytes`.
///
/// # Errors
/// If the conversion would lose or invent something.
pub(in crate::llm) fn split(
    completion: Object,
    shape: Shape,
    wanted: &Form,
    max_bytes: usize,
) -> Result<Vec<u8>, ConversionError> {
    let options = StreamOptions::parse(&wanted.options).ok_or(ConversionError::Unsupported)?;
    // How many tokens there were after each piece is not known.
    if options.continuous_usage_stats == Some(true) {
        return Err(ConversionError::Unsupported);
    }
    let include_usage = options.include_usage == Some(true);
    let (mut chunks, choices) = Chunks::new(completion, shape, include_usage, max_bytes)?;
    let mut indexed = Vec::new();
    for choice in choices {
        indexed.push((index_of(&choice)?, choice));
    }
    let mut last = None;
    let mut choices = in_order(indexed).into_iter().peekable();
    while let Some(choice) = choices.next() {
        let choice = Choice::new(choice)?;
        if last >= Some(choice.index) {
            return Err(ConversionError::Malformed);
        }
        last = Some(choice.index);
        choice.write(&mut chunks, shape, choices.peek().is_none())?;
    }
    chunks.finish()
}

/// What stands at the top of an answer, and in every chunk of a stream.
const IN_EVERY_CHUNK: [&str; 6] = [
    "id",
    "created",
    "model",
    "system_fingerprint",
    "service_tier",
    "provider",
];

fn is_composite(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// The chunks written so far, and what they have in common.
struct Chunks {
    out: Vec<u8>,
    /// What is in every chunk.
    head: Object,
    /// What is in the first one only.
    first: Object,
    x_groq: Option<Object>,
    usage: Value,
    include_usage: bool,
    /// Every chunk repeats what stands at the top of the answer.
    max_bytes: usize,
}

impl Chunks {
    fn new(
        completion: Object,
        shape: Shape,
        include_usage: bool,
        max_bytes: usize,
    ) -> Result<(Self, Vec<Value>), ConversionError> {
        let mut chunks = Self {
            out: Vec::new(),
            head: Object::new(),
            first: Object::new(),
            x_groq: None,
            usage: Value::Null,
            include_usage,
            max_bytes,
        };
        let mut choices = Vec::new();
        for (name, value) in completion {
            match (name.as_str(), value) {
                ("object", value) if value == shape.object() => {}
                ("object", _) => return Err(ConversionError::UnknownMember),
                ("choices", Value::Array(all)) => choices = all,
                ("usage", usage) => chunks.usage = usage,
                ("x_groq", Value::Object(x_groq))
                    if !x_groq.is_empty() && !x_groq.contains_key("usage") =>
                {
                    chunks.x_groq = Some(x_groq);
                }
                ("padding", _) => {}
                // The latter two are padding of chunks.
                ("x_groq", Value::Object(_)) | ("obfuscation" | "p", _) => {
                    return Err(ConversionError::UnknownMember);
                }
                (head, value) if IN_EVERY_CHUNK.contains(&head) && !is_composite(&value) => {
                    chunks.head.insert(name, value);
                }
                (_, value) => {
                    chunks.first.insert(name, value);
                }
            }
        }
        set(&mut chunks.head, "object", shape.chunk_object().into());
        if include_usage && is_blank(&chunks.usage) {
            return Err(ConversionError::NoUsage);
        }
        if choices.is_empty() {
            return Err(ConversionError::Malformed);
        }
        Ok((chunks, choices))
    }

    fn write(&mut self, choice: Object) -> Result<(), ConversionError> {
        let x_groq = match &self.x_groq {
            Some(x_groq) if self.out.is_empty() => Some(x_groq.clone()),
            _ => None,
        };
        self.write_with(vec![choice.into()], Value::Null, x_groq)
    }

    /// Groq has its request id in the first chunk, and in the last one again, with the usage.
    fn write_last(&mut self, choice: Object) -> Result<(), ConversionError> {
        let mut x_groq = self.x_groq.take();
        if let Some(x_groq) = &mut x_groq {
            set(x_groq, "usage", self.usage.clone());
        }
        self.write_with(vec![choice.into()], Value::Null, x_groq)
    }

    fn write_with(
        &mut self,
        choices: Vec<Value>,
        usage: Value,
        x_groq: Option<Object>,
    ) -> Result<(), ConversionError> {
        let mut chunk = self.head.clone();
        chunk.extend(std::mem::take(&mut self.first));
        set(&mut chunk, "choices", choices.into());
        if self.include_usage {
            set(&mut chunk, "usage", usage);
        }
        if let Some(x_groq) = x_groq {
            set(&mut chunk, "x_groq", x_groq.into());
        }
        events::write(&mut self.out, &tree::to_json(&chunk)?);
        if self.out.len() > self.max_bytes {
            return Err(ConversionError::TooLarge);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, ConversionError> {
        if self.include_usage {
            let usage = std::mem::take(&mut self.usage);
            self.write_with(Vec::new(), usage, None)?;
        }
        events::write(&mut self.out, DONE);
        Ok(self.out)
    }
}

fn index_of(choice: &Value) -> Result<u64, ConversionError> {
    match choice.get("index") {
        None | Some(Value::Null) => Ok(0),
        Some(index) => index.as_u64().ok_or(ConversionError::Malformed),
    }
}

/// A choice to be split.
struct Choice {
    index: u64,
    message: Option<Object>,
    text: Option<Value>,
    logprobs: Option<Value>,
    finish_reason: Value,
    rest: Object,
}

impl Choice {
    fn new(choice: Value) -> Result<Self, ConversionError> {
        let index = index_of(&choice)?;
        let mut choice = tree::into_object(choice)?;
        choice.remove("index");
        let message = match choice.remove("message") {
            None => None,
            Some(Value::Object(message)) => Some(message),
            Some(_) => return Err(ConversionError::Malformed),
        };
        let logprobs = choice.remove("logprobs");
        if !matches!(logprobs, None | Some(Value::Null | Value::Object(_))) {
            return Err(ConversionError::Malformed);
        }
        // Members of chunks. Perplexity has a delta that says nothing beside the message.
        let delta = choice.remove("delta");
        if choice.contains_key("content_filter_offsets") || !delta.is_none_or(|it| is_mute(&it)) {
            return Err(ConversionError::UnknownMember);
        }
        Ok(Self {
            index,
            message,
            text: choice.remove("text"),
            logprobs,
            finish_reason: choice.remove("finish_reason").unwrap_or_default(),
            rest: choice,
        })
    }

    fn write(
        mut self,
        chunks: &mut Chunks,
        shape: Shape,
        is_last: bool,
    ) -> Result<(), ConversionError> {
        // Usage tells that a document is whole, of a stream only a finish does. Snowflake's own
        // streams have none, where its documents have an empty one.
        if self.finish_reason.is_null() {
            return Err(ConversionError::Content);
        }
        match (shape, self.message.take(), self.text.take()) {
            (Shape::Chat, Some(message), None) => self.write_message(chunks, message)?,
            (Shape::Text, None, Some(text @ Value::String(_))) => {
                let chunk = self.chunk("text", text, true);
                chunks.write(chunk)?;
            }
            // Azure leaves the message out where a filter stopped it.
            (_, None, None) => return Err(ConversionError::Content),
            _ => return Err(ConversionError::Malformed),
        }
        let mut chunk = match shape {
            Shape::Chat => self.chunk("delta", Object::new().into(), true),
            Shape::Text => self.chunk("text", "".into(), true),
        };
        set(&mut chunk, "finish_reason", self.finish_reason);
        chunk.extend(self.rest);
        if is_last {
            chunks.write_last(chunk)
        } else {
            chunks.write(chunk)
        }
    }

    fn write_message(
        &mut self,
        chunks: &mut Chunks,
        message: Object,
    ) -> Result<(), ConversionError> {
        let parts = Parts::of(message)?;
        let role = self.chunk("delta", parts.role.into(), false);
        chunks.write(role)?;
        for piece in parts.pieces {
            let has_logprobs = matches!(piece, Piece::Words(..));
            let chunk = self.chunk("delta", piece.delta()?.into(), has_logprobs);
            chunks.write(chunk)?;
        }
        Ok(())
    }

    /// A chunk's choice that holds one thing. The log probabilities go with the first that may
    /// have them.
    fn chunk(&mut self, name: &str, value: Value, with_logprobs: bool) -> Object {
        let mut chunk = object([("index", self.index.into()), (name, value)]);
        if let Some(logprobs) = &mut self.logprobs {
            let logprobs = if with_logprobs {
                std::mem::take(logprobs)
            } else {
                Value::Null
            };
            set(&mut chunk, "logprobs", logprobs);
        }
        set(&mut chunk, "finish_reason", Value::Null);
        chunk
    }
}

/// Whether a delta says no more than a role.
fn is_mute(delta: &Value) -> bool {
    let mut members = delta.as_object().into_iter().flatten();
    says_nothing(delta) || members.all(|(name, value)| name == "role" || says_nothing(value))
}

/// A message in pieces.
#[derive(Default)]
struct Parts {
    /// The first delta: the role, and what says nothing.
    role: Object,
    /// What the others hold, which are made one by one: each is a map of maps.
    pieces: Vec<Piece>,
}

/// What a delta holds.
enum Piece {
    /// What the choice's log probabilities are about.
    Words(&'static str, Value),
    Other(&'static str, Value),
    Call(usize, Value),
}

impl Piece {
    fn delta(self) -> Result<Object, ConversionError> {
        let (name, value) = match self {
            Self::Words(name, value) | Self::Other(name, value) => (name, value),
            Self::Call(index, call) => ("tool_calls", vec![numbered(index, call)?].into()),
        };
        Ok(object([(name, value)]))
    }
}

/// A tool call as it comes in a chunk.
fn numbered(index: usize, call: Value) -> Result<Value, ConversionError> {
    let mut call = tree::into_object(call)?;
    for (name, text) in [("function", "arguments"), ("custom", "input")] {
        match call.get(name) {
            Some(Value::Object(function)) => adds_up(function, text)?,
            None | Some(Value::Null) => {}
            Some(_) => return Err(ConversionError::Malformed),
        }
    }
    // DeepSeek and Mistral have one in whole messages too.
    set(&mut call, "index", index.into());
    Ok(call.into())
}

impl Parts {
    fn of(mut message: Object) -> Result<Self, ConversionError> {
        let mut parts = Self::default();
        if let Some(role) = message.remove("role") {
            set(&mut parts.role, "role", role);
        }
        // Thoughts come before words, words before calls.
        for name in ["reasoning_content", "reasoning", "reasoning_details"] {
            if let Some(value) = message.remove(name) {
                parts.reasoning(name, value)?;
            }
        }
        match message.remove("content") {
            Some(Value::Array(content)) if !content.is_empty() => parts.content(content)?,
            Some(content @ Value::String(_)) if !is_blank(&content) => {
                set(&mut parts.role, "content", "".into());
                parts.words("content", content);
            }
            Some(content) if is_blank(&content) && !content.is_object() => {
                set(&mut parts.role, "content", content);
            }
            Some(_) => return Err(ConversionError::Malformed),
            None => {}
        }
        for (name, value) in message {
            match (name.as_str(), value) {
                // Copilot hides the length of an answer.
                ("padding", _) => {}
                // Members of deltas, which are not carried over from there to a message.
                ("obfuscation" | "p" | "index", _) => return Err(ConversionError::UnknownMember),
                (of_a_piece, Value::Null) if OF_A_PIECE.contains(&of_a_piece) => {}
                (_, Value::Null) => {
                    parts.role.insert(name, Value::Null);
                }
                ("refusal", Value::Array(_) | Value::Object(_))
                | ("annotations", Value::String(_) | Value::Object(_)) => {
                    return Err(ConversionError::Malformed);
                }
                (_, blank) if is_blank(&blank) && name != "function_call" => {
                    parts.role.insert(name, blank);
                }
                ("refusal", refusal @ Value::String(_)) => parts.words("refusal", refusal),
                ("annotations", annotations @ Value::Array(_)) => {
                    parts.add("annotations", annotations);
                }
                ("tool_calls", Value::Array(calls)) => {
                    let calls = calls.into_iter().enumerate();
                    parts
                        .pieces
                        .extend(calls.map(|(index, call)| Piece::Call(index, call)));
                }
                ("function_call", Value::Object(call)) if !call.is_empty() => {
                    adds_up(&call, "arguments")?;
                    parts.add("function_call", call.into());
                }
                ("audio" | "images", value) if !says_nothing(&value) => {
                    return Err(ConversionError::Content);
                }
                (piece, _) if IN_PIECES.contains(&piece) || OF_A_PIECE.contains(&piece) => {
                    return Err(ConversionError::UnknownMember);
                }
                // An unknown member comes once.
                (_, value) => {
                    parts.role.insert(name, value);
                }
            }
        }
        Ok(parts)
    }

    fn words(&mut self, name: &'static str, value: Value) {
        self.pieces.push(Piece::Words(name, value));
    }

    fn add(&mut self, name: &'static str, value: Value) {
        self.pieces.push(Piece::Other(name, value));
    }

    fn reasoning(&mut self, name: &'static str, value: Value) -> Result<(), ConversionError> {
        match value {
            Value::Null => {
                set(&mut self.role, name, Value::Null);
            }
            Value::String(text) if name != "reasoning_details" && text.is_empty() => {
                set(&mut self.role, name, text.into());
            }
            Value::String(text) if name != "reasoning_details" => {
                self.add(name, text.into());
            }
            Value::Array(details) if name == "reasoning_details" && details.is_empty() => {
                set(&mut self.role, name, details.into());
            }
            Value::Array(details) if name == "reasoning_details" => {
                let objects = details.iter().map(Value::as_object);
                // Two pieces of one, as they seem, would be joined.
                let next = details.iter().map(Value::as_object).skip(1);
                if objects.clone().any(|detail| detail.is_none())
                    || objects
                        .zip(next)
                        .any(|pair| matches!(pair, (Some(a), Some(b)) if same_detail(a, b)))
                {
                    return Err(ConversionError::Content);
                }
                self.add(name, details.into());
            }
            _ => return Err(ConversionError::UnknownMember),
        }
        Ok(())
    }

    /// Mistral: thoughts as arrays of parts, and the words after them as strings.
    fn content(&mut self, content: Vec<Value>) -> Result<(), ConversionError> {
        set(&mut self.role, "content", "".into());
        let mut last = None;
        let mut all_text = true;
        for part in content {
            let kind = PartKind::of(&part)?;
            // Two of a kind would be joined; empty text would be dropped.
            if kind != PartKind::Whole && last == Some(kind) {
                return Err(ConversionError::Content);
            }
            last = Some(kind);
            all_text &= kind == PartKind::Text;
            match kind {
                PartKind::Text => {
                    let text = part.get("text").cloned().unwrap_or_default();
                    if is_blank(&text) {
                        return Err(ConversionError::Content);
                    }
                    self.words("content", text);
                }
                PartKind::Thinking | PartKind::Whole => {
                    self.add("content", vec![part].into());
                }
            }
        }
        // Strings alone would make a string.
        if all_text {
            return Err(ConversionError::Content);
        }
        Ok(())
    }
}

/// Arguments as an object have no pieces.
fn adds_up(function: &Object, name: &str) -> Result<(), ConversionError> {
    match function.get(name) {
        None | Some(Value::String(_)) => Ok(()),
        Some(_) => Err(ConversionError::Content),
    }
}
