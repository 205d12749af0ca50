//! The ways from the top of a body to the places where it is edited.

use super::edit::{Change, Edit, IdPlace, Mask};
use super::pointer::Token;

/// What is left of the way to a place where something is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'e> {
    tokens: &'e [Token],
    change: &'e Change,
}

impl<'e> Way<'e> {
    /// The whole way, from the top of a body.
    pub(super) fn to(edit: &'e Edit) -> Self {
        Self {
            tokens: &edit.at.tokens,
            change: &edit.change,
        }
    }

    /// The element of an array to which it leads, and to no other; `None` if it leads to all, or to
    /// none.
    pub(super) fn index(&self) -> Option<usize> {
        match self.tokens.first()? {
            Token::Any => None,
            Token::One { index, .. } => *index,
        }
    }
}

/// What is changed at a place, and the ways that lead on from it.
#[derive(Debug, Default)]
pub(super) struct Step<'e> {
    pub(super) here: Vec<&'e Change>,
    pub(super) below: Vec<Way<'e>>,
}

impl<'e> Step<'e> {
    /// Follows the ways one step. The work is linear in their number.
    pub(super) fn follow(ways: &[Way<'e>], is_here: impl Fn(&Token) -> bool) -> Self {
        Self::follow_to(ways, [true; 2], is_here)
    }

    /// Follows them to a value that begins with this byte. To make room for what changes nothing of a
    /// number would cost many times what the number is long.
    pub(super) fn follow_into(
        ways: &[Way<'e>],
        value: Option<u8>,
        is_here: impl Fn(&Token) -> bool,
    ) -> Self {
        let is_text = value == Some(b'"');
        let has_parts = matches!(value, Some(b'{' | b'['));
        Self::follow_to(ways, [is_text, has_parts], is_here)
    }

    fn follow_to(
        ways: &[Way<'e>],
        [is_text, has_parts]: [bool; 2],
        is_here: impl Fn(&Token) -> bool,
    ) -> Self {
        let mut step = Self::default();
        for Way { tokens, change } in ways {
            match tokens.split_first() {
                Some((token, [])) if (is_text || **change == Change::Remove) && is_here(token) => {
                    step.here.push(change);
                }
                Some((token, tokens @ [_, ..])) if has_parts && is_here(token) => {
                    step.below.push(Way { tokens, change });
                }
                _ => {}
            }
        }
        step
    }

    pub(super) fn removes(&self) -> bool {
        self.here.iter().any(|change| **change == Change::Remove)
    }

    pub(super) fn masks(&self) -> impl Iterator<Item = &'e Mask> {
        self.here.iter().filter_map(|change| match change {
            Change::Mask(mask) => Some(mask),
            _ => None,
        })
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = IdPlace> {
        self.here.iter().filter_map(|change| match change {
            Change::Number(id) => Some(*id),
            _ => None,
        })
    }
}
