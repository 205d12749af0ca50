//! One per request: turns callbacks into [`Input`] and carries out [`Output`].

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::cache::CacheKey;
use crate::exchange::{Exchange, Input, Output, Reply};
use crate::store::{HostFault, StoreFault};

use super::host::{self, HostSharedData};
use super::root_context::Shared;

#[derive(Debug)]
pub(super) struct Http {
    shared: Rc<Shared>,
    exchange: Exchange,
    /// The host holds the request back, because the last callback said so.
    paused: bool,
}

impl Http {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        let exchange = Exchange::new(Rc::clone(&shared.worker));
        Self {
            shared,
            exchange,
            paused: false,
        }
    }

    /// Tells the exchange what happened and does what it says. What it says may have an answer,
    /// which is the next thing that happens.
    fn step(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.exchange.handle(input, &mut outputs);
        for output in outputs {
            self.perform(output);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::ReadRequestBody => {
                let body = host::request_body();
                self.step(Input::RequestBodyRead(body.as_deref().ok()));
            }
            Output::LookUp(key) => {
                let found = self.look_up(&key);
                let now = host::now();
                self.step(Input::LookedUp { found, now });
            }
            Output::Call(callout) => {
                if let Err(fault) = host::call(&callout) {
                    let (result, now) = (Err(fault), host::now());
                    self.step(Input::Called { result, now });
                }
            }
            Output::Wake => self.shared.wake(),
            Output::Reply(reply) => {
                if send(&reply).is_err() {
                    self.step(Input::ReplyFailed);
                }
            }
            // A response without our headers is better than none.
            Output::SetHeader(name, value) => {
                let _unset = host::set_response_header(name, &value);
            }
            Output::AddHeader(name, value) => {
                let _unset = host::add_response_header(name, &value);
            }
            Output::Insert {
                key,
                entry,
                created,
                lifetime,
            } => {
                let result = self.insert(&key, &entry, created, lifetime);
                self.step(Input::Inserted(result));
            }
            Output::Report(report) => self.shared.metrics.report(report),
        }
    }

    fn look_up(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, StoreFault> {
        match &self.shared.memory {
            Some(memory) => memory.lookup(&HostSharedData, key.as_bytes()),
            None => Ok(None),
        }
    }

    fn insert(
        &self,
        key: &CacheKey,
        entry: &[u8],
        created: u64,
        lifetime: u64,
    ) -> Result<u32, StoreFault> {
        let memory = self.shared.memory.as_ref();
        memory.ok_or(StoreFault::Unavailable)?.insert(
            &HostSharedData,
            key.as_bytes(),
            entry,
            seconds(host::now()),
            seconds(created.saturating_add(lifetime)),
        )
    }

    /// What a callback of the request tells the host.
    fn pause_if(&mut self, holds: bool) -> Action {
        self.paused = holds;
        if holds {
            Action::Pause
        } else {
            Action::Continue
        }
    }

    /// Lets a request go on that another callback than its own has freed.
    fn resume_if_free(&mut self) {
        if self.paused && !self.exchange.holds_request() {
            self.paused = false;
            // A request that is gone needs no more.
            let _gone = host::resume_request();
        }
    }
}

impl Context for Http {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        headers: usize,
        body_bytes: usize,
        _trailers: usize,
    ) {
        let result = self.shared.callout_result(headers, body_bytes);
        let now = host::now();
        self.step(Input::Called { result, now });
        self.resume_if_free();
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if let Ok(headers) = host::request_headers() {
            self.step(Input::RequestHeaders {
                headers,
                end_of_stream,
            });
        }
        self.pause_if(self.exchange.holds_request_headers())
    }

    fn on_http_request_body(&mut self, held: usize, end_of_stream: bool) -> Action {
        if self.exchange.holds_request() {
            self.step(Input::RequestBody {
                held,
                end_of_stream,
            });
        }
        self.pause_if(self.exchange.holds_request())
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        if self.exchange.holds_request() {
            self.step(Input::RequestTrailers);
        }
        self.pause_if(self.exchange.holds_request())
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if self.exchange.awaits_response()
            && let Ok(headers) = host::response_headers()
        {
            self.step(Input::ResponseHeaders {
                headers: &headers,
                via_upstream: host::is_via_upstream(),
                end_of_stream,
                now: host::now(),
            });
            self.resume_if_free();
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.exchange.captures_response() {
            let chunk = match size {
                0 => Ok(Vec::new()),
                size => host::response_chunk(size),
            };
            self.step(Input::ResponseBody {
                chunk: chunk.as_deref().ok(),
                size,
                end_of_stream,
                now: host::now(),
            });
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.step(Input::ResponseTrailers);
        Action::Continue
    }

    fn on_log(&mut self) {
        let by_client = self.exchange.captures_response() && host::is_closed_by_client();
        self.step(Input::Closed { by_client });
    }
}

fn send(reply: &Reply) -> Result<(), HostFault> {
    host::send_local_response(
        reply.status,
        reply.details,
        &reply.headers,
        reply.body.as_bytes(),
    )
}

/// Seconds since 1970 in the 32 bits of the store, which last until 2106.
fn seconds(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds / 1_000).unwrap_or(u32::MAX)
}
