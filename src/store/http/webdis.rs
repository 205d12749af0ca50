//! Redis or Valkey behind Webdis: commands as paths, their arguments percent-encoded
//! (<https://github.com/nicolasff/webdis>, README). Tried with Webdis 0.1.9 and Redis 7.0.

use std::fmt::Write;

use super::{Protocol, StoreRequest};
use crate::callout::CalloutReply;
use crate::clock::DeltaSeconds;
use crate::store::StoreFault;

/// The protocol `webdis`.
#[derive(Debug)]
pub(super) struct Webdis;

/// What Webdis says when Redis has stored something.
const STORED: &[u8] = br#"{"SETEX":[true,"OK"]}"#;

/// What stands before the error when Redis has not.
const NOT_STORED: &[u8] = br#"{"SETEX":[false,""#;

/// The errors of a Redis that is not well (<https://redis.io/docs/latest/develop/reference/protocol-spec>,
/// simple errors, and the source's `shared` objects). All others speak of the command.
const UNWELL: [&[u8]; 4] = [b"BUSY ", b"CLUSTERDOWN ", b"LOADING ", b"MASTERDOWN "];

impl Protocol for Webdis {
    fn get(&self, prefix: &str, key: &str) -> StoreRequest {
        let name = argument(prefix, key);
        // Without a type, Webdis would wrap the value in JSON, as text.
        StoreRequest::new("GET", format!("/GET/{name}?type=application/octet-stream"))
    }

    fn found(&self, reply: CalloutReply) -> Result<Option<Vec<u8>>, StoreFault> {
        match (reply.status, reply.body) {
            // An error of Redis is 200 as well, spelled as Redis does; no entry begins so.
            (200, Some(body)) => match body.strip_prefix(b"-") {
                Some(error) => Err(fault(error)),
                None => Ok(Some(body)),
            },
            (200, None) => Err(StoreFault::TooLarge),
            (404, _) => Ok(None),
            _ => Err(StoreFault::Refused),
        }
    }

    fn put(&self, prefix: &str, key: &str, ttl: DeltaSeconds, entry: Vec<u8>) -> StoreRequest {
        let name = argument(prefix, key);
        StoreRequest {
            body: entry,
            // Redis takes no lifetime of 0.
            ..StoreRequest::new(
                "PUT",
                format!("/SETEX/{name}/{}", ttl.max(DeltaSeconds::new(1))),
            )
        }
    }

    fn stored(&self, reply: &CalloutReply) -> Result<(), StoreFault> {
        match (reply.status, reply.body.as_deref()) {
            (200, Some(STORED)) => Ok(()),
            (200, Some(body)) => Err(body
                .strip_prefix(NOT_STORED)
                .map_or(StoreFault::Refused, fault)),
            _ => Err(StoreFault::Refused),
        }
    }

    /// Redis forgets by itself.
    fn delete(&self, _prefix: &str, _key: &str) -> Option<StoreRequest> {
        None
    }

    fn deleted(&self, _reply: &CalloutReply) -> Result<(), StoreFault> {
        Ok(())
    }
}

fn fault(error: &[u8]) -> StoreFault {
    if UNWELL.iter().any(|word| error.starts_with(word)) {
        StoreFault::Unavailable
    } else {
        StoreFault::Refused
    }
}

/// The name of a Redis key as one argument. Webdis splits arguments at slashes and takes what
/// follows a full stop for a format, both before it decodes what is percent-encoded.
fn argument(prefix: &str, key: &str) -> String {
    let mut name = String::with_capacity(prefix.len() + key.len());
    for byte in prefix.bytes().chain(key.bytes()) {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ok = write!(name, "%{byte:02X}");
        }
    }
    name
}
