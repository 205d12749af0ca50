mod convert;
mod judge;
mod request;

use serde_json::{Value, json};

use super::*;
use crate::llm::testing::*;
use crate::llm::{Api, Finish, NotWhole, Verdict};

const API: Api = Api(&Gemini);

const STREAM: &[u8] = b"/v1beta/models/m:streamGenerateContent";
const HEL: &str = r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}],"role":"model"},"index":0}],"usageMetadata":{"totalTokenCount":7},"modelVersion":"m","responseId":"r"}"#;
const LO: &str = r#"{"candidates":[{"content":{"parts":[{"text":"lo é"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":4}]},"modelVersion":"m","responseId":"r"}"#;

fn traits(path: &[u8], body: &str) -> Result<RequestTraits, Unfit> {
    read(API, path, body)
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
    let traits = RequestTraits {
        form: Some(form(framing)),
        choices: expected,
        ..RequestTraits::unreadable()
    };
    let mut judge = API.judge(&traits, framing);
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

fn candidate(members: &str) -> String {
    format!(r#"{{"candidates":[{{{members}}}]}}"#)
}

/// The values of an answer in any form: an array has its separators in its lines.
fn array_lines(answer: &[u8]) -> Vec<Value> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    match serde_json::from_str(&text) {
        Ok(value) => vec![value],
        Err(_) => values(text),
    }
}
