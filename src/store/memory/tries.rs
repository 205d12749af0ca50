//! How often a change by compare-and-set is tried.

/// How often a writer tries again when another worker was first.
pub(super) const MAX_TRIES: usize = 8;
