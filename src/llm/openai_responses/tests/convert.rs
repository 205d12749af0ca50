use super::*;

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
fn an_end_marker_behind_the_last_event_is_passed_over() {
    let stream = sse(&EVENTS) + "data: [DONE]\n\n";
    assert_eq!(judged(API, Framing::Sse, 1, &stream), Ok(WHOLE));
    let form = Form::new(Framing::Sse, b"");
    let joined = |stream: &str| OpenaiResponses.join(stream.as_bytes(), &form);
    assert!(joined(&stream).is_ok());
    assert_eq!(joined(&stream), joined(&sse(&EVENTS)));
}
