//! Where entries live. Pure: bytes in, bytes out; a host lends its means as a trait.

mod http;
mod lease;
mod memory;

pub use http::{BreakerState, HttpStore, Lookup, Suspicion, Turn, WriteBegun, WriteRoom};
pub use lease::{Joined, Lease, Leases, Peeked};
pub use memory::{MemoryStore, MemoryUsage, SlotRef, Stored, UsageSurvey};

use crate::bytes::Bytes;

/// What a store knows an entry or a lease by: a digest, so that its bytes are spread evenly. A store
/// needs nothing else of a cache key, and does not know `cache`, which stands beside it.
pub type StoreKey = [u8; 32];

/// Envoy's shared data, as much of it as a store needs: a map from names to bytes that all workers
/// of the process share, that grows with every new name and never forgets one.
pub trait SharedData {
    /// The value under a name, and the number that stands for this version of it.
    ///
    /// # Errors
    /// [`HostFault`] if the host does not answer as it should.
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault>;

    /// Sets the value under a name: always, or only if its version is still the one given. A name
    /// that does not exist is created whatever version is given (proxy-wasm-cpp-host,
    /// `shared_data.cc`).
    ///
    /// # Errors
    /// [`SetFault::VersionMismatch`] if somebody else was first.
    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault>;
}

/// Stands for one version of a value; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32);

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// Its version.
    pub version: Version,
}

/// The host did not answer as it should: the capability is restricted, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFault;

/// Why a store did not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The entry is longer than `max_entry_bytes`, or than the whole store.
    TooLarge,
    /// Other workers were faster, again and again.
    Contended,
    /// It does not answer, or not as it should.
    Unavailable,
    /// It did not answer in time.
    Timeout,
    /// It answered that it will not.
    Refused,
    /// It has failed too often, and is left alone for a while.
    BreakerOpen,
    /// Too much is being asked of it already, on behalf of the same caller or of all.
    Busy,
}

impl StoreFault {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "entry_too_large",
            Self::Contended => "store_contended",
            Self::Unavailable => "store_unavailable",
            Self::Timeout => "store_timeout",
            Self::Refused => "store_refused",
            Self::BreakerOpen => "breaker_open",
            Self::Busy => "store_busy",
        }
    }
}

impl From<HostFault> for StoreFault {
    fn from(_: HostFault) -> Self {
        Self::Unavailable
    }
}

/// Why a value was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFault {
    /// The value has another version by now.
    VersionMismatch,
    /// The host did not answer as it should.
    Host,
}

/// A version that no value has before shared data was set four thousand million times: setting
/// with it creates a name and changes nothing under a name that exists.
const IF_ABSENT: Version = Version(u32::MAX);

/// The value under a name, which is there afterwards; empty if it was not there before.
fn get_or_create(shared: &dyn SharedData, name: &str) -> Result<Versioned, HostFault> {
    if let Some(found) = shared.get(name)? {
        return Ok(found);
    }
    match shared.set(name, &[], Some(IF_ABSENT)) {
        // Somebody else created it: as good.
        Ok(()) | Err(SetFault::VersionMismatch) => {}
        Err(SetFault::Host) => return Err(HostFault),
    }
    shared.get(name)?.ok_or(HostFault)
}
