//! What access logs and traces can tell of one exchange: what it reported, gathered.

use std::mem;

use crate::clock::as_millis;
use crate::llm::Tokens;
use crate::protobuf::{Member, push_member};

use super::{AnswerResult, Passage, Report, RequestResult, Served, ShadowResult, Subject};

/// How many digits of a key stand in the record: they tell two requests apart, and are no key.
const KEY_DIGITS: usize = 16;

/// What an exchange reported; without anything, it takes no memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRecord(Option<Box<Gathered>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Gathered {
    /// It has grown since it was encoded.
    is_new: bool,
    request: Option<RequestResult>,
    subject: Subject,
    served: Option<Served>,
    passed: Option<Passage>,
    answer: Option<AnswerResult>,
    shadow: Option<ShadowResult>,
    near_miss: Option<&'static str>,
}

impl LogRecord {
    /// What it takes, in bytes, beside what the subject shares.
    pub const BYTES: usize = size_of::<Gathered>();

    /// Takes in what is reported of an exchange.
    pub fn note(&mut self, subject: &Subject, report: Report) {
        self.0.get_or_insert_default().note(subject, report);
    }

    /// The record as a `google.protobuf.Struct` in its binary form, if it has grown since the last time and the
    /// exchange takes part. Times are milliseconds, but `age`, in seconds.
    pub fn take_new(&mut self) -> Option<Vec<u8>> {
        let gathered = self.0.as_deref_mut()?;
        mem::take(&mut gathered.is_new)
            .then(|| gathered.encode())
            .flatten()
    }
}

impl Gathered {
    fn note(&mut self, subject: &Subject, report: Report) {
        match report {
            Report::Request(result) => {
                self.request = Some(result);
                self.subject = subject.clone();
            }
            Report::Served(served) => self.served = Some(served),
            Report::NearMiss(member) => self.near_miss = Some(member),
            Report::Passed(passage) => self.passed = Some(passage),
            Report::Answer(result) => self.answer = Some(result),
            Report::Shadow(result) => self.shadow = Some(result),
            Report::Evictions(_)
            | Report::Store(..)
            | Report::StoreLookup(_)
            | Report::Breaker(_)
            | Report::Refresh(_)
            | Report::ShadowSaved(_)
            | Report::UpstreamAskedInVain => return,
        }
        self.is_new = true;
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(512);
        let mut push = |name, member: Option<Member<'_>>| {
            if let Some(member) = member {
                push_member(&mut out, name, member);
            }
        };
        let (result, reason) = self.request?.words();
        push("result", Some(Member::Text(result)));
        push("reason", reason.map(Member::Text));
        push("api", self.subject.api.map(|api| Member::Text(api.name())));
        let model = self.subject.model.as_deref().map(printable);
        push("model", model.as_deref().map(Member::Text));
        push("stream", self.subject.is_stream.map(Member::Flag));
        let key = self.subject.key.map(|key| key.to_string());
        let key = key.as_deref().and_then(|key| key.get(..KEY_DIGITS));
        push("key", key.map(Member::Text));
        push("near_miss", self.near_miss.map(Member::Text));
        if let Some(Served { age, cost }) = self.served {
            push("age", Some(Member::Number(age.as_secs())));
            let saved = as_millis(cost.last_byte());
            push("saved_ms", Some(Member::Number(saved)));
            push_tokens(&mut push, cost.tokens());
        }
        if let Some(passage) = self.passed {
            push("chunks", Some(Member::Number(passage.chunks.into())));
            let first_byte = passage.first_byte.map(as_millis).map(Member::Number);
            push("upstream_first_byte_ms", first_byte);
            let last_byte = as_millis(passage.last_byte);
            push("upstream_ms", Some(Member::Number(last_byte)));
            push_tokens(&mut push, passage.tokens);
        }
        if let Some(answer) = self.answer {
            let (answer, reason) = answer.words();
            push("answer", Some(Member::Text(answer)));
            push("answer_reason", reason.map(Member::Text));
        }
        push(
            "shadow",
            self.shadow.map(|shadow| Member::Text(shadow.as_str())),
        );
        Some(out)
    }
}

/// A client's text without what could begin a line of its own in a log.
fn printable(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { '_' } else { c });
    printable.collect()
}

fn push_tokens(push: &mut dyn FnMut(&'static str, Option<Member<'_>>), tokens: Option<Tokens>) {
    if let Some(Tokens {
        input,
        cached_input,
        output,
    }) = tokens
    {
        push("input_tokens", Some(Member::Number(input)));
        push("cached_input_tokens", Some(Member::Number(cached_input)));
        push("output_tokens", Some(Member::Number(output)));
    }
}
