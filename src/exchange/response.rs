//! The third phase of an exchange: the upstream's answer passes, and may be stored.

use crate::cache::{CacheKey, CacheStatus, Seal};
use crate::config::Respond;
use crate::http::{self, Headers};

use super::intake::{Intake, Whole};
use super::request::Keyed;
use super::state::State;
use super::{AnswerResult, NotStored, Output, Report, Worker, reply};

/// The media types of streams, whatever the API.
const STREAM_TYPES: [&str; 4] = [
    "application/stream+json",
    "application/vnd.amazon.eventstream",
    "application/x-ndjson",
    "text/event-stream",
];

#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) status: CacheStatus,
    pub(super) respond: Respond,
    /// The request, if its answer may be stored.
    pub(super) storable: Option<Keyed>,
    /// The request's key, if it got as far.
    pub(super) key: Option<CacheKey>,
}

#[derive(Debug)]
pub(super) struct Capturing {
    intake: Intake,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Storing {
    /// The store behind HTTP has taken the answer.
    pub(super) taken: bool,
}

impl Forwarded {
    pub(super) fn response_headers(
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
        match Intake::begin(request, headers, via_upstream, now, worker) {
            Err(reason) => {
                out.push(not_stored(reason));
                State::Over
            }
            Ok(intake) if end_of_stream => Capturing { intake }.conclude(worker, out),
            Ok(intake) => State::Capturing(Box::new(Capturing { intake })),
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
        match self.intake.take(chunk, now) {
            Err(reason) => {
                out.push(not_stored(reason));
                State::Over
            }
            Ok(()) if end_of_stream => self.conclude(worker, out),
            Ok(()) => State::Capturing(self),
        }
    }

    /// The response came to its end: it is stored if it is whole and wanted.
    pub(super) fn conclude(self, worker: &Worker, out: &mut Vec<Output>) -> State {
        match self.intake.finish() {
            Ok(whole) => whole.store(worker, out),
            Err(reason) => {
                out.push(not_stored(reason));
                State::Over
            }
        }
    }

    /// Whether the API's end marker has come, so that nothing is missing.
    pub(super) fn is_over(&self) -> bool {
        self.intake.is_over()
    }
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

pub(super) fn not_stored(reason: NotStored) -> Output {
    Output::Report(Report::Answer(AnswerResult::NotStored(reason)))
}
