//! Unknown members, carried over from the pieces of a stream to the whole.
//!
//! A member that comes in pieces must be known by name, because how pieces add up depends on it.
//! Anything else comes once, or again and again with the same value, and is carried over as it is.
//! Equal texts or lists in several pieces are ambiguous: a repeated value, such as a model's name, or
//! pieces that happen to be equal ("ha", "ha"). They count as one repeated value only if several
//! pieces say something, and each of those has the member.

use serde_json::Value;

use super::ConversionError;
use super::tree::{is_blank, set};
use crate::llm::convert::tree::Object;

/// More names than any provider has made up for one message.
const MAX_MEMBERS: usize = 64;

/// Members of pieces.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    members: Vec<Member>,
    /// How many pieces said something.
    pieces: usize,
}

#[derive(Debug)]
struct Member {
    name: String,
    value: Value,
    /// How often it came.
    times: usize,
    /// How often it came with a piece that said something.
    beside: usize,
}

impl Carried {
    /// Takes what a piece has of such members; `says` is whether the piece says something besides.
    ///
    /// # Errors
    /// If one differs from what it was before.
    pub(crate) fn take(
        &mut self,
        unknown: Vec<(String, Value)>,
        says: bool,
    ) -> Result<(), ConversionError> {
        self.pieces = self.pieces.saturating_add(usize::from(says));
        for (name, value) in unknown {
            let position = self.members.iter().position(|member| member.name == name);
            let member = match position {
                Some(position) => self
                    .members
                    .get_mut(position)
                    .ok_or(ConversionError::Malformed)?,
                None if self.members.len() >= MAX_MEMBERS => {
                    return Err(ConversionError::UnknownMember);
                }
                None => self.members.push_mut(Member {
                    name,
                    value: Value::Null,
                    times: 0,
                    beside: 0,
                }),
            };
            if is_blank(&value) {
                if member.value.is_null() {
                    member.value = value;
                }
                continue;
            }
            if is_blank(&member.value) {
                member.value = value;
            } else if member.value != value {
                return Err(ConversionError::UnknownMember);
            }
            member.times = member.times.saturating_add(1);
            member.beside = member.beside.saturating_add(usize::from(says));
        }
        Ok(())
    }

    /// Sets them in the whole.
    ///
    /// # Errors
    /// If one may have come in pieces.
    pub(crate) fn finish(self, whole: &mut Object) -> Result<(), ConversionError> {
        for member in self.members {
            // A single piece that says something cannot show which of the two it is.
            let is_everywhere = self.pieces > 1 && member.beside == self.pieces;
            if may_be_pieces(&member.value) && member.times > 1 && !is_everywhere {
                return Err(ConversionError::UnknownMember);
            }
            if whole.contains_key(&member.name) {
                return Err(ConversionError::Malformed);
            }
            set(whole, &member.name, member.value);
        }
        Ok(())
    }
}

/// Whether it is, or holds, something that can be cut, which numbers and words like true are not.
fn may_be_pieces(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Array(_) => true,
        Value::Object(object) => object.values().any(may_be_pieces),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What pieces come to: each says something if it has `says`.
    fn whole(pieces: &[Value]) -> Result<Value, ConversionError> {
        let mut carried = Carried::default();
        for piece in pieces {
            let mut unknown = piece.as_object().unwrap().clone();
            let says = unknown.remove("says").is_some();
            carried.take(unknown.into_iter().collect(), says)?;
        }
        let mut whole = Object::new();
        carried.finish(&mut whole).map(|()| whole.into())
    }

    #[test]
    fn what_comes_once_or_always_the_same_is_carried_over() {
        for (pieces, expected) in [
            (
                vec![json!({"x": "a"}), json!({"says": 1})],
                json!({"x": "a"}),
            ),
            (
                vec![json!({"says": 1, "x": [1]}), json!({"says": 1})],
                json!({"x": [1]}),
            ),
            (
                vec![
                    json!({"x": null}),
                    json!({"says": 1, "x": "a"}),
                    json!({"says": 1, "x": "a"}),
                    json!({"x": "a"}),
                ],
                json!({"x": "a"}),
            ),
            (
                vec![
                    json!({"x": {"a": true}}),
                    json!({"says": 1}),
                    json!({"x": {"a": true}}),
                ],
                json!({"x": {"a": true}}),
            ),
            (
                vec![
                    json!({"says": 1, "x": {"a": "b"}}),
                    json!({"says": 1, "x": {"a": "b"}}),
                ],
                json!({"x": {"a": "b"}}),
            ),
            (
                vec![json!({"x": 1}), json!({"x": 1}), json!({"x": ""})],
                json!({"x": 1}),
            ),
            (vec![json!({"x": ""}), json!({"x": null})], json!({"x": ""})),
        ] {
            assert_eq!(whole(&pieces), Ok(expected), "{pieces:?}");
        }
    }

    #[test]
    fn what_may_be_pieces_of_one_is_refused() {
        for pieces in [
            vec![json!({"x": "a"}), json!({"x": "b"})],
            vec![json!({"x": 1}), json!({"x": 2})],
            vec![json!({"x": {"a": "b"}}), json!({"x": {"a": "c"}})],
            // The same by chance.
            vec![json!({"x": "ha"}), json!({"x": "ha"})],
            vec![json!({"x": "ha"}), json!({"x": "ha"}), json!({"says": 1})],
            vec![
                json!({"says": 1, "x": "ha"}),
                json!({"x": "ha"}),
                json!({"says": 1}),
            ],
            vec![json!({"x": [1]}), json!({"says": 1}), json!({"x": [1]})],
            vec![json!({"says": 1, "x": "ha"}), json!({"x": "ha"})],
            vec![json!({"x": {"text": "ha"}}), json!({"x": {"text": "ha"}})],
            vec![
                json!({"x": {"y": {"z": [1]}}}),
                json!({"says": 1}),
                json!({"x": {"y": {"z": [1]}}}),
            ],
        ] {
            assert_eq!(
                whole(&pieces),
                Err(ConversionError::UnknownMember),
                "{pieces:?}"
            );
        }
        let many: Object = (0..=MAX_MEMBERS)
            .map(|n| (n.to_string(), Value::Null))
            .collect();
        assert_eq!(whole(&[many.into()]), Err(ConversionError::UnknownMember));
    }
}
