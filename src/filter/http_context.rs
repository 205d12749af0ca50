//! One per request: turns callbacks into [`Input`] and carries out [`Output`].

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::attributes::Attributes;
use crate::exchange::{Charged, Exchange, Input, Output, Release, Reply};
use crate::http::Headers;
use crate::store::HostFault;

use super::host;
use super::shared::{Performed, Shared};

/// What the SDK calls. The stream itself is shared: the root context has to reach it while it waits.
#[derive(Debug)]
pub(super) struct Http(Rc<RefCell<Stream>>);

/// One request and its response, as the host sees them.
#[derive(Debug)]
pub(super) struct Stream {
    id: u32,
    me: Weak<RefCell<Self>>,
    shared: Rc<Shared>,
    exchange: Exchange,
    /// The host holds the request back, because the last callback said so.
    paused: bool,
    /// How the request came and by which route, if it matters what that makes of it.
    came: Option<Box<(Charged<Headers>, Attributes)>>,
    /// The longest body of use in the reply to the callout that is waited for.
    max_reply_bytes: usize,
}

impl Http {
    pub(super) fn new(id: u32, shared: Rc<Shared>) -> Self {
        Self(Rc::new_cyclic(|me| {
            RefCell::new(Stream {
                id,
                me: me.clone(),
                exchange: Exchange::new(Rc::clone(&shared.worker)),
                shared,
                paused: false,
                came: None,
                max_reply_bytes: 0,
            })
        }))
    }
}

impl Stream {
    /// Tells the exchange what happened and does what it says. What it says may have an answer,
    /// which is the next thing that happens.
    fn step(&mut self, input: Input<'_>) {
        let mut outputs = self.shared.take_list();
        self.exchange.handle(input, &mut outputs);
        for output in outputs.drain(..) {
            match self.shared.perform(output) {
                Performed::Done => {}
                Performed::Answered(input) => self.step(input),
                Performed::Left(output) => self.perform(output),
            }
        }
        self.shared.give_list_back(outputs);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::ReadAttributes(wanted) => {
                let told = wanted.iter().filter_map(|attribute| {
                    let value = host::property(attribute.path()).ok()?;
                    Some((*attribute, value))
                });
                let told = told.collect();
                self.step(Input::AttributesRead(told));
            }
            Output::ReadRequestBody => {
                let body = host::request_body();
                self.step(Input::RequestBodyRead(body.as_deref().ok()));
            }
            Output::ReadRequest => {
                let body = host::request_body();
                self.step(Input::RequestRead {
                    body: body.as_deref().ok(),
                    now: host::now(),
                });
            }
            Output::Call(callout) => {
                self.max_reply_bytes = callout.max_reply_bytes;
                if let Err(fault) = host::call(&callout) {
                    let (result, now) = (Err(fault), host::now());
                    self.step(Input::Called { result, now });
                }
            }
            Output::Reply(reply) => {
                let sent = send(&reply);
                if sent.is_err() {
                    self.step(Input::ReplyFailed);
                }
            }
            // An answer that cannot be judged is better than none.
            Output::SetRequestHeader(name, value) => {
                let _unset = host::set_request_header(name, &value);
            }
            // A response without our headers is better than none.
            Output::SetHeader(name, value) => {
                let _unset = host::set_response_header(name, &value);
            }
            Output::AddHeader(name, value) => {
                let _unset = host::add_response_header(name, &value);
            }
            Output::Wait {
                key,
                since,
                deadline,
            } => {
                // It is called through what it is a part of.
                if let Some(me) = self.me.upgrade() {
                    self.shared.wait(self.id, me, &key, (since, deadline));
                }
            }
            Output::WatchRoute(headers, by) => self.came = Some(Box::new((headers, by))),
            Output::Leave(key) => self.shared.leave(self.id, &key),
            // All contexts do the others alike, or tasks alone say them.
            _ => {}
        }
    }

    /// The root context lets the stream go on that has waited.
    pub(super) fn release(&mut self, release: Release) {
        // A stream that is gone has left those who wait.
        if host::set_effective_context(self.id).is_ok() {
            let now = host::now();
            self.step(Input::Released { release, now });
            self.resume_if_free();
        }
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

    fn request_headers(&mut self, end_of_stream: bool) -> Action {
        if let Ok(headers) = host::request_headers() {
            #[cfg(feature = "trap-for-tests")]
            trap_if_asked(&headers);
            self.step(Input::RequestHeaders {
                headers,
                end_of_stream,
            });
        }
        self.pause_if(self.exchange.holds_request_headers())
    }

    fn request_body(&mut self, held: usize, end_of_stream: bool) -> Action {
        if self.exchange.holds_request() {
            self.step(Input::RequestBody {
                held,
                end_of_stream,
            });
        }
        self.pause_if(self.exchange.holds_request())
    }

    fn request_trailers(&mut self) -> Action {
        if self.exchange.holds_request() {
            self.step(Input::RequestTrailers);
        }
        self.pause_if(self.exchange.holds_request())
    }

    fn callout_response(&mut self, headers: usize, body_bytes: usize, trailers: usize) {
        let result = host::callout_result(headers, body_bytes, trailers, self.max_reply_bytes);
        let now = host::now();
        self.step(Input::Called { result, now });
        self.resume_if_free();
    }

    fn response_headers(&mut self, end_of_stream: bool) {
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
    }

    fn response_body(&mut self, size: usize, end_of_stream: bool) {
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
    }

    fn response_trailers(&mut self) {
        if self.exchange.captures_response() {
            let (trailers, now) = (host::response_trailers(), host::now());
            self.step(Input::ResponseTrailers {
                trailers: trailers.as_ref().ok(),
                now,
            });
        }
    }

    fn logged(&mut self) {
        self.closed();
        // Where the router never got as far as a connection, it has not rewritten the request yet.
        if let Some(watched) = self.came.take()
            && host::has_asked_upstream()
            && let Ok(sent) = host::request_headers()
        {
            let (came, by) = *watched;
            self.shared.worker.observe(&came, &sent, &by);
        }
    }

    fn closed(&mut self) {
        let captures = self.exchange.captures_response();
        self.step(Input::Closed {
            by_client: captures && host::is_closed_by_client(),
            now: if captures { host::now() } else { 0 },
        });
    }
}

impl Context for Http {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        headers: usize,
        body_bytes: usize,
        trailers: usize,
    ) {
        self.0
            .borrow_mut()
            .callout_response(headers, body_bytes, trailers);
    }

    /// Comes after `on_log`, and where there is none: whoever waits for this stream must be told.
    fn on_done(&mut self) -> bool {
        self.0.borrow_mut().closed();
        true
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.0.borrow_mut().request_headers(end_of_stream)
    }

    fn on_http_request_body(&mut self, held: usize, end_of_stream: bool) -> Action {
        self.0.borrow_mut().request_body(held, end_of_stream)
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.0.borrow_mut().request_trailers()
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.0.borrow_mut().response_headers(end_of_stream);
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.0.borrow_mut().response_body(size, end_of_stream);
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.0.borrow_mut().response_trailers();
        Action::Continue
    }

    fn on_log(&mut self) {
        self.0.borrow_mut().logged();
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

/// Ends the VM as a panic would, so that the tests can see what that costs.
#[cfg(feature = "trap-for-tests")]
fn trap_if_asked(headers: &Headers) {
    if headers.get("x-llm-cache-trap").is_some() {
        std::process::abort();
    }
}
