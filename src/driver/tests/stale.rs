//! Late: expired entries that are served while they are refreshed, or because the upstream fails.

use std::time::Duration;

use super::*;
use crate::attributes::Attributes;
use crate::callout::CalloutReply;
use crate::store::{Joined, Leases};

const WINDOWS: &str = r#"{"stale_while_revalidate": "10s", "stale_if_error": "1m"}"#;
const HOUR: u64 = 3_600_000;

/// A request `late` milliseconds after the entry expired that `first` stored.
fn late(worker: &Rc<TestWorker>, request: &Fields, late: u64) -> Host {
    let mut host = due(worker, request, late);
    host.request(request, ASK_JSON);
    host
}

/// The same before the request comes.
fn due(worker: &Rc<TestWorker>, request: &Fields, late: u64) -> Host {
    let mut host = Host::with_memory_of(worker, &json_miss(worker));
    observe(worker, &headers(request));
    host.now = NOW + HOUR + late;
    host.memory.refused.set(None);
    host
}

fn default_worker() -> Rc<TestWorker> {
    worker("{}")
}

/// The worker sees a request pass that its route leaves alone.
fn observe(worker: &TestWorker, came: &Headers) {
    let by = Attributes::read(by_upstream(), &[]);
    worker.routes.observe(came, came, &by);
}

/// The callouts that the worker sends for its tasks, after a host's stream.
fn sent(host: &Host) -> Vec<(u32, Callout)> {
    host.worker.take_calls();
    host.worker.settle(&host.memory);
    host.worker.take_calls()
}

/// The callout of a refresh.
fn refresh(host: &Host) -> (u32, Callout) {
    let mut sent = sent(host);
    assert_eq!(sent.len(), 1);
    sent.remove(0)
}

/// The callout of this token has come to this.
fn called(host: &mut Host, token: u32, result: CalloutResult) {
    host.worker.host.now.set(host.now);
    let called = |context: &WorkerContext| context.called(token, |_| result);
    host.worker.outside(&host.memory, called);
    host.note_keys();
}

/// What another worker gets that asks for the lease of a refresh.
fn lease_of(host: &Host) -> Joined {
    let (key, _) = host.stored().unwrap();
    let name = key.as_bytes().map(|byte| !byte);
    let now = UnixMillis::from_millis(host.now);
    let max_age = Duration::from_secs(1);
    Leases::new(99, None).join(&host.memory, &name, now, max_age, false)
}

fn is_given_back(host: &Host) -> bool {
    matches!(lease_of(host), Joined::Leads(_))
}

fn reply(status: u16, body: &str) -> CalloutResult {
    let told = status.to_string();
    Ok(CalloutReply {
        status,
        headers: headers(&ok("application/json", &[(":status", &told)])),
        trailers: Headers::new(),
        body: Some(body.as_bytes().to_vec()),
    })
}

fn is_stale(host: &Host) -> bool {
    host.header("x-cache").as_deref() == Some("STALE")
}

#[test]
fn what_has_expired_is_served_at_once_and_refreshed_by_the_same_request() {
    let worker = worker(WINDOWS);
    let extra = [
        ("x-team", "red"),
        ("accept-encoding", "br"),
        ("content-length", "27"),
        ("transfer-encoding", "chunked"),
    ];
    let mut host = late(&worker, &post(&extra), 1_500);
    assert!(is_stale(&host));
    assert_eq!(
        host.header("cache-status").unwrap(),
        "envoy-llm-cache; hit; ttl=-2; detail=memory"
    );
    assert_eq!(host.header("age").unwrap(), "3601");
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Stale(StaleBecause::Revalidating))
    );

    let (token, callout) = refresh(&host);
    assert_eq!(
        (callout.cluster.as_str(), callout.body.as_slice()),
        ("upstream", ASK_JSON.as_bytes())
    );
    let mut names: Vec<_> = callout
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    let kept = [
        ":authority",
        ":method",
        ":path",
        "authorization",
        "content-type",
        "x-team",
    ];
    assert_eq!(names, kept);

    host.now = NOW + HOUR + 2_000;
    assert!(!is_given_back(&host));
    let newer = JSON.replace("Hi", "Hello");
    called(&mut host, token, reply(200, &newer));
    let stored = Report::Answer(AnswerResult::Stored);
    assert!(worker.host.reports.borrow().contains(&stored));
    assert!(is_given_back(&host));

    let now = host.now;
    let mut host = Host::with_memory_of(&worker, &host);
    host.now = now;
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert_eq!(host.reply().unwrap().body.as_bytes(), newer.as_bytes());
}

#[test]
fn one_refresh_per_key_goes_on_at_a_time() {
    let worker = worker(WINDOWS);
    let first = late(&worker, &post(&[]), 1);
    assert_eq!(sent(&first).len(), 1);
    // Of the same worker, of another one, and where no lease can be had.
    for (worker, refused) in [
        (&worker, None),
        (&self::worker(WINDOWS), None),
        (&self::worker(WINDOWS), Some(LEASES)),
    ] {
        let mut host = Host::with_memory_of(worker, &first);
        host.memory.refused.set(refused);
        host.now = first.now;
        host.request(&post(&[]), ASK_JSON);
        assert!(is_stale(&host));
        assert!(sent(&host).is_empty());
    }
}

#[test]
fn a_request_goes_itself_where_no_callout_can_be_made_of_it() {
    for (odd, seen) in [
        (&[0xff][..], true),
        // What the route makes of such requests is not known.
        (b"text", false),
    ] {
        let worker = worker(WINDOWS);
        let mut host = due(&worker, &post(&[]), 1);
        let mut headers = headers(&post(&[]));
        headers.push("x-odd", odd);
        if seen {
            let by = Attributes::read(by_upstream(), &[]);
            worker.routes.observe(&headers, &headers, &by);
        }
        host.raw_request_headers(headers);
        host.request_body(ASK_JSON);
        assert!(!host.holds_request() && host.reply().is_none());
        host.response_headers(&ok("application/json", &[]), true);
        assert_eq!(
            host.header("cache-status").unwrap(),
            "envoy-llm-cache; fwd=stale"
        );
        host.response_body(JSON, true);
        assert_eq!(host.answer_result(), Some(AnswerResult::Stored));
        assert!(is_given_back(&host));
    }
}

#[test]
fn a_refused_refresh_has_requests_go_in_its_place_for_a_minute() {
    for (result, by_request) in [
        (reply(404, ""), true),
        (Err(CalloutFault::NotSent), true),
        (Err(CalloutFault::NoReply), false),
        (reply(500, ""), false),
        (reply(429, ""), false),
        (reply(200, "{\"choices\":["), false),
    ] {
        let worker = worker(r#"{"stale_while_revalidate": "2m"}"#);
        let mut host = late(&worker, &post(&[]), 1);
        let (token, _) = refresh(&host);
        called(&mut host, token, result);
        assert!(!matches!(lease_of(&host), Joined::Held { .. }));
        for (later, by_request) in [(1_000, by_request), (60_000, false)] {
            let mut host = late(&worker, &post(&[]), 1 + later);
            assert_eq!(host.reply().is_none(), by_request);
            host.close();
            let (key, _) = host.stored().unwrap();
            sent(&host);
            worker
                .refreshes
                .ended(&key, Ok(200), UnixMillis::from_millis(host.now));
        }
    }
}

#[test]
fn refreshes_under_way_are_bounded_and_who_has_its_share_goes_itself() {
    let worker = worker(WINDOWS);
    let refreshed = |caller: &'static str, n: usize| {
        let body = format!(r#"{{"model":"m","messages":[{n}]}}"#);
        let (request, response) = (
            post(&[("authorization", caller)]),
            ok("application/json", &[]),
        );
        let first = miss(&worker, &request, &body, &response, JSON);
        let mut host = Host::with_memory_of(&worker, &first);
        observe(&worker, &headers(&request));
        host.now = NOW + HOUR;
        host.memory.refused.set(None);
        host.request(&request, &body);
        let told = host.reported(|report| match report {
            Report::Refresh(result) => Some(*result),
            _ => None,
        });
        assert_eq!(is_stale(&host), told == Some(RefreshResult::Sent));
        if told == Some(RefreshResult::Busy) {
            assert!(!host.holds_request(), "it has gone to the upstream");
            host.response_headers(&response, true);
            host.response_body(JSON, true);
            assert_eq!(host.answer_result(), Some(AnswerResult::Stored));
        }
        told.unwrap()
    };
    let slow: Vec<_> = (0..20).map(|n| refreshed("Bearer slow", n)).collect();
    assert_eq!(
        slow,
        [
            [RefreshResult::Sent; 16].as_slice(),
            &[RefreshResult::Busy; 4]
        ]
        .concat()
    );
    worker.settle(&without_leases());
    assert_eq!(worker.take_calls().len(), 16);
    // All of the slow caller's are under way yet.
    assert_eq!(refreshed("Bearer other", 1), RefreshResult::Sent);
    worker.settle(&without_leases());
    assert_eq!(worker.take_calls().len(), 1);
}

#[test]
fn a_refresh_with_trailers_that_tell_of_an_error_stores_nothing() {
    for (trailer, stores) in [("server-timing", true), ("x-stream-error", false)] {
        let worker = worker(WINDOWS);
        let mut host = late(&worker, &post(&[]), 1);
        let (_, old) = host.stored().unwrap();
        let (token, _) = refresh(&host);
        let mut result = reply(200, JSON);
        if let Ok(reply) = &mut result {
            reply.trailers.push(trailer, "1");
        }
        called(&mut host, token, result);
        let (_, new) = host.stored().unwrap();
        assert_eq!(new != old, stores, "{trailer}");
    }
}

#[test]
fn a_request_that_goes_in_the_place_of_a_refresh_has_what_expired_to_fall_back_on() {
    let worker = worker(r#"{"stale_while_revalidate": "10s"}"#);
    let mut host = due(&worker, &post(&[]), 1);
    let (came, sent) = (post(&[]), post(&[(":path", "/other")]));
    let by = Attributes::read(by_upstream(), &[]);
    worker.routes.observe(&headers(&came), &headers(&sent), &by);
    host.request(&came, ASK_JSON);
    assert!(host.reply().is_none() && !host.holds_request());
    host.response_headers(&ok("application/json", &[(":status", "503")]), true);
    assert!(is_stale(&host));
}

#[test]
fn a_store_behind_http_is_asked_before_the_upstream_and_after_the_client_is_served() {
    let config = r#"{"stale_while_revalidate": "10s",
        "store": {"http": {"cluster": "s3", "protocol": "rest"}}}"#;
    let mut later = Host::new(&default_worker());
    later.now = NOW + HOUR;
    later.request(&post(&[]), ASK_JSON);
    later.response_headers(&ok("application/json", &[]), true);
    later.response_body(JSON, true);
    let (_, newer) = later.stored().unwrap();
    // The last: the memory does not take the copy.
    for (found, refused, asks_upstream) in [
        (Some(&newer), None, false),
        (None, None, true),
        (Some(&newer), Some("llm-cache/64/"), false),
    ] {
        let worker = worker(config);
        let mut host = Host::with_memory_of(&worker, &json_miss(&default_worker()));
        observe(&worker, &headers(&post(&[])));
        host.now = NOW + HOUR + 1;
        host.memory.refused.set(None);
        host.request(&post(&[]), ASK_JSON);
        assert!(is_stale(&host));
        let (token, lookup) = refresh(&host);
        assert_eq!(lookup.cluster, "s3");
        let result = Ok(CalloutReply {
            status: if found.is_some() { 200 } else { 404 },
            headers: Headers::new(),
            trailers: Headers::new(),
            body: found.cloned().or(Some(vec![])),
        });
        host.memory.refused.set(refused);
        called(&mut host, token, result);
        host.memory.refused.set(None);
        let next = worker.take_calls();
        assert_eq!(next.len(), usize::from(asks_upstream));
        assert!(next.iter().all(|(_, call)| call.cluster == "upstream"));
        let (_, stored) = host.stored().unwrap();
        assert_eq!(stored == newer, !asks_upstream && refused.is_none());
        assert_eq!(is_given_back(&host), !asks_upstream);
    }
}

#[test]
fn a_refresh_that_ends_with_its_worker_gives_its_lease_back() {
    let worker = worker(WINDOWS);
    let host = late(&worker, &post(&[]), 1);
    let (_token, _callout) = refresh(&host);
    assert!(!is_given_back(&host));
    // Its streams may outlive it.
    worker.outside(&host.memory, WorkerContext::close);
    assert!(is_given_back(&host));
}

#[test]
fn nothing_is_stale_beyond_its_window_or_unless_configured() {
    for (config, late_by, miss) in [
        ("{}", 0, Miss::Expired),
        (WINDOWS, 60_000, Miss::Expired),
        (
            r#"{"stale_while_revalidate": "10s"}"#,
            10_000,
            Miss::Expired,
        ),
    ] {
        let worker = worker(config);
        let host = late(&worker, &post(&[]), late_by);
        assert_eq!(host.request_result(), Some(RequestResult::Miss(miss)));
    }
    let worker = worker(WINDOWS);
    let host = late(&worker, &post(&[("cache-control", "max-age=60")]), 1);
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::MaxAge))
    );
}

#[test]
fn an_upstream_that_fails_is_stood_in_for() {
    for (status, via_upstream, stands_in) in [
        ("500", true, true),
        ("503", true, true),
        ("429", true, true),
        ("502", false, true),
        ("503", false, true),
        ("504", false, true),
        ("429", false, false),
        ("500", false, false),
        ("400", true, false),
        ("401", true, false),
        ("404", true, false),
        ("200", true, false),
    ] {
        let worker = worker(WINDOWS);
        let before = worker.budget.left();
        let mut host = late(&worker, &post(&[]), 15_000);
        assert_eq!(host.request_result(), None, "it is not known yet");
        assert!(worker.budget.left() < before);
        host.response_headers(
            &ok("application/json", &[(":status", status)]),
            via_upstream,
        );
        assert_eq!(is_stale(&host), stands_in, "{status} {via_upstream}");
        if stands_in {
            assert_eq!(
                host.header("cache-status").unwrap(),
                format!(
                    "envoy-llm-cache; fwd=stale; fwd-status={status}; ttl=-15; detail=stale_if_error"
                )
            );
            let failed = RequestResult::Stale(StaleBecause::UpstreamFailed);
            assert_eq!(host.request_result(), Some(failed));
            // The stream keeps the headers that came, until it is logged.
            drop(host);
            assert_eq!(worker.budget.left(), before);
        } else {
            assert_eq!(
                host.request_result(),
                Some(RequestResult::Miss(Miss::Expired))
            );
        }
    }
}

#[test]
fn nothing_stands_in_where_the_upstream_is_not_asked() {
    let worker = worker(WINDOWS);
    let only = post(&[("cache-control", "only-if-cached")]);
    let host = late(&worker, &only, 15_000);
    assert_eq!(host.reply().unwrap().status, 504);
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Expired))
    );
}

#[test]
fn what_stands_in_is_charged_to_the_budget_or_does_not() {
    let stored = json_miss(&worker("{}"));
    let worker = worker(r#"{"stale_if_error": "1m"}"#);
    let mut host = Host::with_memory_of(&worker, &stored);
    host.now = NOW + HOUR;
    let _others = host.request_without_room(&post(&[]), ASK_JSON);
    let full = RequestResult::Miss(Miss::CaptureLimit);
    assert_eq!(host.request_result(), Some(full));
    host.response_headers(&ok("application/json", &[(":status", "500")]), true);
    assert!(!is_stale(&host));
    assert_eq!(
        host.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=stale; detail=capture_limit"
    );
}

#[test]
fn entries_are_kept_as_long_as_they_are_of_use() {
    let memory = r#""store": {"memory": {"max_bytes": "1MiB"}}"#;
    let windows = r#""stale_while_revalidate": "10s", "stale_if_error": "1m""#;
    for (config, window) in [(memory, 0), (&format!("{memory}, {windows}"), 60)] {
        let worker = worker(&format!("{{{config}}}"));
        let expires = NOW + HOUR + window * 1_000;
        for (now, evicted) in [(expires - 1_000, 1), (expires, 0)] {
            let (now, later) = (
                UnixMillis::from_millis(now),
                UnixMillis::from_millis(u64::MAX),
            );
            let host = json_miss(&worker);
            let store = worker.memory.as_ref().unwrap();
            // One more than there is room for. Only what is of use yet counts as evicted.
            let evictions = (0..=u8::MAX).map(|number| {
                let inserted = store.insert(&host.memory, &[number; 32], b"x", now, later);
                inserted.unwrap()
            });
            assert_eq!(evictions.sum::<u32>(), evicted, "{config} {now:?}");
        }
    }
}

#[test]
fn jitter_shortens_lifetimes_and_never_lengthens_them() {
    let worker = worker(r#"{"ttl_jitter": "10%"}"#);
    let lifetimes: Vec<_> = (0..200)
        .map(|_| {
            let (key, entry) = json_miss(&worker).stored().unwrap();
            let seal = crate::cache::Seal::Checksum;
            crate::cache::Entry::decode(&key, entry, &seal)
                .unwrap()
                .head
                .lifetime
                .as_millis()
        })
        .collect();
    let (min, max) = (
        lifetimes.iter().min().unwrap(),
        lifetimes.iter().max().unwrap(),
    );
    let hour = u128::from(HOUR);
    assert!(*min >= hour * 9 / 10 && *max <= hour, "{min} {max}");
    assert!(
        *min < hour * 92 / 100 && *max > hour * 98 / 100,
        "{min} {max}"
    );
}
