//! Which model a request asks for, and whether an answer comes from another: gateways with fallbacks
//! give the answer of one model for the request of another.

use crate::json::{self, Canonical, Malformed, Read, Reader};
use crate::llm::request::path as request_path;
use crate::llm::scan::{Content, read_members};
use crate::llm::{Framing, documents};

/// Longer than any model's name. What is longer is cut, and then equals no answer's.
const MAX_NAME_BYTES: usize = 256;

/// What stands before the names of models on Bedrock: `us.anthropic.`.
const REGIONS: [&str; 10] = [
    "af", "apac", "au", "ca", "eu", "global", "jp", "sa", "us", "us-gov",
];
const VENDORS: [&str; 17] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshot",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "twelvelabs",
    "writer",
];

/// The model that a request asks for: the body's `model`, else the one in the path (with its query).
/// `None` if it names none, and the empty name, which is no answer's, if that cannot be told.
pub fn asked_model(path: &[u8], body: Option<&Canonical>) -> Option<Box<str>> {
    let Some(body) = body else {
        return Some(in_path(path).unwrap_or_default());
    };
    match body.member("model") {
        None | Some(b"\"\"") => in_path(path),
        Some(name) if name.starts_with(b"\"") => {
            Some(bounded(&json::string_value(name).unwrap_or_default()))
        }
        Some(_) => in_path(path),
    }
}

/// The model of Gemini's `/models/{model}:{method}` and of Bedrock's `/model/{model}/{operation}`.
fn in_path(path: &[u8]) -> Option<Box<str>> {
    let path = request_path::Path::of(path).bare;
    let mut segments = path.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let next = segments.peek()?;
        let name = match segment {
            b"models" => memchr::memchr(b':', next).and_then(|end| next.get(..end)),
            b"model" => Some(*next),
            _ => None,
        };
        if let Some(name) = name {
            let name = request_path::decoded(name).unwrap_or_default();
            return Some(bounded(std::str::from_utf8(&name).unwrap_or_default()));
        }
    }
    None
}

fn bounded(name: &str) -> Box<str> {
    let end = name.floor_char_boundary(MAX_NAME_BYTES);
    name.get(..end).unwrap_or_default().into()
}

/// Whether an answer names another model than was asked for, anywhere. An answer that cannot be read counts as naming another.
pub fn names_another_model(asked: &str, answer: &[u8], framing: Framing) -> bool {
    let mut another = false;
    let whole = documents::each(answer, framing, &mut |document| {
        another = another || names_another(asked, document);
    });
    another || whole.is_err()
}

fn names_another(asked: &str, document: &[u8]) -> bool {
    if !document.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let mut named = Named::default();
    if Reader::whole(document, &mut named).is_err() {
        return true;
    }
    let Named {
        top,
        message,
        response,
    } = named;
    let names = [top, message.0, response.0].map(|Names { model, version }| [model, version]);
    let names = names.as_flattened().iter().filter_map(Content::as_str);
    let mut names = names.filter(|name| !name.is_empty());
    // A gateway may say one name in its own words, and leave the upstream's where it was.
    names.any(|name| !is_same(asked, name))
}

/// The names of models in a JSON object of an answer.
#[derive(Default)]
struct Named<'a> {
    top: Names<'a>,
    /// In Anthropic's.
    message: Perhaps<'a>,
    /// In OpenAI's Responses, and what Gemini's gateways say.
    response: Perhaps<'a>,
}

#[derive(Default)]
struct Names<'a> {
    model: Content<'a>,
    version: Content<'a>,
}

read_members!(Names<'a>: model, version as "modelVersion");

/// Names where there is an object: `message` and `response` are strings elsewhere.
#[derive(Default)]
struct Perhaps<'a>(Names<'a>);

impl<'a> Read<'a> for Perhaps<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'{') => self.0.read(json),
            _ => json.skip(),
        }
    }
}

impl<'a> Read<'a> for Named<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        let Names { model, version } = &mut self.top;
        json.members(&mut [
            ("model", model),
            ("modelVersion", version),
            ("message", &mut self.message),
            ("response", &mut self.response),
        ])
    }
}

/// Whether a model that answered is the one that was asked for, or a version of it.
fn is_same(asked: &str, answered: &str) -> bool {
    let (asked, answered) = (bare(asked), bare(answered));
    let latest = asked.strip_suffix("-latest");
    let asked = latest
        .or_else(|| asked.strip_suffix(":latest"))
        .unwrap_or(&asked);
    !asked.is_empty()
        && answered
            .strip_prefix(asked)
            .is_some_and(|rest| rest.is_empty() || is_version(asked, rest))
}

/// A name without what says where the model is served.
fn bare(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase().replace('@', "-");
    let vendor_and_name = |name: &str| {
        let (vendor, name) = name.split_once('.')?;
        VENDORS.contains(&vendor).then(|| name.to_owned())
    };
    let regional = name
        .split_once('.')
        .filter(|(region, _)| REGIONS.contains(region));
    match vendor_and_name(regional.map_or(&name, |(_, name)| name)) {
        Some(name) => without_revision(&name).unwrap_or(&name).to_owned(),
        None => name,
    }
}

/// `claude-3-haiku-20240307-v1:0`, as Bedrock has it, without `-v1:0`; of `claude-v2:1` nothing would
/// be left that tells which one it is.
fn without_revision(name: &str) -> Option<&str> {
    let (name, revision) = name.rsplit_once("-v")?;
    let (major, minor) = revision.split_once(':')?;
    let tells = name.bytes().any(|byte| byte.is_ascii_digit());
    (tells && are_digits(major) && are_digits(minor)).then_some(name)
}

/// Whether what follows a model's name tells a version of it, and no other model. A single digit
/// does not: `claude-sonnet-4-5` is another than `claude-sonnet-4`. Nor does a tag, which may tell a
/// size: `llama3:70b` is another than `llama3`.
fn is_version(asked: &str, rest: &str) -> bool {
    if let Some(tag) = rest.strip_prefix(':') {
        // Bedrock's `titan-text-express-v1` is its `titan-text-express-v1:0`.
        let revision = asked.rsplit_once("-v").map(|(_, revision)| revision);
        return tag == "latest" || (revision.is_some_and(are_digits) && are_digits(tag));
    }
    let Some(version) = rest.strip_prefix('-') else {
        return false;
    };
    let lengths: Vec<_> = version.split('-').map(str::len).collect();
    let is_date = matches!(lengths.as_slice(), [3..=8] | [2, 4] | [4, 2, 2]);
    version == "latest" || (is_date && version.split('-').all(are_digits))
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;
