use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::cache::UpstreamCost;
use crate::clock::DeltaSeconds;
use crate::llm::Tokens;
use crate::store::{MemoryUsage, StoreFault};

/// The values by names, those of histograms as a list; a number stands for a name in the order of definition.
#[derive(Clone, Debug, Default)]
struct FakeMetrics {
    defined: Rc<RefCell<Vec<(MetricKind, String)>>>,
    values: Rc<RefCell<BTreeMap<String, i64>>>,
    spread: Rc<RefCell<Vec<(String, u64)>>>,
}

impl FakeMetrics {
    fn value(&self, name: &str) -> Option<i64> {
        self.values.borrow().get(name).copied()
    }

    fn named(&self, part: &str) -> BTreeMap<String, i64> {
        let values = self.values.borrow();
        let named = values.iter().filter(|(name, _)| name.contains(part));
        named.map(|(name, value)| (name.clone(), *value)).collect()
    }

    fn definitions(&self) -> usize {
        self.defined.borrow().len()
    }
}

impl MetricsHost for FakeMetrics {
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32> {
        self.defined.borrow_mut().push((kind, name.to_owned()));
        if kind != MetricKind::Histogram {
            self.values.borrow_mut().entry(name.to_owned()).or_default();
        }
        u32::try_from(self.definitions() - 1).ok()
    }

    fn add(&self, id: u32, offset: i64) {
        let (kind, name) = &self.defined.borrow()[id as usize];
        assert!(
            *kind != MetricKind::Counter || offset > 0,
            "Envoy refuses it"
        );
        *self.values.borrow_mut().entry(name.clone()).or_default() += offset;
    }

    fn record(&self, id: u32, value: u64) {
        let (kind, name) = self.defined.borrow()[id as usize].clone();
        match kind {
            MetricKind::Histogram => self.spread.borrow_mut().push((name, value)),
            MetricKind::Gauge => {
                self.values.borrow_mut().insert(name, value.cast_signed());
            }
            MetricKind::Counter => panic!("a counter is added to"),
        }
    }
}

fn open(config: &str) -> (Metrics<FakeMetrics>, FakeMetrics) {
    let host = FakeMetrics::default();
    let config = Config::parse(config.as_bytes()).unwrap();
    (Metrics::open(host.clone(), &config), host)
}

fn chat() -> Subject {
    Subject {
        api: Api::from_name("openai_chat"),
        ..Subject::default()
    }
}

fn served() -> Report {
    let tokens = Tokens {
        input: 10,
        cached_input: 20,
        output: 30,
    };
    let [first_byte, last_byte] = [400, 5_000].map(Duration::from_millis);
    Report::Served(Served {
        age: DeltaSeconds::new(60),
        cost: UpstreamCost::new(Some(tokens), first_byte, last_byte),
    })
}

const HIT: &str = "llm_cache_requests_total.api.openai_chat.result.hit";
const NO_STORE: &str = "llm_cache_requests_total.api.openai_chat.result.bypass.reason.no_store";

#[test]
fn main_series_begin_with_0_and_all_of_an_api_with_its_first_request() {
    let (metrics, host) = open("{}");
    assert_eq!(host.value(HIT), Some(0));
    assert_eq!(host.value("llm_cache_evictions_total"), Some(0));
    assert_eq!(host.value(INFO), Some(1));
    assert_eq!(host.value(NO_STORE), None);
    assert_eq!(
        host.named(".api.json."),
        BTreeMap::new(),
        "no rule names it"
    );
    assert!(host.named(".api.ollama.").len() > 5);
    let no_caller = Report::Request(RequestResult::Bypass(Bypass::SignedRequest));
    metrics.report(&chat(), no_caller);
    assert_eq!(host.value(NO_STORE), Some(0));
    let defined = host.definitions();
    let counters = host.values.borrow().len() + 3;
    assert_eq!(counters, defined, "each once, and three histograms");
    for report in [
        Report::Request(RequestResult::Hit),
        Report::Request(RequestResult::Bypass(Bypass::NoStore)),
        Report::Answer(AnswerResult::Stored),
        served(),
    ] {
        metrics.report(&chat(), report);
    }
    assert_eq!(host.definitions(), defined);
    assert_eq!(host.value(HIT), Some(1));
    assert_eq!(host.value(NO_STORE), Some(1));
}

#[test]
fn what_a_configuration_cannot_count_is_not_there() {
    const STALE: &str = "llm_cache_requests_total.api.gemini.result.stale.reason.revalidating";
    const OPEN: &str = "llm_cache_breakers.cluster.c.state.open";
    const FOUND: &str = "llm_cache_store_operations_total.operation.lookup.result.found";
    const DONE: &str = "llm_cache_store_operations_total.operation.lookup.result.done";
    const OTHER: &str = "llm_cache_requests_total.api.json.result.hit.model.other";
    for (config, there) in [
        ("{}", [None, None, None, None, None]),
        (
            r#"{"stale_while_revalidate": "1s"}"#,
            [Some(0), None, None, None, None],
        ),
        (
            r#"{"store": {"http": {"cluster": "c", "protocol": "webdis"}}}"#,
            [None, Some(0), Some(0), None, None],
        ),
        (
            r#"{"metrics": {"model": true}, "rules": [{"match": {}, "api": "json"}]}"#,
            [None, None, None, None, Some(0)],
        ),
    ] {
        let (_metrics, host) = open(config);
        let values = [STALE, OPEN, FOUND, DONE, OTHER].map(|name| host.value(name));
        assert_eq!(values, there, "{config}");
    }
}

#[test]
fn what_hits_save_is_added_up_until_it_is_flushed() {
    let (metrics, host) = open("{}");
    metrics.report(&chat(), served());
    metrics.report(&chat(), served());
    let saved = || host.named("openai_chat").into_iter();
    let saved = || saved().filter(|(name, _)| name.contains("saved"));
    assert!(saved().all(|(_, value)| value == 0));
    let ages = host.spread.borrow().clone();
    assert_eq!(ages, [(HIT_AGE.to_owned(), 60), (HIT_AGE.to_owned(), 60)]);
    for _ in 0..2 {
        metrics.flush(&Gauges::default());
        let values: Vec<_> = saved().map(|(_, value)| value).collect();
        // By name: the first byte, the last, cached input, input, output.
        assert_eq!(values, [800, 10_000, 40, 20, 60]);
    }
    // What is not flushed is not lost.
    metrics.report(&chat(), served());
    drop(metrics);
    let milliseconds = "llm_cache_saved_milliseconds_total.api.openai_chat";
    assert_eq!(host.value(milliseconds), Some(15_000));
}

#[test]
fn a_model_with_a_label_has_series_of_its_own_which_begin_with_0() {
    let (metrics, host) = open(r#"{"metrics": {"model": true}}"#);
    let other = Subject {
        label: Some("other".into()),
        ..chat()
    };
    metrics.report(&other, Report::Request(RequestResult::Miss(Miss::Absent)));
    assert_eq!(host.named(".model.gpt"), BTreeMap::new());
    let known = Subject {
        label: Some("gpt-4.1".into()),
        ..chat()
    };
    metrics.report(&known, Report::Answer(AnswerResult::Stored));
    assert_eq!(host.value(&format!("{HIT}.model.gpt-4.1")), Some(0));
    assert_eq!(host.value(&format!("{HIT}.model.other")), Some(0));
    metrics.report(&known, Report::Request(RequestResult::Hit));
    assert_eq!(host.value(&format!("{HIT}.model.gpt-4.1")), Some(1));
    // What is not of a model has no label for one.
    metrics.report(&known, Report::Evictions(3));
    assert_eq!(host.value("llm_cache_evictions_total"), Some(3));
}

#[test]
fn gauges_are_sums_over_workers_and_forget_those_that_are_gone() {
    let (one, host) = open("{}");
    let config = Config::parse(b"{}").unwrap();
    let other = Metrics::open(host.clone(), &config);
    let gauges = |bytes, held, waiting| Gauges {
        capture_bytes: bytes,
        held_requests: held,
        waiting_requests: waiting,
        memory: None,
    };
    let values = || {
        [
            CAPTURE_BYTES,
            CAPTURE_LIMIT_BYTES,
            HELD_REQUESTS,
            WAITING_REQUESTS,
        ]
        .map(|name| host.value(name).unwrap())
    };
    assert_eq!(values(), [0; 4]);
    let limit = i64::try_from(config.limits.max_capture_bytes).unwrap();
    one.flush(&gauges(100, 3, 1));
    assert_eq!(values(), [100, limit, 3, 1]);
    other.flush(&gauges(50, 2, 2));
    assert_eq!(values(), [150, 2 * limit, 5, 3]);
    one.flush(&gauges(70, 1, 0));
    assert_eq!(values(), [120, 2 * limit, 3, 2]);
    drop(one);
    assert_eq!(values(), [50, limit, 2, 2]);
    drop(other);
    assert_eq!(values(), [0; 4]);
}

#[test]
fn the_memory_store_is_what_was_seen_of_it_last() {
    let (metrics, host) = open("{}");
    let values = || [MEMORY_BYTES, MEMORY_ENTRIES].map(|name| host.value(name).unwrap());
    assert_eq!(host.value(MEMORY_LIMIT_BYTES), Some(64 << 20));
    for (bytes, entries) in [(1_000, 2), (10, 1)] {
        metrics.flush(&Gauges {
            memory: Some(MemoryUsage { bytes, entries }),
            ..Gauges::default()
        });
        metrics.flush(&Gauges::default());
        assert_eq!(values(), [bytes.cast_signed(), entries.cast_signed()]);
    }
    let (_metrics, without) =
        open(r#"{"store": {"memory": null, "http": {"cluster": "c", "protocol": "rest"}}}"#);
    assert_eq!(without.named("llm_cache_memory"), BTreeMap::new());
}

#[test]
fn durations_are_spread_over_histograms() {
    let (metrics, host) = open(r#"{"store": {"http": {"cluster": "c", "protocol": "rest"}}}"#);
    let passage = Passage {
        chunks: 2,
        first_byte: Some(Duration::from_millis(300)),
        last_byte: Duration::from_millis(900),
        tokens: None,
        is_ended: true,
    };
    metrics.report(&chat(), Report::Passed(passage));
    let broken_off = Passage {
        is_ended: false,
        ..passage
    };
    metrics.report(&chat(), Report::Passed(broken_off));
    let took = Report::StoreLookup(Duration::from_millis(7));
    metrics.report(&Subject::default(), took);
    let spread = host.spread.borrow().clone();
    let expected = [
        (UPSTREAM_FIRST_BYTE, 300),
        (UPSTREAM, 900),
        (STORE_LOOKUP, 7),
    ];
    assert_eq!(
        spread,
        expected.map(|(name, value)| (name.to_owned(), value))
    );
}

#[test]
fn reports_that_concern_no_request_are_counted_without_an_api() {
    let (metrics, host) = open(r#"{"store": {"http": {"cluster": "c", "protocol": "rest"}}}"#);
    let failed = super::super::OperationResult::Failed(StoreFault::Timeout);
    let report = Report::Store(super::super::StoreOperation::Lookup, failed);
    metrics.report(&chat(), report);
    let name =
        "llm_cache_store_operations_total.operation.lookup.result.failed.reason.store_timeout";
    assert_eq!(host.value(name), Some(1));
}
