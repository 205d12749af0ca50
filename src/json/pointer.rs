//! JSON pointers (RFC 6901): the places configuration leaves out of the key.

use std::fmt;

use super::string::push_char;

/// A place in a JSON text to leave out of its canonical form: a JSON pointer
/// (RFC 6901) other than the empty one. One that leads nowhere has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<Token>,
}

impl Pointer {
    /// Parses the string form, for example `/metadata/trace_id`. In a token,
    /// `~1` stands for `/` and `~0` for `~`.
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

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }
}

/// Why a string is not a [`Pointer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerError {
    /// The empty pointer means the whole text; without it all requests are equal.
    WholeBody,
    /// A pointer starts with a slash.
    NoSlash,
    /// A `~` is followed by neither `0` nor `1`.
    BadEscape,
}

impl fmt::Display for PointerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WholeBody => {
                "is empty and would exclude the whole body, name a member such as /user"
            }
            Self::NoSlash => "is not a JSON pointer, start it with /",
            Self::BadEscape => "has a ~ that is neither ~0 nor ~1, write ~0 for ~ and ~1 for /",
        })
    }
}

impl std::error::Error for PointerError {}

/// Follows the pointers one step: whether one of them ends here, and what is
/// left of those that lead on.
pub(super) fn follow<'p>(
    exclude: &[&'p [Token]],
    is_here: impl Fn(&Token) -> bool,
) -> (bool, Vec<&'p [Token]>) {
    let here = exclude
        .iter()
        .filter_map(|tokens| tokens.split_first())
        .filter(|(token, _)| is_here(token));
    let below: Vec<&[Token]> = here.map(|(_, below)| below).collect();
    (below.iter().any(|tokens| tokens.is_empty()), below)
}

/// One step of a [`Pointer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// As a canonical member name, with its quotes.
    name: Vec<u8>,
    /// As an array index: digits without leading zeros.
    index: Option<usize>,
}

impl Token {
    fn parse(token: &str) -> Result<Self, PointerError> {
        if token
            .split('~')
            .skip(1)
            .any(|after| !after.starts_with(['0', '1']))
        {
            return Err(PointerError::BadEscape);
        }
        // In this order: `~01` means `~1`.
        let token = token.replace("~1", "/").replace("~0", "~");
        let mut name = vec![b'"'];
        token.chars().for_each(|c| push_char(&mut name, c));
        name.push(b'"');
        let index = token
            .parse()
            .ok()
            .filter(|index: &usize| index.to_string() == token);
        Ok(Self { name, index })
    }

    /// Whether it leads to the object member with this canonical name.
    pub(super) fn names(&self, name: &[u8]) -> bool {
        self.name == name
    }

    /// Whether it leads to this element of an array, counted from 0.
    pub(super) fn indexes(&self, index: usize) -> bool {
        self.index == Some(index)
    }
}
