//! The states of an exchange and how it goes from one to the next; what is done on the way stands
//! in the files of the phases, `request`, `lookup` and `response`, and of the states between LookingUp
//! and Forwarded, in `lookup/`.
//!
//! ```text
//!                  request headers
//!  Start ────────────────────────────────► Over      takes no part: nothing is touched
//!    │ takes part                            ▲
//!    ▼                                       │
//!  Identifying ──── no caller ────────► Bypassed
//!    │                                   ▲   ▲
//!    ▼                                   │   │
//!  Collecting ──── too large ... ────────┘   │
//!    │ body complete                         │
//!    ▼                                       │
//!  Routing, Reading ──── unfit ... ──────────┘
//!    │ key                                   Over
//!    ▼                                       ▲ response headers: not to be stored
//!  LookingUp ─── miss ──────────────► Forwarded ─── the upstream failed, stale stands in ─► Replied
//!    │   │ miss, a store behind HTTP ▲ ▲ ▲   │ response headers: may be stored
//!    │   └──────► Fetching ── miss ──┘ │ │   ▼
//!    │ hit, 504       │ hit            │ │ Capturing ──── judged, too large, cut off ──► Over
//!    ▼                │                │ │   │ whole
//!  Replied ◄──────────┘                │ │   ▼
//!    ▲                                 │ │ Storing ──── result ──► Over
//!    │                                 │ │
//!    │  LookingUp, Fetching ── miss, collapsing, or expired ──► Leasing
//!    │                                 │ │                        │   │ expired, the lease: refresh
//!    │                                 │ └── leads, or alone ─────┤   ▼
//!    │                                 │     another leads: waits │ Refreshing ── no callout ──► Forwarded
//!    │                                 └── let go ── Waiting ◄────┘   │ callout
//!    └───────────── its answer, collapsed ──────────────┘             └──────► Replied, stale
//! ```
//! On the way from Forwarded to Capturing, Confirming asks the host by which route the answer came. On
//! the way from LookingUp to Replied, Converting asks the memory for a copy of what was found in
//! the form that the request asks for. `no-cache` and `mode: write_only` go from Reading to
//! Forwarded without a lookup, and `only-if-cached` turns every way to Forwarded into one to Replied.
//! `Closed` leads from everywhere to Over, but for a client that hangs up behind the end marker: what
//! it got is stored.

use super::lookup::{Converting, Fetching, Leasing, Refreshing, Search, Waiting};
use super::recorder::EndedBy;
use super::request::{Collecting, start};
use super::response::{Bypassed, Capturing, Confirming, Forwarded, Response};
use super::storing::Storing;
use super::{Input, Output, Report, Worker};

/// Where an exchange is.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing has come yet.
    Start,
    /// The host is being asked who the caller is.
    Identifying(Box<Collecting>),
    /// The request's body is being held until it is complete.
    Collecting(Box<Collecting>),
    /// The host is being asked where the request is going.
    Routing(Box<Collecting>),
    /// The host is being asked for the body.
    Reading(Box<Collecting>),
    /// The memory is being asked.
    LookingUp(Box<Search>),
    /// The memory is being asked for a copy in the form asked for.
    Converting(Box<Converting>),
    /// The store behind HTTP is being asked.
    Fetching(Box<Fetching>),
    /// The lease is being asked for, without which one of many would not go to the upstream alone.
    Leasing(Box<Leasing>),
    /// The request is being read, to ask the upstream the same in the background.
    Refreshing(Box<Refreshing>),
    /// An identical request is with the upstream, and its answer is waited for.
    Waiting(Box<Waiting>),
    /// The cache has answered; what follows is its own reply passing by.
    Replied,
    /// The request has gone on to the upstream, and all that is to be done is to say so.
    Bypassed(Box<Bypassed>),
    /// The request has gone on to the upstream.
    Forwarded(Box<Forwarded>),
    /// An answer has begun, and the host is being asked by which route it was asked for.
    Confirming(Box<Confirming>),
    /// The answer passes, and a copy of it is kept.
    Capturing(Box<Capturing>),
    /// The answer has passed and was handed to the memory.
    Storing(Box<Storing>),
    /// Nothing more is to be done.
    Over,
}

impl State {
    pub(super) fn handle(self, input: Input<'_>, worker: &Worker, out: &mut Vec<Output>) -> Self {
        match (self, input) {
            // Clients that know their API hang up at the end marker, before the end of the stream.
            (
                Self::Capturing(capturing),
                Input::Closed {
                    by_client: true,
                    now,
                },
            ) if capturing.is_over() => capturing.conclude(EndedBy::Client, now, worker, out),
            (state, Input::Closed { .. }) => state.close(worker, out),
            (
                Self::Start,
                Input::RequestHeaders {
                    headers,
                    end_of_stream,
                },
            ) if !end_of_stream => start(headers, worker, out),
            (Self::Identifying(collecting), Input::AttributesRead(told)) => {
                collecting.caller_read(told, worker, out)
            }
            (Self::Routing(collecting), Input::AttributesRead(told)) => {
                collecting.route_read(told, worker, out)
            }
            (
                Self::Collecting(collecting),
                Input::RequestBody {
                    held,
                    end_of_stream,
                },
            ) => collecting.body(held, end_of_stream, worker, out),
            (Self::Collecting(collecting), Input::RequestTrailers) => {
                collecting.complete(worker, out)
            }
            (Self::Reading(collecting), Input::RequestBodyRead(body)) => {
                collecting.body_read(body, worker, out)
            }
            (Self::LookingUp(search), Input::LookedUp { found, now }) => {
                search.looked_up(found, now, worker, out)
            }
            (Self::Converting(converting), Input::LookedUp { found, now }) => {
                converting.looked_up(found, now, worker, out)
            }
            (Self::Leasing(leasing), Input::Leased { joined, found, now }) => {
                leasing.leased(joined, found, now, worker, out)
            }
            (Self::Refreshing(refreshing), Input::RequestRead { body, now }) => {
                refreshing.request_read(body, now, worker, out)
            }
            (Self::Waiting(waiting), Input::Released { release, now }) => {
                waiting.released(release, now, worker, out)
            }
            (Self::Fetching(fetching), Input::Called { result, now }) => {
                fetching.called(result, now, worker, out)
            }
            // The breaker wants to know of callouts, whoever still waits for them.
            (state, Input::Called { result, now }) => {
                if let Some(remote) = &worker.http {
                    let _unwanted = remote.looked_up(result, now, worker, out);
                }
                state
            }
            (Self::Bypassed(bypassed), Input::ResponseHeaders { headers, .. }) => {
                bypassed.response_headers(headers, out)
            }
            (
                Self::Forwarded(forwarded),
                Input::ResponseHeaders {
                    headers,
                    via_upstream,
                    end_of_stream,
                    now,
                },
            ) => {
                let response = Response {
                    headers,
                    via_upstream,
                    end_of_stream,
                };
                forwarded.response_headers(&response, now, worker, out)
            }
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
            (Self::Capturing(capturing), Input::ResponseTrailers { trailers, now }) => {
                capturing.trailers(trailers, now, worker, out)
            }
            (Self::Confirming(confirming), Input::AttributesRead(told)) => {
                confirming.route_read(told, worker, out)
            }
            (Self::Storing(storing), Input::Inserted(result)) => {
                storing.inserted(result, worker, out);
                Self::Over
            }
            // A copy of what the store behind HTTP had, or of what is stored in another form.
            (state, Input::Inserted(Ok(evicted))) => {
                out.push(Output::Report(Report::Evictions(evicted)));
                state
            }
            // The upstream answered before it had the whole request: the answer is on its way, and
            // none of ours may follow it.
            (state, Input::ResponseHeaders { .. }) if state.searches() => state.close(worker, out),
            // Better a second opinion from the upstream than a request that hangs.
            (Self::Replied, Input::ReplyFailed) => Self::Over,
            // What is left concerns nobody: bytes of answers that are not captured, above all.
            (state, _) => state,
        }
    }

    /// Whether the request is held, and nobody has decided yet how it is answered.
    pub(super) fn searches(&self) -> bool {
        match self {
            Self::Identifying(_)
            | Self::Collecting(_)
            | Self::Routing(_)
            | Self::Reading(_)
            | Self::LookingUp(_)
            | Self::Converting(_)
            | Self::Fetching(_)
            | Self::Leasing(_)
            | Self::Refreshing(_)
            | Self::Waiting(_) => true,
            Self::Start
            | Self::Replied
            | Self::Bypassed(_)
            | Self::Forwarded(_)
            | Self::Confirming(_)
            | Self::Capturing(_)
            | Self::Storing(_)
            | Self::Over => false,
        }
    }

    fn close(self, worker: &Worker, out: &mut Vec<Output>) -> Self {
        match &self {
            Self::Waiting(waiting) => waiting.leave(out),
            Self::Forwarded(forwarded) => forwarded.close(worker, out),
            Self::Confirming(confirming) => confirming.capturing.close(worker, out),
            Self::Capturing(capturing) => capturing.close(worker, out),
            _ => {}
        }
        Self::Over
    }
}
