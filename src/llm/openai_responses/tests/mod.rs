mod convert;
mod judge;
mod request;

use serde_json::{Value, json};

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&OpenaiResponses);

const CREATED: &str = r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[],"usage":null}}"#;
const ADDED: &str = r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"m","type":"message","status":"in_progress","content":[]}}"#;
const PART: &str = r#"{"type":"response.content_part.added","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}"#;
const TEXT: &str =
    r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hëllo"}"#;
const DONE: &str = r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"m","type":"message","status":"completed","content":[{"type":"output_text","text":"Hëllo"}]}}"#;
const COMPLETED: &str = r#"{"type":"response.completed","response":{"id":"r","status":"completed","error":null,"output":[{"id":"m","type":"message","status":"completed","content":[{"type":"output_text","text":"Hëllo"}]}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}"#;
const EVENTS: [&str; 6] = [CREATED, ADDED, PART, TEXT, DONE, COMPLETED];

fn traits(body: &str) -> Result<RequestTraits, Unfit> {
    read(API, "/v1/responses", body)
}

fn judge_chunks(framing: Framing, chunks: &[&[u8]]) -> Result<Verdict, NotWhole> {
    let mut judge = API.judge(&RequestTraits::unreadable(), framing);
    for chunk in chunks {
        judge.feed(chunk, &mut |_, _| {})?;
    }
    judge.finish(&chunks.concat())
}

fn stream_of(events: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks(Framing::Sse, &[sse(events).as_bytes()])
}

fn judge_json(json: &Value) -> Result<Verdict, NotWhole> {
    judge_chunks(Framing::Json, &[json.to_string().as_bytes()])
}

/// A response with this output.
fn response(output: Value) -> Value {
    json!({"id": "r", "object": "response", "status": "completed", "error": null, "output": output})
}

/// The stream events of which the last one holds this response.
fn ended_by(response: &Value) -> Result<Verdict, NotWhole> {
    let kind = match response["status"].as_str() {
        Some("incomplete") => "response.incomplete",
        _ => "response.completed",
    };
    let end = json!({"type": kind, "response": response}).to_string();
    stream_of(&[CREATED, &end])
}

/// A response with an item of every kind.
fn all_kinds() -> Value {
    let annotation = json!({"type": "url_citation", "url": "https://example.org", "start_index": 0, "end_index": 2, "title": "t"});
    let logprob = json!({"token": "Hi", "bytes": [72, 105], "logprob": -0.25, "top_logprobs": []});
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
        "completed_at": 2, "error": null, "incomplete_details": null, "instructions": "Be brief.",
        "model": "m", "new_member": {"kept": [1.50]},
        "output": [
            {"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA",
             "summary": [{"type": "summary_text", "text": "**One**"}, {"type": "summary_text", "text": "Two"}]},
            {"id": "rs_2", "type": "reasoning", "summary": [], "status": "completed",
             "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"id": "fs_1", "type": "file_search_call", "status": "completed", "queries": ["q"], "results": null},
            {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "1+1", "container_id": "c", "outputs": [{"type": "logs", "logs": "2"}]},
            {"id": "ig_1", "type": "image_generation_call", "status": "generating", "result": "iVBO"},
            {"id": "ml_1", "type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "t", "input_schema": {}}], "error": null},
            {"id": "mc_1", "type": "mcp_call", "server_label": "s", "name": "t", "arguments": "{}", "output": "o", "error": null},
            {"id": "mc_2", "type": "mcp_call", "server_label": "s", "name": "t", "arguments": "{}", "output": null, "error": "e"},
            {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "phase": "final_answer",
             "content": [
                {"type": "output_text", "text": "Hi \u{2028}\n", "annotations": [annotation], "logprobs": [logprob]},
                {"type": "output_text", "text": "", "annotations": []},
                {"type": "new_part", "what": 1}]},
            {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "f", "arguments": "{\"a\": \"b\"}"},
            {"id": "fc_2", "type": "function_call", "status": "completed", "call_id": "call_2", "name": "g", "arguments": ""},
            {"id": "ct_1", "type": "custom_tool_call", "status": "completed", "call_id": "call_3", "name": "sql", "input": "SELECT 1"},
            {"type": "new_item", "whole": true}
        ],
        "usage": {"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 9, "total_tokens": 12, "cost": 0.00012},
        "metadata": {}
    })
}

/// What split makes of it, as event names and data.
fn split_events(response: &Value) -> Vec<(String, Value)> {
    let stream = split::split(response.to_string().as_bytes()).unwrap();
    let mut events = Vec::new();
    crate::sse::Parser::new().feed(&stream, |event| {
        let name = String::from_utf8(event.event.to_vec()).unwrap();
        events.push((name, serde_json::from_slice(event.data).unwrap()));
    });
    events
}
