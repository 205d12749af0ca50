//! The upstream: gives every request the same answer, at once or piece by piece.

use std::io::{self, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::framing::{Reader, broken, find};
use crate::tally::Tally;
use crate::{STAMP, STAMP_DIGITS};

/// What the upstream answers.
pub struct Answer {
    /// All of it, or the head alone where there are pieces.
    bytes: Vec<u8>,
    /// The chunks of the body, in their framing.
    pieces: Vec<Vec<u8>>,
    /// Nanoseconds between two pieces of one stream.
    pace: u64,
    /// How many streams run at once.
    streams: u64,
}

impl Answer {
    pub fn at_once(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            pieces: Vec::new(),
            pace: 0,
            streams: 0,
        }
    }

    /// The body's events become chunks; the head says that it is chunked.
    pub fn paced(bytes: &[u8], pace: u64, streams: u64) -> io::Result<Self> {
        let end = find(bytes, b"\r\n\r\n").ok_or_else(|| broken("an answer without a head"))? + 4;
        let mut pieces = Vec::new();
        let mut rest = &bytes[end..];
        while let Some(size) = find(rest, b"\n\n") {
            let (event, after) = rest.split_at(size + 2);
            pieces.push([format!("{:x}\r\n", event.len()).as_bytes(), event, b"\r\n"].concat());
            rest = after;
        }
        pieces.push(b"0\r\n\r\n".to_vec());
        Ok(Self {
            bytes: bytes[..end].to_vec(),
            pieces,
            pace,
            streams,
        })
    }
}

pub struct Upstream {
    listener: TcpListener,
    listener_token: Token,
    answer: Answer,
    connections: Vec<Connection>,
    begun: u64,
}

impl Upstream {
    pub fn new(
        mut listener: TcpListener,
        listener_token: Token,
        answer: Answer,
        registry: &Registry,
    ) -> io::Result<Self> {
        registry.register(&mut listener, listener_token, Interest::READABLE)?;
        Ok(Self {
            listener,
            listener_token,
            answer,
            connections: Vec::new(),
            begun: 0,
        })
    }

    /// Tokens of connections follow the listener's.
    pub fn ready(
        &mut self,
        token: Token,
        tally: &mut Tally,
        registry: &Registry,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        if token == self.listener_token {
            return self.accept(registry);
        }
        let Some(connection) = self
            .connections
            .get_mut(token.0 - self.listener_token.0 - 1)
        else {
            return Ok(());
        };
        // A peer that closes or resets its connection is none of the upstream's business.
        if !connection.closed && !connection.serve(&self.answer, &mut self.begun, tally, buffer)? {
            connection.closed = true;
            registry.deregister(&mut connection.stream)?;
            connection.stream.shutdown(std::net::Shutdown::Both).ok();
        }
        Ok(())
    }

    /// Sends the pieces whose time has come; whether there were any.
    pub fn play(&mut self, tally: &Tally) -> io::Result<bool> {
        let now = tally.now();
        let mut played = false;
        for connection in self
            .connections
            .iter_mut()
            .filter(|connection| !connection.closed)
        {
            played |= connection.play(&self.answer, now, tally)?;
        }
        Ok(played)
    }

    fn accept(&mut self, registry: &Registry) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    let token = Token(self.listener_token.0 + 1 + self.connections.len());
                    registry.register(
                        &mut stream,
                        token,
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    self.connections.push(Connection {
                        stream,
                        reader: Reader::default(),
                        out: Vec::new(),
                        written: 0,
                        playing: None,
                        closed: false,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    reader: Reader,
    out: Vec<u8>,
    written: usize,
    playing: Option<Playing>,
    closed: bool,
}

struct Playing {
    piece: usize,
    due: u64,
    /// The piece after the first: streams that begin together do not end together.
    second: usize,
}

impl Connection {
    /// False when the peer is gone.
    fn serve(
        &mut self,
        answer: &Answer,
        begun: &mut u64,
        tally: &mut Tally,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        if self.write().is_err() {
            return Ok(false);
        }
        loop {
            let size = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            };
            let mut at = 0;
            while at < size {
                let (took, complete) = self.reader.feed(&buffer[at..size], |_| ())?;
                at += took;
                if !complete {
                    break;
                }
                self.reader.reset();
                tally.upstream += 1;
                self.out.extend_from_slice(&answer.bytes);
                if !answer.pieces.is_empty() {
                    self.playing = Some(Playing::new(answer, *begun, tally.now()));
                    *begun += 1;
                }
                if self.write().is_err() {
                    return Ok(false);
                }
            }
        }
    }

    fn play(&mut self, answer: &Answer, now: u64, tally: &Tally) -> io::Result<bool> {
        let Some(playing) = self.playing.as_mut().filter(|playing| playing.due <= now) else {
            return Ok(false);
        };
        let piece = &answer.pieces[playing.piece];
        let start = self.out.len();
        self.out.extend_from_slice(piece);
        if let Some(at) = find(&self.out[start..], STAMP) {
            let digits = start + at + STAMP.len();
            let stamp = format!("{:0width$}", tally.now(), width = STAMP_DIGITS);
            self.out[digits..digits + STAMP_DIGITS].copy_from_slice(stamp.as_bytes());
        }
        playing.due += answer.pace;
        playing.piece = if playing.piece == 0 {
            playing.second
        } else {
            playing.piece + 1
        };
        if playing.piece == answer.pieces.len() {
            self.playing = None;
        }
        // A peer that is gone is found when its connection is read.
        self.write().ok();
        Ok(true)
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(size) => self.written += size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

impl Playing {
    /// Of the streams that begin together each sends its pieces at a time of its own, and is cut
    /// short by another length, so that pieces and ends of streams come evenly.
    fn new(answer: &Answer, begun: u64, now: u64) -> Self {
        let share = begun % answer.streams;
        let skip = if begun < answer.streams {
            share as usize * (answer.pieces.len() - 2) / answer.streams as usize
        } else {
            0
        };
        let due = if begun < answer.streams {
            now + answer.pace * share / answer.streams
        } else {
            now
        };
        Self {
            piece: 0,
            due,
            second: 1 + skip,
        }
    }
}
