//! Caching proper: keys, entries, freshness and `Cache-Status`, pure in bytes and `now`.

mod caller;
mod copy;
mod cost;
mod entry;
mod explain;
mod freshness;
mod key;
mod status;

pub use caller::{NeededAttributes, NoCaller};
pub use copy::copy_key;
pub use cost::UpstreamCost;
pub use entry::{Draft, Entry, EntryFault, EntryHead, NewEntry, STORED_HEADERS, Seal, encode};
pub use explain::{Explanation, known_member};
pub use freshness::{Freshness, freshness};
pub use key::{Body, CacheKey, KeyParts, key_headers, steers_by_prefix};
pub use status::{CacheStatus, Forward, Tier};
