use super::*;

#[test]
fn a_stream_with_finish_and_end_marker_is_whole() {
    assert_eq!(stream_of(1, &[ROLE, TEXT, STOP, USAGE, DONE]), Ok(WHOLE));
}

#[test]
fn neither_finish_nor_end_marker_alone_marks_the_end() {
    for events in [&[TEXT, STOP][..], &[TEXT, DONE]] {
        let answer = stream_of(1, events).unwrap();
        assert!(!answer.marked_end, "{events:?}");
    }
}

#[test]
fn an_error_anywhere_is_a_fault() {
    let error = r#"{"error":{"message":"overloaded"}}"#;
    let with_choices =
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"error":{"code":400}}"#;
    let old_vllm = r#"{"object":"error","message":"boom"}"#;
    for bad in [error, with_choices, old_vllm] {
        for events in [&[bad][..], &[TEXT, bad, DONE], &[TEXT, STOP, DONE, bad]] {
            assert_eq!(stream_of(1, events), Err(NotWhole::Error), "{events:?}");
        }
    }
    let named = b"data: {\"choices\":[]}\n\nevent: error\ndata: {\"oops\":1}\n\n";
    assert_eq!(judge_sse(1, named), Err(NotWhole::Error));
    // `"error": null` is how some say that there is none.
    let none =
        r#"{"error":null,"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
    assert_eq!(stream_of(1, &[none, DONE]), Ok(WHOLE));
}

#[test]
fn a_delta_is_an_object_or_left_out() {
    for delta in ["null", "[]", "\"\"", "1"] {
        let last = STOP.replace("{}", delta);
        assert_eq!(
            stream_of(1, &[TEXT, &last, DONE]),
            Err(NotWhole::Malformed),
            "{delta}"
        );
    }
    let message = br#"{"choices":[{"index":0,"message":[],"finish_reason":"stop"}]}"#;
    assert_eq!(judge_json(message, 1), Err(NotWhole::Malformed));
    // What a filter of Azure's found in between.
    let filter = r#"{"choices":[{"index":0,"content_filter_results":{},"finish_reason":null}]}"#;
    assert_eq!(stream_of(1, &[TEXT, filter, STOP, DONE]), Ok(WHOLE));
}

#[test]
fn a_finish_that_is_not_known_is_a_fault() {
    for reason in ["abort", "error", "insufficient_system_resource", "new"] {
        let last = STOP.replace("stop", reason);
        assert_eq!(
            stream_of(1, &[TEXT, &last, DONE]),
            Err(NotWhole::UnknownFinish),
            "{reason}"
        );
    }
    let number = STOP.replace("\"stop\"", "1");
    assert_eq!(
        stream_of(1, &[TEXT, &number, DONE]),
        Err(NotWhole::Malformed)
    );
}

#[test]
fn the_worst_finish_of_all_choices_counts() {
    let second = |reason: &str| {
        format!(
            r#"{{"choices":[{{"index":1,"delta":{{"content":"b"}},"finish_reason":"{reason}"}}]}}"#
        )
    };
    let finish = |reason: &str| {
        let answer = stream_of(2, &[TEXT, &second(reason), STOP, DONE]);
        answer.map(|answer| answer.finish)
    };
    assert_eq!(finish("tool_calls"), Ok(Finish::Complete));
    assert_eq!(finish("length"), Ok(Finish::Length));
    assert_eq!(finish("content_filter"), Ok(Finish::Filtered));
}

#[test]
fn a_null_after_the_finish_takes_nothing_back() {
    let after =
        r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}],"usage":{}}"#;
    assert_eq!(stream_of(1, &[TEXT, STOP, after, DONE]), Ok(WHOLE));
}

#[test]
fn choices_that_were_asked_for_must_be_there() {
    assert_eq!(stream_of(2, &[TEXT, STOP, DONE]), Err(NotWhole::Choices));
    assert_eq!(stream_of(1, &[USAGE, DONE]), Err(NotWhole::Choices));
    assert_eq!(stream_of(1, &[]), Err(NotWhole::Choices));
    let many: String = (0..2_000)
        .map(|index| format!("data: {{\"choices\":[{{\"index\":{index}}}]}}\n\n"))
        .collect();
    assert_eq!(judge_sse(1, many.as_bytes()), Err(NotWhole::Choices));
}

#[test]
fn an_answer_that_says_nothing_is_empty() {
    assert!(stream_of(1, &[ROLE, STOP, DONE]).unwrap().empty);
    let reasoning = r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}"#;
    assert!(stream_of(1, &[reasoning, STOP, DONE]).unwrap().empty);
    let tool = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0}]}}]}"#;
    assert!(!stream_of(1, &[tool, STOP, DONE]).unwrap().empty);
}

#[test]
fn a_refusal_counts_as_filtered() {
    let refusal = r#"{"choices":[{"index":0,"delta":{"refusal":"I can't"}}]}"#;
    let answer = stream_of(1, &[refusal, STOP, DONE]).unwrap();
    assert_eq!((answer.finish, answer.empty), (Finish::Filtered, false));
}

#[test]
fn what_is_not_an_event_stream_is_a_fault() {
    let whole = "data: {\"choices\":[]}\n\n";
    for (rest, fault) in [
        ("{\"error\":1}\n", NotWhole::StrayLines),
        ("{\"error\":1}", NotWhole::StrayLines),
        ("data: {\"choices\"", NotWhole::Pending),
        ("data: [DONE] ", NotWhole::Pending),
        ("data: [DON\n", NotWhole::Pending),
        ("data: not json\n\n", NotWhole::Malformed),
        ("data: []\n\n", NotWhole::Malformed),
        (
            "data: [DONE]\n\ndata: {\"choices\":[]}\n\n",
            NotWhole::AfterEnd,
        ),
    ] {
        let bytes = format!("{whole}{rest}");
        assert_eq!(judge_sse(0, bytes.as_bytes()), Err(fault), "{rest}");
    }
    assert_eq!(
        judge_sse(1, b"data: {\"a\":\"\xff\"}\n\n"),
        Err(NotWhole::Malformed)
    );
}

#[test]
fn a_json_answer_is_whole_with_a_finish_for_every_choice() {
    let whole = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"finish_reason":"stop"}],"usage":{}}"#;
    assert_eq!(judge_json(whole.as_bytes(), 1), Ok(WHOLE));
    let blank_lines = format!("\n\n\n{whole}\n");
    assert_eq!(judge_json(blank_lines.as_bytes(), 1), Ok(WHOLE));
    assert_eq!(judge_json(whole.as_bytes(), 2), Err(NotWhole::Choices));
    for length in 0..whole.len() {
        assert_eq!(
            judge_json(&whole.as_bytes()[..length], 1),
            Err(NotWhole::Malformed)
        );
    }
    for (from, to, expected) in [
        (
            "\"choices\"",
            "\"error\":{},\"choices\"",
            Err(NotWhole::Error),
        ),
        ("stop", "abort", Err(NotWhole::UnknownFinish)),
        ("\"Hi\"", "\"\u{7}\"", Err(NotWhole::Malformed)),
        ("}],", "}],}", Err(NotWhole::Malformed)),
        (
            "[{",
            "[{\"finish_reason\":\"stop\",",
            Err(NotWhole::Malformed),
        ),
        (
            "\"stop\"",
            "null",
            Ok(Verdict {
                marked_end: false,
                ..WHOLE
            }),
        ),
        (
            "\"Hi\"",
            "null",
            Ok(Verdict {
                empty: true,
                ..WHOLE
            }),
        ),
        (
            "stop",
            "length",
            Ok(Verdict {
                finish: Finish::Length,
                ..WHOLE
            }),
        ),
    ] {
        let changed = whole.replacen(from, to, 1);
        assert_eq!(judge_json(changed.as_bytes(), 1), expected, "{changed}");
    }
    let invalid = whole.replace("Hi", "\u{1}\u{1}").into_bytes();
    let invalid: Vec<_> = invalid
        .iter()
        .map(|b| if *b == 1 { 0xff } else { *b })
        .collect();
    assert_eq!(judge_json(&invalid, 1), Err(NotWhole::Malformed));
}

#[test]
fn the_arguments_of_every_tool_call_must_parse() {
    let piece =
        |call: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{call}]}}}}]}}"#);
    let of = |calls: &[&str]| {
        let mut events: Vec<String> = calls.iter().map(|call| piece(call)).collect();
        events.extend([STOP.to_owned(), DONE.to_owned()]);
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        stream_of(1, &events)
    };
    let first =
        r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":"}}"#;
    let second = r#"{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""}}"#;
    let rest = r#"{"index":0,"function":{"arguments":"1}"}}"#;
    assert_eq!(of(&[first, second, rest]), Ok(WHOLE));
    // Kimi says the id again; others leave the index out, and end with nulls.
    let by_id = r#"{"id":"a","function":{"arguments":"1}"}}"#;
    let by_place = r#"{"id":null,"type":null,"function":{"name":null,"arguments":"1}"}}"#;
    let unindexed = first.replace("\"index\":0,", "");
    assert_eq!(
        of(&[first, &rest.replace("0,", "0,\"id\":\"a\",")]),
        Ok(WHOLE)
    );
    assert_eq!(of(&[&unindexed, second, by_id]), Ok(WHOLE));
    assert_eq!(of(&[second, &unindexed, by_place]), Ok(WHOLE));
    // Gemini gives every call index 0.
    let gemini = |id: &str| {
        format!(r#"{{"index":0,"id":"{id}","function":{{"name":"f","arguments":"{{}}"}}}}"#)
    };
    assert_eq!(of(&[&gemini("a"), &gemini("b")]), Ok(WHOLE));
    // A custom tool's input is any text.
    let custom = r#"{"index":0,"id":"c","type":"custom","custom":{"name":"f","input":"{oops"}}"#;
    assert_eq!(of(&[custom]), Ok(WHOLE));
    for cut in [
        &[first][..],
        &[first, second],
        &[first, rest, rest],
        &[second, first],
    ] {
        assert_eq!(of(cut), Err(NotWhole::ToolArguments), "{cut:?}");
    }
    let old = r#"{"choices":[{"index":0,"delta":{"function_call":{"name":"f","arguments":"{"}}}]}"#;
    let end = old.replace("\"{\"", "\"}\"");
    assert_eq!(
        stream_of(1, &[old, STOP, DONE]),
        Err(NotWhole::ToolArguments)
    );
    assert_eq!(stream_of(1, &[old, &end, STOP, DONE]), Ok(WHOLE));
    let many: Vec<String> = (0..2_000)
        .map(|index| format!("{{\"index\":{index}}}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(of(&many), Err(NotWhole::ToolArguments));
}

#[test]
fn the_arguments_of_a_whole_message_s_calls_must_parse() {
    let of = |message: &str| {
        let json =
            format!(r#"{{"choices":[{{"message":{message},"finish_reason":"tool_calls"}}]}}"#);
        judge_json(json.as_bytes(), 1)
    };
    for whole in [
        r#"{"tool_calls":[{"function":{"arguments":"{}"}},{"function":{"arguments":""}}]}"#,
        r#"{"tool_calls":[{"function":{"arguments":{"x":1}}}]}"#,
        r#"{"tool_calls":null,"function_call":{"arguments":"{\"x\":1}"}}"#,
    ] {
        assert_eq!(of(whole), Ok(WHOLE), "{whole}");
    }
    for cut in [
        // Not one call in two pieces.
        r#"{"tool_calls":[{"function":{"arguments":"{"}},{"function":{"arguments":"}"}}]}"#,
        r#"{"function_call":{"arguments":"{\"x\":"}}"#,
    ] {
        assert_eq!(of(cut), Err(NotWhole::ToolArguments), "{cut}");
    }
}

#[test]
fn a_chunk_with_the_message_so_far_is_read_by_its_delta() {
    let perplexity = r#"{"choices":[{"index":0,"message":{"content":"Hello"},"delta":{"content":"lo"},"finish_reason":"stop"}]}"#;
    let stream = format!("data: {perplexity}\n\ndata: [DONE]\n\n");
    let mut told = String::new();
    let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Sse);
    judge
        .feed(stream.as_bytes(), &mut |index, text| {
            assert_eq!(index, 0);
            told.push_str(text);
        })
        .unwrap();
    assert_eq!(judge.finish(stream.as_bytes()), Ok(WHOLE));
    assert_eq!(told, "lo");
}

#[test]
fn a_stream_is_judged_alike_wherever_it_is_cut() {
    let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"é\":1}"}}]}}]}"#;
    let stream: String = [ROLE, TEXT, call, STOP, USAGE, DONE]
        .iter()
        .map(|data| format!(": c\r\ndata: {data}\r\n\r\n"))
        .collect();
    let stream = stream.as_bytes();
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Sse);
        judge.feed(head, &mut |_, _| {}).unwrap();
        judge.feed(tail, &mut |_, _| {}).unwrap();
        assert_eq!(judge.finish(stream), Ok(WHOLE), "at {at}");
        // The marker needs no line end.
        let cut = judge_sse(1, head).is_ok_and(|answer| answer.marked_end);
        assert_eq!(cut, at + 4 >= stream.len(), "cut at {at}");
    }
}

#[test]
fn usage_in_or_after_the_last_finish_marks_the_end() {
    let both = STOP.replace("]}", r#"],"usage":{"total_tokens":3}}"#);
    let other = STOP.replace("\"index\":0", "\"index\":1");
    let text_with_usage = TEXT.replace("]}", r#"],"usage":{"total_tokens":3}}"#);
    for (choices, events, marked) in [
        (1, &[TEXT, STOP, USAGE][..], true),
        (1, &[TEXT, &both], true),
        (1, &[USAGE, TEXT, STOP], false),
        (1, &[TEXT, USAGE], false),
        // It goes on.
        (1, &[TEXT, &both, TEXT], false),
        (1, &[&text_with_usage, STOP], false),
        (
            2,
            &[
                TEXT,
                STOP,
                USAGE,
                &other.replace("{}", r#"{"content":"a"}"#),
            ],
            false,
        ),
        (
            2,
            &[
                TEXT,
                STOP,
                &other.replace("{}", r#"{"content":"a"}"#),
                USAGE,
            ],
            true,
        ),
    ] {
        let answer = known_stream_of(choices, events).unwrap();
        assert_eq!(answer.marked_end, marked, "{events:?}");
    }
    // More choices may be to come where nobody knows how many.
    assert!(!stream_of(1, &[TEXT, STOP, USAGE]).unwrap().marked_end);
    assert_eq!(
        known_stream_of(2, &[TEXT, STOP, USAGE]),
        Err(NotWhole::Choices)
    );
}

#[test]
fn the_last_chunk_of_perplexity_marks_the_end() {
    let last = r#"{"object":"chat.completion.done","choices":[{"index":0,"delta":{"content":""},"message":{"content":"Hello"},"finish_reason":"stop"}]}"#;
    assert_eq!(stream_of(1, &[TEXT, last]), Ok(WHOLE));
    assert_eq!(stream_of(1, &[TEXT, last, DONE]), Ok(WHOLE));
    assert_eq!(stream_of(1, &[TEXT, last, TEXT]), Err(NotWhole::AfterEnd));
}

#[test]
fn usage_alone_may_follow_the_end_marker() {
    assert_eq!(stream_of(1, &[TEXT, STOP, DONE, USAGE]), Ok(WHOLE));
    let bare = r#"{"usage":{"total_tokens":3}}"#;
    assert_eq!(stream_of(1, &[TEXT, STOP, DONE, bare, DONE]), Ok(WHOLE));
    let more = TEXT.replace("]}", r#"],"usage":{"total_tokens":3}}"#);
    for after in [TEXT, &more, r#"{"choices":[]}"#] {
        let fault = stream_of(1, &[TEXT, STOP, DONE, after]);
        assert_eq!(fault, Err(NotWhole::AfterEnd), "{after}");
    }
}

#[test]
fn words_of_other_providers_tell_a_finish() {
    for (words, finish) in [
        (
            &[
                "eos",
                "eos_token",
                "stop_sequence",
                "end_turn",
                "STOP",
                "COMPLETE",
                "tool_use",
            ][..],
            Finish::Complete,
        ),
        (
            &["max_tokens", "MAX_TOKENS", "model_length"],
            Finish::Length,
        ),
        (&["SAFETY", "refusal", "sensitive"], Finish::Filtered),
    ] {
        for word in words {
            let last = STOP.replace("stop", word);
            let answer = stream_of(1, &[TEXT, &last, DONE]).unwrap();
            assert_eq!((answer.finish, answer.marked_end), (finish, true), "{word}");
        }
    }
}

#[test]
fn a_document_with_usage_is_whole_without_saying_why_it_finished() {
    let json = |message: &str, finish: &str, usage: &str| {
        let json =
            format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish}}}]{usage}}}"#);
        judge_json(json.as_bytes(), 1).map(|answer| answer.marked_end)
    };
    let (said, usage) = (r#"{"content":"Hi"}"#, r#","usage":{"total_tokens":3}"#);
    assert_eq!(json(said, r#""""#, usage), Ok(true));
    assert_eq!(json(said, "null", usage), Ok(true));
    assert_eq!(json(said, r#""""#, ""), Ok(false));
    assert_eq!(json(r#"{"content":""}"#, r#""""#, usage), Ok(false));
    let cut_call = r#"{"tool_calls":[{"function":{"name":"f","arguments":"{\"a"}}]}"#;
    assert_eq!(json(cut_call, r#""""#, usage), Err(NotWhole::ToolArguments));
}
