//! Leases on keys: their names, and the workers that are notified when one ends.

use std::time::Duration;

use crate::cache::CacheKey;
use crate::request::LeaseKind;
use crate::store::{Joined, Lease, Peeked};

use super::Cx;

impl Cx<'_> {
    /// Asks for the lease on a key, for at most `max_age`. If another worker has it and `waits` says so,
    /// leaves word that this one is to be told of its end.
    pub(crate) fn join_lease(
        &self,
        key: &CacheKey,
        kind: LeaseKind,
        max_age: Duration,
        waits: bool,
    ) -> Joined {
        let (shared, now) = (self.host.shared_data(), self.now());
        (self.worker.leases).join(shared, &lease_name(key, kind), now, max_age, waits)
    }

    /// Gives a lease back, and tells the workers that wait for its end. For as long as
    /// `unstorable_for`, nobody is to wait for this key.
    pub(crate) fn release_lease(
        &self,
        key: &CacheKey,
        kind: LeaseKind,
        lease: Lease,
        unstorable_for: Duration,
    ) {
        let (shared, now) = (self.host.shared_data(), self.now());
        let until = (!unstorable_for.is_zero()).then(|| now + unstorable_for);
        let name = lease_name(key, kind);
        let waiting = (self.worker.leases).release(shared, &name, lease, until, now);
        for queue in waiting {
            // A worker that is not told finds out at its next tick.
            let _untold = self.host.enqueue(queue, key.as_bytes());
        }
    }

    /// Whether another worker still asks the upstream for a key.
    pub(crate) fn is_leased(&self, key: &CacheKey) -> bool {
        let (shared, now) = (self.host.shared_data(), self.now());
        let name = lease_name(key, LeaseKind::Collapse);
        self.worker.leases.peek(shared, &name, now) != Peeked::Free
    }
}

/// Under what name the lease on a key goes: another one for each kind.
fn lease_name(key: &CacheKey, kind: LeaseKind) -> [u8; 32] {
    match kind {
        LeaseKind::Collapse => *key.as_bytes(),
        LeaseKind::Refresh => key.as_bytes().map(|byte| !byte),
    }
}
