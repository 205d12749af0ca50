use super::*;

#[test]
fn a_stream_of_text_may_come_without_its_type() {
    for case in &CASES {
        let api = Api::from_name(case.api).unwrap();
        let traits = |stream: bool| {
            let body = format!("{{\"stream\":{stream}}}");
            let body = canonicalize(body.as_bytes(), &[]).unwrap();
            api.read(case.path.as_bytes(), b"", Some(&body)).unwrap()
        };
        let is_text = matches!(case.framing, Framing::Sse | Framing::Ndjson);
        let expected = is_text.then_some(case.framing);
        for content_type in [&b""[..], b"text/plain; charset=utf-8"] {
            assert_eq!(
                api.framing(&traits(true), content_type),
                expected,
                "{}",
                case.name()
            );
        }
        assert_eq!(api.framing(&traits(true), b"text/html"), None);
        // Of Gemini the path alone tells.
        if case.api != "gemini" && case.api != "bedrock" {
            assert_eq!(api.framing(&traits(false), b"text/plain"), None);
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
        let traits = api.read(path.as_bytes(), b"", Some(&canonical)).unwrap();
        assert!(traits.server_tools, "{api:?} {tool}");
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
