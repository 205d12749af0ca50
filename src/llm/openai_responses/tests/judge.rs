use super::*;

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
