use super::*;

#[test]
fn a_line_that_is_not_plain_data_is_refused_because_google_s_client_raises_on_it() {
    let judged = |stream: &str| {
        let whole = judge_chunks(Framing::Sse, 1, [stream.as_bytes()]).map(|(answer, _)| answer);
        let bytewise = judge_chunks(Framing::Sse, 1, stream.as_bytes().chunks(1));
        let bytewise = bytewise.map(|(answer, _)| answer);
        assert_eq!(bytewise.ok(), whole.ok(), "{stream:?}");
        whole
    };
    let (first, last) = (sse(&[HEL]), sse(&[LO]));
    for (between, fault) in [
        (": keep-alive\r\n\r\n", NotWhole::StrayLines),
        ("event: message\r\n", NotWhole::StrayLines),
        ("event: ping\r\n\r\n", NotWhole::NoData),
        ("id: 1\r\n", NotWhole::StrayLines),
        ("event: ping\r\ndata:\r\n\r\n", NotWhole::Malformed),
        ("data:\r\n\r\n", NotWhole::Malformed),
        ("data: \r\n\r\n", NotWhole::Malformed),
    ] {
        let stream = format!("{first}{between}{last}");
        assert_eq!(judged(&stream), Err(fault), "{between:?}");
    }
    let tight = format!("{first}{last}").replace("data: ", "data:");
    assert_eq!(judged(&tight), Err(NotWhole::StrayLines));
    assert_eq!(
        judged(&format!("{first}{last}: bye")),
        Err(NotWhole::StrayLines)
    );
    let in_two_lines = LO.replacen("\"finishReason\"", "\r\ndata: \"finishReason\"", 1);
    assert_ne!(in_two_lines, LO);
    assert_eq!(
        judged(&format!("{first}{}", sse(&[&in_two_lines]))),
        Ok(WHOLE)
    );
}

#[test]
fn content_is_an_object() {
    let finished = |content: &str| {
        let last = candidate(&format!(r#""content":{content},"finishReason":"STOP""#));
        verdict(1, &[HEL, &last])
    };
    assert_eq!(finished("{}"), Ok(WHOLE));
    for content in ["[]", "\"a\""] {
        assert_eq!(finished(content), Err(NotWhole::Malformed), "{content}");
    }
}

#[test]
fn arguments_are_an_object_or_none() {
    let called = |call: &str| {
        let parts =
            format!(r#""content":{{"parts":[{{"functionCall":{call}}}]}},"finishReason":"STOP""#);
        verdict(1, &[&candidate(&parts)])
    };
    for call in [
        r#"{"name":"f","args":{"a":1}}"#,
        r#"{"name":"f","args":null}"#,
        r#"{"name":"f"}"#,
    ] {
        assert_eq!(called(call), Ok(WHOLE), "{call}");
    }
    for args in ["\"{}\"", "\"\"", "[]", "1", "true"] {
        let call = format!(r#"{{"name":"f","args":{args}}}"#);
        assert_eq!(called(&call), Err(NotWhole::Malformed), "{call}");
    }
}

#[test]
fn an_answer_is_whole_when_its_last_chunk_has_a_finish() {
    assert_eq!(verdict(1, &[HEL, LO]), Ok(WHOLE));
    assert_eq!(verdict(1, &[LO]), Ok(WHOLE));
    let unmarked = Verdict {
        marked_end: false,
        ..WHOLE
    };
    assert_eq!(verdict(1, &[HEL]), Ok(unmarked));
}

#[test]
fn a_stream_is_judged_alike_wherever_it_is_cut_into_chunks() {
    for (framing, stream) in [
        (Framing::Sse, sse(&[HEL, LO])),
        (Framing::JsonArray, array(&[HEL, LO])),
    ] {
        let stream = stream.as_bytes();
        let whole = judge_chunks(framing, 1, [stream]);
        assert_eq!(whole, Ok((WHOLE, "0:Hel 0:lo é ".to_owned())));
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(judge_chunks(framing, 1, [head, tail]), whole, "at {at}");
            let cut = judge_chunks(framing, 1, [head]).is_ok_and(|(answer, _)| answer.marked_end);
            // The CR of the last line end is enough.
            let last = stream.len() - usize::from(framing == Framing::Sse);
            assert_eq!(cut, at >= last, "cut at {at}");
        }
        assert_eq!(judge_chunks(framing, 1, stream.chunks(1)), whole);
    }
}

#[test]
fn every_finish_that_is_not_known_is_a_fault() {
    for (reason, expected) in [
        ("STOP", Ok(Finish::Complete)),
        ("MAX_TOKENS", Ok(Finish::Length)),
        ("SAFETY", Ok(Finish::Filtered)),
        ("RECITATION", Ok(Finish::Filtered)),
        ("MODEL_ARMOR", Ok(Finish::Filtered)),
        ("IMAGE_SAFETY", Ok(Finish::Filtered)),
        ("OTHER", Err(NotWhole::UnknownFinish)),
        ("MALFORMED_FUNCTION_CALL", Err(NotWhole::UnknownFinish)),
        ("UNEXPECTED_TOOL_CALL", Err(NotWhole::UnknownFinish)),
        ("FINISH_REASON_UNSPECIFIED", Err(NotWhole::UnknownFinish)),
        ("stop", Err(NotWhole::UnknownFinish)),
    ] {
        let last = candidate(&format!(r#""finishReason":"{reason}""#));
        let finish = verdict(1, &[HEL, &last]).map(|answer| answer.finish);
        assert_eq!(finish, expected, "{reason}");
    }
    let truth = candidate(r#""finishReason":true"#);
    assert_eq!(verdict(1, &[&truth]), Err(NotWhole::Malformed));
}

#[test]
fn an_error_anywhere_is_a_fault() {
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    for chunks in [&[error][..], &[HEL, error], &[HEL, LO, error]] {
        assert_eq!(verdict(1, chunks), Err(NotWhole::Error));
    }
    let bare = format!("{}{{\n  \"error\": {{}}\n}}\n", sse(&[HEL, LO]));
    let judged = judge_chunks(Framing::Sse, 1, [bare.as_bytes()]);
    assert_eq!(judged, Err(NotWhole::StrayLines));
}

#[test]
fn a_refused_prompt_counts_as_filtered() {
    for feedback in [
        r#"{"blockReason":"SAFETY"}"#,
        r#"{"blockReasonMessage":"no"}"#,
    ] {
        let blocked = format!(r#"{{"promptFeedback":{feedback},"usageMetadata":{{}}}}"#);
        let answer = verdict(1, &[&blocked]).unwrap();
        assert_eq!((answer.finish, answer.empty), (Finish::Filtered, true));
        let answer = verdict(1, &[&blocked, LO]).unwrap();
        assert_eq!((answer.finish, answer.empty), (Finish::Filtered, false));
    }
    let fine = r#"{"promptFeedback":{"safetyRatings":[]}}"#;
    assert_eq!(verdict(1, &[fine]), Err(NotWhole::Choices));
}

#[test]
fn a_candidate_that_goes_on_after_its_finish_has_no_end_that_could_be_told() {
    assert!(!verdict(1, &[LO, LO]).unwrap().marked_end);
    let usage = r#"{"usageMetadata":{"totalTokenCount":9}}"#;
    assert_eq!(verdict(1, &[LO, usage]), Ok(WHOLE));
}

#[test]
fn candidates_that_were_asked_for_must_all_finish() {
    let second = candidate(r#""index":1,"content":{"parts":[{"text":"b"}]},"finishReason":"STOP""#);
    assert_eq!(verdict(2, &[HEL, &second, LO]), Ok(WHOLE));
    assert_eq!(verdict(2, &[HEL, LO]), Err(NotWhole::Choices));
    assert!(!verdict(2, &[HEL, &second]).unwrap().marked_end);
    assert_eq!(verdict(1, &[]), Err(NotWhole::Choices));
    let many: Vec<_> = (0..2_000)
        .map(|index| candidate(&format!("\"index\":{index}")))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(verdict(1, &many), Err(NotWhole::Choices));
}

#[test]
fn an_answer_that_says_nothing_is_empty() {
    let said = |parts: &str| {
        let members = format!(r#""finishReason":"STOP","content":{{"parts":[{parts}]}}"#);
        !verdict(1, &[&candidate(&members)]).unwrap().empty
    };
    assert!(!said(""));
    assert!(!said(r#"{"text":""}"#));
    assert!(!said(r#"{"text":"hm","thought":true}"#));
    assert!(!said(r#"{"thoughtSignature":"x"}"#));
    assert!(said(r#"{"functionCall":{"name":"f"}}"#));
    assert!(said(r#"{"inlineData":{"data":""}}"#));
}

#[test]
fn a_function_call_whose_arguments_never_end_is_a_fault() {
    let call = |call: &str| {
        candidate(&format!(
            r#""content":{{"parts":[{{"functionCall":{call}}}]}}"#
        ))
    };
    let first = call(r#"{"name":"f","willContinue":true}"#);
    let piece =
        call(r#"{"partialArgs":[{"jsonPath":"$.a","stringValue":"x"}],"willContinue":true}"#);
    let last = call("{}");
    assert_eq!(verdict(1, &[&first, &piece, &last, LO]), Ok(WHOLE));
    assert_eq!(
        verdict(1, &[&first, &piece, LO]),
        Err(NotWhole::ToolArguments)
    );
    assert_eq!(
        joined(&[&first, &piece, &last, LO]),
        Err(ConversionError::Content)
    );
}

#[test]
fn what_is_not_in_its_framing_is_a_fault() {
    for (framing, stream, fault) in [
        (
            Framing::Sse,
            format!("{}data: {LO}\r\n", sse(&[HEL])),
            NotWhole::Pending,
        ),
        (Framing::Sse, sse(&[HEL, "nope"]), NotWhole::Malformed),
        (
            Framing::Sse,
            format!("event: error\n{}", sse(&[HEL])),
            NotWhole::Error,
        ),
        (Framing::JsonArray, HEL.to_owned(), NotWhole::Malformed),
        (
            Framing::JsonArray,
            array(&[HEL, "{\"a\"}"]),
            NotWhole::Malformed,
        ),
        (
            Framing::JsonArray,
            format!("[{HEL},{LO}"),
            NotWhole::Pending,
        ),
        (
            Framing::JsonArray,
            format!("[{LO}]\n[]"),
            NotWhole::AfterEnd,
        ),
        (Framing::Json, array(&[LO]), NotWhole::Malformed),
    ] {
        let judged = judge_chunks(framing, 1, [stream.as_bytes()]);
        assert_eq!(judged, Err(fault), "{stream}");
    }
    let invalid = b"[{\"a\":\"\xff\"}]";
    let judged = judge_chunks(Framing::JsonArray, 1, [&invalid[..]]);
    assert_eq!(judged, Err(NotWhole::Malformed));
}

#[test]
fn embeddings_are_whole_when_there_is_one_for_each_content() {
    let one = r#"{"embedding":{"values":[0.1,-2]}}"#;
    let two = r#"{"embeddings":[{"values":[0.1]},{"values":[1]}]}"#;
    let judged = |json: &str, expected| {
        judge_chunks(Framing::Json, expected, [json.as_bytes()]).map(|(answer, _)| answer)
    };
    assert_eq!(judged(one, 1), Ok(WHOLE));
    assert_eq!(judged(two, 2), Ok(WHOLE));
    assert_eq!(judged(two, 3), Err(NotWhole::Choices));
    assert_eq!(judged(two, 1), Err(NotWhole::Choices));
    assert!(judged(r#"{"embedding":{"values":[]}}"#, 1).unwrap().empty);
    assert_eq!(judged(r#"{"error":{"code":404}}"#, 1), Err(NotWhole::Error));
}

#[test]
fn a_finish_in_numbers_is_read_as_its_word() {
    for (number, finish) in [
        ("1", Some(Ok(Finish::Complete))),
        ("2", Some(Ok(Finish::Length))),
        ("3", Some(Ok(Finish::Filtered))),
        ("8", Some(Ok(Finish::Filtered))),
        ("0", None),
        ("5", Some(Err(NotWhole::UnknownFinish))),
        ("9", Some(Err(NotWhole::UnknownFinish))),
        ("1.0", Some(Err(NotWhole::UnknownFinish))),
    ] {
        let json = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":{number}}}]}}"#
        );
        let judged = super::super::judge::judge(
            json.as_bytes(),
            super::super::judge::Stream::new(1, FinishWords::default()),
        );
        let expected = finish.unwrap_or(Ok(Finish::Complete));
        assert_eq!(judged.map(|answer| answer.finish), expected, "{number}");
        let marked = finish.is_some_and(|finish| finish.is_ok());
        assert_eq!(
            judged.is_ok_and(|answer| answer.marked_end),
            marked,
            "{number}"
        );
    }
    let array = br#"[{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":true}]}]"#;
    let mut stream =
        ArrayElements::new(super::super::judge::Stream::new(1, FinishWords::default()));
    let fed = stream.feed(array, &mut |_, _| {});
    assert_eq!(fed, Err(NotWhole::Malformed));
}

#[test]
fn code_without_its_result_is_open_whatever_the_finish() {
    let code = r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1+1"}}]}}]}"#;
    let code_and_stop = r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1+1"}}]},"finishReason":"STOP"}]}"#;
    let result =
        r#"{"candidates":[{"content":{"parts":[{"codeExecutionResult":{"output":"2"}}]}}]}"#;
    let text_and_stop =
        r#"{"candidates":[{"content":{"parts":[{"text":"Two"}]},"finishReason":"STOP"}]}"#;
    let stop = r#"{"candidates":[{"finishReason":"STOP"}]}"#;
    for open in [
        &[code_and_stop][..],
        &[code, stop],
        &[code, result, code_and_stop],
    ] {
        assert_eq!(verdict(1, open), Err(NotWhole::Unfinished), "{open:?}");
    }
    for whole in [
        &[code_and_stop, result, text_and_stop][..],
        &[code, result, text_and_stop],
        &[code, result, stop],
    ] {
        let answer = verdict(1, whole).unwrap();
        assert!(answer.marked_end, "{whole:?}");
    }
    let answer = verdict(1, &[code_and_stop, result]).unwrap();
    assert!(!answer.marked_end);
}
