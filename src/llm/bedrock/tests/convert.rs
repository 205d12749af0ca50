use super::*;

#[test]
fn an_answer_survives_the_way_to_a_stream_and_back() {
    let streamed = split(ANSWER).unwrap();
    let (answer, heard) = judge_chunks(CONVERSE_STREAM, streamed.chunks(5));
    assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "é\0cited"));
    let back = Bedrock.join(&streamed, &form(CONVERSE_STREAM)).unwrap();
    assert_eq!(value(&back), value(ANSWER.as_bytes()));
    assert!(memchr::memmem::find(&back, b"1.50").is_some());
}

#[test]
fn an_answer_is_split_into_the_events_that_the_api_sends() {
    let json = r#"{"output":{"message":{"role":"assistant","content":[{"text":"Hi"},{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1}}}]}},"stopReason":"tool_use","usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5},"metrics":{"latencyMs":17}}"#;
    let expected = stream(&[
        ("messageStart", r#"{"role":"assistant"}"#),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#,
        ),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        (
            "contentBlockStart",
            r#"{"start":{"toolUse":{"toolUseId":"t1","name":"f"}},"contentBlockIndex":1}"#,
        ),
        (
            "contentBlockDelta",
            r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"a\":1}"}}}"#,
        ),
        ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        ("messageStop", r#"{"stopReason":"tool_use"}"#),
        (
            "metadata",
            r#"{"usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5},"metrics":{"latencyMs":17}}"#,
        ),
    ]);
    assert_eq!(events_of(&split(json).unwrap()), events_of(&expected));
}

#[test]
fn a_stream_is_joined_into_the_answer_that_the_api_would_have_sent() {
    assert_eq!(
        join(&WITH_TOOL).unwrap(),
        value(br#"{"output":{"message":{"role":"assistant","content":[{"text":"H\u00e9llo"},{"toolUse":{"name":"f","toolUseId":"t1","input":{"a":1.50}}}]}},"stopReason":"tool_use","metrics":{"latencyMs":17},"usage":{"inputTokens":2,"outputTokens":3,"totalTokens":5}}"#)
    );
    // Blocks are in the order of their indices, wherever their pieces stand.
    let second = (
        "contentBlockDelta",
        r#"{"contentBlockIndex":7,"delta":{"text":"last"}}"#,
    );
    let joined = join(&with(1, &[second, TEXT])).unwrap();
    let content = &joined["output"]["message"]["content"];
    assert_eq!(
        *content,
        value(br#"[{"text":"H\u00e9llo"},{"text":"last"}]"#)
    );
}

#[test]
fn what_would_be_lost_or_guessed_is_not_converted() {
    let delta = |delta: &str| format!(r#"{{"contentBlockIndex":0,"delta":{{{delta}}}}}"#);
    let redacted = delta(r#""reasoningContent":{"redactedContent":"ZGF0YQ=="}"#);
    let signature = delta(r#""reasoningContent":{"signature":"c2ln"}"#);
    for (twice, lossy) in [
        (&redacted, ConversionError::Content),
        (&signature, ConversionError::Content),
    ] {
        let event = ("contentBlockDelta", twice.as_str());
        assert!(join(&with(1, &[event])).is_ok(), "{twice}");
        assert_eq!(join(&with(1, &[event, event])), Err(lossy), "{twice}");
        assert_eq!(
            join(&with(1, &[TEXT, event])),
            Err(ConversionError::Content),
            "{twice}"
        );
    }
    for (piece, lossy) in [
        (r#""image":{}"#, ConversionError::Content),
        (r#""text":"a","new":1"#, ConversionError::UnknownMember),
        (r#""toolUse":{"input":""}"#, ConversionError::Malformed),
        (
            r#""reasoningContent":{"text":"a","new":1}"#,
            ConversionError::UnknownMember,
        ),
        ("", ConversionError::UnknownMember),
    ] {
        let event = delta(piece);
        let events = with(1, &[("contentBlockDelta", &event)]);
        assert_eq!(join(&events), Err(lossy), "{piece}");
    }
    let result = (
        "contentBlockStart",
        r#"{"contentBlockIndex":0,"start":{"toolResult":{}}}"#,
    );
    let beside = ("contentBlockStop", r#"{"contentBlockIndex":0,"new":1}"#);
    for (events, lossy) in [
        (with(1, &[]), ConversionError::Content),
        (with(1, &[result]), ConversionError::Content),
        (
            with(1, &[TEXT, ("new", "{}")]),
            ConversionError::UnknownMember,
        ),
        (with(2, &[beside]), ConversionError::UnknownMember),
        (
            with(4, &[("metadata", r#"{"metrics":{}}"#)]),
            ConversionError::NoUsage,
        ),
        (with(4, &[]), ConversionError::Malformed),
        (with(3, &[]), ConversionError::Malformed),
        (with(0, &[]), ConversionError::Malformed),
    ] {
        assert_eq!(join(&events), Err(lossy), "{events:?}");
    }
    for (from, to, lossy) in [
        (
            r#"{"text":"é\u0000"}"#,
            r#"{"image":{}}"#,
            ConversionError::Content,
        ),
        (
            r#"{"text":"é\u0000"}"#,
            r#"{"text":"","new":1}"#,
            ConversionError::UnknownMember,
        ),
        (
            r#"[{"text":"cited"}]"#,
            r#"[{"text":"a"},{"text":"b"}]"#,
            ConversionError::Content,
        ),
        (r#""usage""#, r#""use""#, ConversionError::NoUsage),
        (
            r#""stopReason":"tool_use""#,
            r#""stopReason":null"#,
            ConversionError::Malformed,
        ),
        (
            r#""role":"assistant"}"#,
            r#""role":"assistant","new":1}"#,
            ConversionError::UnknownMember,
        ),
        (r#""input":{}"#, r#""input":7"#, ConversionError::Malformed),
    ] {
        assert_eq!(
            split(&ANSWER.replacen(from, to, 1)),
            Err(lossy),
            "{from} {to}"
        );
    }
    let no_usage =
        r#"{"output":{"message":{"role":"assistant","content":[]}},"stopReason":"end_turn"}"#;
    assert_eq!(split(no_usage), Err(ConversionError::NoUsage));
    for json in ["", "[]", "{}", "{"] {
        assert_eq!(split(json), Err(ConversionError::Malformed), "{json}");
    }
}

#[test]
fn only_anthropic_s_native_answers_are_converted_and_all_are_compared() {
    for events in MODELS {
        let joined = Bedrock.join(&native_stream(events), &form(INVOKE_STREAM));
        assert_eq!(joined, Err(ConversionError::Unsupported), "{events:?}");
    }
    let api = Api::from_name("bedrock").unwrap();
    let json = form(INVOKE);
    let agree = |one: &str, other: &str| api.agree(one.as_bytes(), &json, other.as_bytes(), &json);
    for (one, other) in [
        (
            r#"{"results":[{"outputText":"a","tokenCount":1}]}"#,
            r#"{"results":[{"outputText":"b","tokenCount":1}]}"#,
        ),
        (
            r#"{"generations":[{"text":"a","id":"1"}]}"#,
            r#"{"generations":[{"text":"b","id":"1"}]}"#,
        ),
        (
            r#"{"text":"a","generation_id":"1"}"#,
            r#"{"text":"b","generation_id":"1"}"#,
        ),
        (r#"{"generation":"a"}"#, r#"{"generation":"b"}"#),
        (r#"{"embedding":[1]}"#, r#"{"embedding":[2]}"#),
    ] {
        assert_eq!(agree(one, one), Ok(true), "{one}");
        assert_eq!(agree(one, other), Ok(false), "{one}");
    }
}

#[test]
fn every_model_s_counts_become_zero() {
    let zeroed = |json: &str| {
        let json = Bedrock.zero_usage(json.as_bytes(), &form(INVOKE)).unwrap();
        String::from_utf8(json).unwrap()
    };
    for (json, expected) in [
        (
            r#"{"inputTextTokenCount":5,"results":[{"completionReason":"FINISH","outputText":"7","tokenCount":2}]}"#,
            r#"{"inputTextTokenCount":0,"results":[{"completionReason":"FINISH","outputText":"7","tokenCount":0}]}"#,
        ),
        (
            r#"{"output":{},"usage":{"inputTokens":3,"totalTokens":5}}"#,
            r#"{"output":{},"usage":{"inputTokens":0,"totalTokens":0}}"#,
        ),
        (
            r#"{"embedding":[0.5],"inputTextTokenCount":3}"#,
            r#"{"embedding":[0.5],"inputTextTokenCount":0}"#,
        ),
        (
            r#"{"generation":"7","generation_token_count":2,"prompt_token_count":3}"#,
            r#"{"generation":"7","generation_token_count":0,"prompt_token_count":0}"#,
        ),
        (
            r#"{"meta":{"billed_units":{"input_tokens":3}},"text":"7"}"#,
            r#"{"meta":{"billed_units":{"input_tokens":0}},"text":"7"}"#,
        ),
    ] {
        assert_eq!(value(zeroed(json).as_bytes()), value(expected.as_bytes()));
    }
    for events in MODELS {
        let zeroed = Bedrock
            .zero_usage(&native_stream(events), &form(INVOKE_STREAM))
            .unwrap();
        assert_eq!(judge(INVOKE_STREAM, &zeroed), Ok(WHOLE), "{events:?}");
        let text: String = natives_of(&zeroed).iter().map(Value::to_string).collect();
        for count in [
            "Count\":3",
            "Count\":2",
            "Tokens\":3",
            "Tokens\":2",
            "_count\":3",
            "_count\":2",
        ] {
            assert!(!text.contains(count), "{count} {text}");
        }
    }
}

#[test]
fn a_native_stream_is_joined_and_a_native_message_not_split() {
    let json = Bedrock
        .join(&native_stream(&NATIVE), &form(INVOKE_STREAM))
        .unwrap();
    assert_eq!(
        value(&json),
        value(br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"H\u00e9llo"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":7}}"#)
    );
    assert_eq!(judge(INVOKE, &json), Ok(WHOLE));
    assert_eq!(
        Bedrock.split(&json, &form(INVOKE_STREAM)),
        Err(ConversionError::Unsupported)
    );
}

#[test]
fn usage_is_zeroed_in_every_form_and_nothing_else_changes() {
    let zeroed = Bedrock
        .zero_usage(&stream(&SHORT), &form(CONVERSE_STREAM))
        .unwrap();
    let metadata = METADATA.1.replace(
        r#"{"inputTokens":2,"outputTokens":3,"totalTokens":5}"#,
        r#"{"inputTokens":0,"outputTokens":0,"totalTokens":0}"#,
    );
    let unchanged = stream(&SHORT[..4]);
    assert!(zeroed.starts_with(&unchanged));
    assert_eq!(
        events_of(&zeroed[unchanged.len()..]),
        [("metadata".to_owned(), value(metadata.as_bytes()))]
    );

    let zeroed = Bedrock
        .zero_usage(ANSWER.as_bytes(), &form(CONVERSE))
        .unwrap();
    let zeroed: Value = serde_json::from_slice(&zeroed).unwrap();
    let mut expected: Value = serde_json::from_str(ANSWER).unwrap();
    for (_, count) in expected["usage"].as_object_mut().unwrap() {
        *count = 0.into();
    }
    assert_eq!(zeroed, expected);

    let zeroed = Bedrock
        .zero_usage(&native_stream(&NATIVE), &form(INVOKE_STREAM))
        .unwrap();
    let expected = NATIVE.map(|event| {
        event
            .replace(
                r#""input_tokens":9,"output_tokens":1"#,
                r#""input_tokens":0,"output_tokens":0"#,
            )
            .replace(r#""output_tokens":7"#, r#""output_tokens":0"#)
            .replace(r#"Count":9"#, r#"Count":0"#)
            .replace(r#"Count":7"#, r#"Count":0"#)
    });
    let expected = expected.map(|event| value(event.as_bytes()));
    assert_eq!(natives_of(&zeroed), expected);
    let cut = &zeroed[..zeroed.len() - 1];
    assert_eq!(
        Bedrock.zero_usage(cut, &form(INVOKE_STREAM)),
        Err(ConversionError::Malformed)
    );
}

proptest::proptest! {
    #[test]
    fn what_the_judge_finds_whole_can_be_joined(
        order in proptest::collection::vec(0..WITH_TOOL.len(), 0..14),
    ) {
        let events: Vec<_> = order.into_iter().map(|at| WITH_TOOL[at]).collect();
        let whole = judge_events(&events).is_ok_and(|answer| answer.marked_end);
        let joined = join(&events);
        // A stop without a delta is an empty text, or nothing at all.
        proptest::prop_assert!(!whole || joined.is_ok() || joined == Err(ConversionError::Content));
    }

    #[test]
    fn no_bytes_make_a_conversion_panic(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        for path in [CONVERSE_STREAM, INVOKE_STREAM] {
            let _ = Bedrock.join(&bytes, &form(path));
            let _ = Bedrock.zero_usage(&bytes, &form(path));
            let _ = judge(path, &bytes);
        }
        let payload = String::from_utf8_lossy(&bytes);
        let framed = stream(&[START, ("contentBlockDelta", &payload)]);
        let _ = Bedrock.join(&framed, &form(CONVERSE_STREAM));
        let _ = Bedrock.join(&message("chunk", &payload), &form(INVOKE_STREAM));
    }
}
