use super::*;

#[test]
fn a_stream_is_over_where_nothing_follows_that_a_client_would_miss() {
    for case in &CASES {
        assert_eq!(case.with(&[]), Ok(WHOLE), "{}", case.name());
        let pieces = case.framed(&[case.before, case.after].concat());
        let mut judge = case.judge();
        for (place, piece) in pieces.iter().enumerate() {
            assert!(!judge.is_over(), "{} at {place}", case.name());
            judge.feed(piece, &mut |_, _| {}).unwrap();
        }
        assert!(judge.is_over(), "{}", case.name());
        assert_eq!(judge.finish(&pieces.concat()), Ok(WHOLE), "{}", case.name());
    }
}

#[test]
fn a_gemini_stream_that_always_says_stop_is_never_over() {
    let gemini = &CASES[5];
    for chunks in [
        &[r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":3}}"#;
            3][..],
        // The usage is still to come.
        &[
            r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}]}"#,
        ],
    ] {
        let mut judge = gemini.judge();
        for piece in gemini.framed(chunks) {
            judge.feed(&piece, &mut |_, _| {}).unwrap();
            assert!(!judge.is_over());
        }
    }
}

#[test]
fn what_stands_in_place_of_a_chunk_is_no_answer_in_any_api() {
    const FOREIGN: [&str; 6] = [
        r#"{"detail":"Internal Server Error"}"#,
        r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
        r#"{"code":500,"message":"no healthy upstream"}"#,
        r#"{"errors":[{"message":"failed"}]}"#,
        r#"{"message":"The server is overloaded"}"#,
        r#"{"message":{"code":500}}"#,
    ];
    for case in CASES
        .iter()
        .filter(|case| case.framing != Framing::EventStream)
    {
        for foreign in FOREIGN {
            let fault = case.with(&[foreign]).unwrap_err();
            let is_told = matches!(fault, NotWhole::Error | NotWhole::Malformed);
            assert!(is_told, "{}: {fault:?} of {foreign}", case.name());
        }
    }
    for api in Api::all() {
        for foreign in FOREIGN {
            let traits = RequestTraits {
                form: Some(Form::json()),
                ..RequestTraits::unreadable()
            };
            let judge = api.judge(&traits, Framing::Json);
            let fault = judge.finish(foreign.as_bytes()).unwrap_err();
            assert_ne!(fault, NotWhole::UnknownFinish, "{api:?}: {foreign}");
        }
    }
}

#[test]
fn an_event_without_data_is_refused_where_clients_raise_on_it() {
    for case in event_streams() {
        let name = case.name();
        assert_eq!(
            case.with_text("event: error\n\n"),
            Err(NotWhole::Error),
            "{name}"
        );
        // Tested below.
        if case.api == "gemini" {
            continue;
        }
        let lenient = case.api == "anthropic_messages";
        for (text, lenient) in [
            ("id: 1\n\n", lenient),
            ("retry: 5\n\n", lenient),
            ("event: ping\n\n", lenient),
            ("event: content_block_delta\n\n", false),
            // An id holds for all that follows.
            ("id: 1\ndata:\n\n: keep-alive\n\n", lenient),
        ] {
            let expected = if lenient {
                Ok(WHOLE)
            } else {
                Err(NotWhole::NoData)
            };
            assert_eq!(case.with_text(text), expected, "{name}: {text:?}");
        }
        for text in [
            ": keep-alive\n\n",
            "\n\n",
            "data:\n\n",
            "data: \n\n",
            "event: ping\ndata:\n\n",
            "retry: soon\n\n",
            "id: 1\nid:\n\n",
        ] {
            assert_eq!(case.with_text(text), Ok(WHOLE), "{name}: {text:?}");
        }
        assert!(case.with_text("event: x\ndata:\n\n").is_err(), "{name}");
    }
    // Nobody reads on after the end marker.
    let chat = &CASES[0];
    let mut pieces = chat.framed(&[chat.before, chat.after].concat());
    pieces.push(b"id: 1\n\n\n".to_vec());
    assert_eq!(chat.verdict(&pieces), Ok(WHOLE));
}

#[test]
fn a_byte_order_mark_is_refused_because_clients_do_not_strip_it() {
    for case in event_streams() {
        let stream = case.framed(&[case.before, case.after].concat()).concat();
        for size in [1, stream.len()] {
            let mut judge = case.judge();
            let mut chunks = std::iter::once(&b"\xEF\xBB\xBF"[..]).chain(stream.chunks(size));
            let verdict = chunks.try_for_each(|chunk| judge.feed(chunk, &mut |_, _| {}));
            assert_eq!(verdict, Err(NotWhole::Malformed), "{}", case.name());
        }
    }
}

#[test]
fn an_end_marker_needs_no_blank_line_and_an_event_does() {
    for case in event_streams() {
        let name = case.name();
        let stream = case.framed(&[case.before, case.after].concat()).concat();
        let has_marker = case.after.last() == Some(&"[DONE]");
        let expected = if has_marker {
            Ok(WHOLE)
        } else {
            Err(NotWhole::Pending)
        };
        for cut in [1, 2] {
            let cut = stream[..stream.len() - cut].to_vec();
            assert_eq!(case.verdict(&[cut]), expected, "{name}");
        }
        let cut = stream[..stream.len() - 3].to_vec();
        assert_eq!(case.verdict(&[cut]), Err(NotWhole::Pending), "{name}");
    }
}

#[test]
fn text_arguments_and_finishes_of_other_types_are_malformed_in_every_api() {
    for (place, chunk) in [
        (0, r#"{"choices":[{"index":0,"delta":{"content":V}}]}"#),
        (0, r#"{"choices":[{"index":0,"delta":{"refusal":V}}]}"#),
        (
            0,
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":V}}]}"#,
        ),
        (
            0,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":V}}]}}]}"#,
        ),
        (
            0,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":V}}]}}]}"#,
        ),
        (
            0,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":V}]}"#,
        ),
        (1, r#"{"choices":[{"index":0,"text":V}]}"#),
        (
            3,
            r#"{"type":"response.output_text.delta","output_index":0,"delta":V}"#,
        ),
        (
            3,
            r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":V}"#,
        ),
        (
            4,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":V}}"#,
        ),
        (
            4,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":V}}"#,
        ),
        (
            4,
            r#"{"type":"message_delta","delta":{"stop_reason":V},"usage":{}}"#,
        ),
        (
            4,
            r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":V}"#,
        ),
        (5, r#"{"candidates":[{"content":{"parts":[{"text":V}]}}]}"#),
        (
            5,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":V}}]}}]}"#,
        ),
        (
            5,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":V}}]}}]}"#,
        ),
        (5, r#"{"candidates":[{"finishReason":V}]}"#),
        (
            7,
            r#"{"message":{"role":"assistant","content":V},"done":false}"#,
        ),
        (
            7,
            r#"{"message":{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":V}}]},"done":false}"#,
        ),
        (
            7,
            r#"{"message":{"role":"assistant","content":"a"},"done":V}"#,
        ),
        (8, r#"{"event_type":"text-generation","text":V}"#),
        (
            9,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":V}}}}"#,
        ),
        (
            10,
            r#"contentBlockDelta{"contentBlockIndex":0,"delta":{"text":V}}"#,
        ),
        (
            10,
            r#"contentBlockDelta{"contentBlockIndex":1,"delta":{"toolUse":{"input":V}}}"#,
        ),
    ] {
        let case = &CASES[place];
        for value in ["5", "[1]", "[[]]"] {
            let chunk = chunk.replace('V', value);
            // With `enum-encoding=int`, Gemini's finishes are numbers.
            let fault = match chunk.contains("\"finishReason\":5") {
                true => NotWhole::UnknownFinish,
                false => NotWhole::Malformed,
            };
            assert_eq!(case.with(&[&chunk]), Err(fault), "{chunk}");
        }
    }
}

#[test]
fn words_of_the_configuration_tell_a_finish_in_every_api() {
    let listed = [
        ("fin".into(), Finish::Complete),
        ("cut".into(), Finish::Length),
    ];
    let words = FinishWords::Listed(listed.into());
    for (api, json) in [
        (
            "openai_chat",
            r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"W"}]}"#,
        ),
        (
            "openai_completions",
            r#"{"choices":[{"text":"Hi","finish_reason":"W"}]}"#,
        ),
        (
            "workers_ai",
            r#"{"result":{"response":"Hi","finish_reason":"W"},"success":true}"#,
        ),
        (
            "openai_responses",
            r#"{"status":"incomplete","incomplete_details":{"reason":"W"},"output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}]}"#,
        ),
        (
            "anthropic_messages",
            r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"W"}"#,
        ),
        (
            "gemini",
            r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"W"}]}"#,
        ),
        (
            "ollama",
            r#"{"message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"W"}"#,
        ),
        (
            "cohere",
            r#"{"message":{"content":[{"type":"text","text":"Hi"}]},"finish_reason":"W"}"#,
        ),
        (
            "bedrock",
            r#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"W"}"#,
        ),
    ] {
        let judge = |word: &str, words: &FinishWords| {
            let api = Api::from_name(api).unwrap();
            let judge = api.judge_by(&RequestTraits::unreadable(), Framing::Json, words);
            let verdict = judge.finish(json.replace('W', word).as_bytes());
            verdict.map(|answer| answer.finish)
        };
        assert_eq!(judge("fin", &words), Ok(Finish::Complete), "{api}");
        assert_eq!(judge("cut", &words), Ok(Finish::Length), "{api}");
        let unknown = Err(NotWhole::UnknownFinish);
        assert_eq!(judge("other", &words), unknown, "{api}");
        assert_eq!(judge("fin", &FinishWords::default()), unknown, "{api}");
    }
}

#[test]
fn a_converted_answer_keeps_a_finish_that_only_a_configuration_knows() {
    let api = Api::from_name("openai_chat").unwrap();
    let json = br#"{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"fin"}],"usage":{"total_tokens":3}}"#;
    let wanted = Form::new(Framing::Sse, br#"{"include_usage":true}"#);
    assert!(api.convert(json, &Form::json(), &wanted).is_ok());
}
