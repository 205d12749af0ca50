//! What becomes of reports: counters and gauges, and the log.

use std::cell::{Cell, RefCell};

use crate::config::{Config, Mode, Settings};
use crate::store::{BreakerState, Turn};

use super::{AnswerResult, Bypass, CounterName, Miss, Report, RequestResult, StaleBecause, all};

/// A host's counters and gauges.
pub trait Counters {
    /// Defines a counter, or finds it; `None` if the host has none.
    fn define_counter(&self, name: &str) -> Option<u32>;

    /// Defines a gauge, or finds it; `None` if the host has none.
    fn define_gauge(&self, name: &str) -> Option<u32>;

    /// Adds to a counter, where `offset` is positive, or to a gauge.
    fn add(&self, id: u32, offset: i64);

    /// Sets a gauge.
    fn set(&self, id: u32, value: u64);
}

/// The gauge that tells which version runs, and that its configuration is a good one: always 1.
const INFO: &str = concat!("llm_cache_info.version.", env!("CARGO_PKG_VERSION"));

/// Whether a configuration can bring it about.
fn is_possible(report: Report, config: &Config) -> bool {
    let any = |wanted: fn(&Settings) -> bool| config.all_settings().any(wanted);
    match report {
        Report::Request(RequestResult::Stale(StaleBecause::Revalidating)) | Report::Refresh(_) => {
            any(|settings| !settings.stale_while_revalidate.is_zero())
        }
        Report::Request(RequestResult::Stale(StaleBecause::UpstreamFailed)) => {
            any(|settings| !settings.stale_if_error.is_zero())
        }
        Report::Request(RequestResult::Collapsed | RequestResult::Miss(Miss::Collapse(_))) => {
            any(|settings| !settings.collapse.max_wait.is_zero())
        }
        Report::Request(RequestResult::ShadowHit)
        | Report::Shadow(_)
        | Report::SavedMilliseconds(_)
        | Report::SavedTokens(_) => any(|settings| settings.mode == Mode::Shadow),
        Report::Evictions(_) => config.memory.is_some(),
        Report::Store(..) => config.http.is_some(),
        Report::Request(_)
        | Report::NearMiss(_)
        | Report::Answer(_)
        | Report::Breaker(_)
        | Report::UpstreamAskedInVain => true,
    }
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
    /// Defines what can be counted under a configuration, so that each series begins with 0. If a series
    /// began with 1, a rate would miss its first event, and an alert would have no data until then.
    pub fn open(host: C, config: &Config) -> Self {
        let metrics = Self {
            host,
            cluster: config.http.as_ref().map(|http| http.cluster.clone()),
            counters: RefCell::default(),
            breaker: Cell::new(BreakerState::Closed),
            warned_of_upstream: Cell::new(false),
            warned_of_anonymous: Cell::new(false),
        };
        let possible = all::reports().into_iter();
        let possible = possible.filter(|report| is_possible(*report, config));
        for (name, _) in possible.filter_map(Report::counter) {
            metrics.define(name);
        }
        for state in [BreakerState::Open, BreakerState::HalfOpen] {
            metrics.add_to_breakers(state, 0);
        }
        if let Some(info) = metrics.host.define_gauge(INFO) {
            metrics.host.set(info, 1);
        }
        metrics
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
        let id = self.defined(name).or_else(|| self.define(name));
        if let Some(id) = id {
            self.host.add(id, i64::try_from(added).unwrap_or(i64::MAX));
        }
    }

    fn define(&self, name: CounterName) -> Option<u32> {
        let id = self.host.define_counter(&name.to_string())?;
        self.counters.borrow_mut().push((name, id));
        Some(id)
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

    /// The gauges count the workers whose breaker is in a state. The state closed, the usual one,
    /// has no gauge.
    fn set_breaker(&self, state: BreakerState) {
        self.add_to_breakers(self.breaker.replace(state), -1);
        self.add_to_breakers(state, 1);
    }

    fn add_to_breakers(&self, state: BreakerState, offset: i64) {
        if let Some(cluster) = &self.cluster
            && state != BreakerState::Closed
        {
            let word = state.as_str();
            let name = format!("llm_cache_breakers.cluster.{cluster}.state.{word}");
            if let Some(id) = self.host.define_gauge(&name) {
                self.host.add(id, offset);
            }
        }
    }
}

impl<C: Counters> Drop for Metrics<C> {
    /// A worker that is gone no longer counts in any gauge.
    fn drop(&mut self) {
        self.set_breaker(BreakerState::Closed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::*;

    /// The values by names; a number stands for a name in the order of definition.
    #[derive(Clone, Debug, Default)]
    struct FakeCounters {
        defined: Rc<RefCell<Vec<String>>>,
        values: Rc<RefCell<BTreeMap<String, i64>>>,
    }

    impl FakeCounters {
        fn define(&self, name: &str) -> Option<u32> {
            self.defined.borrow_mut().push(name.to_owned());
            self.values.borrow_mut().entry(name.to_owned()).or_default();
            u32::try_from(self.definitions() - 1).ok()
        }

        fn value(&self, name: &str) -> Option<i64> {
            self.values.borrow().get(name).copied()
        }

        fn definitions(&self) -> usize {
            self.defined.borrow().len()
        }
    }

    impl Counters for FakeCounters {
        fn define_counter(&self, name: &str) -> Option<u32> {
            self.define(name)
        }

        fn define_gauge(&self, name: &str) -> Option<u32> {
            self.define(name)
        }

        fn add(&self, id: u32, offset: i64) {
            let name = &self.defined.borrow()[id as usize];
            *self.values.borrow_mut().entry(name.clone()).or_default() += offset;
        }

        fn set(&self, id: u32, value: u64) {
            let name = self.defined.borrow()[id as usize].clone();
            self.values.borrow_mut().insert(name, value.cast_signed());
        }
    }

    fn open(config: &str) -> (Metrics<FakeCounters>, FakeCounters) {
        let counters = FakeCounters::default();
        let config = Config::parse(config.as_bytes()).unwrap();
        (Metrics::open(counters.clone(), &config), counters)
    }

    #[test]
    fn all_that_a_configuration_can_count_begins_with_0() {
        let (metrics, counters) = open("{}");
        assert_eq!(counters.value("llm_cache_requests.result.hit"), Some(0));
        assert_eq!(counters.value("llm_cache_evictions"), Some(0));
        assert_eq!(counters.value(INFO), Some(1));
        let defined = counters.definitions();
        assert_eq!(counters.values.borrow().len(), defined, "each once");
        for report in [
            Report::Request(RequestResult::Hit),
            Report::Request(RequestResult::Bypass(Bypass::NoStore)),
            Report::Answer(AnswerResult::Stored),
        ] {
            metrics.report(report);
        }
        assert_eq!(counters.definitions(), defined);
        assert_eq!(counters.value("llm_cache_requests.result.hit"), Some(1));
    }

    #[test]
    fn what_a_configuration_cannot_count_is_not_there() {
        const STALE: &str = "llm_cache_requests.result.stale.reason.revalidating";
        const OPEN: &str = "llm_cache_breakers.cluster.c.state.open";
        const FOUND: &str = "llm_cache_store.operation.lookup.result.found";
        const DONE: &str = "llm_cache_store.operation.lookup.result.done";
        for (config, there) in [
            ("{}", [None, None, None, None]),
            (
                r#"{"stale_while_revalidate": "1s"}"#,
                [Some(0), None, None, None],
            ),
            (
                r#"{"store": {"http": {"cluster": "c", "protocol": "webdis"}}}"#,
                [None, Some(0), Some(0), None],
            ),
        ] {
            let (_metrics, counters) = open(config);
            let values = [STALE, OPEN, FOUND, DONE].map(|name| counters.value(name));
            assert_eq!(values, there, "{config}");
        }
    }
}
