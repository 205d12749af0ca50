//! Any other API that answers a POST with one JSON document: for rules that name it, since no path
//! tells it. Reranking, moderation, embeddings of other shapes.
//!
//! Nothing is known of its finish values: an answer is whole when it parses and is no error
//! object.

use super::fields::{self, Content, Said, read_members};
use super::judge::Document;
use super::meaning::{Meaning, Says};
use super::usage;
use super::{Answer, Ask, Fault, Finish, Form, Framing, Judge, Lossy, Protocol, Unfit};
use super::{json_or_sse, number_member};
use crate::json::{Canonical, Malformed, Read, Reader};

/// Only by its name.
pub(super) struct Json;

impl Protocol for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn owns(&self, _path: &[u8]) -> bool {
        false
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<Ask, Unfit> {
        Ok(Ask {
            form: Some(Form::json()),
            temperature: body.and_then(|body| number_member(body, "temperature")),
            ..Ask::unreadable()
        })
    }

    /// A `stream` in the request is in the key like any member; a stream in answer has no framing.
    fn framing(&self, _ask: &Ask, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type).filter(|framing| *framing == Framing::Json)
    }

    fn judge(&self, _ask: &Ask, _framing: Framing) -> Box<dyn Judge> {
        Box::new(Document(judge))
    }

    /// Where the APIs that are known for it report counts: `usage` (OpenAI and its like, Jina,
    /// Voyage), `meta` (Cohere).
    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, Lossy> {
        match form.framing {
            Framing::Json => {
                usage::zero_places(answer, &["/usage", "/meta/billed_units", "/meta/tokens"])
            }
            _ => Err(Lossy::Unsupported),
        }
    }

    fn meaning(&self) -> &'static Meaning {
        &MEANING
    }
}

fn judge(json: &[u8]) -> Result<Answer, Fault> {
    let empty = match json.trim_ascii_start().first() {
        Some(b'{') => {
            let object: Object = fields::parse_object(json)?;
            let is_error =
                object.error.0 || object.object == Word::Error || object.r#type == Word::Error;
            if is_error {
                return Err(Fault::Error);
            }
            is_empty_object(json)
        }
        _ => {
            let mut said = Said::default();
            Reader::whole(json, &mut said).map_err(|Malformed| Fault::Malformed)?;
            !said.0
        }
    };
    Ok(Answer {
        finish: Finish::Complete,
        empty,
        marked_end: true,
    })
}

/// Of what parses as an object.
fn is_empty_object(json: &[u8]) -> bool {
    let inner = json.trim_ascii().strip_prefix(b"{").unwrap_or_default();
    inner.trim_ascii_start().starts_with(b"}")
}

/// An answer that is an object, as far as the judge looks.
#[derive(Default)]
struct Object {
    error: Said,
    object: Word,
    r#type: Word,
}

read_members!(Object: error, object, r#type as "type");

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Word {
    #[default]
    Other,
    Error,
}

/// Any value: what these members hold is the API's affair.
impl<'a> Read<'a> for Word {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        let mut word = Content::default();
        word.read(json)?;
        *self = match word.as_str() {
            Some("error") => Self::Error,
            _ => Self::Other,
        };
        Ok(())
    }
}

/// The whole document but for what most APIs draw anew for each answer.
static MEANING: Meaning = Meaning {
    said: &[("", &[Says::AllBut(&["id", "created", "usage", "meta"])])],
    usage: &["/usage", "/meta"],
    tokens: &[
        &["/total_tokens"],
        &["/prompt_tokens", "/completion_tokens"],
        &["/tokens/input_tokens", "/tokens/output_tokens"],
        &["/billed_units/input_tokens", "/billed_units/output_tokens"],
    ],
    usage_event: None,
};

#[cfg(test)]
mod tests;
