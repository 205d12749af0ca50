use serde_json::Value;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Ollama);

const HI: &str =
    r#"{"model":"m","created_at":"t1","message":{"role":"assistant","content":"Hí"},"done":false}"#;
const YOU: &str = r#"{"model":"m","created_at":"t2","message":{"role":"assistant","content":" you"},"done":false}"#;
const STOP: &str = r#"{"model":"m","created_at":"t3","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":70,"prompt_eval_count":5,"eval_count":2,"eval_duration":60}"#;
const TOKEN: &str = r#"{"model":"m","created_at":"t1","response":"Hi","done":false}"#;
const LAST: &str = r#"{"model":"m","created_at":"t3","response":"","done":true,"done_reason":"stop","context":[1,2],"eval_count":2}"#;

fn traits(path: &[u8], body: &str) -> Result<RequestTraits, Unfit> {
    read(API, path, body)
}

fn judge_chunks<'c>(
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<(Verdict, String), NotWhole> {
    let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Ndjson);
    let (mut whole, mut text) = (Vec::new(), String::new());
    for chunk in chunks {
        judge.feed(chunk, &mut |index, piece| {
            assert_eq!(index, 0);
            text.push_str(piece);
        })?;
        whole.extend_from_slice(chunk);
    }
    Ok((judge.finish(&whole)?, text))
}

fn stream_of(parts: &[&str]) -> Result<Verdict, NotWhole> {
    judge_chunks([lines(parts).as_bytes()]).map(|(answer, _)| answer)
}

fn judge_json(json: &str, expected: u32) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, expected, json)
}

fn ndjson() -> Form {
    Form::new(Framing::Ndjson, b"")
}

fn joined(parts: &[&str]) -> Result<Value, ConversionError> {
    let json = Ollama.join(lines(parts).as_bytes(), &ndjson())?;
    let json = value(&json);
    assert_eq!(split_and_joined(&json), Ok(json.clone()));
    Ok(json)
}

fn split_and_joined(json: &Value) -> Result<Value, ConversionError> {
    let stream = Ollama.split(json.to_string().as_bytes(), &ndjson())?;
    let judged = judge_chunks([&stream[..]]);
    assert!(judged.is_ok_and(|(answer, _)| answer.marked_end), "{json}");
    let again = Ollama.join(&stream, &ndjson())?;
    Ok(value(&again))
}

#[test]
fn a_stream_is_whole_when_it_is_done_and_says_why() {
    assert_eq!(stream_of(&[HI, YOU, STOP]), Ok(WHOLE));
    assert_eq!(stream_of(&[TOKEN, LAST]), Ok(WHOLE));
    assert_eq!(stream_of(&[HI, YOU]), Ok(UNMARKED));
    assert_eq!(stream_of(&[]), Err(NotWhole::Choices));
    assert!(stream_of(&[STOP]).unwrap().empty);
}

#[test]
fn a_stream_is_judged_alike_wherever_it_is_cut_into_chunks() {
    let stream = lines(&[HI, "", YOU, STOP]);
    let stream = stream.as_bytes();
    let whole = judge_chunks([stream]);
    assert_eq!(whole, Ok((WHOLE, "Hí you".to_owned())));
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(judge_chunks([head, tail]), whole, "at {at}");
        let cut = judge_chunks([head]).is_ok_and(|(answer, _)| answer.marked_end);
        assert_eq!(cut, at == stream.len(), "cut at {at}");
    }
    assert_eq!(judge_chunks(stream.chunks(1)), whole);
}

#[test]
fn only_known_reasons_end_an_answer() {
    for (reason, expected) in [
        (r#""stop""#, Ok(Finish::Complete)),
        (r#""length""#, Ok(Finish::Length)),
        (r#""load""#, Err(NotWhole::Unfinished)),
        (r#""unload""#, Err(NotWhole::Unfinished)),
        (r#""""#, Err(NotWhole::Unfinished)),
        ("null", Err(NotWhole::Unfinished)),
        (r#""new""#, Err(NotWhole::UnknownFinish)),
        ("1", Err(NotWhole::Malformed)),
    ] {
        let last = STOP.replace(r#""stop""#, reason);
        let finish = |answer: Result<Verdict, NotWhole>| answer.map(|answer| answer.finish);
        assert_eq!(finish(stream_of(&[HI, &last])), expected, "{reason}");
        let json = last.replace(r#""content":"""#, r#""content":"Hi""#);
        assert_eq!(finish(judge_json(&json, 1)), expected, "{reason}");
    }
    let without = STOP.replace(r#""done_reason":"stop","#, "");
    assert_eq!(stream_of(&[HI, &without]), Err(NotWhole::Unfinished));
}

#[test]
fn every_fault_of_a_stream_is_told() {
    for (parts, fault) in [
        (
            &[HI, r#"{"error":"an error was encountered"}"#][..],
            NotWhole::Error,
        ),
        (&[HI, STOP, r#"{"error":"late"}"#], NotWhole::Error),
        (&[HI, STOP, HI], NotWhole::AfterEnd),
        (&[HI, "{\"done\":"], NotWhole::Malformed),
        (&["[]"], NotWhole::Malformed),
        (
            &[
                r#"{"message":{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]},"done":false}"#,
            ],
            NotWhole::ToolArguments,
        ),
        (
            &[
                r#"{"message":{"role":"assistant","tool_calls":[{"function":{"arguments":{}}}]},"done":false}"#,
            ],
            NotWhole::ToolArguments,
        ),
        (
            &[
                r#"{"message":{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"done":false}"#,
            ],
            NotWhole::Malformed,
        ),
        // Ollama's client needs a message with a role in every line of a chat.
        (
            &[r#"{"message":{"content":"Hi"},"done":false}"#],
            NotWhole::Malformed,
        ),
        (
            &[HI, r#"{"done":true,"done_reason":"stop"}"#],
            NotWhole::Malformed,
        ),
        (&[HI, LAST], NotWhole::Malformed),
        (&[TOKEN, STOP], NotWhole::Malformed),
        (&["{\"a\":1} {}"], NotWhole::Malformed),
    ] {
        assert_eq!(stream_of(parts), Err(fault), "{parts:?}");
    }
    let pending = lines(&[HI, STOP]);
    let pending = judge_chunks([pending.trim_end().as_bytes()]);
    assert_eq!(pending, Err(NotWhole::Pending));
    assert_eq!(
        judge_chunks([&b"{\"a\":\"\xff\"}\n"[..]]),
        Err(NotWhole::Malformed)
    );
}

#[test]
fn a_document_must_be_done_as_well() {
    let whole = STOP.replace(r#""content":"""#, r#""content":"Hi""#);
    assert_eq!(judge_json(&whole, 1), Ok(WHOLE));
    assert_eq!(judge_json(HI, 1), Err(NotWhole::Unfinished));
    assert_eq!(judge_json(r#"{"error":"no"}"#, 1), Err(NotWhole::Error));
    assert_eq!(judge_json("[]", 1), Err(NotWhole::Malformed));
    assert!(judge_json(STOP, 1).unwrap().empty);
    for nothing in [
        r#"{"done":true,"done_reason":"stop"}"#,
        r#"{"message":{"content":"Hi"},"done":true,"done_reason":"stop"}"#,
    ] {
        assert_eq!(
            judge_json(nothing, 1),
            Err(NotWhole::Malformed),
            "{nothing}"
        );
    }
}

#[test]
fn tool_calls_say_something_and_thinking_does_not() {
    let message = |message: &str| {
        let line =
            format!(r#"{{"message":{{"role":"assistant","content":"",{message}}},"done":false}}"#);
        stream_of(&[&line, STOP])
    };
    assert!(message(r#""thinking":"hm""#).unwrap().empty);
    let call = r#""tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]"#;
    assert_eq!(message(call), Ok(WHOLE));
}

#[test]
fn there_is_one_embedding_for_each_input() {
    let two = r#"{"model":"m","embeddings":[[0.1],[0.2]],"prompt_eval_count":3}"#;
    assert_eq!(judge_json(two, 2), Ok(WHOLE));
    assert_eq!(judge_json(two, 1), Err(NotWhole::Choices));
    assert!(judge_json(r#"{"embeddings":[[]]}"#, 1).unwrap().empty);
    let asks = |input: &str| traits(b"/api/embed", &format!(r#"{{"input":{input}}}"#)).unwrap();
    assert_eq!(asks(r#"["a","b"]"#).choices, 2);
    assert_eq!(asks(r#""a""#).choices, 1);
    assert_eq!(asks(r#""a""#).form, Some(Form::json()));
}

#[test]
fn the_older_path_embeds_one_prompt_and_in_openai_s_form_what_it_gives() {
    let judged = |body: &str, json: &str| {
        let traits = traits(b"/api/embeddings", body).unwrap();
        assert_eq!(traits.form, Some(Form::json()));
        API.judge(&traits, Framing::Json).finish(json.as_bytes())
    };
    let prompt = r#"{"model":"m","prompt":"a"}"#;
    assert_eq!(judged(prompt, r#"{"embedding":[0.5,-1]}"#), Ok(WHOLE));
    assert!(judged(prompt, r#"{"embedding":[]}"#).unwrap().empty);
    assert_eq!(judged(prompt, r#"{"error":"no"}"#), Err(NotWhole::Error));
    assert_eq!(judged(prompt, "{}"), Err(NotWhole::Malformed));
    let inputs = r#"{"model":"m","input":["a","b"]}"#;
    let one = r#"{"index":0,"embedding":[0.5]}"#;
    let two = one.replace("0,", "1,");
    let list = format!(r#"{{"object":"list","data":[{one},{two}],"usage":{{"total_tokens":3}}}}"#);
    assert_eq!(judged(inputs, &list), Ok(WHOLE));
    let short = format!(r#"{{"data":[{one}]}}"#);
    assert_eq!(judged(inputs, &short), Err(NotWhole::Choices));
    assert_eq!(
        judged(inputs, r#"{"embedding":[0.5]}"#),
        Err(NotWhole::Choices)
    );
    let zeroed = Ollama.zero_usage(list.as_bytes(), &Form::json()).unwrap();
    assert_eq!(values(zeroed), values(list.replace("3", "0")));
}

#[test]
fn it_streams_unless_told_otherwise() {
    let form = |body: &str| traits(b"/api/chat?x=1", body).map(|traits| traits.form.unwrap());
    for streams in ["{}", r#"{"stream":null}"#, r#"{"stream":true}"#] {
        assert_eq!(form(streams), Ok(ndjson()), "{streams}");
    }
    assert_eq!(form(r#"{"stream":false}"#), Ok(Form::json()));
    for unclear in [r#"{"stream":"false"}"#, r#"{"stream":0}"#] {
        assert_eq!(form(unclear), Err(Unfit::UnclearForm), "{unclear}");
    }
    let warm = traits(
        b"/api/generate",
        r#"{"options":{"temperature":0.2,"seed":1}}"#,
    );
    assert_eq!(warm.unwrap().temperature, Some(0.2));
    for path in [
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/api/embeddings",
    ] {
        assert!(Ollama.owns(path.as_bytes()));
    }
    assert!(!Ollama.owns(b"/api/tags"));
}

#[test]
fn lines_join_to_the_response_that_would_have_been_sent() {
    let expected = STOP.replace(r#""content":"""#, r#""content":"Hí you""#);
    assert_eq!(joined(&[HI, YOU, STOP]), Ok(value(&expected)));
    let expected = LAST.replace(r#""response":"""#, r#""response":"Hi""#);
    assert_eq!(joined(&[TOKEN, LAST]), Ok(value(&expected)));
}

#[test]
fn thinking_tool_calls_and_logprobs_of_all_lines_are_kept() {
    let parts = [
        r#"{"model":"m","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"","thinking":"m"},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"A"},"done":false,"logprobs":[{"token":"A","logprob":-0.10}]}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"index":0,"name":"f","arguments":{"a":1}}}]},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"id":"2","function":{"name":"g","arguments":{}}}]},"done":false}"#,
        r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","logprobs":[{"token":"B","logprob":-2}]}"#,
    ];
    let expected = value(
        r#"{"model":"m","message":{"role":"assistant","content":"A","thinking":"hmm","tool_calls":[
            {"id":"1","function":{"index":0,"name":"f","arguments":{"a":1}}},
            {"id":"2","function":{"name":"g","arguments":{}}}
        ]},"done":true,"done_reason":"stop","logprobs":[{"token":"A","logprob":-0.10},{"token":"B","logprob":-2}]}"#,
    );
    assert_eq!(joined(&parts), Ok(expected));
}

#[test]
fn every_document_is_the_same_after_splitting_and_joining() {
    for json in [
        r#"{"model":"m","created_at":"t","response":"Hi","thinking":"h","done":true,"done_reason":"stop","context":[1]}"#,
        r#"{"message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"length"}"#,
        r#"{"message":{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":{}}}]},"done":true,"done_reason":"stop"}"#,
        r#"{"message":{"role":"assistant","thinking":"","content":"","tool_calls":[]},"done":true,"done_reason":"stop","logprobs":null}"#,
        r#"{"message":{"role":"assistant","thinking":"a"},"done":true,"done_reason":"stop","logprobs":[{"token":"a"}],"new":{"x":1}}"#,
    ] {
        let json = value(json);
        assert_eq!(split_and_joined(&json), Ok(json));
    }
}

#[test]
fn what_has_no_known_place_is_not_guessed() {
    let with = |line: &str, new: &str| line.replace("\"content\"", &format!("{new},\"content\""));
    // What comes once, or with every line.
    for lines in [[HI, YOU, STOP].map(|line| with(line, "\"new\":\"a\"")), {
        let first = with(HI, "\"new\":\"a\"");
        [first, YOU.to_owned(), STOP.to_owned()]
    }] {
        let lines = lines.each_ref().map(String::as_str);
        let whole = joined(&lines).unwrap();
        assert_eq!(whole["message"]["new"], "a");
        assert_eq!(split_and_joined(&whole), Ok(whole));
    }
    // What differs, in the message and in the line.
    for [first, last] in [
        [with(HI, "\"new\":\"a\""), with(STOP, "\"new\":\"b\"")],
        [
            HI.replacen('{', "{\"new\":\"a\",", 1),
            STOP.replacen('{', "{\"new\":\"b\",", 1),
        ],
        [
            HI.replacen('{', "{\"new\":[1],", 1),
            STOP.replacen('{', "{\"new\":[2],", 1),
        ],
    ] {
        assert_eq!(
            joined(&[&first, &last]),
            Err(ConversionError::UnknownMember),
            "{first}"
        );
    }
}

#[test]
fn bytes_that_are_no_answer_do_not_join_or_split() {
    for parts in [
        &[][..],
        &[HI],
        &[STOP, HI],
        &["7"],
        &["{\"message\":7,\"done\":true}"],
        &[HI, "{\"message\":{\"content\":7},\"done\":true}"],
    ] {
        assert_eq!(joined(parts), Err(ConversionError::Malformed), "{parts:?}");
    }
    for json in ["", "[]", HI] {
        let split = Ollama.split(json.as_bytes(), &ndjson());
        assert_eq!(split, Err(ConversionError::Malformed), "{json}");
    }
}

#[test]
fn a_split_answer_looks_as_the_server_s() {
    let json = r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"Hi"},"done_reason":"stop","done":true,"eval_count":2}"#;
    let stream = Ollama.split(json.as_bytes(), &ndjson()).unwrap();
    let expected = lines(&[
        r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"Hi"},"done":false}"#,
        r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"eval_count":2}"#,
    ]);
    assert_eq!(values(stream), values(expected));
}

#[test]
fn counts_are_zeroed_and_durations_stay() {
    let zeroed = STOP
        .replace("\"prompt_eval_count\":5", "\"prompt_eval_count\":0")
        .replace("\"eval_count\":2", "\"eval_count\":0");
    let out = Ollama
        .zero_usage(lines(&[HI, STOP]).as_bytes(), &ndjson())
        .unwrap();
    assert_eq!(values(out), values(lines(&[HI, &zeroed])));
    let out = Ollama.zero_usage(STOP.as_bytes(), &Form::json()).unwrap();
    assert_eq!(values(out), values(zeroed));
}
