//! Canonical JSON: one spelling for each JSON text, so that requests that mean
//! the same to an upstream get the same cache key, and no others do.
//!
//! Source: RFC 8259 for what is accepted, without extensions. The canonical
//! form is this project's own, not RFC 8785, which rewrites numbers and so
//! gives `1` and `1.0` one key although some upstreams tell them apart:
//! - no white space; object members sorted by the bytes of their canonical names;
//! - numbers as they were written;
//! - strings by value: the escapes are `\"`, `\\` and `\u00xx` for control
//!   characters; surrogate pairs are joined; a lone surrogate, which no UTF-8
//!   can hold, stays `\udxxx`; everything else is raw UTF-8.
//!
//! A body in which a name occurs twice in one object is refused: which of the
//! two counts is up to the upstream, and sorting would hide their order.

use std::cmp::Ordering;

mod elements;
mod fold;
mod lexical;
mod pointer;
mod reader;
mod string;
mod value;

pub use self::elements::{Elements, NotElements};
pub use self::fold::is_misspelled;
use self::lexical::{split_escape, split_number, split_plain, split_space};
pub use self::pointer::{Pointer, PointerError};
use self::pointer::{Token, follow};
pub use self::reader::{Malformed, Read, Reader, TakeMember};
pub use self::string::string_value;
use self::string::{decoded, push_char, push_unit, unquoted};
pub use self::value::{NotJson, parse};

/// How deep arrays and objects may nest: `[[1]]` is 2 deep. It bounds the
/// stack, and the work of sorting, which is at most once per level.
pub const MAX_DEPTH: usize = 128;

/// The canonical form of one JSON text.
#[derive(Clone, Debug)]
pub struct Canonical {
    bytes: Vec<u8>,
    /// The members of the top-level object, sorted.
    members: Vec<Member>,
}

impl Canonical {
    /// The members of the top-level object as canonical name (with its quotes)
    /// and canonical value, sorted by name; none if the top level is no object.
    pub fn members(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.members
            .iter()
            .map(|m| (m.name(&self.bytes), m.value(&self.bytes)))
    }

    /// The canonical value of a member of the top-level object. `name` is
    /// compared with the canonical name, so it must need no escape.
    pub fn member(&self, name: &str) -> Option<&[u8]> {
        let at = self
            .members
            .binary_search_by(|m| unquoted(m.name(&self.bytes)).cmp(name.as_bytes()))
            .ok()?;
        Some(self.members.get(at)?.value(&self.bytes))
    }

    /// The whole canonical text. It is JSON unless an array element was
    /// excluded, and at most three times as long as the body it was made from
    /// (`\n` becomes `\u000a`).
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a body has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPlain {
    /// It is not one JSON text: a syntax error, a byte order mark, nothing at
    /// all, or something after the end.
    Syntax,
    /// It is not UTF-8. This is looked at first.
    Utf8,
    /// A name occurs twice in one object, or two names differ only in case:
    /// Go's `encoding/json` matches names that way and takes the last one.
    DuplicateName,
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// Gives the canonical form of `body`, without the places in `exclude`.
///
/// An excluded member leaves no trace. An excluded array element leaves its
/// comma, so that `[a,b]` without `/0` is `[,b]` and differs from `[b]`. What
/// is excluded must be plain JSON all the same. The work is O(n log n) in the
/// bytes of the body, times its depth at worst.
pub fn canonicalize(body: &[u8], exclude: &[Pointer]) -> Result<Canonical, NotPlain> {
    // Everything below may split the body at ASCII bytes and stay within UTF-8.
    str::from_utf8(body).map_err(|_| NotPlain::Utf8)?;
    let exclude: Vec<&[Token]> = exclude.iter().map(Pointer::tokens).collect();
    let mut writer = Writer {
        rest: body,
        out: Vec::with_capacity(body.len()),
        ..Writer::default()
    };
    writer.value(MAX_DEPTH, &exclude)?;
    writer.skip_space();
    if !writer.rest.is_empty() {
        return Err(NotPlain::Syntax);
    }
    writer.members.retain(|m| !m.excluded);
    Ok(Canonical {
        bytes: writer.out,
        members: writer.members,
    })
}

/// One member of an object, as offsets into [`Writer::out`]: its name with the
/// quotes is `start..name_end`, then comes the colon, and the value up to `end`.
#[derive(Clone, Copy, Debug)]
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
    excluded: bool,
}

impl Member {
    fn name<'o>(&self, out: &'o [u8]) -> &'o [u8] {
        out.get(self.start..self.name_end).unwrap_or_default()
    }

    fn value<'o>(&self, out: &'o [u8]) -> &'o [u8] {
        let after_name = out.get(self.name_end..self.end).unwrap_or_default();
        after_name.strip_prefix(b":").unwrap_or_default()
    }
}

/// Not inlined: a sort has it at dozens of places.
#[inline(never)]
fn by_name(a: &Member, b: &Member, out: &[u8]) -> Ordering {
    unquoted(a.name(out)).cmp(unquoted(b.name(out)))
}

/// The state of one [`canonicalize`]: what is left to read and what is written.
#[derive(Default)]
struct Writer<'b> {
    rest: &'b [u8],
    out: Vec<u8>,
    /// The members of all objects that are open, outermost first; at the end
    /// those of the top-level object.
    members: Vec<Member>,
    /// Where an object's members are brought into order.
    scratch: Vec<u8>,
}

impl Writer<'_> {
    /// Reads one value. `exclude` holds what is left of the pointers that lead
    /// through here; `levels` is how deep it may nest.
    fn value(&mut self, levels: usize, exclude: &[&[Token]]) -> Result<(), NotPlain> {
        self.skip_space();
        match self.rest.first() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(levels.checked_sub(1).ok_or(NotPlain::TooDeep)?, exclude),
            Some(b'[') => self.array(levels.checked_sub(1).ok_or(NotPlain::TooDeep)?, exclude),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, levels: usize, exclude: &[&[Token]]) -> Result<(), NotPlain> {
        self.expect(b'{')?;
        self.out.push(b'{');
        let body_start = self.out.len();
        let first = self.members.len();
        self.skip_space();
        let mut open = !self.take(b'}');
        while open {
            self.skip_space();
            let start = self.out.len();
            self.string()?;
            let name_end = self.out.len();
            self.skip_space();
            self.expect(b':')?;
            self.out.push(b':');
            let name = self.out.get(start..name_end).unwrap_or_default();
            let (excluded, below) = follow(exclude, |token| token.names(name));
            self.value(levels, &below)?;
            if excluded {
                // The name stays until the object ends: it may have a duplicate.
                self.out.truncate(name_end);
            }
            self.members.push(Member {
                start,
                name_end,
                end: self.out.len(),
                excluded,
            });
            open = self.comma_or(b'}')?;
        }
        self.sort_members(body_start, first)?;
        self.out.push(b'}');
        // The root's members stay: they are the ones a Canonical lists.
        if body_start > 1 {
            self.members.truncate(first);
        }
        Ok(())
    }

    fn array(&mut self, levels: usize, exclude: &[&[Token]]) -> Result<(), NotPlain> {
        self.expect(b'[')?;
        self.out.push(b'[');
        self.skip_space();
        let mut open = !self.take(b']');
        let mut index = 0_usize;
        while open {
            let start = self.out.len();
            let (excluded, below) = follow(exclude, |token| token.indexes(index));
            self.value(levels, &below)?;
            if excluded {
                self.out.truncate(start);
            }
            index = index.saturating_add(1);
            open = self.comma_or(b']')?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Brings the members from `first` on, which were written from `body_start`
    /// on, into order, drops the excluded ones, and refuses duplicate names.
    fn sort_members(&mut self, body_start: usize, first: usize) -> Result<(), NotPlain> {
        let (out, scratch) = (&mut self.out, &mut self.scratch);
        let members = self.members.get_mut(first..).unwrap_or_default();
        let name = |m: &Member| unquoted(m.name(out));
        // Strictly ascending names are in order and have no duplicate.
        let in_order = members.is_sorted_by(|a, b| name(a) < name(b));
        if !in_order {
            members.sort_unstable_by(|a, b| by_name(a, b, out));
            if !members.is_sorted_by(|a, b| name(a) < name(b)) {
                return Err(NotPlain::DuplicateName);
            }
        }
        if any_differ_only_in_case(members.iter().map(name)) {
            return Err(NotPlain::DuplicateName);
        }
        if in_order && members.iter().all(|m| !m.excluded) {
            return Ok(());
        }
        scratch.clear();
        for member in members.iter_mut().filter(|m| !m.excluded) {
            if !scratch.is_empty() {
                scratch.push(b',');
            }
            let start = body_start.saturating_add(scratch.len());
            scratch.extend_from_slice(member.name(out));
            let name_end = body_start.saturating_add(scratch.len());
            scratch.push(b':');
            scratch.extend_from_slice(member.value(out));
            let end = body_start.saturating_add(scratch.len());
            *member = Member {
                start,
                name_end,
                end,
                excluded: false,
            };
        }
        out.truncate(body_start);
        out.extend_from_slice(scratch);
        Ok(())
    }

    fn string(&mut self) -> Result<(), NotPlain> {
        self.expect(b'"')?;
        self.out.push(b'"');
        loop {
            let (plain, tail) = split_plain(self.rest);
            self.out.extend_from_slice(plain);
            self.rest = tail;
            if self.take(b'"') {
                self.out.push(b'"');
                return Ok(());
            }
            self.expect(b'\\')?;
            let (escaped, rest) = split_escape(self.rest).ok_or(NotPlain::Syntax)?;
            match escaped {
                Ok(c) => push_char(&mut self.out, c),
                Err(lone) => push_unit(&mut self.out, lone),
            }
            self.rest = rest;
        }
    }

    fn number(&mut self) -> Result<(), NotPlain> {
        let (number, rest) = split_number(self.rest).ok_or(NotPlain::Syntax)?;
        self.out.extend_from_slice(number);
        self.rest = rest;
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), NotPlain> {
        self.rest = self.rest.strip_prefix(word).ok_or(NotPlain::Syntax)?;
        self.out.extend_from_slice(word);
        Ok(())
    }

    /// After a member or an element: true if another one follows.
    fn comma_or(&mut self, end: u8) -> Result<bool, NotPlain> {
        self.skip_space();
        if self.take(end) {
            return Ok(false);
        }
        self.expect(b',')?;
        self.out.push(b',');
        Ok(true)
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotPlain> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(NotPlain::Syntax)
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let after = self.rest.strip_prefix(&[byte]);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = split_space(self.rest);
    }
}

/// Whether two of these canonical names (without quotes) are equal when case is
/// ignored. Only asked of names that are not equal as they stand, so most
/// objects, all of whose names are lower-case ASCII, are done at once.
fn any_differ_only_in_case<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> bool {
    let may_fold = |b: &u8| b.is_ascii_uppercase() || !b.is_ascii() || *b == b'\\';
    if !names.clone().flatten().any(may_fold) {
        return false;
    }
    let folded: Vec<String> = names.map(folded).collect();
    let mut folded: Vec<&str> = folded.iter().map(String::as_str).collect();
    folded.sort_unstable();
    !folded.is_sorted_by(|a, b| a < b)
}

/// One spelling for all names that differ only in case: what Unicode's simple
/// case folding joins, which Go uses, is joined. So are `ı` and `i`, which
/// costs no more than a refusal.
/// Lone surrogates become U+FFFD, as they do in Go.
fn folded(name: &[u8]) -> String {
    let name = str::from_utf8(name).unwrap_or_default();
    if name.is_ascii() && !name.contains('\\') {
        return name.to_ascii_lowercase();
    }
    decoded(name)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .flat_map(char::to_lowercase)
        .map(plainer)
        .collect()
}

/// The lower case of this one's upper case, if that is another. Named one by
/// one, as the table of all upper cases is large.
fn plainer(lower: char) -> char {
    match lower {
        'µ' => 'μ',
        'ı' => 'i',
        'ſ' => 's',
        '\u{345}' | '\u{1fbe}' => 'ι',
        'ς' => 'σ',
        'ϐ' => 'β',
        'ϑ' => 'θ',
        'ϕ' => 'φ',
        'ϖ' => 'π',
        'ϰ' => 'κ',
        'ϱ' => 'ρ',
        'ϵ' => 'ε',
        '\u{1c80}' => 'в',
        '\u{1c81}' => 'д',
        '\u{1c82}' => 'о',
        '\u{1c83}' => 'с',
        '\u{1c84}' | '\u{1c85}' => 'т',
        '\u{1c86}' => 'ъ',
        '\u{1c87}' => 'ѣ',
        '\u{1c88}' => 'ꙋ',
        'ẛ' => 'ṡ',
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{fb05}' => '\u{fb06}',
        lower => lower,
    }
}

#[cfg(test)]
mod tests;
