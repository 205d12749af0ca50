use serde_json::{Value, json};

use super::*;
use crate::llm::convert::tree;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&OpenaiCompletions);

const WITH_USAGE: &[u8] = br#"{"include_usage":true}"#;

fn traits(body: &str) -> RequestTraits {
    read(API, "/v1/completions", body).unwrap()
}

fn judge(framing: Framing, choices: u32, answer: &[u8]) -> Result<Verdict, NotWhole> {
    judged(API, framing, choices, answer)
}

fn form(options: &[u8]) -> Form {
    Form::new(Framing::Sse, options)
}

fn join(stream: &str) -> Result<Value, ConversionError> {
    let json = OpenaiCompletions.join(stream.as_bytes(), &form(b""))?;
    tree::parse(&json).map(Value::Object)
}

#[test]
fn every_prompt_has_its_choices() {
    for (body, choices) in [
        (r#"{"prompt":"a"}"#, 1),
        (r#"{"prompt":"a","n":3,"best_of":5,"echo":true}"#, 3),
        (r#"{"prompt":["a","b"]}"#, 2),
        (r#"{"prompt":["a","b"],"n":2}"#, 4),
        (r#"{"prompt":[1,2,3],"n":2}"#, 2),
        (r#"{"prompt":[[1,2],[3],[4]]}"#, 3),
        (r#"{"prompt":[]}"#, 1),
        (r#"{"prompt":["a","b"],"n":4294967295}"#, u32::MAX),
    ] {
        assert_eq!(traits(body).choices, choices, "{body}");
    }
    let options = traits(r#"{"stream":true,"stream_options":{"include_usage":true}}"#);
    assert_eq!(options.form, Some(form(WITH_USAGE)));
}

const STREAM: &str = concat!(
    r#"data: {"id":"c","object":"text_completion","created":5,"model":"m","choices":[{"text":"Hé","index":0,"logprobs":{"tokens":["H"],"token_logprobs":[-0.5],"top_logprobs":null,"text_offset":[0]},"finish_reason":null}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"c","object":"text_completion","created":5,"model":"m","choices":[{"text":"x","index":1,"logprobs":null,"finish_reason":"length"}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"c","object":"text_completion","created":5,"model":"m","choices":[{"text":"llo","index":0,"logprobs":{"tokens":["i"],"token_logprobs":[-1],"top_logprobs":null,"text_offset":[1]},"finish_reason":"stop"}],"usage":null}"#,
    "\n\n",
    r#"data: {"id":"c","object":"text_completion","created":5,"model":"m","choices":[],"usage":{"total_tokens":3}}"#,
    "\n\ndata: [DONE]\n\n"
);

fn whole() -> Value {
    json!({"id": "c", "object": "text_completion", "created": 5, "model": "m",
        "choices": [
            {"index": 0, "text": "Héllo", "logprobs": {"tokens": ["H", "i"],
                "token_logprobs": [-0.5, -1], "top_logprobs": null, "text_offset": [0, 1]},
                "finish_reason": "stop"},
            {"index": 1, "text": "x", "logprobs": null, "finish_reason": "length"}],
        "usage": {"total_tokens": 3}})
}

#[test]
fn a_stream_is_judged_alike_wherever_it_is_cut() {
    let expected = Verdict {
        finish: Finish::Length,
        ..WHOLE
    };
    let stream = STREAM.as_bytes();
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        let mut told = [String::new(), String::new()];
        let mut listener = |index: u64, text: &str| {
            told[usize::try_from(index).unwrap()].push_str(text);
        };
        let mut judging = API.judge(&RequestTraits::unreadable(), Framing::Sse);
        judging.feed(head, &mut listener).unwrap();
        judging.feed(tail, &mut listener).unwrap();
        assert_eq!(judging.finish(stream), Ok(expected), "at {at}");
        assert_eq!(told, ["Héllo", "x"]);
        let cut = judge(Framing::Sse, 2, head).is_ok_and(|answer| answer.marked_end);
        assert_eq!(cut, at + 2 >= stream.len(), "cut at {at}");
    }
}

#[test]
fn fewer_choices_than_prompts_are_not_whole() {
    assert_eq!(
        judge(Framing::Sse, 3, STREAM.as_bytes()),
        Err(NotWhole::Choices)
    );
    let json = whole().to_string();
    assert_eq!(
        judge(Framing::Json, 3, json.as_bytes()),
        Err(NotWhole::Choices)
    );
    assert!(judge(Framing::Json, 2, json.as_bytes()).is_ok());
    let nothing = json.replace("\"x\"", "\"\"");
    assert!(judge(Framing::Json, 2, nothing.as_bytes()).unwrap().empty);
    let error = json.replacen('{', "{\"error\":{\"code\":1},", 1);
    assert_eq!(
        judge(Framing::Json, 2, error.as_bytes()),
        Err(NotWhole::Error)
    );
}

#[test]
fn a_stream_makes_the_completion_and_the_completion_a_stream() {
    assert_eq!(join(STREAM), Ok(whole()));
    let stream = OpenaiCompletions.split(whole().to_string().as_bytes(), &form(WITH_USAGE));
    let stream = String::from_utf8(stream.unwrap()).unwrap();
    assert_eq!(join(&stream), Ok(whole()));
    assert_eq!(
        judge(Framing::Sse, 2, stream.as_bytes()),
        judge(Framing::Sse, 2, STREAM.as_bytes())
    );
    let plain = OpenaiCompletions.split(whole().to_string().as_bytes(), &form(b""));
    let plain = String::from_utf8(plain.unwrap()).unwrap();
    assert!(!plain.contains("usage"));
    assert_eq!(join(&plain), Err(ConversionError::NoUsage));
    let chat = STREAM.replace("\"text\":\"x\"", "\"delta\":{\"content\":\"x\"}");
    assert_eq!(join(&chat), Err(ConversionError::UnknownMember));
}

/// The events' data, as values where it is JSON.
fn events(stream: &str) -> Vec<Value> {
    let data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| data.into()))
        .collect()
}

#[test]
fn usage_is_zeroed() {
    let zero = |text: &str| text.replace("\"total_tokens\":3", "\"total_tokens\":0");
    let zeroed = OpenaiCompletions.zero_usage(STREAM.as_bytes(), &form(b""));
    let zeroed = String::from_utf8(zeroed.unwrap()).unwrap();
    assert_eq!(events(&zeroed), events(&zero(STREAM)));
    let json = whole().to_string();
    let zeroed = OpenaiCompletions.zero_usage(json.as_bytes(), &Form::json());
    assert_eq!(String::from_utf8(zeroed.unwrap()).unwrap(), zero(&json));
}
