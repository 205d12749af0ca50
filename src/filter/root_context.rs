//! One per VM and configuration: parses the configuration, makes a context per request, and sends
//! what outlives the request that asked for it.

use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::callout::CalloutResult;
use crate::config::Config;
use crate::exchange::{Worker, WorkerOutput};
use crate::store::MemoryStore;

use super::host::{self, HostSharedData};
use super::http_context::Http;
use super::metrics::Metrics;

/// What the contexts of one configuration on one worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    pub(super) memory: Option<MemoryStore>,
    pub(super) metrics: Metrics,
    /// Takes messages to the root context.
    queue: Option<u32>,
}

impl Shared {
    fn new(config: Config) -> Self {
        let seed = host::random();
        let memory = config.memory.map(|memory| {
            MemoryStore::open(&HostSharedData, memory.max_bytes, memory.max_entry_bytes)
        });
        // Only a store behind HTTP has anything that outlives a request.
        let queue = config.http.as_ref().and_then(|_| {
            let name = format!("llm-cache/worker/{seed:016x}");
            host::register_queue(&name).ok()
        });
        Self {
            memory,
            metrics: Metrics::new(config.http.as_ref().map(|http| http.cluster.clone())),
            worker: Rc::new(Worker::new(config, seed)),
            queue,
        }
    }

    /// Has the root context called once the current callback is over.
    pub(super) fn wake(&self) {
        let woken = self
            .queue
            .is_some_and(|queue| host::enqueue(queue, &[]).is_ok());
        if !woken {
            let mut reports = Vec::new();
            self.worker.cannot_wake(host::now(), &mut reports);
            for report in reports {
                self.metrics.report(report);
            }
        }
    }

    /// The result of a callout, whose headers and body are as the callback for it has them.
    pub(super) fn callout_result(&self, headers: usize, body_bytes: usize) -> CalloutResult {
        let http = self.worker.config.http.as_ref();
        let max_bytes = http.map_or(0, |http| http.max_entry_bytes);
        host::callout_result(headers, body_bytes, max_bytes)
    }
}

#[derive(Debug, Default)]
pub(super) struct Root {
    /// `None` until there is a good configuration; requests pass untouched without one.
    shared: Option<Rc<Shared>>,
    /// The worker's numbers of the callouts whose result is due, by their tokens.
    callouts: BTreeMap<u32, u32>,
}

impl Root {
    fn perform(&mut self, shared: &Shared, outputs: Vec<WorkerOutput>) {
        for output in outputs {
            match output {
                WorkerOutput::Report(report) => shared.metrics.report(report),
                WorkerOutput::Call { id, callout } => match host::call(&callout) {
                    Ok(token) => {
                        self.callouts.insert(token, id);
                    }
                    Err(fault) => {
                        let mut outputs = Vec::new();
                        let now = host::now();
                        shared.worker.called(id, Err(fault), now, &mut outputs);
                        self.perform(shared, outputs);
                    }
                },
            }
        }
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        headers: usize,
        body_bytes: usize,
        _trailers: usize,
    ) {
        if let (Some(shared), Some(id)) = (self.shared.clone(), self.callouts.remove(&token)) {
            let result = shared.callout_result(headers, body_bytes);
            let mut outputs = Vec::new();
            shared.worker.called(id, result, host::now(), &mut outputs);
            self.perform(&shared, outputs);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        host::adopt_log_level();
        let Ok(json) = host::plugin_configuration() else {
            log::error!("llm-cache: the host does not give the plugin configuration");
            return false;
        };
        match Config::parse(&json) {
            Err(problems) => {
                for problem in problems {
                    log::error!("llm-cache: plugin configuration: {problem}");
                }
                false
            }
            Ok(config) => {
                self.shared = Some(Rc::new(Shared::new(config)));
                true
            }
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        // One call comes for each message, and all of them say the same.
        let _message = host::dequeue(queue);
        if let Some(shared) = self.shared.clone() {
            let mut outputs = Vec::new();
            shared.worker.awake(host::now(), &mut outputs);
            self.perform(&shared, outputs);
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.shared {
            Some(shared) => Box::new(Http::new(Rc::clone(shared))),
            None => Box::new(Untouched),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// A request that came before there was a configuration.
struct Untouched;

impl Context for Untouched {}

impl HttpContext for Untouched {}
