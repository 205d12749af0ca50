//! One per VM and configuration: parses the configuration, makes a context per request, and runs
//! what is done outside of requests.

use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::cache::CacheKey;
use crate::config::Config;
use crate::exchange::{Input, Output, Task};

use super::host;
use super::http_context::Http;
use super::shared::{Performed, Shared, needs_root};

#[derive(Debug)]
pub(super) struct Root {
    id: u32,
    /// `None` until there is a good configuration; requests pass untouched without one.
    shared: Option<Rc<Shared>>,
    /// The tasks that wait for the result of a callout, by its token. Boxed, for code that is the
    /// same as that of the map of [`Shared`].
    tasks: BTreeMap<u32, Box<Calling>>,
}

/// A task that waits for the result of a callout.
#[derive(Debug)]
struct Calling {
    task: Task,
    max_reply_bytes: usize,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        Self {
            id,
            shared: None,
            tasks: BTreeMap::new(),
        }
    }

    /// Runs all that is to be done, until nothing is.
    fn run(&mut self, shared: &Shared) {
        loop {
            let tasks = shared.worker.take_tasks();
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                let now = host::now();
                self.step(task, Input::Begin { now }, shared);
            }
        }
        for (exchange, release) in shared.worker.take_released() {
            if let Some(stream) = shared.take_waiting(exchange) {
                stream.borrow_mut().release(release);
            }
        }
        if shared.worker.has_more() {
            shared.wake();
        }
        shared.set_ticks();
    }

    /// Tells a task what happened and does what it says, until it waits for a callout or is over.
    fn step(&mut self, mut task: Task, input: Input<'_>, shared: &Shared) {
        let mut outputs = Vec::new();
        task.handle(input, &shared.worker, &mut outputs);
        let mut answer = None;
        let mut sent = None;
        for output in outputs {
            match shared.perform(output) {
                Performed::Done => {}
                Performed::Answered(input) => answer = Some(input),
                Performed::Left(Output::Call(callout)) => match host::call(&callout) {
                    Ok(token) => sent = Some((token, callout.max_reply_bytes)),
                    Err(fault) => {
                        let (result, now) = (Err(fault), host::now());
                        answer = Some(Input::Called { result, now });
                    }
                },
                // No task says anything else.
                Performed::Left(_) => {}
            }
        }
        // A task asks for one thing at a time.
        match (answer, sent) {
            (Some(answer), _) => self.step(task, answer, shared),
            (None, Some((token, max_reply_bytes))) => {
                let calling = Calling {
                    task,
                    max_reply_bytes,
                };
                self.tasks.insert(token, Box::new(calling));
            }
            (None, None) => {}
        }
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
        if let (Some(shared), Some(calling)) = (self.shared.clone(), self.tasks.remove(&token)) {
            let result =
                host::callout_result(headers, body_bytes, trailers, calling.max_reply_bytes);
            let now = host::now();
            self.step(calling.task, Input::Called { result, now }, &shared);
            self.run(&shared);
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
            Ok(config) if needs_root(&config) && !host::may_resume(self.id) => {
                log::error!(
                    "llm-cache: the VM may not call proxy_set_effective_context, \
                     proxy_continue_stream and proxy_set_tick_period_milliseconds, without which store.http, collapse and \
                     stale_while_revalidate would leave requests hanging"
                );
                false
            }
            Ok(config) => {
                self.shared = Some(Rc::new(Shared::new(config)));
                true
            }
        }
    }

    /// One call comes for each message: empty from a stream of this worker, a key from another one
    /// that has ended asking for it.
    fn on_queue_ready(&mut self, queue: u32) {
        let message = host::dequeue(queue).ok().flatten();
        if let Some(shared) = self.shared.clone() {
            let key = message.and_then(|message| <[u8; 32]>::try_from(message).ok());
            if let Some(key) = key {
                shared.worker.told(&CacheKey::from_bytes(key));
            }
            self.run(&shared);
        }
    }

    fn on_tick(&mut self) {
        if let Some(shared) = self.shared.clone() {
            shared.worker.tick(host::now());
            self.run(&shared);
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.shared {
            Some(shared) => Box::new(Http::new(id, Rc::clone(shared))),
            None => Box::new(Untouched),
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for Root {
    /// The host forgets the callouts of a root context with it, and other workers would wait for
    /// their leases.
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut outputs = Vec::new();
            for calling in std::mem::take(&mut self.tasks).into_values() {
                calling.task.abandon(&shared.worker, &mut outputs);
            }
            for output in outputs {
                // Nothing more can be sent.
                let _left = shared.perform(output);
            }
        }
    }
}

/// A request that came before there was a configuration.
struct Untouched;

impl Context for Untouched {}

impl HttpContext for Untouched {}
