//! The reasons and metrics of docs/operations.md.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use envoy_llm_cache::cache::{CacheStatus, Tier};
use envoy_llm_cache::clock::DeltaSeconds;
use envoy_llm_cache::config::Config;
use envoy_llm_cache::llm::Api;
use envoy_llm_cache::report::all::{STORE_FAULTS, bypasses, misses, not_stored};
use envoy_llm_cache::report::{
    AnswerResult, Bypass, MetricKind, Metrics, MetricsHost, Miss, NotStored, Report, Subject,
};

use crate::pages::{self, Table, assert_same, spans};

const PAGE: &str = "docs/operations.md";

/// A configuration that makes every report possible.
const ALL: &str = r#"{"store": {"http": {"cluster": "c", "protocol": "webdis"}},
    "collapse": {"max_wait": "1s"}, "stale_while_revalidate": "1s", "stale_if_error": "1s",
    "metrics": {"model": true}, "rules": [{"match": {}, "mode": "shadow"}]}"#;

/// What a host is asked to define.
#[derive(Clone, Debug, Default)]
struct Defined(Rc<RefCell<Vec<(MetricKind, String)>>>);

impl MetricsHost for Defined {
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32> {
        self.0.borrow_mut().push((kind, name.to_owned()));
        Some(0)
    }

    fn add(&self, _id: u32, _offset: i64) {}

    fn record(&self, _id: u32, _value: u64) {}
}

/// Every series that there can be.
fn series() -> Vec<(MetricKind, String)> {
    let defined = Defined::default();
    let config = Config::parse(ALL.as_bytes()).unwrap();
    let metrics = Metrics::open(defined.clone(), &config);
    let of_api = Subject {
        api: Api::from_name("openai_chat"),
        ..Subject::default()
    };
    let of_model = Subject {
        label: Some("m".into()),
        ..of_api.clone()
    };
    for subject in [of_api, of_model] {
        metrics.report(&subject, Report::Answer(AnswerResult::Stored));
    }
    metrics.report(&Subject::default(), Report::NearMiss("user"));
    defined.0.take()
}

/// The names of all metrics, with their labels and the words of these.
fn metrics() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut metrics: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    for (_, name) in series() {
        // Its dots would part labels.
        let name = name.replace(env!("CARGO_PKG_VERSION"), "v");
        let mut parts = name.split('.').map(str::to_owned);
        let labels = metrics.entry(parts.next().unwrap()).or_default();
        while let (Some(label), Some(word)) = (parts.next(), parts.next()) {
            labels.entry(label).or_default().insert(word);
        }
    }
    metrics
}

fn table_under(heading: &str) -> Vec<Table> {
    let mut tables = pages::tables_of(PAGE, "reason");
    tables.retain(|table| table.heading == heading);
    tables
}

/// A table may lack some of the store's faults, because not every operation can meet all of them.
fn assert_documented(heading: &str, known: Vec<&'static str>) {
    let documented = pages::first_column(&table_under(heading));
    let of_store: Vec<_> = STORE_FAULTS.iter().map(|fault| fault.as_str()).collect();
    let known = known
        .into_iter()
        .filter(|word| !of_store.contains(word) || documented.iter().any(|named| named == word));
    assert_same(
        heading,
        documented.clone(),
        known.map(str::to_owned).collect(),
    );
}

#[test]
fn every_reason_is_documented_and_no_other() {
    assert_documented(
        "`bypass`",
        bypasses().into_iter().map(Bypass::as_str).collect(),
    );
    assert_documented("`miss`", misses().into_iter().map(Miss::as_str).collect());
    assert_documented(
        "`not_stored`",
        not_stored().into_iter().map(NotStored::as_str).collect(),
    );
    let faults: Vec<_> = STORE_FAULTS.iter().map(|fault| fault.as_str()).collect();
    assert_documented("`failed`", faults.clone());
    let tables = pages::tables_of(PAGE, "reason");
    for fault in faults {
        assert!(
            pages::first_column(&tables)
                .iter()
                .any(|word| word == fault),
            "{fault}"
        );
    }
    let stale =
        &metrics()["llm_cache_requests_total"]["reason"] - &words(&bypasses(), Bypass::as_str);
    let stale = &stale - &words(&misses(), Miss::as_str);
    assert_same(
        "`stale`",
        pages::first_column(&table_under("`stale`")),
        stale.into_iter().collect(),
    );
}

fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> BTreeSet<String> {
    all.iter().map(|one| as_str(*one).to_owned()).collect()
}

#[test]
fn every_metric_is_documented_with_its_labels_and_results() {
    let (metrics, series) = (metrics(), series());
    let table = &pages::tables_of(PAGE, "metric")[0];
    let documented = pages::first_column(std::slice::from_ref(table));
    assert_same("metrics", documented, metrics.keys().cloned().collect());
    for row in &table.rows {
        let name = spans(&row[0]).next().unwrap();
        let labels = &metrics[name];
        let said = |cell: &str| spans(cell).map(str::to_owned).collect();
        assert_same(name, said(&row[2]), labels.keys().cloned().collect());
        let results = labels.get("result").cloned().unwrap_or_default();
        assert_same(name, said(&row[3]), results.into_iter().collect());
        let is_it = |series: &str| series.split('.').next() == Some(name);
        let (kind, _) = series.iter().find(|(_, series)| is_it(series)).unwrap();
        assert_eq!(row[1], format!("{kind:?}").to_lowercase(), "{name}");
    }
    let operations = pages::tables_of(PAGE, "operation of the shared store");
    let known = metrics["llm_cache_store_operations_total"]["operation"]
        .iter()
        .cloned();
    assert_same(
        "operations",
        pages::first_column(&operations),
        known.collect(),
    );
}

/// The word at the beginning of a text.
fn word(text: &str) -> &str {
    let is_other = |letter: char| !(letter.is_ascii_lowercase() || letter == '_');
    text.split(is_other).next().unwrap_or_default()
}

#[test]
fn a_detail_or_a_metric_that_a_page_names_is_known() {
    let mut details = words(&bypasses(), Bypass::as_str);
    details.extend(words(&misses(), Miss::as_str));
    details.extend(words(&not_stored(), NotStored::as_str));
    let stale_if_error = CacheStatus::StaleIfError {
        expired_for: std::time::Duration::ZERO,
        status: 503,
    };
    let [memory, http] = [Tier::Memory, Tier::Http].map(|tier| CacheStatus::Hit {
        ttl: DeltaSeconds::default(),
        tier,
    });
    for status in [stale_if_error, memory, http] {
        let status = status.to_string();
        details.insert(status.split_once("detail=").unwrap().1.to_owned());
    }
    details.insert("only_if_cached".to_owned());
    let metrics = metrics();
    for page in pages::all() {
        let text = pages::read(page.to_str().unwrap());
        for detail in text.split("detail=").skip(1).map(word) {
            assert!(
                details.contains(detail),
                "{}: detail={detail}",
                page.display()
            );
        }
        // What had another name in an earlier version is history.
        let is_history = page.ends_with("CHANGELOG.md");
        for rest in text.split("llm_cache_").skip(1).filter(|_| !is_history) {
            let name = format!("llm_cache_{}", word(rest));
            let is_detail_of_code = ["llm_cache_hit", "llm_cache_only_if_cached"].contains(&&*name);
            let is_family = name.ends_with('_') && metrics.keys().any(|one| one.starts_with(&name));
            let is_known = metrics.contains_key(&name) || is_detail_of_code || is_family;
            assert!(is_known, "{}: {name}", page.display());
        }
    }
}
