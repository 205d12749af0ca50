use super::*;

#[test]
fn a_stream_is_whole_at_every_split() {
    for events in [&SHORT[..], &WITH_TOOL] {
        let bytes = stream(events);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            let (answer, heard) = judge_chunks([head, tail]);
            assert_eq!((answer, heard.as_str()), (Ok(WHOLE), "Héllo"), "{at}");
        }
    }
}

#[test]
fn no_prefix_of_a_stream_is_whole() {
    let bytes = stream(&WITH_TOOL);
    for length in 0..bytes.len() {
        let answer = judge_chunks([&bytes[..length]]).0;
        assert!(!answer.is_ok_and(|answer| answer.marked_end), "{length}");
    }
}

#[test]
fn a_stop_reason_alone_or_an_end_alone_does_not_mark_the_end() {
    for events in [&SHORT[..5], &with(4, &[])] {
        assert!(!judge_stream(events).unwrap().marked_end, "{events:?}");
    }
    let null = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{}}"#;
    assert!(!judge_stream(&with(4, &[null])).unwrap().marked_end);
    assert_eq!(judge_stream(&with(4, &[END_TURN, null])), Ok(WHOLE));
    assert_eq!(judge_stream(&SHORT[..4]), Err(NotWhole::Unfinished));
    assert_eq!(judge_stream(&[]), Err(NotWhole::Choices));
}

#[test]
fn every_stop_reason_is_read() {
    let finish = |reason: &str| {
        let end = END_TURN.replace("end_turn", reason);
        let json = format!(r#"{{"type":"message","content":[],"stop_reason":"{reason}"}}"#);
        let mut events = SHORT.to_vec();
        events[4] = &end;
        let streamed = judge_stream(&events).map(|answer| answer.finish);
        assert_eq!(judge_json(&json).map(|answer| answer.finish), streamed);
        streamed
    };
    for complete in ["end_turn", "stop_sequence", "tool_use"] {
        assert_eq!(finish(complete), Ok(Finish::Complete));
    }
    for length in ["max_tokens", "model_context_window_exceeded"] {
        assert_eq!(finish(length), Ok(Finish::Length));
    }
    assert_eq!(finish("refusal"), Ok(Finish::Filtered));
    for paused in ["pause_turn", "compaction"] {
        assert_eq!(finish(paused), Err(NotWhole::Unfinished));
    }
    for unknown in ["stop", "END_TURN", "error", "new"] {
        assert_eq!(finish(unknown), Err(NotWhole::UnknownFinish));
    }
}

#[test]
fn an_error_anywhere_is_a_fault() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let untyped = r#"{"type":"message_delta","error":{"message":"boom"}}"#;
    for bad in [error, untyped] {
        for at in 0..=SHORT.len() {
            let mut events = SHORT.to_vec();
            events.insert(at, bad);
            assert_eq!(judge_stream(&events), Err(NotWhole::Error), "{bad} at {at}");
        }
    }
    let named = b"event: error\ndata: {\"oops\":1}\n\n";
    assert_eq!(judge_chunks([&named[..]]).0, Err(NotWhole::Error));
}

#[test]
fn what_the_api_does_not_send_is_a_fault() {
    let skipped = r#"{"type":"content_block_start","index":2,"content_block":{"type":"text"}}"#;
    let prefilled = START.replace("[]", r#"[{"type":"text","text":""}]"#);
    let without = START.replace("\"content\":[],", "");
    let null = START.replace("[]", "null");
    let uncounted = START.replace("\"usage\":{", "\"used\":{");
    let wordless = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text"}}"#;
    let end_without_usage = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let end_without_delta = r#"{"type":"message_delta","usage":{"output_tokens":7}}"#;
    for (events, fault) in [
        // Two answers spliced.
        (with(3, &[START]), NotWhole::Malformed),
        (with(0, &[]), NotWhole::Malformed),
        (with(0, &[&prefilled]), NotWhole::Malformed),
        // What Anthropic's clients raise on.
        (with(0, &[&without]), NotWhole::Malformed),
        (with(0, &[&null]), NotWhole::Malformed),
        (with(0, &[&uncounted]), NotWhole::Malformed),
        (with(1, &[wordless]), NotWhole::Malformed),
        (with(4, &[end_without_usage]), NotWhole::Malformed),
        (with(4, &[end_without_delta]), NotWhole::Malformed),
        (with(1, &[]), NotWhole::Malformed),
        (with(1, &[skipped]), NotWhole::Malformed),
        (with(1, &[TEXT_START, TEXT_START]), NotWhole::Malformed),
        (with(3, &[STOP_0, STOP_0]), NotWhole::Malformed),
        (with(3, &[STOP_0, TEXT]), NotWhole::Malformed),
        // More content after the end.
        (with(4, &[END_TURN, TOOL_START]), NotWhole::Malformed),
        (with(5, &[STOP, END_TURN]), NotWhole::AfterEnd),
        (with(5, &[STOP, STOP]), NotWhole::AfterEnd),
        // A block that never ends.
        (with(3, &[]), NotWhole::Unfinished),
    ] {
        assert_eq!(judge_stream(&events), Err(fault), "{events:?}");
    }
    for bad in [
        "data: {}\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: [DONE]\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":1}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"input_json_delta\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0}\n\n",
        "data: {\"type\":\"content_block_stop\"}\n\n",
    ] {
        let bytes = [&stream(&SHORT[..3]), bad.as_bytes()].concat();
        assert_eq!(
            judge_chunks([&bytes[..]]).0,
            Err(NotWhole::Malformed),
            "{bad}"
        );
    }
    let stray = [&stream(&SHORT)[..], b"{\"error\":1}\n"].concat();
    assert_eq!(judge_chunks([&stray[..]]).0, Err(NotWhole::StrayLines));
    let mut many = vec![START.to_owned()];
    many.extend((0..65).map(|index| TEXT_START.replace(":0", &format!(":{index}"))));
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(judge_stream(&many), Err(NotWhole::Choices));
}

#[test]
fn an_event_is_named_as_its_data_says_because_clients_go_by_the_name() {
    let named = |at: usize, name: &str| {
        let text = text(stream(&WITH_TOOL));
        let mut events: Vec<_> = text.split_inclusive("\n\n").map(str::to_owned).collect();
        let (_, data) = events[at].split_once('\n').unwrap();
        events[at] = format!("{name}{data}");
        judge_chunks([events.concat().as_bytes()]).0
    };
    for (at, event) in WITH_TOOL.iter().enumerate() {
        let is_ping = *event == PING;
        for name in ["", "event:\n", "event: ping\n", "event: foo\n"] {
            let expected = match is_ping && !name.contains("foo") {
                true => Ok(WHOLE),
                false => Err(NotWhole::Malformed),
            };
            assert_eq!(named(at, name), expected, "{at} {name:?}");
        }
        assert_eq!(named(at, "event: error\n"), Err(NotWhole::Error));
    }
    let marked = [&stream(&SHORT)[..], b"event: done\ndata: [DONE]\n\n"].concat();
    assert_eq!(judge_chunks([&marked[..]]).0, Err(NotWhole::Malformed));
}

#[test]
fn what_comes_after_the_end_without_saying_anything_is_fine() {
    let bytes = [
        &stream(&SHORT)[..],
        b": bye\n\ndata: [DONE]\n\n",
        &stream(&[PING]),
    ]
    .concat();
    assert_eq!(judge_chunks([&bytes[..]]).0, Ok(WHOLE));
    let unknown = r#"{"type":"something_new","index":7}"#;
    assert_eq!(judge_stream(&with(2, &[TEXT, unknown])), Ok(WHOLE));
}

#[test]
fn arguments_of_tool_calls_must_parse() {
    let mut broken = WITH_TOOL.to_vec();
    broken.remove(7);
    assert_eq!(judge_stream(&broken), Err(NotWhole::ToolArguments));
    // As recorded when the limit on tokens falls into a call: no stop for the block.
    let length = END_TURN.replace("end_turn", "max_tokens");
    let cut: Vec<_> = [
        START,
        TEXT_START,
        TEXT,
        STOP_0,
        TOOL_START,
        ARGUMENTS_1,
        &length,
        STOP,
    ]
    .into();
    assert_eq!(judge_stream(&cut), Err(NotWhole::ToolArguments));
    let mut none = WITH_TOOL.to_vec();
    none.drain(6..8);
    assert_eq!(judge_stream(&none), Ok(WHOLE));
}

#[test]
fn an_answer_that_says_nothing_is_empty() {
    let thinking = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#;
    let thought = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#;
    for events in [with(2, &[]), with(1, &[thinking, thought])] {
        let events: Vec<_> = events.into_iter().filter(|event| *event != TEXT).collect();
        assert!(judge_stream(&events).unwrap().empty, "{events:?}");
    }
    let tool = [
        START,
        &TOOL_START.replace(":1", ":0"),
        STOP_0,
        END_TURN,
        STOP,
    ];
    assert!(!judge_stream(&tool).unwrap().empty);
    for (content, empty) in [
        ("[]", true),
        (r#"[{"type":"text","text":""}]"#, true),
        (r#"[{"type":"thinking","thinking":"hm"}]"#, true),
        (r#"[{"type":"text","text":"a"}]"#, false),
        (r#"[{"type":"tool_use"}]"#, false),
    ] {
        let json = format!(r#"{{"type":"message","content":{content},"stop_reason":"end_turn"}}"#);
        assert_eq!(judge_json(&json).unwrap().empty, empty, "{content}");
    }
}

#[test]
fn a_json_answer_is_judged_by_its_stop_reason() {
    let whole = r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    assert_eq!(judge_json(whole), Ok(WHOLE));
    for length in 0..whole.len() {
        assert_eq!(
            judge_json(&whole.as_bytes()[..length]),
            Err(NotWhole::Malformed),
            "{length}"
        );
    }
    for (from, to, expected) in [
        (
            r#""end_turn""#,
            "null",
            Ok(Verdict {
                marked_end: false,
                ..WHOLE
            }),
        ),
        (
            r#""role""#,
            r#""error":{"type":"x"},"role""#,
            Err(NotWhole::Error),
        ),
        (r#""message""#, r#""error""#, Err(NotWhole::Error)),
        (r#""message""#, r#""completion""#, Err(NotWhole::Malformed)),
        (r#""type":"message","#, "", Err(NotWhole::Malformed)),
    ] {
        assert_eq!(judge_json(whole.replacen(from, to, 1)), expected, "{to}");
    }
}
