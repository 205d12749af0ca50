//! What the tests of all APIs share.

use serde_json::Value;

use super::{Api, Framing, NotWhole, RequestTraits, Unfit, Verdict};
use crate::json::{Canonical, canonicalize};

/// Of a whole answer that says something.
pub(crate) const WHOLE: Verdict = Verdict::complete(false);

/// The same, where nothing marks the end.
pub(crate) const UNMARKED: Verdict = Verdict {
    marked_end: false,
    ..WHOLE
};

pub(crate) fn canonical(body: &str) -> Canonical {
    canonicalize(body.as_bytes(), &[]).unwrap()
}

/// What a request with this body asks for.
pub(crate) fn read(api: Api, path: impl AsRef<[u8]>, body: &str) -> Result<RequestTraits, Unfit> {
    api.read(path.as_ref(), body.as_bytes(), Some(&canonical(body)))
}

/// The verdict on an answer, to a request whose body is not plain JSON.
pub(crate) fn judged(
    api: Api,
    framing: Framing,
    choices: u32,
    answer: impl AsRef<[u8]>,
) -> Result<Verdict, NotWhole> {
    let traits = RequestTraits {
        choices,
        ..RequestTraits::unreadable()
    };
    let mut judge = api.judge(&traits, framing);
    judge.feed(answer.as_ref(), &mut |_, _| {})?;
    judge.finish(answer.as_ref())
}

/// An event stream without names.
pub(crate) fn sse<T: std::fmt::Display>(events: &[T]) -> String {
    let event = |data: &T| format!("data: {data}\n\n");
    events.iter().map(event).collect()
}

/// A stream of lines.
pub(crate) fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

pub(crate) fn value(json: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(json.as_ref()).unwrap()
}

/// An answer line by line, as values where a line is JSON or data that is: what is written anew has
/// its members in the order of their names, which means the same.
pub(crate) fn values(answer: impl AsRef<[u8]>) -> Vec<Value> {
    let text = String::from_utf8(answer.as_ref().to_vec()).unwrap();
    let value = |line: &str| {
        let json = line.strip_prefix("data:").unwrap_or(line);
        serde_json::from_str(json).unwrap_or_else(|_| line.into())
    };
    text.lines().map(value).collect()
}
