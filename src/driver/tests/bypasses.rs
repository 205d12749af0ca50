//! Requests that are not cached, and why.

use super::*;

#[test]
fn requests_that_take_no_part_are_not_touched() {
    let worker = worker(r#"{"rules":[{"match":{"model":"off"},"mode":"disabled"}]}"#);
    let no_part: &[Extra<'_>] = &[
        &[(":method", "GET")],
        &[(":path", "/v1/models")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("range", "bytes=0-1")],
        &[("upgrade", "websocket")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/grpc+json")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("x-http-method-override", "DELETE")],
    ];
    for extra in no_part {
        let mut host = Host::new(&worker);
        host.request(&post(extra), ASK_JSON);
        assert!(!host.holds_request(), "{extra:?}");
        assert!(!host.awaits_response(), "{extra:?}");
        assert!(host.is_untouched(), "{extra:?}");
    }
    for body in ["", r#"{"model":"off"}"#] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), body);
        assert!(!host.holds_request() && host.is_untouched(), "{body}");
    }
}

#[test]
fn a_request_that_is_kept_out_says_why() {
    let worker = worker(
        r#"{"limits": {"max_request_bytes": "1KiB"},
            "rules": [{"match": {"path_prefix": "/t/"}, "key": {"tenant": {"header": "x-t"}}},
                      {"match": {"path_prefix": "/s/"}, "sample": 0}]}"#,
    );
    let long = format!("[{}]", " ".repeat(1_100));
    let cases: &[(Extra<'_>, &str, Bypass)] = &[
        (
            &[("content-length", "1025")],
            ASK_JSON,
            Bypass::RequestTooLarge,
        ),
        (&[], &long, Bypass::RequestTooLarge),
        (
            &[("content-length", "28")],
            ASK_JSON,
            Bypass::BodyIncomplete,
        ),
        (&[("cache-control", "no-store")], ASK_JSON, Bypass::NoStore),
        (&[("x-llm-cache-ttl", "soon")], ASK_JSON, Bypass::InvalidTtl),
        (&[("x-llm-cache-ttl", "")], ASK_JSON, Bypass::InvalidTtl),
        (
            &[(":path", "/t/chat/completions")],
            ASK_JSON,
            Bypass::NoTenant,
        ),
        (
            &[(":path", "/s/chat/completions")],
            ASK_JSON,
            Bypass::Sample,
        ),
        (
            &[],
            r#"{"stream":"yes"}"#,
            Bypass::Unfit(crate::llm::Unfit::UnclearForm),
        ),
        (&[], r#"{"web_search_options":{}}"#, Bypass::ServerTools),
    ];
    for (extra, body, reason) in cases {
        let mut host = Host::new(&worker);
        host.request(&post(extra), body);
        assert!(!host.holds_request(), "{reason:?}");
        host.response_headers(&ok("application/json", &[]), true);
        assert!(!host.captures_response(), "{reason:?}");
        assert_eq!(host.request_result(), Some(RequestResult::Bypass(*reason)));
        assert_eq!(host.answer_result(), None, "{reason:?}");
        assert_eq!(host.header("x-cache").unwrap(), "BYPASS");
        let status = format!("envoy-llm-cache; fwd=bypass; detail={}", reason.as_str());
        assert_eq!(host.header("cache-status").unwrap(), status);
    }
}

#[test]
fn requests_can_be_kept_out_by_temperature_and_let_in_with_server_tools() {
    let worker = worker(r#"{"store_if": {"max_temperature": 0.5, "server_tools": true}}"#);
    let result = |body: &str| {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), body);
        host.request_result()
    };
    let warm = Some(RequestResult::Bypass(Bypass::Temperature));
    let cool = Some(RequestResult::Miss(Miss::Absent));
    assert_eq!(result(r#"{"model":"m","temperature":0.5}"#), cool);
    assert_eq!(result(r#"{"model":"m","temperature":0}"#), cool);
    assert_eq!(result(r#"{"model":"m","temperature":0.51}"#), warm);
    assert_eq!(result(r#"{"model":"m"}"#), warm);
    assert_eq!(result(r#"{"model":"m","temperature":"0"}"#), warm);
    let searching = r#"{"model":"m","temperature":0,"web_search_options":{}}"#;
    assert_eq!(result(searching), cool);
}

#[test]
fn what_is_excluded_from_the_key_still_decides_about_the_answer() {
    let worker = worker(
        r#"{"key": {"exclude": ["/stream", "/web_search_options", "/model"]},
            "rules": [{"match": {"model": "off"}, "mode": "disabled"}]}"#,
    );
    let stream = again(&worker, json_miss(&worker), &post(&[]), ASK_STREAM, 0);
    assert!(
        text_of(&stream).starts_with("data: "),
        "a stream, as asked for"
    );
    let mut host = Host::new(&worker);
    host.request(&post(&[]), r#"{"model":"m","web_search_options":{}}"#);
    let tools = RequestResult::Bypass(Bypass::ServerTools);
    assert_eq!(host.request_result(), Some(tools));
    let mut host = Host::new(&worker);
    host.request(&post(&[]), r#"{"model":"off"}"#);
    assert_eq!(host.request_result(), None);
}

#[test]
fn what_chooses_the_form_on_one_path_is_a_part_of_the_key_on_others() {
    for (path, shares) in [
        ("/api/chat", true),
        ("/api/chat/", true),
        ("/api/embed", false),
        ("/api/embed/", false),
    ] {
        let worker = worker(r#"{"respond": {"expose_key": true}}"#);
        let key = |ask: &str| {
            let mut host = Host::new(&worker);
            host.request(&post(&[(":path", path)]), ask);
            host.response_headers(&ok("application/json", &[]), true);
            host.header("x-cache-key").unwrap()
        };
        let [plain, streaming] = [
            r#"{"model":"m","input":"a","messages":[],"stream":false}"#,
            r#"{"model":"m","input":"a","messages":[],"stream":true}"#,
        ]
        .map(key);
        assert_eq!(plain == streaming, shares, "{path}");
    }
}

#[test]
fn a_body_that_is_not_plain_json_is_cached_unless_it_may_ask_for_more() {
    let worker = worker("{}");
    let twice = r#"{"model":"m","seed":1,"seed":2}"#;
    let response = ok("application/json", &[]);
    let first = miss(&worker, &post(&[]), twice, &response, JSON);
    let second = again(&worker, first, &post(&[]), twice, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    for more in [
        r#"{"a":1,"A":2,"tools":[{"type":"web_search"}]}"#,
        r#"{"a":1,"A":2,"\u0074ools":[]}"#,
        r#"{"a":1,"A":2,"Background":true}"#,
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), more);
        let unclear = Bypass::Unfit(crate::llm::Unfit::UnclearBody);
        let expected = Some(RequestResult::Bypass(unclear));
        assert_eq!(host.request_result(), expected, "{more}");
    }
}

#[test]
fn an_upstream_that_answers_before_it_was_asked_is_left_alone() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    assert!(host.awaits_response());
    host.response_headers(&ok("application/json", &[(":status", "413")]), true);
    assert!(!host.holds_request() && host.reply().is_none());
}
