//! What a request keeps of its headers while it is held, and what its exchange takes beside. Clients
//! choose how many requests they begin, and how long the headers of each are.

use std::mem;

use crate::attributes::{Attribute, Attributes};
use crate::budget::{Charged, NoRoom, Reservation};
use crate::http::Headers;
use crate::report::LogRecord;
use crate::worker::Worker;

/// What an exchange takes, its contexts, flight and place among those that wait included, but for
/// what is charged by its length.
const EXCHANGE_BYTES: usize = 2 << 10;

/// Headers of so few bytes are kept as they are: to pick some would cost more than it saves.
const FEW_BYTES: usize = 2 << 10;

/// What is looked at when the request has its key. Of other headers that do not decide, nothing is
/// left by then, unless the request may be sent once more.
const LOOKED_AT: [&[u8]; 3] = [b"accept-encoding", b"origin", b"x-request-id"];

/// What a request keeps.
#[derive(Debug)]
pub(super) struct HeldRequest {
    pub(super) headers: Charged<Headers>,
    /// Those of them that take part in the key: nothing else does, but the attributes and the body.
    pub(super) key_headers: Headers,
    pub(super) attributes: Attributes,
    /// What the exchange takes beside.
    pub(super) reservation: Reservation,
    /// What it takes of that, but for the attributes.
    exchange_bytes: usize,
}

impl HeldRequest {
    /// `None` if there is no room for it. `key_headers` are those of the headers that take part in the
    /// key.
    pub(super) fn new(headers: Headers, key_headers: Headers, worker: &Worker) -> Option<Self> {
        let as_they_are = worker.resends || headers.held_bytes() <= FEW_BYTES;
        let (headers, key_headers) = if as_they_are {
            (headers, key_headers)
        } else {
            let is_kept = |name: &[u8]| LOOKED_AT.contains(&name) || worker.key_headers.has(name);
            let headers = headers.filtered(is_kept).copied();
            let key_headers = worker.key_headers.pick(&headers);
            (headers, key_headers)
        };
        let bytes = headers
            .held_bytes()
            .saturating_add(key_headers.list_bytes());
        let exchange_bytes = match worker.config.metrics.filter_state {
            true => EXCHANGE_BYTES.saturating_add(LogRecord::BYTES),
            false => EXCHANGE_BYTES,
        };
        Some(Self {
            reservation: Reservation::take(&worker.budget, exchange_bytes)?,
            exchange_bytes,
            headers: Charged::new(headers, bytes, &worker.budget)?,
            key_headers,
            attributes: Attributes::default(),
        })
    }

    /// The host has told what it knows of the caller, and so whose request this is.
    ///
    /// # Errors
    /// If there is no room for it, or the caller has its share.
    pub(super) fn learn(&mut self, attributes: Attributes, caller: u64) -> Result<(), NoRoom> {
        self.reservation.charge(caller)?;
        self.headers.charge(caller)?;
        self.keep(attributes)
    }

    /// The host has told what it knows of the route.
    ///
    /// # Errors
    /// If there is no room for it, or the caller has its share.
    pub(super) fn learn_route(&mut self, route: Vec<(Attribute, Vec<u8>)>) -> Result<(), NoRoom> {
        let attributes = mem::take(&mut self.attributes);
        self.keep(attributes.with_route(route))
    }

    fn keep(&mut self, attributes: Attributes) -> Result<(), NoRoom> {
        let bytes = self.exchange_bytes.saturating_add(attributes.held_bytes());
        self.attributes = attributes;
        self.reservation.set(bytes)
    }
}
