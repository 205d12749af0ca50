//! Zstandard (RFC 8878), decoded from bytes as they come, block by block.
//!
//! Its own decoder, because ruzstd hands out only what lies beyond the window as long as the frame
//! has not ended, and clients may hang up as soon as an answer says its end: of a stream of 1.1 MB
//! in a window of 2 MiB, flushed after each line, nothing could be judged before its last byte. It
//! is no larger than this (23 KB), and 0.9.1 bounds what a block comes to, as 0.8.3 did not: 128 KiB
//! and one match, or 1 MiB of literals. Here a block is handed out when it is decoded.
//!
//! It holds one block and the window, which RFC 9659 bounds for HTTP. There is one frame, without a
//! dictionary, as clients read it.

use std::mem;

use super::effort::Effort;
use super::fault::CodingFault;
use super::history::History;
use super::xxh64::Xxh64;

mod bits;
mod fse;
mod huffman;
mod literals;
mod sequences;

use huffman::Huffman;
use sequences::Tables;

/// A frame, as far as it has come.
#[derive(Debug)]
pub(super) struct Zstd {
    next: Next,
    /// What has come of it.
    come: Vec<u8>,
    frame: Frame,
    history: History,
    /// How many bytes came out.
    length: u64,
    checksum: Xxh64,
    scratch: Scratch,
    effort: Effort,
}

/// What blocks leave to those after them.
#[derive(Debug, Default)]
struct Scratch {
    huffman: Option<Box<Huffman>>,
    tables: Tables,
    /// The last three distances.
    distances: sequences::Distances,
}

/// What comes next, and in how many bytes.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The magic number and the byte that says how long the header is.
    Magic,
    FrameHeader {
        descriptor: u8,
        length: usize,
    },
    BlockHeader,
    Block {
        kind: Kind,
        is_last: bool,
        length: usize,
    },
    Checksum,
    End,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Raw,
    /// A byte, and how many times it comes.
    Repeated(usize),
    Compressed,
}

/// What the header of a frame says.
#[derive(Debug, Default)]
struct Frame {
    /// How long the content is.
    content: Option<u64>,
    has_checksum: bool,
    max_block_bytes: usize,
}

impl Zstd {
    pub(super) fn new() -> Self {
        Self {
            next: Next::Magic,
            come: Vec::new(),
            frame: Frame::default(),
            history: History::new(0),
            length: 0,
            checksum: Xxh64::new(),
            scratch: Scratch::default(),
            effort: Effort::default(),
        }
    }

    /// Takes all of the input.
    pub(super) fn run(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<(), CodingFault> {
        loop {
            let length = match self.next {
                Next::Magic => 5,
                Next::FrameHeader { length, .. } | Next::Block { length, .. } => length,
                Next::BlockHeader => 3,
                Next::Checksum => 4,
                Next::End if input.is_empty() => return Ok(()),
                Next::End => return Err(CodingFault::AfterEnd),
            };
            let missing = length.saturating_sub(self.come.len());
            let Some((head, tail)) = input.split_at_checked(missing) else {
                self.come.extend_from_slice(mem::take(input));
                return Ok(());
            };
            *input = tail;
            // What came in one piece is not copied.
            let mut come = mem::take(&mut self.come);
            self.next = if come.is_empty() {
                self.part(head, out, left)?
            } else {
                come.extend_from_slice(head);
                self.part(&come, out, left)?
            };
            come.clear();
            self.come = come;
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.next, Next::End)
    }

    /// Bytes of memory.
    pub(super) fn held_bytes(&self) -> usize {
        let scratch = size_of::<Huffman>() + Tables::MAX_BYTES + self.come.capacity();
        self.history.held_bytes() + size_of::<Self>() + scratch
    }

    fn part(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        left: &mut usize,
    ) -> Result<Next, CodingFault> {
        match self.next {
            Next::Magic => match bytes {
                [0x28, 0xb5, 0x2f, 0xfd, descriptor] => Ok(Next::FrameHeader {
                    descriptor: *descriptor,
                    length: header_length(*descriptor).ok_or(CodingFault::Malformed)?,
                }),
                _ => Err(CodingFault::Malformed),
            },
            Next::FrameHeader { descriptor, .. } => {
                let header = header(descriptor, bytes).ok_or(CodingFault::Malformed)?;
                let (frame, window) = header;
                let window = usize::try_from(window).unwrap_or(usize::MAX);
                if window > MAX_WINDOW_BYTES {
                    return Err(CodingFault::Laborious);
                }
                let content = frame.content.map(usize::try_from);
                if content.is_some_and(|content| content.map_or(true, |content| content > *left)) {
                    return Err(CodingFault::TooLarge);
                }
                self.history = History::new(window);
                self.frame = Frame {
                    max_block_bytes: window.min(MAX_BLOCK_BYTES),
                    ..frame
                };
                Ok(Next::BlockHeader)
            }
            Next::BlockHeader => self.block_header(bytes).ok_or(CodingFault::Malformed),
            Next::Block { kind, is_last, .. } => {
                self.block(kind, bytes)?;
                let fresh = self.history.fresh();
                if fresh.len() > self.frame.max_block_bytes {
                    return Err(CodingFault::Malformed);
                }
                self.length = self.length.saturating_add(fresh.len() as u64);
                self.effort.allow(fresh.len());
                self.effort.check()?;
                if self.frame.has_checksum {
                    self.checksum.update(fresh);
                }
                self.history.hand_out(out, left)?;
                if !is_last {
                    return Ok(Next::BlockHeader);
                }
                if self
                    .frame
                    .content
                    .is_some_and(|length| length != self.length)
                {
                    return Err(CodingFault::Checksum);
                }
                Ok(match self.frame.has_checksum {
                    true => Next::Checksum,
                    false => Next::End,
                })
            }
            Next::Checksum => {
                let [a, b, c, d, ..] = self.checksum.digest().to_le_bytes();
                match bytes == [a, b, c, d] {
                    true => Ok(Next::End),
                    false => Err(CodingFault::Checksum),
                }
            }
            Next::End => Ok(Next::End),
        }
    }

    fn block_header(&self, bytes: &[u8]) -> Option<Next> {
        let header = little_endian(bytes)?;
        let length = usize::try_from(header >> 3).ok()?;
        if length > self.frame.max_block_bytes {
            return None;
        }
        let (kind, length) = match (header >> 1) & 3 {
            0 => (Kind::Raw, length),
            1 => (Kind::Repeated(length), 1),
            2 => (Kind::Compressed, length),
            _ => return None,
        };
        Some(Next::Block {
            kind,
            is_last: header & 1 == 1,
            length,
        })
    }

    fn block(&mut self, kind: Kind, bytes: &[u8]) -> Result<(), CodingFault> {
        let Self {
            history,
            scratch,
            effort,
            frame,
            ..
        } = self;
        match kind {
            Kind::Raw => history.extend(bytes),
            Kind::Repeated(times) => {
                let byte = bytes.first().ok_or(CodingFault::Malformed)?;
                history.fill(*byte, times);
            }
            Kind::Compressed => {
                scratch
                    .block(bytes, history, frame.max_block_bytes, effort)
                    .ok_or(CodingFault::Malformed)?;
            }
        }
        Ok(())
    }
}

impl Scratch {
    fn block(
        &mut self,
        bytes: &[u8],
        history: &mut History,
        max_bytes: usize,
        effort: &mut Effort,
    ) -> Option<()> {
        let (literals, rest) = literals::read(bytes, &mut self.huffman, max_bytes, effort)?;
        let (count, rest) = sequences::count(rest)?;
        if count == 0 {
            history.extend(&literals);
            return rest.is_empty().then_some(());
        }
        let rest = self.tables.read(rest, effort)?;
        let distances = &mut self.distances;
        sequences::run(
            &self.tables,
            rest,
            count,
            &literals,
            distances,
            history,
            max_bytes,
        )
    }
}

/// How long the rest of a frame's header is.
fn header_length(descriptor: u8) -> Option<usize> {
    // Reserved bits, and dictionaries, which are not supported.
    if descriptor & 0b1000 != 0 || descriptor & 0b11 != 0 {
        return None;
    }
    let is_single = descriptor & 0b10_0000 != 0;
    let window = usize::from(!is_single);
    Some(window + content_bytes(descriptor))
}

/// In how many bytes the length of the content is told.
fn content_bytes(descriptor: u8) -> usize {
    match descriptor >> 6 {
        0 => usize::from(descriptor & 0b10_0000 != 0),
        1 => 2,
        2 => 4,
        _ => 8,
    }
}

/// The rest of a frame's header, and the window.
fn header(descriptor: u8, bytes: &[u8]) -> Option<(Frame, u64)> {
    let (window, content) =
        bytes.split_at_checked(bytes.len().checked_sub(content_bytes(descriptor))?)?;
    let content = match content.len() {
        0 => None,
        2 => Some(little_endian(content)?.checked_add(256)?),
        _ => Some(little_endian(content)?),
    };
    let window = match window.first() {
        Some(window) => {
            let base = 1_u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        }
        None => content?,
    };
    let frame = Frame {
        content,
        has_checksum: descriptor & 0b100 != 0,
        max_block_bytes: 0,
    };
    Some((frame, window))
}

/// At most eight bytes as a number.
fn little_endian(bytes: &[u8]) -> Option<u64> {
    let mut number = [0; 8];
    number.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(number))
}

/// RFC 9659, section 3.
const MAX_WINDOW_BYTES: usize = 8 << 20;
const MAX_BLOCK_BYTES: usize = 128 << 10;
