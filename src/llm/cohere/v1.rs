//! Version 1 of chat: its lines judged, and its two forms made of each other.

use serde_json::Value;

use super::super::documents::{self, Object, push_json};
use super::super::fields::{self, Said, Text, read_members, read_word};
use super::super::finish::Reason;
use super::super::judge::DocumentJudge;
use super::super::members::{object, set_some};
use super::super::{ConversionError, Finish, FinishWords, Framing, Listener, NotWhole, Verdict};
use super::{Response, known};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    Text,
    End,
    Other,
}

read_word!(Kind, Kind::None, |word| match word {
    "text-generation" => Kind::Text,
    "stream-end" => Kind::End,
    _ => Kind::Other,
});

#[derive(Default)]
struct Line<'a> {
    event_type: Kind,
    error: Said,
    text: Text<'a>,
    finish_reason: Reason<'a>,
    response: Option<Response<'a>>,
}

read_members!(Line<'a>: event_type, error, text, finish_reason, response);

/// The stream so far.
#[derive(Debug, Default)]
pub(in crate::llm) struct Stream {
    words: FinishWords,
    any: bool,
    said: bool,
    end: Option<Verdict>,
}

impl Stream {
    pub(in crate::llm) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }
}

impl DocumentJudge for Stream {
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        let line: Line<'_> = fields::parse_object(json)?;
        if line.error.0 {
            return Err(NotWhole::Error);
        }
        if self.end.is_some() {
            return Err(NotWhole::AfterEnd);
        }
        self.any = true;
        match line.event_type {
            Kind::None => return Err(NotWhole::Malformed),
            Kind::Other => {}
            Kind::Text => {
                self.said |= line.text.is_said();
                if let Some(text) = line.text.as_str() {
                    listener(0, text);
                }
            }
            Kind::End => {
                let answer = line.response.ok_or(NotWhole::Malformed)?;
                let answer = answer.judge(1, &self.words)?;
                let finish = line.finish_reason.finish(known, &self.words)?;
                self.end = Some(Verdict {
                    finish: answer.finish.worse(finish.unwrap_or(Finish::Complete)),
                    empty: answer.empty,
                    marked_end: answer.marked_end || finish.is_some(),
                });
            }
        }
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        match self.end {
            Some(answer) => Ok(answer),
            None if self.any => Ok(Verdict {
                finish: Finish::Complete,
                empty: !self.said,
                marked_end: false,
            }),
            None => Err(NotWhole::Choices),
        }
    }
}

/// The response that the last line holds.
///
/// # Errors
/// If it is not there.
pub(super) fn join(stream: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let mut lines = documents::objects(stream, Framing::Ndjson)?;
    let mut end = lines.pop().ok_or(ConversionError::Malformed)?;
    if end.get("event_type").and_then(Value::as_str) != Some("stream-end") {
        return Err(ConversionError::Malformed);
    }
    let Some(Value::Object(mut response)) = end.remove("response") else {
        return Err(ConversionError::Malformed);
    };
    // Early streams say it beside the response only.
    if let Some(reason) = end.remove("finish_reason") {
        response.entry("finish_reason").or_insert(reason);
    }
    let mut json = Vec::new();
    push_json(&mut json, &response)?;
    Ok(json)
}

/// # Errors
/// If it does not say why it finished, which the last line must say.
pub(super) fn split(json: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let response = documents::object(json)?;
    let member = |name: &str| response.get(name).filter(|value| !is_empty(value)).cloned();
    let finish_reason = member("finish_reason").ok_or(ConversionError::Malformed)?;
    let mut lines = vec![line(
        "stream-start",
        ["generation_id"].map(|n| (n, member(n))),
    )];
    for (kind, names) in [
        ("search-queries-generation", &["search_queries"][..]),
        ("search-results", &["search_results", "documents"]),
        ("text-generation", &["text"]),
        ("citation-generation", &["citations"]),
        ("tool-calls-generation", &["tool_calls"]),
    ] {
        let members = names.iter().map(|name| (*name, member(name)));
        if members.clone().any(|(_, value)| value.is_some()) {
            lines.push(line(kind, members));
        }
    }
    lines.push(object([
        ("is_finished", Value::Bool(true)),
        ("event_type", "stream-end".into()),
        ("response", Value::Object(response)),
        ("finish_reason", finish_reason),
    ]));
    let mut stream = Vec::new();
    for line in &lines {
        push_json(&mut stream, line)?;
        stream.push(b'\n');
    }
    Ok(stream)
}

fn line<'n>(kind: &str, members: impl IntoIterator<Item = (&'n str, Option<Value>)>) -> Object {
    let mut line = object([
        ("is_finished", Value::Bool(false)),
        ("event_type", kind.into()),
    ]);
    for (name, value) in members {
        set_some(&mut line, name, value);
    }
    line
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
