//! Amazon Bedrock's runtime: `Converse`, which is the same for every model, and `InvokeModel`,
//! whose bodies are the model's own.
//!
//! Source: the Bedrock API reference, "Converse", "ConverseStream", "InvokeModel" and
//! "InvokeModelWithResponseStream", and the service's model as the AWS clients ship it. Streams are
//! AWS event stream messages. A whole stream of `ConverseStream` has a `messageStop` with a
//! `stopReason`, and `metadata` after it. Of `InvokeModel` only Anthropic's answers are known here;
//! nothing tells that another model's is whole.

mod converse;
mod join;
mod split;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::documents::{self, Object};
use super::fields::{self, Content, Said, read_members};
use super::judge::{Document, MessageJudge, Messages};
use super::meaning::{Meaning, Says};
use super::{
    Answer, Ask, Fault, FinishWords, Form, Framing, Judge, Listener, Lossy, Protocol, Unfit,
};
use super::{anthropic_messages, events, members, usage};
use crate::eventstream::{self, Kind};
use crate::http;
use crate::json::Canonical;

/// `POST /model/{model}/{operation}`.
pub(super) struct Bedrock;

impl Protocol for Bedrock {
    fn name(&self) -> &'static str {
        "bedrock"
    }

    fn owns(&self, path: &[u8]) -> bool {
        // Other servers have paths that end in `/invoke`.
        Operation::of(path).is_some() && memchr::memmem::find(path, b"/model/").is_some()
    }

    /// The operation chooses the form: both of a pair have the path of the one that answers in
    /// JSON.
    fn key_path<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        let (bare, query) = split_query(path);
        let Some(operation) = Operation::of(bare) else {
            return Cow::Borrowed(path);
        };
        match bare.strip_suffix(operation.stream_suffix()) {
            Some(of_json) => Cow::Owned([of_json, query].concat()),
            None => Cow::Borrowed(path),
        }
    }

    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<Ask, Unfit> {
        let (bare, _) = split_query(path);
        let Some(operation) = Operation::of(bare) else {
            return Ok(Ask::unreadable());
        };
        let framing = if bare.ends_with(operation.stream_suffix()) {
            Framing::EventStream
        } else {
            Framing::Json
        };
        let form = Form::stream(framing, operation.options());
        match (operation, body) {
            (_, None) => Ok(Ask {
                form: Some(form),
                ..Ask::unreadable()
            }),
            (Operation::Converse, Some(body)) => converse::read_body(body, form),
            (Operation::Invoke, Some(body)) => anthropic_messages::read_body(body, form),
        }
    }

    fn framing(&self, _ask: &Ask, media_type: &str) -> Option<Framing> {
        match media_type {
            "application/vnd.amazon.eventstream" => Some(Framing::EventStream),
            json if http::is_json(json) => Some(Framing::Json),
            _ => None,
        }
    }

    fn judge_by(&self, ask: &Ask, framing: Framing, words: &FinishWords) -> Box<dyn Judge> {
        let words = words.clone();
        let operation = ask.form.as_ref().map(Operation::by_form);
        match (operation.unwrap_or(Operation::Converse), framing) {
            (Operation::Converse, Framing::Json) => {
                Box::new(Document(move |json: &[u8]| converse::judge(json, &words)))
            }
            (Operation::Converse, _) => Box::new(Messages::new(converse::Stream::new(words))),
            (Operation::Invoke, Framing::Json) => {
                Box::new(Document(move |json: &[u8]| judge_native(json, &words)))
            }
            (Operation::Invoke, _) => {
                let stream = anthropic_messages::whole::Stream::new(&words);
                Box::new(Messages::new(NativeStream(stream)))
            }
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        match Operation::by_form(form) {
            Operation::Converse => {
                let mut assembly = join::Assembly::default();
                each_event(stream, |event, payload| {
                    assembly.take(event, events::object(payload)?)
                })?;
                events::text(&assembly.finish()?)
            }
            Operation::Invoke => {
                let mut assembly = anthropic_messages::join::Assembly::default();
                each_event(stream, |_, payload| {
                    let mut native = events::object(&native(payload).ok_or(Lossy::Malformed)?)?;
                    // Bedrock's own, for its stream alone.
                    native.remove(METRICS);
                    assembly.take(native)
                })?;
                events::text(&assembly.finish()?)
            }
        }
    }

    /// The last event of a stream of `InvokeModelWithResponseStream` has Bedrock's own metrics,
    /// latencies among them, which the answer of `InvokeModel` does not have.
    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, Lossy> {
        if Operation::by_form(wanted) == Operation::Invoke {
            return Err(Lossy::Unsupported);
        }
        let mut out = Vec::new();
        split::split(events::object(json)?, &mut |event, payload| {
            write_event(&mut out, event, &events::text(payload)?)
        })?;
        Ok(out)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        match (Operation::by_form(form), form.framing) {
            (Operation::Invoke, Framing::Json) => anthropic_messages::zero_usage_of_message(answer),
            (Operation::Invoke, _) => edit_events(answer, |_, payload| zero_native(payload)),
            (Operation::Converse, Framing::Json) => usage::zero_document(answer, USAGES),
            (Operation::Converse, _) => edit_events(answer, |event, payload| match event {
                "metadata" => usage::zero_json(payload, USAGES),
                _ => Ok(None),
            }),
        }
    }

    fn documents(&self, answer: &[u8], form: &Form) -> Result<Vec<Object>, Lossy> {
        if form.framing != Framing::EventStream {
            return documents::objects(answer, form.framing);
        }
        let mut objects = Vec::new();
        each_event(answer, |_, payload| {
            objects.push(match Operation::by_form(form) {
                Operation::Converse => events::object(payload)?,
                Operation::Invoke => events::object(&native(payload).ok_or(Lossy::Malformed)?)?,
            });
            Ok(())
        })?;
        Ok(objects)
    }

    fn meaning(&self) -> &'static Meaning {
        &MEANING
    }
}

/// A pair of operations that answer the same requests, one in JSON and one in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Converse,
    Invoke,
}

impl Operation {
    /// By a path without its query.
    fn of(path: &[u8]) -> Option<Self> {
        match path.rsplit(|byte| *byte == b'/').next()? {
            b"converse" | b"converse-stream" => Some(Self::Converse),
            b"invoke" | b"invoke-with-response-stream" => Some(Self::Invoke),
            _ => None,
        }
    }

    fn by_form(form: &Form) -> Self {
        if *form.options == *Self::Invoke.options() {
            Self::Invoke
        } else {
            Self::Converse
        }
    }

    /// How a form says which operation it is of, for streams and for JSON.
    fn options(self) -> &'static [u8] {
        match self {
            Self::Converse => b"",
            Self::Invoke => b"invoke",
        }
    }

    /// What the path of the one that streams has more.
    fn stream_suffix(self) -> &'static [u8] {
        match self {
            Self::Converse => b"-stream",
            Self::Invoke => b"-with-response-stream",
        }
    }
}

fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'?', path).unwrap_or(path.len());
    path.split_at_checked(end).unwrap_or((path, b""))
}

/// Judges the answer of `InvokeModel`.
fn judge_native(json: &[u8], words: &FinishWords) -> Result<Answer, Fault> {
    #[derive(Default)]
    struct Native {
        r#type: Said,
    }

    read_members!(Native: r#type as "type");
    let native: Native = fields::parse_object(json)?;
    if !native.r#type.0 {
        return Err(Fault::UnknownFinish);
    }
    anthropic_messages::whole::judge(json, words)
}

/// Judges a stream of `InvokeModelWithResponseStream`.
#[derive(Debug)]
struct NativeStream(anthropic_messages::whole::Stream);

impl MessageJudge for NativeStream {
    fn message(
        &mut self,
        event: &str,
        payload: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), Fault> {
        if event != CHUNK {
            return Err(Fault::Malformed);
        }
        let native = native(payload).ok_or(Fault::Malformed)?;
        std::str::from_utf8(&native).map_err(|_| Fault::Malformed)?;
        self.0.take(&native, listener).map_err(|fault| match fault {
            // Another model's events: nothing tells whether they are all.
            Fault::Malformed if !self.0.has_started() => Fault::UnknownFinish,
            fault => fault,
        })
    }

    fn is_over(&self) -> bool {
        self.0.has_stopped()
    }

    fn finish(&self) -> Result<Answer, Fault> {
        self.0.answer()
    }
}

/// The model's own event in a `chunk`.
fn native(payload: &[u8]) -> Option<Vec<u8>> {
    #[derive(Default)]
    struct Chunk<'a> {
        bytes: Content<'a>,
    }

    read_members!(Chunk<'a>: bytes);
    let chunk: Chunk<'_> = fields::parse_object(payload).ok()?;
    BASE64.decode(chunk.bytes.as_str()?).ok()
}

/// The `chunk` without usage; `None` if it holds none.
fn zero_native(payload: &[u8]) -> Result<Option<Vec<u8>>, Lossy> {
    let native = native(payload).ok_or(Lossy::Malformed)?;
    let zeroed = anthropic_messages::zero_usage_of_event(&native)?;
    let mut event = events::object(zeroed.as_deref().unwrap_or(&native))?;
    let metrics = event.get_mut(METRICS).and_then(Value::as_object_mut);
    let mut found = zeroed.is_some();
    for (name, count) in metrics.into_iter().flatten() {
        // The latencies stay.
        if name.ends_with("TokenCount") {
            *count = 0.into();
            found = true;
        }
    }
    if !found {
        return Ok(None);
    }
    let mut chunk = events::object(payload)?;
    let bytes = BASE64.encode(events::text(&event)?);
    members::set(&mut chunk, "bytes", Value::String(bytes));
    events::text(&chunk).map(Some)
}

/// Calls `take` with the name and the payload of each event of a stream, in order.
///
/// # Errors
/// What `take` says, or [`Lossy::Malformed`] where the stream is not one of whole events.
fn each_event(
    stream: &[u8],
    mut take: impl FnMut(&str, &[u8]) -> Result<(), Lossy>,
) -> Result<(), Lossy> {
    let mut parser = eventstream::Parser::new();
    let mut result = Ok(());
    let fed = parser.feed(stream, |message| {
        if result.is_ok() {
            result = match message.kind() {
                Kind::Event(event) => take(event, message.payload()),
                _ => Err(Lossy::Malformed),
            };
        }
    });
    result?;
    if fed.is_err() || parser.is_pending() {
        return Err(Lossy::Malformed);
    }
    Ok(())
}

/// The same stream with new payloads in those events for which `edit` gives some; every other
/// message stays byte for byte.
fn edit_events(
    stream: &[u8],
    mut edit: impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, Lossy>,
) -> Result<Vec<u8>, Lossy> {
    let mut parser = eventstream::Parser::new();
    let mut out = Vec::with_capacity(stream.len());
    let mut result = Ok(());
    let fed = parser.feed(stream, |message| {
        if result.is_err() {
            return;
        }
        let Kind::Event(event) = message.kind() else {
            out.extend_from_slice(message.as_bytes());
            return;
        };
        result = match edit(event, message.payload()) {
            Ok(Some(payload)) => write_event(&mut out, event, &payload),
            Ok(None) => {
                out.extend_from_slice(message.as_bytes());
                Ok(())
            }
            Err(lossy) => Err(lossy),
        };
    });
    result?;
    if fed.is_err() || parser.is_pending() {
        return Err(Lossy::Malformed);
    }
    Ok(out)
}

/// Writes an event with the headers that Bedrock gives it.
fn write_event(out: &mut Vec<u8>, event: &str, payload: &[u8]) -> Result<(), Lossy> {
    let headers = [
        (":event-type", event),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    eventstream::encode(out, &headers, payload).map_err(|_| Lossy::Content)
}

/// Drops the padding that Bedrock puts into each event, so that its length tells nothing.
fn drop_padding(event: &mut Map<String, Value>) {
    event.remove("p");
}

const CHUNK: &str = "chunk";
const METRICS: &str = "amazon-bedrock-invocationMetrics";
const USAGES: &[&str] = &["/usage"];

static MEANING: Meaning = Meaning {
    said: &[
        (
            "/output/message",
            &[
                Says::Text(&[
                    "/content/*/text",
                    "/content/*/citationsContent/content/*/text",
                ]),
                Says::Calls("/content/*/toolUse", "/name", &["/input"]),
                Says::Value("/content/*/image/source"),
                Says::Value("/content/*/document/source"),
                Says::Value("/content/*/video/source"),
            ],
        ),
        ("", &[Says::Value("/stopReason")]),
        // Of `InvokeModel`.
        ("", anthropic_messages::MESSAGE),
    ],
    usage: &["/usage", "/message/usage"],
    tokens: &[
        &["/totalTokens"],
        &[
            "/inputTokens",
            "/cacheReadInputTokens",
            "/cacheWriteInputTokens",
            "/outputTokens",
        ],
        anthropic_messages::TOKENS,
    ],
    usage_event: None,
};

#[cfg(test)]
mod tests;
