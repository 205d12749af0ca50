//! What a request keeps of its headers while it is held, and what its exchange takes beside. Clients
//! choose how many requests they begin, and how long the headers of each are.

use std::mem;

use crate::attributes::{Attribute, Attributes};
use crate::http::Headers;

use super::Worker;
use super::budget::{Charged, NoRoom, Reservation};

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
pub(super) struct Kept {
    pub(super) headers: Charged<Headers>,
    /// Those of them that decide: nothing else does, but the attributes and the body.
    pub(super) deciding: Headers,
    pub(super) attributes: Attributes,
    /// What the exchange takes beside.
    pub(super) place: Reservation,
}

impl Kept {
    /// `None` if there is no room for it. `deciding` are those of the headers that decide.
    pub(super) fn new(headers: Headers, deciding: Headers, worker: &Worker) -> Option<Self> {
        let as_they_are = worker.resends || headers.held_bytes() <= FEW_BYTES;
        let (headers, deciding) = if as_they_are {
            (headers, deciding)
        } else {
            let is_kept = |name: &[u8]| LOOKED_AT.contains(&name) || worker.deciding.has(name);
            let headers = headers.filtered(is_kept).copied();
            let deciding = worker.deciding.pick(&headers);
            (headers, deciding)
        };
        let bytes = headers.held_bytes().saturating_add(deciding.list_bytes());
        Some(Self {
            place: Reservation::take(&worker.budget, EXCHANGE_BYTES)?,
            headers: Charged::new(headers, bytes, &worker.budget)?,
            deciding,
            attributes: Attributes::default(),
        })
    }

    /// The host has told what it knows of the caller, and so whose request this is.
    ///
    /// # Errors
    /// If there is no room for it, or the caller has its share.
    pub(super) fn learn(&mut self, attributes: Attributes, caller: u64) -> Result<(), NoRoom> {
        self.place.charge(caller)?;
        self.headers.charge(caller)?;
        self.keep(attributes)
    }

    /// The host has told what it knows of the route.
    ///
    /// # Errors
    /// If there is no room for it, or the caller has its share.
    pub(super) fn learn_route(&mut self, told: Vec<(Attribute, Vec<u8>)>) -> Result<(), NoRoom> {
        let attributes = mem::take(&mut self.attributes);
        self.keep(attributes.with_route(told))
    }

    fn keep(&mut self, attributes: Attributes) -> Result<(), NoRoom> {
        let bytes = EXCHANGE_BYTES.saturating_add(attributes.held_bytes());
        self.attributes = attributes;
        self.place.set(bytes)
    }
}
