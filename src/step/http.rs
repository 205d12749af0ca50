//! The store behind HTTP: what is asked of it, counted, and its breaker's turns told.

use crate::bytes::Bytes;
use crate::cache::{CacheKey, Draft};
use crate::callout::CalloutResult;
use crate::clock::UnixMillis;
use crate::report::{OperationResult, Report, StoreOperation};
use crate::request::FetchPermit;
use crate::store::{Lookup, StoreFault, Suspicion, Turn, WriteBegun, WriteRoom};
use crate::worker::{HttpTier, Task};

use super::Cx;

/// An entry to be written to the store behind HTTP.
pub(crate) struct Write {
    pub(crate) key: CacheKey,
    /// On behalf of whom: [`ResolvedRequest::tenant`](crate::request::ResolvedRequest::tenant).
    pub(crate) tenant: u64,
    pub(crate) draft: Draft,
    /// When it is of no more use.
    pub(crate) expires: UnixMillis,
    /// Of those who wait for it, if they are to be told when it is written.
    pub(crate) permit: Option<FetchPermit>,
}

impl Cx<'_> {
    /// Decides how to look a key up in the store behind HTTP, and has the store probed if that is due.
    /// `None` if there is none.
    pub(crate) fn http_look_up(&self, key: &CacheKey, tenant: u64) -> Option<Lookup> {
        let HttpTier { store, .. } = self.worker.http.as_ref()?;
        let (lookup, turn) = store.look_up(&key.to_string(), tenant, self.now());
        self.breaker_turned(turn);
        match lookup {
            Lookup::Probe => self.add_task(Task::Probe),
            Lookup::Refused(fault @ StoreFault::Busy) => {
                self.report_store(StoreOperation::Lookup, OperationResult::Failed(fault));
            }
            Lookup::Refused(_) | Lookup::Send(..) => {}
        }
        Some(lookup)
    }

    /// What a lookup found, not verified.
    ///
    /// # Errors
    /// Why it is not known.
    pub(crate) fn http_looked_up(
        &self,
        result: CalloutResult,
    ) -> Result<Option<Bytes>, StoreFault> {
        let HttpTier { store, .. } = self.http_tier()?;
        let (found, suspicion) = store.looked_up(result, self.now());
        self.report_store(StoreOperation::Lookup, OperationResult::of_lookup(&found));
        self.probe_if_suspect(suspicion);
        found.map(|found| found.map(Bytes::from))
    }

    /// Has an entry written to the store behind HTTP, if there is one and room in it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn http_write(&self, write: Write) -> Result<(), StoreFault> {
        let Write {
            key,
            tenant,
            draft,
            expires,
            permit,
        } = write;
        let entry = draft.seal(&self.http_tier()?.seal);
        let room = self.begin_write(StoreOperation::Write, tenant, entry.len())?;
        self.add_task(Task::Write {
            key,
            entry,
            expires,
            permit,
            room,
        });
        Ok(())
    }

    /// Has an entry that is of no more use removed, where the store does not do that by itself. Best
    /// effort: it takes room, no more.
    pub(crate) fn http_delete(&self, key: &CacheKey, tenant: u64) {
        let http = self.worker.http.as_ref();
        if http.is_some_and(|http| http.store.keeps_expired())
            && let Ok(room) = self.begin_write(StoreOperation::Delete, tenant, 0)
        {
            self.add_task(Task::Delete(*key, room));
        }
    }

    /// What came of a write or a removal.
    pub(crate) fn http_done(
        &self,
        operation: StoreOperation,
        (result, suspicion): (Result<(), StoreFault>, Option<Suspicion>),
    ) {
        let result = result.map_or_else(OperationResult::Failed, |()| OperationResult::Done);
        self.report_store(operation, result);
        self.probe_if_suspect(suspicion);
    }

    /// What came of a probe.
    pub(crate) fn http_probed(
        &self,
        (found, turn): (Result<Option<Vec<u8>>, StoreFault>, Option<Turn>),
    ) {
        self.report_store(StoreOperation::Probe, OperationResult::of_lookup(&found));
        self.breaker_turned(turn);
    }

    fn begin_write(
        &self,
        operation: StoreOperation,
        tenant: u64,
        bytes: usize,
    ) -> Result<WriteRoom, StoreFault> {
        let HttpTier { store, .. } = self.http_tier()?;
        let (begun, turn) = store.begin_write(bytes, tenant, self.now());
        self.breaker_turned(turn);
        let fault = match begun {
            WriteBegun::Yes(room) => return Ok(room),
            WriteBegun::Probe => {
                self.add_task(Task::Probe);
                StoreFault::BreakerOpen
            }
            WriteBegun::No(fault) => fault,
        };
        self.report_store(operation, OperationResult::Failed(fault));
        Err(fault)
    }

    fn http_tier(&self) -> Result<&HttpTier, StoreFault> {
        self.worker.http.as_ref().ok_or(StoreFault::Unavailable)
    }

    fn report_store(&self, operation: StoreOperation, result: OperationResult) {
        self.report(Report::Store(operation, result));
    }

    fn breaker_turned(&self, turn: Option<Turn>) {
        if let Some(turn) = turn {
            self.report(Report::Breaker(turn));
        }
    }

    fn probe_if_suspect(&self, suspicion: Option<Suspicion>) {
        if let Some(Suspicion) = suspicion {
            self.add_task(Task::Probe);
        }
    }
}
