use super::*;

#[test]
fn a_stream_is_whole_at_every_split() {
    for events in [&SHORT[..], &WITH_TOOL] {
        let bytes = stream(events);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let (answer, heard) = judge_chunks(CONVERSE_STREAM, [head, tail]);
            assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "Héllo"), "{at}");
        }
    }
}

#[test]
fn no_prefix_of_a_stream_is_whole() {
    let bytes = stream(&WITH_TOOL);
    for length in 0..bytes.len() {
        let answer = judge(CONVERSE_STREAM, &bytes[..length]);
        assert!(!answer.is_ok_and(|answer| answer.marked_end), "{length}");
    }
    assert_eq!(
        judge(CONVERSE_STREAM, &bytes[..bytes.len() - 1]),
        Err(NotWhole::Pending)
    );
    assert!(!judge_events(&SHORT[..4]).unwrap().marked_end);
    assert!(!judge_events(&with(3, &[])).unwrap().marked_end);
    assert_eq!(judge_events(&SHORT[..3]), Err(NotWhole::Unfinished));
    assert_eq!(judge_events(&[]), Err(NotWhole::Choices));
}

#[test]
fn every_stop_reason_is_read() {
    let finish = |reason: &str| {
        let stop = format!(r#"{{"stopReason":"{reason}"}}"#);
        let json = format!(
            r#"{{"output":{{"message":{{"content":[]}}}},"stopReason":"{reason}","usage":{{}}}}"#
        );
        let streamed = judge_events(&with(3, &[("messageStop", &stop)]));
        let streamed = streamed.map(|answer| answer.finish);
        let whole = judge(CONVERSE, json.as_bytes()).map(|answer| answer.finish);
        assert_eq!(whole, streamed, "{reason}");
        streamed
    };
    for complete in ["end_turn", "tool_use", "stop_sequence"] {
        assert_eq!(finish(complete), Ok(Finish::Complete));
    }
    for length in ["max_tokens", "model_context_window_exceeded"] {
        assert_eq!(finish(length), Ok(Finish::Length));
    }
    for filtered in ["guardrail_intervened", "content_filtered"] {
        assert_eq!(finish(filtered), Ok(Finish::Filtered));
    }
    for unknown in ["malformed_model_output", "malformed_tool_use", "new"] {
        assert_eq!(finish(unknown), Err(NotWhole::UnknownFinish));
    }
}

#[test]
fn exceptions_and_errors_are_faults() {
    for headers in [
        [
            (":message-type", "exception"),
            (":exception-type", "throttlingException"),
        ],
        [
            (":message-type", "error"),
            (":error-code", "InternalFailure"),
        ],
    ] {
        let mut error = Vec::new();
        eventstream::encode(&mut error, &headers, br#"{"message":"Too many"}"#).unwrap();
        for at in 0..=SHORT.len() {
            let (head, tail) = SHORT.split_at(at);
            let bytes = [stream(head), error.clone(), stream(tail)].concat();
            assert_eq!(judge(CONVERSE_STREAM, &bytes), Err(NotWhole::Error), "{at}");
            assert_eq!(
                Bedrock.join(&bytes, &form(CONVERSE_STREAM)),
                Err(ConversionError::Malformed)
            );
        }
    }
    let json = br#"{"message":"Too many tokens"}"#;
    assert_eq!(judge(CONVERSE, json), Err(NotWhole::Error));
}

#[test]
fn what_the_api_does_not_send_is_a_fault() {
    let no_index = ("contentBlockDelta", r#"{"delta":{"text":"a"}}"#);
    let no_delta = ("contentBlockDelta", r#"{"contentBlockIndex":0}"#);
    let not_json = ("contentBlockDelta", "{");
    for (events, fault) in [
        (with(0, &[]), NotWhole::Malformed),
        (with(0, &[START, START]), NotWhole::Malformed),
        (with(1, &[no_index]), NotWhole::Malformed),
        (with(1, &[no_delta]), NotWhole::Malformed),
        (with(1, &[not_json]), NotWhole::Malformed),
        (with(2, &[STOP_0, TEXT]), NotWhole::Malformed),
        (with(2, &[STOP_0, STOP_0]), NotWhole::Malformed),
        (with(2, &[TOOL_START, TOOL_START]), NotWhole::Malformed),
        (with(3, &[STOP, TEXT]), NotWhole::Malformed),
        (with(3, &[STOP, STOP]), NotWhole::Malformed),
        (with(4, &[METADATA, METADATA]), NotWhole::AfterEnd),
        (with(2, &[]), NotWhole::Unfinished),
        (
            with(2, &[STOP_0, TOOL_START, ARGUMENTS_1]),
            NotWhole::ToolArguments,
        ),
        (
            with(2, &[STOP_0, TOOL_START, ARGUMENTS_1, STOP_1]),
            NotWhole::ToolArguments,
        ),
    ] {
        assert_eq!(judge_events(&events), Err(fault), "{events:?}");
    }
    let bytes = stream(&SHORT);
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        assert_eq!(
            judge(CONVERSE_STREAM, &changed),
            Err(NotWhole::Malformed),
            "{at}"
        );
    }
    let invalid = [message("messageStart", "{}"), {
        let mut out = Vec::new();
        write_event(&mut out, "contentBlockDelta", b"{\"a\":\"\xff\"}").unwrap();
        out
    }];
    assert_eq!(
        judge(CONVERSE_STREAM, &invalid.concat()),
        Err(NotWhole::Malformed)
    );
    assert_eq!(
        judge(CONVERSE_STREAM, b"data: {\"type\":\"ping\"}\n\n"),
        Err(NotWhole::Malformed)
    );
    let many: Vec<u8> = (0..4_100)
        .flat_map(|index| {
            message(
                "contentBlockStop",
                &format!(r#"{{"contentBlockIndex":{index}}}"#),
            )
        })
        .collect();
    let many = [message(START.0, START.1), many].concat();
    assert_eq!(judge(CONVERSE_STREAM, &many), Err(NotWhole::Choices));
    let unknown = ("somethingNew", r#"{"x":1}"#);
    assert_eq!(judge_events(&with(1, &[unknown, TEXT])), Ok(WHOLE));
}

#[test]
fn an_answer_that_says_nothing_is_empty() {
    let reasoning = (
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}"#,
    );
    assert!(judge_events(&with(1, &[])).unwrap().empty);
    assert!(judge_events(&with(1, &[reasoning])).unwrap().empty);
    for (content, empty) in [
        ("", true),
        (r#"{"text":""}"#, true),
        (r#"{"reasoningContent":{}}"#, true),
        (r#"{"text":"a"}"#, false),
        (r#"{"toolUse":{}}"#, false),
    ] {
        let json = format!(
            r#"{{"output":{{"message":{{"content":[{content}]}}}},"stopReason":"end_turn"}}"#
        );
        let answer = judge(CONVERSE, json.as_bytes()).unwrap();
        assert_eq!(
            (answer.empty, answer.marked_end),
            (empty, true),
            "{content}"
        );
    }
}

#[test]
fn a_json_answer_needs_a_message_and_a_stop_reason() {
    let whole = r#"{"metrics":{"latencyMs":1},"output":{"message":{"content":[{"text":"Hi"}],"role":"assistant"}},"stopReason":"end_turn","usage":{}}"#;
    assert_eq!(judge(CONVERSE, whole.as_bytes()), Ok(WHOLE));
    for length in 0..whole.len() {
        let cut = judge(CONVERSE, &whole.as_bytes()[..length]);
        assert_eq!(cut, Err(NotWhole::Malformed), "{length}");
    }
    let unmarked = whole.replace(r#""end_turn""#, "null");
    assert!(!judge(CONVERSE, unmarked.as_bytes()).unwrap().marked_end);
    assert_eq!(
        judge(CONVERSE, br#"{"output":{}}"#),
        Err(NotWhole::Malformed)
    );
}
