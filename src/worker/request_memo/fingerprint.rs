//! How a worker recognizes a request that comes again.

/// Stands for a request: for its key headers, its attributes and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(super) [u64; 2]);
