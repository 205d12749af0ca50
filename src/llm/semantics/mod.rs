//! What a client acts on in an answer, so that two answers can be told to say the same.
//!
//! Compared are the text and the refusals of each choice, its tool calls and why it finished, and
//! the vectors of embeddings:
//! - Text in pieces adds up: where a list of contents is cut says nothing.
//! - A tool call is its name and its arguments, as JSON where they are text of it. Its id is drawn
//!   anew with every answer.
//! - Numbers are compared exactly, by value: `1.0` is `1`, and so are vectors.
//! - Null, `""`, `[]` and what is absent are the same.
//! - Elements with an `index` come in its order.
//!
//! Not compared is what differs between two runs of the same answer or only accompanies it: ids,
//! times, models and fingerprints, usage, log probabilities, service tiers, signatures, citations,
//! safety ratings; and reasoning, which a provider shows in full, as a summary, or encrypted.

use serde_json::{Number, Value};

use crate::json;
use crate::llm::ConversionError;
use crate::llm::convert::tree::{Object, is_blank, positions_in_order, push_json};

/// What of an API's answers carries meaning.
///
/// A path here is a JSON pointer (RFC 6901, without escapes) in which `*` stands for each element
/// of a list, except reasoning. A path that leads nowhere is no error, so one
/// description serves answers of several shapes.
pub(super) struct Semantics {
    /// What the objects at a path in a JSON answer say, each for itself: in each choice, say.
    pub(super) said: &'static [(&'static str, &'static [Says])],
    /// An event that reports usage: before a stream without any, which has no JSON form, it makes
    /// a stream that has one.
    pub(super) usage_event: Option<&'static [u8]>,
}

/// Something that an object in an answer says.
pub(super) enum Says {
    /// The strings at these paths, one after the other.
    Text(&'static [&'static str]),
    /// What is at this path, as it is.
    Value(&'static str),
    /// The tool calls at the first path, for those that have a name at the second one. The
    /// arguments are at one of the others.
    Calls(&'static str, &'static str, &'static [&'static str]),
    /// The object itself, without these members.
    AllBut(&'static [&'static str]),
}

impl Semantics {
    /// What a JSON answer says, spelled so that equal bytes mean the same.
    ///
    /// # Errors
    /// [`ConversionError::UnknownMember`] if nothing of what it says is known here: any two such answers
    /// would be alike.
    pub(super) fn of(&self, json: &[u8]) -> Result<Vec<u8>, ConversionError> {
        let answer = json::parse(json).map_err(|_| ConversionError::Malformed)?;
        let mut out = Vec::new();
        let mut any = false;
        for (path, said) in self.said {
            push_json(&mut out, path)?;
            for object in values_at(&answer, path) {
                for said in *said {
                    out.push(b'\n');
                    let before = out.len();
                    said.write(object, &mut out)?;
                    any |= out.len() > before;
                }
            }
            out.push(b'\n');
        }
        any.then_some(out).ok_or(ConversionError::UnknownMember)
    }
}

impl Says {
    /// Appends it in one line, or nothing.
    fn write(&self, object: &Value, out: &mut Vec<u8>) -> Result<(), ConversionError> {
        match self {
            Self::Text(paths) => {
                let texts = paths.iter().flat_map(|path| values_at(object, path));
                let text: String = texts.filter_map(Value::as_str).collect();
                if !text.is_empty() {
                    push_json(out, &text)?;
                }
            }
            Self::Value(path) => {
                for value in values_at(object, path) {
                    if !is_blank(value) {
                        write(value, out)?;
                        out.push(b',');
                    }
                }
            }
            Self::Calls(calls, name, arguments) => {
                for call in values_at(object, calls) {
                    if let Some(name) = values_at(call, name).first() {
                        write(name, out)?;
                        out.push(b':');
                        let mut found = arguments.iter().flat_map(|path| values_at(call, path));
                        write_arguments(found.find(|value| !is_blank(value)), out)?;
                        out.push(b',');
                    }
                }
            }
            Self::AllBut(names) => {
                if let Value::Object(members) = object {
                    for (name, value) in members {
                        if !names.contains(&name.as_str()) {
                            write_member(name, value, out)?;
                        }
                    }
                } else if !is_blank(object) {
                    write(object, out)?;
                }
            }
        }
        Ok(())
    }
}

/// What a path leads to.
fn values_at<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let steps = path.split('/').skip(1);
    steps.fold(vec![value], |found, step| match step {
        "*" => found.into_iter().flat_map(elements).collect(),
        name => (found.into_iter())
            .filter_map(|value| value.get(name))
            .collect(),
    })
}

/// The elements of a list without reasoning, in the order of their indexes.
fn elements(list: &Value) -> Vec<&Value> {
    let elements = list.as_array().into_iter().flatten();
    let elements: Vec<_> = elements.filter(|element| !is_reasoning(element)).collect();
    let index = |element: &&Value| element.get("index").and_then(Value::as_u64);
    let positions = positions_in_order(&mut elements.iter().map(index));
    let element = |position: usize| elements.get(position).copied();
    positions.into_iter().filter_map(element).collect()
}

/// An output item of OpenAI's Responses, or a part of Gemini's. Where others have reasoning, no
/// path leads.
fn is_reasoning(element: &Value) -> bool {
    element.get("type").and_then(Value::as_str) == Some("reasoning")
        || element.get("thought") == Some(&Value::Bool(true))
}

/// Writes arguments as JSON: some APIs have it as text. None are those of a call without any.
fn write_arguments(arguments: Option<&Value>, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    let text = arguments.and_then(Value::as_str);
    match text.and_then(|text| json::parse(text.as_bytes()).ok()) {
        Some(parsed) => write(&parsed, out),
        None => write(arguments.unwrap_or(&Object::new().into()), out),
    }
}

/// Writes a value so that values which mean the same have the same bytes. The members of an object are in the
/// order of their names already.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    match value {
        Value::Number(number) => out.extend_from_slice(plain(number).as_bytes()),
        Value::Array(list) => {
            out.push(b'[');
            for element in list {
                write(element, out)?;
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (name, value) in members {
                write_member(name, value, out)?;
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => push_json(out, value)?,
    }
    Ok(())
}

fn write_member(name: &str, value: &Value, out: &mut Vec<u8>) -> Result<(), ConversionError> {
    push_json(out, &name)?;
    out.push(b':');
    write(value, out)?;
    out.push(b',');
    Ok(())
}

/// The digits of a number without zeros around them, and the power of ten that they are times:
/// `12e-1` for `1.20`. Exact, unlike a `f64`. A number whose power does not fit an `i64` stays as it is.
fn plain(number: &Number) -> String {
    let text = number.to_string();
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", text.as_str()),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len().saturating_sub(significant.len());
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let length = |length: usize| i64::try_from(length).ok();
    let power = || {
        let exponent: i64 = exponent.parse().ok()?;
        exponent
            .checked_sub(length(fraction.len())?)?
            .checked_add(length(zeros)?)
    };
    match power() {
        Some(power) => format!("{sign}{significant}e{power}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
