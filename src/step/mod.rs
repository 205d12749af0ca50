//! The context of one step of an exchange or of a task, and the operations that need the host and
//! several parts of the worker.

mod http;
mod leases;
mod memory;
mod permit;
mod refresh;
mod store;

use std::cell::{Cell, RefCell};

use crate::attributes::Attribute;
use crate::cache::{Entry, Seal};
use crate::clock::UnixMillis;
use crate::host::Host;
use crate::recording::{RecordingLimits, would_be_stored};
use crate::report::{LogRecord, Report, Subject};
use crate::request::{KeyedRequest, ResolvedRequest};
use crate::worker::{Task, Worker};

pub(crate) use refresh::NotRefreshed;

/// What a step has at hand.
pub(crate) struct Cx<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) worker: &'a Worker,
    now: Cell<Option<UnixMillis>>,
    /// Gathers what is reported of an exchange.
    log_record: Option<&'a RefCell<LogRecord>>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(host: &'a dyn Host, worker: &'a Worker) -> Self {
        Self {
            host,
            worker,
            now: Cell::new(None),
            log_record: None,
        }
    }

    /// The context of a step of an exchange, whose reports are gathered for access logs.
    pub(crate) fn of_exchange(
        host: &'a dyn Host,
        worker: &'a Worker,
        log_record: &'a RefCell<LogRecord>,
    ) -> Self {
        Self {
            log_record: worker.config.metrics.filter_state.then_some(log_record),
            ..Self::new(host, worker)
        }
    }

    /// The time of this step: the host's, when it was first asked for.
    pub(crate) fn now(&self) -> UnixMillis {
        self.now.get().unwrap_or_else(|| {
            let now = self.host.now();
            self.now.set(Some(now));
            now
        })
    }

    /// What the host knows of these attributes.
    pub(crate) fn attributes(&self, wanted: &[Attribute]) -> Vec<(Attribute, Vec<u8>)> {
        let known = wanted.iter().filter_map(|attribute| {
            let value = self.host.attribute(*attribute)?;
            Some((*attribute, value))
        });
        known.collect()
    }

    /// Tells the operators what is not about one request.
    pub(crate) fn report(&self, report: Report) {
        self.report_of(&Subject::default(), report);
    }

    /// Tells the operators of a request.
    pub(crate) fn report_of(&self, subject: &Subject, report: Report) {
        if let Some(log_record) = self.log_record {
            log_record.borrow_mut().note(subject, report);
        }
        self.host.report(subject, report);
    }

    /// What reports are to tell of a request.
    pub(crate) fn subject(&self, request: &ResolvedRequest) -> Subject {
        let label = self.worker.models.as_ref().map(|models| {
            let shared = self.host.shared_data();
            models.label(request.model.as_deref(), shared, self.now())
        });
        Subject {
            api: Some(request.api),
            label,
            model: request.model.clone().filter(|model| !model.is_empty()),
            key: Some(request.key),
            is_stream: Some(request.asks_for_stream()),
        }
    }

    /// Has something done in the background. The host is told of it once the step is over.
    pub(crate) fn add_task(&self, task: Task) {
        self.worker.tasks.push(task);
    }

    /// What an answer may take while it is recorded.
    pub(crate) fn recording_limits(&self) -> RecordingLimits {
        RecordingLimits {
            budget: self.worker.budget.clone(),
            max_bytes: self.worker.config.limits.max_response_bytes,
        }
    }

    /// Whether an entry of the store behind HTTP, to which others may write, is one that this filter
    /// could have made of an upstream's answer to the request. Entries that only a holder of the
    /// integrity key can make were judged when they were made.
    pub(crate) fn is_genuine(&self, entry: &Entry, request: &KeyedRequest) -> bool {
        let seal = self.worker.http.as_ref().map(|http| &http.seal);
        let max_bytes = self.worker.config.limits.max_response_bytes;
        seal.is_some_and(Seal::proves_origin) || would_be_stored(entry, request, max_bytes)
    }
}
