mod convert;
mod judge;
mod request;

use serde_json::Value;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&AnthropicMessages);

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn traits(body: &str) -> Result<RequestTraits, Unfit> {
    read(API, "/v1/messages?beta=true", body)
}

fn sse() -> Form {
    Form::new(Framing::Sse, b"")
}

/// A stream of these events, named by their type as the API does.
fn stream(events: &[&str]) -> Vec<u8> {
    let event = |data: &&str| {
        let parsed: Value = serde_json::from_str(data).unwrap();
        format!(
            "event: {}\ndata: {data}\n\n",
            parsed["type"].as_str().unwrap()
        )
    };
    events.iter().map(event).collect::<String>().into_bytes()
}

/// The name and the data of each event.
fn events_of(stream: &[u8]) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    crate::sse::Parser::new().feed(stream, |event| {
        events.push((text(event.event.to_vec()), value(event.data)));
    });
    events
}

fn judge_chunks<'c>(
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Result<Verdict, NotWhole>, String) {
    let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Sse);
    let mut heard = String::new();
    for chunk in chunks {
        if let Err(fault) = judge.feed(chunk, &mut |_, text| heard.push_str(text)) {
            return (Err(fault), heard);
        }
    }
    (judge.finish(b""), heard)
}

fn judge_stream(events: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks([&stream(events)[..]]).0
}

fn judge_json(json: impl AsRef<[u8]>) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, 1, json)
}

fn join(events: &[&str]) -> Result<Value, ConversionError> {
    let json = AnthropicMessages.join(&stream(events), &sse())?;
    Ok(value(&json))
}

fn split(json: &str) -> Result<String, ConversionError> {
    let stream = AnthropicMessages.split(json.as_bytes(), &sse())?;
    Ok(text(stream))
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1,"service_tier":"standard"}}}"#;
const TEXT_START: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
const TEXT: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H\u00e9llo"}}"#;
const STOP_0: &str = r#"{"type":"content_block_stop","index":0}"#;
const TOOL_START: &str = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#;
const ARGUMENTS_1: &str = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#;
const ARGUMENTS_2: &str = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"1.50}"}}"#;
const STOP_1: &str = r#"{"type":"content_block_stop","index":1}"#;
const END_TURN: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":7}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;
const PING: &str = r#"{"type":"ping"}"#;

const SHORT: [&str; 6] = [START, TEXT_START, TEXT, STOP_0, END_TURN, STOP];
const WITH_TOOL: [&str; 11] = [
    START,
    TEXT_START,
    PING,
    TEXT,
    STOP_0,
    TOOL_START,
    ARGUMENTS_1,
    ARGUMENTS_2,
    STOP_1,
    END_TURN,
    STOP,
];

/// The short stream with one event replaced by others.
fn with<'e>(at: usize, events: &[&'e str]) -> Vec<&'e str> {
    let mut all = SHORT.to_vec();
    all.splice(at..=at, events.iter().copied());
    all
}

/// Text with citations, thinking, calls of every kind, results: all that a message can hold.
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[
    {"type":"thinking","thinking":"hm \"so\"","signature":"c2ln"},
    {"type":"redacted_thinking","data":"ZGF0YQ=="},
    {"type":"text","text":"Look: ","citations":null},
    {"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x\ny"},"caller":{"type":"direct"}},
    {"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://a.example"}]},
    {"citations":[{"type":"web_search_result_location","url":"https://a.example","cited_text":"a"},{"type":"char_location","cited_text":"b"}],"type":"text","text":"é\u0000\u2028"},
    {"type":"text","text":""},
    {"type":"compaction","content":"earlier","encrypted_content":null},
    {"type":"mcp_tool_use","id":"mcptoolu_1","name":"ask","server_name":"s","input":{}},
    {"type":"mcp_tool_result","tool_use_id":"mcptoolu_1","is_error":false,"content":[]},
    {"type":"tool_use","id":"toolu_1","name":"f","input":{"n":1.50,"big":123456789012345678901,"b":[{"a":null}]}}],
  "stop_reason":"stop_sequence","stop_sequence":"END","stop_details":null,"container":null,
  "usage":{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":0},"output_tokens":33,"server_tool_use":{"web_search_requests":1},"output_tokens_details":{"thinking_tokens":5},"service_tier":"standard"},
  "context_management":{"applied_edits":[]},"new_member":[1.0]}"#;

const RAW: &str = "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict";
const STREAM_RAW: &str =
    "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict";
