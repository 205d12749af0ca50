//! What operators see: counters and gauges, defined when they are first needed, and the log.

use std::cell::{Cell, RefCell};

use crate::exchange::{AnswerResult, Bypass, CounterName, Report, RequestResult};
use crate::store::{BreakerState, Turn};

use super::host;

/// The greatest number of hits between two at which the host is asked.
const LOOK_EVERY: u64 = 1_024;

/// The metrics of one configuration in one VM. Their number is bounded by the words that there are.
#[derive(Debug)]
pub(super) struct Metrics {
    /// The cluster of the store behind HTTP, if there is one.
    cluster: Option<String>,
    /// Those counted most often tend to stand first.
    counters: RefCell<Vec<(CounterName, u32)>>,
    breaker: Cell<BreakerState>,
    /// How many hits there have been, and at which of them the host is asked once more whether a request
    /// has gone to the upstream in vain.
    hits: Cell<u64>,
    next_look: Cell<u64>,
    /// Operators have been told that some have.
    told_of_upstream: Cell<bool>,
    /// Operators have been told of requests whose caller nobody knows.
    told_of_anonymous: Cell<bool>,
}

impl Metrics {
    pub(super) fn new(cluster: Option<String>) -> Self {
        Self {
            cluster,
            counters: RefCell::default(),
            breaker: Cell::new(BreakerState::Closed),
            hits: Cell::new(0),
            next_look: Cell::new(1),
            told_of_upstream: Cell::new(false),
            told_of_anonymous: Cell::new(false),
        }
    }

    pub(super) fn report(&self, report: Report) {
        match report {
            Report::Answer(AnswerResult::NotStored(reason)) => {
                log::debug!("llm-cache: answer not stored: {}", reason.as_str());
            }
            Report::Breaker(turn) => self.turned(turn),
            // It is told right before the reply; an answer that stands in for a failed upstream is not
            // among these.
            Report::Request(RequestResult::Hit) => self.look_for_upstream(),
            Report::Request(RequestResult::Bypass(Bypass::NoTenant))
                if !self.told_of_anonymous.replace(true) =>
            {
                log::warn!(
                    "llm-cache: a request passed uncached (no_tenant): nothing in it tells its caller; \
                     see key.tenant, and key.anonymous for models that ask for no credentials"
                );
            }
            _ => {}
        }
        if let Some((name, added @ 1..)) = report.counter() {
            self.count(name, added);
        }
    }

    /// Asks the host at some hits if a request has gone to the upstream all the same: at the first, and
    /// then at distances that double up to [`LOOK_EVERY`].
    fn look_for_upstream(&self) {
        let hits = self.hits.get().saturating_add(1);
        self.hits.set(hits);
        if hits < self.next_look.get() {
            return;
        }
        self.next_look
            .set(hits.saturating_add(hits.min(LOOK_EVERY)));
        if host::has_asked_upstream() {
            self.report(Report::UpstreamAskedInVain);
            if !self.told_of_upstream.replace(true) {
                log::warn!(
                    "llm-cache: a hit had opened a request to the upstream; put \
                     envoy.filters.http.buffer right behind this filter"
                );
            }
        }
    }

    fn count(&self, name: CounterName, added: u64) {
        let id = self.known(name).or_else(|| {
            let id = host::define_counter(&name.to_string()).ok()?;
            self.counters.borrow_mut().push((name, id));
            Some(id)
        });
        // A host that does not count does not stop the exchange.
        let _uncounted =
            id.map(|id| host::add_to_metric(id, i64::try_from(added).unwrap_or(i64::MAX)));
    }

    fn known(&self, name: CounterName) -> Option<u32> {
        let mut counters = self.counters.borrow_mut();
        let at = counters.iter().position(|(known, _)| *known == name)?;
        let before = at.saturating_sub(1);
        counters.swap(before, at);
        counters.get(before).map(|(_, id)| *id)
    }

    fn turned(&self, turn: Turn) {
        let cluster = self.cluster.as_deref().unwrap_or_default();
        let (from, to) = (turn.from.as_str(), turn.to.as_str());
        match turn.open_for {
            Some(ms) => {
                log::warn!("llm-cache: breaker of cluster {cluster}: {from} -> {to} for {ms} ms");
            }
            None => log::warn!("llm-cache: breaker of cluster {cluster}: {from} -> {to}"),
        }
        self.set_breaker(turn.to);
    }

    /// The gauges say of how many workers the breaker is in a state. Closed is what most are in,
    /// and has none.
    fn set_breaker(&self, state: BreakerState) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let add = |state: BreakerState, offset| {
            if state != BreakerState::Closed {
                let word = state.as_str();
                let name = format!("llm_cache_breakers.cluster.{cluster}.state.{word}");
                let _unmeasured =
                    host::define_gauge(&name).and_then(|id| host::add_to_metric(id, offset));
            }
        };
        add(self.breaker.replace(state), -1);
        add(state, 1);
    }
}

impl Drop for Metrics {
    /// A worker that is gone is in no state.
    fn drop(&mut self) {
        self.set_breaker(BreakerState::Closed);
    }
}
