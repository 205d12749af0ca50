//! Server-sent events, parsed from bytes as they come, whatever the chunking.
//!
//! Source: WHATWG HTML, 9.2.5 "Parsing an event stream" and 9.2.6
//! "Interpreting an event stream". Two differences, both because a cache asks
//! "was this whole?" where a browser asks "what can I still use?":
//! - Events are bytes. The standard replaces invalid UTF-8 by U+FFFD; here it
//!   is delivered as it came and counted ([`Parser::invalid_utf8_lines`]).
//! - What the standard ignores or throws away without a word (unknown fields,
//!   an event cut off by the end of the stream) is counted or handed over, and so
//!   is what many clients do not know how to ignore (a byte order mark, comments).
//!
//! `id` and `retry` are recognised and have no effect: a cache never reconnects.

use std::mem;

use memchr::{memchr, memchr2};

use crate::steps;

/// One dispatched event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event type as sent; empty stands for the default, `message`.
    pub event: &'a [u8],
    /// The values of the event's `data` lines, joined by LF. It can be empty:
    /// `data:` alone is an event, whose data is the empty string.
    pub data: &'a [u8],
}

/// What a blank line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// An event.
    Event(Event<'a>),
    /// Lines without a `data` among them, of which the standard makes no event, and of which
    /// decoders that many clients copied (httpx-sse) make one without data: there is a name, which
    /// is given here, or a `retry`, or there was an `id` here or anywhere before.
    NoData(&'a [u8]),
}

/// A push parser for one event stream.
///
/// It holds the unfinished line and the data of the unfinished event, so at
/// most about twice the largest event; it sets no bound of its own, the caller
/// bounds what it feeds. Its work is linear in the bytes fed.
#[derive(Debug, Default)]
pub struct Parser {
    /// How many bytes of [`BOM`] the stream has begun with; all of them once
    /// the question is settled, either way.
    bom_matched: usize,
    has_bom: bool,
    /// The last byte fed was a CR. It ended its line at once (waiting for the
    /// next chunk would delay the event), so an LF that follows belongs to it.
    after_cr: bool,
    /// The start of a line whose end has not come yet.
    line: Vec<u8>,
    /// The event type of the unfinished event.
    event: Vec<u8>,
    /// The `data` values of the unfinished event, each followed by LF as in the
    /// standard; empty if and only if there was no `data` line.
    data: Vec<u8>,
    /// A line other than a comment has come since the last blank line.
    in_event: bool,
    /// A `retry` with digits has come since the last blank line.
    has_retry: bool,
    /// The last `id` was not empty. It holds for all events that follow.
    has_id: bool,
    stray_lines: u64,
    other_lines: u64,
    invalid_utf8_lines: u64,
}

/// What a stream came to: see [`Parser::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The event the stream broke off in; `None` if it ended on an event
    /// boundary (comments may follow the boundary).
    pub pending: Option<Pending>,
    /// [`Parser::stray_lines`], the unfinished last line included.
    pub stray_lines: u64,
    /// [`Parser::other_lines`], the unfinished last line included.
    pub other_lines: u64,
    /// [`Parser::invalid_utf8_lines`], the unfinished last line included.
    pub invalid_utf8_lines: u64,
}

/// An event whose final blank line never came.
///
/// The standard discards it. A caller may accept it when its text alone proves
/// that nothing is missing (`[DONE]`), and must not otherwise: `data: 12` may
/// be the start of `data: 123`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// As [`Event::event`].
    pub event: Vec<u8>,
    /// As [`Event::data`]; `None` if no `data` line had come.
    pub data: Option<Vec<u8>>,
}

impl Pending {
    /// Whether it is an event without a name that has this data.
    pub fn is(&self, data: &[u8]) -> bool {
        self.event.is_empty() && self.data.as_deref() == Some(data)
    }
}

impl Parser {
    /// A parser at the first byte of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream and calls `on_event` for each event
    /// they complete, in order.
    ///
    /// An event that lies inside `chunk` and has one `data` line is lent from
    /// `chunk` without being copied.
    pub fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        self.feed_blocks(chunk, |block| {
            if let Block::Event(event) = block {
                on_event(event);
            }
        });
    }

    /// As [`Parser::feed`], and tells of lines that come to no event because they have no data.
    pub fn feed_blocks(&mut self, chunk: &[u8], mut on_block: impl FnMut(Block<'_>)) {
        let mut rest = self.skip_bom(chunk);
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // A line begun in an earlier chunk is not blank, so it completes no
        // event, and everything after it lies inside this chunk.
        if !self.line.is_empty() {
            let Some((head, tail)) = self.split_line(rest) else {
                self.line.extend_from_slice(rest);
                return;
            };
            self.line.extend_from_slice(head);
            self.keep_carried_line();
            rest = tail;
        }
        let mut lent = Lent::default();
        while let Some((line, tail)) = self.split_line(rest) {
            rest = tail;
            match self.read_line(line) {
                Line::Blank => self.dispatch(mem::take(&mut lent), &mut on_block),
                Line::Event(value) => lent.event = Some(value),
                Line::Data(value) if lent.data.is_none() && self.data.is_empty() => {
                    lent.data = Some(value);
                }
                Line::Data(value) => {
                    self.keep_data(lent.data.take());
                    self.keep_data(Some(value));
                }
                Line::NoEffect => {}
            }
        }
        steps::take(rest.len());
        self.line.extend_from_slice(rest);
        self.keep_event(lent.event);
        self.keep_data(lent.data);
    }

    /// How many bytes it has allocated.
    pub fn held_bytes(&self) -> usize {
        [&self.line, &self.event, &self.data]
            .map(Vec::capacity)
            .into_iter()
            .fold(0, usize::saturating_add)
    }

    /// How many lines so far were neither blank nor a comment and had a field
    /// name other than `data`, `event`, `id` and `retry`. The standard ignores
    /// such lines; in an API's answer they are a proxy's error page, or an
    /// error as bare JSON after the events.
    pub fn stray_lines(&self) -> u64 {
        self.stray_lines
    }

    /// How many lines so far were neither blank nor began with `data: `, the space included:
    /// comments, other fields, and data in another spelling.
    pub fn other_lines(&self) -> u64 {
        self.other_lines
    }

    /// Whether the stream began with a byte order mark.
    pub fn has_bom(&self) -> bool {
        self.has_bom
    }

    /// How many lines so far, comments included, were not valid UTF-8.
    pub fn invalid_utf8_lines(&self) -> u64 {
        self.invalid_utf8_lines
    }

    /// Ends the stream. A last line without a line end is read as if it had one.
    pub fn finish(mut self) -> Ending {
        if self.bom_matched < BOM.len() {
            self.give_up_bom();
        }
        if !self.line.is_empty() {
            self.keep_carried_line();
        }
        let data = self.data.pop().map(|_final_lf| self.data);
        Ending {
            pending: self.in_event.then_some(Pending {
                event: self.event,
                data,
            }),
            stray_lines: self.stray_lines,
            other_lines: self.other_lines,
            invalid_utf8_lines: self.invalid_utf8_lines,
        }
    }

    /// Strips the one byte order mark a stream may begin with, which may be
    /// spread over chunks. A later one is an ordinary character.
    fn skip_bom<'c>(&mut self, mut chunk: &'c [u8]) -> &'c [u8] {
        while let Some(expected) = BOM.get(self.bom_matched) {
            match chunk.split_first() {
                None => break,
                Some((byte, rest)) if byte == expected => {
                    self.bom_matched = self.bom_matched.saturating_add(1);
                    self.has_bom = self.bom_matched == BOM.len();
                    chunk = rest;
                }
                Some(_) => self.give_up_bom(),
            }
        }
        chunk
    }

    /// The stream does not begin with a BOM: what looked like its start is the
    /// start of the first line.
    fn give_up_bom(&mut self) {
        let looked_like = BOM.get(..self.bom_matched).unwrap_or_default();
        self.line.extend_from_slice(looked_like);
        self.bom_matched = BOM.len();
    }

    /// Splits `bytes` after its first line end, which is CR, LF or CR LF, and
    /// gives the line without it. `None` if there is no line end.
    fn split_line<'c>(&mut self, bytes: &'c [u8]) -> Option<(&'c [u8], &'c [u8])> {
        let (line, tail) = bytes.split_at_checked(memchr2(b'\r', b'\n', bytes)?)?;
        steps::take(1 + line.len());
        let (end, tail) = tail.split_first()?;
        if *end == b'\n' {
            return Some((line, tail));
        }
        self.after_cr = tail.is_empty();
        Some((line, tail.strip_prefix(b"\n").unwrap_or(tail)))
    }

    fn read_line<'l>(&mut self, line: &'l [u8]) -> Line<'l> {
        if str::from_utf8(line).is_err() {
            self.invalid_utf8_lines = self.invalid_utf8_lines.saturating_add(1);
        }
        if line.is_empty() {
            return Line::Blank;
        }
        let is_data = line.starts_with(b"data: ");
        self.other_lines = self.other_lines.saturating_add(u64::from(!is_data));
        let colon = memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        if name.is_empty() {
            return Line::NoEffect;
        }
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        self.in_event = true;
        match name {
            b"data" => Line::Data(value),
            b"event" => Line::Event(value),
            b"id" => {
                self.has_id = !value.is_empty();
                Line::NoEffect
            }
            b"retry" => {
                self.has_retry |= value.iter().any(u8::is_ascii_digit);
                Line::NoEffect
            }
            _ => {
                self.stray_lines = self.stray_lines.saturating_add(1);
                Line::NoEffect
            }
        }
    }

    /// Reads the line that was gathered in `self.line`, which is not blank.
    fn keep_carried_line(&mut self) {
        let mut line = mem::take(&mut self.line);
        match self.read_line(&line) {
            Line::Event(value) => self.keep_event(Some(value)),
            Line::Data(value) => self.keep_data(Some(value)),
            Line::Blank | Line::NoEffect => {}
        }
        line.clear();
        self.line = line;
    }

    fn keep_event(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.event.clear();
            self.event.extend_from_slice(value);
        }
    }

    fn keep_data(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.data.extend_from_slice(value);
            self.data.push(b'\n');
        }
    }

    /// The standard's "dispatch the event": without a `data` line there is none,
    /// and the event type is forgotten either way.
    fn dispatch(&mut self, lent: Lent<'_>, on_block: &mut impl FnMut(Block<'_>)) {
        let event = lent.event.unwrap_or(&self.event);
        if let Some(data) = lent.data.or_else(|| self.data.strip_suffix(b"\n")) {
            on_block(Block::Event(Event { event, data }));
        } else if self.has_id || self.has_retry || !event.is_empty() {
            on_block(Block::NoData(event));
        }
        self.has_retry = false;
        self.event.clear();
        self.data.clear();
        self.in_event = false;
    }
}

/// The parts of the unfinished event that still lie in the chunk being fed.
/// `event` replaces [`Parser::event`]; `data` is the event's only data line.
#[derive(Default)]
struct Lent<'c> {
    event: Option<&'c [u8]>,
    data: Option<&'c [u8]>,
}

/// What a line means for the event being built.
enum Line<'l> {
    Blank,
    Event(&'l [u8]),
    Data(&'l [u8]),
    NoEffect,
}

const BOM: [u8; 3] = *b"\xEF\xBB\xBF";

#[cfg(test)]
mod tests;
