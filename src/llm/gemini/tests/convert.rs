use super::*;

#[test]
fn chunks_join_to_the_response_that_would_have_been_sent() {
    let expected = json!({
        "candidates": [{
            "content": {"parts": [{"text": "Hello é"}], "role": "model"},
            "index": 0,
            "finishReason": "STOP",
        }],
        "usageMetadata": {
            "totalTokenCount": 9,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
        },
        "modelVersion": "m",
        "responseId": "r",
    });
    assert_eq!(joined(&[HEL, LO]), Ok(expected));
}

#[test]
fn only_plain_text_of_one_kind_is_merged() {
    let chunk = |parts: &str| {
        candidate(&format!(
            r#""content":{{"role":"model","parts":[{parts}]}}"#
        ))
    };
    let chunks = [
        chunk(r#"{"text":"I th","thought":true}"#),
        chunk(r#"{"text":"ink","thought":true}"#),
        chunk(r#"{"text":"Hi"}"#),
        chunk(r#"{"text":" you"},{"text":"!"}"#),
        chunk(r#"{"text":"","thoughtSignature":"c2ln"}"#),
        chunk(r#"{"functionCall":{"name":"f","args":{"a":1.50}},"thoughtSignature":"eA=="}"#),
        chunk(r#"{"text":""}"#),
        chunk(r#"{"functionCall":{"name":"g","id":"7"}}"#),
        candidate(r#""content":{"role":"model"},"finishReason":"STOP""#),
    ];
    let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
    let expected: Value = serde_json::from_str(
        r#"[
            {"text":"I think","thought":true},
            {"text":"Hi you"},
            {"text":"!"},
            {"text":"","thoughtSignature":"c2ln"},
            {"functionCall":{"name":"f","args":{"a":1.50}},"thoughtSignature":"eA=="},
            {"functionCall":{"name":"g","id":"7"}}
        ]"#,
    )
    .unwrap();
    let joined = joined(&chunks).unwrap();
    assert_eq!(joined["candidates"][0]["content"]["parts"], expected);
}

#[test]
fn candidates_are_joined_by_their_index() {
    let chunk = |index: u32, text: &str, rest: &str| {
        candidate(&format!(
            r#""index":{index},"content":{{"parts":[{{"text":"{text}"}}]}}{rest}"#
        ))
    };
    let stop = r#","finishReason":"STOP","avgLogprobs":-0.10"#;
    let chunks = [
        chunk(1, "b", ""),
        chunk(0, "a", ""),
        chunk(0, "a", stop),
        chunk(1, "b", stop),
    ];
    let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
    let joined = joined(&chunks).unwrap();
    for (index, text) in [(0, "aa"), (1, "bb")] {
        let candidate = &joined["candidates"][index];
        assert_eq!(candidate["content"]["parts"][0]["text"], text);
        assert_eq!(candidate["avgLogprobs"].to_string(), "-0.10");
    }
}

#[test]
fn citations_add_up_and_other_metadata_must_grow() {
    let chunk = |members: &str| {
        candidate(&format!(
            r#""content":{{"parts":[{{"text":"a"}}]}},{members}"#
        ))
    };
    let cites =
        |uri: &str| format!(r#""citationMetadata":{{"citationSources":[{{"uri":"{uri}"}}]}}"#);
    let (first, second) = (chunk(&cites("a")), chunk(&cites("b")));
    let cited = joined(&[&first, &second, LO]).unwrap();
    let uris = json!([{"uri": "a"}, {"uri": "b"}]);
    assert_eq!(
        cited["candidates"][0]["citationMetadata"]["citationSources"],
        uris
    );

    let small = chunk(r#""groundingMetadata":{"webSearchQueries":["q"]}"#);
    let grown =
        chunk(r#""groundingMetadata":{"webSearchQueries":["q","r"],"groundingChunks":[{}]}"#);
    let grounded = joined(&[&small, &grown, LO]).unwrap();
    let chunks = &grounded["candidates"][0]["groundingMetadata"]["groundingChunks"];
    assert_eq!(*chunks, json!([{}]));
    assert_eq!(joined(&[&grown, &small, LO]), Err(ConversionError::Content));
    let (one, two) = (
        chunk(r#""logprobsResult":{"a":[1]}"#),
        chunk(r#""logprobsResult":{"a":[2]}"#),
    );
    assert_eq!(joined(&[&one, &two, LO]), Err(ConversionError::Content));
}

#[test]
fn what_has_no_known_place_is_not_guessed() {
    let content = |value: &str| candidate(&format!(r#""content":{{"new":{value}}}"#));
    let once = joined(&[HEL, &content("\"a\""), LO]).unwrap();
    assert_eq!(once["candidates"][0]["content"]["new"], "a");
    let differing = [&content("\"a\""), &content("\"b\"") as &str, LO];
    assert_eq!(joined(&differing), Err(ConversionError::UnknownMember));
    // A list that is not known is not added up as parts are.
    let lists = [&content("[1]"), &content("[2]") as &str, LO];
    assert_eq!(joined(&lists), Err(ConversionError::UnknownMember));
    let texts = [r#"{"thoughts":"a"}"#, r#"{"thoughts":"b"}"#, HEL, LO];
    assert_eq!(joined(&texts), Err(ConversionError::Content));
    let texts = ["a", "b"].map(|text| candidate(&format!(r#""thoughts":"{text}""#)));
    assert_eq!(
        joined(&[HEL, &texts[0], &texts[1], LO]),
        Err(ConversionError::Content)
    );
    let new = r#"{"newTopLevel":{"x":1},"candidates":[{"newMember":"y"}]}"#;
    let joined = joined(&[HEL, new, LO]).unwrap();
    assert_eq!(joined["newTopLevel"]["x"], 1);
    assert_eq!(joined["candidates"][0]["newMember"], "y");
}

#[test]
fn bytes_that_are_no_answer_do_not_join_or_split() {
    for stream in [
        "",
        "data: []\n\n",
        "data: {\"candidates\":7}\n\n",
        "data: {\"candidates\":[7]}\n\ndata: {\"candidates\":[7]}\n\n",
        "data: {\"candidates\":[{},{}]}\n\n",
        "data: {}",
        "nonsense",
    ] {
        let joined = Gemini.join(stream.as_bytes(), &form(Framing::Sse));
        assert_eq!(joined, Err(ConversionError::Malformed), "{stream}");
    }
    for json in ["", "[]", "{\"a\":}"] {
        let split = Gemini.split(json.as_bytes(), &form(Framing::Sse));
        assert_eq!(split, Err(ConversionError::Malformed), "{json}");
    }
}

#[test]
fn a_split_answer_is_one_chunk_with_everything() {
    let json = "{\n  \"candidates\": [{\"finishReason\": \"STOP\", \"index\": 0}]\n}\n";
    let split = |framing| {
        String::from_utf8(Gemini.split(json.as_bytes(), &form(framing)).unwrap()).unwrap()
    };
    let compact = r#"{"candidates":[{"finishReason":"STOP","index":0}]}"#;
    assert_eq!(split(Framing::Sse), format!("data: {compact}\r\n\r\n"));
    assert_eq!(split(Framing::JsonArray), format!("[{compact}\n]"));
}

#[test]
fn usage_is_zeroed_and_nothing_else() {
    let zeroed = LO
        .replace(":9,", ":0,")
        .replace("\"tokenCount\":4", "\"tokenCount\":0");
    let none = candidate(r#" "index": 0"#);
    for (framing, before, after) in [
        (Framing::Json, LO.to_owned(), zeroed.clone()),
        (Framing::Sse, sse(&[&none, LO]), sse(&[&none, &zeroed])),
        (
            Framing::JsonArray,
            array(&[&none, LO]),
            array(&[&none, &zeroed]),
        ),
    ] {
        let out = Gemini
            .zero_usage(before.as_bytes(), &form(framing))
            .unwrap();
        assert_eq!(array_lines(&out), array_lines(after.as_bytes()));
    }
}
