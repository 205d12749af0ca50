mod convert;
mod judge;
mod request;

use serde_json::json;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Cohere);

const START: &str = r#"{"id":"i","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#;
const BLOCK: &str = r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#;
const HI: &str =
    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hí"}}}}"#;
const YOU: &str =
    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":" you"}}}}"#;
const BLOCK_END: &str = r#"{"type":"content-end","index":0}"#;
const CALL: &str = r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"c","type":"function","function":{"name":"f","arguments":""}}}}}"#;
const ARGUMENTS: &str = r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":"}}}}}"#;
const MORE: &str = r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"1}"}}}}}"#;
const CALL_END: &str = r#"{"type":"tool-call-end","index":0}"#;
const END: &str = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":3},"tokens":{"output_tokens":4},"cached_tokens":2}}}"#;
const DONE: &str = "[DONE]";
const TEXT: [&str; 7] = [START, BLOCK, HI, YOU, BLOCK_END, END, DONE];

const V1_START: &str = r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g"}"#;
const V1_TEXT: &str = r#"{"is_finished":false,"event_type":"text-generation","text":"Hí"}"#;
const V1_END: &str = r#"{"is_finished":true,"event_type":"stream-end","response":{"response_id":"r","text":"Hí","generation_id":"g","finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"},"tokens":{"input_tokens":5}}},"finish_reason":"COMPLETE"}"#;

fn traits(path: &[u8], body: &str) -> Result<RequestTraits, Unfit> {
    read(API, path, body)
}

fn sse(events: &[&str]) -> String {
    let event = |data: &&str| {
        let kind = serde_json::from_str::<Value>(data).unwrap_or_default();
        match kind["type"].as_str() {
            Some(kind) => format!("event: {kind}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        }
    };
    events.iter().map(event).collect()
}

fn form(framing: Framing) -> Form {
    Form::new(framing, b"")
}

fn judge_chunks<'c>(
    framing: Framing,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<(Verdict, String), NotWhole> {
    let mut judge = API.judge(&RequestTraits::unreadable(), framing);
    let (mut whole, mut text) = (Vec::new(), String::new());
    for chunk in chunks {
        judge.feed(chunk, &mut |_, piece| text.push_str(piece))?;
        whole.extend_from_slice(chunk);
    }
    Ok((judge.finish(&whole)?, text))
}

fn v2(events: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks(Framing::Sse, [sse(events).as_bytes()]).map(|(answer, _)| answer)
}

fn v1(parts: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks(Framing::Ndjson, [lines(parts).as_bytes()]).map(|(answer, _)| answer)
}

fn judge_json(json: &str, expected: u32) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, expected, json)
}

fn joined(framing: Framing, stream: &str) -> Result<Value, ConversionError> {
    let json = Cohere.join(stream.as_bytes(), &form(framing))?;
    let json = value(&json);
    assert_eq!(split_and_joined(framing, &json), Ok(json.clone()));
    Ok(json)
}

fn split_and_joined(framing: Framing, json: &Value) -> Result<Value, ConversionError> {
    let stream = Cohere.split(json.to_string().as_bytes(), &form(framing))?;
    let judged = judge_chunks(framing, [&stream[..]]);
    assert!(judged.is_ok_and(|(answer, _)| answer.marked_end), "{json}");
    let again = Cohere.join(&stream, &form(framing))?;
    Ok(value(&again))
}
