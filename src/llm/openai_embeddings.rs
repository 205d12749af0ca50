//! Embeddings and their dialects: OpenAI, Azure, Mistral, vLLM and the rest.
//!
//! Source: the OpenAI API reference, "Embeddings" (`POST /v1/embeddings`, object `embedding`). An
//! answer is one JSON document, never a stream. It is whole with one embedding per input, each
//! with its index.

use super::anew::{Attribution, OPENAI_ATTRIBUTION};
use super::fields::{self, Said, read_members, read_word};
use super::json_or_sse;
use super::judge::Document;
use super::ollama::Ollama;
use super::semantics::{OPENAI_TOKENS, Says, Semantics};
use super::usage;
use super::{
    ConversionError, Finish, FinishWords, Form, Framing, Judge, NotWhole, Protocol, RequestTraits,
    Unfit, Verdict,
};
use crate::json::{Canonical, Malformed, Read, Reader};

/// `POST .../embeddings`.
pub(super) struct OpenaiEmbeddings;

impl Protocol for OpenaiEmbeddings {
    fn name(&self) -> &'static str {
        "openai_embeddings"
    }

    fn owns(&self, path: &[u8]) -> bool {
        path.ends_with(b"/embeddings") && !Ollama.owns(path)
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        Ok(RequestTraits {
            form: Some(Form::json()),
            choices: inputs(body),
            temperature: None,
            server_tools: false,
        })
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type).filter(|framing| *framing == Framing::Json)
    }

    fn judge_by(
        &self,
        ask: &RequestTraits,
        _framing: Framing,
        _words: &FinishWords,
    ) -> Box<dyn Judge> {
        let inputs = Inputs::of(ask);
        Box::new(Document(move |json: &[u8]| judge(json, inputs)))
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        match form.framing {
            Framing::Json => usage::zero_document(answer, &["/usage"]),
            _ => Err(ConversionError::Unsupported),
        }
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

/// How many embeddings `input` asks for: one for a text or for a list of tokens, and one for each
/// element of any other list. An `input` of another shape is an error for the provider to tell.
pub(super) fn inputs(body: &Canonical) -> u32 {
    // Canonical JSON has no white space.
    match body.member("input") {
        Some(list @ [b'[', b'"' | b'[' | b'{', ..]) => fields::count_elements(list).unwrap_or(1),
        _ => 1,
    }
}

/// How many embeddings there must be.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    least: usize,
    exact: bool,
}

impl Inputs {
    pub(super) fn of(ask: &RequestTraits) -> Self {
        Self {
            least: usize::try_from(ask.choices).unwrap_or(usize::MAX),
            // The inputs of a body that cannot be read are not known.
            exact: ask.form.is_some(),
        }
    }
}

pub(super) fn judge(json: &[u8], inputs: Inputs) -> Result<Verdict, NotWhole> {
    let list: List = fields::parse_object(json)?;
    if list.error.0 || list.object == Object::Error {
        return Err(NotWhole::Error);
    }
    let is_none = |embedding: &Embedding| embedding.index.is_none() || !embedding.vector.0;
    if list.data.iter().any(is_none) {
        return Err(NotWhole::Malformed);
    }
    let count = list.data.len();
    let fits = if inputs.exact {
        count == inputs.least
    } else {
        count >= inputs.least
    };
    if !fits {
        return Err(NotWhole::Choices);
    }
    // As many different ones below the count as there are: each once.
    let mut seen = vec![false; count];
    for embedding in &list.data {
        let index = embedding.index.unwrap_or_default();
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match seen.get_mut(index) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(NotWhole::Choices),
        }
    }
    Ok(Verdict {
        finish: Finish::Complete,
        empty: false,
        marked_end: true,
    })
}

/// The answer, as far as the judge looks.
#[derive(Default)]
struct List {
    error: Said,
    object: Object,
    data: Vec<Embedding>,
}

read_members!(List: error, object, data);

#[derive(Default)]
struct Embedding {
    index: Option<u64>,
    vector: Vector,
}

read_members!(Embedding: index, vector as "embedding");

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Object {
    #[default]
    Other,
    Error,
}

read_word!(Object, Object::Other, |word| match word {
    "error" => Object::Error,
    _ => Object::Other,
});

/// Whether there is a vector: a list of numbers, or its base64, with something in it.
#[derive(Default)]
pub(super) struct Vector(pub(super) bool);

impl<'a> Read<'a> for Vector {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.peek() == Some(b'"') {
            self.0 = is_base64(&json.string()?);
        } else {
            json.each_element(&mut |json| {
                self.0 = true;
                json.finite()
            })?;
        }
        self.0.then_some(()).ok_or(Malformed)
    }
}

/// Of as many bytes as floats of four bytes have, which OpenAI's client makes of them. Where another
/// type was asked for, the length of a vector is a multiple of four all the same.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padding = text.len().saturating_sub(digits.len());
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    let bytes = (text.len() / 4 * 3).saturating_sub(padding);
    !digits.is_empty()
        && bytes.is_multiple_of(4)
        && text.len().is_multiple_of(4)
        && padding <= 2
        && digits.bytes().all(is_digit)
}

static SEMANTICS: Semantics = Semantics {
    said: &[("/data/*", &[Says::Value("/embedding")])],
    usage: &["/usage"],
    tokens: OPENAI_TOKENS,
    usage_event: None,
};

#[cfg(test)]
mod tests;
