//! Whether a list of embeddings is whole.

use crate::json::{Malformed, Read, Reader};
use crate::llm::scan::{self, Said, Text, read_members};
use crate::llm::{NotWhole, RequestTraits, Verdict};

/// How many embeddings there must be.
#[derive(Clone, Copy)]
pub(in crate::llm) struct Inputs {
    least: u32,
    exact: bool,
}

impl Inputs {
    pub(in crate::llm) fn of(traits: &RequestTraits) -> Self {
        Self {
            least: traits.choices,
            // The inputs of a body that cannot be read are not known.
            exact: traits.form.is_some(),
        }
    }

    pub(in crate::llm) fn least(self) -> u32 {
        self.least
    }

    fn fit(self, count: usize) -> bool {
        let least = usize::try_from(self.least).unwrap_or(usize::MAX);
        match self.exact {
            true => count == least,
            false => count >= least,
        }
    }
}

pub(in crate::llm) fn judge(json: &[u8], inputs: Inputs) -> Result<Verdict, NotWhole> {
    let list: List<'_> = scan::parse_object(json)?;
    if list.error.0 || list.object.is("error") {
        return Err(NotWhole::Error);
    }
    let is_none = |embedding: &Embedding| embedding.index.is_none() || !embedding.vector.0;
    if list.data.iter().any(is_none) {
        return Err(NotWhole::Malformed);
    }
    let count = list.data.len();
    if !inputs.fit(count) {
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
    Ok(Verdict::complete(false))
}

/// The answer, as far as the judge looks.
#[derive(Default)]
struct List<'a> {
    error: Said,
    object: Text<'a>,
    data: Vec<Embedding>,
}

read_members!(List<'a>: error, object, data);

#[derive(Default)]
struct Embedding {
    index: Option<u64>,
    vector: Vector,
}

read_members!(Embedding: index, vector as "embedding");

/// Whether there is a vector: a list of numbers, or its base64, with something in it.
#[derive(Default)]
pub(in crate::llm) struct Vector(pub(in crate::llm) bool);

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

/// Whether it is base64 of whole floats of four bytes, which OpenAI's client decodes. Where another
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
