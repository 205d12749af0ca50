//! Reading members of requests and answers without building a tree. The types here keep no more than
//! is needed: a judge wants to know whether a member says anything, not what.

use std::borrow::Cow;

use super::NotWhole;
use crate::json::{Malformed, Read, Reader};

/// Whether a member says anything: it is there and not null, false, `""` or `[]`.
///
/// An object counts, even an empty one; so does a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said(pub(super) bool);

impl<'a> Read<'a> for Said {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'"') => self.0 = !json.string()?.is_empty(),
            Some(b'[') => {
                self.0 = false;
                json.each_element(&mut |json| {
                    self.0 = true;
                    json.skip()
                })?;
            }
            first => {
                self.0 = !matches!(first, Some(b'n' | b'f'));
                json.skip()?;
            }
        }
        Ok(())
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

/// Text or null, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(super) fn is_said(&self) -> bool {
        self.as_str().is_some_and(|text| !text.is_empty())
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.as_str() == Some(word)
    }
}

impl<'a> Read<'a> for Text<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        self.0 = match json.null()? {
            true => None,
            false => Some(json.string()?),
        };
        Ok(())
    }
}

/// Text, a list of objects, or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TextOrParts<'a>(Content<'a>);

impl TextOrParts<'_> {
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_str()
    }

    pub(super) fn is_said(&self) -> bool {
        self.0.is_said()
    }
}

impl<'a> Read<'a> for TextOrParts<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.peek() != Some(b'[') {
            let mut text = Text::default();
            text.read(json)?;
            self.0 = text.0.map_or_else(Content::default, Content::Text);
            return Ok(());
        }
        let mut any = false;
        json.each_element(&mut |json| {
            any = true;
            match json.peek() {
                Some(b'{') => json.skip(),
                _ => Err(Malformed),
            }
        })?;
        self.0 = Content::Other(Said(any));
        Ok(())
    }
}

/// The arguments of a call: JSON text, an object, or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments<'a>(Text<'a>);

impl Arguments<'_> {
    /// `None` where they are no text, and so have been parsed already.
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_str()
    }
}

impl<'a> Read<'a> for Arguments<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'{') => json.skip(),
            _ => self.0.read(json),
        }
    }
}

/// The arguments of a call where an API has them as an object, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ArgumentsObject {
    pub(super) is_there: bool,
}

impl<'a> Read<'a> for ArgumentsObject {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        self.is_there = json.peek() == Some(b'{');
        match self.is_there || json.peek() == Some(b'n') {
            true => json.skip(),
            false => Err(Malformed),
        }
    }
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Other(Said(false))
    }
}

impl<'a> Read<'a> for Content<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.peek() == Some(b'"') {
            *self = Self::Text(json.string()?);
            return Ok(());
        }
        let mut said = Said::default();
        said.read(json)?;
        *self = Self::Other(said);
        Ok(())
    }
}

/// How long a list is, and whether each of its elements says something; null is an empty one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) length: usize,
    pub(super) all_said: bool,
}

impl Default for Listed {
    fn default() -> Self {
        Self {
            length: 0,
            all_said: true,
        }
    }
}

impl<'a> Read<'a> for Listed {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.null()? {
            return Ok(());
        }
        json.each_element(&mut |json| {
            let mut said = Said::default();
            said.read(json)?;
            self.length = self.length.saturating_add(1);
            self.all_said &= said.0;
            Ok(())
        })
    }
}

/// How many elements a list has, as JSON.
pub(super) fn count_elements(json: &[u8]) -> Option<u32> {
    let mut list = Listed::default();
    Reader::whole(json, &mut list).ok()?;
    u32::try_from(list.length).ok()
}

/// Reads a JSON text that must be an object.
pub(super) fn parse_object<'a, T: Read<'a> + Default>(json: &'a [u8]) -> Result<T, NotWhole> {
    let mut object = T::default();
    read_object(json, &mut object)?;
    Ok(object)
}

fn read_object<'a>(json: &'a [u8], object: &mut dyn Read<'a>) -> Result<(), NotWhole> {
    // Otherwise null would do.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(NotWhole::Malformed);
    }
    Reader::whole(json, object).map_err(|Malformed| NotWhole::Malformed)
}

/// More than any API has in one list that a judge looks at. An element takes far more memory than
/// the `{}` that an upstream can write for it.
const MAX_ELEMENTS: usize = 4_096;

/// A list member that may be null. Too long a list is an error before it takes memory.
impl<'a, T: Read<'a> + Default> Read<'a> for Vec<T> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        each_object(json, &mut |json| {
            if self.len() >= MAX_ELEMENTS {
                return Err(Malformed);
            }
            json.keep()?;
            self.push_mut(T::default()).read(json)
        })
    }
}

/// Reads a list of objects that may be null, but not hold null: `take` reads each.
pub(super) fn each_object<'a>(
    json: &mut Reader<'a>,
    take: &mut dyn FnMut(&mut Reader<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if json.null()? {
        return Ok(());
    }
    json.each_element(&mut |json| match json.peek() {
        Some(b'n') => Err(Malformed),
        _ => take(json),
    })
}

/// Whether a JSON text is a list of objects of this type, and `holds` is true of each.
pub(super) fn all_objects<'a, T: Read<'a> + Default>(
    json: &'a [u8],
    holds: fn(&T) -> bool,
) -> bool {
    let mut all = json.starts_with(b"[");
    let mut json = Reader::new(json);
    let read = each_object(&mut json, &mut |json| {
        let mut object = T::default();
        object.read(json)?;
        all &= holds(&object);
        Ok(())
    });
    all && read.and_then(|()| json.end()).is_ok()
}

/// Implements [`Read`] for a struct: its members by the names of its fields, or by those given. An
/// object or null, which leaves all members as they are.
macro_rules! read_members {
    ($type:ident: $($members:tt)*) => {
        impl<'a> $crate::json::Read<'a> for $type {
            $crate::llm::scan::read_members!(@read 'a $($members)*);
        }
    };
    ($type:ident<$a:lifetime>: $($members:tt)*) => {
        impl<$a> $crate::json::Read<$a> for $type<$a> {
            $crate::llm::scan::read_members!(@read $a $($members)*);
        }
    };
    (@read $a:lifetime $($field:ident $(as $name:literal)?),* $(,)?) => {
        fn read(
            &mut self,
            json: &mut $crate::json::Reader<$a>,
        ) -> Result<(), $crate::json::Malformed> {
            // All of them: a field that is not named does not compile.
            let Self { $($field),* } = self;
            json.members(&mut [
                $(($crate::llm::scan::read_members!(@name $field $($name)?), $field)),*
            ])
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}

pub(super) use read_members;

/// Implements [`Read`] for an enum that stands for a string, read by `$read: fn(&str) -> Self`
/// without allocating; null is `$null`, and any other type is an error.
macro_rules! read_word {
    ($type:ty, $null:expr, $read:expr) => {
        impl<'a> $crate::json::Read<'a> for $type {
            fn read(
                &mut self,
                json: &mut $crate::json::Reader<'a>,
            ) -> Result<(), $crate::json::Malformed> {
                let read: fn(&str) -> Self = $read;
                *self = match json.null()? {
                    true => $null,
                    false => read(&json.string()?),
                };
                Ok(())
            }
        }
    };
}

pub(super) use read_word;

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
            let mut read = Said::default();
            assert_eq!(Reader::whole(json.as_bytes(), &mut read), Ok(()), "{json}");
            assert_eq!(read.0, said, "{json}");
        }
        assert!(Reader::whole(b"[1,", &mut Said::default()).is_err());
    }

    #[derive(Default)]
    struct Object;

    read_members!(Object:);

    #[derive(Default)]
    struct Nested {
        list: Vec<Object>,
    }

    read_members!(Nested: list);

    #[test]
    fn lists_in_lists_are_not_read_beyond_a_bound_of_all_together() {
        let read = |lists: usize| {
            let nested = format!("{{\"list\":[{}]}}", vec!["{}"; 1_000].join(","));
            let json = format!("[{}]", vec![nested.as_str(); lists].join(","));
            let mut list = Vec::<Nested>::new();
            Reader::whole(json.as_bytes(), &mut list).map(|()| list.last().map(|l| l.list.len()))
        };
        assert_eq!(read(65), Ok(Some(1_000)));
        assert_eq!(read(66), Err(Malformed));
    }

    #[test]
    fn a_list_may_be_null_and_is_not_read_beyond_its_bound() {
        let read = |json: &str| {
            let mut list = Vec::<Object>::new();
            Reader::whole(json.as_bytes(), &mut list).map(|()| list.len())
        };
        assert_eq!(read("null"), Ok(0));
        assert_eq!(read("[{},{\"a\":1}]"), Ok(2));
        let of = |length: usize| format!("[{}]", vec!["{}"; length].join(","));
        assert_eq!(read(&of(MAX_ELEMENTS)), Ok(MAX_ELEMENTS));
        for bad in [&of(MAX_ELEMENTS + 1), "{}", "[null]", "[1]"] {
            assert_eq!(read(bad), Err(Malformed), "{bad}");
        }
    }
}
