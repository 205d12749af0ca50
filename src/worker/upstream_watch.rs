//! Samples hits: at which of them the host is asked whether the request has reached the upstream.

use std::cell::Cell;

/// The greatest number of hits between two at which the host is asked.
const ASK_EVERY: u64 = 1_024;

/// Counts hits.
#[derive(Debug, Default)]
pub(crate) struct UpstreamWatch {
    hits: Cell<u64>,
    next: Cell<u64>,
}

impl UpstreamWatch {
    /// Counts a hit, and says whether the host is to be asked: at the first, and then at distances that
    /// double up to [`ASK_EVERY`].
    pub(crate) fn is_due(&self) -> bool {
        let hits = self.hits.get().saturating_add(1);
        self.hits.set(hits);
        let due = hits >= self.next.get();
        if due {
            self.next.set(hits.saturating_add(hits.min(ASK_EVERY)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_asked_at_distances_that_double() {
        let watch = UpstreamWatch::default();
        let due: Vec<_> = (1..5_000).filter(|_| watch.is_due()).collect();
        let doubling = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];
        let steady = [2_048, 3_072, 4_096];
        assert_eq!(due, [&doubling[..], &steady].concat());
    }
}
