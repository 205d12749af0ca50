//! The reasons and metrics of docs/operations.md.

use std::collections::{BTreeMap, BTreeSet};

use envoy_llm_cache::cache::{CacheStatus, Tier};
use envoy_llm_cache::clock::DeltaSeconds;
use envoy_llm_cache::coding::CodingFault;
use envoy_llm_cache::llm::{ConversionError, NotWhole, Unfit};
use envoy_llm_cache::report::{
    AnswerResult, Bypass, CollapseFault, Miss, NotStored, OperationResult, RefreshResult, Report,
    RequestResult, ShadowResult, StaleBecause, StoreOperation,
};
use envoy_llm_cache::store::StoreFault;

use crate::pages::{self, Table, assert_same, spans};

const PAGE: &str = "docs/operations.md";

/// Every value of an enum: variants without data, and variants that hold any of a list. Does not compile
/// while it lacks a variant.
macro_rules! all {
    ($enum:ident: $($variant:ident),* $(; $($outer:ident($inner:expr)),*)?) => {{
        let _complete = |value: $enum| match value {
            $($enum::$variant => (),)*
            $($($enum::$outer(_) => (),)*)?
        };
        let plain: Vec<$enum> = vec![$($enum::$variant),*];
        let outer: Vec<Vec<$enum>> = vec![$($($inner.into_iter().map($enum::$outer).collect()),*)?];
        [plain, outer.concat()].concat()
    }};
}

fn store_faults() -> Vec<StoreFault> {
    all!(StoreFault: TooLarge, Contended, Unavailable, Timeout, Refused, BreakerOpen, Busy)
}

fn coding_faults() -> Vec<CodingFault> {
    all!(CodingFault: Malformed, Checksum, Truncated, AfterEnd, TooLarge, Laborious)
}

fn bypasses() -> Vec<Bypass> {
    let unfit = all!(Unfit: UnclearForm, UnclearBody, Background, Conversation);
    all!(Bypass: RequestTooLarge, UnknownLength, BodyIncomplete, NoStore, Sample, NoTenant, SignedRequest,
        NoCluster, InvalidTtl, ContentEncoding, WriteOnly, CaptureLimit, ServerTools, Temperature;
        Coding(coding_faults()), Unfit(unfit))
}

fn misses() -> Vec<Miss> {
    let forms =
        all!(ConversionError: Unsupported, NoUsage, UnknownMember, Content, TooLarge, Malformed);
    let collapse = all!(CollapseFault: Timeout, LeaderFailed, CaptureLimit, Unusable);
    all!(Miss: Absent, Expired, CaptureLimit, ConversionLimit, Origin, NoCache, MaxAge, Unusable;
        Form(forms), Store(store_faults()), Collapse(collapse))
}

fn not_stored() -> Vec<NotStored> {
    let not_whole = all!(NotWhole: Error, Malformed, StrayLines, NoData, Pending, AfterEnd, UnknownFinish,
        Choices, Unfinished, ToolArguments);
    all!(NotStored: ZeroTtl, LocalReply, Rerouted, Status, ContentType, ContentRange, ContentEncoding, Form,
        Streams, ResponseTooLarge, CaptureLimit, Unreadable, Length, Trailers, Aborted, UnmarkedEnd,
        FinishLength, FinishFiltered, FinishComplete, Stuttering, Empty, OtherModel, VetoedByHeader,
        LessGeneral;
        Coding(coding_faults()), NotWhole(not_whole), Store(store_faults()))
}

fn operation_results() -> Vec<OperationResult> {
    all!(OperationResult: Found, Absent, Done; Failed(store_faults()))
}

/// Everything that is counted.
fn reports() -> Vec<Report> {
    let stale = all!(StaleBecause: Revalidating, UpstreamFailed);
    let requests = all!(RequestResult: Hit, Collapsed, ShadowHit;
        Stale(stale), Miss(misses()), Bypass(bypasses()));
    let answers = all!(AnswerResult: Stored; NotStored(not_stored()));
    let refreshes = all!(RefreshResult: Sent, ByRequest, Busy);
    let shadow = all!(ShadowResult: Agreed, Disagreed, Incomparable, NotWhole);
    let operations = all!(StoreOperation: Lookup, Probe, Write, Delete);
    let _complete = |report: Report| match report {
        Report::Request(_)
        | Report::NearMiss(_)
        | Report::Answer(_)
        | Report::Evictions(_)
        | Report::Store(..)
        | Report::Breaker(_)
        | Report::Refresh(_)
        | Report::Shadow(_)
        | Report::UpstreamAskedInVain
        | Report::SavedMilliseconds(_)
        | Report::SavedTokens(_) => (),
    };
    let mut reports = vec![
        Report::NearMiss("user"),
        Report::Evictions(1),
        Report::UpstreamAskedInVain,
        Report::SavedMilliseconds(1),
        Report::SavedTokens(1),
    ];
    reports.extend(requests.into_iter().map(Report::Request));
    reports.extend(answers.into_iter().map(Report::Answer));
    reports.extend(refreshes.into_iter().map(Report::Refresh));
    reports.extend(shadow.into_iter().map(Report::Shadow));
    for operation in operations {
        let results = operation_results().into_iter();
        reports.extend(results.map(|result| Report::Store(operation, result)));
    }
    reports
}

/// The names of all metrics, with their labels and the words of these.
fn metrics() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let counters = reports().into_iter().filter_map(Report::counter);
    let mut names: Vec<_> = counters.map(|(name, _)| name.to_string()).collect();
    // The gauge is no report's.
    let metrics = include_str!("../../src/report/metrics.rs");
    let gauge = metrics
        .split('"')
        .find(|text| text.starts_with("llm_cache_"));
    names.push(gauge.unwrap().replace(['{', '}'], ""));
    let mut metrics: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    for name in names {
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

/// Of the store's faults, which not everything that asks a store can meet, a table may lack some.
fn assert_documented(heading: &str, known: Vec<&'static str>) {
    let documented = pages::first_column(&table_under(heading));
    let of_store: Vec<_> = store_faults().into_iter().map(StoreFault::as_str).collect();
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
    let faults: Vec<_> = store_faults().into_iter().map(StoreFault::as_str).collect();
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
    let stale = &metrics()["llm_cache_requests"]["reason"] - &words(&bypasses(), Bypass::as_str);
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
    let metrics = metrics();
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
        let kind = if name == "llm_cache_breakers" {
            "gauge"
        } else {
            "counter"
        };
        assert_eq!(row[1], kind, "{name}");
    }
    let operations = pages::tables_of(PAGE, "operation of the shared store");
    let known = metrics["llm_cache_store"]["operation"].iter().cloned();
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
        for rest in text.split("llm_cache_").skip(1) {
            let name = format!("llm_cache_{}", word(rest));
            let is_detail_of_code = ["llm_cache_hit", "llm_cache_only_if_cached"].contains(&&*name);
            let is_family = name == "llm_cache_";
            let is_known = metrics.contains_key(&name) || is_detail_of_code || is_family;
            assert!(is_known, "{}: {name}", page.display());
        }
    }
}
