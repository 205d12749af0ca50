//! The upstream's response: it passes to the client, and is recorded if it may be stored.

use std::time::Duration;

use crate::attributes::{Attribute, Attributes};
use crate::budget::{Charged, Reservation};
use crate::cache::CacheStatus;
use crate::clock::{DeltaSeconds, UnixMillis};
use crate::config::Respond;
use crate::http::Headers;
use crate::llm::Api;
use crate::recording::{EndedBy, ResponseRecorder, are_harmless};
use crate::report::{NotStored, Report, RequestResult, ShadowResult, StaleBecause, Subject};
use crate::request::{FetchPermit, KeyedRequest};
use crate::step::Cx;

use super::event::ResponseHead;
use super::reply::{self, Announced, Sent, Served};
use super::shadow::ShadowHit;

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
    /// What operators are told of the request.
    pub(super) subject: Subject,
    /// When it went on.
    pub(super) sent: UnixMillis,
    /// What the client is told, if it is to see that there is a cache.
    pub(super) status: Option<CacheStatus>,
    pub(super) respond: Respond,
    pub(super) announced: Announced,
    /// The request, if its answer may be stored, or compared.
    pub(super) storable: Option<Storable>,
    /// What would have been served, to compare the answer with it.
    pub(super) shadow_hit: Option<ShadowHit>,
    /// What is served if the upstream fails.
    pub(super) fallback: Option<Fallback>,
    /// Until the exchange takes it.
    pub(super) watched: Option<Watched>,
    /// What the exchange takes, unless there was no room for it.
    pub(super) reservation: Option<Reservation>,
}

/// How a request came and by which route, if it matters what that makes of it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) came: Charged<Headers>,
    pub(crate) route: Attributes,
}

/// A request whose answer may be stored.
#[derive(Debug)]
pub(super) struct Storable {
    pub(super) request: KeyedRequest,
    /// The attributes of the route that its key says it takes.
    pub(super) route: Attributes,
}

/// What comes of a response's headers.
#[derive(Debug)]
pub(super) enum Answered {
    /// A stale entry stands in for it.
    Replied(Sent),
    /// It may be stored, and is recorded.
    Capturing(Box<Capturing>),
    /// It passes.
    Over,
}

/// An expired entry that is served if the upstream fails.
#[derive(Debug)]
pub(super) struct Fallback {
    pub(super) served: Served,
    /// The time since the answer was received.
    pub(super) age: DeltaSeconds,
    /// For how long it has been expired.
    pub(super) expired_for: Duration,
    /// How the request went if the upstream does not fail.
    pub(super) otherwise: RequestResult,
    pub(super) _reservation: Reservation,
}

/// The answer passes.
#[derive(Debug)]
pub(super) struct Capturing {
    recorder: ResponseRecorder,
    shadow_hit: Option<ShadowHit>,
    _reservation: Option<Reservation>,
}

impl Bypassed {
    pub(super) fn response_headers(&self, headers: &Headers, cx: &Cx<'_>) {
        announce(
            &self.status,
            self.respond,
            &Announced::default(),
            headers,
            cx,
        );
    }
}

/// Tells the client what the cache made of its request.
fn announce(
    status: &CacheStatus,
    respond: Respond,
    announced: &Announced,
    headers: &Headers,
    cx: &Cx<'_>,
) {
    for (name, value) in reply::own_headers(status, respond, announced) {
        match name {
            // Caches behind us have their say in the same list (RFC 9211, section 2).
            "cache-status" => cx.host.add_response_header(name, &value),
            _ => cx.host.set_response_header(name, &value),
        }
    }
    let content_type = headers.get("content-type").unwrap_or_default();
    if respond.anti_buffering && Api::is_stream_type(content_type) {
        cx.host.set_response_header("x-accel-buffering", "no");
    }
}

impl Forwarded {
    pub(super) fn response_headers(mut self, response: ResponseHead<'_>, cx: &Cx<'_>) -> Answered {
        let ResponseHead {
            headers,
            via_upstream,
            end_of_stream,
        } = response;
        let permit = self.permit();
        if let Some(fallback) = self.fallback.take() {
            if let Some(status) = failure(headers, via_upstream) {
                if let Some(permit) = permit {
                    permit.not_stored(&self.subject, NotStored::Status, cx);
                }
                return Answered::Replied(fallback.serve(
                    &self.subject,
                    &self.announced,
                    self.respond,
                    status,
                    cx,
                ));
            }
            cx.report_of(&self.subject, Report::Request(fallback.otherwise));
        }
        if let Some(status) = &self.status {
            announce(status, self.respond, &self.announced, headers, cx);
        }
        let (Some(Storable { request, route }), Some(permit)) = (self.storable, permit) else {
            return Answered::Over;
        };
        let (times, limits) = ((self.sent, cx.now()), cx.recording_limits());
        let recorder = ResponseRecorder::begin(request, headers, via_upstream, times, limits);
        let recorder = match recorder {
            // A filter behind this one may have changed what the route is chosen by.
            Ok(_) if !end_of_stream && route_now(cx) != route => Err(NotStored::Rerouted),
            recorder => recorder,
        };
        match recorder {
            Err(reason) => {
                not_stored(reason, &self.subject, permit, self.shadow_hit.is_some(), cx);
                Answered::Over
            }
            Ok(recorder) => {
                let capturing = Capturing {
                    recorder,
                    shadow_hit: self.shadow_hit,
                    _reservation: self.reservation,
                };
                if end_of_stream {
                    capturing.conclude(EndedBy::Upstream, cx);
                    Answered::Over
                } else {
                    Answered::Capturing(Box::new(capturing))
                }
            }
        }
    }

    fn permit(&self) -> Option<FetchPermit> {
        let storable = self.storable.as_ref();
        storable.map(|storable| storable.request.permit())
    }

    /// The stream is over, and no response came.
    pub(super) fn close(&self, cx: &Cx<'_>) {
        if let Some(fallback) = &self.fallback {
            cx.report_of(&self.subject, Report::Request(fallback.otherwise));
        }
        if let Some(permit) = self.permit() {
            not_stored(
                NotStored::Aborted,
                &self.subject,
                permit,
                self.shadow_hit.is_some(),
                cx,
            );
        }
    }
}

/// The route by which the host says that the request was sent.
fn route_now(cx: &Cx<'_>) -> Attributes {
    Attributes::default().with_route(cx.attributes(&Attribute::OF_ROUTE))
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
    fn serve(
        self,
        subject: &Subject,
        announced: &Announced,
        respond: Respond,
        upstream_status: u16,
        cx: &Cx<'_>,
    ) -> Sent {
        let status = CacheStatus::StaleIfError {
            expired_for: self.expired_for,
            status: upstream_status,
        };
        let result = RequestResult::Stale(StaleBecause::UpstreamFailed);
        cx.report_of(subject, Report::Request(result));
        cx.report_of(subject, self.served.report(self.age));
        let reply = self.served.reply(announced, respond, &status, self.age);
        reply::send(reply, cx)
    }
}

impl Capturing {
    /// The next chunk; `None` is one that the host could not give. `None` comes of an answer of which
    /// nothing more is of interest.
    pub(super) fn chunk(
        mut self: Box<Self>,
        chunk: Option<&[u8]>,
        end_of_stream: bool,
        cx: &Cx<'_>,
    ) -> Option<Box<Self>> {
        match self.recorder.take(chunk, cx.now()) {
            Err(reason) => self.give_up(reason, cx),
            Ok(()) if end_of_stream => self.conclude(EndedBy::Upstream, cx),
            Ok(()) => return Some(self),
        }
        None
    }

    /// The response came to its end, with trailers that may say that it failed.
    pub(super) fn trailers(self, trailers: Option<&Headers>, cx: &Cx<'_>) {
        match trailers.map(are_harmless) {
            Some(true) => self.conclude(EndedBy::Upstream, cx),
            Some(false) => self.give_up(NotStored::Trailers, cx),
            None => self.give_up(NotStored::Unreadable, cx),
        }
    }

    /// The stream is over.
    pub(super) fn close(self, by_client: bool, cx: &Cx<'_>) {
        // Clients that know their API hang up at the end marker, before the end of the stream.
        if by_client && self.recorder.is_over() {
            self.conclude(EndedBy::Client, cx);
        } else {
            self.give_up(NotStored::Aborted, cx);
        }
    }

    /// The response came to its end: it is stored if it is whole and wanted.
    fn conclude(self, ended_by: EndedBy, cx: &Cx<'_>) {
        let request = self.recorder.request();
        let (permit, subject) = (request.permit(), cx.subject(request));
        let (passage, response) = self.recorder.finish(ended_by, cx.worker.random_bits());
        cx.report_of(&subject, Report::Passed(passage));
        match (response, self.shadow_hit) {
            (Ok(response), None) => cx.store(response),
            (Ok(response), Some(shadow_hit)) => shadow_hit.compare(response, cx),
            (Err(reason), shadow_hit) => {
                not_stored(reason, &subject, permit, shadow_hit.is_some(), cx);
            }
        }
    }

    fn give_up(&self, reason: NotStored, cx: &Cx<'_>) {
        let request = self.recorder.request();
        let (permit, subject) = (request.permit(), cx.subject(request));
        cx.report_of(&subject, Report::Passed(self.recorder.passage()));
        not_stored(reason, &subject, permit, self.shadow_hit.is_some(), cx);
    }
}

/// An answer is not one that would be stored: nor can it be compared with one that was.
fn not_stored(
    reason: NotStored,
    subject: &Subject,
    permit: FetchPermit,
    is_shadow: bool,
    cx: &Cx<'_>,
) {
    if is_shadow {
        cx.report_of(subject, Report::Shadow(ShadowResult::NotWhole));
    } else {
        permit.not_stored(subject, reason, cx);
    }
}
