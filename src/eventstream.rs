//! AWS event stream messages (`application/vnd.amazon.eventstream`), parsed from bytes as they
//! come, whatever the chunking, and written.
//!
//! Source: the Smithy specification, "Amazon Event Stream Specification", and the limits that the
//! AWS clients keep. A message is, all numbers big-endian:
//! - the prelude: `u32` length of the whole message, `u32` length of the headers, `u32` CRC-32 of
//!   these eight bytes;
//! - the headers: for each a `u8` length and the name, a `u8` type and the value;
//! - the payload;
//! - `u32` CRC-32 of everything before it.

use std::fmt;

/// The longest payload that AWS allows.
pub const MAX_PAYLOAD_BYTES: usize = 24 << 20;

/// The longest headers that AWS allows.
pub const MAX_HEADERS_BYTES: usize = 128 << 10;

/// One message, whose checksums are right and whose headers can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    bytes: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
}

/// What a message is, by its headers that begin with a colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// An event, with its `:event-type`.
    Event(&'a str),
    /// An exception that the service models, with its `:exception-type`.
    Exception(&'a str),
    /// Another error, with its `:error-code`.
    Error(&'a str),
    /// None of these, or it says it twice.
    Unknown,
}

/// Why bytes are not a stream of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// The prelude's checksum is wrong.
    PreludeChecksum,
    /// The message's checksum is wrong.
    MessageChecksum,
    /// A length that cannot be, or is over AWS's limits.
    Length,
    /// The headers cannot be read.
    Headers,
}

impl<'a> Message<'a> {
    /// The message as it came, with its prelude and checksums.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// What the message is.
    pub fn kind(&self) -> Kind<'a> {
        let kind: fn(&'a str) -> Kind<'a> = match self.text_header(b":message-type") {
            Some("event") => Kind::Event,
            Some("exception") => Kind::Exception,
            Some("error") => Kind::Error,
            _ => return Kind::Unknown,
        };
        let name: &[u8] = match kind("") {
            Kind::Event(_) => b":event-type",
            Kind::Exception(_) => b":exception-type",
            _ => b":error-code",
        };
        self.text_header(name).map_or(Kind::Unknown, kind)
    }

    /// The value of the string header of that name, if there is exactly one.
    pub fn text_header(&self, name: &[u8]) -> Option<&'a str> {
        let mut named = Headers(self.headers)
            .filter_map(Result::ok)
            .filter(|header| header.name == name);
        match (named.next()?.value, named.next()) {
            (Value::Text(text), None) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }
}

/// A push parser for one stream of messages.
///
/// It holds the unfinished message and no more, at most [`MAX_PAYLOAD_BYTES`] and
/// [`MAX_HEADERS_BYTES`]. Its work is linear in the bytes fed.
#[derive(Default)]
pub struct Parser {
    /// The start of an unfinished message.
    held: Vec<u8>,
    corrupt: Option<Corrupt>,
}

impl Parser {
    /// A parser at the first byte of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream and calls `on_message` for each message they complete,
    /// in order. A message that lies inside `chunk` is lent from it.
    ///
    /// # Errors
    /// Once the bytes are no stream of messages, and from then on.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        on_message: impl FnMut(Message<'_>),
    ) -> Result<(), Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        let fed = self.take(chunk, on_message);
        self.corrupt = fed.err();
        fed
    }

    /// How many bytes it has allocated.
    pub fn held_bytes(&self) -> usize {
        self.held.capacity()
    }

    /// Whether the stream ends here in the middle of a message.
    pub fn is_pending(&self) -> bool {
        !self.held.is_empty()
    }

    fn take(
        &mut self,
        chunk: &[u8],
        mut on_message: impl FnMut(Message<'_>),
    ) -> Result<(), Corrupt> {
        let mut rest = chunk;
        while !self.held.is_empty() && !rest.is_empty() {
            let wanted = message_length(&self.held)?.unwrap_or(PRELUDE_BYTES);
            let missing = wanted.saturating_sub(self.held.len());
            let (more, tail) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            self.held.extend_from_slice(more);
            rest = tail;
            if let Some((message, _)) = split_message(&self.held)? {
                on_message(message);
                self.held.clear();
            }
        }
        while let Some((message, tail)) = split_message(rest)? {
            on_message(message);
            rest = tail;
        }
        self.held.extend_from_slice(rest);
        Ok(())
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("held", &self.held.len())
            .field("corrupt", &self.corrupt)
            .finish()
    }
}

/// Appends a message with these string headers to `out`.
///
/// # Errors
/// If a name, a value, the headers or the payload is longer than the format or AWS allows; `out`
/// is then as it was.
pub fn encode(out: &mut Vec<u8>, headers: &[(&str, &str)], payload: &[u8]) -> Result<(), Corrupt> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encoded.push(u8::try_from(name.len()).map_err(|_| Corrupt::Headers)?);
        encoded.extend_from_slice(name.as_bytes());
        encoded.push(TEXT);
        let length = u16::try_from(value.len()).map_err(|_| Corrupt::Headers)?;
        encoded.extend_from_slice(&length.to_be_bytes());
        encoded.extend_from_slice(value.as_bytes());
    }
    if encoded.len() > MAX_HEADERS_BYTES || payload.len() > MAX_PAYLOAD_BYTES {
        return Err(Corrupt::Length);
    }
    let total = FRAME_BYTES
        .saturating_add(encoded.len())
        .saturating_add(payload.len());
    let length = |length| u32::try_from(length).map_err(|_| Corrupt::Length);
    let mut message = Vec::with_capacity(total);
    message.extend_from_slice(&length(total)?.to_be_bytes());
    message.extend_from_slice(&length(encoded.len())?.to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&encoded);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    out.append(&mut message);
    Ok(())
}

/// The length of the message that these bytes begin with; `None` if its prelude is not complete.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, Corrupt> {
    Ok(prelude(bytes)?.map(|prelude| prelude.total))
}

struct Prelude {
    total: usize,
    headers: usize,
}

fn prelude(bytes: &[u8]) -> Result<Option<Prelude>, Corrupt> {
    let Some((lengths, rest)) = bytes.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let Some((checksum, _)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    if crc32fast::hash(lengths) != u32::from_be_bytes(*checksum) {
        return Err(Corrupt::PreludeChecksum);
    }
    let [a, b, c, d, e, f, g, h] = *lengths;
    let length = |bytes| usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| Corrupt::Length);
    let (total, headers) = (length([a, b, c, d])?, length([e, f, g, h])?);
    let payload = total
        .checked_sub(FRAME_BYTES)
        .and_then(|both| both.checked_sub(headers))
        .ok_or(Corrupt::Length)?;
    if headers > MAX_HEADERS_BYTES || payload > MAX_PAYLOAD_BYTES {
        return Err(Corrupt::Length);
    }
    Ok(Some(Prelude { total, headers }))
}

/// The message that these bytes begin with, if it is complete, and the bytes after it.
fn split_message(bytes: &[u8]) -> Result<Option<(Message<'_>, &[u8])>, Corrupt> {
    let Some(Prelude { total, headers }) = prelude(bytes)? else {
        return Ok(None);
    };
    let Some((bytes, rest)) = bytes.split_at_checked(total) else {
        return Ok(None);
    };
    let (checked, checksum) = bytes.split_last_chunk::<4>().ok_or(Corrupt::Length)?;
    if crc32fast::hash(checked) != u32::from_be_bytes(*checksum) {
        return Err(Corrupt::MessageChecksum);
    }
    let body = checked.get(PRELUDE_BYTES..).ok_or(Corrupt::Length)?;
    let (headers, payload) = body.split_at_checked(headers).ok_or(Corrupt::Length)?;
    if Headers(headers).any(|header| header.is_err()) {
        return Err(Corrupt::Headers);
    }
    let message = Message {
        bytes,
        headers,
        payload,
    };
    Ok(Some((message, rest)))
}

struct Header<'a> {
    name: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Text(&'a [u8]),
    Other,
}

/// The headers in these bytes; after an error there is nothing more.
struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Header<'a>, &'a [u8])> {
        let (length, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let (length, rest) = match *kind {
            // True and false.
            0 | 1 => (0, rest),
            // Integers of 8, 16, 32 and 64 bits.
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 => (8, rest),
            // Bytes and text, with a length of their own.
            BYTES | TEXT => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            // A timestamp and a UUID.
            8 => (8, rest),
            9 => (16, rest),
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        let value = match *kind {
            TEXT => Value::Text(value),
            _ => Value::Other,
        };
        Some((Header { name, value }, rest))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = Self::split(self.0);
        self.0 = split.as_ref().map_or(&[], |(_, rest)| rest);
        Some(split.map(|(header, _)| header).ok_or(Corrupt::Headers))
    }
}

/// Two lengths and their checksum.
const PRELUDE_BYTES: usize = 12;

/// The prelude and the message's checksum.
const FRAME_BYTES: usize = 16;

const BYTES: u8 = 6;
const TEXT: u8 = 7;

#[cfg(test)]
mod tests;
