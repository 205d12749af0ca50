//! HTTP/1.1 messages as they come: where one ends, and what its body is.

use std::io;

/// Reads one message after another.
#[derive(Default)]
pub struct Reader {
    state: State,
    head: Vec<u8>,
    line: Vec<u8>,
    /// Bytes of the body so far, without its framing.
    pub body_bytes: u64,
    /// Pieces the body came in: chunks, or 1 for one with a length.
    pub pieces: u64,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Complete,
}

impl Reader {
    /// Takes what came and hands the body's bytes on; returns how much of it belongs to this
    /// message and whether that is complete.
    pub fn feed(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> io::Result<(usize, bool)> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                State::Complete => return Ok((at, true)),
                _ if rest.is_empty() => return Ok((at, false)),
                State::Head => {
                    let known = self.head.len();
                    self.head
                        .extend_from_slice(&rest[..rest.len().min(64 * 1024)]);
                    match find(&self.head[known.saturating_sub(3)..], b"\r\n\r\n") {
                        Some(end) => {
                            let length = known.saturating_sub(3) + end + 4;
                            self.head.truncate(length);
                            at += length - known;
                            self.state = self.body()?;
                        }
                        None => at += self.head.len() - known,
                    }
                }
                State::Length(left) => {
                    let took = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.pass(&rest[..took], &mut data);
                    at += took;
                    self.state = match left - took as u64 {
                        0 => State::Complete,
                        left => State::Length(left),
                    };
                }
                State::ChunkSize => {
                    at += self.take_line(rest);
                    if self.line.ends_with(b"\n") {
                        self.state = match self.chunk_size()? {
                            0 => State::Trailers,
                            size => State::ChunkData(size),
                        };
                        self.line.clear();
                    }
                }
                State::ChunkData(left) => {
                    let took = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.pass(&rest[..took], &mut data);
                    at += took;
                    self.state = match left - took as u64 {
                        0 => State::ChunkEnd,
                        left => State::ChunkData(left),
                    };
                }
                State::ChunkEnd => {
                    at += self.take_line(rest);
                    if self.line.ends_with(b"\n") {
                        self.line.clear();
                        self.pieces += 1;
                        self.state = State::ChunkSize;
                    }
                }
                State::Trailers => {
                    at += self.take_line(rest);
                    if self.line.ends_with(b"\n") {
                        if self.line == b"\r\n" {
                            self.state = State::Complete;
                        }
                        self.line.clear();
                    }
                }
            }
        }
    }

    /// The head of the message, once it is there.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Makes ready for the next message.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
        self.line.clear();
        self.body_bytes = 0;
        self.pieces = 0;
    }

    fn pass(&mut self, bytes: &[u8], data: &mut impl FnMut(&[u8])) {
        self.body_bytes += bytes.len() as u64;
        data(bytes);
    }

    fn take_line(&mut self, rest: &[u8]) -> usize {
        let took = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        self.line.extend_from_slice(&rest[..took]);
        took
    }

    fn chunk_size(&self) -> io::Result<u64> {
        let line = String::from_utf8_lossy(&self.line);
        let digits = line.split(';').next().unwrap_or_default().trim();
        u64::from_str_radix(digits, 16).map_err(|_| broken("a chunk without a size"))
    }

    /// A message with neither length nor chunks has no body, which holds for requests; answers
    /// that end with their connection are not read here.
    fn body(&mut self) -> io::Result<State> {
        if let Some(coding) = self.header("transfer-encoding") {
            return match coding.as_str() {
                "chunked" => Ok(State::ChunkSize),
                _ => Err(broken("a transfer coding other than chunked")),
            };
        }
        self.pieces = 1;
        let length = match self.header("content-length") {
            Some(length) => length
                .parse()
                .map_err(|_| broken("a length that is no number"))?,
            None => 0,
        };
        Ok(if length == 0 {
            State::Complete
        } else {
            State::Length(length)
        })
    }

    fn header(&self, name: &str) -> Option<String> {
        self.head.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            line[..colon]
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| {
                    String::from_utf8_lossy(&line[colon + 1..])
                        .trim()
                        .to_ascii_lowercase()
                })
        })
    }
}

/// Where `wanted` begins.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// A peer that does not speak as it should.
pub fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
