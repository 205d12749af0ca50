//! The third phase of an exchange: the upstream's answer passes, and may be stored.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::attributes::{Attribute, Attributes};
use crate::cache::{CacheKey, CacheStatus, Entry, Seal};
use crate::coding;
use crate::config::Respond;
use crate::http::{self, Headers};

use super::budget::{CaptureBudget, Reservation};
use super::permit::FetchPermit;
use super::recorder::{EndedBy, ResponseRecorder, StorableResponse};
use super::reply::{self, Asked, Served};
use super::request::Keyed;
use super::state::State;
use super::storing;
use super::trailers;
use super::{NotStored, Output, Report, RequestResult, ShadowResult, StaleBecause, Worker};

/// The media types of streams, whatever the API.
const STREAM_TYPES: [&str; 4] = [
    "application/stream+json",
    "application/vnd.amazon.eventstream",
    "application/x-ndjson",
    "text/event-stream",
];

/// The request is with the upstream, and its answer is not of interest.
#[derive(Debug)]
pub(super) struct Bypassed {
    /// What the client is told.
    pub(super) status: CacheStatus,
    pub(super) respond: Respond,
}

/// The request is with the upstream.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// What the client is told, if it is to see that there is a cache.
    pub(super) status: Option<CacheStatus>,
    pub(super) respond: Respond,
    /// The request, if its answer may be stored, or compared.
    pub(super) storable: Option<Storable>,
    /// The request's key, if it got as far.
    pub(super) key: Option<CacheKey>,
    /// What that is made of, with `respond.explain`.
    pub(super) parts: Option<Rc<str>>,
    /// What would have been served, to compare the answer with it.
    pub(super) rehearsal: Option<Rehearsal>,
    /// What is served if the upstream fails.
    pub(super) fallback: Option<Fallback>,
    /// What the exchange takes, unless it was refused a place.
    pub(super) place: Option<Reservation>,
}

/// A request whose answer may be stored.
#[derive(Debug)]
pub(super) struct Storable {
    pub(super) request: Keyed,
    /// The attributes of the route that its key says it takes.
    pub(super) route: Attributes,
}

/// The head of a response.
pub(super) struct Response<'a> {
    pub(super) headers: &'a Headers,
    /// The upstream sent it, and not Envoy or one of its filters.
    pub(super) via_upstream: bool,
    /// No body follows.
    pub(super) end_of_stream: bool,
}

/// An expired entry that is served if the upstream fails.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) served: Served,
    /// Seconds since the answer was received.
    pub(super) age: u64,
    /// For how long it has been expired.
    pub(super) expired_for: Duration,
    /// How the request went if the upstream does not fail.
    pub(super) otherwise: RequestResult,
    pub(super) _reservation: Reservation,
}

/// A stored answer that would have been served, but for `mode: shadow`.
#[derive(Debug)]
pub(super) struct Rehearsal {
    entry: Entry,
    /// When the request went on to the upstream, in milliseconds since 1970.
    asked: u64,
    _reservation: Reservation,
}

/// The answer has begun.
#[derive(Debug)]
pub(super) struct Confirming {
    pub(super) capturing: Capturing,
    /// The attributes of the route that the key says the request takes.
    route: Attributes,
}

/// The answer passes.
#[derive(Debug)]
pub(super) struct Capturing {
    recorder: ResponseRecorder,
    rehearsal: Option<Rehearsal>,
    _place: Option<Reservation>,
}

impl Bypassed {
    pub(super) fn response_headers(&self, headers: &Headers, out: &mut Vec<Output>) -> State {
        let asked = Asked {
            key: None,
            parts: None,
        };
        announce(&self.status, self.respond, &asked, headers, out);
        State::Over
    }
}

/// Tells the client what the cache made of its request.
fn announce(
    status: &CacheStatus,
    respond: Respond,
    asked: &Asked,
    headers: &Headers,
    out: &mut Vec<Output>,
) {
    for (name, value) in reply::own_headers(status, respond, asked) {
        out.push(match name {
            // Caches behind us have their say in the same list (RFC 9211, section 2).
            "cache-status" => Output::AddHeader(name, value),
            _ => Output::SetHeader(name, value),
        });
    }
    let content_type = headers.get("content-type").unwrap_or_default();
    if respond.anti_buffering && is_stream_type(content_type) {
        out.push(Output::SetHeader("x-accel-buffering", Cow::Borrowed("no")));
    }
}

impl Forwarded {
    pub(super) fn response_headers(
        mut self,
        response: &Response<'_>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Response {
            headers,
            via_upstream,
            end_of_stream,
        } = *response;
        let permit = self.permit();
        let asked = Asked {
            key: self.key,
            parts: self.parts.take(),
        };
        if let Some(fallback) = self.fallback.take() {
            if let Some(status) = failure(headers, via_upstream) {
                if let Some(permit) = permit {
                    permit.not_stored(NotStored::Status, worker, out);
                }
                return fallback.serve(&asked, self.respond, status, out);
            }
            out.push(Output::Report(Report::Request(fallback.otherwise)));
        }
        if let Some(status) = &self.status {
            announce(status, self.respond, &asked, headers, out);
        }
        let (Some(Storable { request, route }), Some(permit)) = (self.storable, permit) else {
            return State::Over;
        };
        let rehearsal = self.rehearsal;
        match ResponseRecorder::begin(request, headers, via_upstream, now, worker) {
            Err(reason) => {
                refuse(reason, permit, rehearsal.is_some(), worker, out);
                State::Over
            }
            Ok(recorder) => {
                let capturing = Capturing {
                    recorder,
                    rehearsal,
                    _place: self.place,
                };
                if end_of_stream {
                    capturing.conclude(EndedBy::Upstream, now, worker, out)
                } else {
                    out.push(Output::ReadAttributes(Rc::clone(&worker.needed.route)));
                    State::Confirming(Box::new(Confirming { capturing, route }))
                }
            }
        }
    }

    fn permit(&self) -> Option<FetchPermit> {
        let storable = self.storable.as_ref();
        storable.map(|storable| storable.request.permit())
    }

    /// The stream is over, and no response came.
    pub(super) fn close(&self, worker: &Worker, out: &mut Vec<Output>) {
        if let Some(fallback) = &self.fallback {
            out.push(Output::Report(Report::Request(fallback.otherwise)));
        }
        if let Some(permit) = self.permit() {
            refuse(
                NotStored::Aborted,
                permit,
                self.rehearsal.is_some(),
                worker,
                out,
            );
        }
    }
}

/// The status of a response that says that the upstream failed, or that Envoy could not reach it.
fn failure(headers: &Headers, via_upstream: bool) -> Option<u16> {
    let status = u16::try_from(headers.number(":status")?).ok()?;
    let failed = if via_upstream {
        status == 429 || (500..600).contains(&status)
    } else {
        // What Envoy's router says for connections that fail, and timeouts.
        (502..=504).contains(&status)
    };
    failed.then_some(status)
}

impl Fallback {
    fn serve(self, asked: &Asked, respond: Respond, status: u16, out: &mut Vec<Output>) -> State {
        let told = CacheStatus::StaleIfError {
            expired_for: self.expired_for,
            status,
        };
        let reply = self.served.reply(asked, respond, &told, self.age);
        let result = RequestResult::Stale(StaleBecause::UpstreamFailed);
        out.push(Output::Report(Report::Request(result)));
        out.push(Output::Reply(reply));
        State::Replied
    }
}

impl Rehearsal {
    /// `None` if there is no room for it.
    pub(super) fn new(entry: Entry, asked: u64, budget: &CaptureBudget) -> Option<Self> {
        let reservation = Reservation::take(budget, entry.len())?;
        Some(Self {
            entry,
            asked,
            _reservation: reservation,
        })
    }

    /// Compares what the upstream said with what would have been served.
    fn compare(
        &self,
        response: StorableResponse,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) {
        let StorableResponse {
            permit, api, draft, ..
        } = response;
        let max_bytes = worker.config.limits.max_response_bytes;
        let bytes = draft.seal(&Seal::Checksum);
        let fresh = Entry::decode(&permit.key(), bytes, &Seal::Checksum).ok();
        let agreed = fresh.as_ref().and_then(|fresh| {
            let (one, other) = (plain(&self.entry, max_bytes)?, plain(fresh, max_bytes)?);
            // They are taken apart one after the other.
            let bytes = [&one, &other].map(|answer| api.conversion_bytes(answer));
            let _room = Reservation::take(&worker.budget, bytes.into_iter().max()?)?;
            let agreed = api.agree(&one, &self.entry.head.form, &other, &fresh.head.form);
            Some((agreed.ok()?, api.tokens(&other, &fresh.head.form)))
        });
        let (result, tokens) = match agreed {
            Some((true, tokens)) => (ShadowResult::Agreed, tokens),
            Some((false, tokens)) => (ShadowResult::Disagreed, tokens),
            None => (ShadowResult::Incomparable, None),
        };
        out.push(Output::Report(Report::Shadow(result)));
        let milliseconds = now.saturating_sub(self.asked);
        out.push(Output::Report(Report::SavedMilliseconds(milliseconds)));
        let tokens = tokens.unwrap_or(0);
        out.push(Output::Report(Report::SavedTokens(tokens)));
    }
}

/// The body of an entry, uncompressed.
pub(super) fn plain(entry: &Entry, max_bytes: usize) -> Option<Cow<'_, [u8]>> {
    match entry.head.headers.get("content-encoding") {
        None => Some(Cow::Borrowed(entry.body())),
        Some(coding) => {
            let decoded = coding::decode(coding, entry.body(), max_bytes);
            decoded.ok().map(Cow::Owned)
        }
    }
}

impl Confirming {
    /// The host has told by which route the answer was asked for: a filter behind this one may have
    /// changed what it is chosen by.
    pub(super) fn route_read(
        self: Box<Self>,
        told: Vec<(Attribute, Vec<u8>)>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self { capturing, route } = *self;
        if Attributes::default().with_route(told) == route {
            State::Capturing(Box::new(capturing))
        } else {
            capturing.refuse(NotStored::Rerouted, worker, out)
        }
    }
}

impl Capturing {
    pub(super) fn chunk(
        mut self: Box<Self>,
        chunk: Option<&[u8]>,
        end_of_stream: bool,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        match self.recorder.take(chunk, now) {
            Err(reason) => self.refuse(reason, worker, out),
            Ok(()) if end_of_stream => self.conclude(EndedBy::Upstream, now, worker, out),
            Ok(()) => State::Capturing(self),
        }
    }

    /// The response came to its end, with trailers that may say that it failed.
    pub(super) fn trailers(
        self,
        trailers: Option<&Headers>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        match trailers.map(trailers::are_harmless) {
            Some(true) => self.conclude(EndedBy::Upstream, now, worker, out),
            Some(false) => self.refuse(NotStored::Trailers, worker, out),
            None => self.refuse(NotStored::Unreadable, worker, out),
        }
    }

    /// The response came to its end: it is stored if it is whole and wanted.
    pub(super) fn conclude(
        self,
        ended_by: EndedBy,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let (permit, is_rehearsal) = (self.recorder.permit(), self.rehearsal.is_some());
        match (self.recorder.finish(ended_by, worker), self.rehearsal) {
            (Ok(response), None) => storing::begin(response, now, worker, out)
                .map_or(State::Over, |storing| State::Storing(Box::new(storing))),
            (Ok(response), Some(rehearsal)) => {
                rehearsal.compare(response, now, worker, out);
                State::Over
            }
            (Err(reason), _) => {
                refuse(reason, permit, is_rehearsal, worker, out);
                State::Over
            }
        }
    }

    /// The stream broke off.
    pub(super) fn close(&self, worker: &Worker, out: &mut Vec<Output>) {
        let is_rehearsal = self.rehearsal.is_some();
        refuse(
            NotStored::Aborted,
            self.recorder.permit(),
            is_rehearsal,
            worker,
            out,
        );
    }

    fn refuse(&self, reason: NotStored, worker: &Worker, out: &mut Vec<Output>) -> State {
        let is_rehearsal = self.rehearsal.is_some();
        refuse(reason, self.recorder.permit(), is_rehearsal, worker, out);
        State::Over
    }

    /// Whether the API's end marker has come, so that nothing is missing.
    pub(super) fn is_over(&self) -> bool {
        self.recorder.is_over()
    }
}

/// An answer is not one that would be stored: nor can it be compared with one that was.
fn refuse(
    reason: NotStored,
    permit: FetchPermit,
    is_rehearsal: bool,
    worker: &Worker,
    out: &mut Vec<Output>,
) {
    if is_rehearsal {
        out.push(Output::Report(Report::Shadow(ShadowResult::NotWhole)));
    } else {
        permit.not_stored(reason, worker, out);
    }
}

/// Whether a content type says that an answer is a stream.
fn is_stream_type(content_type: &[u8]) -> bool {
    let media_type = http::media_type(content_type);
    STREAM_TYPES.contains(&media_type.as_str())
}
