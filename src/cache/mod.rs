//! Caching proper: keys, entries, freshness and `Cache-Status`, pure in bytes and `now`.

mod copy;
mod entry;
mod freshness;
mod key;
mod status;

pub use copy::copy_key;
pub use entry::{Draft, Entry, EntryFault, EntryHead, STORED_HEADERS, Seal, encode};
pub use freshness::{Freshness, freshness};
pub use key::{Body, CacheKey, KeyParts, NoTenant, key_headers};
pub use status::{CacheStatus, Forward, Tier};
