//! The SDK's contexts: callbacks are handed to those of the core.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

use crate::config::Config;
use crate::driver::{StreamContext, WorkerContext};
use crate::worker::needs_background;

use super::host::{self, ProxyWasm};
use super::{abi, logging};

/// One per VM and configuration: parses the configuration, and makes a context for each stream.
#[derive(Debug)]
pub(super) struct Root {
    id: u32,
    /// `None` until there is a good configuration; requests pass untouched without one.
    context: Option<Rc<WorkerContext>>,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self { id, context: None }
    }

    /// Streams may still have the context, which the host calls no more.
    fn close(&self) {
        if let Some(context) = &self.context {
            context.close();
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.close();
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        headers: usize,
        body_bytes: usize,
        trailers: usize,
    ) {
        if let Some(context) = &self.context {
            context.called(token, |max_bytes| {
                host::callout_result(headers, body_bytes, trailers, max_bytes)
            });
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _plugin_configuration_size: usize) -> bool {
        logging::adopt_level();
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
            Ok(config) if needs_background(&config) && !abi::may_resume(self.id) => {
                log::error!(
                    "llm-cache: the VM may not call proxy_set_effective_context, \
                     proxy_continue_stream and proxy_set_tick_period_milliseconds, without which store.http, collapse and \
                     stale_while_revalidate would leave requests hanging"
                );
                false
            }
            Ok(config) => {
                self.close();
                let host = Rc::new(ProxyWasm::new(&config));
                self.context = Some(WorkerContext::new(config, host));
                true
            }
        }
    }

    /// One call comes for each message.
    fn on_queue_ready(&mut self, queue: u32) {
        let message = abi::dequeue(queue).ok().flatten();
        if let Some(context) = &self.context {
            context.message(&message.unwrap_or_default());
        }
    }

    fn on_tick(&mut self) {
        if let Some(context) = &self.context {
            context.tick();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.context {
            Some(context) => Box::new(Http(StreamContext::new(id, Rc::clone(context)))),
            None => Box::new(Untouched),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// One per stream.
#[derive(Debug)]
struct Http(StreamContext);

impl Context for Http {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        headers: usize,
        body_bytes: usize,
        trailers: usize,
    ) {
        self.0
            .called(|max_bytes| host::callout_result(headers, body_bytes, trailers, max_bytes));
    }

    fn on_done(&mut self) -> bool {
        self.0.closed();
        true
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        #[cfg(feature = "trap-for-tests")]
        host::trap_if_asked();
        pause_if(self.0.request_headers(end_of_stream))
    }

    fn on_http_request_body(&mut self, held_bytes: usize, end_of_stream: bool) -> Action {
        pause_if(self.0.request_body(held_bytes, end_of_stream))
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        pause_if(self.0.request_trailers())
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.0.response_headers(end_of_stream);
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.response_body(size, end_of_stream);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.0.response_trailers();
        Action::Continue
    }

    fn on_log(&mut self) {
        self.0.logged();
    }
}

fn pause_if(is_held: bool) -> Action {
    if is_held {
        Action::Pause
    } else {
        Action::Continue
    }
}

/// A request that came before there was a configuration.
struct Untouched;

impl Context for Untouched {}

impl HttpContext for Untouched {}
