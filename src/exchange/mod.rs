//! One request and its response: a state machine that is told of events and asks its host for what it
//! needs.

mod collecting;
mod event;
mod held_request;
mod lookup;
mod reply;
mod request_head;
mod response;
mod shadow;
mod state;

use std::mem;

use crate::cache::CacheKey;
use crate::clock::UnixMillis;
use crate::step::Cx;

pub(crate) use event::{Event, ResponseHead};
pub(crate) use response::Watched;
use state::State;
#[cfg(test)]
pub(crate) use state::table;

/// One request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    state: State,
    /// How the request came, to be compared with how it was sent.
    watched: Option<Box<Watched>>,
}

/// What an exchange waits for, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) key: CacheKey,
    pub(crate) since: UnixMillis,
    pub(crate) deadline: UnixMillis,
}

impl Exchange {
    /// An exchange whose request is still to come.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Start,
            watched: None,
        }
    }

    /// Takes what happened. Total: whatever the event and whenever it comes, the worst outcome is that
    /// this exchange is not cached.
    pub(crate) fn handle(&mut self, event: Event<'_>, cx: &Cx<'_>) {
        #[cfg(test)]
        let (before, name) = (self.state.name(), event.name());
        let state = mem::replace(&mut self.state, State::Over);
        self.state = state.handle(event, cx);
        #[cfg(test)]
        table::note((before, name, self.state.name()));
        if let State::Forwarded(forwarded) = &mut self.state
            && let Some(watched) = forwarded.watched.take()
        {
            self.watched = Some(Box::new(watched));
        }
    }

    /// Whether the request's body must not go further for now.
    pub(crate) fn holds_request(&self) -> bool {
        self.searches() || matches!(self.state, State::Replied)
    }

    /// Whether the headers of a response, if they came now, would concern the exchange. Its own
    /// replies pass by unseen.
    pub(crate) fn awaits_response(&self) -> bool {
        self.searches() || matches!(self.state, State::Bypassed(_) | State::Forwarded(_))
    }

    /// Whether the exchange wants the response's bytes.
    pub(crate) fn captures_response(&self) -> bool {
        matches!(self.state, State::Capturing(_))
    }

    /// What the exchange waits for, if it does.
    pub(crate) fn waits_for(&self) -> Option<Wait> {
        match &self.state {
            State::Waiting(waiting) => Some(Wait {
                key: *waiting.key(),
                since: waiting.since,
                deadline: waiting.deadline,
            }),
            State::Start
            | State::Collecting(_)
            | State::Fetching(_)
            | State::Replied
            | State::Bypassed(_)
            | State::Forwarded(_)
            | State::Capturing(_)
            | State::Over => None,
        }
    }

    /// How the request came and by which route, once, if it matters what that makes of it.
    pub(crate) fn take_watched(&mut self) -> Option<Box<Watched>> {
        self.watched.take()
    }

    /// Whether the request is held, and it is not decided yet how it is answered.
    pub(crate) fn searches(&self) -> bool {
        match self.state {
            State::Collecting(_) | State::Fetching(_) | State::Waiting(_) => true,
            State::Start
            | State::Replied
            | State::Bypassed(_)
            | State::Forwarded(_)
            | State::Capturing(_)
            | State::Over => false,
        }
    }
}
