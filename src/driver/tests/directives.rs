//! What a request may ask of the cache, and the modes.

use super::*;

#[test]
fn directives_of_the_request_are_obeyed() {
    let worker = worker("{}");
    let control = |value: &str| post(&[("cache-control", value)]);
    let stored = || json_miss(&worker);
    let fresh_enough = again(&worker, stored(), &control("max-age=10"), ASK_JSON, 10_999);
    assert_eq!(fresh_enough.request_result(), Some(RequestResult::Hit));
    let mut too_old = again(&worker, stored(), &control("max-age=10"), ASK_JSON, 11_000);
    let max_age = Some(RequestResult::Miss(Miss::MaxAge));
    assert_eq!(too_old.request_result(), max_age);
    too_old.response_headers(&ok("application/json", &[]), true);
    assert_eq!(
        too_old.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=request; detail=max_age"
    );
    let mut refresh = again(&worker, stored(), &control("no-cache"), ASK_JSON, 5_000);
    let no_cache = Some(RequestResult::Miss(Miss::NoCache));
    assert_eq!(refresh.request_result(), no_cache);
    refresh.response_headers(&ok("application/json", &[]), true);
    refresh.response_body(JSON, true);
    assert_eq!(refresh.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(
        refresh.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=request; detail=no_cache"
    );
}

#[test]
fn a_request_that_stores_nothing_says_so() {
    for (config, ttl) in [("{}", "0s"), (r#"{"client": {"max_ttl": "0s"}}"#, "1h")] {
        let worker = worker(config);
        let mut host = Host::new(&worker);
        host.request(&post(&[("x-llm-cache-ttl", ttl)]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        assert_eq!(
            host.header("cache-status").unwrap(),
            "envoy-llm-cache; fwd=uri-miss; detail=zero_ttl"
        );
    }
}

#[test]
fn a_rule_says_whether_directives_are_obeyed() {
    for rule in [
        r#"{"path_prefix": "/v1/"}"#,
        r#"{"model": "m"}"#,
        r#"{"header": {"x-own": "1"}}"#,
    ] {
        let config = format!(
            r#"{{"rules": [{{"match": {rule}, "client": {{"cache_control": "ignore"}}}}]}}"#
        );
        let worker = worker(&config);
        for control in ["no-store", "no-cache", "max-age=0", "only-if-cached"] {
            let request = post(&[("cache-control", control), ("x-own", "1")]);
            let hit = again(&worker, json_miss(&worker), &request, ASK_JSON, 500);
            assert_eq!(
                hit.request_result(),
                Some(RequestResult::Hit),
                "{rule} {control}"
            );
        }
        let mut miss = Host::new(&worker);
        let request = post(&[
            ("cache-control", "only-if-cached, no-store"),
            ("x-own", "1"),
        ]);
        miss.request(&request, ASK_JSON);
        assert!(miss.reply().is_none(), "{rule}");
        assert_eq!(
            miss.request_result(),
            Some(RequestResult::Miss(Miss::Absent))
        );
    }
    // And where the top ignores them, a rule can bring them back.
    let worker = worker(
        r#"{"client": {"cache_control": "ignore"},
            "rules": [{"match": {"model": "m"}, "client": {"cache_control": "honor"}}]}"#,
    );
    for _ in 0..2 {
        let mut host = Host::new(&worker);
        host.request(&post(&[("cache-control", "no-store")]), ASK_JSON);
        let no_store = RequestResult::Bypass(Bypass::NoStore);
        assert_eq!(host.request_result(), Some(no_store));
    }
}

#[test]
fn only_if_cached_never_reaches_the_upstream() {
    let worker = worker("{}");
    for control in [
        "only-if-cached",
        "only-if-cached, no-store",
        "only-if-cached, no-cache",
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[("cache-control", control)]), ASK_JSON);
        assert!(host.holds_request(), "{control}");
        let reply = host.reply().unwrap();
        assert_eq!(reply.status, 504);
        serde_json::from_slice::<serde_json::Value>(reply.body.as_bytes()).unwrap();
        assert_eq!(
            host.header("cache-status").unwrap(),
            "envoy-llm-cache; detail=only_if_cached"
        );
    }
    let control = post(&[("cache-control", "only-if-cached")]);
    let hit = again(&worker, json_miss(&worker), &control, ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
}

#[test]
fn directives_can_be_ignored_by_configuration() {
    let worker = worker(r#"{"client": {"cache_control": "ignore"}}"#);
    let control = post(&[("cache-control", "no-store, only-if-cached")]);
    let hit = again(&worker, json_miss(&worker), &control, ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
}

#[test]
fn a_lifetime_asked_for_is_kept_within_its_bound() {
    let worker = worker(r#"{"client": {"max_ttl": "10m"}}"#);
    let result = |ttl: &str, later: u64| {
        let request = post(&[("x-llm-cache-ttl", ttl)]);
        let response = ok("application/json", &[]);
        let first = miss(&worker, &request, ASK_JSON, &response, JSON);
        again(&worker, first, &post(&[]), ASK_JSON, later).request_result()
    };
    let expired = Some(RequestResult::Miss(Miss::Expired));
    assert_eq!(result("5s", 4_999), Some(RequestResult::Hit));
    assert_eq!(result("5s", 5_000), expired);
    assert_eq!(result("7d", 599_999), Some(RequestResult::Hit));
    assert_eq!(result("7d", 600_000), expired);
    let never = miss(
        &worker,
        &post(&[("x-llm-cache-ttl", "0s")]),
        ASK_JSON,
        &ok("application/json", &[]),
        JSON,
    );
    assert_eq!(never.answer_result(), Some(not_stored(NotStored::ZeroTtl)));
}

#[test]
fn modes_read_and_write_what_they_say() {
    let read_write = worker("{}");
    let read_only = worker(r#"{"mode": "read_only"}"#);
    let write_only = worker(r#"{"mode": "write_only"}"#);
    let hit = again(&read_only, json_miss(&read_write), &post(&[]), ASK_JSON, 0);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
    let unwritten = json_miss(&read_only);
    assert_eq!(
        (unwritten.answer_result(), unwritten.stored()),
        (None, None)
    );
    let unread = again(&write_only, json_miss(&read_write), &post(&[]), ASK_JSON, 0);
    assert_eq!(
        unread.request_result(),
        Some(RequestResult::Bypass(Bypass::WriteOnly))
    );
    assert_eq!(
        json_miss(&write_only).answer_result(),
        Some(AnswerResult::Stored)
    );
}
