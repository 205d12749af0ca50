//! A cache entry: a key and the answer stored for it, as bytes in any store.
//!
//! ```text
//! "LLMC"  version u8  framing u8  status u16  created u64  lifetime u64  key [32]
//! cost: reports tokens u8, input u32, cached input u32, output u32, first byte u32, last byte u32
//! form options: length u32, bytes
//! headers: count u32, then per header: name length u32, name, value length u32, value
//! body: length u32, bytes
//! seal, over everything before it: CRC-32/ISO-HDLC as u32, or HMAC-SHA256 [32]
//! ```
//! Numbers are little-endian; times are milliseconds, `created` since 1970. The store may hand
//! back any bytes at all: whatever is not exactly an entry under the key asked for is a fault,
//! and a fault is a miss. So is what this filter would never have written, even if its seal is right.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{CacheKey, UpstreamCost};
use crate::bytes::Bytes;
use crate::clock::{UnixMillis, as_millis};
use crate::config::LONGEST_TTL;
use crate::http::Headers;
use crate::llm::{Form, Framing};

const MAGIC: [u8; 4] = *b"LLMC";

/// Raised whenever the layout or its meaning changes; `tests/golden/entry.hex` changes with it.
const FORMAT_VERSION: u8 = 2;

/// Stored with an answer, each once, and sent again with a hit. Everything else belongs to the one
/// exchange that it came with: `set-cookie`, request ids, rate limits, `date`, what concerns a
/// connection. `origin` is the request's, and not sent.
pub const STORED_HEADERS: [&str; 21] = [
    "access-control-allow-credentials",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "cross-origin-resource-policy",
    "openai-model",
    "openai-version",
    "origin",
    "timing-allow-origin",
    "vary",
    // What Bedrock says of an answer beside it.
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
    "x-amzn-bedrock-content-type",
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-amzn-bedrock-service-tier",
    "x-gemini-service-tier",
];

/// The only status that is stored: a body after another one may be the next response's beginning.
const STORED_STATUS: u16 = 200;

/// The longest form options, and the longest headers together: more than any API has, and less than
/// an HTTP client takes.
const MAX_OPTION_BYTES: usize = 1 << 10;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// An answer as it was stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// What stands before the body, decoded.
    pub head: Rc<EntryHead>,
    /// The whole encoded entry; the body is a part of it, which is never copied out.
    bytes: Bytes,
}

/// What an entry says of its answer.
#[derive(Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// The form in which it was stored.
    pub form: Form,
    /// Its status code.
    pub status: u16,
    /// When it was received.
    pub created: UnixMillis,
    /// How long it may be served.
    pub lifetime: Duration,
    /// What it cost its upstream.
    pub cost: UpstreamCost,
    /// Its stored headers.
    pub headers: Headers,
    /// Where the body is.
    body: Range<usize>,
    /// How long the entry is.
    length: usize,
}

/// Why bytes are not the entry that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFault {
    /// Not an entry, or one of another format version.
    Foreign,
    /// An entry for another key.
    OtherKey,
    /// Cut off, lengthened or changed.
    Corrupt,
    /// Sealed as it should be, and not what this filter writes.
    NotOurs,
}

/// What stands at the end of an entry and proves that it is as it was written.
#[derive(Clone)]
pub enum Seal {
    /// A checksum, against accidents.
    Checksum,
    /// An HMAC with the integrity key (RFC 2104), against others that can write to the store.
    Hmac(Hmac<Sha256>),
}

impl Seal {
    /// Seals with this key, or with a checksum if there is none.
    pub fn new(integrity_key: Option<&[u8]>) -> Self {
        // Keys of any length do.
        integrity_key
            .and_then(|key| Hmac::new_from_slice(key).ok())
            .map_or(Self::Checksum, Self::Hmac)
    }

    /// Whether the seal proves that its maker has the integrity key.
    pub fn proves_origin(&self) -> bool {
        matches!(self, Self::Hmac(_))
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Checksum => {
                let checksum = crc32fast::hash(bytes);
                bytes.extend_from_slice(&checksum.to_le_bytes());
            }
            Self::Hmac(hmac) => {
                let code = hmac.clone().chain_update(&*bytes).finalize();
                bytes.extend_from_slice(&code.into_bytes());
            }
        }
    }

    /// What is sealed, if the seal at its end is right.
    fn check<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Checksum => {
                let (sealed, checksum) = bytes.split_last_chunk()?;
                (crc32fast::hash(sealed) == u32::from_le_bytes(*checksum)).then_some(sealed)
            }
            Self::Hmac(hmac) => {
                let (sealed, code) = bytes.split_last_chunk::<32>()?;
                let hmac = hmac.clone().chain_update(sealed);
                hmac.verify_slice(code).ok().map(|()| sealed)
            }
        }
    }
}

impl fmt::Debug for Seal {
    /// The integrity key is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checksum => "Checksum",
            Self::Hmac(_) => "Hmac",
        })
    }
}

/// An encoded entry without its seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft(Vec<u8>);

impl Draft {
    /// The entry as it goes to a store.
    pub fn seal(self, seal: &Seal) -> Vec<u8> {
        let mut bytes = self.0;
        seal.put(&mut bytes);
        bytes
    }
}

/// An answer that is to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// Its form.
    pub form: &'a Form,
    /// Its status code.
    pub status: u16,
    /// When it was received.
    pub created: UnixMillis,
    /// How long it may be served.
    pub lifetime: Duration,
    /// What it cost its upstream.
    pub cost: UpstreamCost,
    /// Its headers, of which each is to be stored.
    pub headers: &'a Headers,
    /// Its body.
    pub body: &'a [u8],
}

/// Encodes an answer. `None` if [`Entry::decode`] would refuse it, or a part is longer than 32 bits
/// tell.
pub fn encode(key: &CacheKey, entry: &NewEntry<'_>) -> Option<Draft> {
    let NewEntry {
        form,
        status,
        created,
        lifetime,
        cost,
        headers,
        body,
    } = *entry;
    if !is_ours(status, form, lifetime, headers) {
        return None;
    }
    let header_bytes: usize = headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
    let mut out = Vec::with_capacity(121 + form.options.len() + header_bytes + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[FORMAT_VERSION, framing_code(form.framing)]);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&created.as_millis().to_le_bytes());
    out.extend_from_slice(&as_millis(lifetime).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&cost.encode());
    put(&mut out, &form.options)?;
    let count = u32::try_from(headers.iter().count()).ok()?;
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in headers.iter() {
        put(&mut out, name)?;
        put(&mut out, value)?;
    }
    put(&mut out, body)?;
    Some(Draft(out))
}

impl Entry {
    /// Decodes the entry for `key`, sealed like this.
    ///
    /// # Errors
    /// Whatever is wrong with the bytes: to the caller they are a miss.
    pub fn decode(
        key: &CacheKey,
        bytes: impl Into<Bytes>,
        seal: &Seal,
    ) -> Result<Self, EntryFault> {
        let bytes = bytes.into();
        let mut fields = Fields(&bytes);
        if fields.array().ok_or(EntryFault::Foreign)? != MAGIC
            || fields.array().ok_or(EntryFault::Foreign)? != [FORMAT_VERSION]
        {
            return Err(EntryFault::Foreign);
        }
        let sealed = seal.check(&bytes).ok_or(EntryFault::Corrupt)?;
        let [framing] = fields.array().ok_or(EntryFault::Corrupt)?;
        let status = fields.array().ok_or(EntryFault::Corrupt)?;
        let created = fields.array().ok_or(EntryFault::Corrupt)?;
        let lifetime = fields.array().ok_or(EntryFault::Corrupt)?;
        if fields.array().ok_or(EntryFault::Corrupt)? != *key.as_bytes() {
            return Err(EntryFault::OtherKey);
        }
        let cost = UpstreamCost::decode(&fields.array().ok_or(EntryFault::Corrupt)?);
        let options = fields.sized().ok_or(EntryFault::Corrupt)?;
        let headers = fields.headers()?;
        let body_length = fields.sized().ok_or(EntryFault::Corrupt)?.len();
        // The body is the last field before the seal, and nothing follows.
        let end = sealed.len();
        if fields.0.len() != bytes.len().saturating_sub(end) {
            return Err(EntryFault::Corrupt);
        }
        let body = end.saturating_sub(body_length)..end;
        let framing = Framing::ALL
            .into_iter()
            .find(|known| framing_code(*known) == framing)
            .ok_or(EntryFault::Corrupt)?;
        let form = Form::new(framing, options);
        let status = u16::from_le_bytes(status);
        let lifetime = Duration::from_millis(u64::from_le_bytes(lifetime));
        if !is_ours(status, &form, lifetime, &headers) {
            return Err(EntryFault::NotOurs);
        }
        let cost = cost.ok_or(EntryFault::NotOurs)?;
        let head = EntryHead {
            form,
            status,
            created: UnixMillis::from_millis(u64::from_le_bytes(created)),
            lifetime,
            cost,
            headers,
            body,
            length: bytes.len(),
        };
        Ok(Self {
            head: Rc::new(head),
            bytes,
        })
    }

    /// The entry whose head was decoded before, from the same bytes: the caller must know that they
    /// are. `None` if they cannot be.
    pub fn again(head: Rc<EntryHead>, bytes: Bytes) -> Option<Self> {
        (bytes.len() == head.length).then_some(Self { head, bytes })
    }

    /// The stored body, byte for byte as the upstream sent it.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head.body.clone()).unwrap_or_default()
    }

    /// What proves that it is as it was written.
    pub(super) fn seal(&self) -> &[u8] {
        self.bytes.get(self.head.body.end..).unwrap_or_default()
    }

    /// How many bytes it takes.
    #[expect(clippy::len_without_is_empty, reason = "no entry is empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded entry, for another store with another seal; `None` if it is longer than
    /// `max_bytes` without that.
    pub fn draft_within(&self, max_bytes: usize) -> Option<Draft> {
        let bytes = self.bytes.get(..self.head.body.end)?;
        (bytes.len() <= max_bytes).then(|| Draft(bytes.to_vec()))
    }
}

impl EntryHead {
    /// How many bytes of the entry it takes.
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub fn len(&self) -> usize {
        self.body.start
    }
}

pub(super) fn framing_code(framing: Framing) -> u8 {
    match framing {
        Framing::Json => 0,
        Framing::Sse => 1,
        Framing::Ndjson => 2,
        Framing::JsonArray => 3,
        Framing::EventStream => 4,
    }
}

/// Takes fields off the front of an encoded entry.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn headers(&mut self) -> Result<Headers, EntryFault> {
        let count = u32::from_le_bytes(self.array().ok_or(EntryFault::Corrupt)?);
        if usize::try_from(count).map_or(true, |count| count > STORED_HEADERS.len()) {
            return Err(EntryFault::NotOurs);
        }
        let mut headers = Headers::new();
        for _ in 0..count {
            let name = self.sized().ok_or(EntryFault::Corrupt)?;
            headers.push(name, self.sized().ok_or(EntryFault::Corrupt)?);
        }
        Ok(headers)
    }
}

/// Whether the filter writes such entries. Envoy puts status and headers on the wire as they are.
fn is_ours(status: u16, form: &Form, lifetime: Duration, headers: &Headers) -> bool {
    let known = |(name, value): (&[u8], &[u8])| {
        let stored = STORED_HEADERS.iter().find(|known| known.as_bytes() == name);
        stored.is_some_and(|name| headers.get_all(name).count() == 1) && is_field_value(value)
    };
    let header_bytes: usize = headers.iter().map(|(n, v)| n.len() + v.len()).sum();
    status == STORED_STATUS
        && lifetime <= LONGEST_TTL
        && form.options.len() <= MAX_OPTION_BYTES
        && header_bytes <= MAX_HEADER_BYTES
        && headers.iter().all(known)
}

/// RFC 9110, section 5.5: no control characters but the tab.
fn is_field_value(value: &[u8]) -> bool {
    let is_allowed = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    value.iter().all(is_allowed)
}

fn put(out: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    let length = u32::try_from(field.len()).ok()?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(field);
    Some(())
}

#[cfg(test)]
mod tests;
