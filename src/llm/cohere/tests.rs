use serde_json::json;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Cohere);

const START: &str = r#"{"id":"i","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#;
const BLOCK: &str = r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#;
const HI: &str =
    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hí"}}}}"#;
const YOU: &str =
    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":" you"}}}}"#;
const BLOCK_END: &str = r#"{"type":"content-end","index":0}"#;
const CALL: &str = r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"c","type":"function","function":{"name":"f","arguments":""}}}}}"#;
const ARGUMENTS: &str = r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":"}}}}}"#;
const MORE: &str = r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"1}"}}}}}"#;
const CALL_END: &str = r#"{"type":"tool-call-end","index":0}"#;
const END: &str = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":3},"tokens":{"output_tokens":4},"cached_tokens":2}}}"#;
const DONE: &str = "[DONE]";
const TEXT: [&str; 7] = [START, BLOCK, HI, YOU, BLOCK_END, END, DONE];

const V1_START: &str = r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g"}"#;
const V1_TEXT: &str = r#"{"is_finished":false,"event_type":"text-generation","text":"Hí"}"#;
const V1_END: &str = r#"{"is_finished":true,"event_type":"stream-end","response":{"response_id":"r","text":"Hí","generation_id":"g","finish_reason":"COMPLETE","meta":{"api_version":{"version":"1"},"tokens":{"input_tokens":5}}},"finish_reason":"COMPLETE"}"#;

fn ask(path: &[u8], body: &str) -> Result<RequestTraits, Unfit> {
    read(API, path, body)
}

fn sse(events: &[&str]) -> String {
    let event = |data: &&str| {
        let kind = serde_json::from_str::<Value>(data).unwrap_or_default();
        match kind["type"].as_str() {
            Some(kind) => format!("event: {kind}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        }
    };
    events.iter().map(event).collect()
}

fn form(framing: Framing) -> Form {
    Form::new(framing, b"")
}

fn judge_chunks<'c>(
    framing: Framing,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<(Verdict, String), NotWhole> {
    let mut judge = API.judge(&RequestTraits::unreadable(), framing);
    let (mut whole, mut text) = (Vec::new(), String::new());
    for chunk in chunks {
        judge.feed(chunk, &mut |_, piece| text.push_str(piece))?;
        whole.extend_from_slice(chunk);
    }
    Ok((judge.finish(&whole)?, text))
}

fn v2(events: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks(Framing::Sse, [sse(events).as_bytes()]).map(|(answer, _)| answer)
}

fn v1(parts: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks(Framing::Ndjson, [lines(parts).as_bytes()]).map(|(answer, _)| answer)
}

fn judge_json(json: &str, expected: u32) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, expected, json)
}

fn joined(framing: Framing, stream: &str) -> Result<Value, ConversionError> {
    let json = Cohere.join(stream.as_bytes(), &form(framing))?;
    let json = value(&json);
    assert_eq!(split_and_joined(framing, &json), Ok(json.clone()));
    Ok(json)
}

fn split_and_joined(framing: Framing, json: &Value) -> Result<Value, ConversionError> {
    let stream = Cohere.split(json.to_string().as_bytes(), &form(framing))?;
    let judged = judge_chunks(framing, [&stream[..]]);
    assert!(judged.is_ok_and(|(answer, _)| answer.marked_end), "{json}");
    let again = Cohere.join(&stream, &form(framing))?;
    Ok(value(&again))
}

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
        let ask = ask(b"/v2/embed", body).unwrap();
        assert_eq!((ask.choices, ask.form), (inputs, Some(Form::json())));
    }
}

#[test]
fn what_a_request_asks_for_is_read_from_its_path_and_body() {
    for (path, body, expected) in [
        ("/v2/chat", "{}", Ok(Form::json())),
        ("/v2/chat", r#"{"stream":null}"#, Ok(Form::json())),
        ("/v2/chat?x", r#"{"stream":true}"#, Ok(form(Framing::Sse))),
        ("/v1/chat", r#"{"stream":true}"#, Ok(form(Framing::Ndjson))),
        ("/v1/chat", r#"{"stream":1}"#, Err(Unfit::UnclearForm)),
        (
            "/v1/chat",
            r#"{"conversation_id":"c"}"#,
            Err(Unfit::Conversation),
        ),
        ("/v2/embed", r#"{"stream":true}"#, Ok(Form::json())),
        ("/v1/embed", "{}", Ok(Form::json())),
    ] {
        let read = ask(path.as_bytes(), body).map(|ask| ask.form.unwrap());
        assert_eq!(read, expected, "{path} {body}");
    }
    let server = |body: &str| ask(b"/v1/chat", body).unwrap().server_tools;
    assert!(server(r#"{"connectors":[{"id":"web-search"}]}"#));
    assert!(server(r#"{"tools":[{"type":"web"}]}"#));
    assert!(!server(
        r#"{"connectors":[],"tools":[{"type":"function"},{"name":"v1"}]}"#
    ));
    assert_eq!(
        ask(b"/v2/chat", r#"{"temperature":0.3}"#)
            .unwrap()
            .temperature,
        Some(0.3)
    );
    assert!(!Cohere.owns(b"/v1/chat/completions"));
    let framing = |media_type| API.framing(&RequestTraits::unreadable(), media_type);
    assert_eq!(framing(b"application/stream+json"), Some(Framing::Ndjson));
    assert_eq!(framing(b"application/json"), Some(Framing::Json));
}

#[test]
fn events_join_to_the_response_that_would_have_been_sent() {
    let expected = json!({
        "id": "i",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Hí you"}]},
        "finish_reason": "COMPLETE",
        "usage": {
            "billed_units": {"input_tokens": 3},
            "tokens": {"output_tokens": 4},
            "cached_tokens": 2,
        },
    });
    assert_eq!(joined(Framing::Sse, &sse(&TEXT)), Ok(expected));
}

#[test]
fn thinking_plans_calls_citations_and_logprobs_are_kept() {
    let events = [
        START,
        r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":"a"}}}}"#,
        r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"b"}}}}"#,
        BLOCK_END,
        r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"H"}}},"logprobs":{"text":"H","token_ids":[1],"logprobs":[-0.10]}}"#,
        r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"i"}}},"logprobs":{"text":"i","token_ids":[2],"logprobs":[-1]}}"#,
        r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":2,"text":"Hi","sources":[]}}}}"#,
        r#"{"type":"citation-end","index":0}"#,
        r#"{"type":"content-end","index":1}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I "}}}"#,
        r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"will"}}}"#,
        CALL,
        ARGUMENTS,
        MORE,
        CALL_END,
        r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"d","type":"function","function":{"name":"g","arguments":""}}}}}"#,
        r#"{"type":"tool-call-end","index":1}"#,
        END,
        DONE,
    ];
    let joined = joined(Framing::Sse, &sse(&events)).unwrap();
    let message: Value = serde_json::from_str(
        r#"{
            "role": "assistant",
            "content": [{"type":"thinking","thinking":"ab"},{"type":"text","text":"Hi"}],
            "tool_plan": "I will",
            "tool_calls": [
                {"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
                {"id":"d","type":"function","function":{"name":"g","arguments":""}}
            ],
            "citations": [{"start":0,"end":2,"text":"Hi","sources":[]}]
        }"#,
    )
    .unwrap();
    assert_eq!(joined["message"], message);
    let logprobs = r#"[{"text":"H","token_ids":[1],"logprobs":[-0.10]},{"text":"i","token_ids":[2],"logprobs":[-1]}]"#;
    assert_eq!(
        joined["logprobs"],
        serde_json::from_str::<Value>(logprobs).unwrap()
    );
}

#[test]
fn what_has_no_known_place_is_not_guessed() {
    for (from, to) in [
        (
            HI,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"new":1}}}}"#,
        ),
        (
            HI,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"new":1}}}"#,
        ),
        (
            HI,
            r#"{"type":"content-delta","index":0,"delta":{"new":1}}"#,
        ),
        (HI, r#"{"type":"content-delta","index":0,"new":1}"#),
        (HI, r#"{"type":"debug","prompt":"p"}"#),
    ] {
        let stream = sse(&TEXT).replace(from, to);
        assert_eq!(
            joined(Framing::Sse, &stream),
            Err(ConversionError::UnknownMember),
            "{to}"
        );
    }
    for (json, lossy) in [
        (
            r#"{"message":{"content":"text"}}"#,
            ConversionError::Content,
        ),
        (
            r#"{"message":{"content":["text"]}}"#,
            ConversionError::Content,
        ),
        (
            r#"{"message":{"content":[{"text":"ab"}]},"logprobs":[{"text":"a"}]}"#,
            ConversionError::Content,
        ),
        (
            r#"{"message":{},"logprobs":[{"text":"a"}]}"#,
            ConversionError::Content,
        ),
    ] {
        let split = Cohere.split(json.as_bytes(), &form(Framing::Sse));
        assert_eq!(split, Err(lossy), "{json}");
    }
}

#[test]
fn what_comes_once_with_the_start_or_the_end_is_carried_over() {
    let json = r#"{"id":"i","message":{"role":"assistant","new":{"a":"b"},"content":[{"type":"text","text":"a"}]},"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":1}},"generation":"g"}"#;
    let stream = Cohere.split(json.as_bytes(), &form(Framing::Sse)).unwrap();
    let stream = String::from_utf8(stream).unwrap();
    let again = joined(Framing::Sse, &stream).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(json).unwrap());
    // A text in the start would come before the pieces, or be one of them.
    let said = stream.replacen("\"tool_plan\":\"\"", "\"tool_plan\":\"x\"", 1);
    assert_eq!(
        joined(Framing::Sse, &said),
        Err(ConversionError::UnknownMember)
    );
}

#[test]
fn a_version_1_stream_joins_to_the_response_in_its_last_line() {
    let expected = serde_json::from_str::<Value>(V1_END).unwrap()["response"].take();
    let stream = lines(&[V1_START, V1_TEXT, V1_END]);
    assert_eq!(joined(Framing::Ndjson, &stream), Ok(expected));
    let rich = json!({
        "text": "a", "generation_id": "g", "finish_reason": "MAX_TOKENS", "new": {"x": 1},
        "citations": [{"start": 0}], "documents": [{"id": "d"}], "search_queries": [{"text": "q"}],
        "search_results": [{}], "tool_calls": [{"name": "f", "parameters": {}}],
    });
    assert_eq!(split_and_joined(Framing::Ndjson, &rich), Ok(rich));
}

#[test]
fn bytes_that_are_no_answer_do_not_join_or_split() {
    for stream in [
        "",
        "data: {}\n\n",
        "data: 7\n\n",
        "nonsense",
        "data: [DONE]\n\n",
    ] {
        let joined = joined(Framing::Sse, stream);
        assert!(joined.is_err(), "{stream}");
    }
    for events in [
        &[START][..],
        &[START, HI, END],
        &[START, END, END],
        &[START, BLOCK, BLOCK, END],
    ] {
        assert_eq!(
            joined(Framing::Sse, &sse(events)),
            Err(ConversionError::Malformed),
            "{events:?}"
        );
    }
    for stream in ["", "{}\n", "{\"response\":{}}\n", V1_START] {
        assert_eq!(
            joined(Framing::Ndjson, stream),
            Err(ConversionError::Malformed),
            "{stream}"
        );
    }
    for json in ["", "[]", "{}", "{\"message\":7}"] {
        for framing in [Framing::Sse, Framing::Ndjson] {
            let split = Cohere.split(json.as_bytes(), &form(framing));
            assert_eq!(split, Err(ConversionError::Malformed), "{json}");
        }
    }
}

#[test]
fn usage_is_zeroed_and_nothing_else() {
    let zero = |framing, answer: &str| {
        let out = Cohere
            .zero_usage(answer.as_bytes(), &form(framing))
            .unwrap();
        values(out)
    };
    let zeroed = sse(&TEXT)
        .replace("\"input_tokens\":3", "\"input_tokens\":0")
        .replace("\"output_tokens\":4", "\"output_tokens\":0")
        .replace("\"cached_tokens\":2", "\"cached_tokens\":0");
    assert_eq!(zero(Framing::Sse, &sse(&TEXT)), values(zeroed));
    let v1 = lines(&[V1_START, V1_TEXT, V1_END]);
    let zeroed = v1.replace("\"input_tokens\":5", "\"input_tokens\":0");
    assert_eq!(zero(Framing::Ndjson, &v1), values(zeroed));
    let embed = r#"{"embeddings":{"float":[[1]]},"meta":{"billed_units":{"input_tokens":9}}}"#;
    assert_eq!(zero(Framing::Json, embed), values(embed.replace('9', "0")));
}
