//! Life cycles: what comes in, and what must be done about it.

mod browsers;
mod codings;
mod copies;
mod many;
mod near_misses;
mod remote;
mod shadow;
mod stale;

use super::*;
use crate::attributes::{Attribute, CertificateField};
use crate::cache::CacheKey;
use crate::callout::CalloutFault;
use crate::config::Config;
use crate::http::Headers;
use crate::store::Joined;
use crate::store::{StoreFault, Stored};

const NOW: u64 = 1_700_000_000_000;
const JSON: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}]}"#;
const STREAM: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const ASK_JSON: &str = r#"{"model":"m","messages":[]}"#;
const ASK_STREAM: &str = r#"{"model":"m","messages":[],"stream":true}"#;

type Fields = Vec<(&'static str, String)>;

/// Fields that a test adds to a message, or puts in the place of its own.
type Extra<'a> = &'a [(&'static str, &'a str)];

fn worker(config: &str) -> Rc<Worker> {
    let config = Config::parse(config.as_bytes()).unwrap();
    Rc::new(Worker::new(config, 1, Some([1, 2, 3, 4])))
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

/// A route without a name.
fn by_upstream() -> Vec<(Attribute, Vec<u8>)> {
    vec![(Attribute::Cluster, b"upstream".to_vec())]
}

/// An entry that was found nowhere in particular.
fn unseen(bytes: Vec<u8>) -> Stored {
    Stored { bytes, seen: None }
}

/// An exchange and a host around it that knows one entry, and its copies in other forms.
struct Host {
    exchange: Exchange,
    stored: Option<(CacheKey, Vec<u8>)>,
    copies: Vec<(CacheKey, Vec<u8>)>,
    now: u64,
    /// What the host says when a lease is asked for.
    lease: Joined,
    /// What the host knows of requests besides their headers.
    attributes: Vec<(Attribute, Vec<u8>)>,
    seen: Vec<Output>,
    reply: Option<Reply>,
}

impl Host {
    fn new(worker: &Rc<Worker>) -> Self {
        Self {
            exchange: Exchange::new(Rc::clone(worker)),
            stored: None,
            copies: Vec::new(),
            now: NOW,
            lease: Joined::Unavailable,
            attributes: by_upstream(),
            seen: Vec::new(),
            reply: None,
        }
    }

    fn step(&mut self, input: Input<'_>) -> Vec<Output> {
        let mut out = Vec::new();
        self.exchange.handle(input, &mut out);
        out
    }

    /// What is in memory.
    fn found(&self, key: CacheKey) -> Option<Vec<u8>> {
        let mut entries = self.stored.iter().chain(&self.copies);
        let (_, entry) = entries.find(|(stored, _)| *stored == key)?;
        Some(entry.clone())
    }

    /// Carries out what it is told, as a host does.
    fn carry_out(&mut self, outputs: Vec<Output>, body: &str) {
        for output in outputs {
            let more = match output {
                Output::ReadAttributes(wanted) => {
                    let known = self.attributes.iter().cloned();
                    let told = known.filter(|(attribute, _)| wanted.contains(attribute));
                    let told = told.collect();
                    self.step(Input::AttributesRead(told))
                }
                Output::ReadRequestBody => self.step(Input::RequestBodyRead(Some(body.as_bytes()))),
                Output::LookUp(key) => {
                    let found = Ok(self.found(key).map(unseen));
                    let now = self.now;
                    self.step(Input::LookedUp { found, now })
                }
                Output::Insert { key, entry, .. } => {
                    match &self.stored {
                        Some((stored, _)) if *stored != key => self.copies.push((key, entry)),
                        _ => self.stored = Some((key, entry)),
                    }
                    self.step(Input::Inserted(Ok(0)))
                }
                Output::Lease { key, waits, .. } => {
                    let found = Ok(self.found(key).map(unseen));
                    let joined = match self.lease {
                        Joined::Waits { until } if !waits => Joined::Held { until },
                        joined => joined,
                    };
                    let now = self.now;
                    self.step(Input::Leased { joined, found, now })
                }
                Output::Reply(reply) => {
                    self.reply = Some(reply);
                    Vec::new()
                }
                seen => {
                    self.seen.push(seen);
                    Vec::new()
                }
            };
            self.carry_out(more, body);
        }
    }

    fn request(&mut self, fields: &Fields, body: &str) {
        self.request_headers(fields);
        self.request_body(body);
    }

    fn request_headers(&mut self, fields: &Fields) {
        let headers = headers(fields);
        let end_of_stream = false;
        let out = self.step(Input::RequestHeaders {
            headers,
            end_of_stream,
        });
        self.carry_out(out, "");
    }

    fn request_body(&mut self, body: &str) {
        if self.exchange.holds_request() {
            let out = self.step(Input::RequestBody {
                held: body.len(),
                end_of_stream: true,
            });
            self.carry_out(out, body);
        }
    }

    /// The same where there is no room left from the body on.
    fn request_without_room(
        &mut self,
        worker: &Worker,
        fields: &Fields,
        body: &str,
    ) -> budget::Reservation {
        self.request_headers(fields);
        self.step(Input::RequestBody {
            held: body.len(),
            end_of_stream: true,
        });
        let out = self.step(Input::AttributesRead(by_upstream()));
        let others = fill(worker);
        self.carry_out(out, body);
        others
    }

    fn response_headers(&mut self, fields: &Fields, via_upstream: bool) {
        let now = self.now;
        let out = self.step(Input::ResponseHeaders {
            headers: &headers(fields),
            via_upstream,
            end_of_stream: false,
            now,
        });
        self.carry_out(out, "");
    }

    fn response_body(&mut self, chunk: &str, end_of_stream: bool) {
        let out = self.step(Input::ResponseBody {
            chunk: Some(chunk.as_bytes()),
            size: chunk.len(),
            end_of_stream,
            now: NOW,
        });
        self.carry_out(out, "");
    }

    fn close(&mut self) {
        let out = self.step(Input::Closed {
            by_client: false,
            now: NOW,
        });
        self.carry_out(out, "");
    }

    fn header(&self, wanted: &str) -> Option<String> {
        if let Some(reply) = &self.reply {
            let value = reply.headers.get(wanted)?;
            return Some(String::from_utf8(value.to_vec()).unwrap());
        }
        self.seen.iter().find_map(|output| match output {
            Output::SetHeader(name, value) | Output::AddHeader(name, value) if *name == wanted => {
                Some(value.to_string())
            }
            _ => None,
        })
    }

    fn answer_result(&self) -> Option<AnswerResult> {
        let mut results = self.seen.iter().filter_map(|output| match output {
            Output::Report(Report::Answer(result)) => Some(*result),
            _ => None,
        });
        let first = results.next();
        assert_eq!(results.next(), None, "counted twice");
        first
    }

    fn request_result(&self) -> Option<RequestResult> {
        let mut results = self.seen.iter().filter_map(|output| match output {
            Output::Report(Report::Request(result)) => Some(*result),
            _ => None,
        });
        let first = results.next();
        assert_eq!(results.next(), None, "counted twice");
        first
    }
}

/// A whole exchange with the upstream.
fn miss(worker: &Rc<Worker>, request: &Fields, ask: &str, response: &Fields, body: &str) -> Host {
    let mut host = Host::new(worker);
    host.request(request, ask);
    host.response_headers(response, true);
    host.response_body(body, true);
    host.close();
    host
}

/// Others hold all that is left of the budget.
fn fill(worker: &Worker) -> budget::Reservation {
    budget::Reservation::take(&worker.budget, worker.budget.left()).unwrap()
}

fn json_miss(worker: &Rc<Worker>) -> Host {
    let response = ok("application/json", &[]);
    miss(worker, &post(&[]), ASK_JSON, &response, JSON)
}

/// A request after `first`, against what `first` stored.
fn again(worker: &Rc<Worker>, first: Host, request: &Fields, ask: &str, later: u64) -> Host {
    let mut host = Host::new(worker);
    host.stored = first.stored;
    host.copies = first.copies;
    host.now = NOW + later;
    host.request(request, ask);
    host
}

fn stored(worker: &Rc<Worker>, response: &Fields, body: &str) -> AnswerResult {
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
    assert!(second.exchange.holds_request());
    let reply = second.reply.as_ref().unwrap();
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
        assert!(first.exchange.captures_response());
        first.response_body(std::str::from_utf8(chunk).unwrap(), false);
    }
    first.response_body("", true);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(first.header("x-accel-buffering").unwrap(), "no");
    assert_eq!(worker.budget.left(), 64 << 20, "the copy is given back");
    let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    let reply = second.reply.as_ref().unwrap();
    assert_eq!(reply.body.as_bytes(), STREAM.as_bytes());
    assert_eq!(second.header("x-accel-buffering").unwrap(), "no");
}

/// What a client gets in the place of a stored answer in another form.
fn text_of(host: &Host) -> String {
    let reply = host.reply.as_ref().expect("the cache replied");
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
fn coded_miss(worker: &Rc<Worker>, ask: &str, content_type: &str, body: &[u8]) -> Host {
    let mut host = Host::new(worker);
    host.request(&post(&[("accept-encoding", "gzip")]), ask);
    host.response_headers(&ok(content_type, &[("content-encoding", "gzip")]), true);
    for chunk in body.chunks(7) {
        let out = host.step(Input::ResponseBody {
            chunk: Some(chunk),
            size: chunk.len(),
            end_of_stream: false,
            now: NOW,
        });
        host.carry_out(out, "");
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
        assert_eq!(hit.reply.as_ref().unwrap().body.as_bytes(), body);
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
        assert!(!host.exchange.holds_request(), "{extra:?}");
        assert!(!host.exchange.awaits_response(), "{extra:?}");
        assert!(host.seen.is_empty(), "{extra:?}");
    }
    for body in ["", r#"{"model":"off"}"#] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), body);
        assert!(
            !host.exchange.holds_request() && host.seen.is_empty(),
            "{body}"
        );
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
        assert!(!host.exchange.holds_request(), "{reason:?}");
        host.response_headers(&ok("application/json", &[]), true);
        assert!(!host.exchange.captures_response(), "{reason:?}");
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
    assert!(host.exchange.holds_request());
    let grow = |host: &mut Host, held| {
        let end_of_stream = false;
        host.step(Input::RequestBody {
            held,
            end_of_stream,
        });
    };
    grow(&mut host, 1_024);
    assert!(host.exchange.holds_request());
    grow(&mut host, 1_025);
    assert!(!host.exchange.holds_request());
}

#[test]
fn request_trailers_complete_the_body() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.step(Input::RequestBody {
        held: ASK_JSON.len(),
        end_of_stream: false,
    });
    let out = host.step(Input::RequestTrailers);
    host.carry_out(out, ASK_JSON);
    assert!(!host.exchange.holds_request() && host.exchange.awaits_response());
}

#[test]
fn headers_are_held_only_where_the_configuration_says_so() {
    for (config, held) in [("{}", false), (r#"{"hold_headers": true}"#, true)] {
        let mut host = Host::new(&worker(config));
        host.step(Input::RequestHeaders {
            headers: headers(&post(&[("content-length", "27")])),
            end_of_stream: false,
        });
        assert_eq!(host.exchange.holds_request_headers(), held);
        assert!(host.exchange.holds_request());
    }
}

#[test]
fn headers_are_not_held_for_a_body_of_unknown_length() {
    let mut host = Host::new(&worker(r#"{"hold_headers": true}"#));
    host.request(&post(&[]), ASK_JSON);
    let unknown = RequestResult::Bypass(Bypass::UnknownLength);
    assert_eq!(host.request_result(), Some(unknown));
    assert!(!host.exchange.holds_request());
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
        assert!(miss.reply.is_none(), "{rule}");
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
        assert!(host.exchange.holds_request(), "{control}");
        let reply = host.reply.as_ref().unwrap();
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
    assert_eq!((unwritten.answer_result(), unwritten.stored), (None, None));
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
    let closed = |body: &str, by_client: bool| {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_STREAM);
        host.response_headers(&ok("text/event-stream", &[]), true);
        host.response_body(body, false);
        let out = host.step(Input::Closed {
            by_client,
            now: NOW,
        });
        host.carry_out(out, "");
        host.answer_result()
    };
    let aborted = Some(not_stored(NotStored::Aborted));
    assert_eq!(closed(STREAM, true), Some(AnswerResult::Stored));
    assert_eq!(closed(STREAM, false), aborted);
    let unmarked = STREAM.split_once("data: [DONE]").unwrap().0;
    assert_eq!(closed(unmarked, true), aborted);
    assert_eq!(closed(STREAM.strip_suffix('\n').unwrap(), true), aborted);
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
    assert!(!host.exchange.captures_response());
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
    let out = host.step(Input::ResponseBody {
        chunk: None,
        size: 1,
        end_of_stream: false,
        now: NOW,
    });
    host.carry_out(out, "");
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::Unreadable))
    );
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.step(Input::RequestTrailers);
    host.step(Input::AttributesRead(by_upstream()));
    host.step(Input::RequestBodyRead(None));
    assert!(!host.exchange.holds_request());
}

#[test]
fn a_chunk_of_another_length_than_told_is_not_captured() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.response_headers(&ok("application/json", &[]), true);
    let out = host.step(Input::ResponseBody {
        chunk: Some(b""),
        size: 10,
        end_of_stream: false,
        now: NOW,
    });
    host.carry_out(out, "");
    assert_eq!(
        host.answer_result(),
        Some(not_stored(NotStored::Unreadable))
    );
}

#[test]
fn a_body_of_another_length_than_held_has_no_key() {
    let mut host = Host::new(&worker("{}"));
    host.request_headers(&post(&[]));
    host.step(Input::RequestBody {
        held: ASK_JSON.len() + 1,
        end_of_stream: true,
    });
    host.step(Input::AttributesRead(by_upstream()));
    let out = host.step(Input::RequestBodyRead(Some(ASK_JSON.as_bytes())));
    host.carry_out(out, "");
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
    assert!(host.exchange.awaits_response());
    host.response_headers(&ok("application/json", &[(":status", "413")]), true);
    assert!(!host.exchange.holds_request() && host.reply.is_none());
}

#[test]
fn any_bytes_from_the_store_are_an_entry_or_a_miss() {
    let worker = worker("{}");
    let (key, entry) = json_miss(&worker).stored.unwrap();
    let mut odd: Vec<Vec<u8>> = (0..entry.len()).map(|end| entry[..end].to_vec()).collect();
    odd.push(b"garbage".to_vec());
    for bytes in odd {
        let mut host = Host::new(&worker);
        host.stored = Some((key, bytes));
        host.request(&post(&[]), ASK_JSON);
        assert_eq!(
            host.request_result(),
            Some(RequestResult::Miss(Miss::Unusable))
        );
    }
}

#[test]
fn a_store_that_fails_costs_a_miss() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    host.step(Input::RequestBody {
        held: ASK_JSON.len(),
        end_of_stream: true,
    });
    host.step(Input::AttributesRead(by_upstream()));
    host.step(Input::RequestBodyRead(Some(ASK_JSON.as_bytes())));
    let found = Err(StoreFault::Unavailable);
    let out = host.step(Input::LookedUp { found, now: NOW });
    host.carry_out(out, "");
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Store(StoreFault::Unavailable)))
    );
    assert!(host.exchange.awaits_response());
}

#[test]
fn a_reply_that_the_host_cannot_send_goes_to_the_upstream_instead() {
    let worker = worker("{}");
    let mut host = again(&worker, json_miss(&worker), &post(&[]), ASK_JSON, 0);
    assert!(host.exchange.holds_request());
    host.step(Input::ReplyFailed);
    assert!(!host.exchange.holds_request());
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
    let reply = second.reply.unwrap();
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

/// Whatever a host tells, in whatever order, nothing panics, nothing is counted twice, and a
/// request is never held once its exchange is over.
#[test]
fn the_machine_is_total() {
    let worker = worker("{}");
    let request = post(&[]);
    let response = ok("application/json", &[]);
    let response = headers(&response);
    let mut random = 1_u64;
    for _ in 0..20_000 {
        let mut host = Host::new(&worker);
        for _ in 0..8 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let end_of_stream = random >> 63 == 1;
            let input = match (random >> 40) % 17 {
                0 => Input::RequestHeaders {
                    headers: headers(&request),
                    end_of_stream,
                },
                1 => Input::RequestBody {
                    held: 10,
                    end_of_stream,
                },
                2 => Input::RequestTrailers,
                3 => Input::RequestBodyRead(Some(ASK_JSON.as_bytes())),
                4 => Input::LookedUp {
                    found: Ok(None),
                    now: NOW,
                },
                5 => Input::ResponseHeaders {
                    headers: &response,
                    via_upstream: true,
                    end_of_stream,
                    now: NOW,
                },
                6 => Input::ResponseBody {
                    chunk: Some(JSON.as_bytes()),
                    size: JSON.len(),
                    end_of_stream,
                    now: NOW,
                },
                7 => Input::ResponseTrailers {
                    trailers: Some(&response),
                    now: NOW,
                },
                8 => Input::Inserted(Ok(1)),
                9 => Input::ReplyFailed,
                10 => Input::Called {
                    result: Err(CalloutFault::NoReply),
                    now: NOW,
                },
                11 => Input::Leased {
                    joined: [Joined::Waits { until: NOW }, Joined::Unavailable]
                        [usize::from(end_of_stream)],
                    found: Ok(None),
                    now: NOW,
                },
                12 => Input::RequestRead {
                    body: Some(ASK_JSON.as_bytes()),
                    now: NOW,
                },
                13 => Input::Released {
                    release: Release::Go(CollapseFault::Timeout),
                    now: NOW,
                },
                14 => Input::Peeked { held: false },
                15 => Input::Begin { now: NOW },
                _ => Input::Closed {
                    by_client: end_of_stream,
                    now: NOW,
                },
            };
            let out = host.step(input);
            host.seen.extend(out);
        }
        host.close();
        let _counted_once = (host.answer_result(), host.request_result());
        assert!(!host.exchange.holds_request());
    }
    assert_eq!(worker.budget.left(), 64 << 20);
}

fn bypassed(host: &Host) -> Option<RequestResult> {
    assert!(!host.exchange.holds_request(), "it is let go at once");
    host.request_result()
}

#[test]
fn a_request_whose_caller_nobody_knows_is_let_go_before_its_body_comes() {
    let worker = worker("{}");
    let mut anonymous = post(&[]);
    anonymous.retain(|(name, _)| *name != "authorization");
    let mut host = Host::new(&worker);
    let headers = headers(&anonymous);
    let out = host.step(Input::RequestHeaders {
        headers,
        end_of_stream: false,
    });
    host.carry_out(out, "");
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
    first.attributes = certificate("one");
    first.request(&request, ASK_JSON);
    first.response_headers(&ok("application/json", &[]), true);
    first.response_body(JSON, true);
    for (digest, result) in [
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
        ("one", RequestResult::Hit),
    ] {
        let mut again = Host::new(&worker);
        again.stored.clone_from(&first.stored);
        again.attributes = certificate(digest);
        again.request(&request, ASK_JSON);
        assert_eq!(again.request_result(), Some(result), "{digest}");
    }
}

#[test]
fn a_request_that_comes_again_by_another_route_is_another_request() {
    let worker = worker("{}");
    let by = |cluster: &str| vec![(Attribute::Cluster, cluster.as_bytes().to_vec())];
    let mut first = Host::new(&worker);
    first.attributes = by("one");
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
        let mut again = Host::new(&worker);
        again.stored.clone_from(&first.stored);
        again.attributes = by(cluster);
        again.request(&post(&[]), ASK_JSON);
        assert_eq!(again.request_result(), Some(result), "{cluster}");
    }
}

#[test]
fn a_request_that_goes_where_nobody_knows_is_let_go() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.attributes = vec![(Attribute::RouteName, b"named".to_vec())];
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
        host.attributes.retain(|(known, _)| *known != attribute);
        host.attributes.push((attribute, value.as_bytes().to_vec()));
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, true);
        host.close();
        assert_eq!(host.answer_result(), Some(not_stored(NotStored::Rerouted)));
        assert!(host.stored.is_none(), "{value}");
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
    let out = first.step(Input::ResponseBody {
        chunk: Some(&gzip(JSON)),
        size: gzip(JSON).len(),
        end_of_stream: true,
        now: NOW,
    });
    first.carry_out(out, "");
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    for (accepted, coding) in [("gzip", Some("gzip")), ("br", None)] {
        let request = padded(&[("accept-encoding", accepted)]);
        let mut host = Host::new(&worker);
        host.stored.clone_from(&first.stored);
        host.request(&request, ASK_JSON);
        assert_eq!(host.request_result(), Some(RequestResult::Hit));
        assert_eq!(host.header("content-encoding").as_deref(), coding);
    }
    let mut other = Host::new(&worker);
    other.stored = first.stored;
    let authorization = [("authorization", "Bearer another")];
    other.request(&padded(&authorization), ASK_JSON);
    assert!(other.reply.is_none(), "what decides is kept");
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
            if !host.exchange.holds_request() {
                break host;
            }
            held.push(host);
        };
        assert!(held.len() > at_least, "{}", held.len());
        let limit = RequestResult::Bypass(Bypass::CaptureLimit);
        assert_eq!(refused.request_result(), Some(limit));
        // It goes on to the upstream, and its client is told why.
        assert!(refused.reply.is_none() && refused.exchange.awaits_response());
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
    assert!(
        promised
            .iter()
            .all(|host| host.exchange.captures_response())
    );
    assert!(
        worker.budget.left() > 63 << 20,
        "what has not come takes no room"
    );
    drop(promised);
    let slow: Vec<_> = (0..7).map(|_| begin("Bearer one", length - 1)).collect();
    let captured = slow.iter().filter(|host| host.exchange.captures_response());
    assert_eq!(captured.count(), 3, "half of 64 MiB");
    let limit = AnswerResult::NotStored(NotStored::CaptureLimit);
    assert_eq!(slow.last().unwrap().answer_result(), Some(limit));
    let other = begin("Bearer two", length - 1);
    assert!(other.exchange.captures_response());
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
        let out = host.step(Input::ResponseTrailers {
            trailers: trailers.as_ref(),
            now: NOW,
        });
        host.carry_out(out, "");
        assert_eq!(host.answer_result(), Some(result), "{trailers:?}");
    }
}
