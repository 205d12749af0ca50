//! The memory store.

use crate::cache::{CacheKey, Entry, Seal};
use crate::clock::UnixMillis;
use crate::config::Settings;
use crate::report::Report;
use crate::store::{SlotRef, StoreFault, Stored};

use super::Cx;

impl Cx<'_> {
    /// What is under a key in memory, not verified.
    pub(crate) fn look_up(&self, key: &CacheKey) -> Result<Option<Stored>, StoreFault> {
        let (shared, now) = (self.host.shared_data(), self.now());
        let memory = self.worker.memory.as_ref();
        memory.map_or(Ok(None), |memory| {
            memory.look_up(shared, key.as_bytes(), now)
        })
    }

    /// The same where the entry was seen before.
    pub(crate) fn look_again(
        &self,
        key: &CacheKey,
        slot: SlotRef,
    ) -> Result<Option<Stored>, StoreFault> {
        let (shared, now) = (self.host.shared_data(), self.now());
        let memory = self.worker.memory.as_ref();
        memory.map_or(Ok(None), |memory| {
            memory.look_again(shared, key.as_bytes(), slot, now)
        })
    }

    /// Keeps an entry in memory until it is of no more use.
    ///
    /// # Errors
    /// Why it is not there.
    pub(crate) fn insert(
        &self,
        key: &CacheKey,
        entry: &[u8],
        expires: UnixMillis,
    ) -> Result<(), StoreFault> {
        let memory = self.worker.memory.as_ref();
        let memory = memory.ok_or(StoreFault::Unavailable)?;
        let (shared, now) = (self.host.shared_data(), self.now());
        let evicted = memory.insert(shared, key.as_bytes(), entry, now, expires)?;
        self.report(Report::Evictions(evicted));
        Ok(())
    }

    /// An entry of the store behind HTTP as the memory would keep it, if it fits, and when it is of no
    /// more use.
    pub(crate) fn draft_for_memory(
        &self,
        entry: &Entry,
        settings: &Settings,
    ) -> Option<(Vec<u8>, UnixMillis)> {
        let memory = self.worker.config.memory?;
        let draft = entry.draft_within(memory.max_entry_bytes)?;
        let expired = entry.head.created + entry.head.lifetime;
        let expires = expired + settings.stale_window();
        Some((draft.seal(&Seal::Checksum), expires))
    }
}
