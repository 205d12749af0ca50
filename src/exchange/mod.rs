//! One request and its response: a state machine without I/O. The host tells it what happened
//! ([`Input`]) and does what it says ([`Output`]).

mod budget;
mod capture;
mod cors;
mod decoded_capture;
mod flights;
mod head;
mod input;
mod kept;
mod lookup;
mod near_misses;
mod permit;
mod reason;
mod recorder;
mod refresh;
mod reply;
mod request;
mod request_memo;
mod response;
mod route;
mod state;
mod storing;
mod task;
mod trailers;
mod worker;

use std::mem;
use std::rc::Rc;
use std::time::Duration;

pub use budget::{CaptureBudget, Charged};
pub use input::{Input, LeaseKind, Output, Release, Reply, ReplyBody};
pub use reason::{
    AnswerResult, Bypass, CollapseFault, CounterName, Miss, NotStored, Operation, OperationResult,
    RefreshResult, Report, RequestResult, ShadowResult, StaleBecause,
};
pub use task::Task;
pub use worker::Worker;

use state::State;

/// One request and its response.
#[derive(Debug)]
pub struct Exchange {
    worker: Rc<Worker>,
    state: State,
}

impl Exchange {
    /// An exchange whose request is still to come.
    pub fn new(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            state: State::Start,
        }
    }

    /// Takes what happened and appends what is to be done, in order. Total: whatever the input and
    /// whenever it comes, the worst outcome is that this exchange is not cached.
    pub fn handle(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        let state = mem::replace(&mut self.state, State::Over);
        self.state = state.handle(input, &self.worker, out);
    }

    /// Whether the request's body must not go further for now.
    pub fn holds_request(&self) -> bool {
        self.state.searches() || matches!(self.state, State::Replied)
    }

    /// Whether the request's headers must not go further for now.
    pub fn holds_request_headers(&self) -> bool {
        self.worker.config.hold_headers && self.holds_request()
    }

    /// Whether the headers of a response, if they came now, would concern the exchange. Its own
    /// replies pass by unseen.
    pub fn awaits_response(&self) -> bool {
        self.state.searches() || matches!(self.state, State::Bypassed(_) | State::Forwarded(_))
    }

    /// Whether the exchange wants the response's bytes.
    pub fn captures_response(&self) -> bool {
        matches!(self.state, State::Capturing(_))
    }
}

/// Durations are configured in years at the most.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
