use serde_json::{Value, json};

use super::*;
use crate::llm::convert::tree;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&WorkersAi);

fn form(options: &[u8]) -> Form {
    Form::new(Framing::Sse, options)
}

fn stream_of(events: &[Value]) -> String {
    sse(events) + "data: [DONE]\n\n"
}

fn judge_stream(events: &[Value]) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Sse, 1, stream_of(events).as_bytes())
}

fn judge_json(json: &Value) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, 1, json.to_string().as_bytes())
}

fn envelope(result: Value) -> Value {
    json!({"result": result, "success": true, "errors": [], "messages": []})
}

fn join(events: &[Value]) -> Result<Value, ConversionError> {
    let json = WorkersAi.join(stream_of(events).as_bytes(), &form(b""))?;
    tree::parse(&json).map(Value::Object)
}

fn split(json: &Value) -> Result<String, ConversionError> {
    let stream = WorkersAi.split(json.to_string().as_bytes(), &form(b""))?;
    String::from_utf8(stream).map_err(|_| ConversionError::Malformed)
}

fn pieces() -> [Value; 3] {
    [
        json!({"response": "Hé", "p": "abc"}),
        json!({"response": "llo", "tool_calls": []}),
        json!({"response": "", "usage": {"total_tokens": 3}}),
    ]
}

fn chunks() -> [Value; 3] {
    [
        json!({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"},
            "finish_reason": null}], "usage": {"total_tokens": 1}}),
        json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0,
            "id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]}),
        json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0,
            "id": null, "type": null, "function": {"name": null}}]},
            "finish_reason": "tool_calls"}], "usage": {"total_tokens": 3}}),
    ]
}

#[test]
fn a_json_answer_is_whole_if_it_succeeded() {
    let whole = envelope(json!({"response": "Hi", "tool_calls": [], "usage": {}}));
    assert_eq!(judge_json(&whole), Ok(WHOLE));
    let call = |arguments: Value| {
        envelope(json!({"response": null,
            "tool_calls": [{"name": "f", "function": {"arguments": arguments}}]}))
    };
    assert_eq!(judge_json(&call(json!({"x": 1}))), Ok(WHOLE));
    assert_eq!(judge_json(&call(json!("{\"x\":1}"))), Ok(WHOLE));
    assert_eq!(judge_json(&call(json!("{"))), Err(NotWhole::ToolArguments));
    let embedding = envelope(json!({"shape": [1, 1], "data": [[0.5]]}));
    assert_eq!(judge_json(&embedding), Ok(WHOLE));
    let empty = judge_json(&envelope(json!({"response": ""})));
    assert!(empty.unwrap().empty);
    for (member, value, fault) in [
        ("success", json!(false), NotWhole::Error),
        ("success", json!(1), NotWhole::Malformed),
        ("errors", json!([{"code": 7009}]), NotWhole::Error),
        ("error", json!("x"), NotWhole::Error),
        ("result", Value::Null, NotWhole::Choices),
        ("result", json!({"error": "x"}), NotWhole::Error),
        ("result", json!("x"), NotWhole::Malformed),
        (
            "result",
            json!({"response": "a", "finish_reason": "error"}),
            NotWhole::UnknownFinish,
        ),
    ] {
        let mut bad = whole.clone();
        bad[member] = value;
        assert_eq!(judge_json(&bad), Err(fault), "{bad}");
    }
    let text = whole.to_string();
    for at in 0..text.len() {
        let cut = judged(API, Framing::Json, 1, &text.as_bytes()[..at]);
        assert_eq!(cut, Err(NotWhole::Malformed));
    }
}

#[test]
fn a_completion_in_a_json_answer_is_judged_as_one() {
    let choice = |finish: &str| {
        envelope(json!({"choices": [{"index": 0, "finish_reason": finish,
            "message": {"role": "assistant", "content": "Hi"}}]}))
    };
    assert_eq!(judge_json(&choice("stop")), Ok(WHOLE));
    assert_eq!(
        judge_json(&choice("length")).map(|answer| answer.finish),
        Ok(Finish::Length)
    );
    assert_eq!(judge_json(&choice("abort")), Err(NotWhole::UnknownFinish));
}

#[test]
fn the_end_of_a_stream_is_marked_where_it_names_a_finish() {
    assert_eq!(judge_stream(&pieces()), Ok(UNMARKED));
    let mut named = pieces();
    named[2]["finish_reason"] = json!("stop");
    assert_eq!(judge_stream(&named), Ok(WHOLE));
    named[2]["finish_reason"] = json!("length");
    let length = judge_stream(&named).map(|answer| answer.finish);
    assert_eq!(length, Ok(Finish::Length));
    named[2]["finish_reason"] = json!("abort");
    assert_eq!(judge_stream(&named), Err(NotWhole::UnknownFinish));
    assert_eq!(judge_stream(&chunks()), Ok(WHOLE));
    assert!(judge_stream(&[]).unwrap().empty);
}

#[test]
fn faults_of_a_stream() {
    let with = |bad: Value| judge_stream(&[pieces()[0].clone(), bad]);
    assert_eq!(with(json!({"error": "x"})), Err(NotWhole::Error));
    assert_eq!(with(json!({"errors": [{"code": 1}]})), Err(NotWhole::Error));
    assert_eq!(with(json!(1)), Err(NotWhole::Malformed));
    assert_eq!(with(json!([])), Err(NotWhole::Malformed));
    assert_eq!(with(chunks()[0].clone()), Err(NotWhole::Malformed));
    let call = json!({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]});
    assert_eq!(with(call), Err(NotWhole::ToolArguments));
    for (text, fault) in [
        ("event: error\ndata: {}\n\n", NotWhole::Error),
        ("data: [DONE]\n\ndata: {}\n\n", NotWhole::AfterEnd),
        ("data: [DON", NotWhole::Pending),
        ("{\"errors\":[]}\n", NotWhole::StrayLines),
    ] {
        assert_eq!(
            judged(API, Framing::Sse, 1, text.as_bytes()),
            Err(fault),
            "{text}"
        );
    }
}

#[test]
fn a_stream_is_judged_alike_wherever_it_is_cut() {
    let mut named = pieces();
    named[2]["finish_reason"] = json!("stop");
    let stream = stream_of(&named);
    let stream = stream.as_bytes();
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        let mut told = String::new();
        let mut judge = API.judge(&RequestTraits::unreadable(), Framing::Sse);
        judge
            .feed(head, &mut |_, text| told.push_str(text))
            .unwrap();
        judge
            .feed(tail, &mut |_, text| told.push_str(text))
            .unwrap();
        assert_eq!(judge.finish(stream), Ok(WHOLE), "at {at}");
        assert_eq!(told, "Héllo");
        let cut = judged(API, Framing::Sse, 1, head).is_ok_and(|answer| answer.marked_end);
        assert_eq!(cut, at + 2 >= stream.len(), "cut at {at}");
    }
}

#[test]
fn pieces_make_a_json_answer_and_back() {
    let whole = join(&pieces()).unwrap();
    let expected = json!({"response": "Héllo", "tool_calls": [], "usage": {"total_tokens": 3}});
    assert_eq!(whole, envelope(expected));
    let stream = split(&whole).unwrap();
    assert_eq!(
        judged(API, Framing::Sse, 1, stream.as_bytes()),
        Ok(UNMARKED)
    );
    let again = WorkersAi.join(stream.as_bytes(), &form(b"")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), whole);
}

#[test]
fn chunks_make_a_completion_in_a_json_answer_and_back() {
    let whole = join(&chunks()).unwrap();
    assert_eq!(whole["result"]["usage"], json!({"total_tokens": 3}));
    assert_eq!(judge_json(&whole), Ok(WHOLE));
    let stream = split(&whole).unwrap();
    assert_eq!(judged(API, Framing::Sse, 1, stream.as_bytes()), Ok(WHOLE));
    let again = WorkersAi.join(stream.as_bytes(), &form(b"")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&again).unwrap(), whole);
}

#[test]
fn what_would_be_lost_is_declined() {
    let with = |name: &str, value: Value| {
        let mut events = pieces();
        events[1][name] = value;
        join(&events)
    };
    assert_eq!(with("response", json!(7)), Err(ConversionError::Content));
    assert_eq!(
        with("tool_calls", json!([{"id": "t"}])),
        Err(ConversionError::Content)
    );
    assert_eq!(with("new", json!(1)).unwrap()["result"]["new"], 1);
    assert_eq!(
        with("finish_reason", json!(1)),
        Err(ConversionError::UnknownMember)
    );
    let mut texts = pieces();
    texts[0]["thoughts"] = json!("a");
    texts[1]["thoughts"] = json!("b");
    assert_eq!(join(&texts), Err(ConversionError::UnknownMember));
    assert_eq!(join(&pieces()[..2]), Err(ConversionError::NoUsage));
    let result = json!({"response": "Hi", "usage": {"total_tokens": 3}});
    let with = |name: &str, value: Value| {
        let mut result = result.clone();
        result[name] = value;
        split(&envelope(result))
    };
    assert_eq!(
        with("response", json!({"a": 1})),
        Err(ConversionError::Content)
    );
    assert_eq!(
        with("tool_calls", json!([{"name": "f"}])),
        Err(ConversionError::Content)
    );
    let stream = with("new", json!(1)).unwrap();
    assert_eq!(stream.matches("\"new\":1").count(), 1);
    assert_eq!(with("usage", Value::Null), Err(ConversionError::NoUsage));
    let mut message = envelope(result.clone());
    message["messages"] = json!(["deprecated"]);
    assert_eq!(split(&message), Err(ConversionError::UnknownMember));
    assert_eq!(split(&result), Err(ConversionError::Malformed));
}

#[test]
fn usage_is_zeroed_in_both_forms() {
    let zero = |text: &str| text.replace("\"total_tokens\":3", "\"total_tokens\":0");
    let stream = stream_of(&pieces());
    let zeroed = WorkersAi.zero_usage(stream.as_bytes(), &form(b"")).unwrap();
    assert_eq!(String::from_utf8(zeroed).unwrap(), zero(&stream));
    let json = envelope(json!({"response": "3", "usage": {"total_tokens": 3}})).to_string();
    let zeroed = WorkersAi
        .zero_usage(json.as_bytes(), &Form::json())
        .unwrap();
    assert_eq!(String::from_utf8(zeroed).unwrap(), zero(&json));
}

#[test]
fn what_a_request_asks_for() {
    let read = |body: &str| {
        let body = canonical(body);
        API.read(b"/ai/run/@cf/m", b"", Some(&body))
    };
    let traits = read(r#"{"prompt":"a","stream":true,"temperature":0.5}"#).unwrap();
    assert_eq!(traits.form, Some(form(b"")));
    assert_eq!(traits.temperature, Some(0.5));
    assert_eq!(read(r#"{"stream":7}"#), Err(Unfit::UnclearForm));
    assert_eq!(read("{}").unwrap().form, Some(Form::json()));
}
