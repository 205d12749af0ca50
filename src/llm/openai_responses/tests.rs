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

fn ask(body: &str) -> Result<RequestTraits, Unfit> {
    API.read(b"/v1/responses", b"", Some(&canonical(body)))
}

fn sse(events: &[&str]) -> String {
    events
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect()
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

#[test]
fn a_stream_that_ends_with_a_completed_response_is_whole() {
    assert_eq!(stream_of(&EVENTS), Ok(WHOLE));
    // OpenRouter's way, without event names and with the end marker of chat.
    let done = format!(": hi\n\n{}data: [DONE]\n\n", sse(&EVENTS));
    assert_eq!(judge_chunks(Framing::Sse, &[done.as_bytes()]), Ok(WHOLE));
    // Names before or after the data; clients go by the data alone.
    let unnamed = COMPLETED.replacen("\"type\":\"response.completed\",", "", 1);
    for form in [
        "event: response.completed\ndata: DATA\n\n",
        "data: DATA\nevent: response.completed\n\n",
    ] {
        for (data, expected) in [(COMPLETED, Ok(WHOLE)), (&unnamed, Err(NotWhole::Malformed))] {
            let stream = sse(&EVENTS[..5]) + &form.replace("DATA", data);
            let judged = judge_chunks(Framing::Sse, &[stream.as_bytes()]);
            assert_eq!(judged, expected, "{stream}");
        }
    }
}

#[test]
fn a_stream_is_judged_alike_at_every_split() {
    let stream = sse(&EVENTS);
    for split in 0..=stream.len() {
        let (head, tail) = stream.as_bytes().split_at(split);
        assert_eq!(judge_chunks(Framing::Sse, &[head, tail]), Ok(WHOLE));
    }
    for cut in 0..stream.len() {
        let head = &stream.as_bytes()[..cut];
        assert!(judge_chunks(Framing::Sse, &[head]).is_err(), "{cut}");
    }
}

#[test]
fn the_text_of_each_output_item_is_heard_and_nothing_else() {
    let mut heard = Vec::new();
    let arguments =
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{}"}"#;
    let reasoning = r#"{"type":"response.reasoning_text.delta","delta":"hm"}"#;
    let [added, part, other] =
        [ADDED, PART, TEXT].map(|event| event.replace("\"output_index\":0", "\"output_index\":3"));
    let stream = sse(&[
        CREATED, ADDED, PART, TEXT, arguments, reasoning, &added, &part, &other,
    ]);
    let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Sse);
    judge
        .feed(stream.as_bytes(), &mut |index, text| {
            heard.push((index, text.to_owned()));
        })
        .unwrap();
    assert_eq!(heard, [(0, "Hëllo".to_owned()), (3, "Hëllo".to_owned())]);
}

#[test]
fn a_stream_without_its_last_event_is_not_finished() {
    for events in [&EVENTS[..5], &[][..], &["[DONE]"], &[CREATED, "[DONE]"]] {
        assert_eq!(stream_of(events), Err(NotWhole::Unfinished), "{events:?}");
    }
    let added = ADDED.replace("\"output_index\":0", "\"output_index\":1");
    let open = [CREATED, &added, COMPLETED];
    assert_eq!(stream_of(&open), Err(NotWhole::Unfinished));
}

#[test]
fn an_error_in_any_shape_is_a_fault() {
    for bad in [
        r#"{"type":"error","code":"c","message":"m","param":null}"#,
        r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
        r#"{"error":{"message":"m"}}"#,
        r#"{"type":"response.failed","response":{"status":"failed"}}"#,
        r#"{"type":"response.cancelled","response":{"status":"cancelled"}}"#,
        r#"{"type":"response.error"}"#,
        r#"{"type":"response.in_progress","response":{"error":{"code":"c"}}}"#,
        r#"{"type":"response.completed","response":{"status":"failed","output":[]}}"#,
    ] {
        for events in [
            &[CREATED, bad][..],
            &[CREATED, ADDED, bad],
            &[CREATED, bad, COMPLETED],
        ] {
            assert_eq!(stream_of(events), Err(NotWhole::Error), "{events:?}");
        }
    }
    let first = r#"{"type":"error","message":"m"}"#;
    assert_eq!(stream_of(&[first]), Err(NotWhole::Error));
    let named = sse(&EVENTS) + "event: error\ndata: {}\n\n";
    let judged = judge_chunks(Framing::Sse, &[named.as_bytes()]);
    assert_eq!(judged, Err(NotWhole::Error));
    for bad in [
        json!({"error": {"message": "m"}}),
        json!({"object": "error", "message": "m"}),
        json!({"type": "error", "message": "m"}),
        json!({"status": "failed", "output": [], "error": {"code": "c"}}),
        json!({"status": "cancelled", "output": [], "error": null}),
    ] {
        assert_eq!(judge_json(&bad), Err(NotWhole::Error), "{bad}");
    }
}

#[test]
fn what_is_not_a_stream_of_responses_is_a_fault() {
    for (rest, fault) in [
        ("{\"error\":1}\n", NotWhole::StrayLines),
        ("data: {\"type\"", NotWhole::Pending),
        ("data: [DON\n", NotWhole::Pending),
        ("data: no\n\n", NotWhole::Malformed),
        ("data: {\"type\":\"\u{1}\"}\n\n", NotWhole::Malformed),
        ("data: {\"output_index\":\"0\"}\n\n", NotWhole::Malformed),
        ("data: {\"type\":\"ping\"}\n\n", NotWhole::AfterEnd),
    ] {
        let stream = sse(&EVENTS) + rest;
        let judged = judge_chunks(Framing::Sse, &[stream.as_bytes()]);
        assert_eq!(judged, Err(fault), "{rest}");
    }
    for end in [
        r#"{"type":"response.completed"}"#,
        r#"{"type":"response.completed","response":null}"#,
        r#"{"type":"response.completed","response":7}"#,
        r#"{"type":"response.output_item.done","output_index":0}"#,
    ] {
        assert_eq!(
            stream_of(&[CREATED, end]),
            Err(NotWhole::Malformed),
            "{end}"
        );
    }
    let added = |index: usize| ADDED.replace(":0", &format!(":{index}"));
    let many = [CREATED.to_owned()]
        .into_iter()
        .chain((0..2_000).map(added))
        .collect::<Vec<_>>();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(stream_of(&many), Err(NotWhole::Choices));
}

#[test]
fn an_order_of_events_that_openai_s_client_raises_on_is_a_fault() {
    let nameless = TEXT.replace("\"output_index\":0,", "");
    let without_item = r#"{"type":"response.output_item.added","output_index":0}"#;
    let of_another = COMPLETED.replace("\"id\":\"r\"", "\"id\":\"s\"");
    let whole_text = TEXT.replace(".delta\"", ".done\"");
    let arguments =
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{}"}"#;
    for events in [
        &EVENTS[1..],
        &[r#"{"type":"response.in_progress"}"#, CREATED, COMPLETED],
        &[r#"{"type":"response.created"}"#, COMPLETED],
        // No item, no part.
        &[CREATED, TEXT, COMPLETED],
        &[CREATED, PART, COMPLETED],
        &[CREATED, arguments, COMPLETED],
        &[CREATED, ADDED, TEXT, DONE, COMPLETED],
        &[CREATED, ADDED, &whole_text, DONE, COMPLETED],
        &[CREATED, ADDED, PART, &nameless, DONE, COMPLETED],
        &[CREATED, without_item, COMPLETED],
        // Twice, and another response.
        &[CREATED, ADDED, ADDED, DONE, COMPLETED],
        &[CREATED, ADDED, DONE, ADDED, COMPLETED],
        &[CREATED, ADDED, PART, TEXT, DONE, &of_another],
        &[CREATED, &CREATED.replace("\"r\"", "\"s\""), COMPLETED],
    ] {
        assert_eq!(stream_of(events), Err(NotWhole::Malformed), "{events:?}");
    }
    // Bedrock counts the parts from 1.
    let [part, text] =
        [PART, TEXT].map(|event| event.replace("\"content_index\":0", "\"content_index\":1"));
    let events = [
        CREATED,
        CREATED,
        ADDED,
        &part,
        &text,
        &whole_text,
        DONE,
        COMPLETED,
    ];
    assert_eq!(stream_of(&events), Ok(WHOLE));
}

#[test]
fn an_event_after_the_end_marker_is_never_read_by_clients() {
    let stream = |rest: &[&str]| stream_of(&[&EVENTS[..5], rest].concat());
    assert_eq!(stream(&[COMPLETED, "[DONE]", "[DONE]"]), Ok(WHOLE));
    assert_eq!(stream(&["[DONE]", COMPLETED]), Err(NotWhole::AfterEnd));
}

#[test]
fn the_status_says_how_a_response_ended() {
    let message =
        || json!([{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]);
    let whole = |finish| Ok(Verdict { finish, ..WHOLE });
    for (status, reason, expected) in [
        ("completed", Value::Null, whole(Finish::Complete)),
        (
            "incomplete",
            json!("max_output_tokens"),
            whole(Finish::Length),
        ),
        (
            "incomplete",
            json!("content_filter"),
            whole(Finish::Filtered),
        ),
        (
            "completed",
            json!("max_output_tokens"),
            whole(Finish::Length),
        ),
        (
            "incomplete",
            json!("max_tool_calls"),
            Err(NotWhole::UnknownFinish),
        ),
        ("incomplete", Value::Null, Err(NotWhole::UnknownFinish)),
        ("queued", Value::Null, Err(NotWhole::Unfinished)),
        ("in_progress", Value::Null, Err(NotWhole::Unfinished)),
        ("done", Value::Null, Err(NotWhole::UnknownFinish)),
        ("COMPLETED", Value::Null, Err(NotWhole::UnknownFinish)),
    ] {
        let mut response = response(message());
        response["status"] = json!(status);
        response["incomplete_details"] = json!({"reason": reason});
        assert_eq!(judge_json(&response), expected, "{response}");
        assert_eq!(ended_by(&response), expected, "{response}");
    }
    let mut without = response(message());
    without["status"] = Value::Null;
    let unmarked = Ok(Verdict {
        marked_end: false,
        ..WHOLE
    });
    assert_eq!(judge_json(&without), unmarked);
    assert_eq!(ended_by(&without), unmarked);
    without["status"] = json!(1);
    assert_eq!(judge_json(&without), Err(NotWhole::Malformed));
    // An event that says more than the response in it.
    let cut = COMPLETED.replace("response.completed", "response.incomplete");
    assert_eq!(stream_of(&[CREATED, &cut]), Err(NotWhole::UnknownFinish));
}

#[test]
fn every_output_item_counts() {
    let call = |status: &str| json!({"type": "function_call", "arguments": "{}", "status": status});
    let said = |finish| Verdict { finish, ..WHOLE };
    for (item, expected) in [
        (call("completed"), Ok(said(Finish::Complete))),
        (call("incomplete"), Ok(said(Finish::Length))),
        (call("in_progress"), Err(NotWhole::Unfinished)),
        (call("failed"), Err(NotWhole::Error)),
        (call("new"), Err(NotWhole::UnknownFinish)),
        (json!({"type": "function_call", "arguments": ""}), Ok(WHOLE)),
        (
            json!({"type": "function_call", "arguments": "{\"a\":"}),
            Err(NotWhole::ToolArguments),
        ),
        (
            json!({"type": "mcp_call", "arguments": "{\"a\":"}),
            Err(NotWhole::ToolArguments),
        ),
        (
            json!({"type": "custom_tool_call", "input": "{\"a\":"}),
            Ok(WHOLE),
        ),
        (
            json!({"type": "image_generation_call", "status": "generating"}),
            Ok(WHOLE),
        ),
        (
            json!({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}),
            Ok(said(Finish::Filtered)),
        ),
        (
            json!({"type": "message", "content": [{"type": "output_audio"}]}),
            Ok(WHOLE),
        ),
        (
            json!({"type": "message", "content": "text"}),
            Err(NotWhole::Malformed),
        ),
        (json!(null), Err(NotWhole::Malformed)),
    ] {
        let response = response(json!([item]));
        assert_eq!(judge_json(&response), expected, "{response}");
        assert_eq!(ended_by(&response), expected, "{response}");
    }
    let mut blocked = response(json!([call("completed")]));
    blocked["content_filters"] = json!([{"blocked": false}, {"blocked": true}]);
    assert_eq!(judge_json(&blocked), Ok(said(Finish::Filtered)));
}

#[test]
fn an_answer_that_says_nothing_is_empty() {
    let empty = Ok(Verdict {
        empty: true,
        ..WHOLE
    });
    for output in [
        json!([]),
        json!([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]),
        json!([{"type": "message", "content": []}]),
        json!([{"type": "message", "content": [{"type": "output_text", "text": ""}]}]),
    ] {
        let response = response(output);
        assert_eq!(judge_json(&response), empty, "{response}");
        assert_eq!(ended_by(&response), empty, "{response}");
    }
    // The text came all the same.
    let end = json!({"type": "response.completed", "response": response(json!([]))}).to_string();
    assert_eq!(stream_of(&[CREATED, ADDED, DONE, &end]), Ok(WHOLE));
}

#[test]
fn arguments_that_lost_a_piece_are_a_fault() {
    let added = r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","arguments":""}}"#;
    let piece = |text: &str| {
        json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": text})
            .to_string()
    };
    let done = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","arguments":"{\"a\":1}"}}"#;
    let with = |pieces: &[&str]| {
        let mut events = vec![CREATED.to_owned(), added.to_owned()];
        events.extend(pieces.iter().map(|text| piece(text)));
        events.extend([done.to_owned(), COMPLETED.to_owned()]);
        stream_of(&events.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(with(&[r#"{"a""#, ":1}"]), Ok(WHOLE));
    assert_eq!(with(&[]), Ok(WHOLE));
    assert_eq!(with(&[r#"{"a""#]), Err(NotWhole::ToolArguments));
    assert_eq!(with(&[r#"{"a":1}"#, ":1}"]), Err(NotWhole::ToolArguments));
    let broken = done.replace(":1}\"", "\"");
    let events = [CREATED, added, &broken, COMPLETED];
    assert_eq!(stream_of(&events), Err(NotWhole::ToolArguments));
}

#[test]
fn json_that_is_no_response_is_a_fault() {
    for json in [
        "",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"status":"completed"}"#,
        r#"{"detail":"x"}"#,
    ] {
        let judged = judge_chunks(Framing::Json, &[json.as_bytes()]);
        assert_eq!(judged, Err(NotWhole::Malformed), "{json}");
    }
}

#[test]
fn what_a_request_asks_for_is_read_from_its_canonical_body() {
    let form = |body: &str| ask(body).map(|ask| ask.form.unwrap());
    assert_eq!(form("{}"), Ok(Form::json()));
    assert_eq!(
        form(r#"{"stream":true,"stream_options":{"include_obfuscation":false}}"#),
        Ok(Form::new(Framing::Sse, b""))
    );
    assert_eq!(
        form(r#"{"stream":true,"stream_options":{"new":1}}"#),
        Ok(Form::new(Framing::Sse, br#"{"new":1}"#))
    );
    assert_eq!(form(r#"{"stream":"yes"}"#), Err(Unfit::UnclearForm));
    let warm = ask(r#"{"temperature":0.5,"previous_response_id":"resp_1"}"#).unwrap();
    assert_eq!(warm.temperature, Some(0.5));
    assert_eq!(API.read(b"/", b"", None), Ok(RequestTraits::unreadable()));
}

#[test]
fn what_the_provider_changes_later_is_unfit() {
    for (body, unfit) in [
        (r#"{"background":true}"#, Unfit::Background),
        (r#"{"background":"true"}"#, Unfit::Background),
        (r#"{"conversation":"conv_1"}"#, Unfit::Conversation),
        (r#"{"conversation":{"id":"conv_1"}}"#, Unfit::Conversation),
    ] {
        assert_eq!(ask(body), Err(unfit), "{body}");
    }
    for fit in [
        r#"{"background":false,"conversation":null}"#,
        r#"{"background":null}"#,
    ] {
        assert!(ask(fit).is_ok(), "{fit}");
    }
}

#[test]
fn tools_that_the_provider_runs_are_told_from_the_client_s() {
    for server in [
        r#"{"tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#,
        r#"{"tools":[{"type":"mcp"}]}"#,
        r#"{"tools":[{"type":"code_interpreter"}]}"#,
        r#"{"tools":[{"type":"computer_use_preview"}]}"#,
        r#"{"prompt":{"id":"pmpt_1"}}"#,
        r#"{"plugins":[{"id":"web"}]}"#,
        r#"{"model":"openai/gpt-4o:online"}"#,
        r#"{"tools":"nonsense"}"#,
    ] {
        assert!(ask(server).unwrap().server_tools, "{server}");
    }
    for client in [
        r#"{"tools":[{"type":"function"},{"type":"custom"},{"type":"local_shell"},{}]}"#,
        r#"{"tools":null,"prompt":null,"plugins":[]}"#,
    ] {
        assert!(!ask(client).unwrap().server_tools, "{client}");
    }
}

#[test]
fn a_path_is_ours_by_its_end() {
    for path in ["/v1/responses", "/openai/responses", "/api/v1/responses"] {
        assert!(OpenaiResponses.owns(path.as_bytes()), "{path}");
    }
    for path in [
        "/v1/responses/resp_1",
        "/v1/responses/compact",
        "/v1/chat/completions",
    ] {
        assert!(!OpenaiResponses.owns(path.as_bytes()), "{path}");
    }
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

#[test]
fn a_response_survives_the_way_to_a_stream_and_back() {
    let mut refused = response(
        json!([{"id": "m", "type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]),
    );
    refused["status"] = json!("incomplete");
    refused["incomplete_details"] = json!({"reason": "content_filter"});
    for response in [all_kinds(), refused, response(json!([]))] {
        let stream = split::split(response.to_string().as_bytes()).unwrap();
        let back = join::join(&stream).unwrap();
        assert_eq!(String::from_utf8(back).unwrap(), response.to_string());
        let judged = judge_chunks(Framing::Sse, &[&stream]);
        assert_eq!(judged, judge_json(&response), "{response}");
        assert!(judged.is_ok());
    }
}

#[test]
fn a_stream_survives_the_way_to_json_and_back() {
    let joined = join::join(sse(&EVENTS).as_bytes()).unwrap();
    let completed: Value = serde_json::from_str(COMPLETED).unwrap();
    assert_eq!(
        String::from_utf8(joined.clone()).unwrap(),
        completed["response"].to_string()
    );
    let again = join::join(&split::split(&joined).unwrap()).unwrap();
    assert_eq!(again, joined);
}

#[test]
fn a_split_response_has_every_event_of_its_parts_in_order() {
    let response = response(json!([
        {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}], "encrypted_content": "x"},
        {"id": "m", "type": "message", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "Hi", "annotations": [{"type": "file_path"}], "logprobs": [1]}]},
        {"id": "fc", "type": "function_call", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
    ]));
    let started = {
        let mut started = response.clone();
        started["status"] = json!("in_progress");
        started["output"] = json!([]);
        started
    };
    let mut expected = vec![
        json!({"type": "response.created", "response": started}),
        json!({"type": "response.in_progress", "response": started}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"id": "rs", "type": "reasoning", "summary": []}}),
        json!({"type": "response.reasoning_summary_part.added", "item_id": "rs", "output_index": 0, "summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
        json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs", "output_index": 0, "summary_index": 0, "delta": "S"}),
        json!({"type": "response.reasoning_summary_text.done", "item_id": "rs", "output_index": 0, "summary_index": 0, "text": "S"}),
        json!({"type": "response.reasoning_summary_part.done", "item_id": "rs", "output_index": 0, "summary_index": 0, "part": {"type": "summary_text", "text": "S"}}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": response["output"][0]}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"id": "m", "type": "message", "status": "in_progress", "role": "assistant", "content": []}}),
        json!({"type": "response.content_part.added", "item_id": "m", "output_index": 1, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": [], "logprobs": []}}),
        json!({"type": "response.output_text.delta", "item_id": "m", "output_index": 1, "content_index": 0, "delta": "Hi", "logprobs": [1]}),
        json!({"type": "response.output_text.annotation.added", "item_id": "m", "output_index": 1, "content_index": 0, "annotation_index": 0, "annotation": {"type": "file_path"}}),
        json!({"type": "response.output_text.done", "item_id": "m", "output_index": 1, "content_index": 0, "text": "Hi", "logprobs": [1]}),
        json!({"type": "response.content_part.done", "item_id": "m", "output_index": 1, "content_index": 0, "part": response["output"][1]["content"][0]}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": response["output"][1]}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"id": "fc", "type": "function_call", "status": "in_progress", "call_id": "c", "name": "f", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc", "output_index": 2, "delta": "{}"}),
        json!({"type": "response.function_call_arguments.done", "item_id": "fc", "output_index": 2, "arguments": "{}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": response["output"][2]}),
        json!({"type": "response.completed", "response": response}),
    ];
    for (number, event) in expected.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    let events = split_events(&response);
    for ((name, data), expected) in events.iter().zip(&expected) {
        assert_eq!(data, expected);
        assert_eq!(name, expected["type"].as_str().unwrap());
    }
    assert_eq!(events.len(), expected.len());
}

#[test]
fn a_stream_that_says_more_than_its_last_response_is_not_joined() {
    for (response, lossy) in [
        (
            response(json!([{"type": "reasoning"}])),
            ConversionError::Content,
        ),
        (response(json!({})), ConversionError::Content),
        (json!({"output": []}), ConversionError::Malformed),
        (
            json!({"status": "failed", "output": []}),
            ConversionError::Malformed,
        ),
        (json!(7), ConversionError::Malformed),
    ] {
        let end = json!({"type": "response.completed", "response": response}).to_string();
        let stream = sse(&[CREATED, ADDED, DONE, &end]);
        assert_eq!(join::join(stream.as_bytes()), Err(lossy), "{stream}");
    }
    let audio = r#"{"type":"response.output_audio.delta","delta":"AAAA"}"#;
    let beside = COMPLETED.replace(
        "\"type\":\"response.completed\"",
        "\"type\":\"response.completed\",\"new\":1",
    );
    for (events, lossy) in [
        (vec![CREATED, audio, COMPLETED], ConversionError::Content),
        (vec![CREATED, &beside], ConversionError::UnknownMember),
        (vec![CREATED], ConversionError::Malformed),
        (vec![COMPLETED, CREATED], ConversionError::Malformed),
        (vec!["nonsense", COMPLETED], ConversionError::Malformed),
        (
            vec![r#"{"error":"e"}"#, COMPLETED],
            ConversionError::Malformed,
        ),
    ] {
        assert_eq!(
            join::join(sse(&events).as_bytes()),
            Err(lossy),
            "{events:?}"
        );
    }
}

#[test]
fn items_that_came_one_by_one_are_the_output_of_a_response_without_any() {
    let done = |index: u64, id: &str| json!({"type": "response.output_item.done", "output_index": index, "item": {"id": id, "type": "message", "status": "completed", "content": [{"type": "output_text", "text": id}]}});
    let end = |output: Value| json!({"type": "response.completed", "response": {"id": "r", "object": "response", "status": "completed", "output": output, "usage": {"total_tokens": 5}}});
    let stream = |events: &[Value]| {
        let events: Vec<_> = events.iter().map(Value::to_string).collect();
        sse(&events.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let output = |events: &[Value]| {
        let json = join::join(stream(events).as_bytes())?;
        let response: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(response["usage"], json!({"total_tokens": 5}));
        assert!(split::split(&json).is_ok());
        let items = response["output"].as_array().unwrap().clone();
        Ok(items
            .iter()
            .map(|item| item["id"].as_str().unwrap())
            .collect::<String>())
    };
    let a = done(0, "a");
    let c = done(2, "c");
    for empty in [json!([]), Value::Null] {
        assert_eq!(
            output(&[c.clone(), a.clone(), end(empty.clone())]),
            Ok("ac".to_owned())
        );
        // What is not whole, or whole twice.
        let piece = json!({"type": "response.output_text.delta", "output_index": 1, "delta": "b"});
        for more in [piece, done(0, "x")] {
            let events = [a.clone(), more, c.clone(), end(empty.clone())];
            assert_eq!(output(&events), Err(ConversionError::Content));
        }
    }
    // Nothing at all is an empty answer.
    assert_eq!(output(&[end(json!([]))]), Ok(String::new()));
    // Indexes with a gap, of which the response has the items.
    let items = |events: &[&Value]| {
        events
            .iter()
            .map(|event| event["item"].clone())
            .collect::<Value>()
    };
    assert_eq!(
        output(&[a.clone(), c.clone(), end(items(&[&a, &c]))]),
        Ok("ac".to_owned())
    );
    for other in [items(&[&a]), items(&[&c, &a]), items(&[&a, &c, &c])] {
        let joined = output(&[a.clone(), done(3, "c"), end(other)]);
        assert_eq!(joined, Err(ConversionError::Content));
    }
    // The item is the one of the event, and not of one that has no `type` in its data.
    let named = c
        .to_string()
        .replace("\"type\":\"response.output_item.done\"", "\"x\":1");
    let named = format!(
        "event: response.output_item.done\ndata: {named}\n\n{}",
        stream(&[end(json!([]))])
    );
    let json: Value = serde_json::from_slice(&join::join(named.as_bytes()).unwrap()).unwrap();
    assert_eq!(json["output"][0]["id"], "c");
}

#[test]
fn a_stream_that_was_cut_or_garbled_is_not_joined() {
    let stream = sse(&EVENTS);
    for cut in 0..stream.len() {
        let head = &stream.as_bytes()[..cut];
        assert_eq!(join::join(head), Err(ConversionError::Malformed), "{cut}");
    }
    let whole = stream.as_bytes();
    assert!(join::join(whole).is_ok());
    for other in [
        &b"data: {\"type\":\"x\",\"\xff\":1}\n\n"[..],
        b"oops\n\n",
        b": \xff\n\n",
    ] {
        let both = [other, whole].concat();
        assert_eq!(join::join(&both), Err(ConversionError::Malformed));
    }
    // Whatever the bytes are, there is an answer or a reason.
    for (place, byte) in (0..stream.len()).zip((0..=255).cycle()) {
        let mut garbled = stream.clone().into_bytes();
        garbled[place] = byte;
        for usage in [&b"usage"[..], b"\n\n"] {
            let _ = OpenaiResponses
                .zero_usage(&[&garbled, usage].concat(), &Form::new(Framing::Sse, b""));
        }
        let _ = join::join(&garbled).and_then(|json| split::split(&json));
    }
}

#[test]
fn a_response_whose_pieces_cannot_be_named_is_not_split() {
    let many = vec![json!({"type": "new_item"}); 9_000];
    let parts = vec![json!({"type": "output_text", "text": ""}); 500];
    let long = json!([{"id": "x".repeat(100_000), "type": "message", "content": parts}]);
    for response in [
        json!({}),
        json!([]),
        json!({"status": "completed"}),
        json!({"status": "queued", "output": []}),
        response(json!([7])),
        response(json!([{"id": "no type"}])),
        response(json!([{"type": "message", "content": [{"type": "output_text", "text": "a"}]}])),
        response(json!([{"id": "m", "type": "message", "content": null}])),
        response(json!([{"id": "m", "type": "message", "content": [{"type": "output_text"}]}])),
        response(json!([{"id": "f", "type": "function_call", "arguments": {}}])),
    ] {
        let split = split::split(response.to_string().as_bytes());
        assert_eq!(split.err(), Some(ConversionError::Malformed));
    }
    for response in [response(Value::Array(many)), response(long)] {
        let split = split::split(response.to_string().as_bytes());
        assert_eq!(split.err(), Some(ConversionError::TooLarge));
    }
    let ndjson = Form::new(Framing::Ndjson, b"");
    assert_eq!(
        OpenaiResponses.split(b"{}", &ndjson),
        Err(ConversionError::Unsupported)
    );
}

#[test]
fn zero_usage_changes_the_usage_of_the_last_event_and_no_other_byte() {
    let stream = sse(&EVENTS);
    let form = Form::new(Framing::Sse, b"");
    let zeroed = OpenaiResponses
        .zero_usage(stream.as_bytes(), &form)
        .unwrap();
    let usage = r#""input_tokens":3,"output_tokens":2,"total_tokens":5"#;
    let zero = r#""input_tokens":0,"output_tokens":0,"total_tokens":0"#;
    assert_eq!(values(zeroed), values(stream.replace(usage, zero)));
    let json = all_kinds();
    let zeroed = OpenaiResponses
        .zero_usage(json.to_string().as_bytes(), &Form::json())
        .unwrap();
    let mut expected = json;
    expected["usage"] = json!({"input_tokens": 0, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0, "total_tokens": 0, "cost": 0});
    assert_eq!(String::from_utf8(zeroed).unwrap(), expected.to_string());
}

#[test]
fn an_open_item_is_done_where_the_final_output_has_finished_it() {
    let ended = |output: Value| {
        let added = json!({"type": "response.output_item.added", "output_index": 1,
            "item": {"id": "c", "type": "mcp_call", "status": "in_progress"}});
        let end = json!({"type": "response.completed", "response": response(output)});
        let (added, end) = (added.to_string(), end.to_string());
        stream_of(&[CREATED, ADDED, PART, TEXT, DONE, &added, &end])
    };
    let message = json!({"type": "message", "status": "completed",
        "content": [{"type": "output_text", "text": "Hi"}]});
    let call = |status: &str| json!({"type": "mcp_call", "status": status, "arguments": "{}"});
    assert_eq!(ended(json!([message, call("completed")])), Ok(WHOLE));
    assert_eq!(
        ended(json!([message, {"type": "mcp_list_tools"}])),
        Ok(WHOLE)
    );
    for open in [
        json!([message]),
        json!([call("completed")]),
        json!([message, call("in_progress")]),
        json!([message, call("new")]),
    ] {
        assert_eq!(ended(open.clone()), Err(NotWhole::Unfinished), "{open}");
    }
}

#[test]
fn a_namespace_is_the_client_s_if_all_it_holds_is() {
    let server_tools = |tools: &str| {
        let ask = ask(&format!(
            r#"{{"tools":[{{"type":"namespace","name":"mcp__files","tools":{tools}}}]}}"#
        ));
        ask.unwrap().server_tools
    };
    assert!(!server_tools(r#"[{"type":"function","name":"read"}]"#));
    assert!(!server_tools(r#"[{"type":"function"},{"type":"custom"}]"#));
    for tools in [
        "[]",
        "null",
        "{}",
        r#""all""#,
        r#"[{"type":"function"},{"type":"web_search"}]"#,
        r#"[{"type":"web_search"},{"type":"function"}]"#,
        r#"[{"type":"namespace","tools":[{"type":"function"}]}]"#,
        r#"[{"Type":"web_search"}]"#,
    ] {
        assert!(server_tools(tools), "{tools}");
    }
    let mcp = r#"{"tools":[{"type":"mcp","tools":[{"type":"function"}]}]}"#;
    assert!(ask(mcp).unwrap().server_tools);
}
