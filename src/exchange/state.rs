//! The states of an exchange and all its transitions.
//!
//! ```text
//!                  request headers
//!  Start ────────────────────────────────► Over      takes no part: nothing is touched
//!    │ takes part                            ▲
//!    ▼                                       │
//!  Collecting ──── too large, unfit ... ───┐ │
//!    │ body complete: key                  │ │
//!    ▼                                     ▼ │ response headers: not to be stored
//!  LookingUp ──────── miss ─────────► Forwarded
//!    │   │ miss, a store behind HTTP ▲       │ response headers: may be stored
//!    │   └──────► Fetching ── miss ──┘       ▼
//!    │ hit, 504       │ hit             Capturing ──── judged, too large, cut off ──► Over
//!    ▼                │                      │ whole
//!  Replied ◄──────────┘                      ▼
//!                                         Storing ──── result ──► Over
//! ```
//! `no-cache` and `mode: write_only` go from Collecting to Forwarded without a lookup, and
//! `only-if-cached` turns every way to Forwarded into one to Replied. `Closed` leads from
//! everywhere to Over.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::cache::{
    Body, CacheKey, CacheStatus, Draft, Entry, Forward, Freshness, KeyParts, Seal, Tier, encode,
    freshness,
};
use crate::callout::CalloutResult;
use crate::coding;
use crate::config::{Policy, Respond, Selection, Settings, StoreIf, Usage, parse_duration};
use crate::http::{self, Headers, RequestDirectives};
use crate::json::{self, Canonical};
use crate::llm::{Answer, Api, Ask, Finish, Form, Judge, Lossy, Stutter};
use crate::store::{Lookup, StoreFault};

use super::capture::Capture;
use super::coded::Coded;
use super::reply::{self, Served};
use super::{AnswerResult, Bypass, Input, Miss, NotStored, Output, Report, RequestResult, Worker};

/// The media types of streams, whatever the API.
const STREAM_TYPES: [&str; 4] = [
    "application/stream+json",
    "application/vnd.amazon.eventstream",
    "application/x-ndjson",
    "text/event-stream",
];

/// Headers by which a request means another method than its own.
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Where an exchange is.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing has come yet.
    Start,
    /// The request's body is being held until it is complete.
    Collecting(Box<Collecting>),
    /// The memory is being asked.
    LookingUp(Box<LookingUp>),
    /// The store behind HTTP is being asked.
    Fetching(Box<Fetching>),
    /// The cache has answered; what follows is its own reply passing by.
    Replied,
    /// The request has gone on to the upstream.
    Forwarded(Box<Forwarded>),
    /// The answer passes, and a copy of it is kept.
    Capturing(Box<Capturing>),
    /// The answer has passed and was handed to the memory.
    Storing(Storing),
    /// Nothing more is to be done.
    Over,
}

#[derive(Debug)]
pub(super) struct Collecting {
    headers: Headers,
    selection: Selection,
    directives: RequestDirectives,
    /// What `x-llm-cache-ttl` says.
    requested_ttl: Option<Duration>,
    /// Bytes of the body that the host said it holds.
    held: usize,
}

#[derive(Debug)]
pub(super) struct LookingUp {
    request: Keyed,
    directives: RequestDirectives,
    /// The lines of `accept-encoding`, as one list.
    accept_encoding: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Fetching {
    looking_up: LookingUp,
    /// What the memory said.
    miss: Miss,
}

/// A request that has a key, and so an answer that may be stored.
#[derive(Debug)]
struct Keyed {
    key: CacheKey,
    api: Api,
    settings: Rc<Settings>,
    ask: Ask,
    ttl: Duration,
    /// The form of a fresh entry under the key that could not serve this request.
    rival: Option<Form>,
}

#[derive(Debug)]
pub(super) struct Forwarded {
    status: CacheStatus,
    respond: Respond,
    /// The request, if its answer may be stored.
    storable: Option<Keyed>,
    /// The request's key, if it got as far.
    key: Option<CacheKey>,
}

#[derive(Debug)]
pub(super) struct Capturing {
    request: Keyed,
    form: Form,
    headers: Headers,
    /// When the response's headers came, in milliseconds since 1970.
    created: u64,
    content_length: Option<u64>,
    judge: Box<dyn Judge>,
    stutter: Stutter,
    capture: Capture,
    /// Where the answer is compressed.
    coded: Option<Coded>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Storing {
    /// The store behind HTTP has taken the answer.
    taken: bool,
}

impl State {
    pub(super) fn handle(self, input: Input<'_>, worker: &Worker, out: &mut Vec<Output>) -> Self {
        match (self, input) {
            // Clients that know their API hang up at the end marker, before the end of the stream.
            (Self::Capturing(capturing), Input::Closed { by_client: true })
                if capturing.judge.is_over() =>
            {
                capturing.conclude(worker, out)
            }
            (state, Input::Closed { .. }) => state.close(out),
            (
                Self::Start,
                Input::RequestHeaders {
                    headers,
                    end_of_stream,
                },
            ) if !end_of_stream => start(headers, worker, out),
            (
                Self::Collecting(collecting),
                Input::RequestBody {
                    held,
                    end_of_stream,
                },
            ) => collecting.body(held, end_of_stream, worker, out),
            (Self::Collecting(collecting), Input::RequestTrailers) => {
                out.push(Output::ReadRequestBody);
                Self::Collecting(collecting)
            }
            (Self::Collecting(collecting), Input::RequestBodyRead(body)) => {
                collecting.body_read(body, worker, out)
            }
            (Self::LookingUp(looking_up), Input::LookedUp { found, now }) => {
                looking_up.looked_up(found, now, worker, out)
            }
            (Self::Fetching(fetching), Input::Called { result, now }) => {
                fetching.called(result, now, worker, out)
            }
            // The breaker wants to know of callouts, whoever still waits for them.
            (state, Input::Called { result, now }) => {
                if let Some(remote) = &worker.http {
                    let _unwanted = remote.looked_up(result, now, out);
                }
                state
            }
            (
                Self::Forwarded(forwarded),
                Input::ResponseHeaders {
                    headers,
                    via_upstream,
                    end_of_stream,
                    now,
                },
            ) => forwarded.response_headers(headers, via_upstream, end_of_stream, now, worker, out),
            (
                Self::Capturing(capturing),
                Input::ResponseBody {
                    chunk,
                    size,
                    end_of_stream,
                    now,
                },
            ) => capturing.chunk(
                chunk.filter(|chunk| chunk.len() == size),
                end_of_stream,
                now,
                worker,
                out,
            ),
            (Self::Capturing(capturing), Input::ResponseTrailers) => {
                capturing.conclude(worker, out)
            }
            (Self::Storing(storing), Input::Inserted(result)) => {
                if let Ok(evicted) = result {
                    out.push(Output::Report(Report::Evictions(evicted)));
                }
                out.push(match result {
                    Err(fault) if !storing.taken => not_stored(NotStored::Store(fault)),
                    _ => Output::Report(Report::Answer(AnswerResult::Stored)),
                });
                Self::Over
            }
            // A copy of what the store behind HTTP had.
            (state, Input::Inserted(Ok(evicted))) => {
                out.push(Output::Report(Report::Evictions(evicted)));
                state
            }
            // The upstream answered before it had the whole request: the answer is on its way, and
            // none of ours may follow it.
            (
                Self::Collecting(_) | Self::LookingUp(_) | Self::Fetching(_),
                Input::ResponseHeaders { .. },
            ) => Self::Over,
            // Better a second opinion from the upstream than a request that hangs.
            (Self::Replied, Input::ReplyFailed) => Self::Over,
            // What is left concerns nobody: bytes of answers that are not captured, above all.
            (state, _) => state,
        }
    }

    fn close(self, out: &mut Vec<Output>) -> Self {
        let storable = match &self {
            Self::Forwarded(forwarded) => forwarded.storable.is_some(),
            Self::Capturing(_) => true,
            _ => false,
        };
        if storable {
            out.push(not_stored(NotStored::Aborted));
        }
        Self::Over
    }
}

fn start(headers: Headers, worker: &Worker, out: &mut Vec<Output>) -> State {
    if !may_take_part(&headers) {
        return State::Over;
    }
    let selection = worker.config.select(&headers, path(&headers));
    if selection == Selection::NoPart {
        return State::Over;
    }
    let directives = if worker.config.client.honor_cache_control {
        RequestDirectives::parse(headers.get_all("cache-control"))
    } else {
        RequestDirectives::default()
    };
    let ttl = headers.get("x-llm-cache-ttl");
    let requested_ttl =
        ttl.and_then(|ttl| parse_duration(std::str::from_utf8(ttl).ok()?.trim_ascii()));
    let mut collecting = Box::new(Collecting {
        selection,
        directives,
        requested_ttl,
        headers,
        held: 0,
    });
    let too_large = collecting
        .content_length()
        .is_some_and(|length| length > max_request_bytes(worker));
    if too_large {
        collecting.bypass(Bypass::RequestTooLarge, worker, out)
    } else if worker.config.hold_headers && collecting.content_length().is_none() {
        // Envoy buffers what it lets go of once more while headers were held, so that a body
        // which turns out too large would be refused with 413.
        collecting.bypass(Bypass::UnknownLength, worker, out)
    } else if directives.no_store {
        collecting.bypass(Bypass::NoStore, worker, out)
    } else if collecting.headers.contains("x-llm-cache-ttl") && requested_ttl.is_none() {
        collecting.bypass(Bypass::InvalidTtl, worker, out)
    } else {
        State::Collecting(collecting)
    }
}

/// Whether the request's headers leave a way into the cache: a plain POST of plain JSON.
fn may_take_part(headers: &Headers) -> bool {
    let absent = |name: &&str| !headers.contains(name);
    headers.get(":method") == Some(b"POST")
        && headers.get("content-type").is_none_or(http::is_plain_json)
        && headers
            .get_all("content-encoding")
            .all(|coding| coding.eq_ignore_ascii_case(b"identity"))
        && ["range", "upgrade"].iter().all(absent)
        && METHOD_OVERRIDES.iter().all(absent)
}

/// The path without its query.
fn path(headers: &Headers) -> &[u8] {
    let path = headers.get(":path").unwrap_or_default();
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

fn max_request_bytes(worker: &Worker) -> u64 {
    // The limit's range ends below 32 bits.
    u64::try_from(worker.config.limits.max_request_bytes).unwrap_or(u64::MAX)
}

impl Collecting {
    fn content_length(&self) -> Option<u64> {
        self.headers.number("content-length")
    }

    fn body(
        mut self: Box<Self>,
        held: usize,
        end_of_stream: bool,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        if held > worker.config.limits.max_request_bytes {
            return self.bypass(Bypass::RequestTooLarge, worker, out);
        }
        self.held = held;
        if end_of_stream {
            out.push(Output::ReadRequestBody);
        }
        State::Collecting(self)
    }

    fn body_read(mut self, body: Option<&[u8]>, worker: &Worker, out: &mut Vec<Output>) -> State {
        let Some(body) = body.filter(|body| self.is_complete(body)) else {
            return self.bypass(Bypass::BodyIncomplete, worker, out);
        };
        // An empty POST asks an LLM for nothing.
        if body.is_empty() {
            return State::Over;
        }
        let canonical = json::canonicalize(body, &[]).ok();
        let Some(Policy { api, settings }) = self.decide(canonical.as_ref(), worker) else {
            return State::Over;
        };
        self.selection = Selection::Decided(Policy {
            api,
            settings: Rc::clone(&settings),
        });
        let path = self.headers.get(":path").unwrap_or_default();
        // What decides about the answer is read from the whole body, whatever the key leaves out.
        let ask = match api.read(path, body, canonical.as_ref()) {
            Ok(ask) => ask,
            Err(unfit) => return self.bypass(Bypass::Unfit(unfit), worker, out),
        };
        if ask.server_tools && !settings.store_if.server_tools {
            return self.bypass(Bypass::ServerTools, worker, out);
        }
        if !is_cool(ask.temperature, settings.store_if.max_temperature) {
            return self.bypass(Bypass::Temperature, worker, out);
        }
        let keyed = match settings.key.exclude.as_slice() {
            [] => canonical,
            exclude => json::canonicalize(body, exclude).ok(),
        };
        let key = CacheKey::new(&KeyParts {
            settings: &settings.key,
            headers: &self.headers,
            api,
            body: keyed.as_ref().map_or(Body::Raw(body), Body::Canonical),
            ask: &ask,
        });
        let Ok(key) = key else {
            return self.bypass(Bypass::NoTenant, worker, out);
        };
        if !settings.sample.takes(key.sample_bits()) {
            return self.bypass(Bypass::Sample, worker, out);
        }
        let ttl = self.requested_ttl.map_or(settings.ttl, |requested| {
            requested.min(worker.config.client.max_ttl)
        });
        let reads = settings.mode.reads();
        let looking_up = Box::new(LookingUp {
            request: Keyed {
                key,
                api,
                settings,
                ask,
                ttl,
                rival: None,
            },
            directives: self.directives,
            accept_encoding: self
                .headers
                .get_all("accept-encoding")
                .collect::<Vec<_>>()
                .join(&b','),
        });
        if !reads {
            let bypass = RequestResult::Bypass(Bypass::WriteOnly);
            out.push(Output::Report(Report::Request(bypass)));
            let detail = Some(Bypass::WriteOnly.as_str());
            looking_up.forward(Forward::Bypass, detail, out)
        } else if self.directives.no_cache {
            looking_up.miss(Miss::RequestDirective, out)
        } else {
            out.push(Output::LookUp(key));
            State::LookingUp(looking_up)
        }
    }

    /// Keys are made of whole bodies only: on Envoy before 1.32 the last chunk could be missing.
    fn is_complete(&self, body: &[u8]) -> bool {
        body.len() == self.held
            && self
                .content_length()
                .is_none_or(|length| usize::try_from(length) == Ok(body.len()))
    }

    fn decide(&mut self, body: Option<&Canonical>, worker: &Worker) -> Option<Policy> {
        match std::mem::replace(&mut self.selection, Selection::NoPart) {
            Selection::NoPart => None,
            Selection::Decided(policy) => Some(policy),
            Selection::NeedsModel => {
                let model = body.and_then(|body| json::string_value(body.member("model")?));
                let path = path(&self.headers);
                worker
                    .config
                    .select_with_model(&self.headers, path, model.as_deref())
            }
        }
    }

    fn bypass(&mut self, reason: Bypass, worker: &Worker, out: &mut Vec<Output>) -> State {
        let bypass = RequestResult::Bypass(reason);
        out.push(Output::Report(Report::Request(bypass)));
        let status = CacheStatus::Forwarded {
            because: Forward::Bypass,
            detail: Some(reason.as_str()),
        };
        let respond = match &self.selection {
            Selection::Decided(policy) => policy.settings.respond,
            Selection::NoPart | Selection::NeedsModel => worker.config.settings.respond,
        };
        if self.directives.only_if_cached {
            return refuse(out);
        }
        State::Forwarded(Box::new(Forwarded {
            status,
            respond,
            storable: None,
            key: None,
        }))
    }
}

impl LookingUp {
    fn looked_up(
        mut self,
        found: Result<Option<Vec<u8>>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let found = found.map_err(Miss::Store);
        let usable = found
            .and_then(|bytes| bytes.ok_or(Miss::Absent))
            .and_then(|bytes| self.usable(bytes, &Seal::Checksum, now, worker));
        match usable {
            Ok(usable) => self.hit(usable, Tier::Memory, out),
            // What the memory has cannot serve this request, nor could a copy of it.
            Err(miss @ Miss::Form(_)) => self.miss(miss, out),
            Err(miss) => self.fetch(miss, now, worker, out),
        }
    }

    /// Asks the store behind HTTP, if there is one and it is well.
    fn fetch(self, miss: Miss, now: u64, worker: &Worker, out: &mut Vec<Output>) -> State {
        let Some(remote) = &worker.http else {
            return self.miss(miss, out);
        };
        let key = &self.request.key;
        let (lookup, turn) = remote.store.look_up(&key.to_string(), now);
        out.extend(turn.map(|turn| Output::Report(Report::Breaker(turn))));
        match lookup {
            Lookup::Ask(callout) => {
                out.push(Output::Call(callout));
                State::Fetching(Box::new(Fetching {
                    looking_up: self,
                    miss,
                }))
            }
            Lookup::Probe => {
                worker.probe(key, out);
                self.miss(Miss::Store(StoreFault::BreakerOpen), out)
            }
            Lookup::Refused => self.miss(Miss::Store(StoreFault::BreakerOpen), out),
        }
    }

    /// Whether what a store has under the key can serve this request.
    fn usable(
        &mut self,
        bytes: Vec<u8>,
        seal: &Seal,
        now: u64,
        worker: &Worker,
    ) -> Result<Usable, Miss> {
        let entry = Entry::decode(&self.request.key, bytes, seal).map_err(|_| Miss::Unusable)?;
        let (age, ttl) = match freshness(now, entry.created, entry.lifetime) {
            Freshness::Fresh { age, ttl } => (age, ttl),
            Freshness::Expired => return Err(Miss::Expired),
            Freshness::FromTheFuture => return Err(Miss::Unusable),
        };
        if self.directives.max_age.is_some_and(|max_age| age > max_age) {
            return Err(Miss::RequestDirective);
        }
        match self.converted(&entry, worker) {
            Ok(converted) => Ok(Usable {
                entry,
                converted,
                age,
                ttl,
            }),
            Err(lossy) => {
                let asked = self.request.ask.form.as_ref();
                self.request.rival = Some(entry.form).filter(|form| Some(form) != asked);
                Err(Miss::Form(lossy))
            }
        }
    }

    fn hit(self, usable: Usable, tier: Tier, out: &mut Vec<Output>) -> State {
        let Keyed { key, settings, .. } = &self.request;
        let Usable {
            entry,
            converted,
            age,
            ttl,
        } = usable;
        let status = CacheStatus::Hit { ttl, tier };
        let reply = Served::new(entry, converted).reply(key, settings.respond, &status, age);
        out.push(Output::Report(Report::Request(RequestResult::Hit)));
        out.push(Output::Reply(reply));
        State::Replied
    }

    /// The entry's answer as this request wants it: its form and its body, uncompressed, or `None`
    /// if that is the entry as it is.
    fn converted(&self, entry: &Entry, worker: &Worker) -> Result<Option<(Form, Vec<u8>)>, Lossy> {
        let Keyed {
            api, ask, settings, ..
        } = &self.request;
        let form = ask.form.as_ref().unwrap_or(&entry.form);
        let coding = entry.headers.get("content-encoding");
        let accept = [self.accept_encoding.as_slice()];
        let accepted = coding.is_none_or(|coding| http::accepts_coding(accept.into_iter(), coding));
        let zero_usage = settings.respond.usage == Usage::Zero;
        if accepted && *form == entry.form && !zero_usage {
            return Ok(None);
        }
        let max_bytes = worker.config.limits.max_response_bytes;
        let mut body = match coding {
            None => Cow::Borrowed(entry.body()),
            Some(coding) => Cow::Owned(
                coding::decode(coding, entry.body(), max_bytes).map_err(|_| Lossy::Malformed)?,
            ),
        };
        if *form != entry.form {
            body = Cow::Owned(api.convert(&body, &entry.form, form)?);
        }
        if zero_usage {
            body = Cow::Owned(api.zero_usage(&body, form)?);
        }
        Ok(Some((form.clone(), body.into_owned())))
    }

    fn miss(self, miss: Miss, out: &mut Vec<Output>) -> State {
        out.push(Output::Report(Report::Request(RequestResult::Miss(miss))));
        let (because, detail) = match miss {
            Miss::Absent => (Forward::UriMiss, None),
            Miss::Expired => (Forward::Stale, None),
            Miss::RequestDirective => (Forward::Request, None),
            Miss::Form(_) | Miss::Unusable | Miss::Store(_) => (Forward::Miss, Some(miss.as_str())),
        };
        self.forward(because, detail, out)
    }

    fn forward(
        self,
        because: Forward,
        detail: Option<&'static str>,
        out: &mut Vec<Output>,
    ) -> State {
        if self.directives.only_if_cached {
            return refuse(out);
        }
        let request = self.request;
        let key = Some(request.key);
        let respond = request.settings.respond;
        let storable = if !request.settings.mode.writes() {
            None
        } else if request.ttl.is_zero() {
            out.push(not_stored(NotStored::ZeroTtl));
            None
        } else {
            Some(request)
        };
        State::Forwarded(Box::new(Forwarded {
            status: CacheStatus::Forwarded { because, detail },
            respond,
            storable,
            key,
        }))
    }
}

impl Fetching {
    fn called(
        self,
        result: CalloutResult,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut looking_up,
            miss,
        } = self;
        let Some(remote) = &worker.http else {
            return looking_up.miss(miss, out);
        };
        let bytes = match remote.looked_up(result, now, out) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return looking_up.miss(miss, out),
            Err(fault) => return looking_up.miss(Miss::Store(fault), out),
        };
        let key = looking_up.request.key;
        match looking_up.usable(bytes, &remote.seal, now, worker) {
            Ok(usable) => {
                let copy = worker.copy_for_memory(key, &usable.entry);
                let state = looking_up.hit(usable, Tier::Http, out);
                out.extend(copy);
                state
            }
            Err(miss) => {
                if miss == Miss::Expired && looking_up.request.settings.mode.writes() {
                    worker.delete(&key, out);
                }
                looking_up.miss(miss, out)
            }
        }
    }
}

/// An entry that can serve a request.
struct Usable {
    entry: Entry,
    /// The answer in it in the form asked for, where that is not the entry as it is.
    converted: Option<(Form, Vec<u8>)>,
    /// Seconds since the answer was received.
    age: u64,
    /// Seconds until it expires.
    ttl: u64,
}

/// Whether a request is as deterministic as the configuration wants it.
fn is_cool(temperature: Option<f64>, max: Option<f64>) -> bool {
    max.is_none_or(|max| temperature.is_some_and(|temperature| temperature <= max))
}

fn refuse(out: &mut Vec<Output>) -> State {
    out.push(Output::Reply(reply::only_if_cached()));
    State::Replied
}

impl Forwarded {
    fn response_headers(
        self,
        headers: &Headers,
        via_upstream: bool,
        end_of_stream: bool,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let content_type = headers.get("content-type").unwrap_or_default();
        for (name, value) in reply::own_headers(&self.status, self.respond, self.key.as_ref()) {
            out.push(match name {
                // Caches behind us have their say in the same list (RFC 9211, section 2).
                "cache-status" => Output::AddHeader(name, value),
                _ => Output::SetHeader(name, value),
            });
        }
        if self.respond.anti_buffering && is_stream_type(content_type) {
            out.push(Output::SetHeader("x-accel-buffering", "no".to_owned()));
        }
        let Some(request) = self.storable else {
            return State::Over;
        };
        match Capturing::begin(request, headers, via_upstream, now, worker) {
            Err(reason) => {
                out.push(not_stored(reason));
                State::Over
            }
            Ok(capturing) if end_of_stream => capturing.conclude(worker, out),
            Ok(capturing) => State::Capturing(Box::new(capturing)),
        }
    }
}

impl Capturing {
    fn begin(
        request: Keyed,
        headers: &Headers,
        via_upstream: bool,
        now: u64,
        worker: &Worker,
    ) -> Result<Self, NotStored> {
        if !via_upstream {
            return Err(NotStored::LocalReply);
        }
        if headers.get(":status") != Some(b"200") {
            return Err(NotStored::Status);
        }
        let content_type = headers.get("content-type").unwrap_or_default();
        let Keyed { api, ask, .. } = &request;
        let framing = api
            .framing(ask, content_type)
            .ok_or(NotStored::ContentType)?;
        if framing.is_stream() && !request.settings.store_if.streams {
            return Err(NotStored::Streams);
        }
        let max_bytes = worker.config.limits.max_response_bytes;
        let coded = Coded::new(headers, max_bytes, &worker.budget)?;
        let form = match &ask.form {
            Some(asked) if asked.framing == framing => asked.clone(),
            Some(_) => return Err(NotStored::Form),
            None => Form::stream(framing, b""),
        };
        let mut capture = Capture::new(&worker.budget, max_bytes);
        let content_length = headers.number("content-length");
        if let Some(length) = content_length {
            capture.expect(usize::try_from(length).map_err(|_| NotStored::ResponseTooLarge)?)?;
        }
        let stored = |name| headers.get(name).map(|value| (name, value));
        Ok(Self {
            form,
            headers: reply::STORED_HEADERS
                .into_iter()
                .filter_map(stored)
                .collect(),
            created: now,
            content_length,
            judge: api.judge(ask, framing),
            stutter: Stutter::new(),
            capture,
            coded,
            request,
        })
    }

    fn chunk(
        mut self: Box<Self>,
        chunk: Option<&[u8]>,
        end_of_stream: bool,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        match self.take(chunk, now) {
            Err(reason) => {
                out.push(not_stored(reason));
                State::Over
            }
            Ok(()) if end_of_stream => self.conclude(worker, out),
            Ok(()) => State::Capturing(self),
        }
    }

    fn take(&mut self, chunk: Option<&[u8]>, now: u64) -> Result<(), NotStored> {
        let chunk = chunk.ok_or(NotStored::Unreadable)?;
        self.capture.push(chunk)?;
        let mut plain = Cow::Borrowed(chunk);
        if let Some(coded) = &mut self.coded {
            plain = Cow::Owned(coded.take(chunk, self.form.framing)?);
        }
        let stutter = &mut self.stutter;
        self.judge
            .feed(&plain, &mut |choice, text| stutter.piece(choice, text, now))
            .map_err(NotStored::Fault)
    }

    /// The response came to its end: it is stored if it is whole and wanted.
    fn conclude(self, worker: &Worker, out: &mut Vec<Output>) -> State {
        match self.into_whole() {
            Ok(whole) => whole.store(worker, out),
            Err(reason) => {
                out.push(not_stored(reason));
                State::Over
            }
        }
    }

    fn into_whole(self) -> Result<Whole, NotStored> {
        let body = self.capture.bytes();
        let all_there = self
            .content_length
            .is_none_or(|length| usize::try_from(length) == Ok(body.len()));
        if !all_there {
            return Err(NotStored::Length);
        }
        let plain = match self.coded {
            None => Cow::Borrowed(body),
            Some(coded) => Cow::Owned(coded.finish()?),
        };
        let answer = self.judge.finish(&plain).map_err(NotStored::Fault)?;
        let Keyed {
            api,
            settings,
            ttl,
            rival,
            ..
        } = &self.request;
        is_wanted(&settings.store_if, answer)?;
        if self.stutter.is_stuttering() && !settings.store_if.stuttering {
            return Err(NotStored::Stuttering);
        }
        if let Some(rival) = rival {
            let coding = self.headers.get("content-encoding").unwrap_or_default();
            coding::decode(coding, body, self.capture.max_bytes())
                .ok()
                .and_then(|plain| api.convert(&plain, &self.form, rival).ok())
                .ok_or(NotStored::LessGeneral)?;
        }
        let key = self.request.key;
        // Lifetimes are configured in days at the most.
        let lifetime = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let draft = encode(
            &key,
            &self.form,
            200,
            self.created,
            lifetime,
            &self.headers,
            body,
        );
        Ok(Whole {
            key,
            draft: draft.ok_or(NotStored::ResponseTooLarge)?,
            created: self.created,
            lifetime,
        })
    }
}

/// A whole answer that is to be stored; times are in milliseconds.
struct Whole {
    key: CacheKey,
    draft: Draft,
    created: u64,
    lifetime: u64,
}

impl Whole {
    /// Hands the answer to every store that there is.
    fn store(self, worker: &Worker, out: &mut Vec<Output>) -> State {
        let Self {
            key,
            draft,
            created,
            lifetime,
        } = self;
        let expires = created.saturating_add(lifetime);
        let (for_http, for_memory) = match (&worker.http, worker.config.memory) {
            (None, _) => (None, Some(draft)),
            (Some(remote), None) => (Some((remote, draft)), None),
            (Some(remote), Some(_)) => (Some((remote, draft.clone())), Some(draft)),
        };
        let taken = for_http
            .map(|(remote, draft)| worker.write(&key, draft.seal(&remote.seal), expires, out));
        match (for_memory, taken) {
            (Some(draft), taken) => {
                out.push(Output::Insert {
                    key,
                    entry: draft.seal(&Seal::Checksum),
                    created,
                    lifetime,
                });
                State::Storing(Storing {
                    taken: taken.is_some_and(|taken| taken.is_ok()),
                })
            }
            (None, taken) => {
                out.push(match taken {
                    Some(Err(fault)) => not_stored(NotStored::Store(fault)),
                    _ => Output::Report(Report::Answer(AnswerResult::Stored)),
                });
                State::Over
            }
        }
    }
}

/// Whether a content type says that an answer is a stream.
fn is_stream_type(content_type: &[u8]) -> bool {
    let media_type = http::media_type(content_type);
    STREAM_TYPES.contains(&media_type.as_str())
}

/// Whether the configuration wants a whole answer like this stored.
fn is_wanted(store_if: &StoreIf, answer: Answer) -> Result<(), NotStored> {
    if !answer.marked_end && !store_if.unmarked_end {
        return Err(NotStored::UnmarkedEnd);
    }
    if !store_if.finish.contains(&answer.finish) {
        return Err(match answer.finish {
            Finish::Complete => NotStored::FinishComplete,
            Finish::Length => NotStored::FinishLength,
            Finish::Filtered => NotStored::FinishFiltered,
        });
    }
    if answer.empty && !store_if.empty {
        return Err(NotStored::Empty);
    }
    Ok(())
}

fn not_stored(reason: NotStored) -> Output {
    Output::Report(Report::Answer(AnswerResult::NotStored(reason)))
}
