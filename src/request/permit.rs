//! The permit to ask the upstream for the answer under a key. What its end means to the requests that
//! wait for that answer stands in `step::permit`.

use crate::cache::CacheKey;
use crate::store::Lease;

/// What a lease is for. The two have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseKind {
    /// Identical requests wait for the answer.
    Collapse,
    /// Other requests are served the expired entry meanwhile.
    Refresh,
}

/// On behalf of which other requests a request asks the upstream, and the lease that allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// Identical requests wait for the answer.
    Collapse {
        /// The number of the flight in this worker.
        flight: u32,
        /// Tells the other workers; without one, only this worker knows.
        lease: Option<Lease>,
    },
    /// Other requests are served the expired entry.
    Refresh(Lease),
}

/// Held by the request that asks the upstream for an answer that is to be stored. It ends with the
/// answer in a store, or without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchPermit {
    pub(crate) key: CacheKey,
    pub(crate) leadership: Option<Leadership>,
}

impl FetchPermit {
    pub(crate) fn new(key: CacheKey, leadership: Option<Leadership>) -> Self {
        Self { key, leadership }
    }
}
