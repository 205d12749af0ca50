//! The first phase of an exchange: the request's headers and its body, until it has a key.

use std::borrow::Cow;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use crate::cache::{Body, CacheKey, CacheStatus, Forward, KeyParts, NoTenant};
use crate::coding::{self, CodingFault, Decoder};
use crate::config::{Mode, Policy, Selection, Settings, parse_duration};
use crate::http::{self, Headers, RequestDirectives};
use crate::json;
use crate::llm::{Api, Ask, Form};

use super::capture::Hold;
use super::fate::{Fate, Lead};
use super::lookup::{Search, refuse};
use super::repeat::Decided;
use super::response::Forwarded;
use super::state::State;
use super::{Bypass, Output, Report, RequestResult, Worker};

#[derive(Debug)]
pub(super) struct Collecting {
    headers: Headers,
    /// Those of the headers that decide: nothing else does, but the body.
    deciding: Headers,
    head: Head,
    selection: Selection,
    /// Bytes of the body that the host said it holds.
    held: usize,
}

/// What the headers of a request say, beside what decides about its key.
#[derive(Debug)]
struct Head {
    directives: RequestDirectives,
    /// How long the body is said to be.
    length: Option<u64>,
    /// How the body is compressed.
    coding: RequestCoding,
    /// What `x-llm-cache-ttl` says, if it is there.
    ttl: Option<Result<Duration, InvalidTtl>>,
}

#[derive(Clone, Copy, Debug)]
struct InvalidTtl;

/// How the body of a request is compressed.
#[derive(Debug)]
enum RequestCoding {
    Plain,
    /// In this way, which can be undone.
    Coded(Box<[u8]>),
    Unknown,
}

/// A request that has a key, and so an answer that may be stored.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) key: CacheKey,
    pub(super) api: Api,
    pub(super) settings: Rc<Settings>,
    pub(super) ask: Rc<Ask>,
    pub(super) ttl: Duration,
    /// The form of a fresh entry under the key that could not serve this request.
    pub(super) rival: Option<Form>,
    /// Set if it asks the upstream on behalf of others.
    pub(super) lead: Option<Lead>,
}

impl Keyed {
    pub(super) fn fate(&self) -> Fate {
        Fate::new(self.key, self.lead)
    }

    pub(super) fn asks_for_stream(&self) -> bool {
        let form = self.ask.form.as_ref();
        form.is_some_and(|form| form.framing.is_stream())
    }
}

/// Why a request has no key.
enum NotKeyed {
    /// It takes no part.
    NoPart,
    Bypass(Bypass),
}

pub(super) fn start(headers: Headers, worker: &Worker, out: &mut Vec<Output>) -> State {
    let Some(head) = Head::read(&headers, worker) else {
        return State::Over;
    };
    let deciding = worker.deciding.pick(&headers);
    let selection = worker.config.select(&deciding, path(&deciding));
    if selection == Selection::NoPart {
        return State::Over;
    }
    let hold_headers = worker.config.hold_headers;
    let unfit = match head {
        Head {
            length: Some(length),
            ..
        } if length > max_request_bytes(worker) => Some(Bypass::RequestTooLarge),
        // Envoy buffers what it lets go of once more while headers were held, so that a body
        // which turns out too large would be refused with 413.
        Head { length: None, .. } if hold_headers => Some(Bypass::UnknownLength),
        Head { directives, .. } if directives.no_store => Some(Bypass::NoStore),
        Head {
            ttl: Some(Err(InvalidTtl)),
            ..
        } => Some(Bypass::InvalidTtl),
        Head {
            coding: RequestCoding::Unknown,
            ..
        } => Some(Bypass::ContentEncoding),
        _ => None,
    };
    if unfit.is_none() && may_be_stored(&selection, &deciding, worker) {
        let narrowed = http::narrowed_codings(&headers);
        out.extend(narrowed.map(|codings| Output::SetRequestHeader("accept-encoding", codings)));
    }
    let mut collecting = Box::new(Collecting {
        headers,
        deciding,
        head,
        selection,
        held: 0,
    });
    match unfit {
        Some(reason) => collecting.bypass(reason, worker, out),
        None => State::Collecting(collecting),
    }
}

impl Head {
    /// Reads the headers in one go. `None` if they leave no way into the cache, which is open to a
    /// plain POST of plain JSON.
    fn read(headers: &Headers, worker: &Worker) -> Option<Self> {
        let mut is_post = false;
        let mut lengths = 0;
        let mut head = Self {
            directives: RequestDirectives::default(),
            length: None,
            coding: RequestCoding::Plain,
            ttl: None,
        };
        for (name, value) in headers.iter() {
            let is_plain = match name {
                b":method" => {
                    is_post = value == b"POST";
                    is_post
                }
                b"content-type" => http::is_plain_json(value),
                b"content-encoding" => {
                    head.coding = mem::replace(&mut head.coding, RequestCoding::Unknown).then(value);
                    true
                }
                b"range"
                | b"upgrade"
                // By these a request means another method than its own.
                | b"x-http-method"
                | b"x-http-method-override"
                | b"x-method-override" => false,
                b"content-length" => {
                    lengths += 1;
                    head.length = http::number(value).filter(|_| lengths == 1);
                    true
                }
                b"cache-control" if worker.config.client.honor_cache_control => {
                    head.directives.add(value);
                    true
                }
                b"x-llm-cache-ttl" => {
                    head.ttl.get_or_insert_with(|| requested_ttl(value));
                    true
                }
                _ => true,
            };
            if !is_plain {
                return None;
            }
        }
        is_post.then_some(head)
    }
}

impl RequestCoding {
    /// With one more line of `content-encoding`.
    fn then(self, coding: &[u8]) -> Self {
        match self {
            same if coding.eq_ignore_ascii_case(b"identity") => same,
            Self::Plain if Decoder::new(coding, 0).is_some() => Self::Coded(coding.into()),
            Self::Plain | Self::Coded(_) | Self::Unknown => Self::Unknown,
        }
    }

    /// The body as it was before it was compressed, and what it takes of the budget.
    fn undo<'b>(&self, body: &'b [u8], worker: &Worker) -> Result<(Cow<'b, [u8]>, Hold), Bypass> {
        let (plain, held) = match self {
            Self::Plain => (Cow::Borrowed(body), 0),
            Self::Unknown => return Err(Bypass::ContentEncoding),
            Self::Coded(coding) => {
                let max_bytes = worker.config.limits.max_request_bytes;
                let max_bytes = max_bytes.min(worker.budget.left());
                let plain = coding::decode(coding, body, max_bytes).map_err(Bypass::Coding)?;
                let held = plain.len();
                (Cow::Owned(plain), held)
            }
        };
        let hold = Hold::take(&worker.budget, held);
        Ok((plain, hold.ok_or(Bypass::Coding(CodingFault::TooLarge))?))
    }
}

/// Whether the answer to a request may be stored, as far as its headers tell. In shadow, nothing is
/// to change for the client, and so not the coding either.
fn may_be_stored(selection: &Selection, deciding: &Headers, worker: &Worker) -> bool {
    let stores = |settings: &Settings| settings.mode.writes() && settings.mode != Mode::Shadow;
    match selection {
        Selection::NoPart => false,
        Selection::Decided(policy) => stores(&policy.settings),
        Selection::NeedsModel => worker
            .config
            .candidates(deciding, path(deciding))
            .any(stores),
    }
}

fn requested_ttl(value: &[u8]) -> Result<Duration, InvalidTtl> {
    let ttl = std::str::from_utf8(value).map_err(|_| InvalidTtl)?;
    parse_duration(ttl.trim_ascii()).ok_or(InvalidTtl)
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
    pub(super) fn body(
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

    pub(super) fn body_read(
        mut self,
        body: Option<&[u8]>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Some(body) = body.filter(|body| self.is_complete(body)) else {
            return self.bypass(Bypass::BodyIncomplete, worker, out);
        };
        // An empty POST asks an LLM for nothing.
        if body.is_empty() {
            return State::Over;
        }
        let (body, _held) = match self.head.coding.undo(body, worker) {
            Ok(undone) => undone,
            Err(reason) => return self.bypass(reason, worker, out),
        };
        let body: &[u8] = &body;
        let repeats = worker.repeats.as_ref();
        let (fingerprint, repeated) = repeats
            .map(|repeats| repeats.find(&self.deciding, body))
            .unzip();
        let (decided, known) = match repeated.flatten() {
            Some(repeated) => repeated,
            None => match self.decide(body, worker) {
                Ok(decided) => (decided, None),
                Err(NotKeyed::NoPart) => return State::Over,
                Err(NotKeyed::Bypass(reason)) => return self.bypass(reason, worker, out),
            },
        };
        let Decided {
            key,
            api,
            settings,
            ask,
        } = decided;
        let requested = self.head.ttl.and_then(Result::ok);
        let ttl = requested.map_or(settings.ttl, |ttl| ttl.min(worker.config.client.max_ttl));
        let reads = settings.mode.reads();
        let search = Search {
            request: Keyed {
                key,
                api,
                settings,
                ask,
                ttl,
                rival: None,
                lead: None,
            },
            headers: self.headers,
            directives: self.head.directives,
            fingerprint,
            known,
        };
        if !reads {
            let bypass = Bypass::WriteOnly;
            out.push(Output::Report(Report::Request(RequestResult::Bypass(
                bypass,
            ))));
            search.forward(bypassed(bypass), None, None, out)
        } else if self.head.directives.no_cache {
            search.ask_anew(out)
        } else {
            out.push(match &search.known {
                Some(known) => Output::LookAgain(key, known.seen),
                None => Output::LookUp(key),
            });
            State::LookingUp(Box::new(search))
        }
    }

    /// Keys are made of whole bodies only: on Envoy before 1.32 the last chunk could be missing.
    fn is_complete(&self, body: &[u8]) -> bool {
        body.len() == self.held
            && self
                .head
                .length
                .is_none_or(|length| usize::try_from(length) == Ok(body.len()))
    }

    /// Reads the request. What comes of it depends on nothing but the configuration, the deciding
    /// headers and the body: see [`repeat`](super::repeat).
    fn decide(&mut self, body: &[u8], worker: &Worker) -> Result<Decided, NotKeyed> {
        let headers = &self.deciding;
        let canonical = json::canonicalize(body, &[]).ok();
        let policy = match mem::replace(&mut self.selection, Selection::NoPart) {
            Selection::NoPart => None,
            Selection::Decided(policy) => Some(policy),
            Selection::NeedsModel => {
                let model = canonical
                    .as_ref()
                    .and_then(|body| json::string_value(body.member("model")?));
                let config = &worker.config;
                config.select_with_model(headers, path(headers), model.as_deref())
            }
        };
        let Policy { api, settings } = policy.ok_or(NotKeyed::NoPart)?;
        self.selection = Selection::Decided(Policy {
            api,
            settings: Rc::clone(&settings),
        });
        let path = headers.get(":path").unwrap_or_default();
        // What decides about the answer is read from the whole body, whatever the key leaves out.
        let ask = api.read(path, body, canonical.as_ref());
        let ask = ask.map_err(|unfit| NotKeyed::Bypass(Bypass::Unfit(unfit)))?;
        if ask.server_tools && !settings.store_if.server_tools {
            return Err(NotKeyed::Bypass(Bypass::ServerTools));
        }
        if !is_cool(ask.temperature, settings.store_if.max_temperature) {
            return Err(NotKeyed::Bypass(Bypass::Temperature));
        }
        let keyed = match settings.key.exclude.as_slice() {
            [] => canonical,
            exclude => json::canonicalize(body, exclude).ok(),
        };
        let key = CacheKey::new(&KeyParts {
            settings: &settings.key,
            headers,
            api,
            body: keyed.as_ref().map_or(Body::Raw(body), Body::Canonical),
            ask: &ask,
        });
        let key = key.map_err(|NoTenant| NotKeyed::Bypass(Bypass::NoTenant))?;
        if !settings.sample.takes(key.sample_bits()) {
            return Err(NotKeyed::Bypass(Bypass::Sample));
        }
        Ok(Decided {
            key,
            api,
            settings,
            ask: Rc::new(ask),
        })
    }

    fn bypass(&mut self, reason: Bypass, worker: &Worker, out: &mut Vec<Output>) -> State {
        let bypass = RequestResult::Bypass(reason);
        out.push(Output::Report(Report::Request(bypass)));
        let settings = match &self.selection {
            Selection::Decided(policy) => &policy.settings,
            Selection::NoPart | Selection::NeedsModel => &worker.config.settings,
        };
        let shadow = settings.mode == Mode::Shadow;
        if self.head.directives.only_if_cached && !shadow {
            return refuse(out);
        }
        State::Forwarded(Box::new(Forwarded {
            status: (!shadow).then(|| bypassed(reason)),
            respond: settings.respond,
            storable: None,
            key: None,
            rehearsal: None,
            fallback: None,
        }))
    }
}

/// Whether a request is as deterministic as the configuration wants it.
fn is_cool(temperature: Option<f64>, max: Option<f64>) -> bool {
    max.is_none_or(|max| temperature.is_some_and(|temperature| temperature <= max))
}

fn bypassed(reason: Bypass) -> CacheStatus {
    CacheStatus::Forwarded {
        because: Forward::Bypass,
        detail: Some(reason.as_str()),
        waited: false,
    }
}
