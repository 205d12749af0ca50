//! JSON pointers (RFC 6901), with a wildcard: places in request bodies that the key sees otherwise.

use std::fmt;

use super::string::push_char;

/// Places in a JSON text: a JSON pointer (RFC 6901) other than the empty one, in which `*` stands
/// for every name and every index. One that leads nowhere has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    pub(super) tokens: Vec<Token>,
}

impl Pointer {
    /// Parses the string form, for example `/metadata/trace_id` or `/input/*/id`. In a token, `~1`
    /// stands for `/`, `~0` for `~` and, which RFC 6901 does not have, `~2` for a `*` of a name.
    ///
    /// # Errors
    /// If it is not such a pointer.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Err(PointerError::WholeBody);
        }
        let tokens = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        Ok(Self {
            text: text.to_owned(),
            tokens: tokens
                .split('/')
                .map(Token::parse)
                .collect::<Result<_, _>>()?,
        })
    }

    /// The string form.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Why a string is not a [`Pointer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerError {
    /// The empty pointer means the whole text; without it all requests are equal.
    WholeBody,
    /// A pointer starts with a slash.
    NoSlash,
    /// A `~` is followed by none of `0`, `1` and `2`.
    BadEscape,
    /// A `*` has something beside it.
    PartialWildcard,
}

impl fmt::Display for PointerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WholeBody => {
                "is empty and would exclude the whole body, name a member such as /user"
            }
            Self::NoSlash => "is not a JSON pointer, start it with /",
            Self::BadEscape => "has a ~ without 0, 1 or 2, write ~0 for ~, ~1 for / and ~2 for *",
            Self::PartialWildcard => {
                "has a * within a name, but * stands for a whole one; write ~2 for * in a name"
            }
        })
    }
}

impl std::error::Error for PointerError {}

/// One step of a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Every member and every element.
    Any,
    /// One of them.
    One {
        /// As a canonical member name, with its quotes.
        name: Vec<u8>,
        /// As an array index: digits without leading zeros.
        index: Option<usize>,
    },
}

impl Token {
    fn parse(token: &str) -> Result<Self, PointerError> {
        if token == "*" {
            return Ok(Self::Any);
        }
        if token.contains('*') {
            return Err(PointerError::PartialWildcard);
        }
        if token
            .split('~')
            .skip(1)
            .any(|after| !after.starts_with(['0', '1', '2']))
        {
            return Err(PointerError::BadEscape);
        }
        // `~0` last: `~01` means `~1`.
        let token = token
            .replace("~2", "*")
            .replace("~1", "/")
            .replace("~0", "~");
        let mut name = vec![b'"'];
        token.chars().for_each(|c| push_char(&mut name, c));
        name.push(b'"');
        let index = token
            .parse()
            .ok()
            .filter(|index: &usize| index.to_string() == token);
        Ok(Self::One { name, index })
    }

    /// Whether it leads to every member and every element.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether it leads to the object member with this canonical name.
    pub(super) fn names(&self, member: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::One { name, .. } => name == member,
        }
    }

    /// Whether it leads to this element of an array, counted from 0.
    pub(super) fn indexes(&self, element: usize) -> bool {
        match self {
            Self::Any => true,
            Self::One { index, .. } => *index == Some(element),
        }
    }
}
