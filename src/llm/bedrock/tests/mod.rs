mod convert;
mod invoke;
mod judge;
mod request;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Bedrock);

const CONVERSE: &str = "/model/anthropic.claude/converse";
const CONVERSE_STREAM: &str = "/model/anthropic.claude/converse-stream";
const INVOKE: &str = "/model/anthropic.claude/invoke";
const INVOKE_STREAM: &str = "/model/anthropic.claude/invoke-with-response-stream";

fn traits(path: &str, body: &str) -> Result<RequestTraits, Unfit> {
    read(API, path, body)
}

fn form(path: &str) -> Form {
    API.read(path.as_bytes(), b"", None).unwrap().form.unwrap()
}

fn message(event: &str, payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_event(&mut out, event, payload.as_bytes()).unwrap();
    out
}

fn stream(events: &[(&str, &str)]) -> Vec<u8> {
    let message = |(event, payload): &(&str, &str)| message(event, payload);
    events.iter().flat_map(message).collect()
}

/// A native stream: each event in base64, as `InvokeModelWithResponseStream` wraps it.
fn native_stream(events: &[&str]) -> Vec<u8> {
    let chunk = |native: &&str| {
        let bytes = BASE64.encode(native);
        message("chunk", &format!(r#"{{"bytes":"{bytes}","p":"abc"}}"#))
    };
    events.iter().flat_map(chunk).collect()
}

/// The name and the payload of each event.
fn events_of(stream: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    each_event(stream, |event, payload| {
        events.push((event.to_owned(), value(payload)));
        Ok(())
    })
    .unwrap();
    events
}

/// The native events that a stream wraps.
fn natives_of(stream: &[u8]) -> Vec<Value> {
    let mut natives = Vec::new();
    let natives_in = |_: &str, payload: &[u8]| {
        let json = native(payload).ok_or(ConversionError::Malformed)?;
        natives.push(value(&json));
        Ok(())
    };
    each_event(stream, natives_in).unwrap();
    natives
}

fn judge_chunks<'c>(
    path: &str,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Result<Verdict, NotWhole>, String) {
    let traits = API.read(path.as_bytes(), b"", None).unwrap();
    let mut judge = API.judge(&traits, traits.form.as_ref().unwrap().framing);
    let mut heard = String::new();
    let mut whole = Vec::new();
    for chunk in chunks {
        if let Err(fault) = judge.feed(chunk, &mut |_, text| heard.push_str(text)) {
            return (Err(fault), heard);
        }
        whole.extend_from_slice(chunk);
    }
    (judge.finish(&whole), heard)
}

fn judge(path: &str, bytes: &[u8]) -> Result<Verdict, NotWhole> {
    judge_chunks(path, [bytes]).0
}

fn judge_events(events: &[(&str, &str)]) -> Result<Verdict, NotWhole> {
    judge(CONVERSE_STREAM, &stream(events))
}

fn join(events: &[(&str, &str)]) -> Result<Value, ConversionError> {
    let json = Bedrock.join(&stream(events), &form(CONVERSE_STREAM))?;
    Ok(value(&json))
}

fn split(json: &str) -> Result<Vec<u8>, ConversionError> {
    Bedrock.split(json.as_bytes(), &form(CONVERSE_STREAM))
}

const START: (&str, &str) = ("messageStart", r#"{"p":"abc","role":"assistant"}"#);
const TEXT: (&str, &str) = (
    "contentBlockDelta",
    r#"{"contentBlockIndex":0,"delta":{"text":"Héllo"},"p":"ab"}"#,
);
const STOP_0: (&str, &str) = ("contentBlockStop", r#"{"contentBlockIndex":0}"#);
const TOOL_START: (&str, &str) = (
    "contentBlockStart",
    r#"{"contentBlockIndex":1,"start":{"toolUse":{"name":"f","toolUseId":"t1"}}}"#,
);
const ARGUMENTS_1: (&str, &str) = (
    "contentBlockDelta",
    r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"a\":"}}}"#,
);
const ARGUMENTS_2: (&str, &str) = (
    "contentBlockDelta",
    r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"1.50}"}}}"#,
);
const STOP_1: (&str, &str) = ("contentBlockStop", r#"{"contentBlockIndex":1}"#);
const STOP: (&str, &str) = ("messageStop", r#"{"p":"a","stopReason":"tool_use"}"#);
const METADATA: (&str, &str) = (
    "metadata",
    r#"{"metrics":{"latencyMs":17},"p":"a","usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5}}"#,
);

const WITH_TOOL: [(&str, &str); 9] = [
    START,
    TEXT,
    STOP_0,
    TOOL_START,
    ARGUMENTS_1,
    ARGUMENTS_2,
    STOP_1,
    STOP,
    METADATA,
];
const SHORT: [(&str, &str); 5] = [START, TEXT, STOP_0, STOP, METADATA];

/// The short stream with one event replaced by others.
fn with<'e>(at: usize, events: &[(&'e str, &'e str)]) -> Vec<(&'e str, &'e str)> {
    let mut all: Vec<(&str, &str)> = SHORT.to_vec();
    all.splice(at..=at, events.iter().copied());
    all
}

/// All that a message can hold and a stream, too.
const ANSWER: &str = r#"{"metrics":{"latencyMs":17},"output":{"message":{"content":[
    {"reasoningContent":{"reasoningText":{"text":"hm","signature":"c2ln"}}},
    {"reasoningContent":{"reasoningText":{"text":""}}},
    {"reasoningContent":{"redactedContent":"ZGF0YQ=="}},
    {"text":"é\u0000"},
    {"text":""},
    {"citationsContent":{"content":[{"text":"cited"}],"citations":[{"title":"a"},{"title":"b","location":{"web":{}}}]}},
    {"toolUse":{"toolUseId":"t1","name":"f","input":{"n":1.50,"b":[{"a":null}]}}},
    {"toolUse":{"toolUseId":"t2","name":"g","input":{},"type":"server_tool_use"}}],
  "role":"assistant"}},"stopReason":"tool_use","additionalModelResponseFields":{"stop_sequence":null},
  "usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5,"cacheReadInputTokens":1},
  "trace":{"guardrail":{"modelOutput":["x"]}},"serviceTier":{"type":"default"}}"#;

const NATIVE: [&str; 6] = [
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Héllo"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}"#,
    r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":7,"invocationLatency":500,"firstByteLatency":100}}"#,
];

fn is_marked(answer: Result<Verdict, NotWhole>) -> bool {
    answer.is_ok_and(|answer| answer.marked_end)
}

const LENGTH: Verdict = Verdict {
    finish: Finish::Length,
    ..WHOLE
};
const FILTERED: Verdict = Verdict {
    finish: Finish::Filtered,
    ..WHOLE
};

const NOVA: [&str; 6] = [
    r#"{"messageStart":{"role":"assistant"}}"#,
    r#"{"contentBlockDelta":{"delta":{"text":"H\u00e9l"},"contentBlockIndex":0}}"#,
    r#"{"contentBlockDelta":{"delta":{"text":"lo"},"contentBlockIndex":0}}"#,
    r#"{"contentBlockStop":{"contentBlockIndex":0}}"#,
    r#"{"messageStop":{"stopReason":"end_turn"}}"#,
    r#"{"metadata":{"usage":{"inputTokens":3,"outputTokens":2},"metrics":{},"trace":{}},"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2,"invocationLatency":7}}"#,
];
const TITAN: [&str; 2] = [
    r#"{"outputText":"H\u00e9l","index":0,"totalOutputTextTokenCount":null,"completionReason":null,"inputTextTokenCount":3}"#,
    r#"{"outputText":"lo","index":0,"totalOutputTextTokenCount":2,"completionReason":"FINISH","inputTextTokenCount":null,"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}}"#,
];
const COMMAND: [&str; 3] = [
    r#"{"index":0,"is_finished":false,"text":"H\u00e9l"}"#,
    r#"{"index":0,"is_finished":false,"text":"lo"}"#,
    r#"{"finish_reason":"COMPLETE","index":0,"is_finished":true,"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}}"#,
];
const COMMAND_R: [&str; 4] = [
    r#"{"event_type":"stream-start","is_finished":false,"generation_id":"g"}"#,
    r#"{"event_type":"text-generation","is_finished":false,"text":"H\u00e9l"}"#,
    r#"{"event_type":"text-generation","is_finished":false,"text":"lo"}"#,
    r#"{"event_type":"stream-end","is_finished":true,"finish_reason":"COMPLETE","response":{"text":"H\u00e9llo","finish_reason":"COMPLETE"},"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}}"#,
];
const LLAMA: [&str; 2] = [
    r#"{"generation":"H\u00e9l","prompt_token_count":3,"generation_token_count":1,"stop_reason":null}"#,
    r#"{"generation":"lo","prompt_token_count":null,"generation_token_count":2,"stop_reason":"stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}}"#,
];
const MISTRAL: [&str; 2] = [
    r#"{"outputs":[{"text":"H\u00e9l","stop_reason":null}]}"#,
    r#"{"outputs":[{"text":"lo","stop_reason":"stop"}],"amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":2}}"#,
];
const MODELS: [&[&str]; 6] = [&NOVA, &TITAN, &COMMAND, &COMMAND_R, &LLAMA, &MISTRAL];
