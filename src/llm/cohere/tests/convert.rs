use super::*;

#[test]
fn events_join_to_the_response_that_would_have_been_sent() {
    let expected = json!({
        "id": "i",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Hí you"}]},
        "finish_reason": "COMPLETE",
        "usage": {
            "billed_units": {"input_tokens": 3},
            "tokens": {"output_tokens": 4},
            "cached_tokens": 2,
        },
    });
    assert_eq!(joined(Framing::Sse, &sse(&TEXT)), Ok(expected));
}

#[test]
fn thinking_plans_calls_citations_and_logprobs_are_kept() {
    let events = [
        START,
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":"a"}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"b"}}}}"#,
        BLOCK_END,
        r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"H"}}},"logprobs":{"text":"H","token_ids":[1],"logprobs":[-0.10]}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"i"}}},"logprobs":{"text":"i","token_ids":[2],"logprobs":[-1]}}"#,
        r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":2,"text":"Hi","sources":[]}}}}"#,
        r#"{"type":"citation-end","index":0}"#,
        r#"{"type":"content-end","index":1}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I "}}}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"will"}}}"#,
        CALL,
        ARGUMENTS,
        MORE,
        CALL_END,
        r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"d","type":"function","function":{"name":"g","arguments":""}}}}}"#,
        r#"{"type":"tool-call-end","index":1}"#,
        END,
        DONE,
    ];
    let joined = joined(Framing::Sse, &sse(&events)).unwrap();
    let message: Value = serde_json::from_str(
        r#"{
            "role": "assistant",
            "content": [{"type":"thinking","thinking":"ab"},{"type":"text","text":"Hi"}],
            "tool_plan": "I will",
            "tool_calls": [
                {"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
                {"id":"d","type":"function","function":{"name":"g","arguments":""}}
            ],
            "citations": [{"start":0,"end":2,"text":"Hi","sources":[]}]
        }"#,
    )
    .unwrap();
    assert_eq!(joined["message"], message);
    let logprobs = r#"[{"text":"H","token_ids":[1],"logprobs":[-0.10]},{"text":"i","token_ids":[2],"logprobs":[-1]}]"#;
    assert_eq!(
        joined["logprobs"],
        serde_json::from_str::<Value>(logprobs).unwrap()
    );
}

#[test]
fn what_has_no_known_place_is_not_guessed() {
    for (from, to) in [
        (
            HI,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"new":1}}}}"#,
        ),
        (
            HI,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"new":1}}}"#,
        ),
        (
            HI,
            r#"{"type":"content-delta","index":0,"delta":{"new":1}}"#,
        ),
        (HI, r#"{"type":"content-delta","index":0,"new":1}"#),
        (HI, r#"{"type":"debug","prompt":"p"}"#),
    ] {
        let stream = sse(&TEXT).replace(from, to);
        assert_eq!(
            joined(Framing::Sse, &stream),
            Err(ConversionError::UnknownMember),
            "{to}"
        );
    }
    for (json, lossy) in [
        (
            r#"{"message":{"content":"text"}}"#,
            ConversionError::Content,
        ),
        (
            r#"{"message":{"content":["text"]}}"#,
            ConversionError::Content,
        ),
        (
            r#"{"message":{"content":[{"text":"ab"}]},"logprobs":[{"text":"a"}]}"#,
            ConversionError::Content,
        ),
        (
            r#"{"message":{},"logprobs":[{"text":"a"}]}"#,
            ConversionError::Content,
        ),
    ] {
        let split = Cohere.split(json.as_bytes(), &form(Framing::Sse));
        assert_eq!(split, Err(lossy), "{json}");
    }
}

#[test]
fn what_comes_once_with_the_start_or_the_end_is_carried_over() {
    let json = r#"{"id":"i","message":{"role":"assistant","new":{"a":"b"},"content":[{"type":"text","text":"a"}]},"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":1}},"generation":"g"}"#;
    let stream = Cohere.split(json.as_bytes(), &form(Framing::Sse)).unwrap();
    let stream = String::from_utf8(stream).unwrap();
    let again = joined(Framing::Sse, &stream).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(json).unwrap());
    // A text in the start would come before the pieces, or be one of them.
    let said = stream.replacen("\"tool_plan\":\"\"", "\"tool_plan\":\"x\"", 1);
    assert_eq!(
        joined(Framing::Sse, &said),
        Err(ConversionError::UnknownMember)
    );
}

#[test]
fn a_version_1_stream_joins_to_the_response_in_its_last_line() {
    let expected = serde_json::from_str::<Value>(V1_END).unwrap()["response"].take();
    let stream = lines(&[V1_START, V1_TEXT, V1_END]);
    assert_eq!(joined(Framing::Ndjson, &stream), Ok(expected));
    let rich = json!({
        "text": "a", "generation_id": "g", "finish_reason": "MAX_TOKENS", "new": {"x": 1},
        "citations": [{"start": 0}], "documents": [{"id": "d"}], "search_queries": [{"text": "q"}],
        "search_results": [{}], "tool_calls": [{"name": "f", "parameters": {}}],
    });
    assert_eq!(split_and_joined(Framing::Ndjson, &rich), Ok(rich));
}

#[test]
fn bytes_that_are_no_answer_do_not_join_or_split() {
    for stream in [
        "",
        "data: {}\n\n",
        "data: 7\n\n",
        "nonsense",
        "data: [DONE]\n\n",
    ] {
        let joined = joined(Framing::Sse, stream);
        assert!(joined.is_err(), "{stream}");
    }
    for events in [
        &[START][..],
        &[START, HI, END],
        &[START, END, END],
        &[START, BLOCK, BLOCK, END],
    ] {
        assert_eq!(
            joined(Framing::Sse, &sse(events)),
            Err(ConversionError::Malformed),
            "{events:?}"
        );
    }
    for stream in ["", "{}\n", "{\"response\":{}}\n", V1_START] {
        assert_eq!(
            joined(Framing::Ndjson, stream),
            Err(ConversionError::Malformed),
            "{stream}"
        );
    }
    for json in ["", "[]", "{}", "{\"message\":7}"] {
        for framing in [Framing::Sse, Framing::Ndjson] {
            let split = Cohere.split(json.as_bytes(), &form(framing));
            assert_eq!(split, Err(ConversionError::Malformed), "{json}");
        }
    }
}

#[test]
fn usage_is_zeroed_and_nothing_else() {
    let zero = |framing, answer: &str| {
        let out = Cohere
            .zero_usage(answer.as_bytes(), &form(framing))
            .unwrap();
        values(out)
    };
    let zeroed = sse(&TEXT)
        .replace("\"input_tokens\":3", "\"input_tokens\":0")
        .replace("\"output_tokens\":4", "\"output_tokens\":0")
        .replace("\"cached_tokens\":2", "\"cached_tokens\":0");
    assert_eq!(zero(Framing::Sse, &sse(&TEXT)), values(zeroed));
    let v1 = lines(&[V1_START, V1_TEXT, V1_END]);
    let zeroed = v1.replace("\"input_tokens\":5", "\"input_tokens\":0");
    assert_eq!(zero(Framing::Ndjson, &v1), values(zeroed));
    let embed = r#"{"embeddings":{"float":[[1]]},"meta":{"billed_units":{"input_tokens":9}}}"#;
    assert_eq!(zero(Framing::Json, embed), values(embed.replace('9', "0")));
}
