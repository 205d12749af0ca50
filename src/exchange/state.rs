//! The states of an exchange, and how each event leads from one to the next.
//!
//! | state | event | next | output |
//! |---|---|---|---|
//! | Start | RequestHeaders | Over, Bypassed, Replied, Collecting | a bypass reported; 504 to `only-if-cached`; `accept-encoding` narrowed |
//! | Start | Closed | Over | |
//! | Collecting | RequestBody | Collecting, Over, Bypassed, Replied, Fetching, Waiting, Forwarded | a hit, miss or bypass reported; a reply; a callout |
//! | Collecting | RequestTrailers | Over, Bypassed, Replied, Fetching, Waiting, Forwarded | as for RequestBody |
//! | Collecting | ResponseHeaders | Over | |
//! | Collecting | Closed | Over | |
//! | Fetching | Called | Replied, Waiting, Forwarded, Over | the lookup and a hit or miss reported; a reply; a copy to memory |
//! | Fetching | ResponseHeaders | Over | |
//! | Fetching | Closed | Over | |
//! | Waiting | Released | Replied, Forwarded, Over | a collapsed hit or a miss reported; a reply |
//! | Waiting | ResponseHeaders | Over | |
//! | Waiting | Closed | Over | |
//! | Replied | Closed | Over | |
//! | Bypassed | ResponseHeaders | Over | headers of its own |
//! | Bypassed | Closed | Over | |
//! | Forwarded | ResponseHeaders | Over, Replied, Capturing | headers of its own, or a stale reply; not stored, and the permit ended |
//! | Forwarded | Closed | Over | not stored, and the permit ended |
//! | Capturing | ResponseBody | Capturing, Over | at the end: stored or not, a task to write, and the permit ended |
//! | Capturing | ResponseTrailers | Over | as at the end of ResponseBody |
//! | Capturing | Closed | Over | as at the end of ResponseBody |
//!
//! Any other event leaves the state as it is. A reply that the host cannot carry out leads to Over in
//! place of Replied. The tests hold the first three columns to what happens: each transition in them stands
//! here, and each that stands here happens in them.

#[cfg(test)]
pub(crate) mod table;

use super::collecting::{Collected, Collecting, start};
use super::event::Event;
use super::lookup::{Fetching, Searched, Waiting};
use super::reply::Sent;
use super::response::{Answered, Bypassed, Capturing, Forwarded};
use crate::step::Cx;

/// Where an exchange is.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing has come yet.
    Start,
    /// The request's body is being held until it is complete.
    Collecting(Box<Collecting>),
    /// The store behind HTTP is being asked.
    Fetching(Box<Fetching>),
    /// An identical request is with the upstream, and its answer is waited for.
    Waiting(Box<Waiting>),
    /// The cache has answered; what follows is its own reply passing by.
    Replied,
    /// The request has gone on to the upstream, and all that is to be done is to say so.
    Bypassed(Box<Bypassed>),
    /// The request has gone on to the upstream.
    Forwarded(Box<Forwarded>),
    /// The answer passes, and a copy of it is kept.
    Capturing(Box<Capturing>),
    /// Nothing more is to be done.
    Over,
}

impl State {
    pub(super) fn handle(self, event: Event<'_>, cx: &Cx<'_>) -> Self {
        match (self, event) {
            (
                Self::Start,
                Event::RequestHeaders {
                    headers,
                    end_of_stream: false,
                },
            ) => start(headers, cx).into(),
            // A request without a body asks an LLM for nothing.
            (Self::Start, Event::RequestHeaders { .. }) => Self::Over,
            (
                Self::Collecting(collecting),
                Event::RequestBody {
                    held_bytes,
                    end_of_stream,
                },
            ) => collecting.body(held_bytes, end_of_stream, cx).into(),
            (Self::Collecting(collecting), Event::RequestTrailers) => {
                collecting.complete(cx).into()
            }
            (Self::Fetching(fetching), Event::Called(result)) => fetching.called(result, cx).into(),
            (Self::Waiting(waiting), Event::Released(release)) => {
                waiting.released(release, cx).into()
            }
            // The upstream answered before it had the whole request: the answer is on its way, and
            // none of ours may follow it.
            (
                Self::Collecting(_) | Self::Fetching(_) | Self::Waiting(_),
                Event::ResponseHeaders(_),
            ) => Self::Over,
            (Self::Bypassed(bypassed), Event::ResponseHeaders(response)) => {
                bypassed.response_headers(response.headers, cx);
                Self::Over
            }
            (Self::Forwarded(forwarded), Event::ResponseHeaders(response)) => {
                forwarded.response_headers(response, cx).into()
            }
            (
                Self::Capturing(capturing),
                Event::ResponseBody {
                    chunk,
                    end_of_stream,
                },
            ) => {
                let next = capturing.chunk(chunk, end_of_stream, cx);
                next.map_or(Self::Over, Self::Capturing)
            }
            (Self::Capturing(capturing), Event::ResponseTrailers(trailers)) => {
                capturing.trailers(trailers, cx);
                Self::Over
            }
            (Self::Forwarded(forwarded), Event::Closed { .. }) => {
                forwarded.close(cx);
                Self::Over
            }
            (Self::Capturing(capturing), Event::Closed { by_client }) => {
                capturing.close(by_client, cx);
                Self::Over
            }
            (_, Event::Closed { .. }) => Self::Over,
            // The breaker counts callouts that nobody waits for any more, too.
            (state, Event::Called(result)) => {
                let _unwanted = cx.http_looked_up(result);
                state
            }
            // No other event changes the state. Most of these are bytes of answers that are not captured.
            (
                state,
                Event::RequestHeaders { .. }
                | Event::RequestBody { .. }
                | Event::RequestTrailers
                | Event::Released(_)
                | Event::ResponseHeaders(_)
                | Event::ResponseBody { .. }
                | Event::ResponseTrailers(_),
            ) => state,
        }
    }
}

impl From<Collected> for State {
    fn from(collected: Collected) -> Self {
        match collected {
            Collected::Over => Self::Over,
            Collected::Bypassed(bypassed) => Self::Bypassed(bypassed),
            Collected::Replied(sent) => sent.into(),
            Collected::Collecting(collecting) => Self::Collecting(collecting),
            Collected::Searched(searched) => searched.into(),
        }
    }
}

impl From<Searched> for State {
    fn from(searched: Searched) -> Self {
        match searched {
            Searched::Replied(sent) => sent.into(),
            Searched::Forwarded(forwarded) => Self::Forwarded(forwarded),
            Searched::Fetching(fetching) => Self::Fetching(fetching),
            Searched::Waiting(waiting) => Self::Waiting(waiting),
        }
    }
}

impl From<Answered> for State {
    fn from(answered: Answered) -> Self {
        match answered {
            Answered::Over => Self::Over,
            Answered::Replied(sent) => sent.into(),
            Answered::Capturing(capturing) => Self::Capturing(capturing),
        }
    }
}

impl From<Sent> for State {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Yes => Self::Replied,
            Sent::No => Self::Over,
        }
    }
}
