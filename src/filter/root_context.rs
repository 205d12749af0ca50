//! One per VM and configuration: parses the configuration and makes a context per request.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::config::Config;
use crate::exchange::Worker;
use crate::store::MemoryStore;

use super::host::{self, HostSharedData};
use super::http_context::Http;
use super::metrics::Metrics;

/// What the contexts of one configuration on one worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    pub(super) store: MemoryStore,
    pub(super) metrics: Metrics,
}

#[derive(Debug, Default)]
pub(super) struct Root {
    /// `None` until there is a good configuration; requests pass untouched without one.
    shared: Option<Rc<Shared>>,
}

impl Context for Root {}

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
                let memory = config.memory;
                let store =
                    MemoryStore::open(&HostSharedData, memory.max_bytes, memory.max_entry_bytes);
                self.shared = Some(Rc::new(Shared {
                    worker: Rc::new(Worker::new(config)),
                    store,
                    metrics: Metrics::default(),
                }));
                true
            }
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
