//! What becomes of reports: counters, gauges and histograms, and the log.
//!
//! What hits save is added up here and handed to the host about once a second
//! ([`Metrics::flush`]), because a hit would otherwise wait for five host calls more. All else is handed on at once.

mod counters;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::clock::as_millis;
use crate::config::{Config, Mode, Settings};
use crate::llm::Api;
use crate::store::{BreakerState, Turn};

use counters::{About, Counters};

use super::{
    AnswerResult, Bypass, CounterName, Gauges, Miss, OTHER_MODEL, Passage, Report, RequestResult,
    Served, StaleBecause, Subject, all,
};

/// What a host can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are spread.
    Histogram,
}

/// A host's metrics.
pub trait MetricsHost {
    /// Defines a metric, or finds it; `None` if the host has none.
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32>;

    /// Adds to a counter, where `offset` is positive, or to a gauge.
    fn add(&self, id: u32, offset: i64);

    /// Sets a gauge, or adds a value to a histogram.
    fn record(&self, id: u32, value: u64);
}

/// The gauge that tells which version runs, and that its configuration is a good one: always 1.
const INFO: &str = concat!("llm_cache_info.version.", env!("CARGO_PKG_VERSION"));

/// The gauges that are sums over workers.
const CAPTURE_BYTES: &str = "llm_cache_capture_bytes";
const CAPTURE_LIMIT_BYTES: &str = "llm_cache_capture_limit_bytes";
const HELD_REQUESTS: &str = "llm_cache_held_requests";
const WAITING_REQUESTS: &str = "llm_cache_waiting_requests";

/// The gauges of what all workers of a process share.
const MEMORY_BYTES: &str = "llm_cache_memory_bytes";
const MEMORY_ENTRIES: &str = "llm_cache_memory_entries";
const MEMORY_LIMIT_BYTES: &str = "llm_cache_memory_limit_bytes";

/// The histograms.
const HIT_AGE: &str = "llm_cache_hit_age_seconds";
const STORE_LOOKUP: &str = "llm_cache_store_lookup_milliseconds";
const UPSTREAM_FIRST_BYTE: &str = "llm_cache_upstream_first_byte_milliseconds";
const UPSTREAM: &str = "llm_cache_upstream_milliseconds";

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
        Report::Request(RequestResult::ShadowHit) | Report::Shadow(_) | Report::ShadowSaved(_) => {
            any(|settings| settings.mode == Mode::Shadow)
        }
        Report::Evictions(_) => config.memory.is_some(),
        Report::Store(..) | Report::StoreLookup(_) => config.http.is_some(),
        Report::Request(_)
        | Report::Served(_)
        | Report::NearMiss(_)
        | Report::Passed(_)
        | Report::Answer(_)
        | Report::Breaker(_)
        | Report::UpstreamAskedInVain => true,
    }
}

/// Whether its series are worth their room for an API of which no request has come yet.
fn is_main(report: Report) -> bool {
    match report {
        Report::Request(result) => match result {
            RequestResult::Hit
            | RequestResult::Stale(_)
            | RequestResult::Collapsed
            | RequestResult::ShadowHit
            | RequestResult::Bypass(Bypass::NoTenant) => true,
            RequestResult::Miss(miss) => matches!(miss, Miss::Absent | Miss::Expired),
            RequestResult::Bypass(_) => false,
        },
        Report::Answer(result) => result == AnswerResult::Stored,
        _ => true,
    }
}

/// A gauge, and what this worker has in it.
#[derive(Debug, Default)]
struct Share {
    id: Option<u32>,
    value: Cell<u64>,
}

impl Share {
    fn set(&self, host: &impl MetricsHost, value: u64) {
        let before = self.value.replace(value);
        if let Some(id) = self.id.filter(|_| value != before) {
            let [before, value] = [before, value].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
            host.add(id, value.saturating_sub(before));
        }
    }
}

/// The metrics of one configuration in one VM. Their number is bounded: by the words that there are, and
/// by `metrics.max_models`.
#[derive(Debug)]
pub struct Metrics<H: MetricsHost> {
    host: H,
    /// The cluster of the store behind HTTP, if there is one.
    cluster: Option<String>,
    /// What a configuration can bring about.
    possible: Vec<Report>,
    counters: RefCell<Counters>,
    /// Counters have something that the host was not told.
    is_unsent: Cell<bool>,
    breaker: Cell<BreakerState>,
    capture: Share,
    /// Of workers that have had traffic: Envoy's main thread has a VM as well, and no requests.
    capture_limit: Share,
    max_capture_bytes: u64,
    held: Share,
    waiting: Share,
    memory: [Option<u32>; 2],
    hit_age: Option<u32>,
    store_lookup: Option<u32>,
    upstream_first_byte: Option<u32>,
    upstream: Option<u32>,
    /// Operators have been told of hits whose request went to the upstream in vain.
    warned_of_upstream: Cell<bool>,
    /// Operators have been told of requests whose caller nobody knows.
    warned_of_anonymous: Cell<bool>,
}

impl<H: MetricsHost> Metrics<H> {
    /// Defines what can be counted under a configuration, so that each main series begins with 0. If a
    /// series began with 1, a rate would miss its first event, and an alert would have no data until then.
    pub fn open(host: H, config: &Config) -> Self {
        let possible = all::reports().into_iter();
        let possible = possible.filter(|report| is_possible(*report, config));
        let share = |name| Share {
            id: host.define(MetricKind::Gauge, name),
            value: Cell::default(),
        };
        let histogram = |name| host.define(MetricKind::Histogram, name);
        let gauge = |name| host.define(MetricKind::Gauge, name);
        let metrics = Self {
            cluster: config.http.as_ref().map(|http| http.cluster.clone()),
            possible: possible.collect(),
            counters: RefCell::default(),
            is_unsent: Cell::new(false),
            breaker: Cell::new(BreakerState::Closed),
            capture: share(CAPTURE_BYTES),
            capture_limit: share(CAPTURE_LIMIT_BYTES),
            max_capture_bytes: u64::try_from(config.limits.max_capture_bytes).unwrap_or(u64::MAX),
            held: share(HELD_REQUESTS),
            waiting: share(WAITING_REQUESTS),
            memory: [MEMORY_BYTES, MEMORY_ENTRIES]
                .map(|name| config.memory.and_then(|_| gauge(name))),
            hit_age: histogram(HIT_AGE),
            store_lookup: config.http.as_ref().and_then(|_| histogram(STORE_LOOKUP)),
            upstream_first_byte: histogram(UPSTREAM_FIRST_BYTE),
            upstream: histogram(UPSTREAM),
            warned_of_upstream: Cell::new(false),
            warned_of_anonymous: Cell::new(false),
            host,
        };
        let model: Option<Rc<str>> = config.metrics.model.then(|| OTHER_MODEL.into());
        for api in Api::all().filter(|api| config.may_select(*api)) {
            let about = About {
                api: Some(api),
                model: model.clone(),
            };
            metrics.define_all(&about, is_main, &mut metrics.counters.borrow_mut());
        }
        for state in [BreakerState::Open, BreakerState::HalfOpen] {
            metrics.add_to_breakers(state, 0);
        }
        let set = |name, value| {
            if let Some(id) = metrics.host.define(MetricKind::Gauge, name) {
                metrics.host.record(id, value);
            }
        };
        set(INFO, 1);
        if let Some(memory) = config.memory {
            set(MEMORY_LIMIT_BYTES, memory.max_bytes);
        }
        metrics
    }

    /// Counts and logs a report.
    pub fn report(&self, subject: &Subject, report: Report) {
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
            Report::Served(Served { age, .. }) => self.spread(self.hit_age, age.as_secs()),
            Report::StoreLookup(took) => self.spread(self.store_lookup, as_millis(took)),
            Report::Passed(Passage {
                is_ended: true,
                first_byte: Some(first_byte),
                last_byte,
                ..
            }) => {
                self.spread(self.upstream_first_byte, as_millis(first_byte));
                self.spread(self.upstream, as_millis(last_byte));
            }
            Report::Request(_)
            | Report::NearMiss(_)
            | Report::Passed(_)
            | Report::Answer(AnswerResult::Stored)
            | Report::Evictions(_)
            | Report::Store(..)
            | Report::Refresh(_)
            | Report::Shadow(_)
            | Report::ShadowSaved(_)
            | Report::UpstreamAskedInVain => {}
        }
        let later = matches!(report, Report::Served(_) | Report::ShadowSaved(_));
        for (name, added) in report.counters() {
            if added > 0 {
                self.count(name, subject, added, later);
            }
        }
    }

    /// Hands on what was added up, and what the worker holds now.
    pub fn flush(&self, gauges: &Gauges) {
        if self.is_unsent.replace(false) {
            for (id, added) in self.counters.borrow_mut().take_unsent() {
                self.host.add(id, i64::try_from(added).unwrap_or(i64::MAX));
            }
        }
        self.capture_limit.set(&self.host, self.max_capture_bytes);
        self.capture.set(&self.host, gauges.capture_bytes);
        self.held.set(&self.host, gauges.held_requests);
        self.waiting.set(&self.host, gauges.waiting_requests);
        if let Some(usage) = gauges.memory {
            for (id, value) in self.memory.into_iter().zip([usage.bytes, usage.entries]) {
                self.spread(id, value);
            }
        }
    }

    fn count(&self, name: CounterName, subject: &Subject, added: u64, later: bool) {
        let about = About::new(name, subject);
        let mut counters = self.counters.borrow_mut();
        let add = |counters: &mut Counters| {
            let counter = counters.find(name, &about)?;
            if later {
                counter.unsent = counter.unsent.saturating_add(added);
                self.is_unsent.set(true);
            } else {
                let added = i64::try_from(added).unwrap_or(i64::MAX);
                self.host.add(counter.id, added);
            }
            Some(())
        };
        if add(&mut counters).is_none() {
            self.define_missing(name, &about, &mut counters);
            // A host that has no more counters does not stop the exchange.
            let _uncounted = add(&mut counters);
        }
    }

    /// Defines a counter that is counted for the first time, and the others of its API, which may be
    /// counted next.
    fn define_missing(&self, name: CounterName, about: &About, counters: &mut Counters) {
        if about.api.is_some() && counters.is_first_of(about) {
            // With a model, the reasons of a request without one are enough.
            let wanted = match about.model {
                None => |_| true,
                Some(_) => is_main,
            };
            self.define_all(about, wanted, counters);
        }
        self.define(name, about, counters);
    }

    /// Defines what is possible and wanted, and not defined yet.
    fn define_all(&self, about: &About, wanted: fn(Report) -> bool, counters: &mut Counters) {
        for report in self.possible.iter().filter(|report| wanted(**report)) {
            for (name, _) in report.counters() {
                match name.is_by_api {
                    true => self.define(name, about, counters),
                    false => self.define(name, &About::default(), counters),
                }
            }
        }
    }

    fn define(&self, name: CounterName, about: &About, counters: &mut Counters) {
        counters.define(name, about, |name| {
            self.host.define(MetricKind::Counter, name)
        });
    }

    fn spread(&self, id: Option<u32>, value: u64) {
        if let Some(id) = id {
            self.host.record(id, value);
        }
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
            if let Some(id) = self.host.define(MetricKind::Gauge, &name) {
                self.host.add(id, offset);
            }
        }
    }
}

impl<H: MetricsHost> Drop for Metrics<H> {
    /// A worker that is gone no longer counts in any gauge.
    fn drop(&mut self) {
        self.set_breaker(BreakerState::Closed);
        self.flush(&Gauges::default());
        self.capture_limit.set(&self.host, 0);
    }
}

#[cfg(test)]
mod tests;
