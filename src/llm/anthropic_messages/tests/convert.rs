use super::*;

#[test]
fn a_message_survives_the_way_to_a_stream_and_back() {
    let streamed = split(MESSAGE).unwrap();
    let (answer, heard) = judge_chunks([streamed.as_bytes()]);
    assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "Look: é\0\u{2028}"));
    let back = AnthropicMessages.join(streamed.as_bytes(), &sse()).unwrap();
    assert_eq!(value(&back), value(MESSAGE.as_bytes()));
    let back = text(back);
    assert!(back.contains("1.50") && back.contains("123456789012345678901"));
}

#[test]
fn a_message_is_split_into_the_events_that_the_api_sends() {
    let json = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi"},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7,"service_tier":"standard","server_tool_use":null}}"#;
    let expected = stream(&[
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0,"service_tier":"standard"}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":9,"output_tokens":7,"server_tool_use":null}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    assert_eq!(
        events_of(split(json).unwrap().as_bytes()),
        events_of(&expected)
    );
}

#[test]
fn a_stream_is_joined_into_the_message_that_the_api_would_have_sent() {
    assert_eq!(
        join(&WITH_TOOL).unwrap(),
        value(br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"H\u00e9llo"},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1.50}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7,"service_tier":"standard"}}"#)
    );
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"type":"refusal"}},"usage":{"input_tokens":null,"output_tokens":7},"context_management":{"applied_edits":[]}}"#;
    let joined = join(&with(4, &[end])).unwrap();
    assert_eq!(joined["stop_details"]["type"], "refusal");
    assert_eq!(joined["usage"]["input_tokens"], 9);
    assert_eq!(
        joined["context_management"].to_string(),
        r#"{"applied_edits":[]}"#
    );
    let fallback = r#"{"type":"content_block_start","index":0,"content_block":{"type":"fallback","from":{"model":"claude"},"to":{"model":"other"}}}"#;
    let joined = join(&[START, fallback, STOP_0, END_TURN, STOP]).unwrap();
    assert_eq!(joined["model"], "other");
    let cited = r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"x"}}}"#;
    let joined = join(&with(2, &[cited, TEXT])).unwrap();
    assert_eq!(joined["content"][0]["citations"][0]["cited_text"], "x");
    let counting = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"a","estimated_tokens":50}}"#;
    assert!(join(&with(2, &[counting])).is_ok());
}

#[test]
fn a_stream_that_would_lose_something_is_not_joined() {
    let no_usage = END_TURN.replace(r#","usage":{"output_tokens":7}"#, "");
    let mut events = SHORT.to_vec();
    events[4] = &no_usage;
    assert_eq!(join(&events), Err(ConversionError::NoUsage));
    let event = r#"{"type":"something_new","index":7}"#;
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","x":1}}"#;
    let member = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a","x":1}}"#;
    let beside = r#"{"type":"content_block_delta","index":0,"x":1,"delta":{"type":"text_delta","text":"a"}}"#;
    for unknown in [event, delta, member, beside] {
        assert_eq!(
            join(&with(2, &[unknown])),
            Err(ConversionError::UnknownMember),
            "{unknown}"
        );
    }
}

#[test]
fn what_cannot_be_taken_apart_is_malformed() {
    let error = r#"{"type":"error","error":{}}"#;
    for events in [
        with(3, &[START]),
        with(0, &[]),
        with(1, &[]),
        with(3, &[]),
        with(4, &[]),
        with(5, &[]),
        with(4, &[END_TURN, TOOL_START, STOP_1]),
        with(5, &[STOP, STOP]),
        with(2, &[error]),
        vec![],
    ] {
        assert_eq!(join(&events), Err(ConversionError::Malformed), "{events:?}");
    }
    let bytes = stream(&WITH_TOOL);
    for length in 0..bytes.len() {
        let joined = AnthropicMessages.join(&bytes[..length], &sse());
        assert_eq!(joined, Err(ConversionError::Malformed), "{length}");
    }
    let whole = MESSAGE;
    for (from, to, lossy) in [
        (
            r#""message""#,
            r#""completion""#,
            ConversionError::Malformed,
        ),
        (
            r#""stop_reason":"stop_sequence""#,
            r#""stop_reason":null"#,
            ConversionError::Malformed,
        ),
        (r#""usage""#, r#""use""#, ConversionError::NoUsage),
        (
            r#""output_tokens":33"#,
            r#""output_tokens":null"#,
            ConversionError::NoUsage,
        ),
        (
            r#""type":"redacted_thinking""#,
            r#""type":"something_new""#,
            ConversionError::UnknownMember,
        ),
        (
            r#""type":"redacted_thinking""#,
            r#""type":"fallback""#,
            ConversionError::UnknownMember,
        ),
        (
            r#""type":"redacted_thinking""#,
            r#""type":7"#,
            ConversionError::Malformed,
        ),
        (
            r#""text":"Look: ""#,
            r#""text":7"#,
            ConversionError::Malformed,
        ),
        (r#""content":["#, r#""other":["#, ConversionError::Malformed),
    ] {
        assert_eq!(
            split(&whole.replacen(from, to, 1)),
            Err(lossy),
            "{from} {to}"
        );
    }
    for json in ["", "[]", "null", "{", "{}"] {
        assert_eq!(split(json), Err(ConversionError::Malformed), "{json}");
    }
}

#[test]
fn usage_is_zeroed_in_both_forms_and_nothing_else_changes() {
    let zeroed = AnthropicMessages
        .zero_usage(MESSAGE.as_bytes(), &Form::json())
        .unwrap();
    let mut expected: Value = serde_json::from_str(MESSAGE).unwrap();
    for pointer in [
        "/input_tokens",
        "/cache_creation_input_tokens",
        "/cache_read_input_tokens",
        "/cache_creation/ephemeral_5m_input_tokens",
        "/output_tokens",
        "/server_tool_use/web_search_requests",
        "/output_tokens_details/thinking_tokens",
    ] {
        *expected["usage"].pointer_mut(pointer).unwrap() = 0.into();
    }
    assert_eq!(serde_json::from_slice::<Value>(&zeroed).unwrap(), expected);

    let padded = text(stream(&WITH_TOOL)).replace("}\n\n", "}  \n\n");
    let zeroed = AnthropicMessages.zero_usage(padded.as_bytes(), &sse());
    let zeroed = text(zeroed.unwrap());
    for (before, after) in padded.split("\n\n").zip(zeroed.split("\n\n")) {
        assert!(before == after || before.contains("usage"), "{before}");
    }
    let expected = padded
        .replace(
            r#""input_tokens":9,"output_tokens":1"#,
            r#""input_tokens":0,"output_tokens":0"#,
        )
        .replace(r#""output_tokens":7"#, r#""output_tokens":0"#);
    assert_eq!(events_of(zeroed.as_bytes()), events_of(expected.as_bytes()));
    let none = br#"{"type":"message","usage":null}  "#;
    assert_eq!(
        AnthropicMessages.zero_usage(none, &Form::json()).unwrap(),
        none
    );
}

proptest::proptest! {
    #[test]
    fn any_text_survives_the_way_to_a_stream_and_back(text: String, key: String, number: f64) {
        let json = serde_json::json!({
            "type": "message",
            "content": [{"type": "text", "text": text}, {"type": "tool_use", "input": {key: [number, text]}}],
            "stop_reason": "end_turn",
            "usage": {"output_tokens": 1},
        });
        let stream = AnthropicMessages.split(json.to_string().as_bytes(), &sse()).unwrap();
        let back = AnthropicMessages.join(&stream, &sse()).unwrap();
        proptest::prop_assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), json);
        proptest::prop_assert!(judge_chunks([&stream[..]]).0.is_ok());
    }

    #[test]
    fn no_bytes_make_a_join_panic(order in proptest::collection::vec(0..WITH_TOOL.len(), 0..20)) {
        let events: Vec<_> = order.into_iter().map(|at| WITH_TOOL[at]).collect();
        let judged = judge_stream(&events);
        let joined = join(&events);
        // What the judge finds whole can be joined, and the other way round.
        proptest::prop_assert_eq!(judged.is_ok_and(|answer| answer.marked_end), joined.is_ok());
    }
}
