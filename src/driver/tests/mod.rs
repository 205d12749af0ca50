//! Life cycles: what comes in, and what must be done about it.

mod browsers;
mod codings;
mod copies;
#[path = "../../../tests/fake_host/mod.rs"]
mod fake_host;
mod many;
mod near_misses;
mod remote;
mod shadow;
mod stale;
mod transitions;

use std::cell::{Cell, Ref};
use std::ops::Deref;
use std::rc::Rc;

use super::{StreamContext, WorkerContext};
use crate::attributes::{Attribute, CertificateField};
use crate::budget::Reservation;
use crate::cache::CacheKey;
use crate::callout::{Callout, CalloutFault, CalloutResult};
use crate::clock::UnixMillis;
use crate::config::Config;
use crate::host::{Reply, ReplyBody};
use crate::http::Headers;
use crate::report::{
    AnswerResult, Bypass, CollapseFault, Miss, NotStored, Operation, OperationResult,
    RefreshResult, Report, RequestResult, ShadowResult, StaleBecause,
};
use crate::store::StoreFault;
use crate::worker::Worker;
use fake_host::{FakeHost, FakeSharedData, FakeStream, Hook, NO_STREAM, NOW, by_upstream};

const JSON: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const ASK_JSON: &str = r#"{"model":"m","messages":[]}"#;
const ASK_STREAM: &str = r#"{"model":"m","messages":[],"stream":true}"#;

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
        !self.host.tick_period.get().is_zero()
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

#[test]
fn a_json_answer_is_stored_and_served_again() {
    let worker = worker("{}");
    let first = json_miss(&worker);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(first.header("x-cache").unwrap(), "MISS");
    assert_eq!(
        first.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=uri-miss"
    );
    let second = again(&worker, first, &post(&[]), ASK_JSON, 61_000);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    assert!(second.holds_request());
    let reply = second.reply().unwrap();
    assert_eq!(
        (reply.status, reply.body.as_bytes()),
        (200, JSON.as_bytes())
    );
    assert_eq!(second.header("content-type").unwrap(), "application/json");
    assert_eq!(second.header("x-cache").unwrap(), "HIT");
    assert_eq!(second.header("age").unwrap(), "61");
    assert_eq!(
        second.header("cache-status").unwrap(),
        "envoy-llm-cache; hit; ttl=3539; detail=memory"
    );
}

#[test]
fn a_stream_is_captured_chunk_by_chunk_and_replayed_byte_for_byte() {
    let worker = worker("{}");
    let mut first = Host::new(&worker);
    first.request(&post(&[]), ASK_STREAM);
    first.response_headers(&ok("text/event-stream; charset=utf-8", &[]), true);
    for chunk in STREAM.as_bytes().chunks(5) {
        assert!(first.captures_response());
        first.response_body(std::str::from_utf8(chunk).unwrap(), false);
    }
    first.response_body("", true);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(first.header("x-accel-buffering").unwrap(), "no");
    assert_eq!(worker.budget.left(), 64 << 20, "the copy is given back");
    let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    let reply = second.reply().unwrap();
    assert_eq!(reply.body.as_bytes(), STREAM.as_bytes());
    assert_eq!(second.header("x-accel-buffering").unwrap(), "no");
}

/// What a client gets in the place of a stored answer in another form.
fn text_of(host: &Host) -> String {
    let reply = host.reply().expect("the cache replied");
    String::from_utf8(reply.body.as_bytes().to_vec()).unwrap()
}

const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";
const ASK_USAGE: &str =
    r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;

#[test]
fn a_stored_stream_answers_a_request_for_json() {
    let worker = worker("{}");
    let event_stream = ok("text/event-stream", &[("cache-control", "no-cache")]);
    let with_usage = STREAM.replace("data: [DONE]", &format!("{USAGE}data: [DONE]"));
    let first = miss(&worker, &post(&[]), ASK_USAGE, &event_stream, &with_usage);
    let second = again(&worker, first, &post(&[]), ASK_JSON, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    assert_eq!(second.header("content-type").unwrap(), "application/json");
    assert_eq!(second.header("x-accel-buffering"), None);
    let json: serde_json::Value = serde_json::from_str(&text_of(&second)).unwrap();
    assert_eq!(json["choices"][0]["message"]["content"], "Hi");
    assert_eq!(json["usage"]["total_tokens"], 3);
}

#[test]
fn a_stored_json_answer_answers_a_request_for_a_stream() {
    let worker = worker("{}");
    let first = json_miss(&worker);
    let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    let content_type = second.header("content-type").unwrap();
    assert_eq!(content_type, "text/event-stream; charset=utf-8");
    assert_eq!(second.header("cache-control").unwrap(), "no-cache");
    assert_eq!(second.header("x-accel-buffering").unwrap(), "no");
    let stream = text_of(&second);
    assert!(
        stream.contains("Hi") && stream.ends_with("data: [DONE]\n\n"),
        "{stream}"
    );
}

#[test]
fn what_would_be_lost_is_a_miss_and_the_more_general_answer_stays() {
    let worker = worker("{}");
    let event_stream = ok("text/event-stream", &[]);
    let without = || miss(&worker, &post(&[]), ASK_STREAM, &event_stream, STREAM);
    let no_usage = RequestResult::Miss(Miss::Form(crate::llm::ConversionError::NoUsage));
    // The JSON answer serves streams as well, and so takes the place of the stream.
    let mut json = again(&worker, without(), &post(&[]), ASK_JSON, 0);
    assert_eq!(json.request_result(), Some(no_usage));
    json.response_headers(&ok("application/json", &[]), true);
    json.response_body(JSON, true);
    assert_eq!(json.answer_result(), Some(AnswerResult::Stored));
    // A JSON answer with audio cannot become a stream, nor a stream without usage JSON.
    let audio = JSON.replace("\"Hi\"", "\"Hi\",\"audio\":{\"id\":\"a\"}");
    let json = ok("application/json", &[]);
    let first = miss(&worker, &post(&[]), ASK_JSON, &json, &audio);
    let mut stream = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    stream.response_headers(&event_stream, true);
    stream.response_body(STREAM, true);
    assert_eq!(
        stream.answer_result(),
        Some(not_stored(NotStored::LessGeneral))
    );
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// An exchange whose answer comes compressed, cut into small pieces.
fn coded_miss(worker: &Rc<TestWorker>, ask: &str, content_type: &str, body: &[u8]) -> Host {
    let mut host = Host::new(worker);
    host.request(&post(&[("accept-encoding", "gzip")]), ask);
    host.response_headers(&ok(content_type, &[("content-encoding", "gzip")]), true);
    for chunk in body.chunks(7) {
        host.response_bytes(chunk, false);
    }
    host.response_body("", true);
    host.close();
    host
}

#[test]
fn a_compressed_answer_is_judged_and_served_compressed_to_those_who_accept_it() {
    let worker = worker("{}");
    for (ask, content_type, text) in [
        (ASK_JSON, "application/json", JSON),
        (ASK_STREAM, "text/event-stream", STREAM),
    ] {
        let body = gzip(text);
        let stored = || coded_miss(&worker, ask, content_type, &body);
        assert_eq!(stored().answer_result(), Some(AnswerResult::Stored));
        let accepts = post(&[("accept-encoding", "br, gzip;q=0.5")]);
        let hit = again(&worker, stored(), &accepts, ask, 0);
        assert_eq!(hit.reply().unwrap().body.as_bytes(), body);
        assert_eq!(hit.header("content-encoding").unwrap(), "gzip");
        let plain = again(&worker, stored(), &post(&[]), ask, 0);
        assert_eq!(text_of(&plain), text);
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("content-type").unwrap(), content_type);
        assert_eq!(worker.budget.left(), 64 << 20);
    }
    let json = coded_miss(&worker, ASK_JSON, "application/json", &gzip(JSON));
    let accepts = post(&[("accept-encoding", "gzip")]);
    let converted = again(&worker, json, &accepts, ASK_STREAM, 0);
    assert!(text_of(&converted).contains("[DONE]"));
    assert_eq!(converted.header("content-encoding"), None);
}

#[test]
fn a_compressed_answer_that_is_cut_or_bad_is_not_stored() {
    let worker = worker("{}");
    let body = gzip(STREAM);
    for cut in 0..body.len() {
        let host = coded_miss(&worker, ASK_STREAM, "text/event-stream", &body[..cut]);
        assert_ne!(host.answer_result(), Some(AnswerResult::Stored), "{cut}");
    }
    let error = gzip("data: {\"error\":{}}\n\n");
    let host = coded_miss(&worker, ASK_STREAM, "text/event-stream", &error);
    let fault = NotStored::NotWhole(crate::llm::NotWhole::Error);
    assert_eq!(host.answer_result(), Some(not_stored(fault)));
}

#[test]
fn what_a_compressed_stream_unpacks_to_counts_as_captured() {
    let worker = worker(r#"{"limits": {"max_capture_bytes": "1MiB"}}"#);
    let bomb = gzip(&format!("data: {}", "x".repeat(2 << 20)));
    let host = coded_miss(&worker, ASK_STREAM, "text/event-stream", &bomb);
    let limit = not_stored(NotStored::CaptureLimit);
    assert_eq!(host.answer_result(), Some(limit));
    assert_eq!(worker.budget.left(), 1 << 20);
}

#[test]
fn a_stream_that_stutters_is_passed_on_and_not_stored() {
    let words = "It was the best of times, it was the worst of times, it was the age of wisdom";
    let mut stream = String::new();
    for (end, _) in words.match_indices(' ') {
        let text = words.get(..end).unwrap();
        let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        stream.push_str(&format!("data: {delta}\n\n"));
    }
    stream.push_str(STREAM);
    for (config, result) in [
        ("{}", not_stored(NotStored::Stuttering)),
        (
            r#"{"store_if": {"stuttering": true}}"#,
            AnswerResult::Stored,
        ),
    ] {
        let worker = worker(config);
        let event_stream = ok("text/event-stream", &[]);
        let host = miss(&worker, &post(&[]), ASK_STREAM, &event_stream, &stream);
        assert_eq!(host.answer_result(), Some(result));
    }
}

#[test]
fn a_hit_reports_no_usage_where_the_configuration_says_so() {
    let worker = worker(r#"{"respond": {"usage": "zero"}}"#);
    let used = JSON.replace("]}", "],\"usage\":{\"total_tokens\":3}}");
    let json = ok("application/json", &[]);
    let stored = || miss(&worker, &post(&[]), ASK_JSON, &json, &used);
    for ask in [ASK_JSON, ASK_USAGE] {
        let hit = again(&worker, stored(), &post(&[]), ask, 0);
        assert!(
            text_of(&hit).contains("\"total_tokens\":0"),
            "{}",
            text_of(&hit)
        );
    }
}

#[test]
fn requests_that_take_no_part_are_not_touched() {
    let worker = worker(r#"{"rules":[{"match":{"model":"off"},"mode":"disabled"}]}"#);
    let no_part: &[Extra<'_>] = &[
        &[(":method", "GET")],
        &[(":path", "/v1/models")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("range", "bytes=0-1")],
        &[("upgrade", "websocket")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/grpc+json")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("x-http-method-override", "DELETE")],
    ];
    for extra in no_part {
        let mut host = Host::new(&worker);
        host.request(&post(extra), ASK_JSON);
        assert!(!host.holds_request(), "{extra:?}");
        assert!(!host.awaits_response(), "{extra:?}");
        assert!(host.is_untouched(), "{extra:?}");
    }
    for body in ["", r#"{"model":"off"}"#] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), body);
        assert!(!host.holds_request() && host.is_untouched(), "{body}");
    }
}

#[test]
fn a_request_that_is_kept_out_says_why() {
    let worker = worker(
        r#"{"limits": {"max_request_bytes": "1KiB"},
            "rules": [{"match": {"path_prefix": "/t/"}, "key": {"tenant": {"header": "x-t"}}},
                      {"match": {"path_prefix": "/s/"}, "sample": 0}]}"#,
    );
    let long = format!("[{}]", " ".repeat(1_100));
    let cases: &[(Extra<'_>, &str, Bypass)] = &[
        (
            &[("content-length", "1025")],
            ASK_JSON,
            Bypass::RequestTooLarge,
        ),
        (&[], &long, Bypass::RequestTooLarge),
        (
            &[("content-length", "28")],
            ASK_JSON,
            Bypass::BodyIncomplete,
        ),
        (&[("cache-control", "no-store")], ASK_JSON, Bypass::NoStore),
        (&[("x-llm-cache-ttl", "soon")], ASK_JSON, Bypass::InvalidTtl),
        (&[("x-llm-cache-ttl", "")], ASK_JSON, Bypass::InvalidTtl),
        (
            &[(":path", "/t/chat/completions")],
            ASK_JSON,
            Bypass::NoTenant,
        ),
        (
            &[(":path", "/s/chat/completions")],
            ASK_JSON,
            Bypass::Sample,
        ),
        (
            &[],
            r#"{"stream":"yes"}"#,
            Bypass::Unfit(crate::llm::Unfit::UnclearForm),
        ),
        (&[], r#"{"web_search_options":{}}"#, Bypass::ServerTools),
    ];
    for (extra, body, reason) in cases {
        let mut host = Host::new(&worker);
        host.request(&post(extra), body);
        assert!(!host.holds_request(), "{reason:?}");
        host.response_headers(&ok("application/json", &[]), true);
        assert!(!host.captures_response(), "{reason:?}");
        assert_eq!(host.request_result(), Some(RequestResult::Bypass(*reason)));
        assert_eq!(host.answer_result(), None, "{reason:?}");
        assert_eq!(host.header("x-cache").unwrap(), "BYPASS");
        let status = format!("envoy-llm-cache; fwd=bypass; detail={}", reason.as_str());
        assert_eq!(host.header("cache-status").unwrap(), status);
    }
}

#[test]
fn requests_can_be_kept_out_by_temperature_and_let_in_with_server_tools() {
    let worker = worker(r#"{"store_if": {"max_temperature": 0.5, "server_tools": true}}"#);
    let result = |body: &str| {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), body);
        host.request_result()
    };
    let warm = Some(RequestResult::Bypass(Bypass::Temperature));
    let cool = Some(RequestResult::Miss(Miss::Absent));
    assert_eq!(result(r#"{"model":"m","temperature":0.5}"#), cool);
    assert_eq!(result(r#"{"model":"m","temperature":0}"#), cool);
    assert_eq!(result(r#"{"model":"m","temperature":0.51}"#), warm);
    assert_eq!(result(r#"{"model":"m"}"#), warm);
    assert_eq!(result(r#"{"model":"m","temperature":"0"}"#), warm);
    let searching = r#"{"model":"m","temperature":0,"web_search_options":{}}"#;
    assert_eq!(result(searching), cool);
}

#[test]
fn a_body_that_grows_over_the_limit_is_let_go_before_it_is_complete() {
    let worker = worker(r#"{"limits": {"max_request_bytes": "1KiB"}}"#);
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    assert!(host.holds_request());
    let grow = |host: &mut Host, held| {
        host.call(|stream| stream.request_body(held, false));
    };
    grow(&mut host, 1_024);
    assert!(host.holds_request());
    grow(&mut host, 1_025);
    assert!(!host.holds_request());
}

#[test]
fn request_trailers_complete_the_body() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    let body = ASK_JSON.as_bytes();
    host.fake.request_body.replace(Some(body.to_vec()));
    assert!(host.call(|stream| stream.request_body(body.len(), false)));
    assert!(!host.call(StreamContext::request_trailers));
    assert!(!host.holds_request() && host.awaits_response());
}

#[test]
fn headers_are_held_only_where_the_configuration_says_so() {
    for (config, held) in [("{}", false), (r#"{"hold_headers": true}"#, true)] {
        let mut host = Host::new(&worker(config));
        let headers = headers(&post(&[("content-length", "27")]));
        assert_eq!(host.raw_request_headers(headers), held);
        assert!(host.holds_request());
    }
}

#[test]
fn headers_are_not_held_for_a_body_of_unknown_length() {
    let mut host = Host::new(&worker(r#"{"hold_headers": true}"#));
    host.request(&post(&[]), ASK_JSON);
    let unknown = RequestResult::Bypass(Bypass::UnknownLength);
    assert_eq!(host.request_result(), Some(unknown));
    assert!(!host.holds_request());
}

#[test]
fn directives_of_the_request_are_obeyed() {
    let worker = worker("{}");
    let control = |value: &str| post(&[("cache-control", value)]);
    let stored = || json_miss(&worker);
    let fresh_enough = again(&worker, stored(), &control("max-age=10"), ASK_JSON, 10_999);
    assert_eq!(fresh_enough.request_result(), Some(RequestResult::Hit));
    let mut too_old = again(&worker, stored(), &control("max-age=10"), ASK_JSON, 11_000);
    let max_age = Some(RequestResult::Miss(Miss::MaxAge));
    assert_eq!(too_old.request_result(), max_age);
    too_old.response_headers(&ok("application/json", &[]), true);
    assert_eq!(
        too_old.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=request; detail=max_age"
    );
    let mut refresh = again(&worker, stored(), &control("no-cache"), ASK_JSON, 5_000);
    let no_cache = Some(RequestResult::Miss(Miss::NoCache));
    assert_eq!(refresh.request_result(), no_cache);
    refresh.response_headers(&ok("application/json", &[]), true);
    refresh.response_body(JSON, true);
    assert_eq!(refresh.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(
        refresh.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=request; detail=no_cache"
    );
}

#[test]
fn a_request_that_stores_nothing_says_so() {
    for (config, ttl) in [("{}", "0s"), (r#"{"client": {"max_ttl": "0s"}}"#, "1h")] {
        let worker = worker(config);
        let mut host = Host::new(&worker);
        host.request(&post(&[("x-llm-cache-ttl", ttl)]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        assert_eq!(
            host.header("cache-status").unwrap(),
            "envoy-llm-cache; fwd=uri-miss; detail=zero_ttl"
        );
    }
}

#[test]
fn a_rule_says_whether_directives_are_obeyed() {
    for rule in [
        r#"{"path_prefix": "/v1/"}"#,
        r#"{"model": "m"}"#,
        r#"{"header": {"x-own": "1"}}"#,
    ] {
        let config = format!(
            r#"{{"rules": [{{"match": {rule}, "client": {{"cache_control": "ignore"}}}}]}}"#
        );
        let worker = worker(&config);
        for control in ["no-store", "no-cache", "max-age=0", "only-if-cached"] {
            let request = post(&[("cache-control", control), ("x-own", "1")]);
            let hit = again(&worker, json_miss(&worker), &request, ASK_JSON, 500);
            assert_eq!(
                hit.request_result(),
                Some(RequestResult::Hit),
                "{rule} {control}"
            );
        }
        let mut miss = Host::new(&worker);
        let request = post(&[
            ("cache-control", "only-if-cached, no-store"),
            ("x-own", "1"),
        ]);
        miss.request(&request, ASK_JSON);
        assert!(miss.reply().is_none(), "{rule}");
        assert_eq!(
            miss.request_result(),
            Some(RequestResult::Miss(Miss::Absent))
        );
    }
    // And where the top ignores them, a rule can bring them back.
    let worker = worker(
        r#"{"client": {"cache_control": "ignore"},
            "rules": [{"match": {"model": "m"}, "client": {"cache_control": "honor"}}]}"#,
    );
    for _ in 0..2 {
        let mut host = Host::new(&worker);
        host.request(&post(&[("cache-control", "no-store")]), ASK_JSON);
        let no_store = RequestResult::Bypass(Bypass::NoStore);
        assert_eq!(host.request_result(), Some(no_store));
    }
}

#[test]
fn only_if_cached_never_reaches_the_upstream() {
    let worker = worker("{}");
    for control in [
        "only-if-cached",
        "only-if-cached, no-store",
        "only-if-cached, no-cache",
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[("cache-control", control)]), ASK_JSON);
        assert!(host.holds_request(), "{control}");
        let reply = host.reply().unwrap();
        assert_eq!(reply.status, 504);
        serde_json::from_slice::<serde_json::Value>(reply.body.as_bytes()).unwrap();
        assert_eq!(
            host.header("cache-status").unwrap(),
            "envoy-llm-cache; detail=only_if_cached"
        );
    }
    let control = post(&[("cache-control", "only-if-cached")]);
    let hit = again(&worker, json_miss(&worker), &control, ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
}

#[test]
fn directives_can_be_ignored_by_configuration() {
    let worker = worker(r#"{"client": {"cache_control": "ignore"}}"#);
    let control = post(&[("cache-control", "no-store, only-if-cached")]);
    let hit = again(&worker, json_miss(&worker), &control, ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
}

#[test]
fn a_lifetime_asked_for_is_kept_within_its_bound() {
    let worker = worker(r#"{"client": {"max_ttl": "10m"}}"#);
    let result = |ttl: &str, later: u64| {
        let request = post(&[("x-llm-cache-ttl", ttl)]);
        let response = ok("application/json", &[]);
        let first = miss(&worker, &request, ASK_JSON, &response, JSON);
        again(&worker, first, &post(&[]), ASK_JSON, later).request_result()
    };
    let expired = Some(RequestResult::Miss(Miss::Expired));
    assert_eq!(result("5s", 4_999), Some(RequestResult::Hit));
    assert_eq!(result("5s", 5_000), expired);
    assert_eq!(result("7d", 599_999), Some(RequestResult::Hit));
    assert_eq!(result("7d", 600_000), expired);
    let never = miss(
        &worker,
        &post(&[("x-llm-cache-ttl", "0s")]),
        ASK_JSON,
        &ok("application/json", &[]),
        JSON,
    );
    assert_eq!(never.answer_result(), Some(not_stored(NotStored::ZeroTtl)));
}

#[test]
fn modes_read_and_write_what_they_say() {
    let read_write = worker("{}");
    let read_only = worker(r#"{"mode": "read_only"}"#);
    let write_only = worker(r#"{"mode": "write_only"}"#);
    let hit = again(&read_only, json_miss(&read_write), &post(&[]), ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
    let unwritten = json_miss(&read_only);
    assert_eq!(
        (unwritten.answer_result(), unwritten.stored()),
        (None, None)
    );
    let unread = again(&write_only, json_miss(&read_write), &post(&[]), ASK_JSON, 0);
    assert_eq!(
        unread.request_result(),
        Some(RequestResult::Bypass(Bypass::WriteOnly))
    );
    assert_eq!(
        json_miss(&write_only).answer_result(),
        Some(AnswerResult::Stored)
    );
}

#[test]
fn an_answer_is_stored_only_when_everything_speaks_for_it() {
    let worker = worker(r#"{"limits": {"max_response_bytes": "1KiB"}}"#);
    let json = |extra: Extra<'_>| ok("application/json", extra);
    let long = format!("{JSON}{}", " ".repeat(1_024));
    for (response, body, reason) in [
        (json(&[(":status", "201")]), JSON, NotStored::Status),
        (json(&[(":status", "429")]), JSON, NotStored::Status),
        (ok("text/html", &[]), JSON, NotStored::ContentType),
        (ok("", &[]), JSON, NotStored::ContentType),
        (
            json(&[("content-encoding", "br")]),
            JSON,
            NotStored::ContentEncoding,
        ),
        (ok("text/event-stream", &[]), STREAM, NotStored::Form),
        (
            json(&[("content-length", "2000")]),
            JSON,
            NotStored::ResponseTooLarge,
        ),
        (json(&[]), &long, NotStored::ResponseTooLarge),
        (json(&[("content-length", "7")]), JSON, NotStored::Length),
        (
            json(&[]),
            "{",
            NotStored::NotWhole(crate::llm::NotWhole::Malformed),
        ),
        (
            json(&[]),
            "",
            NotStored::NotWhole(crate::llm::NotWhole::Malformed),
        ),
        (
            json(&[]),
            &JSON.replace("\"stop\"", "null"),
            NotStored::UnmarkedEnd,
        ),
        (
            json(&[]),
            &JSON.replace("stop", "length"),
            NotStored::FinishLength,
        ),
        (
            json(&[]),
            &JSON.replace("stop", "content_filter"),
            NotStored::FinishFiltered,
        ),
        (json(&[]), &JSON.replace("\"Hi\"", "\"\""), NotStored::Empty),
    ] {
        let result = stored(&worker, &response, body);
        assert_eq!(result, not_stored(reason), "{response:?} {body}");
        assert_eq!(worker.budget.left(), 64 << 20);
    }
}

#[test]
fn the_configuration_may_want_other_answers() {
    let worker = worker(
        r#"{"store_if": {"finish": ["length", "filtered"], "empty": true, "unmarked_end": true}}"#,
    );
    let json = ok("application/json", &[]);
    let length = JSON.replace("stop", "length");
    let empty = length.replace("\"Hi\"", "\"\"");
    assert_eq!(stored(&worker, &json, &length), AnswerResult::Stored);
    assert_eq!(stored(&worker, &json, &empty), AnswerResult::Stored);
    assert_eq!(
        stored(&worker, &json, JSON),
        not_stored(NotStored::FinishComplete)
    );
}

#[test]
fn an_answer_of_another_model_can_be_kept_out() {
    let worker = worker(r#"{"store_if": {"same_model": true}}"#);
    let json_of = |model: &str| JSON.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
    let stream_of = |model: &str| STREAM.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
    let result = |ask: &str, content_type: &str, body: &str| {
        miss(&worker, &post(&[]), ask, &ok(content_type, &[]), body).answer_result()
    };
    let (json, sse) = ("application/json", "text/event-stream");
    for (model, expected) in [
        ("m", AnswerResult::Stored),
        ("provider/m-2024-08-06", AnswerResult::Stored),
        ("m-mini", not_stored(NotStored::OtherModel)),
    ] {
        let (whole, stream) = (json_of(model), stream_of(model));
        assert_eq!(result(ASK_JSON, json, &whole), Some(expected), "{model}");
        assert_eq!(result(ASK_STREAM, sse, &stream), Some(expected), "{model}");
    }
    assert_eq!(result(ASK_JSON, json, JSON), Some(AnswerResult::Stored));
    // A fallback in the middle of a stream.
    let mixed =
        stream_of("m").replace("[DONE]", "{\"model\":\"n\",\"choices\":[]}\n\ndata: [DONE]");
    let other = Some(not_stored(NotStored::OtherModel));
    assert_eq!(result(ASK_STREAM, sse, &mixed), other);
}

#[test]
fn a_request_that_comes_again_is_held_to_its_model_too() {
    let worker = worker(r#"{"store_if": {"same_model": true}}"#);
    let of = |model: &str| JSON.replacen('{', &format!("{{\"model\":\"{model}\","), 1);
    let json = ok("application/json", &[]);
    let stored = miss(&worker, &post(&[]), ASK_JSON, &json, &of("m"));
    let hit = again(&worker, stored, &post(&[]), ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
    // The worker remembers the request, and the entry is gone.
    let other = miss(&worker, &post(&[]), ASK_JSON, &json, &of("n"));
    assert_eq!(
        other.answer_result(),
        Some(not_stored(NotStored::OtherModel))
    );
}

#[test]
fn a_response_header_can_keep_an_answer_out() {
    let worker = worker(r#"{"store_if": {"unless_header": {"x-fallbacks": "1", "x-from": "b*"}}}"#);
    let result = |extra: Extra<'_>| stored(&worker, &ok("application/json", extra), JSON);
    let vetoed = not_stored(NotStored::VetoedByHeader);
    assert_eq!(result(&[("x-fallbacks", "1")]), vetoed);
    assert_eq!(
        result(&[("x-fallbacks", "0"), ("x-from", "backup")]),
        vetoed
    );
    assert_eq!(result(&[("x-fallbacks", "0")]), AnswerResult::Stored);
}

#[test]
fn streams_can_be_kept_out_by_configuration() {
    let worker = worker(r#"{"store_if": {"streams": false}}"#);
    let event_stream = ok("text/event-stream", &[]);
    let host = miss(&worker, &post(&[]), ASK_STREAM, &event_stream, STREAM);
    assert_eq!(host.answer_result(), Some(not_stored(NotStored::Streams)));
}

#[test]
fn what_envoy_answers_itself_is_not_stored() {
    let mut host = Host::new(&worker("{}"));
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), false);
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::LocalReply))
    );
}

#[test]
fn what_never_ends_is_not_stored() {
    let worker = worker("{}");
    for chunks in 0..2 {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        for _ in 0..chunks {
            host.response_body(JSON, false);
        }
        host.close();
        assert_eq!(host.answer_result(), Some(not_stored(NotStored::Aborted)));
        assert_eq!(worker.budget.left(), 64 << 20);
    }
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.close();
    assert_eq!(host.answer_result(), Some(not_stored(NotStored::Aborted)));
}

#[test]
fn a_client_that_hangs_up_at_the_end_marker_leaves_a_whole_answer() {
    let worker = worker("{}");
    let closed = |body: &str, closer: Closer| {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_STREAM);
        host.response_headers(&ok("text/event-stream", &[]), true);
        host.response_body(body, false);
        host.close_by(closer);
        host.answer_result()
    };
    let aborted = Some(not_stored(NotStored::Aborted));
    assert_eq!(closed(STREAM, Closer::Client), Some(AnswerResult::Stored));
    assert_eq!(closed(STREAM, Closer::Host), aborted);
    let unmarked = STREAM.split_once("data: [DONE]").unwrap().0;
    assert_eq!(closed(unmarked, Closer::Client), aborted);
    assert_eq!(
        closed(STREAM.strip_suffix('\n').unwrap(), Closer::Client),
        aborted
    );
    assert_eq!(worker.budget.left(), 64 << 20);
}

#[test]
fn a_part_of_an_answer_is_not_stored_whatever_its_status() {
    let worker = worker("{}");
    let json = ok("application/json", &[("content-range", "bytes 0-99/200")]);
    assert_eq!(
        stored(&worker, &json, JSON),
        not_stored(NotStored::ContentRange)
    );
}

#[test]
fn a_configuration_may_know_more_words_for_a_finish() {
    let json = ok("application/json", &[]);
    let answer = JSON.replace("stop", "fin");
    let unknown = NotStored::NotWhole(crate::llm::NotWhole::UnknownFinish);
    let result = stored(&worker("{}"), &json, &answer);
    assert_eq!(result, not_stored(unknown));
    let worker = worker(r#"{"store_if": {"finish_words": {"complete": ["fin"]}}}"#);
    assert_eq!(stored(&worker, &json, &answer), AnswerResult::Stored);
}

#[test]
fn a_stream_whose_content_type_does_not_say_so_is_stored_and_gets_one_that_does() {
    let worker = worker("{}");
    let untyped = vec![(":status", "200".to_owned())];
    for headers in [
        untyped,
        ok("text/plain", &[]),
        ok("Text/Plain; charset=utf-8", &[]),
    ] {
        let first = miss(&worker, &post(&[]), ASK_STREAM, &headers, STREAM);
        assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
        let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
        let content_type = second.header("content-type").unwrap();
        assert_eq!(content_type, "text/event-stream; charset=utf-8");
    }
}

#[test]
fn a_capture_ends_as_soon_as_the_answer_cannot_be_whole() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_STREAM);
    host.response_headers(&ok("text/event-stream", &[]), true);
    host.response_body("data: {\"error\":{}}\n\n", false);
    assert!(!host.captures_response());
    assert_eq!(worker.budget.left(), 64 << 20);
    let error = NotStored::NotWhole(crate::llm::NotWhole::Error);
    assert_eq!(host.answer_result(), Some(not_stored(error)));
}

#[test]
fn a_worker_that_captures_too_much_stores_less_and_serves_all_the_same() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    let _others = fill(&worker);
    host.response_headers(&ok("application/json", &[]), true);
    host.response_body(JSON, true);
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::CaptureLimit))
    );
}

#[test]
fn a_chunk_or_a_body_that_cannot_be_read_ends_caching_and_nothing_else() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), true);
    host.call(|stream| stream.response_body(1, false));
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::Unreadable))
    );
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.call(StreamContext::request_trailers);
    assert!(!host.holds_request());
}

#[test]
fn a_chunk_of_another_length_than_told_is_not_captured() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), true);
    host.fake.response_chunk.replace(Some(Vec::new()));
    host.call(|stream| stream.response_body(10, false));
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::Unreadable))
    );
}

#[test]
fn a_body_of_another_length_than_held_has_no_key() {
    let mut host = Host::new(&worker("{}"));
    host.request_headers(&post(&[]));
    let body = ASK_JSON.as_bytes();
    host.fake.request_body.replace(Some(body.to_vec()));
    host.call(|stream| stream.request_body(body.len() + 1, true));
    let incomplete = RequestResult::Bypass(Bypass::BodyIncomplete);
    assert_eq!(host.request_result(), Some(incomplete));
}

#[test]
fn what_is_excluded_from_the_key_still_decides_about_the_answer() {
    let worker = worker(
        r#"{"key": {"exclude": ["/stream", "/web_search_options", "/model"]},
            "rules": [{"match": {"model": "off"}, "mode": "disabled"}]}"#,
    );
    let stream = again(&worker, json_miss(&worker), &post(&[]), ASK_STREAM, 0);
    assert!(
        text_of(&stream).starts_with("data: "),
        "a stream, as asked for"
    );
    let mut host = Host::new(&worker);
    host.request(&post(&[]), r#"{"model":"m","web_search_options":{}}"#);
    let tools = RequestResult::Bypass(Bypass::ServerTools);
    assert_eq!(host.request_result(), Some(tools));
    let mut host = Host::new(&worker);
    host.request(&post(&[]), r#"{"model":"off"}"#);
    assert_eq!(host.request_result(), None);
}

#[test]
fn what_chooses_the_form_on_one_path_is_a_part_of_the_key_on_others() {
    for (path, shares) in [
        ("/api/chat", true),
        ("/api/chat/", true),
        ("/api/embed", false),
        ("/api/embed/", false),
    ] {
        let worker = worker(r#"{"respond": {"expose_key": true}}"#);
        let key = |ask: &str| {
            let mut host = Host::new(&worker);
            host.request(&post(&[(":path", path)]), ask);
            host.response_headers(&ok("application/json", &[]), true);
            host.header("x-cache-key").unwrap()
        };
        let [plain, streaming] = [
            r#"{"model":"m","input":"a","messages":[],"stream":false}"#,
            r#"{"model":"m","input":"a","messages":[],"stream":true}"#,
        ]
        .map(key);
        assert_eq!(plain == streaming, shares, "{path}");
    }
}

#[test]
fn a_body_that_is_not_plain_json_is_cached_unless_it_may_ask_for_more() {
    let worker = worker("{}");
    let twice = r#"{"model":"m","seed":1,"seed":2}"#;
    let response = ok("application/json", &[]);
    let first = miss(&worker, &post(&[]), twice, &response, JSON);
    let second = again(&worker, first, &post(&[]), twice, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    for more in [
        r#"{"a":1,"A":2,"tools":[{"type":"web_search"}]}"#,
        r#"{"a":1,"A":2,"\u0074ools":[]}"#,
        r#"{"a":1,"A":2,"Background":true}"#,
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), more);
        let unclear = Bypass::Unfit(crate::llm::Unfit::UnclearBody);
        let expected = Some(RequestResult::Bypass(unclear));
        assert_eq!(host.request_result(), expected, "{more}");
    }
}

#[test]
fn an_upstream_that_answers_before_it_was_asked_is_left_alone() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    assert!(host.awaits_response());
    host.response_headers(&ok("application/json", &[(":status", "413")]), true);
    assert!(!host.holds_request() && host.reply().is_none());
}

#[test]
fn any_bytes_from_the_store_are_an_entry_or_a_miss() {
    let worker = worker("{}");
    let (key, entry) = json_miss(&worker).stored().unwrap();
    let mut odd: Vec<Vec<u8>> = (0..entry.len()).map(|end| entry[..end].to_vec()).collect();
    odd.push(b"garbage".to_vec());
    for bytes in odd {
        let mut host = Host::new(&worker);
        host.put(key, &bytes);
        host.request(&post(&[]), ASK_JSON);
        // An entry without bytes is none.
        let miss = [Miss::Unusable, Miss::Absent][usize::from(bytes.is_empty())];
        assert_eq!(host.request_result(), Some(RequestResult::Miss(miss)));
    }
}

#[test]
fn a_store_that_fails_costs_a_miss() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.memory.refused.set(Some("llm-cache/"));
    host.request_body(ASK_JSON);
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Store(StoreFault::Unavailable)))
    );
    assert!(host.awaits_response());
}

#[test]
fn a_reply_that_the_host_cannot_send_goes_to_the_upstream_instead() {
    let worker = worker("{}");
    let mut host = Host::with_memory_of(&worker, &json_miss(&worker));
    host.fake.refuses_replies.set(true);
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert!(!host.holds_request());
}

#[test]
fn only_headers_of_the_answer_itself_are_stored() {
    let worker = worker("{}");
    let response = ok(
        "application/json",
        &[
            ("set-cookie", "a=b"),
            ("x-request-id", "r"),
            ("x-ratelimit-remaining-tokens", "1"),
            ("date", "today"),
            ("openai-version", "2020-10-01"),
        ],
    );
    let first = miss(&worker, &post(&[]), ASK_JSON, &response, JSON);
    let second = again(&worker, first, &post(&[]), ASK_JSON, 0);
    let reply = second.reply().unwrap();
    let names: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "content-type",
            "openai-version",
            "x-cache",
            "cache-status",
            "age"
        ]
    );
}

#[test]
fn the_key_is_shown_only_when_asked_for() {
    for (config, shown) in [
        ("{}", false),
        (r#"{"respond": {"expose_key": true}}"#, true),
    ] {
        let worker = worker(config);
        let first = json_miss(&worker);
        assert_eq!(first.header("x-cache-key").is_some(), shown);
        let second = again(&worker, first, &post(&[]), ASK_JSON, 0);
        assert_eq!(second.header("x-cache-key").is_some(), shown);
    }
}

/// Whatever callbacks come, in whatever order, nothing panics, nothing is counted twice, and a request
/// is never held once its stream is over.
#[test]
fn the_machine_is_total() {
    let worker = worker(r#"{"collapse": {"max_wait": "10s"}, "stale_while_revalidate": "1m"}"#);
    let mut random = 1_u64;
    for _ in 0..20_000 {
        let mut host = Host::new(&worker);
        host.fake.request_headers.replace(Some(headers(&post(&[]))));
        host.fake.request_body.replace(Some(ASK_JSON.into()));
        let response = headers(&ok("application/json", &[]));
        host.fake.response_headers.replace(Some(response.clone()));
        host.fake.response_chunk.replace(Some(JSON.into()));
        host.fake.response_trailers.replace(Some(response));
        host.fake.is_via_upstream.set(true);
        for _ in 0..8 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let end = random >> 63 == 1;
            match (random >> 40) % 10 {
                0 => drop(host.call(|stream| stream.request_headers(end))),
                1 => drop(host.call(|stream| stream.request_body(ASK_JSON.len(), end))),
                2 => drop(host.call(StreamContext::request_trailers)),
                3 => host.call(|stream| stream.response_headers(end)),
                4 => host.call(|stream| stream.response_body(JSON.len(), end)),
                5 => host.call(StreamContext::response_trailers),
                6 => host.called(Err(CalloutFault::NoReply)),
                7 => worker.settle(&host.memory),
                8 => worker.tick(NOW + 60_000, &host.memory),
                _ => host.close_by([Closer::Client, Closer::Host][usize::from(end)]),
            }
        }
        host.close();
        let _counted_once = (host.answer_result(), host.request_result());
        assert!(!host.holds_request());
    }
    assert_eq!(worker.budget.left(), 64 << 20);
}

fn bypassed(host: &Host) -> Option<RequestResult> {
    assert!(!host.holds_request(), "it goes on at once");
    host.request_result()
}

#[test]
fn a_request_whose_caller_nobody_knows_is_let_go_before_its_body_comes() {
    let worker = worker("{}");
    let mut anonymous = post(&[]);
    anonymous.retain(|(name, _)| *name != "authorization");
    let mut host = Host::new(&worker);
    host.request_headers(&anonymous);
    let no_tenant = RequestResult::Bypass(Bypass::NoTenant);
    assert_eq!(bypassed(&host), Some(no_tenant));
    host.response_headers(&ok("application/json", &[]), true);
    assert_eq!(
        host.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=bypass; detail=no_tenant"
    );
}

#[test]
fn a_verified_certificate_stands_for_a_caller_without_credentials() {
    let worker = worker("{}");
    let mut request = post(&[]);
    request.retain(|(name, _)| *name != "authorization");
    let certificate = |digest: &str| {
        let sha256 = Attribute::Certificate(CertificateField::Sha256);
        let certificate = vec![(sha256, digest.as_bytes().to_vec())];
        [by_upstream(), certificate].concat()
    };
    let mut first = Host::new(&worker);
    first.fake.attributes.replace(certificate("one"));
    first.request(&request, ASK_JSON);
    first.response_headers(&ok("application/json", &[]), true);
    first.response_body(JSON, true);
    for (digest, result) in [
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
        ("one", RequestResult::Hit),
    ] {
        let mut again = Host::with_memory_of(&worker, &first);
        again.fake.attributes.replace(certificate(digest));
        again.request(&request, ASK_JSON);
        assert_eq!(again.request_result(), Some(result), "{digest}");
    }
}

#[test]
fn a_request_that_comes_again_by_another_route_is_another_request() {
    let worker = worker("{}");
    let by = |cluster: &str| vec![(Attribute::Cluster, cluster.as_bytes().to_vec())];
    let mut first = Host::new(&worker);
    first.fake.attributes.replace(by("one"));
    first.request(&post(&[]), ASK_JSON);
    first.response_headers(&ok("application/json", &[]), true);
    first.response_body(JSON, true);
    // After the first hit the worker knows the request again by its fingerprint.
    for (cluster, result) in [
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
    ] {
        let mut again = Host::with_memory_of(&worker, &first);
        again.fake.attributes.replace(by(cluster));
        again.request(&post(&[]), ASK_JSON);
        assert_eq!(again.request_result(), Some(result), "{cluster}");
    }
}

#[test]
fn a_request_that_goes_where_nobody_knows_is_let_go() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.fake
        .attributes
        .replace(vec![(Attribute::RouteName, b"named".to_vec())]);
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(
        bypassed(&host),
        Some(RequestResult::Bypass(Bypass::NoCluster))
    );
}

#[test]
fn an_answer_that_came_by_another_route_than_the_key_says_is_not_stored() {
    let worker = worker("{}");
    for (attribute, value) in [
        (Attribute::Cluster, "other"),
        (Attribute::RouteName, "named"),
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        let other = (attribute, value.as_bytes().to_vec());
        let mut attributes = host.fake.attributes.take();
        attributes.retain(|(known, _)| *known != attribute);
        host.fake
            .attributes
            .replace([attributes, vec![other]].concat());
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, true);
        host.close();
        assert_eq!(host.answer_result(), Some(not_stored(NotStored::Rerouted)));
        assert!(host.stored().is_none(), "{value}");
    }
}

#[test]
fn a_signature_over_headers_of_its_own_choice_is_one() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[
        ("authorization", "Bearer sk-0123456789abcdef"),
        ("signature-input", "sig1=(\"@method\")"),
    ]));
    let signed = RequestResult::Bypass(Bypass::SignedRequest);
    assert_eq!(bypassed(&host), Some(signed));
}

/// A request with much more in its headers than decides.
fn padded(extra: Extra<'_>) -> Fields {
    let mut fields = post(extra);
    fields.extend(std::iter::repeat_n(("x-pad", "v".repeat(3_900)), 15));
    fields
}

#[test]
fn a_request_that_is_held_keeps_no_header_but_those_that_matter_later() {
    let worker = worker("{}");
    let all = worker.budget.left();
    let mut host = Host::new(&worker);
    host.request_headers(&padded(&[("accept-encoding", "gzip")]));
    assert!(all - worker.budget.left() < 3 << 10);
    drop(host);
    assert_eq!(worker.budget.left(), all);
    // What is kept is all that an answer depends on.
    let gzipped = ok("application/json", &[("content-encoding", "gzip")]);
    let mut first = Host::new(&worker);
    first.request(&padded(&[("accept-encoding", "gzip")]), ASK_JSON);
    first.response_headers(&gzipped, true);
    first.response_bytes(&gzip(JSON), true);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    for (accepted, coding) in [("gzip", Some("gzip")), ("br", None)] {
        let request = padded(&[("accept-encoding", accepted)]);
        let mut host = Host::with_memory_of(&worker, &first);
        host.request(&request, ASK_JSON);
        assert_eq!(host.request_result(), Some(RequestResult::Hit));
        assert_eq!(host.header("content-encoding").as_deref(), coding);
    }
    let mut other = Host::with_memory_of(&worker, &first);
    let authorization = [("authorization", "Bearer another")];
    other.request(&padded(&authorization), ASK_JSON);
    assert!(other.reply().is_none(), "what decides is kept");
}

#[test]
fn requests_that_begin_and_do_not_end_are_followed_only_as_long_as_there_is_room() {
    let huge = "Bearer ".to_owned() + &"k".repeat(50_000);
    for (extra, config, at_least) in [
        (&[][..], "{}", 12_000),
        (&[("authorization", huge.as_str())], "{}", 500),
        (&[("x-pad", huge.as_str())], "{}", 12_000),
        (
            &[("x-pad", huge.as_str())],
            r#"{"stale_while_revalidate": "1m"}"#,
            250,
        ),
    ] {
        let worker = worker(config);
        let mut held = Vec::new();
        let refused = loop {
            let mut host = Host::new(&worker);
            host.request_headers(&post(extra));
            if !host.holds_request() {
                break host;
            }
            held.push(host);
        };
        assert!(held.len() > at_least, "{}", held.len());
        let limit = RequestResult::Bypass(Bypass::CaptureLimit);
        assert_eq!(refused.request_result(), Some(limit));
        // It goes on to the upstream, and its client is told why.
        assert!(refused.reply().is_none() && refused.awaits_response());
        // Others have a part of what this caller had to leave.
        let authorization = [("authorization", "Bearer another")];
        let mut other = Host::new(&worker);
        other.request(&post(&authorization), ASK_JSON);
        let absent = RequestResult::Miss(Miss::Absent);
        assert_eq!(other.request_result(), Some(absent));
        drop(other);
        held.clear();
        assert_eq!(worker.budget.left(), 64 << 20);
        let mut host = Host::new(&worker);
        host.request(&post(extra), ASK_JSON);
        assert_eq!(host.request_result(), Some(absent));
    }
}

#[test]
fn slow_answers_of_one_caller_leave_room_for_those_of_another() {
    let worker = worker("{}");
    let begin = |caller: &str, sent: usize| {
        let mut host = Host::new(&worker);
        host.request(&post(&[("authorization", caller)]), ASK_JSON);
        let length = [("content-length", "10485760")];
        host.response_headers(&ok("application/json", &length), true);
        host.response_body(&"x".repeat(sent), false);
        host
    };
    let length = 10 << 20;
    let promised: Vec<_> = (0..100).map(|_| begin("Bearer one", 1)).collect();
    assert!(promised.iter().all(|host| host.captures_response()));
    assert!(
        worker.budget.left() > 63 << 20,
        "what has not come takes no room"
    );
    drop(promised);
    let slow: Vec<_> = (0..7).map(|_| begin("Bearer one", length - 1)).collect();
    let captured = slow.iter().filter(|host| host.captures_response());
    assert_eq!(captured.count(), 3, "half of 64 MiB");
    let limit = AnswerResult::NotStored(NotStored::CaptureLimit);
    assert_eq!(slow.last().unwrap().answer_result(), Some(limit));
    let other = begin("Bearer two", length - 1);
    assert!(other.captures_response());
    drop((slow, other));
    assert_eq!(worker.budget.left(), 64 << 20);
}

#[test]
fn a_request_keeps_its_place_until_its_answer_has_passed() {
    let worker = worker("{}");
    let all = worker.budget.left();
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    let forwarded = worker.budget.left();
    assert!(forwarded < all);
    host.response_headers(&ok("application/json", &[]), true);
    let (first, rest) = JSON.split_at(20);
    host.response_body(first, false);
    assert!(worker.budget.left() < forwarded);
    host.response_body(rest, true);
    assert_eq!(host.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(worker.budget.left(), all);
}

#[test]
fn an_answer_whose_trailers_may_tell_of_an_error_is_not_stored() {
    for (trailers, result) in [
        (Some(("etag", "1")), AnswerResult::Stored),
        (Some(("grpc-status", "0")), AnswerResult::Stored),
        (
            Some(("grpc-status", "14")),
            AnswerResult::NotStored(NotStored::Trailers),
        ),
        (
            Some(("x-error", "1")),
            AnswerResult::NotStored(NotStored::Trailers),
        ),
        (None, AnswerResult::NotStored(NotStored::Unreadable)),
    ] {
        let mut host = Host::new(&worker("{}"));
        host.request(&post(&[]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, false);
        let trailers: Option<Headers> = trailers.map(|trailer| [trailer].into_iter().collect());
        host.response_trailers(trailers.clone());
        assert_eq!(host.answer_result(), Some(result), "{trailers:?}");
    }
}
