mod convert;
mod judge;
mod request;

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&OpenaiChat);

fn traits(body: &str) -> Result<RequestTraits, Unfit> {
    read(API, "/v1/chat/completions", body)
}

fn stream_of(choices: u32, events: &[&str]) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Sse, choices, sse(events))
}

fn judge_sse(choices: u32, bytes: &[u8]) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Sse, choices, bytes)
}

fn judge_json(bytes: &[u8], choices: u32) -> Result<Verdict, NotWhole> {
    judged(API, Framing::Json, choices, bytes)
}

const ROLE: &str = r#"{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"total_tokens":3}}"#;
const DONE: &str = "[DONE]";

/// As [`stream_of`], for a request whose choices are known.
fn known_stream_of(choices: u32, events: &[&str]) -> Result<Verdict, NotWhole> {
    let traits = RequestTraits {
        form: Some(Form::new(Framing::Sse, b"")),
        choices,
        ..RequestTraits::unreadable()
    };
    let event = |data: &&str| format!("data: {data}\n\n");
    let text: String = events.iter().map(event).collect();
    let mut judge = API.judge(&traits, Framing::Sse);
    judge.feed(text.as_bytes(), &mut |_, _| {})?;
    judge.finish(text.as_bytes())
}
