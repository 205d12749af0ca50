//! Late: expired entries that are served while they are refreshed, or because the upstream fails.

use super::*;
use crate::attributes::Attributes;
use crate::callout::{Callout, CalloutReply, CalloutResult};

const WINDOWS: &str = r#"{"stale_while_revalidate": "10s", "stale_if_error": "1m"}"#;
const HOUR: u64 = 3_600_000;

/// A request `late` milliseconds after the entry expired that `first` stored.
fn late(worker: &Rc<Worker>, request: &Fields, late: u64) -> Host {
    let mut host = Host::new(worker);
    host.stored = json_miss(worker).stored;
    observe(worker, &headers(request));
    host.now = NOW + HOUR + late;
    host.lease = Joined::Leads(many::a_lease());
    host.request(request, ASK_JSON);
    host
}

fn default_worker() -> Rc<Worker> {
    worker("{}")
}

/// The worker sees a request pass that its route leaves alone.
fn observe(worker: &Worker, came: &Headers) {
    worker.observe(came, came, &Attributes::read(by_upstream(), &[]));
}

/// Tells what the exchange asks for to refresh.
fn read(host: &mut Host) {
    assert_eq!(host.seen.pop(), Some(Output::ReadRequest));
    let now = host.now;
    let out = host.step(Input::RequestRead {
        body: Some(ASK_JSON.as_bytes()),
        now,
    });
    host.carry_out(out, "");
}

/// The callout of a refresh, and the task that waits for its result.
fn refresh(worker: &Worker) -> (Task, Callout) {
    let mut tasks = worker.take_tasks();
    assert_eq!(tasks.len(), 1);
    let mut task = tasks.remove(0);
    let mut out = Vec::new();
    task.handle(Input::Begin { now: NOW }, worker, &mut out);
    match out.remove(0) {
        Output::Call(callout) => (task, callout),
        other => panic!("{other:?}"),
    }
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
    read(&mut host);
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

    let (mut task, callout) = refresh(&worker);
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

    let now = NOW + HOUR + 2_000;
    let newer = JSON.replace("Hi", "Hello");
    let mut out = Vec::new();
    let result = reply(200, &newer);
    task.handle(Input::Called { result, now }, &worker, &mut out);
    let Some(Output::Insert { key, entry, .. }) = out.pop() else {
        panic!("{out:?}")
    };
    task.handle(Input::Inserted(Ok(0)), &worker, &mut out);
    assert!(out.contains(&Output::Report(Report::stored())));
    assert!(matches!(
        out.last(),
        Some(Output::GiveBack {
            unstorable_for: 0,
            ..
        })
    ));

    let mut host = Host::new(&worker);
    host.stored = Some((key, entry));
    host.now = now;
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert_eq!(host.reply.unwrap().body.as_bytes(), newer.as_bytes());
}

#[test]
fn one_refresh_per_key_goes_on_at_a_time() {
    let worker = worker(WINDOWS);
    let mut first = late(&worker, &post(&[]), 1);
    read(&mut first);
    for (lease, here) in [
        (Joined::Held { until: NOW }, false),
        (Joined::Unstorable, false),
        (Joined::Unavailable, false),
        (Joined::Leads(many::a_lease()), true),
    ] {
        let worker = if here {
            Rc::clone(&worker)
        } else {
            self::worker(WINDOWS)
        };
        let mut host = Host::new(&worker);
        host.stored = first.stored.clone();
        host.now = first.now;
        host.lease = lease;
        host.request(&post(&[]), ASK_JSON);
        assert!(is_stale(&host), "{lease:?}");
        assert_eq!(
            worker.take_tasks().len(),
            usize::from(here),
            "the first's alone"
        );
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
        let request = post(&[]);
        let mut host = Host::new(&worker);
        host.request(&request, ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, true);
        let stored = host.stored.take();
        let mut host = Host::new(&worker);
        host.stored = stored;
        let mut headers = headers(&request);
        headers.push("x-odd", odd);
        if seen {
            let by = Attributes::read(host.attributes.clone(), &[]);
            worker.observe(&headers, &headers, &by);
        }
        host.now = NOW + HOUR + 1;
        host.lease = Joined::Leads(many::a_lease());
        let out = host.step(Input::RequestHeaders {
            headers,
            end_of_stream: false,
        });
        host.carry_out(out, ASK_JSON);
        let out = host.step(Input::RequestBody {
            held: ASK_JSON.len(),
            end_of_stream: true,
        });
        host.carry_out(out, ASK_JSON);
        read(&mut host);
        assert!(!host.exchange.holds_request() && host.reply.is_none());
        host.response_headers(&ok("application/json", &[]), true);
        assert_eq!(
            host.header("cache-status").unwrap(),
            "envoy-llm-cache; fwd=stale"
        );
        host.response_body(JSON, true);
        assert_eq!(host.answer_result(), Some(AnswerResult::Stored));
        let gives_back = |output: &Output| matches!(output, Output::GiveBack { .. });
        assert!(host.seen.iter().any(gives_back));
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
        let worker = worker(WINDOWS);
        let mut host = late(&worker, &post(&[]), 1);
        read(&mut host);
        let (mut task, _) = refresh(&worker);
        let now = host.now;
        let mut out = Vec::new();
        task.handle(Input::Called { result, now }, &worker, &mut out);
        assert!(
            matches!(out.last(), Some(Output::GiveBack { .. })),
            "{out:?}"
        );
        for (later, by_request) in [(1_000, by_request), (60_000, false)] {
            let mut host = late(&worker, &post(&[]), 1);
            assert_eq!(host.seen.pop(), Some(Output::ReadRequest));
            let out = host.step(Input::RequestRead {
                body: Some(b"{}"),
                now: now + later,
            });
            host.carry_out(out, "");
            assert_eq!(host.reply.is_none(), by_request);
            host.close();
            worker.take_tasks();
            worker
                .refreshes
                .ended(&host.stored.unwrap().0, Ok(200), now);
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
        let mut host = Host::new(&worker);
        host.stored = miss(&worker, &request, &body, &response, JSON).stored;
        observe(&worker, &headers(&request));
        host.now = NOW + HOUR;
        host.lease = Joined::Leads(many::a_lease());
        host.request(&request, &body);
        read(&mut host);
        let told = host.seen.iter().find_map(|output| match output {
            Output::Report(Report::Refresh(result)) => Some(*result),
            _ => None,
        });
        assert_eq!(is_stale(&host), told == Some(RefreshResult::Sent));
        if told == Some(RefreshResult::Busy) {
            assert!(
                !host.exchange.holds_request(),
                "it has gone to the upstream"
            );
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
    assert_eq!(worker.take_tasks().len(), 16);
    // All of the slow caller's are under way yet.
    assert_eq!(refreshed("Bearer other", 1), RefreshResult::Sent);
    assert_eq!(worker.take_tasks().len(), 1);
}

#[test]
fn a_refresh_with_trailers_that_tell_of_an_error_stores_nothing() {
    for (trailer, stores) in [("server-timing", true), ("x-stream-error", false)] {
        let worker = worker(WINDOWS);
        let mut host = late(&worker, &post(&[]), 1);
        read(&mut host);
        let (mut task, _) = refresh(&worker);
        let mut result = reply(200, JSON);
        if let Ok(reply) = &mut result {
            reply.trailers.push(trailer, "1");
        }
        let mut out = Vec::new();
        task.handle(Input::Called { result, now: NOW }, &worker, &mut out);
        let inserts = |output: &Output| matches!(output, Output::Insert { .. });
        assert_eq!(out.iter().any(inserts), stores, "{trailer}");
    }
}

#[test]
fn a_request_that_goes_in_the_place_of_a_refresh_has_what_expired_to_fall_back_on() {
    let worker = worker(r#"{"stale_while_revalidate": "10s"}"#);
    let mut host = late(&worker, &post(&[]), 1);
    let (came, sent) = (post(&[]), post(&[(":path", "/other")]));
    let by = Attributes::read(by_upstream(), &[]);
    worker.observe(&headers(&came), &headers(&sent), &by);
    read(&mut host);
    assert!(host.reply.is_none() && !host.exchange.holds_request());
    host.response_headers(&ok("application/json", &[(":status", "503")]), true);
    assert!(is_stale(&host));
}

#[test]
fn a_store_behind_http_is_asked_before_the_upstream_and_after_the_client_is_served() {
    let config = r#"{"stale_while_revalidate": "10s",
        "store": {"http": {"cluster": "s3", "protocol": "rest"}}}"#;
    let newer = json_miss(&default_worker()).stored.unwrap().1;
    for (found, asks_upstream) in [(Some(&newer), false), (None, true)] {
        let worker = worker(config);
        let mut host = Host::new(&worker);
        host.stored = json_miss(&default_worker()).stored;
        observe(&worker, &headers(&post(&[])));
        host.now = NOW + HOUR + 1;
        host.lease = Joined::Leads(many::a_lease());
        host.request(&post(&[]), ASK_JSON);
        read(&mut host);
        assert!(is_stale(&host));
        let (mut task, lookup) = refresh(&worker);
        assert_eq!(lookup.cluster, "s3");
        let result = Ok(CalloutReply {
            status: if found.is_some() { 200 } else { 404 },
            headers: Headers::new(),
            trailers: Headers::new(),
            body: found.cloned().or(Some(vec![])),
        });
        let mut out = Vec::new();
        task.handle(Input::Called { result, now: NOW }, &worker, &mut out);
        match out.pop() {
            Some(Output::Call(callout)) => {
                assert!(asks_upstream && callout.cluster == "upstream");
            }
            Some(Output::Insert { entry, .. }) => {
                assert!(!asks_upstream && entry == newer);
                task.handle(Input::Inserted(Ok(0)), &worker, &mut out);
                assert!(matches!(out.last(), Some(Output::GiveBack { .. })));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refresh_that_ends_with_its_worker_gives_its_lease_back() {
    let worker = worker(WINDOWS);
    let mut host = late(&worker, &post(&[]), 1);
    read(&mut host);
    let (task, _) = refresh(&worker);
    let mut out = Vec::new();
    task.abandon(&worker, &mut out);
    assert!(matches!(
        out.as_slice(),
        [Output::GiveBack {
            kind: LeaseKind::Refresh,
            unstorable_for: 0,
            ..
        }]
    ));
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
            // What the route is watched by is the host's to let go.
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
    assert_eq!(host.reply.as_ref().unwrap().status, 504);
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Expired))
    );
}

#[test]
fn what_stands_in_is_charged_to_the_budget_or_does_not() {
    let stored = json_miss(&worker("{}")).stored;
    let worker = worker(r#"{"stale_if_error": "1m"}"#);
    let mut host = Host::new(&worker);
    host.stored = stored;
    host.now = NOW + HOUR;
    let _others = host.request_without_room(&worker, &post(&[]), ASK_JSON);
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
    for (config, window) in [("{}", 0), (WINDOWS, 60_000)] {
        let worker = worker(config);
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        host.response_headers(&ok("application/json", &[]), true);
        let out = host.step(Input::ResponseBody {
            chunk: Some(JSON.as_bytes()),
            size: JSON.len(),
            end_of_stream: true,
            now: NOW,
        });
        assert!(
            matches!(out[0], Output::Insert { expires, .. } if expires == NOW + HOUR + window),
            "{out:?}"
        );
    }
}

#[test]
fn jitter_shortens_lifetimes_and_never_lengthens_them() {
    let worker = worker(r#"{"ttl_jitter": "10%"}"#);
    let lifetimes: Vec<_> = (0..200)
        .map(|_| {
            let (key, entry) = json_miss(&worker).stored.unwrap();
            let seal = crate::cache::Seal::Checksum;
            crate::cache::Entry::decode(&key, entry, &seal)
                .unwrap()
                .head
                .lifetime
        })
        .collect();
    let (min, max) = (
        lifetimes.iter().min().unwrap(),
        lifetimes.iter().max().unwrap(),
    );
    assert!(*min >= HOUR * 9 / 10 && *max <= HOUR, "{min} {max}");
    assert!(
        *min < HOUR * 92 / 100 && *max > HOUR * 98 / 100,
        "{min} {max}"
    );
}
