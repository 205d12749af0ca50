//! Amazon Bedrock's runtime: `Converse`, which is the same for every model, and `InvokeModel`,
//! whose bodies are the model's own.
//!
//! Source: the Bedrock API reference, "Converse", "ConverseStream", "InvokeModel" and
//! "InvokeModelWithResponseStream", and the service's model as the AWS clients ship it. Streams are
//! AWS event stream messages. A whole stream of `ConverseStream` has a `messageStop` with a
//! `stopReason`, and `metadata` after it. What is known of the answers of `InvokeModel` stands in
//! [`invoke`].

mod converse;
mod invoke;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::eventstream::{self, Kind};
use crate::json::{Canonical, Role};
use crate::llm::anthropic_messages::{self, BILLING_LINE};
use crate::llm::convert::tree::{self, Object};
use crate::llm::convert::{documents, usage};
use crate::llm::judge::framings::{Document, Messages};
use crate::llm::request::path::Path;
use crate::llm::request::volatile::{Attribution, CallId};
use crate::llm::scan::{self, Content, read_members};
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
    cohere,
};

/// `requestMetadata` is for the logs of invocations; `InvokeModel` has Anthropic's `metadata`, and
/// Claude Code's line.
const ATTRIBUTION: &[Attribution] = &[
    Attribution::Member("/requestMetadata"),
    Attribution::Member("/metadata"),
    Attribution::Line("/system", BILLING_LINE),
    Attribution::Line("/system/*/text", BILLING_LINE),
];

const CALL_IDS: &[CallId] = &[
    ("/messages/*/content/*/toolUse/toolUseId", Role::Names, &[]),
    (
        "/messages/*/content/*/toolResult/toolUseId",
        Role::Refers,
        &[],
    ),
    ("/messages/*/content/*/id", Role::Names, &["tool_use"]),
    (
        "/messages/*/content/*/tool_use_id",
        Role::Refers,
        &["tool_result"],
    ),
];

/// `POST /model/{model}/{operation}`.
pub(super) struct Bedrock;

static FACTS: Facts = Facts {
    name: "bedrock",
    streams: &[("application/vnd.amazon.eventstream", Framing::EventStream)],
    // Of both operations: neither knows the other's members.
    attribution: ATTRIBUTION,
    call_ids: CALL_IDS,
    looked_for: &[
        "additionalModelRequestFields",
        "inferenceConfig",
        "toolConfig",
    ],
    // boto3 puts it into `ResponseMetadata`, where callers look it up; tracers know the counts of
    // tokens by it.
    request_id_header: Some("x-amzn-requestid"),
    usage: &[
        "/usage",
        "/message/usage",
        "/metadata/usage",
        "/meta",
        "",
        "/amazon-bedrock-invocationMetrics",
    ],
    semantics: Semantics {
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
            // Of `InvokeModel`: Anthropic's, Titan's, Cohere's, Mistral's, Meta's, embeddings.
            ("", anthropic_messages::MESSAGE),
            (
                "/results/*",
                &[
                    Says::Text(&["/outputText"]),
                    Says::Value("/completionReason"),
                ],
            ),
            (
                "/generations/*",
                &[Says::Text(&["/text"]), Says::Value("/finish_reason")],
            ),
            (
                "/outputs/*",
                &[Says::Text(&["/text"]), Says::Value("/stop_reason")],
            ),
            (
                "",
                &[
                    Says::Text(&["/generation", "/text"]),
                    Says::Calls("/tool_calls/*", "/name", &["/parameters"]),
                    Says::Value("/finish_reason"),
                    Says::Value("/embedding"),
                    Says::Value("/embeddings"),
                    Says::Value("/embeddingsByType"),
                ],
            ),
        ],
        usage_event: None,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for Bedrock {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        // Other servers have paths that end in `/invoke`.
        Operation::of(path).is_some() && memchr::memmem::find(path, b"/model/").is_some()
    }

    /// The operation chooses the form: both of a pair have the path of the one that answers in
    /// JSON.
    fn key_path(&self, path: Path<'_>) -> Option<Vec<u8>> {
        let operation = Operation::of(path.bare)?;
        let of_json = path.bare.strip_suffix(operation.stream_suffix())?;
        Some([of_json, path.query].concat())
    }

    fn read(&self, path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(operation) = Operation::of(path.bare) else {
            return Ok(RequestTraits::unreadable());
        };
        let framing = if path.bare.ends_with(operation.stream_suffix()) {
            Framing::EventStream
        } else {
            Framing::Json
        };
        let form = Form::new(framing, operation.options());
        match (operation, body) {
            (_, None) => Ok(RequestTraits {
                form: Some(form),
                ..RequestTraits::unreadable()
            }),
            (Operation::Converse, Some(body)) => converse::request::read_body(body, form),
            (Operation::Invoke, Some(body)) => invoke::request::read_body(body, form),
        }
    }

    fn judge(
        &self,
        traits: &RequestTraits,
        framing: Framing,
        words: FinishWords,
    ) -> Box<dyn Judge> {
        let expected = traits.choices;
        let operation = traits.form.as_ref().map(Operation::by_form);
        match (operation.unwrap_or(Operation::Converse), framing) {
            (Operation::Converse, Framing::Json) => Box::new(Document(move |json: &[u8]| {
                converse::judge::judge(json, &words)
            })),
            (Operation::Converse, _) => {
                Box::new(Messages::new(converse::judge::Stream::new(words)))
            }
            (Operation::Invoke, Framing::Json) => Box::new(Document(move |json: &[u8]| {
                invoke::judge::judge(json, expected, &words)
            })),
            (Operation::Invoke, _) => {
                Box::new(Messages::new(invoke::judge::Stream::new(expected, words)))
            }
        }
    }

    fn join(&self, stream: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match Operation::by_form(form) {
            Operation::Converse => {
                let mut assembly = converse::join::Assembly::default();
                each_event(stream, |event, payload| {
                    assembly.take(event, tree::parse(payload)?)
                })?;
                tree::to_json(&assembly.finish()?)
            }
            Operation::Invoke => {
                let mut assembly = anthropic_messages::join::Assembly::default();
                each_event(stream, |_, payload| {
                    let mut native =
                        tree::parse(&native(payload).ok_or(ConversionError::Malformed)?)?;
                    // Only Anthropic's events have one.
                    if !native.contains_key("type") {
                        return Err(ConversionError::Unsupported);
                    }
                    // Bedrock's own, for its stream alone.
                    native.remove(METRICS);
                    assembly.take(native)
                })?;
                tree::to_json(&assembly.finish()?)
            }
        }
    }

    /// The last event of a stream of `InvokeModelWithResponseStream` has Bedrock's own metrics,
    /// latencies among them, which the answer of `InvokeModel` does not have.
    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        if Operation::by_form(wanted) == Operation::Invoke {
            return Err(ConversionError::Unsupported);
        }
        let mut out = Vec::new();
        converse::split::split(tree::parse(json)?, &mut |event, payload| {
            write_event(&mut out, event, &tree::to_json(payload)?)
        })?;
        Ok(out)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match (Operation::by_form(form), form.framing) {
            (Operation::Invoke, Framing::Json) => {
                documents::rewrite(answer, Framing::Json, &mut zero_counts)
            }
            (Operation::Invoke, _) => edit_events(answer, |_, payload| zero_native(payload)),
            (Operation::Converse, Framing::Json) => usage::zero_document(answer, USAGES),
            (Operation::Converse, _) => edit_events(answer, |event, payload| match event {
                "metadata" => usage::zero_json(payload, USAGES),
                _ => Ok(None),
            }),
        }
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

/// The model's own event in a `chunk`.
pub(super) fn native(payload: &[u8]) -> Option<Vec<u8>> {
    #[derive(Default)]
    struct Chunk<'a> {
        bytes: Content<'a>,
    }

    read_members!(Chunk<'a>: bytes);
    let chunk: Chunk<'_> = scan::parse_object(payload).ok()?;
    BASE64.decode(chunk.bytes.as_str()?).ok()
}

/// The `chunk` without usage; `None` if it holds none.
fn zero_native(payload: &[u8]) -> Result<Option<Vec<u8>>, ConversionError> {
    let native = native(payload).ok_or(ConversionError::Malformed)?;
    let mut event = tree::parse(&native)?;
    let mut found = zero_counts(&mut event);
    let metrics = event.get_mut(METRICS).and_then(Value::as_object_mut);
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
    let mut chunk = tree::parse(payload)?;
    let bytes = BASE64.encode(tree::to_json(&event)?);
    tree::set(&mut chunk, "bytes", Value::String(bytes));
    tree::to_json(&chunk).map(Some)
}

/// Sets the counts of tokens in a model's answer or event to zero, for every model. Returns whether
/// there were any.
fn zero_counts(native: &mut Object) -> bool {
    let mut found = cohere::zero_usage(native);
    // Anthropic's, and Nova's.
    for event in ["message", "metadata"] {
        let usage = native
            .get_mut(event)
            .and_then(|event| event.get_mut("usage"));
        found |= usage.is_some_and(usage::zero);
    }
    // Titan's and Meta's.
    for name in [
        "inputTextTokenCount",
        "totalOutputTextTokenCount",
        "prompt_token_count",
        "generation_token_count",
    ] {
        found |= native.get_mut(name).is_some_and(usage::zero);
    }
    let results = native.get_mut("results").and_then(Value::as_array_mut);
    for result in results.into_iter().flatten() {
        found |= result.get_mut("tokenCount").is_some_and(usage::zero);
    }
    found
}

/// Calls `take` with the name and the payload of each event of a stream, in order.
///
/// # Errors
/// What `take` says, or [`ConversionError::Malformed`] where the stream is not one of whole events.
fn each_event(
    stream: &[u8],
    mut take: impl FnMut(&str, &[u8]) -> Result<(), ConversionError>,
) -> Result<(), ConversionError> {
    let mut parser = eventstream::Parser::new();
    let mut result = Ok(());
    let fed = parser.feed(stream, |message| {
        if result.is_ok() {
            result = match message.kind() {
                Kind::Event(event) => take(event, message.payload()),
                _ => Err(ConversionError::Malformed),
            };
        }
    });
    result?;
    if fed.is_err() || parser.is_pending() {
        return Err(ConversionError::Malformed);
    }
    Ok(())
}

/// The same stream with new payloads in those events for which `edit` gives some; every other
/// message stays byte for byte.
fn edit_events(
    stream: &[u8],
    mut edit: impl FnMut(&str, &[u8]) -> Result<Option<Vec<u8>>, ConversionError>,
) -> Result<Vec<u8>, ConversionError> {
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
        return Err(ConversionError::Malformed);
    }
    Ok(out)
}

/// Writes an event with the headers that Bedrock gives it.
fn write_event(out: &mut Vec<u8>, event: &str, payload: &[u8]) -> Result<(), ConversionError> {
    let headers = [
        (":event-type", event),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    eventstream::encode(out, &headers, payload).map_err(|_| ConversionError::Content)
}

/// Drops the padding that Bedrock puts into each event, so that its length tells nothing.
fn drop_padding(event: &mut Object) {
    event.remove("p");
}

const CHUNK: &str = "chunk";
/// How the names begin of what Bedrock adds to a model's answer.
const BEDROCK_PREFIX: &str = "amazon-bedrock-";
const METRICS: &str = "amazon-bedrock-invocationMetrics";
const USAGES: &[&str] = &["/usage"];

#[cfg(test)]
mod tests;
