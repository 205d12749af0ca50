//! What a cache key does not see of a body, or sees otherwise: places that are left out, parts of
//! texts that are masked, and ids that are told apart by the order of their first appearance.

use std::collections::BTreeMap;
use std::fmt;

use super::Pointer;

/// Stands in a canonical form for what is not there: an element that is left out, a part of a text
/// that is masked. JSON has this byte nowhere, so that nothing a body says looks like it.
pub(super) const GONE: u8 = 0;

/// Stands before the number of an id, likewise.
pub(super) const NUMBER: u8 = 1;

/// One thing that a canonical form has otherwise than the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where.
    pub at: Pointer,
    /// What.
    pub change: Change,
}

/// What is done at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is left out.
    Remove,
    /// Of a text, a part is masked.
    Mask(Mask),
    /// An id of a call, or the like, is written as a number.
    Number(IdPlace),
}

/// What an id is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPlace {
    /// Whether what it names stands here.
    pub role: Role,
    /// It is one only where the member `type` beside it is one of these; anywhere, if there are
    /// none.
    pub types: &'static [&'static str],
}

/// What an id does at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It names what stands here.
    Names,
    /// It refers to what has been named before in the same body. Where it has not, what it refers
    /// to is elsewhere, and the id stays as it is.
    Refers,
}

/// A part of a text that takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    scope: Scope,
    before: String,
    after: String,
}

/// What a mask is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Whole lines.
    Line,
    /// Every part of a line.
    Part,
}

impl Scope {
    /// The word for it in configuration and keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Part => "part",
        }
    }
}

/// Why a text is no pattern of a [`Mask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskError {
    /// It has no `*`, or several.
    NotOneStar,
    /// Nothing says where what is masked begins.
    NothingBefore,
    /// It goes over the end of a line.
    LineBreak,
}

impl fmt::Display for MaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOneStar => "must have one *, which stands for what is masked",
            Self::NothingBefore => {
                "must have a text before its *, so that not everything is masked"
            }
            Self::LineBreak => "must be within one line",
        })
    }
}

impl std::error::Error for MaskError {}

impl Mask {
    /// Parses a text with one `*`, which stands for what is masked: of a line that is as the
    /// pattern says, or of what is between the two texts in any line, up to its end where there is
    /// no second text.
    ///
    /// # Errors
    /// If it is not such a text.
    pub fn parse(scope: Scope, pattern: &str) -> Result<Self, MaskError> {
        let (before, after) = pattern.split_once('*').ok_or(MaskError::NotOneStar)?;
        if after.contains('*') {
            return Err(MaskError::NotOneStar);
        }
        if before.is_empty() {
            return Err(MaskError::NothingBefore);
        }
        if pattern.contains(['\n', '\r', '\0']) {
            return Err(MaskError::LineBreak);
        }
        Ok(Self {
            scope,
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// What it is held against.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// What is before and after the part that is masked.
    pub fn texts(&self) -> [&str; 2] {
        [&self.before, &self.after]
    }

    /// The text with what is masked as [`GONE`]; `None` if nothing is. The text has no such
    /// character of its own.
    pub(super) fn apply(&self, text: &str) -> Option<String> {
        if !text.contains(&self.before) {
            return None;
        }
        let mut out = String::with_capacity(text.len());
        let mut masked = false;
        let mut rest = text;
        // What is between the lines that say it is copied at once, however many lines that is.
        while let Some((before, _)) = rest.split_once(&self.before) {
            let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
            let (skipped, from) = rest.split_at_checked(start).unwrap_or((rest, ""));
            out.push_str(skipped);
            let (line, after) = match from.split_once('\n') {
                Some((line, after)) => (line, Some(after)),
                None => (from, None),
            };
            let end = line.trim_end_matches('\r');
            masked |= match self.scope {
                Scope::Line => self.mask_line(end, &mut out),
                Scope::Part => self.mask_parts(end, &mut out),
            };
            out.push_str(line.strip_prefix(end).unwrap_or_default());
            out.extend(after.map(|_| '\n'));
            rest = after.unwrap_or_default();
        }
        out.push_str(rest);
        masked.then_some(out)
    }

    fn mask_line(&self, line: &str, out: &mut String) -> bool {
        let inner = line.strip_prefix(&self.before);
        let masked = inner.and_then(|inner| inner.strip_suffix(&self.after));
        if masked.is_none() {
            out.push_str(line);
            return false;
        }
        self.write(out);
        true
    }

    /// Linear: a line that has no second text after the first `before` has none after a later one.
    fn mask_parts(&self, line: &str, out: &mut String) -> bool {
        let mut rest = line;
        let mut masked = false;
        // To look for a text in many shorter ones would cost more than they are long.
        while rest.len() >= self.before.len()
            && let Some((head, tail)) = rest.split_once(&self.before)
        {
            let next = match self.after.as_str() {
                "" => Some(("", "")),
                after => tail.split_once(after),
            };
            let Some((_, next)) = next else {
                break;
            };
            out.push_str(head);
            self.write(out);
            masked = true;
            rest = next;
        }
        out.push_str(rest);
        masked
    }

    fn write(&self, out: &mut String) {
        out.push_str(&self.before);
        out.push(char::from(GONE));
        out.push_str(&self.after);
    }
}

/// The ids of a body, by the order in which they first appear.
#[derive(Debug, Default)]
pub(super) struct Ids {
    numbers: BTreeMap<Box<[u8]>, usize>,
    too_many: bool,
}

impl Ids {
    /// An agent's run has hundreds of calls.
    const MOST: usize = 4_096;

    /// A shorter one is no random one, and is in every other text by chance.
    const SHORTEST: usize = 8;
    const LONGEST: usize = 256;

    /// The number of an id, which comes without its quotes; `None` if it stays as it is.
    pub(super) fn number(&mut self, id: &[u8], role: Role) -> Option<usize> {
        // No other spelling of these can hide in a text, JSON in a string for one.
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:|+=".contains(byte);
        if !(Self::SHORTEST..=Self::LONGEST).contains(&id.len()) || !id.iter().all(is_plain) {
            return None;
        }
        if let Some(number) = self.numbers.get(id) {
            return Some(*number);
        }
        let number = self.numbers.len();
        if role == Role::Refers || number == Self::MOST {
            self.too_many |= role == Role::Names;
            return None;
        }
        self.numbers.insert(id.into(), number);
        Some(number)
    }

    /// Whether the order of the ids is all that matters of them: none of them is told of anywhere
    /// in what is left of the body.
    ///
    /// The end of an id is enough to tell of it, as it is what differs between two of them. So the
    /// work is linear, however much they have in common.
    pub(super) fn are_interchangeable(&self, rest: &[u8]) -> bool {
        let word = |bytes: &[u8; Self::SHORTEST]| u64::from_le_bytes(*bytes);
        let ends = self.numbers.keys().filter_map(|id| id.last_chunk());
        let mut ends: Vec<u64> = ends.map(word).collect();
        ends.sort_unstable();
        let mut filter = Filter([0; 64]);
        ends.iter().for_each(|end| filter.add(*end));
        let mut words = rest.windows(Self::SHORTEST);
        !self.too_many
            && !words.any(|bytes| {
                let bytes = bytes.first_chunk().map(word);
                bytes.is_some_and(|end| filter.may_have(end) && ends.binary_search(&end).is_ok())
            })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && !self.too_many
    }
}

/// A set of words that answers most questions at once.
struct Filter([u64; 64]);

impl Filter {
    fn place(word: u64) -> (usize, u64) {
        let mixed = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed >> 58) as usize, 1 << (mixed >> 52 & 63))
    }

    fn add(&mut self, word: u64) {
        let (at, bit) = Self::place(word);
        if let Some(bits) = self.0.get_mut(at) {
            *bits |= bit;
        }
    }

    fn may_have(&self, word: u64) -> bool {
        let (at, bit) = Self::place(word);
        self.0.get(at).is_some_and(|bits| bits & bit != 0)
    }
}

#[cfg(test)]
mod tests;
