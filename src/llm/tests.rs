//! What holds for the judges of all APIs, and for what is looked for in all requests.

use super::*;
use crate::eventstream;
use crate::json::canonicalize;

/// An answer of an API in a framing: the path and the body of its request, what comes before the
/// chunk that tries something, and what comes after it.
struct Case {
    api: &'static str,
    path: &'static str,
    framing: Framing,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const CASES: [Case; 11] = [
    Case {
        api: "openai_chat",
        path: "/v1/chat/completions",
        framing: Framing::Sse,
        before: &[r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#],
        after: &[
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
    },
    Case {
        api: "openai_completions",
        path: "/v1/completions",
        framing: Framing::Sse,
        before: &[r#"{"choices":[{"index":0,"text":"Hi"}]}"#],
        after: &[
            r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
    },
    Case {
        api: "workers_ai",
        path: "/client/v4/accounts/a/ai/run/@cf/m",
        framing: Framing::Sse,
        before: &[r#"{"response":"Hi"}"#],
        after: &[r#"{"response":"","finish_reason":"stop"}"#, "[DONE]"],
    },
    Case {
        api: "openai_responses",
        path: "/v1/responses",
        framing: Framing::Sse,
        before: &[
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#,
            r#"{"type":"response.content_part.added","output_index":0,"content_index":0}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"delta":"Hi"}"#,
        ],
        after: &[
            r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","status":"completed","content":[{"type":"output_text","text":"Hi"}]}]}}"#,
        ],
    },
    Case {
        api: "anthropic_messages",
        path: "/v1/messages",
        framing: Framing::Sse,
        before: &[
            r#"{"type":"message_start","message":{"type":"message","content":[],"usage":{}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}"#,
        ],
        after: &[
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}"#,
            r#"{"type":"message_stop"}"#,
        ],
    },
    Case {
        api: "gemini",
        path: "/v1beta/models/m:streamGenerateContent?alt=sse",
        framing: Framing::Sse,
        before: &[r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#],
        after: &[
            r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":3}}"#,
        ],
    },
    Case {
        api: "gemini",
        path: "/v1beta/models/m:streamGenerateContent",
        framing: Framing::JsonArray,
        before: &[r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#],
        after: &[r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}]}"#],
    },
    Case {
        api: "ollama",
        path: "/api/chat",
        framing: Framing::Ndjson,
        before: &[r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#],
        after: &[
            r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}"#,
        ],
    },
    Case {
        api: "cohere",
        path: "/v1/chat",
        framing: Framing::Ndjson,
        before: &[
            r#"{"event_type":"stream-start"}"#,
            r#"{"event_type":"text-generation","text":"Hi"}"#,
        ],
        after: &[
            r#"{"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"Hi","finish_reason":"COMPLETE"}}"#,
        ],
    },
    Case {
        api: "cohere",
        path: "/v2/chat",
        framing: Framing::Sse,
        before: &[
            r#"{"type":"message-start"}"#,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":"Hi"}}}}"#,
        ],
        after: &[
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
        ],
    },
    Case {
        api: "bedrock",
        path: "/model/m/converse-stream",
        framing: Framing::EventStream,
        before: &[
            r#"messageStart{"role":"assistant"}"#,
            r#"contentBlockDelta{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#,
        ],
        after: &[
            r#"contentBlockStop{"contentBlockIndex":0}"#,
            r#"messageStop{"stopReason":"end_turn"}"#,
            r#"metadata{"usage":{"totalTokens":3}}"#,
        ],
    },
];

const WHOLE: Verdict = Verdict {
    finish: Finish::Complete,
    empty: false,
    marked_end: true,
};

impl Case {
    fn name(&self) -> String {
        format!("{} {:?}", self.api, self.framing)
    }

    /// The chunks as this framing writes them, each by itself.
    fn framed(&self, chunks: &[&str]) -> Vec<Vec<u8>> {
        let count = chunks.len();
        let frame = |(place, chunk): (usize, &&str)| match self.framing {
            Framing::Ndjson => format!("{chunk}\n").into_bytes(),
            Framing::JsonArray => {
                let begin = if place == 0 { "[" } else { "," };
                let end = if place + 1 == count { "]" } else { "" };
                format!("{begin}{chunk}{end}").into_bytes()
            }
            Framing::EventStream => {
                let (event, payload) = chunk.split_at(chunk.find('{').unwrap());
                let mut message = Vec::new();
                let headers = [(":event-type", event), (":message-type", "event")];
                eventstream::encode(&mut message, &headers, payload.as_bytes()).unwrap();
                message
            }
            _ => {
                let name = match serde_json::from_str::<serde_json::Value>(chunk) {
                    Ok(chunk) if self.api == "anthropic_messages" => {
                        format!("event: {}\n", chunk["type"].as_str().unwrap_or_default())
                    }
                    _ => String::new(),
                };
                format!("{name}data: {chunk}\n\n").into_bytes()
            }
        };
        chunks.iter().enumerate().map(frame).collect()
    }

    fn judge(&self) -> Box<dyn Judge> {
        let api = Api::from_name(self.api).unwrap();
        let body = canonicalize(br#"{"stream":true}"#, &[]).unwrap();
        let ask = api.read(self.path.as_bytes(), b"", Some(&body)).unwrap();
        assert_eq!(ask.form.as_ref().unwrap().framing, self.framing);
        api.judge(&ask, self.framing)
    }

    fn verdict(&self, pieces: &[Vec<u8>]) -> Result<Verdict, NotWhole> {
        let mut judge = self.judge();
        let whole = pieces.concat();
        judge.feed(&whole, &mut |_, _| {})?;
        judge.finish(&whole)
    }

    /// The verdict on the answer with these chunks in its middle.
    fn with(&self, chunks: &[&str]) -> Result<Verdict, NotWhole> {
        self.verdict(&self.framed(&[self.before, chunks, self.after].concat()))
    }

    /// The verdict on an event stream with this text in its middle.
    fn with_text(&self, text: &str) -> Result<Verdict, NotWhole> {
        let mut pieces = self.framed(self.before);
        pieces.push(text.into());
        pieces.extend(self.framed(self.after));
        self.verdict(&pieces)
    }
}

fn event_streams() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|case| case.framing == Framing::Sse)
}

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
            let ask = RequestTraits {
                form: Some(Form::json()),
                ..RequestTraits::unreadable()
            };
            let judge = api.judge(&ask, Framing::Json);
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

#[test]
fn a_stream_of_text_may_come_without_its_type() {
    for case in &CASES {
        let api = Api::from_name(case.api).unwrap();
        let ask = |stream: bool| {
            let body = format!("{{\"stream\":{stream}}}");
            let body = canonicalize(body.as_bytes(), &[]).unwrap();
            api.read(case.path.as_bytes(), b"", Some(&body)).unwrap()
        };
        let is_text = matches!(case.framing, Framing::Sse | Framing::Ndjson);
        let expected = is_text.then_some(case.framing);
        for content_type in [&b""[..], b"text/plain; charset=utf-8"] {
            assert_eq!(
                api.framing(&ask(true), content_type),
                expected,
                "{}",
                case.name()
            );
        }
        assert_eq!(api.framing(&ask(true), b"text/html"), None);
        // Of Gemini the path alone tells.
        if case.api != "gemini" && case.api != "bedrock" {
            assert_eq!(api.framing(&ask(false), b"text/plain"), None);
        }
        assert_eq!(
            api.framing(&RequestTraits::unreadable(), b"text/plain"),
            None
        );
    }
}

#[test]
fn names_that_a_server_may_take_for_those_that_are_looked_for_are_unclear() {
    for (api, path, body) in [
        (
            "openai_chat",
            "/v1/chat/completions",
            r#"{"Tools":[{"type":"web_search"}]}"#,
        ),
        (
            "openai_chat",
            "/v1/chat/completions",
            "{\"web_\u{17f}earch_options\":{}}",
        ),
        (
            "openai_chat",
            "/v1/chat/completions",
            r#"{"web_\u017fearch_options":{}}"#,
        ),
        ("openai_chat", "/v1/chat/completions", r#"{"Stream":true}"#),
        (
            "openai_responses",
            "/v1/responses",
            "{\"bac\u{212a}ground\":true}",
        ),
        (
            "openai_responses",
            "/v1/responses",
            r#"{"Conversation":"c"}"#,
        ),
        ("anthropic_messages", "/v1/messages", r#"{"Container":"c"}"#),
        (
            "cohere",
            "/v1/chat",
            r#"{"Connectors":[{"id":"web-search"}]}"#,
        ),
        (
            "gemini",
            "/v1beta/models/m:generateContent",
            r#"{"Tools":[{"googleSearch":{}}]}"#,
        ),
        ("ollama", "/api/chat", r#"{"Stream":false}"#),
        ("bedrock", "/model/m/converse", r#"{"ToolConfig":{}}"#),
        (
            "bedrock",
            "/model/m/converse",
            r#"{"additionalModelRequestFields":{"Container":"c"}}"#,
        ),
        (
            "workers_ai",
            "/client/v4/accounts/a/ai/run/@cf/m",
            r#"{"STREAM":true}"#,
        ),
    ] {
        let api = Api::from_name(api).unwrap();
        let canonical = canonicalize(body.as_bytes(), &[]).unwrap();
        let read = api.read(path.as_bytes(), body.as_bytes(), Some(&canonical));
        assert_eq!(read, Err(Unfit::UnclearBody), "{api:?} {body}");
    }
    // Of tools themselves it is enough that they are none of the client's.
    for (api, path, tool) in [
        (
            "openai_chat",
            "/v1/chat/completions",
            r#"{"Type":"web_search","function":{"name":"f"}}"#,
        ),
        (
            "openai_responses",
            "/v1/responses",
            r#"{"Type":"web_search"}"#,
        ),
        (
            "anthropic_messages",
            "/v1/messages",
            r#"{"Type":"web_search_20250305","name":"w"}"#,
        ),
        ("cohere", "/v2/chat", r#"{"Type":"web_search"}"#),
        (
            "gemini",
            "/v1beta/models/m:generateContent",
            r#"{"GoogleSearch":{}}"#,
        ),
    ] {
        let api = Api::from_name(api).unwrap();
        let body = format!("{{\"tools\":[{tool}]}}");
        let canonical = canonicalize(body.as_bytes(), &[]).unwrap();
        let ask = api.read(path.as_bytes(), b"", Some(&canonical)).unwrap();
        assert!(ask.server_tools, "{api:?} {tool}");
    }
    // An API of which nothing is known has names of its own.
    let json = Api::from_name("json").unwrap();
    let canonical = canonicalize(br#"{"Input":"a","Model":"m"}"#, &[]).unwrap();
    assert!(json.read(b"/rerank", b"", Some(&canonical)).is_ok());
}

#[test]
fn a_word_in_an_unreadable_body_that_may_ask_for_more_is_unclear() {
    let read = |api: &str, word: &str| {
        let body = format!("{{\"a\":\"{word}\",}}");
        let api = Api::from_name(api).unwrap();
        api.read(b"/", body.as_bytes(), None).map(|_| ())
    };
    for word in [
        "perplexity/Sonar-pro",
        "gpt-4o:online",
        "groq/compound",
        "data_sources",
        "dataSources",
        "deferred",
    ] {
        for api in ["openai_chat", "openai_completions", "openai_responses"] {
            assert_eq!(read(api, word), Err(Unfit::UnclearBody), "{api} {word}");
        }
    }
    assert_eq!(read("openai_responses", "prompt"), Err(Unfit::UnclearBody));
    assert_eq!(read("openai_completions", "prompt"), Ok(()));
}

#[test]
fn a_body_in_another_encoding_does_not_hide_what_it_asks_for() {
    let encode = |text: &str, unit: usize, big: bool| -> Vec<u8> {
        let bytes = |number: u32| {
            let mut bytes = number.to_le_bytes()[..unit].to_vec();
            if big {
                bytes.reverse();
            }
            bytes
        };
        match unit {
            2 => text
                .encode_utf16()
                .flat_map(|it| bytes(it.into()))
                .collect(),
            _ => text.chars().flat_map(|it| bytes(it.into())).collect(),
        }
    };
    let api = Api::from_name("openai_chat").unwrap();
    let read = |body: &[u8]| api.read(b"/v1/chat/completions", body, None).map(|_| ());
    for (text, expected) in [
        (
            r#"{"tools":[{"type":"web_search"}]}"#,
            Err(Unfit::UnclearBody),
        ),
        ("{\"plugin\u{17f}\":[1]}", Err(Unfit::UnclearBody)),
        ("{\"\u{17f}earch\":1}", Err(Unfit::UnclearBody)),
        ("{\"bac\u{212a}ground\":true}", Err(Unfit::UnclearBody)),
        ("{\"messages\":[{\"content\":\"h\u{e9}\"}]}", Ok(())),
    ] {
        assert_eq!(read(text.as_bytes()), expected, "{text}");
        for (unit, big) in [(2, false), (2, true), (4, false), (4, true)] {
            for bom in ["", "\u{feff}"] {
                let body = encode(&format!("{bom}{text}"), unit, big);
                assert_eq!(read(&body), expected, "{text} {unit} {big} {bom:?}");
            }
        }
    }
}
