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

use crate::steps;

mod edit;
mod elements;
mod fold;
mod lexical;
mod pointer;
mod reader;
mod string;
mod value;
mod way;

pub use self::edit::{Change, Edit, IdPlace, Mask, MaskError, Role, Scope};
use self::edit::{GONE, Ids, NUMBER};
pub use self::elements::{Elements, NotElements};
pub use self::fold::is_misspelled;
use self::lexical::{split_escape, split_number, split_plain, split_space};
use self::pointer::Token;
pub use self::pointer::{Pointer, PointerError};
pub use self::reader::{Malformed, Read, Reader, TakeMember};
pub use self::string::string_value;
use self::string::{decoded, push_char, push_unit, unquoted};
pub use self::value::{NotJson, parse};
use self::way::{Step, Way};

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

    /// The whole canonical text. It is JSON unless an edit changed it, and at
    /// most three times as long as the body it was made from (`\n` becomes
    /// `\u000a`).
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

/// Gives the canonical form of `body`, but for what the edits change.
///
/// - A member that is left out leaves no trace: it is as if it had never been
///   there. An element leaves one, so that `["a"]` without `/0` is not `[]`.
/// - A mask leaves the texts around what it masks, and a trace of it. What is
///   no text, or has a NUL or a lone surrogate, is not masked.
/// - Ids become numbers, in the order of their first use, if no other text in
///   the body contains one of them; otherwise all stay.
///
/// What is left out must be plain JSON all the same. Without edits the work is
/// O(n log n) in the bytes of the body, times its depth at worst; each edit may
/// add as much as one look at what it leads to.
pub fn canonicalize(body: &[u8], edits: &[&Edit]) -> Result<Canonical, NotPlain> {
    // Everything below may split the body at ASCII bytes and stay within UTF-8.
    str::from_utf8(body).map_err(|_| NotPlain::Utf8)?;
    let (canonical, ids) = write(body, edits.iter().copied())?;
    if ids.is_empty() || ids.are_interchangeable(&canonical.bytes) {
        return Ok(canonical);
    }
    // Holding both would take twice the memory.
    drop((canonical, ids));
    let is_no_id = |edit: &&Edit| !matches!(edit.change, Change::Number(_));
    let (canonical, _) = write(body, edits.iter().copied().filter(is_no_id))?;
    Ok(canonical)
}

fn write<'e>(
    body: &[u8],
    edits: impl Iterator<Item = &'e Edit>,
) -> Result<(Canonical, Ids), NotPlain> {
    let ways: Vec<Way<'_>> = edits.map(Way::to).collect();
    let mut writer = Writer {
        rest: body,
        out: Vec::with_capacity(body.len()),
        ..Writer::default()
    };
    writer.value(MAX_DEPTH, &ways)?;
    writer.skip_space();
    if !writer.rest.is_empty() {
        return Err(NotPlain::Syntax);
    }
    writer.members.retain(|m| m.fate != Fate::Removed);
    let canonical = Canonical {
        bytes: writer.out,
        members: writer.members,
    };
    Ok((canonical, writer.ids))
}

/// One member of an object, as offsets into [`Writer::out`]: its name with the
/// quotes is `start..name_end`, then comes the colon, and the value up to `end`.
#[derive(Clone, Copy, Debug)]
struct Member {
    start: usize,
    name_end: usize,
    end: usize,
    /// The [`beginning`] of its name.
    beginning: u64,
    fate: Fate,
}

/// What becomes of a member when its object ends: its name is needed until
/// then, as it may have a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Removed,
    /// Its value is an id, which is written as this number.
    Numbered(usize),
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

/// Not inlined: a sort has it at dozens of places. Most names are told apart by how they begin.
#[inline(never)]
fn by_name(a: &Member, b: &Member, out: &[u8]) -> Ordering {
    steps::take(1 + (a.name_end - a.start) / 8);
    a.beginning
        .cmp(&b.beginning)
        .then_with(|| unquoted(a.name(out)).cmp(unquoted(b.name(out))))
}

/// The first bytes of a canonical name (without quotes), such that their order is that of the names
/// where they differ: no name holds a zero byte.
fn beginning(name: &[u8]) -> u64 {
    match name.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            for (byte, of_name) in first.iter_mut().zip(name) {
                *byte = *of_name;
            }
            u64::from_be_bytes(first)
        }
    }
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
    ids: Ids,
}

impl Writer<'_> {
    /// Reads one value. `ways` are those that lead through here; `levels` is how
    /// deep it may nest.
    fn value(&mut self, levels: usize, ways: &[Way<'_>]) -> Result<(), NotPlain> {
        self.skip_space();
        match self.rest.first() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(levels.checked_sub(1).ok_or(NotPlain::TooDeep)?, ways),
            Some(b'[') => self.array(levels.checked_sub(1).ok_or(NotPlain::TooDeep)?, ways),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, levels: usize, ways: &[Way<'_>]) -> Result<(), NotPlain> {
        self.expect(b'{')?;
        self.out.push(b'{');
        let body_start = self.out.len();
        let first = self.members.len();
        let mut id_places: Vec<(usize, IdPlace)> = Vec::new();
        self.skip_space();
        let mut open = !self.take(b'}');
        while open {
            self.skip_space();
            let start = self.out.len();
            self.string()?;
            let name_end = self.out.len();
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            let value = self.rest.first().copied();
            self.out.push(b':');
            let name = self.out.get(start..name_end).unwrap_or_default();
            let beginning = beginning(unquoted(name));
            let step = Step::follow_into(ways, value, |token| token.names(name));
            let value_start = self.out.len();
            self.value(levels, &step.below)?;
            let fate = if step.removes() {
                self.out.truncate(name_end);
                Fate::Removed
            } else {
                self.mask(value_start, &step);
                Fate::Kept
            };
            id_places.extend(step.ids().map(|id| (self.members.len(), id)));
            self.members.push(Member {
                start,
                name_end,
                end: self.out.len(),
                beginning,
                fate,
            });
            open = self.comma_or(b'}')?;
        }
        self.number_ids(first, &id_places);
        self.sort_members(body_start, first)?;
        self.out.push(b'}');
        // The root's members stay: they are the ones a Canonical lists.
        if body_start > 1 {
            self.members.truncate(first);
        }
        Ok(())
    }

    fn array(&mut self, levels: usize, ways: &[Way<'_>]) -> Result<(), NotPlain> {
        self.expect(b'[')?;
        self.out.push(b'[');
        self.skip_space();
        let mut open = !self.take(b']');
        let mut index = 0_usize;
        // Most elements are led to by wildcards only, and by the same ones.
        let ways = if open { ways } else { &[] };
        let by_wildcards = Step::follow(ways, Token::is_any);
        let last_named = ways.iter().filter_map(Way::index).max();
        while open {
            let start = self.out.len();
            self.skip_space();
            let by_index;
            let step = if last_named.is_some_and(|last| index <= last) {
                let value = self.rest.first().copied();
                by_index = Step::follow_into(ways, value, |token| token.indexes(index));
                &by_index
            } else {
                &by_wildcards
            };
            self.value(levels, &step.below)?;
            if step.removes() {
                self.out.truncate(start);
                self.out.push(GONE);
            } else {
                self.mask(start, step);
            }
            index = index.saturating_add(1);
            open = self.comma_or(b']')?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Masks what was written from `start` on, if it is a text.
    fn mask(&mut self, start: usize, step: &Step<'_>) {
        let mut masks = step.masks().peekable();
        if masks.peek().is_none() {
            return;
        }
        let written = self.out.get(start..).unwrap_or_default();
        let Some(text) = string_value(written).filter(|text| !text.contains(char::from(GONE)))
        else {
            return;
        };
        let masked = masks.fold(None, |masked: Option<String>, mask| {
            mask.apply(masked.as_deref().unwrap_or(&text)).or(masked)
        });
        let Some(masked) = masked else {
            return;
        };
        self.out.truncate(start);
        self.out.push(b'"');
        for c in masked.chars() {
            match u8::try_from(c) {
                Ok(GONE) => self.out.push(GONE),
                _ => push_char(&mut self.out, c),
            }
        }
        self.out.push(b'"');
    }

    /// Numbers the ids among the members from `first` on of an object that has ended.
    fn number_ids(&mut self, first: usize, places: &[(usize, IdPlace)]) {
        if places.is_empty() {
            return;
        }
        let (out, members) = (&self.out, &mut self.members);
        let own = members.get(first..).unwrap_or_default();
        let r#type = own.iter().find(|m| m.name(out) == b"\"type\"");
        let r#type = r#type.map_or(&b""[..], |m| unquoted(m.value(out)));
        for (at, IdPlace { role, types }) in places {
            let fits = types.is_empty() || types.iter().any(|word| word.as_bytes() == r#type);
            let Some(member) = members
                .get_mut(*at)
                .filter(|m| fits && m.fate == Fate::Kept)
            else {
                continue;
            };
            if let [b'"', id @ .., b'"'] = member.value(out)
                && let Some(number) = self.ids.number(id, *role)
            {
                member.fate = Fate::Numbered(number);
            }
        }
    }

    /// Brings the members from `first` on, which were written from `body_start`
    /// on, into order, drops those that are left out, writes the numbers of ids,
    /// and refuses duplicate names.
    fn sort_members(&mut self, body_start: usize, first: usize) -> Result<(), NotPlain> {
        let (out, scratch) = (&mut self.out, &mut self.scratch);
        let members = self.members.get_mut(first..).unwrap_or_default();
        let name = |m: &Member| unquoted(m.name(out));
        // Strictly ascending names are in order and have no duplicate.
        let ascend = |a: &Member, b: &Member| by_name(a, b, out) == Ordering::Less;
        let in_order = members.is_sorted_by(ascend);
        if !in_order {
            members.sort_unstable_by(|a, b| by_name(a, b, out));
            if !members.is_sorted_by(ascend) {
                return Err(NotPlain::DuplicateName);
            }
        }
        if any_differ_only_in_case(members.iter().map(name)) {
            return Err(NotPlain::DuplicateName);
        }
        if in_order && members.iter().all(|m| m.fate == Fate::Kept) {
            return Ok(());
        }
        scratch.clear();
        // Allocated once, at its final size: growing would double the memory for a long prompt.
        let length = out.len().saturating_sub(body_start);
        steps::take(length);
        if scratch.capacity() < length {
            *scratch = Vec::new();
            scratch.reserve_exact(length);
        }
        for member in members.iter_mut().filter(|m| m.fate != Fate::Removed) {
            if !scratch.is_empty() {
                scratch.push(b',');
            }
            let start = body_start.saturating_add(scratch.len());
            scratch.extend_from_slice(member.name(out));
            let name_end = body_start.saturating_add(scratch.len());
            scratch.push(b':');
            if let Fate::Numbered(number) = member.fate {
                scratch.push(NUMBER);
                scratch.extend_from_slice(number.to_string().as_bytes());
            } else {
                scratch.extend_from_slice(member.value(out));
            }
            let end = body_start.saturating_add(scratch.len());
            *member = Member {
                start,
                name_end,
                end,
                beginning: member.beginning,
                fate: Fate::Kept,
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
            steps::take(1 + plain.len());
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
    let mut text = String::new();
    let mut folded: Vec<(u64, usize, usize)> = names
        .map(|name| {
            let start = text.len();
            push_folded(&mut text, name);
            let name = text.get(start..).unwrap_or_default();
            (beginning(name.as_bytes()), start, text.len())
        })
        .collect();
    // A lone surrogate and an escaped zero byte may be folded to what is not in order: only equal
    // names matter, and they are neighbours.
    let name = |(_, start, end): &(u64, usize, usize)| text.get(*start..*end);
    folded.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name(a).cmp(&name(b))));
    let equal = |pair: &[(u64, usize, usize)]| match pair {
        [a, b] => a.0 == b.0 && name(a) == name(b),
        _ => false,
    };
    folded.windows(2).any(equal)
}

/// One spelling for all names that differ only in case: what Unicode's simple
/// case folding joins, which Go uses, is joined. So are `ı` and `i`, which
/// costs no more than a refusal.
/// Lone surrogates become U+FFFD, as they do in Go.
fn push_folded(text: &mut String, name: &[u8]) {
    let name = str::from_utf8(name).unwrap_or_default();
    if name.is_ascii() && !name.contains('\\') {
        let start = text.len();
        text.push_str(name);
        if let Some(pushed) = text.get_mut(start..) {
            pushed.make_ascii_lowercase();
        }
        return;
    }
    let chars = decoded(name).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    text.extend(chars.flat_map(char::to_lowercase).map(plainer));
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
