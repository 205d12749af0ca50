use serde_json::{Value, json};

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Gemini);

const STREAM: &[u8] = b"/v1beta/models/m:streamGenerateContent";
const HEL: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}],"role":"model"},"index":0}],"usageMetadata":{"totalTokenCount":7},"modelVersion":"m","responseId":"r"}"#;
const LO: &str = r#"{"candidates":[{"content":{"parts":[{"text":"lo é"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":4}]},"modelVersion":"m","responseId":"r"}"#;

fn ask(path: &[u8], body: &str) -> Result<RequestTraits, Unfit> {
    API.read(path, b"", Some(&canonical(body)))
}

fn sse(chunks: &[&str]) -> String {
    chunks
        .iter()
        .map(|c| format!("data: {c}\r\n\r\n"))
        .collect()
}

fn array(chunks: &[&str]) -> String {
    format!("[{}\n]", chunks.join("\n,\r\n"))
}

fn form(framing: Framing) -> Form {
    match framing {
        Framing::Json => Form::json(),
        framing => Form::new(framing, b""),
    }
}

fn judge_chunks<'c>(
    framing: Framing,
    expected: u32,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<(Verdict, String), NotWhole> {
    let ask = RequestTraits {
        form: Some(form(framing)),
        choices: expected,
        ..RequestTraits::unreadable()
    };
    let mut judge = API.judge(&ask, framing);
    let (mut whole, mut text) = (Vec::new(), String::new());
    for chunk in chunks {
        judge.feed(chunk, &mut |index, piece| {
            text.push_str(&format!("{index}:{piece} "));
        })?;
        whole.extend_from_slice(chunk);
    }
    Ok((judge.finish(&whole)?, text))
}

/// The verdict on the chunks in all three framings that a stream or, if alone, a document has.
fn verdict(expected: u32, chunks: &[&str]) -> Result<Verdict, NotWhole> {
    let judged = |framing, text: String| {
        judge_chunks(framing, expected, [text.as_bytes()]).map(|(answer, _)| answer)
    };
    let verdict = judged(Framing::Sse, sse(chunks));
    assert_eq!(judged(Framing::JsonArray, array(chunks)), verdict);
    if let [json] = chunks {
        assert_eq!(judged(Framing::Json, (*json).to_owned()), verdict);
    }
    verdict
}

fn joined(chunks: &[&str]) -> Result<Value, ConversionError> {
    let join = |framing, text: String| {
        let json = Gemini.join(text.as_bytes(), &form(framing))?;
        Ok(value(&json))
    };
    let joined = join(Framing::Sse, sse(chunks));
    assert_eq!(join(Framing::JsonArray, array(chunks)), joined);
    if let Ok(json) = &joined {
        splits_and_joins(json);
    }
    joined
}

fn splits_and_joins(json: &Value) {
    for framing in [Framing::Sse, Framing::JsonArray] {
        let stream = Gemini
            .split(json.to_string().as_bytes(), &form(framing))
            .unwrap();
        let (answer, _) = judge_chunks(framing, 1, [&stream[..]]).unwrap();
        assert!(answer.marked_end, "{json}");
        let again = Gemini.join(&stream, &form(framing)).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), *json);
    }
}

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

fn candidate(members: &str) -> String {
    format!(r#"{{"candidates":[{{{members}}}]}}"#)
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
fn the_url_chooses_the_form() {
    let form = |path: &str| {
        API.read(path.as_bytes(), b"", None)
            .map(|ask| ask.form.unwrap().framing)
    };
    for (path, framing) in [
        ("/v1/models/m:generateContent", Ok(Framing::Json)),
        ("/v1/models/m:generateContent?alt=json", Ok(Framing::Json)),
        (
            "/v1/models/m:generateContent?alt=sse",
            Err(Unfit::UnclearForm),
        ),
        ("/v1/models/m:streamGenerateContent", Ok(Framing::JsonArray)),
        (
            "/v1/models/m:streamGenerateContent?key=k&alt=sse",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:streamGenerateContent?%24alt=sse",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:generateContent?%24alt=json%3Benum-encoding%3Dint",
            Ok(Framing::Json),
        ),
        (
            "/v1/models/m:streamGenerateContent?$alt=json;enum-encoding=int",
            Ok(Framing::JsonArray),
        ),
        (
            "/v1/models/m:streamGenerateContent?al%74=%73se",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt=sse&%24alt=sse",
            Ok(Framing::Sse),
        ),
        (
            "/v1/models/m:embedContent?%24alt=json%3Benum-encoding%3Dint",
            Ok(Framing::Json),
        ),
        (
            "/v1/models/m:generateContent?alt=json&$alt=json;enum-encoding=int",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:generateContent?alt=json;enum-encoding=name",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:generateContent?alt=json%3",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt=proto",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt",
            Err(Unfit::UnclearForm),
        ),
        (
            "/v1/models/m:streamGenerateContent?alt=sse&alt=json",
            Err(Unfit::UnclearForm),
        ),
        ("/v1/models/m:embedContent", Ok(Framing::Json)),
        ("/v1/models/m:batchEmbedContents", Ok(Framing::Json)),
    ] {
        assert_eq!(form(path), framing, "{path}");
        assert!(Gemini.owns(path.split('?').next().unwrap().as_bytes()));
    }
    assert!(!Gemini.owns(b"/v1/models/m:countTokens"));
}

#[test]
fn all_forms_of_a_request_share_one_key_and_nothing_else_does() {
    let key = |path: &'static str| String::from_utf8(API.key_path(path.as_bytes()).into()).unwrap();
    let plain = "/v1/models/m:generateContent";
    for path in [
        plain,
        "/v1/models/m:streamGenerateContent",
        "/v1/models/m:streamGenerateContent?alt=sse",
        "/v1/models/m:generateContent?alt=json",
    ] {
        assert_eq!(key(path), plain);
    }
    for (path, expected) in [
        (
            "/m:streamGenerateContent?key=a&alt=sse&b",
            "/m:generateContent?key=a&b",
        ),
        ("/m:generateContent?b&key=a", "/m:generateContent?b&key=a"),
        // Numbers for words are another answer.
        (
            "/m:streamGenerateContent?%24alt=json%3Benum-encoding%3Dint&b",
            "/m:generateContent?b&alt=json;enum-encoding=int",
        ),
        (
            "/m:generateContent?$alt=json;enum-encoding=int",
            "/m:generateContent?alt=json;enum-encoding=int",
        ),
        ("/m:generateContent?%24alt=json", "/m:generateContent"),
        (
            "/m:streamGenerateContent?xalt=sse",
            "/m:generateContent?xalt=sse",
        ),
        ("/m:embedContent?alt=json", "/m:embedContent?alt=json"),
        (
            "/m:streamGenerateContent/x?alt=sse",
            "/m:streamGenerateContent/x?alt=sse",
        ),
    ] {
        assert_eq!(key(path), expected);
    }
}

#[test]
fn the_array_form_is_told_by_what_was_asked_for() {
    let framing =
        |path: &[u8], media_type| API.framing(&API.read(path, b"", None).unwrap(), media_type);
    assert_eq!(
        framing(STREAM, b"application/json"),
        Some(Framing::JsonArray)
    );
    assert_eq!(
        framing(b"/m:generateContent", b"application/json"),
        Some(Framing::Json)
    );
    assert_eq!(framing(STREAM, b"text/event-stream"), Some(Framing::Sse));
    assert_eq!(framing(STREAM, b"text/html"), None);
}

#[test]
fn candidates_temperature_and_tools_are_read_from_the_body() {
    for body in [
        r#"{"generationConfig":{"candidateCount":3,"temperature":0.5}}"#,
        r#"{"generation_config":{"candidate_count":3,"temperature":0.5}}"#,
    ] {
        let ask = ask(STREAM, body).unwrap();
        assert_eq!((ask.choices, ask.temperature), (3, Some(0.5)), "{body}");
    }
    let batch = ask(b"/m:batchEmbedContents", r#"{"requests":[{},{}]}"#).unwrap();
    assert_eq!(batch.choices, 2);
    for (tools, server) in [
        (r#"[{"googleSearch":{}}]"#, true),
        (r#"[{"google_search":{}}]"#, true),
        (
            r#"[{"functionDeclarations":[{}]},{"codeExecution":{}}]"#,
            true,
        ),
        (r#"[{"someNewTool":{}}]"#, true),
        (
            r#"[{"functionDeclarations":[{}],"googleMaps":null}]"#,
            false,
        ),
        (
            r#"[{"computerUse":{}},{"function_declarations":[]}]"#,
            false,
        ),
        ("null", false),
        ("7", true),
        (r#"{"googleSearch":{}}"#, true),
    ] {
        let ask = ask(STREAM, &format!(r#"{{"tools":{tools}}}"#)).unwrap();
        assert_eq!(ask.server_tools, server, "{tools}");
    }
}

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

/// The values of an answer in any form: an array has its separators in its lines.
fn array_lines(answer: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    match serde_json::from_str(&text) {
        Ok(value) => vec![value],
        Err(_) => values(text),
    }
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
        let judged = judge::judge(
            json.as_bytes(),
            judge::Stream::new(1, FinishWords::default()),
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
    let mut stream = ArrayElements::new(judge::Stream::new(1, FinishWords::default()));
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
