//! Whole exchanges on a host of their own: a file for each subject.

mod browsers;
mod bypasses;
mod callers_and_routes;
mod codings;
mod collapsed;
mod copies;
mod directives;
mod faults;
mod held_requests;
mod http_store;
mod near_misses;
mod replays;
mod shadow;
mod stale;
mod storing;
mod telemetry;
mod transitions;

use std::cell::{Cell, Ref};
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use super::{StreamContext, WorkerContext};
use crate::attributes::{Attribute, CertificateField};
use crate::budget::Reservation;
use crate::cache::CacheKey;
use crate::callout::{Callout, CalloutFault, CalloutResult};
use crate::clock::UnixMillis;
use crate::config::Config;
use crate::fake_host::{FakeHost, FakeSharedData, FakeStream, Hook, NO_STREAM, NOW, by_upstream};
use crate::host::{Reply, ReplyBody};
use crate::http::Headers;
use crate::report::{
    AnswerResult, Bypass, CollapseFault, Miss, NotStored, OperationResult, RefreshResult, Report,
    RequestResult, ShadowResult, StaleBecause, StoreOperation,
};
use crate::store::StoreFault;
use crate::worker::Worker;

const JSON: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const ASK_JSON: &str = r#"{"model":"m","messages":[]}"#;
const ASK_STREAM: &str = r#"{"model":"m","messages":[],"stream":true}"#;
const ASK_USAGE: &str =
    r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;

type Fields = Vec<(&'static str, String)>;

/// Fields that a test adds to a message, or puts in the place of its own.
type Extra<'a> = &'a [(&'static str, &'a str)];

impl FakeSharedData {
    /// Has these values in the place of its own.
    fn replace(&self, other: &Self) {
        self.values.replace(other.values.borrow().clone());
        self.refused.set(other.refused.get());
    }
}

/// A worker in a host of its own.
struct TestWorker {
    context: Rc<WorkerContext>,
    host: Rc<FakeHost>,
    last_stream: Cell<u32>,
}

impl Deref for TestWorker {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.context.worker()
    }
}

impl TestWorker {
    /// Delivers the messages that the worker has for itself, and what they lead to, with this in shared
    /// data.
    fn settle(&self, shared: &FakeSharedData) {
        self.outside(shared, |context| {
            while let Some(message) = self.next_message() {
                context.message(&message);
            }
        });
    }

    fn next_message(&self) -> Option<Vec<u8>> {
        let next = self.host.messages.borrow_mut().pop_front();
        next.map(|(_, message)| message)
    }

    /// Calls the worker outside of all streams, with this in shared data.
    fn outside(&self, shared: &FakeSharedData, call: impl FnOnce(&WorkerContext)) {
        self.host.shared.replace(shared);
        self.host.current.set(NO_STREAM);
        call(&self.context);
        self.host.current.set(NO_STREAM);
        shared.replace(&self.host.shared);
        self.host.shared.replace(&FakeSharedData::default());
    }

    fn tick(&self, now: u64, shared: &FakeSharedData) {
        self.host.now.set(now);
        self.outside(shared, WorkerContext::tick);
    }

    fn wants_ticks(&self) -> bool {
        self.host.tick_period.get() == Duration::from_millis(20)
    }

    fn is_woken(&self) -> bool {
        !self.host.messages.borrow().is_empty()
    }

    /// The callouts that are under way.
    fn take_calls(&self) -> Vec<(u32, Callout)> {
        self.host.calls.take().into()
    }
}

fn worker(config: &str) -> Rc<TestWorker> {
    let config = Config::parse(config.as_bytes()).unwrap();
    let host = Rc::new(FakeHost::new(Some([1, 2, 3, 4])));
    Rc::new(TestWorker {
        context: WorkerContext::new(config, Rc::<FakeHost>::clone(&host)),
        host,
        last_stream: Cell::new(NO_STREAM),
    })
}

fn headers(fields: &Fields) -> Headers {
    fields.iter().map(|(name, value)| (name, value)).collect()
}

fn post(extra: Extra<'_>) -> Fields {
    let base = [
        (":method", "POST"),
        (":path", "/v1/chat/completions"),
        (":authority", "api.example"),
        ("content-type", "application/json"),
        ("authorization", "Bearer k"),
    ];
    let own = base
        .iter()
        .filter(|(n, _)| extra.iter().all(|(e, _)| e != n));
    own.chain(extra)
        .map(|(n, v)| (*n, (*v).to_owned()))
        .collect()
}

fn ok(content_type: &str, extra: Extra<'_>) -> Fields {
    let base = [(":status", "200"), ("content-type", content_type)];
    let own = base
        .iter()
        .filter(|(n, _)| extra.iter().all(|(e, _)| e != n));
    own.chain(extra)
        .map(|(n, v)| (*n, (*v).to_owned()))
        .collect()
}

/// The entries in shared data, in the order in which they were written, and their keys.
fn entries(shared: &FakeSharedData) -> Vec<(CacheKey, Vec<u8>)> {
    const TRAILER_BYTES: usize = 43;
    let values = shared.values.borrow();
    let mut slots: Vec<_> = values
        .values()
        .filter(|(value, _)| {
            value.len() > TRAILER_BYTES && value[..value.len() - 1].ends_with(b"SL")
        })
        .collect();
    slots.sort_by_key(|(_, version)| *version);
    let entry = |(value, _): &(Vec<u8>, u32)| {
        let (entry, trailer) = value.split_at(value.len() - TRAILER_BYTES);
        let key = CacheKey::from_bytes(*trailer.first_chunk().unwrap());
        (key, entry.to_vec())
    };
    slots.into_iter().map(entry).collect()
}

/// A stream, and the memory that it finds: that of another one only where a test says so.
struct Host {
    worker: Rc<TestWorker>,
    id: u32,
    stream: StreamContext,
    fake: Rc<FakeStream>,
    memory: FakeSharedData,
    /// The keys under which there were entries, in the order in which they came.
    keys: Vec<CacheKey>,
    /// The callouts that it has sent.
    callouts: Vec<Callout>,
    now: u64,
}

impl Host {
    fn new(worker: &Rc<TestWorker>) -> Self {
        let id = worker.last_stream.get() + 1;
        worker.last_stream.set(id);
        Self {
            worker: Rc::clone(worker),
            id,
            stream: StreamContext::new(id, Rc::clone(&worker.context)),
            fake: worker.host.add_stream(id),
            memory: without_leases(),
            keys: Vec::new(),
            callouts: Vec::new(),
            now: NOW,
        }
    }

    /// Has the memory that another one left.
    fn with_memory_of(worker: &Rc<TestWorker>, other: &Self) -> Self {
        let mut host = Self::new(worker);
        host.remember(other);
        host
    }

    fn remember(&mut self, other: &Self) {
        self.memory.replace(&other.memory);
        self.keys.clone_from(&other.keys);
    }

    /// What the request's answer is stored as, if it is.
    fn stored(&self) -> Option<(CacheKey, Vec<u8>)> {
        let first = self.keys.first()?;
        let mut all = entries(&self.memory).into_iter();
        all.find(|(key, _)| key == first)
    }

    /// The copies of that in other forms.
    fn copies(&self) -> Vec<(CacheKey, Vec<u8>)> {
        let mut all = entries(&self.memory);
        all.retain(|(key, _)| Some(key) != self.keys.first());
        all
    }

    /// Puts any bytes under a key.
    fn put(&mut self, key: CacheKey, entry: &[u8]) {
        let memory = self.worker.memory.as_ref().unwrap();
        let now = UnixMillis::from_millis(NOW);
        let later = UnixMillis::from_millis(u64::MAX);
        let put = memory.insert(&self.memory, key.as_bytes(), entry, now, later);
        put.unwrap();
        self.note_keys();
    }

    fn note_keys(&mut self) {
        for (key, _) in entries(&self.memory) {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
    }

    /// The host calls the stream.
    fn call<T>(&mut self, callback: impl FnOnce(&StreamContext) -> T) -> T {
        let host = &self.worker.host;
        host.shared.replace(&self.memory);
        host.now.set(self.now);
        host.current.set(self.id);
        let calls_before = host.calls.borrow().len();
        let result = callback(&self.stream);
        host.current.set(NO_STREAM);
        let sent = host.calls.borrow_mut().split_off(calls_before);
        self.callouts.extend(sent.into_iter().map(|(_, call)| call));
        self.memory.replace(&host.shared);
        host.shared.replace(&FakeSharedData::default());
        self.note_keys();
        result
    }

    fn request(&mut self, fields: &Fields, body: &str) {
        self.request_headers(fields);
        self.request_body(body);
    }

    fn request_headers(&mut self, fields: &Fields) {
        self.raw_request_headers(headers(fields));
    }

    fn raw_request_headers(&mut self, headers: Headers) -> bool {
        self.fake.request_headers.replace(Some(headers));
        self.call(|stream| stream.request_headers(false))
    }

    fn request_body(&mut self, body: &str) {
        self.request_bytes(body.as_bytes());
    }

    fn request_bytes(&mut self, body: &[u8]) {
        self.fake.request_body.replace(Some(body.to_vec()));
        self.call(|stream| stream.request_body(body.len(), true));
    }

    /// The same where there is no room left from the body on.
    fn request_without_room(&mut self, fields: &Fields, body: &str) -> Reservation {
        self.request_headers(fields);
        let others = Rc::new(Cell::new(None));
        let (worker, filled) = (Rc::clone(&self.worker), Rc::clone(&others));
        let fill = move || filled.set(Some(fill(&worker)));
        self.fake
            .when_body_is_read
            .replace(Some(Hook(Box::new(fill))));
        self.request_body(body);
        others.take().unwrap()
    }

    fn response_headers(&mut self, fields: &Fields, via_upstream: bool) {
        self.fake.response_headers.replace(Some(headers(fields)));
        self.fake.is_via_upstream.set(via_upstream);
        self.call(|stream| stream.response_headers(false));
    }

    fn response_body(&mut self, chunk: &str, end_of_stream: bool) {
        self.response_bytes(chunk.as_bytes(), end_of_stream);
    }

    fn response_bytes(&mut self, chunk: &[u8], end_of_stream: bool) {
        self.fake.response_chunk.replace(Some(chunk.to_vec()));
        self.call(|stream| stream.response_body(chunk.len(), end_of_stream));
    }

    fn response_trailers(&mut self, trailers: Option<Headers>) {
        self.fake.response_trailers.replace(trailers);
        self.call(StreamContext::response_trailers);
    }

    fn close(&mut self) {
        self.close_by(Closer::Host);
    }

    fn close_by(&mut self, closer: Closer) {
        let by_client = closer == Closer::Client;
        self.fake.is_closed_by_client.set(by_client);
        self.call(StreamContext::closed);
    }

    /// The callout that it waits for has come to this.
    fn called(&mut self, result: CalloutResult) {
        self.call(|stream| stream.called(|_| result));
    }

    /// The callout that the exchange waits for.
    fn callout(&self) -> Option<&Callout> {
        assert!(self.callouts.len() <= 1, "asked twice");
        self.callouts.first()
    }

    fn holds_request(&self) -> bool {
        self.stream.holds_request()
    }

    fn awaits_response(&self) -> bool {
        self.stream.awaits_response()
    }

    fn captures_response(&self) -> bool {
        self.stream.captures_response()
    }

    fn reply(&self) -> Option<Ref<'_, Reply>> {
        Ref::filter_map(self.fake.reply.borrow(), Option::as_ref).ok()
    }

    fn header(&self, wanted: &str) -> Option<String> {
        if let Some(reply) = self.reply() {
            let value = reply.headers.get(wanted)?;
            return Some(String::from_utf8(value.to_vec()).unwrap());
        }
        let set = self.fake.set_in_response.borrow();
        let (_, value) = set.iter().find(|(name, _)| name == wanted)?;
        Some(value.clone())
    }

    /// Nothing was done, nor told.
    fn is_untouched(&self) -> bool {
        self.reply().is_none()
            && self.fake.set_in_request.borrow().is_empty()
            && self.fake.set_in_response.borrow().is_empty()
            && self.fake.reports.borrow().is_empty()
    }

    fn reports(&self) -> Vec<Report> {
        self.fake.reports.borrow().clone()
    }

    fn reported<T>(&self, which: impl FnMut(&Report) -> Option<T>) -> Option<T> {
        let reports = self.reports();
        let mut found = reports.iter().filter_map(which);
        let first = found.next();
        assert!(found.next().is_none(), "counted twice");
        first
    }

    fn answer_result(&self) -> Option<AnswerResult> {
        self.reported(|report| match report {
            Report::Answer(result) => Some(*result),
            _ => None,
        })
    }

    fn request_result(&self) -> Option<RequestResult> {
        self.reported(|report| match report {
            Report::Request(result) => Some(*result),
            _ => None,
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.worker.host.streams.borrow_mut().remove(&self.id);
    }
}

/// Who ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    Client,
    Host,
}

/// Shared data of which no lease can be had, so that each request leads those of its own worker.
fn without_leases() -> FakeSharedData {
    let shared = FakeSharedData::default();
    shared.refused.set(Some(LEASES));
    shared
}

const LEASES: &str = "llm-cache/leases/";

/// A whole exchange with the upstream.
fn miss(
    worker: &Rc<TestWorker>,
    request: &Fields,
    ask: &str,
    response: &Fields,
    body: &str,
) -> Host {
    let mut host = Host::new(worker);
    host.request(request, ask);
    host.response_headers(response, true);
    host.response_body(body, true);
    host.close();
    host
}

/// Others hold all that is left of the budget.
fn fill(worker: &Worker) -> Reservation {
    Reservation::take(&worker.budget, worker.budget.left()).unwrap()
}

fn json_miss(worker: &Rc<TestWorker>) -> Host {
    let response = ok("application/json", &[]);
    miss(worker, &post(&[]), ASK_JSON, &response, JSON)
}

/// A request after `first`, against what `first` stored.
fn again(worker: &Rc<TestWorker>, first: Host, request: &Fields, ask: &str, later: u64) -> Host {
    let mut host = Host::with_memory_of(worker, &first);
    host.now = NOW + later;
    host.request(request, ask);
    host
}

fn stored(worker: &Rc<TestWorker>, response: &Fields, body: &str) -> AnswerResult {
    let host = miss(worker, &post(&[]), ASK_JSON, response, body);
    host.answer_result().expect("the answer might be stored")
}

fn not_stored(reason: NotStored) -> AnswerResult {
    AnswerResult::NotStored(reason)
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// What a client gets in the place of a stored answer in another form.
fn text_of(host: &Host) -> String {
    let reply = host.reply().expect("the cache replied");
    String::from_utf8(reply.body.as_bytes().to_vec()).unwrap()
}

fn bypassed(host: &Host) -> Option<RequestResult> {
    assert!(!host.holds_request(), "it goes on at once");
    host.request_result()
}
