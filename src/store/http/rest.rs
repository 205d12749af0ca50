//! Objects over plain HTTP: `GET`, `PUT` and `DELETE` of `<path_prefix><key>` (RFC 9110). S3 and
//! compatible, GCS, nginx WebDAV. Envoy signs the requests where they need it
//! (`envoy.filters.http.aws_request_signing`).

use super::{Protocol, StoreRequest};
use crate::callout::CalloutReply;
use crate::clock::DeltaSeconds;
use crate::store::StoreFault;

/// The protocol `rest`.
#[derive(Debug)]
pub(super) struct Rest;

impl Protocol for Rest {
    fn get(&self, prefix: &str, key: &str) -> StoreRequest {
        StoreRequest::new("GET", format!("{prefix}{key}"))
    }

    fn found(&self, reply: CalloutReply) -> Result<Option<Vec<u8>>, StoreFault> {
        match reply.status {
            200 => reply.body.map(Some).ok_or(StoreFault::TooLarge),
            404 | 410 => Ok(None),
            _ => Err(StoreFault::Refused),
        }
    }

    fn put(&self, prefix: &str, key: &str, ttl: DeltaSeconds, entry: Vec<u8>) -> StoreRequest {
        // The expiry that counts is the one in the entry; this one tells the store's other readers
        // and rules, and is kept with the object.
        StoreRequest {
            body: entry,
            headers: vec![
                ("content-type", "application/octet-stream".to_owned()),
                ("cache-control", format!("max-age={ttl}")),
            ],
            ..StoreRequest::new("PUT", format!("{prefix}{key}"))
        }
    }

    fn stored(&self, reply: &CalloutReply) -> Result<(), StoreFault> {
        match reply.status {
            200..300 => Ok(()),
            _ => Err(StoreFault::Refused),
        }
    }

    fn delete(&self, prefix: &str, key: &str) -> Option<StoreRequest> {
        Some(StoreRequest::new("DELETE", format!("{prefix}{key}")))
    }

    fn deleted(&self, reply: &CalloutReply) -> Result<(), StoreFault> {
        match reply.status {
            200..300 | 404 | 410 => Ok(()),
            _ => Err(StoreFault::Refused),
        }
    }
}
