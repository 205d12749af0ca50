//! What the exchanges of one worker share, and what goes on behind their backs: callouts to the
//! store behind HTTP whose result nobody waits for. They outlive the exchange that asked for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use crate::cache::{CacheKey, Entry, Seal};
use crate::callout::{CalloutFault, CalloutResult};
use crate::config::Config;
use crate::store::{HttpStore, StoreFault};

use super::{CaptureBudget, Operation, OperationResult, Output, Report, WorkerOutput};

/// What the exchanges of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// The configuration that holds for exchanges begun under it.
    pub config: Config,
    /// What all captures together may hold.
    pub budget: CaptureBudget,
    pub(super) http: Option<Remote>,
    /// What is to be sent once the host has woken the worker up.
    pending: RefCell<VecDeque<Job>>,
    sent: RefCell<BTreeMap<u32, Sent>>,
    last_id: Cell<u32>,
}

/// The store behind HTTP, and what proves that an entry in it is ours.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) store: HttpStore,
    pub(super) seal: Seal,
}

/// A callout to be sent in the background. Keys are digests in hex.
#[derive(Debug)]
enum Job {
    Write {
        key: String,
        entry: Vec<u8>,
        /// When it is of no more use, in milliseconds since 1970.
        expires: u64,
    },
    Probe {
        key: String,
    },
    Delete {
        key: String,
    },
}

/// A callout whose result is due; what it gives back.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Write { bytes: usize },
    Probe,
    Delete,
}

impl Worker {
    /// A worker without exchanges. `seed` makes its randomness, and is best different in each.
    pub fn new(config: Config, seed: u64) -> Self {
        let http = config.http.clone().map(|settings| {
            let key = settings.integrity_key.as_ref();
            Remote {
                seal: Seal::new(key.map(|key| key.expose().as_bytes())),
                store: HttpStore::new(settings, seed),
            }
        });
        Self {
            budget: CaptureBudget::new(config.limits.max_capture_bytes),
            http,
            config,
            pending: RefCell::default(),
            sent: RefCell::default(),
            last_id: Cell::new(0),
        }
    }

    /// Sends what is to be sent; answers [`Output::Wake`].
    pub fn awake(&self, now: u64, out: &mut Vec<WorkerOutput>) {
        let Some(Remote { store, .. }) = &self.http else {
            return;
        };
        for job in self.pending.take() {
            let (sent, callout) = match job {
                Job::Write {
                    key,
                    entry,
                    expires,
                } => {
                    let bytes = entry.len();
                    let seconds = expires.saturating_sub(now).div_ceil(1_000);
                    let callout = store.write(&key, seconds, entry);
                    (Sent::Write { bytes }, Some(callout))
                }
                Job::Probe { key } => (Sent::Probe, Some(store.probe(&key))),
                Job::Delete { key } => (Sent::Delete, store.delete(&key)),
            };
            if let Some(callout) = callout {
                let id = self.last_id.get().wrapping_add(1);
                self.last_id.set(id);
                self.sent.borrow_mut().insert(id, sent);
                out.push(WorkerOutput::Call { id, callout });
            }
        }
    }

    /// The host cannot wake the worker up: what is to be sent never will be.
    pub fn cannot_wake(&self, now: u64, reports: &mut Vec<Report>) {
        for job in self.pending.take() {
            let sent = match job {
                Job::Write { entry, .. } => Sent::Write { bytes: entry.len() },
                Job::Probe { .. } => Sent::Probe,
                Job::Delete { .. } => Sent::Delete,
            };
            self.ended(sent, Err(CalloutFault::NotSent), now, reports);
        }
    }

    /// Takes what came of a callout; answers [`WorkerOutput::Call`].
    pub fn called(&self, id: u32, result: CalloutResult, now: u64, out: &mut Vec<WorkerOutput>) {
        let sent = self.sent.borrow_mut().remove(&id);
        if let Some(sent) = sent {
            let mut reports = Vec::new();
            self.ended(sent, result, now, &mut reports);
            out.extend(reports.into_iter().map(WorkerOutput::Report));
        }
    }

    fn ended(&self, sent: Sent, result: CalloutResult, now: u64, reports: &mut Vec<Report>) {
        let Some(Remote { store, .. }) = &self.http else {
            return;
        };
        let (operation, result, turn) = match sent {
            Sent::Write { bytes } => {
                store.end_write(bytes);
                let (result, turn) = store.written(result, now);
                (Operation::Write, done(result), turn)
            }
            Sent::Delete => {
                store.end_write(0);
                let (result, turn) = store.deleted(result, now);
                (Operation::Delete, done(result), turn)
            }
            Sent::Probe => {
                let (found, turn) = store.probed(result, now);
                (Operation::Probe, found_or_absent(&found), turn)
            }
        };
        reports.push(Report::Store(operation, result));
        reports.extend(turn.map(Report::Breaker));
    }

    /// Has an entry written to the store behind HTTP, in the background.
    pub(super) fn write(
        &self,
        key: &CacheKey,
        entry: Vec<u8>,
        expires: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreFault> {
        let bytes = entry.len();
        let write = Job::Write {
            key: key.to_string(),
            entry,
            expires,
        };
        self.begin(Operation::Write, bytes, write, out)
    }

    /// Has an entry that has expired removed, in the background, where the store does not do that
    /// by itself. Best effort: it takes room, no more.
    pub(super) fn delete(&self, key: &CacheKey, out: &mut Vec<Output>) {
        let removes = |remote: &Remote| remote.store.keeps_expired();
        if self.http.as_ref().is_some_and(removes) {
            let key = key.to_string();
            let _dropped = self.begin(Operation::Delete, 0, Job::Delete { key }, out);
        }
    }

    /// Keeps what the store behind HTTP had in memory as well, if it fits.
    pub(super) fn copy_for_memory(&self, key: CacheKey, entry: &Entry) -> Option<Output> {
        let memory = self.config.memory?;
        let draft = entry.draft_within(memory.max_entry_bytes)?;
        Some(Output::Insert {
            key,
            entry: draft.seal(&Seal::Checksum),
            created: entry.created,
            lifetime: entry.lifetime,
        })
    }

    /// Has the store tried, in the background.
    pub(super) fn probe(&self, key: &CacheKey, out: &mut Vec<Output>) {
        let key = key.to_string();
        self.add(Job::Probe { key }, out);
    }

    fn begin(
        &self,
        operation: Operation,
        bytes: usize,
        job: Job,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreFault> {
        let Some(remote) = &self.http else {
            return Err(StoreFault::Unavailable);
        };
        match remote.store.begin_write(bytes) {
            Ok(()) => {
                self.add(job, out);
                Ok(())
            }
            Err(fault) => {
                let failed = OperationResult::Failed(fault);
                out.push(Output::Report(Report::Store(operation, failed)));
                Err(fault)
            }
        }
    }

    fn add(&self, job: Job, out: &mut Vec<Output>) {
        let mut pending = self.pending.borrow_mut();
        // Whoever was first has had the worker woken up.
        if pending.is_empty() {
            out.push(Output::Wake);
        }
        pending.push_back(job);
    }
}

impl Remote {
    /// What a lookup found, counted.
    pub(super) fn looked_up(
        &self,
        result: CalloutResult,
        now: u64,
        out: &mut Vec<Output>,
    ) -> Result<Option<Vec<u8>>, StoreFault> {
        let (found, turn) = self.store.looked_up(result, now);
        let result = found_or_absent(&found);
        out.push(Output::Report(Report::Store(Operation::Lookup, result)));
        out.extend(turn.map(|turn| Output::Report(Report::Breaker(turn))));
        found
    }
}

fn done(result: Result<(), StoreFault>) -> OperationResult {
    result.map_or_else(OperationResult::Failed, |()| OperationResult::Done)
}

fn found_or_absent(found: &Result<Option<Vec<u8>>, StoreFault>) -> OperationResult {
    match found {
        Ok(Some(_)) => OperationResult::Found,
        Ok(None) => OperationResult::Absent,
        Err(fault) => OperationResult::Failed(*fault),
    }
}
