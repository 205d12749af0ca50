//! What becomes of reports: counters and gauges, defined when they are first needed, and the log.

use std::cell::{Cell, RefCell};

use crate::store::{BreakerState, Turn};

use super::{AnswerResult, Bypass, CounterName, Report, RequestResult};

/// A host's counters and gauges.
pub trait Counters {
    /// Defines a counter, or finds it; `None` if the host has none.
    fn define_counter(&self, name: &str) -> Option<u32>;

    /// Defines a gauge, or finds it; `None` if the host has none.
    fn define_gauge(&self, name: &str) -> Option<u32>;

    /// Adds to a counter, where `offset` is positive, or to a gauge.
    fn add(&self, id: u32, offset: i64);
}

/// The metrics of one configuration in one VM. Their number is bounded by the words that there are.
#[derive(Debug)]
pub struct Metrics<C: Counters> {
    host: C,
    /// The cluster of the store behind HTTP, if there is one.
    cluster: Option<String>,
    /// Those counted most often tend to stand first.
    counters: RefCell<Vec<(CounterName, u32)>>,
    breaker: Cell<BreakerState>,
    /// Operators have been told of hits whose request went to the upstream in vain.
    warned_of_upstream: Cell<bool>,
    /// Operators have been told of requests whose caller nobody knows.
    warned_of_anonymous: Cell<bool>,
}

impl<C: Counters> Metrics<C> {
    /// Nothing is counted yet. `cluster` is that of the store behind HTTP.
    pub fn new(host: C, cluster: Option<String>) -> Self {
        Self {
            host,
            cluster,
            counters: RefCell::default(),
            breaker: Cell::new(BreakerState::Closed),
            warned_of_upstream: Cell::new(false),
            warned_of_anonymous: Cell::new(false),
        }
    }

    /// Counts and logs a report.
    pub fn report(&self, report: Report) {
        match report {
            Report::Answer(AnswerResult::NotStored(reason)) => {
                log::debug!("llm-cache: answer not stored: {}", reason.as_str());
            }
            Report::Breaker(turn) => self.breaker_turned(turn),
            Report::UpstreamAskedInVain if !self.warned_of_upstream.replace(true) => {
                log::warn!(
                    "llm-cache: a hit had opened a request to the upstream; put \
                     envoy.filters.http.buffer right behind this filter"
                );
            }
            Report::Request(RequestResult::Bypass(Bypass::NoTenant))
                if !self.warned_of_anonymous.replace(true) =>
            {
                log::warn!(
                    "llm-cache: a request passed uncached (no_tenant): nothing in it tells its caller; \
                     see key.tenant, and key.anonymous for models that ask for no credentials"
                );
            }
            Report::Request(_)
            | Report::NearMiss(_)
            | Report::Answer(AnswerResult::Stored)
            | Report::Evictions(_)
            | Report::Store(..)
            | Report::Refresh(_)
            | Report::Shadow(_)
            | Report::UpstreamAskedInVain
            | Report::SavedMilliseconds(_)
            | Report::SavedTokens(_) => {}
        }
        if let Some((name, added @ 1..)) = report.counter() {
            self.count(name, added);
        }
    }

    fn count(&self, name: CounterName, added: u64) {
        let id = self.defined(name).or_else(|| {
            let id = self.host.define_counter(&name.to_string())?;
            self.counters.borrow_mut().push((name, id));
            Some(id)
        });
        if let Some(id) = id {
            self.host.add(id, i64::try_from(added).unwrap_or(i64::MAX));
        }
    }

    fn defined(&self, name: CounterName) -> Option<u32> {
        let mut counters = self.counters.borrow_mut();
        let at = counters.iter().position(|(defined, _)| *defined == name)?;
        let before = at.saturating_sub(1);
        counters.swap(before, at);
        counters.get(before).map(|(_, id)| *id)
    }

    fn breaker_turned(&self, turn: Turn) {
        let cluster = self.cluster.as_deref().unwrap_or_default();
        let (from, to) = (turn.from.as_str(), turn.to.as_str());
        match turn.open_for {
            Some(open_for) => {
                let ms = open_for.as_millis();
                log::warn!("llm-cache: breaker of cluster {cluster}: {from} -> {to} for {ms} ms");
            }
            None => log::warn!("llm-cache: breaker of cluster {cluster}: {from} -> {to}"),
        }
        self.set_breaker(turn.to);
    }

    /// The gauges count the workers whose breaker is in a state. Closed is what most are in, and has
    /// none.
    fn set_breaker(&self, state: BreakerState) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let add = |state: BreakerState, offset| {
            if state != BreakerState::Closed {
                let word = state.as_str();
                let name = format!("llm_cache_breakers.cluster.{cluster}.state.{word}");
                if let Some(id) = self.host.define_gauge(&name) {
                    self.host.add(id, offset);
                }
            }
        };
        add(self.breaker.replace(state), -1);
        add(state, 1);
    }
}

impl<C: Counters> Drop for Metrics<C> {
    /// A worker that is gone is in no state.
    fn drop(&mut self) {
        self.set_breaker(BreakerState::Closed);
    }
}
