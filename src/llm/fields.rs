//! Readers for the members of an answer that a judge looks at, which build nothing: a judge wants
//! to know whether a member says anything, not what.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Deserialize, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Fault;

/// Whether a member says anything: it is there and not null, false, `""` or `[]`.
///
/// An object counts, even an empty one; so does a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said(pub(super) bool);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SaidVisitor)
    }
}

struct SaidVisitor;

impl<'de> Visitor<'de> for SaidVisitor {
    type Value = Said;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Said, E> {
        Ok(Said(false))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Said, E> {
        Ok(Said(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Said, E> {
        Ok(Said(!value.is_empty()))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Said, E> {
        Ok(Said(true))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Said, E> {
        Ok(Said(true))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Said, E> {
        Ok(Said(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Said, A::Error> {
        let mut any = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(Said(any))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Said(true))
    }
}

/// What a member says where it is text; otherwise whether it says anything, as [`Said`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// A string; lent where it has no escapes.
    Text(Cow<'a, str>),
    /// Anything else.
    Other(Said),
}

impl Content<'_> {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }

    pub(super) fn is_said(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Other(said) => said.0,
        }
    }
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Other(Said(false))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        SaidVisitor.visit_unit().map(Content::Other)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        SaidVisitor.visit_bool(value).map(Content::Other)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        SaidVisitor.visit_u64(value).map(Content::Other)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        SaidVisitor.visit_i64(value).map(Content::Other)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        SaidVisitor.visit_f64(value).map(Content::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        SaidVisitor.visit_seq(seq).map(Content::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        SaidVisitor.visit_map(map).map(Content::Other)
    }
}

/// Reads a JSON text that must be an object: a derived reader takes an array of its members as well.
pub(super) fn parse_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Fault> {
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(Fault::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| Fault::Malformed)
}

/// More than any API has in one list that a judge looks at. An element takes far more memory than
/// the `{}` that an upstream can write for it.
const MAX_ELEMENTS: usize = 4_096;

/// A list member that may be null. Too long a list is an error before it takes memory.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "null or a list of at most {MAX_ELEMENTS} elements")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            if list.len() >= MAX_ELEMENTS {
                return Err(A::Error::invalid_length(list.len(), &self));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// An object member that may be null.
pub(super) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Implements `Deserialize` for an enum that stands for a string, read by `$read: fn(&str) -> Self`
/// without allocating; null is `$null`, and any other type is an error.
macro_rules! deserialize_word {
    ($type:ty, $null:expr, $read:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Word;
                impl<'de> serde::de::Visitor<'de> for Word {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a string or null")
                    }

                    fn visit_unit<E>(self) -> Result<$type, E> {
                        Ok($null)
                    }

                    fn visit_str<E>(self, word: &str) -> Result<$type, E> {
                        Ok($read(word))
                    }
                }
                d.deserialize_any(Word)
            }
        }
    };
}

pub(super) use deserialize_word;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_says_something_unless_it_is_null_false_or_empty() {
        for (json, said) in [
            ("null", false),
            ("false", false),
            ("true", true),
            ("\"\"", false),
            ("\"x\"", true),
            ("\"\\u0041\"", true),
            ("[]", false),
            ("[null]", true),
            ("{}", true),
            ("{\"a\":[1]}", true),
            ("0", true),
            ("-1.5e3", true),
        ] {
            assert_eq!(
                serde_json::from_str::<Said>(json).unwrap().0,
                said,
                "{json}"
            );
        }
        assert!(serde_json::from_str::<Said>("[1,").is_err());
    }

    #[test]
    fn a_list_may_be_null_and_is_not_read_beyond_its_bound() {
        let read = |json: &str| {
            let mut json = serde_json::Deserializer::from_str(json);
            list::<_, u8>(&mut json).map(|list| list.len())
        };
        assert_eq!(read("null").unwrap(), 0);
        assert_eq!(read("[1,2]").unwrap(), 2);
        let of = |length: usize| format!("[{}]", vec!["1"; length].join(","));
        assert_eq!(read(&of(MAX_ELEMENTS)).unwrap(), MAX_ELEMENTS);
        assert!(read(&of(MAX_ELEMENTS + 1)).is_err());
        assert!(read("{}").is_err());
    }
}
