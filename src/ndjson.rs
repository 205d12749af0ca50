//! Lines of JSON, split from bytes as they come, whatever the chunking.
//!
//! Source: the NDJSON specification, version 1.0.0: a JSON text per line, each line ended by LF
//! (a CR before it is white space of JSON's), UTF-8. Blank lines are allowed and skipped. The line
//! end after the last text is required here, although the specification's parsers need not ask for
//! it: `{"n":1}` may be whole, but `12` may be the start of `123`.

use std::mem;

use memchr::memchr;

/// A push splitter for one stream of lines.
///
/// It holds the unfinished line, so at most the largest one; it sets no bound of its own, the
/// caller bounds what it feeds. Its work is linear in the bytes fed.
#[derive(Debug, Default)]
pub struct Parser {
    /// The start of a line whose end has not come yet.
    line: Vec<u8>,
    invalid_utf8_lines: u64,
}

/// What a stream came to: see [`Parser::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The last line has no line end and is not blank.
    pub pending: bool,
    /// [`Parser::invalid_utf8_lines`], the unfinished last line included.
    pub invalid_utf8_lines: u64,
}

impl Parser {
    /// A splitter at the first byte of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream and calls `on_line` for each line they complete that is
    /// not blank, in order and without its LF. A line that lies inside `chunk` is lent from it.
    pub fn feed(&mut self, chunk: &[u8], mut on_line: impl FnMut(&[u8])) {
        let mut rest = chunk;
        while let Some((line, tail)) = split_line(rest) {
            rest = tail;
            if self.line.is_empty() {
                self.complete(line, &mut on_line);
            } else {
                let mut whole = mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.complete(&whole, &mut on_line);
                whole.clear();
                self.line = whole;
            }
        }
        self.line.extend_from_slice(rest);
    }

    /// How many bytes it has allocated.
    pub fn held_bytes(&self) -> usize {
        self.line.capacity()
    }

    /// How many lines so far were not valid UTF-8. They are delivered all the same.
    pub fn invalid_utf8_lines(&self) -> u64 {
        self.invalid_utf8_lines
    }

    /// Ends the stream.
    pub fn finish(self) -> Ending {
        let invalid = u64::from(str::from_utf8(&self.line).is_err());
        Ending {
            pending: !is_blank(&self.line),
            invalid_utf8_lines: self.invalid_utf8_lines.saturating_add(invalid),
        }
    }

    fn complete(&mut self, line: &[u8], on_line: &mut impl FnMut(&[u8])) {
        if str::from_utf8(line).is_err() {
            self.invalid_utf8_lines = self.invalid_utf8_lines.saturating_add(1);
        }
        if !is_blank(line) {
            on_line(line);
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// The first line of `bytes` without its LF, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, tail) = bytes.split_at_checked(memchr(b'\n', bytes)?)?;
    Some((line, tail.strip_prefix(b"\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<Vec<u8>>, Ending) {
        let mut parser = Parser::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            parser.feed(chunk, |line| lines.push(line.to_vec()));
        }
        (lines, parser.finish())
    }

    /// Parses `stream` whole, at every two-way split and byte by byte.
    fn parse_every_way(stream: &[u8]) -> (Vec<Vec<u8>>, Ending) {
        let whole = parse([stream]);
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(parse([head, tail]), whole, "split at {at}");
        }
        for size in 1..4 {
            assert_eq!(parse(stream.chunks(size)), whole, "chunks of {size}");
        }
        whole
    }

    const CLEAN: Ending = Ending {
        pending: false,
        invalid_utf8_lines: 0,
    };

    #[test]
    fn each_line_is_given_once_without_its_line_feed() {
        let (lines, ending) = parse_every_way("{\"a\":\"é\"}\r\n{}\n[1]\n".as_bytes());
        assert_eq!(lines, ["{\"a\":\"é\"}\r".as_bytes(), b"{}", b"[1]"]);
        assert_eq!(ending, CLEAN);
    }

    #[test]
    fn blank_lines_are_skipped() {
        let (lines, ending) = parse_every_way(b"\n\r\n  \n{}\n\n\t ");
        assert_eq!(lines, [b"{}"]);
        assert_eq!(ending, CLEAN);
        assert_eq!(parse_every_way(b""), (vec![], CLEAN));
    }

    #[test]
    fn a_last_line_without_line_end_is_pending() {
        let (lines, ending) = parse_every_way(b"{}\n{}");
        assert_eq!(lines, [b"{}"]);
        assert!(ending.pending);
    }

    #[test]
    fn lines_that_are_not_utf8_are_counted() {
        let (lines, ending) = parse_every_way(b"\xff\n\xc3\xa9\n\xc3");
        assert_eq!(lines, [&b"\xff"[..], b"\xc3\xa9"]);
        assert_eq!(ending.invalid_utf8_lines, 2);
    }
}
