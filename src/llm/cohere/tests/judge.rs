use super::*;

#[test]
fn a_stream_with_its_end_and_its_end_marker_is_whole() {
    assert_eq!(v2(&TEXT), Ok(WHOLE));
    let calls = [START, CALL, ARGUMENTS, MORE, CALL_END, END, DONE];
    assert_eq!(v2(&calls), Ok(WHOLE));
    assert_eq!(v2(&[START, CALL, CALL_END, END, DONE]), Ok(WHOLE));
    assert_eq!(v1(&[V1_START, V1_TEXT, V1_END]), Ok(WHOLE));
}

#[test]
fn a_stream_is_judged_alike_wherever_it_is_cut_into_chunks() {
    for (framing, stream) in [
        (Framing::Sse, sse(&TEXT[..])),
        (
            Framing::Sse,
            sse(&[START, CALL, ARGUMENTS, MORE, CALL_END, END, DONE]),
        ),
        (Framing::Ndjson, lines(&[V1_START, "", V1_TEXT, V1_END])),
    ] {
        let stream = stream.as_bytes();
        let whole = judge_chunks(framing, [stream]);
        assert_eq!(whole.as_ref().map(|(answer, _)| *answer), Ok(WHOLE));
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(judge_chunks(framing, [head, tail]), whole, "at {at}");
            let cut = judge_chunks(framing, [head]).is_ok_and(|(answer, _)| answer.marked_end);
            // `message-end` is enough, and so is a marker after it without its line ends.
            let left = stream.len() - at;
            let is_whole = match framing {
                Framing::Sse => left <= 2 || left == "data: [DONE]\n\n".len(),
                _ => left == 0,
            };
            assert_eq!(cut, is_whole, "cut at {at}");
        }
        assert_eq!(judge_chunks(framing, stream.chunks(1)), whole);
    }
    let heard = judge_chunks(Framing::Sse, [sse(&TEXT).as_bytes()])
        .unwrap()
        .1;
    assert_eq!(heard, "Hí you");
}

#[test]
fn a_stream_without_its_end_is_not_marked() {
    assert_eq!(v2(&TEXT[..6]), Ok(WHOLE));
    assert_eq!(v2(&TEXT[..5]), Ok(UNMARKED));
    assert_eq!(v2(&TEXT[..3]), Ok(UNMARKED));
    let without = END.replace(r#""finish_reason":"COMPLETE","#, "");
    assert_eq!(
        v2(&[START, BLOCK, HI, BLOCK_END, &without, DONE]),
        Ok(UNMARKED)
    );
    assert_eq!(v1(&[V1_START, V1_TEXT]), Ok(UNMARKED));
    assert_eq!(v2(&[]), Err(NotWhole::Choices));
    assert_eq!(v1(&[]), Err(NotWhole::Choices));
}

#[test]
fn only_known_reasons_end_an_answer() {
    for (reason, expected) in [
        ("COMPLETE", Ok(Finish::Complete)),
        ("STOP_SEQUENCE", Ok(Finish::Complete)),
        ("TOOL_CALL", Ok(Finish::Complete)),
        ("MAX_TOKENS", Ok(Finish::Length)),
        ("ERROR_TOXIC", Ok(Finish::Filtered)),
        ("ERROR", Err(NotWhole::Error)),
        ("ERROR_LIMIT", Err(NotWhole::Error)),
        ("TIMEOUT", Err(NotWhole::Error)),
        ("USER_CANCEL", Err(NotWhole::UnknownFinish)),
        ("complete", Err(NotWhole::UnknownFinish)),
    ] {
        let finish = |answer: Result<Verdict, NotWhole>| answer.map(|answer| answer.finish);
        let end = END.replace("COMPLETE", reason);
        assert_eq!(
            finish(v2(&[START, BLOCK, HI, BLOCK_END, &end, DONE])),
            expected
        );
        let end = V1_END.replacen("COMPLETE", reason, 1);
        assert_eq!(finish(v1(&[V1_START, &end])), expected, "{reason}");
        let json =
            format!(r#"{{"message":{{"content":[{{"text":"a"}}]}},"finish_reason":"{reason}"}}"#);
        assert_eq!(finish(judge_json(&json, 1)), expected, "{reason}");
    }
}

#[test]
fn every_fault_of_a_stream_is_told() {
    let error = END.replace("{\"finish", "{\"error\":\"boom\",\"finish");
    for (events, fault) in [
        (&[START, BLOCK, r#"{"error":"x"}"#][..], NotWhole::Error),
        (&[START, &error], NotWhole::Error),
        (&[START, START], NotWhole::Malformed),
        (&[START, HI], NotWhole::Malformed),
        (&[START, BLOCK, BLOCK], NotWhole::Malformed),
        (&[START, BLOCK_END], NotWhole::Malformed),
        (&[START, ARGUMENTS], NotWhole::Malformed),
        (&[START, CALL, CALL], NotWhole::Malformed),
        (&[START, CALL_END], NotWhole::Malformed),
        (&[START, CALL, ARGUMENTS, CALL_END], NotWhole::ToolArguments),
        (&[START, CALL, ARGUMENTS, END], NotWhole::ToolArguments),
        (&[START, CALL, END], NotWhole::Unfinished),
        (&[START, BLOCK, HI, END], NotWhole::Unfinished),
        (&[START, END, START], NotWhole::AfterEnd),
        (&[START, END, DONE, END], NotWhole::AfterEnd),
        (&[START, "{\"index\":0}"], NotWhole::Malformed),
        (&[START, "nope"], NotWhole::Malformed),
        (&["[]"], NotWhole::Malformed),
    ] {
        assert_eq!(v2(events), Err(fault), "{events:?}");
    }
    for (tail, fault) in [
        ("event: error\ndata: {}\n\n", NotWhole::Error),
        ("{\"message\":\"boom\"}\n", NotWhole::StrayLines),
        ("data: [DON\n", NotWhole::Pending),
    ] {
        let stream = format!("{}{tail}", sse(&TEXT[..6]));
        let judged = judge_chunks(Framing::Sse, [stream.as_bytes()]);
        assert_eq!(judged, Err(fault), "{tail}");
    }
    for (parts, fault) in [
        (&[V1_START, r#"{"error":"x"}"#][..], NotWhole::Error),
        (&[V1_START, V1_END, V1_TEXT], NotWhole::AfterEnd),
        (&["{\"text\":\"a\"}"], NotWhole::Malformed),
        (
            &[
                V1_START,
                r#"{"event_type":"stream-end","finish_reason":"COMPLETE"}"#,
            ],
            NotWhole::Malformed,
        ),
        (&["[]"], NotWhole::Malformed),
    ] {
        assert_eq!(v1(parts), Err(fault), "{parts:?}");
    }
}

#[test]
fn blocks_are_bounded() {
    let many: Vec<_> = (0..2_000)
        .map(|index| BLOCK.replace("\"index\":0", &format!("\"index\":{index}")))
        .collect();
    let many: Vec<_> = [START]
        .into_iter()
        .chain(many.iter().map(String::as_str))
        .collect();
    assert_eq!(v2(&many), Err(NotWhole::Choices));
}

#[test]
fn thinking_alone_says_nothing() {
    let block = BLOCK.replace("text", "thinking");
    let thinking = HI.replace("text", "thinking");
    assert!(
        v2(&[START, &block, &thinking, BLOCK_END, END, DONE])
            .unwrap()
            .empty
    );
    let json = r#"{"message":{"content":[{"type":"thinking","thinking":"hm"}]},"finish_reason":"COMPLETE"}"#;
    assert!(judge_json(json, 1).unwrap().empty);
}

#[test]
fn a_document_is_whole_with_a_finish_and_arguments_that_parse() {
    let call = |arguments: &str| {
        format!(
            r#"{{"id":"i","message":{{"tool_calls":[{{"function":{{"arguments":"{arguments}"}}}}]}},"finish_reason":"TOOL_CALL"}}"#
        )
    };
    assert_eq!(judge_json(&call(r#"{\"a\":1}"#), 1), Ok(WHOLE));
    assert_eq!(judge_json(&call(""), 1), Ok(WHOLE));
    assert_eq!(
        judge_json(&call(r#"{\"a\""#), 1),
        Err(NotWhole::ToolArguments)
    );
    assert_eq!(
        judge_json(r#"{"text":"a","finish_reason":"COMPLETE"}"#, 1),
        Ok(WHOLE)
    );
    assert_eq!(judge_json(r#"{"text":"a"}"#, 1), Ok(UNMARKED));
    assert_eq!(judge_json(r#"{"error":"x"}"#, 1), Err(NotWhole::Error));
    // Cohere's errors.
    assert_eq!(
        judge_json(r#"{"id":"i","message":"boom"}"#, 1),
        Err(NotWhole::Malformed)
    );
    assert_eq!(judge_json("[]", 1), Err(NotWhole::Malformed));
}

#[test]
fn there_is_one_embedding_of_each_type_for_each_input() {
    let two = r#"{"id":"i","embeddings":{"float":[[0.1],[0.2]],"int8":[[1],[2]],"uint8":null}}"#;
    assert_eq!(judge_json(two, 2), Ok(WHOLE));
    assert_eq!(judge_json(two, 1), Err(NotWhole::Choices));
    assert_eq!(
        judge_json(&two.replace(",[2]", ""), 2),
        Err(NotWhole::Choices)
    );
    assert_eq!(
        judge_json(r#"{"embeddings":{}}"#, 1),
        Err(NotWhole::Choices)
    );
    // Of version 1, where no type was asked for.
    let list = r#"{"id":"i","texts":["a","b"],"embeddings":[[0.1],[0.2]],"response_type":"embeddings_floats"}"#;
    assert_eq!(judge_json(list, 2), Ok(WHOLE));
    assert_eq!(judge_json(list, 1), Err(NotWhole::Choices));
    assert!(judge_json(r#"{"embeddings":[[]]}"#, 1).unwrap().empty);
    assert_eq!(
        judge_json(r#"{"embeddings":"no"}"#, 1),
        Err(NotWhole::Malformed)
    );
    assert!(judge_json(&two.replace("[2]", "[]"), 2).unwrap().empty);
    for (body, inputs) in [
        (r#"{"texts":["a","b"]}"#, 2),
        (r#"{"images":["a"],"texts":null}"#, 1),
        (r#"{"inputs":[{},{},{}]}"#, 3),
    ] {
        let traits = traits(b"/v2/embed", body).unwrap();
        assert_eq!((traits.choices, traits.form), (inputs, Some(Form::json())));
    }
}
