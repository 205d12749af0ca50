//! What the headers of a request say of it, beside what takes part in its key.

use std::borrow::Cow;
use std::mem;
use std::time::Duration;

use crate::budget::{CaptureBudget, Reservation};
use crate::coding::{self, CodingFault, Decoder};
use crate::config::parse_duration;
use crate::http::{self, Headers, RequestDirectives};
use crate::report::Bypass;

/// What the headers of a request say, beside what takes part in its key.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) directives: RequestDirectives,
    /// How long the body is said to be.
    pub(super) length: Option<u64>,
    /// How the body is compressed.
    pub(super) coding: RequestCoding,
    /// What `x-llm-cache-ttl` says, if it is there.
    pub(super) ttl: Option<Result<Duration, InvalidTtl>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct InvalidTtl;

/// How the body of a request is compressed.
#[derive(Debug)]
pub(super) enum RequestCoding {
    Plain,
    /// In this way, which can be undone.
    Coded(Box<[u8]>),
    Unknown,
}

impl RequestHead {
    /// Reads the headers in one go. `None` if they leave no way into the cache, which is open to a
    /// plain POST of plain JSON.
    pub(super) fn read(headers: &Headers) -> Option<Self> {
        let mut is_post = false;
        let mut lengths = 0;
        let mut head = Self {
            directives: RequestDirectives::default(),
            length: None,
            coding: RequestCoding::Plain,
            ttl: None,
        };
        for (name, value) in headers.iter() {
            let is_plain = match name {
                b":method" => {
                    is_post = value == b"POST";
                    is_post
                }
                b"content-type" => http::is_plain_json(value),
                b"content-encoding" => {
                    head.coding = mem::replace(&mut head.coding, RequestCoding::Unknown).then(value);
                    true
                }
                b"range"
                | b"upgrade"
                // By these a request means another method than its own.
                | b"x-http-method"
                | b"x-http-method-override"
                | b"x-method-override" => false,
                b"content-length" => {
                    lengths += 1;
                    head.length = http::number(value).filter(|_| lengths == 1);
                    true
                }
                b"cache-control" => {
                    head.directives.add(value);
                    true
                }
                b"x-llm-cache-ttl" => {
                    head.ttl.get_or_insert_with(|| requested_ttl(value));
                    true
                }
                _ => true,
            };
            if !is_plain {
                return None;
            }
        }
        is_post.then_some(head)
    }
}

fn requested_ttl(value: &[u8]) -> Result<Duration, InvalidTtl> {
    let ttl = std::str::from_utf8(value).map_err(|_| InvalidTtl)?;
    parse_duration(ttl.trim_ascii()).ok_or(InvalidTtl)
}

impl RequestCoding {
    /// With one more line of `content-encoding`.
    fn then(self, coding: &[u8]) -> Self {
        match self {
            same if coding.eq_ignore_ascii_case(b"identity") => same,
            Self::Plain if Decoder::new(coding, 0).is_some() => Self::Coded(coding.into()),
            Self::Plain | Self::Coded(_) | Self::Unknown => Self::Unknown,
        }
    }

    /// The body as it was before it was compressed, and what it takes of the budget.
    pub(super) fn undo<'b>(
        &self,
        body: &'b [u8],
        max_bytes: usize,
        budget: &CaptureBudget,
    ) -> Result<(Cow<'b, [u8]>, Reservation), Bypass> {
        let (plain, held) = match self {
            Self::Plain => (Cow::Borrowed(body), 0),
            Self::Unknown => return Err(Bypass::ContentEncoding),
            Self::Coded(coding) => {
                let max_bytes = max_bytes.min(budget.left());
                let plain = coding::decode_prompt(coding, body, max_bytes);
                let plain = plain.map_err(Bypass::Coding)?;
                let held = plain.len();
                (Cow::Owned(plain), held)
            }
        };
        let reservation = Reservation::take(budget, held);
        Ok((
            plain,
            reservation.ok_or(Bypass::Coding(CodingFault::TooLarge))?,
        ))
    }
}
