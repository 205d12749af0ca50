//! One connection that asks, reads the answer, and asks again.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::framing::{Reader, find};
use crate::tally::Tally;
use crate::{COUNTER, STAMP, STAMP_DIGITS};

/// What every connection asks, and what it wants to see.
pub struct Plan {
    pub target: SocketAddr,
    /// The whole request; where it has a [`COUNTER`], each request has another number there.
    pub request: Vec<u8>,
    pub counter_at: Option<usize>,
    pub first: u64,
    /// Numbers begin anew after so many; 0 is never.
    pub distinct: u64,
    /// How many requests there are in all; 0 is no end.
    pub count: u64,
    /// What the head of every answer must contain.
    pub expect: Vec<u8>,
    /// How long every body must be; 0 is any length.
    pub expect_bytes: u64,
    /// Whether answers say when their pieces were written.
    pub stamped: bool,
    pub begun: u64,
}

impl Plan {
    fn next_number(&mut self) -> Option<u64> {
        if self.count != 0 && self.begun == self.count {
            return None;
        }
        let number = self.begun;
        self.begun += 1;
        Some(
            self.first
                + if self.distinct == 0 {
                    number
                } else {
                    number % self.distinct
                },
        )
    }
}

pub struct Client {
    stream: TcpStream,
    token: Token,
    request: Vec<u8>,
    written: usize,
    began: u64,
    /// Whether an answer is awaited.
    asking: bool,
    reader: Reader,
    /// The end of a chunk that may be the beginning of a stamp.
    cut: Vec<u8>,
}

impl Client {
    pub fn connect(plan: &Plan, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(plan.target)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            token,
            request: plan.request.clone(),
            written: 0,
            began: 0,
            asking: false,
            reader: Reader::default(),
            cut: Vec::new(),
        })
    }

    /// Does what the socket is ready for.
    pub fn ready(
        &mut self,
        plan: &mut Plan,
        tally: &mut Tally,
        registry: &Registry,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        match self.exchange(plan, tally, buffer) {
            Ok(true) => Ok(()),
            closed_or_broken => {
                if let Err(error) = closed_or_broken {
                    eprintln!("load: {error}");
                }
                if self.asking {
                    tally.broken += 1;
                }
                registry.deregister(&mut self.stream)?;
                *self = Self::connect(plan, registry, self.token)?;
                Ok(())
            }
        }
    }

    /// Writes and reads until the socket has no more; false when the connection is closed.
    fn exchange(
        &mut self,
        plan: &mut Plan,
        tally: &mut Tally,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        if !self.asking && !self.ask(plan, tally) {
            return Ok(true);
        }
        loop {
            if !self.write()? {
                return Ok(true);
            }
            let size = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let read_at = tally.now();
            let cut = &mut self.cut;
            let chunks = self.reader.pieces;
            let (_, complete) = self.reader.feed(&buffer[..size], |data| {
                if tally.open && plan.stamped {
                    note_stamps(cut, data, read_at, &mut tally.piece_latencies);
                }
            })?;
            if tally.open {
                tally.chunks += self.reader.pieces - chunks;
            }
            if complete {
                self.answered(plan, tally, read_at);
                if !self.ask(plan, tally) {
                    return Ok(true);
                }
            }
        }
    }

    /// Makes the next request ready; false when there is none.
    fn ask(&mut self, plan: &mut Plan, tally: &Tally) -> bool {
        self.asking = false;
        let Some(number) = plan.next_number() else {
            return false;
        };
        if let Some(at) = plan.counter_at {
            let digits = format!("{number:0width$}", width = COUNTER.len());
            self.request[at..at + COUNTER.len()].copy_from_slice(digits.as_bytes());
        }
        self.written = 0;
        self.began = tally.now();
        self.asking = true;
        self.cut.clear();
        self.reader.reset();
        true
    }

    /// Whether the whole request is written.
    fn write(&mut self) -> io::Result<bool> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(size) => self.written += size,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn answered(&mut self, plan: &Plan, tally: &mut Tally, now: u64) {
        tally.answered += 1;
        let head = self.reader.head();
        if !head.starts_with(b"HTTP/1.1 200") {
            tally.wrong("not answered with 200", head);
        } else if !plan.expect.is_empty() && find(head, &plan.expect).is_none() {
            tally.wrong("the answer's head is not as expected", head);
        } else if plan.expect_bytes != 0 && self.reader.body_bytes != plan.expect_bytes {
            tally.wrong(
                &format!("the body has {} bytes", self.reader.body_bytes),
                head,
            );
        }
        if tally.open {
            tally.latencies.push(now - self.began);
        }
    }
}

/// Finds the times at which the upstream wrote what was just read.
fn note_stamps(cut: &mut Vec<u8>, data: &[u8], now: u64, latencies: &mut Vec<u64>) {
    cut.extend_from_slice(data);
    let mut rest = cut.as_slice();
    while let Some(at) = find(rest, STAMP) {
        let digits = at + STAMP.len();
        let Some(text) = rest.get(digits..digits + STAMP_DIGITS) else {
            break;
        };
        let written = text
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        latencies.push(now.saturating_sub(written));
        rest = &rest[digits + STAMP_DIGITS..];
    }
    let keep = rest.len().min(STAMP.len() + STAMP_DIGITS - 1);
    let from = cut.len() - keep;
    cut.drain(..from);
}
