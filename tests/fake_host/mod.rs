//! A host without Envoy: its clock, shared data, streams and callouts are what a test makes of them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_llm_cache::attributes::Attribute;
use envoy_llm_cache::callout::{Callout, CalloutFault};
use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::host::{Host, Reply};
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::report::{Gauges, Report, Subject};
use envoy_llm_cache::store::{HostFault, SetFault, SharedData, Version, Versioned};

/// When a [`FakeHost`] begins, in milliseconds since 1970.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// The queue that it registers for each worker.
pub(crate) const QUEUE: u32 = 7;

thread_local! {
    /// Unique for all values of a thread, also across several [`FakeSharedData`].
    static LAST_VERSION: Cell<u32> = const { Cell::new(0) };
}

/// Shared data as proxy-wasm-cpp-host has it: one counter for all versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeSharedData {
    pub(crate) values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    /// How often it was asked for a value.
    pub(crate) reads: Cell<usize>,
    /// Names that begin with this are refused.
    pub(crate) refused: Cell<Option<&'static str>>,
    /// What another worker stores as soon as a lease is asked for.
    pub(crate) appears: RefCell<Option<Box<FakeSharedData>>>,
}

impl FakeSharedData {
    fn refuses(&self, name: &str) -> bool {
        self.refused
            .get()
            .is_some_and(|start| name.starts_with(start))
    }
}

impl SharedData for FakeSharedData {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        self.reads.set(self.reads.get() + 1);
        if self.refuses(name) {
            return Err(HostFault);
        }
        if name.starts_with("llm-cache/leases/")
            && let Some(other) = self.appears.take()
        {
            self.values.borrow_mut().extend(other.values.take());
        }
        let values = self.values.borrow();
        Ok(values.get(name).map(|(value, version)| Versioned {
            value: value.clone().into(),
            version: Version(*version),
        }))
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        if self.refuses(name) {
            return Err(SetFault::Host);
        }
        let mut values = self.values.borrow_mut();
        if let (Some((_, current)), Some(Version(expected))) = (values.get(name), version)
            && *current != expected
        {
            return Err(SetFault::VersionMismatch);
        }
        let version = LAST_VERSION.get() + 1;
        LAST_VERSION.set(version);
        values.insert(name.to_owned(), (value.to_owned(), version));
        Ok(())
    }
}

/// A value that all threads share, and its version.
type SharedValue = (Arc<[u8]>, u32);

/// What the workers of one process share, each of which has a thread and a host of its own.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) values: Mutex<BTreeMap<String, SharedValue>>,
    /// The messages that were enqueued and not delivered, by the numbers of the queues.
    pub(crate) queues: Mutex<Vec<VecDeque<Vec<u8>>>>,
}

impl SharedData for Process {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        let values = self.values.lock().map_err(|_| HostFault)?;
        Ok(values.get(name).map(|(value, version)| Versioned {
            value: value.clone().into(),
            version: Version(*version),
        }))
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        let mut values = self.values.lock().map_err(|_| SetFault::Host)?;
        let current = values.get(name).map(|(_, current)| *current);
        if let (Some(current), Some(Version(expected))) = (current, version)
            && current != expected
        {
            return Err(SetFault::VersionMismatch);
        }
        let next = current.unwrap_or(0) + 1;
        values.insert(name.to_owned(), (value.into(), next));
        Ok(())
    }
}

/// What the host knows of a stream, and what it was told of it.
#[derive(Debug, Default)]
pub(crate) struct FakeStream {
    pub(crate) attributes: RefCell<Vec<(Attribute, Vec<u8>)>>,
    pub(crate) request_headers: RefCell<Option<Headers>>,
    pub(crate) request_body: RefCell<Option<Vec<u8>>>,
    /// What else happens when the core reads the body.
    pub(crate) when_body_is_read: RefCell<Option<Hook>>,
    pub(crate) response_headers: RefCell<Option<Headers>>,
    pub(crate) response_chunk: RefCell<Option<Vec<u8>>>,
    pub(crate) response_trailers: RefCell<Option<Headers>>,
    pub(crate) is_via_upstream: Cell<bool>,
    pub(crate) is_closed_by_client: Cell<bool>,
    pub(crate) has_asked_upstream: Cell<bool>,
    pub(crate) refuses_replies: Cell<bool>,
    /// Headers that were set or added, in order.
    pub(crate) set_in_request: RefCell<Vec<(String, String)>>,
    pub(crate) set_in_response: RefCell<Vec<(String, String)>>,
    pub(crate) reply: RefCell<Option<Reply>>,
    pub(crate) is_resumed: Cell<bool>,
    pub(crate) reports: RefCell<Vec<Report>>,
    /// Whom each of them is about.
    pub(crate) subjects: RefCell<Vec<Subject>>,
    pub(crate) log_record: RefCell<Vec<u8>>,
}

/// Something that happens once.
pub(crate) struct Hook(pub(crate) Box<dyn FnOnce()>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// A host, and all that it was asked for.
#[derive(Debug)]
pub(crate) struct FakeHost {
    pub(crate) now: Cell<u64>,
    pub(crate) secret: Cell<Option<[u64; 4]>>,
    pub(crate) shared: FakeSharedData,
    /// If there are other workers, used instead of `shared` and `messages`.
    pub(crate) process: Option<Arc<Process>>,
    /// The value that [`Host::random`] returns; workers of one process need different ones.
    pub(crate) seed: u64,
    pub(crate) streams: RefCell<BTreeMap<u32, Rc<FakeStream>>>,
    /// The stream whose callback is running.
    pub(crate) current: Cell<u32>,
    /// The callouts that were sent and not answered, by their tokens.
    pub(crate) calls: RefCell<VecDeque<(u32, Callout)>>,
    pub(crate) tokens: Cell<u32>,
    pub(crate) refuses_calls: Cell<bool>,
    /// The messages that were enqueued and not delivered.
    pub(crate) messages: RefCell<VecDeque<(u32, Vec<u8>)>>,
    pub(crate) refuses_messages: Cell<bool>,
    pub(crate) tick_period: Cell<Duration>,
    /// What was reported outside of streams.
    pub(crate) reports: RefCell<Vec<Report>>,
    pub(crate) flushed: RefCell<Vec<Gauges>>,
}

/// Outside of all streams.
pub(crate) const NO_STREAM: u32 = 0;

impl FakeHost {
    /// A host whose workers have this secret.
    pub(crate) fn new(secret: Option<[u64; 4]>) -> Self {
        Self {
            now: Cell::new(NOW),
            secret: Cell::new(secret),
            shared: FakeSharedData::default(),
            process: None,
            seed: 1,
            streams: RefCell::default(),
            current: Cell::new(NO_STREAM),
            calls: RefCell::default(),
            tokens: Cell::default(),
            refuses_calls: Cell::default(),
            messages: RefCell::default(),
            refuses_messages: Cell::default(),
            tick_period: Cell::default(),
            reports: RefCell::default(),
            flushed: RefCell::default(),
        }
    }

    /// A new stream under this number, whose route leads to a cluster and has no name.
    pub(crate) fn add_stream(&self, id: u32) -> Rc<FakeStream> {
        let stream = Rc::new(FakeStream::default());
        stream.attributes.replace(by_upstream());
        self.streams.borrow_mut().insert(id, Rc::clone(&stream));
        stream
    }

    fn stream(&self) -> Option<Rc<FakeStream>> {
        self.streams.borrow().get(&self.current.get()).cloned()
    }
}

impl Host for FakeHost {
    fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(self.now.get())
    }

    fn random(&self) -> u64 {
        self.seed
    }

    fn secret(&self) -> Option<[u64; 4]> {
        self.secret.get()
    }

    fn shared_data(&self) -> &dyn SharedData {
        match &self.process {
            Some(process) => &**process,
            None => &self.shared,
        }
    }

    fn register_queue(&self, _name: &str) -> Result<u32, HostFault> {
        let Some(process) = &self.process else {
            return Ok(QUEUE);
        };
        let mut queues = process.queues.lock().map_err(|_| HostFault)?;
        queues.push(VecDeque::new());
        u32::try_from(queues.len() - 1).map_err(|_| HostFault)
    }

    fn enqueue(&self, queue: u32, message: &[u8]) -> Result<(), HostFault> {
        if self.refuses_messages.get() {
            return Err(HostFault);
        }
        if let Some(process) = &self.process {
            let mut queues = process.queues.lock().map_err(|_| HostFault)?;
            let queue = queues.get_mut(queue as usize).ok_or(HostFault)?;
            queue.push_back(message.to_vec());
            return Ok(());
        }
        self.messages
            .borrow_mut()
            .push_back((queue, message.to_vec()));
        Ok(())
    }

    fn set_tick_period(&self, period: Duration) {
        self.tick_period.set(period);
    }

    fn report(&self, subject: &Subject, report: Report) {
        match self.stream() {
            Some(stream) => {
                stream.reports.borrow_mut().push(report);
                stream.subjects.borrow_mut().push(subject.clone());
            }
            None => self.reports.borrow_mut().push(report),
        }
    }

    fn flush_reports(&self, gauges: &Gauges) {
        self.flushed.borrow_mut().push(*gauges);
    }

    fn set_log_record(&self, record: &[u8]) {
        if let Some(stream) = self.stream() {
            stream.log_record.replace(record.to_vec());
        }
    }

    fn call(&self, callout: &Callout) -> Result<u32, CalloutFault> {
        if self.refuses_calls.get() {
            return Err(CalloutFault::NotSent);
        }
        let token = self.tokens.get() + 1;
        self.tokens.set(token);
        self.calls.borrow_mut().push_back((token, callout.clone()));
        Ok(token)
    }

    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let stream = self.stream()?;
        let attributes = stream.attributes.borrow();
        let mut values = attributes.iter();
        let (_, value) = values.find(|(known, _)| *known == attribute)?;
        Some(value.clone())
    }

    fn request_headers(&self) -> Option<Headers> {
        self.stream()?.request_headers.borrow().clone()
    }

    fn request_body(&self) -> Option<Vec<u8>> {
        let stream = self.stream()?;
        if let Some(Hook(happens)) = stream.when_body_is_read.take() {
            happens();
        }
        stream.request_body.borrow().clone()
    }

    fn response_headers(&self) -> Option<Headers> {
        self.stream()?.response_headers.borrow().clone()
    }

    fn response_chunk(&self, _size: usize) -> Option<Vec<u8>> {
        self.stream()?.response_chunk.borrow().clone()
    }

    fn response_trailers(&self) -> Option<Headers> {
        self.stream()?.response_trailers.borrow().clone()
    }

    fn is_via_upstream(&self) -> bool {
        self.stream()
            .is_some_and(|stream| stream.is_via_upstream.get())
    }

    fn is_closed_by_client(&self) -> bool {
        self.stream()
            .is_some_and(|stream| stream.is_closed_by_client.get())
    }

    fn set_request_header(&self, name: &str, value: &str) {
        if let Some(stream) = self.stream() {
            let header = (name.to_owned(), value.to_owned());
            stream.set_in_request.borrow_mut().push(header);
        }
    }

    fn set_response_header(&self, name: &str, value: &str) {
        if let Some(stream) = self.stream() {
            let header = (name.to_owned(), value.to_owned());
            stream.set_in_response.borrow_mut().push(header);
        }
    }

    fn add_response_header(&self, name: &str, value: &str) {
        self.set_response_header(name, value);
    }

    fn reply(&self, reply: Reply) -> Result<(), HostFault> {
        let stream = self.stream().ok_or(HostFault)?;
        if stream.refuses_replies.get() {
            return Err(HostFault);
        }
        stream.reply.replace(Some(reply));
        Ok(())
    }

    fn has_asked_upstream(&self) -> bool {
        self.stream()
            .is_some_and(|stream| stream.has_asked_upstream.get())
    }

    fn enter_stream(&self, stream: u32) -> Result<(), HostFault> {
        if !self.streams.borrow().contains_key(&stream) {
            return Err(HostFault);
        }
        self.current.set(stream);
        Ok(())
    }

    fn resume_request(&self) {
        if let Some(stream) = self.stream() {
            stream.is_resumed.set(true);
        }
    }
}

/// A route without a name.
pub(crate) fn by_upstream() -> Vec<(Attribute, Vec<u8>)> {
    vec![(Attribute::Cluster, b"upstream".to_vec())]
}
