//! The callbacks of one stream.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::callout::CalloutResult;
use crate::exchange::{Event, Exchange, ResponseHead, Watched};
use crate::host::Host;
use crate::report::LogRecord;
use crate::step::Cx;
use crate::worker::Release;

use super::worker::{WaitingStream, WorkerContext};

/// One request and its response, as the host sees them.
#[derive(Debug)]
pub struct StreamContext(Rc<Stream>);

#[derive(Debug)]
struct Stream {
    id: u32,
    context: Rc<WorkerContext>,
    exchange: RefCell<Exchange>,
    /// What the exchange reported, for access logs.
    log_record: RefCell<LogRecord>,
    /// The host holds the request back, because the last callback said so.
    is_held: Cell<bool>,
    /// The worker counts it among those that it holds.
    searches: Cell<bool>,
}

impl StreamContext {
    /// A stream whose request is still to come; `id` is what the host calls it.
    pub fn new(id: u32, context: Rc<WorkerContext>) -> Self {
        Self(Rc::new(Stream {
            id,
            context,
            exchange: RefCell::new(Exchange::new()),
            log_record: RefCell::default(),
            is_held: Cell::new(false),
            searches: Cell::new(false),
        }))
    }

    /// The request's headers came. Whether the host is to hold them back.
    pub fn request_headers(&self, end_of_stream: bool) -> bool {
        let cx = self.0.cx();
        if let Some(headers) = cx.host.request_headers() {
            self.0.step(
                Event::RequestHeaders {
                    headers,
                    end_of_stream,
                },
                &cx,
            );
        }
        let holds_headers = cx.worker.config.hold_headers && self.holds_request();
        self.0.is_held.set(holds_headers);
        holds_headers
    }

    /// More of the request's body came, so that `held_bytes` of it are held. Whether the host is to
    /// hold it back.
    pub fn request_body(&self, held_bytes: usize, end_of_stream: bool) -> bool {
        self.request_event(Event::RequestBody {
            held_bytes,
            end_of_stream,
        })
    }

    /// The request's trailers came, and so its body is complete. Whether the host is to hold it back.
    pub fn request_trailers(&self) -> bool {
        self.request_event(Event::RequestTrailers)
    }

    fn request_event(&self, event: Event<'_>) -> bool {
        if self.holds_request() {
            self.0.step(event, &self.0.cx());
        }
        let is_held = self.holds_request();
        self.0.is_held.set(is_held);
        is_held
    }

    /// A callout of the stream has come to an end; `read` is given the length of the longest body that
    /// is of use.
    pub fn called(&self, read: impl FnOnce(usize) -> CalloutResult) {
        let cx = self.0.cx();
        // A stream asks the store behind HTTP and nothing else.
        let http = cx.worker.config.http.as_ref();
        let result = read(http.map_or(0, |http| http.max_entry_bytes));
        self.0.step(Event::Called(result), &cx);
        self.0.resume_if_free(cx.host);
    }

    /// The response's headers came.
    pub fn response_headers(&self, end_of_stream: bool) {
        let cx = self.0.cx();
        if self.awaits_response()
            && let Some(headers) = cx.host.response_headers()
        {
            let response = ResponseHead {
                headers: &headers,
                via_upstream: cx.host.is_via_upstream(),
                end_of_stream,
            };
            self.0.step(Event::ResponseHeaders(response), &cx);
            self.0.resume_if_free(cx.host);
        }
    }

    /// `size` bytes more of the response's body came, and are on their way to the client.
    pub fn response_body(&self, size: usize, end_of_stream: bool) {
        if self.captures_response() {
            let cx = self.0.cx();
            let chunk = match size {
                0 => Some(Vec::new()),
                size => cx.host.response_chunk(size),
            };
            let chunk = chunk.filter(|chunk| chunk.len() == size);
            self.0.step(
                Event::ResponseBody {
                    chunk: chunk.as_deref(),
                    end_of_stream,
                },
                &cx,
            );
        }
    }

    /// The response's trailers came, and so its body is complete.
    pub fn response_trailers(&self) {
        if self.captures_response() {
            let cx = self.0.cx();
            let trailers = cx.host.response_trailers();
            self.0.step(Event::ResponseTrailers(trailers.as_ref()), &cx);
        }
    }

    /// The stream is over, and how its request was sent can be read.
    pub fn logged(&self) {
        self.closed();
        let watched = self.0.exchange.borrow_mut().take_watched();
        let cx = self.0.cx();
        // Where the router never got as far as a connection, it has not rewritten the request yet.
        if let Some(watched) = watched
            && cx.host.has_asked_upstream()
            && let Some(sent) = cx.host.request_headers()
        {
            let Watched { came, route } = &*watched;
            cx.worker.routes.observe(came, &sent, route);
        }
    }

    /// The stream is over. A host calls this after [`StreamContext::logged`], or alone if it does not
    /// log. Streams that wait for this one are released.
    pub fn closed(&self) {
        let cx = self.0.cx();
        let by_client = self.captures_response() && cx.host.is_closed_by_client();
        self.0.step(Event::Closed { by_client }, &cx);
    }

    /// Whether the request's body must not go further for now.
    pub fn holds_request(&self) -> bool {
        self.0.exchange.borrow().holds_request()
    }

    /// Whether the headers of a response, if they came now, would be looked at.
    pub fn awaits_response(&self) -> bool {
        self.0.exchange.borrow().awaits_response()
    }

    /// Whether the response's bytes are looked at.
    pub fn captures_response(&self) -> bool {
        self.0.exchange.borrow().captures_response()
    }
}

impl Stream {
    fn cx(&self) -> Cx<'_> {
        self.context.cx_of_exchange(&self.log_record)
    }

    fn count(&self, searches: bool) {
        if self.searches.replace(searches) != searches {
            self.context.count_held(searches);
        }
    }

    /// Hands the event to the exchange, and registers the stream with the worker while the exchange
    /// waits.
    fn step(self: &Rc<Self>, event: Event<'_>, cx: &Cx<'_>) {
        let (waited_for, waits_for) = {
            let mut exchange = self.exchange.borrow_mut();
            let before = exchange.waits_for();
            exchange.handle(event, cx);
            self.count(exchange.searches());
            (before, exchange.waits_for())
        };
        if let Some(record) = self.log_record.borrow_mut().take_new() {
            cx.host.set_log_record(&record);
        }
        match (waited_for, waits_for) {
            (None, Some(wait)) => {
                let waiter = Rc::clone(self);
                self.context.wait(self.id, waiter, wait);
            }
            (Some(wait), None) => self.context.leave(self.id, &wait.key),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.context.settle();
    }

    /// Lets a request go on that another callback than its own has freed.
    fn resume_if_free(&self, host: &dyn Host) {
        if self.is_held.get() && !self.exchange.borrow().holds_request() {
            self.is_held.set(false);
            host.resume_request();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.count(false);
    }
}

impl WaitingStream for Stream {
    fn release(self: Rc<Self>, release: Release) {
        let cx = self.cx();
        self.step(Event::Released(release), &cx);
        self.resume_if_free(cx.host);
    }
}
