//! Hits for pages in browsers, and what else a hit says in its headers.

use super::*;

const A: &str = "https://a.example";
const B: &str = "https://b.example";

fn from(origin: &str) -> Fields {
    post(&[("origin", origin)])
}

/// What is stored after a request of these fields was answered with these headers.
fn stored_for(worker: &Rc<TestWorker>, request: &Fields, response: Extra<'_>) -> Host {
    miss(
        worker,
        request,
        ASK_JSON,
        &ok("application/json", response),
        JSON,
    )
}

#[test]
fn what_is_for_all_origins_is_a_hit_for_all_with_what_browsers_want_to_read() {
    let worker = worker("{}");
    let sharing = [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "x-request-id"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("vary", "Origin"),
    ];
    for request in [post(&[]), from(A)] {
        for (asks, body) in [
            (from(A), ASK_JSON),
            (from(B), ASK_STREAM),
            (post(&[]), ASK_JSON),
        ] {
            let first = stored_for(&worker, &request, &sharing);
            let hit = again(&worker, first, &asks, body, 0);
            assert_eq!(hit.request_result(), Some(RequestResult::Hit));
            for (name, value) in sharing {
                assert_eq!(hit.header(name).unwrap(), value.to_lowercase(), "{name}");
            }
            assert_eq!(hit.header("origin"), None);
        }
    }
}

#[test]
fn what_one_origin_got_is_a_miss_for_another() {
    let worker = worker("{}");
    let credentials = [
        ("access-control-allow-origin", A),
        ("access-control-allow-credentials", "true"),
        ("vary", "origin"),
    ];
    // The second: Envoy's cors filter, or nobody, speaks to browsers.
    for sharing in [&credentials[..], &[]] {
        let same = again(
            &worker,
            stored_for(&worker, &from(A), sharing),
            &from(A),
            ASK_JSON,
            0,
        );
        assert_eq!(same.request_result(), Some(RequestResult::Hit));
        for (name, value) in sharing {
            assert_eq!(same.header(name).as_deref(), Some(*value));
        }
        for body in [ASK_JSON, ASK_STREAM] {
            let first = stored_for(&worker, &from(A), sharing);
            let mut other = again(&worker, first, &from(B), body, 0);
            other.response_headers(&ok("application/json", &[]), true);
            assert_eq!(
                other.request_result(),
                Some(RequestResult::Miss(Miss::Origin))
            );
            assert_eq!(
                other.header("cache-status").unwrap(),
                "envoy-llm-cache; fwd=miss; detail=origin"
            );
        }
        // Who is no browser reads it all the same, and learns of no page.
        let none = again(
            &worker,
            stored_for(&worker, &from(A), sharing),
            &post(&[]),
            ASK_JSON,
            0,
        );
        assert_eq!(none.request_result(), Some(RequestResult::Hit));
        assert_eq!(none.header("access-control-allow-origin"), None);
        assert_eq!(none.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn a_copy_in_another_form_is_for_the_same_pages() {
    let worker = worker("{}");
    let sharing = [("access-control-allow-origin", A), ("vary", "origin")];
    let mut host = stored_for(&worker, &from(A), &sharing);
    // The first makes the copy, the second is served it.
    for _ in 0..2 {
        host = again(&worker, host, &from(A), ASK_STREAM, 0);
        assert_eq!(host.copies().len(), 1);
        assert_eq!(host.header("access-control-allow-origin").unwrap(), A);
        assert_eq!(host.header("origin"), None);
        host = again(&worker, host, &post(&[]), ASK_STREAM, 0);
        assert_eq!(host.request_result(), Some(RequestResult::Hit));
        assert_eq!(host.header("access-control-allow-origin"), None);
        host = again(&worker, host, &from(B), ASK_STREAM, 0);
        assert_eq!(
            host.request_result(),
            Some(RequestResult::Miss(Miss::Origin))
        );
    }
}

#[test]
fn what_was_stored_for_no_page_is_asked_for_again_by_one() {
    let worker = worker("{}");
    let first = stored_for(&worker, &post(&[]), &[]);
    let mut page = again(&worker, first, &from(A), ASK_JSON, 0);
    assert_eq!(
        page.request_result(),
        Some(RequestResult::Miss(Miss::Origin))
    );
    let answer = ok("application/json", &[("access-control-allow-origin", "*")]);
    page.response_headers(&answer, true);
    page.response_body(JSON, true);
    assert_eq!(page.answer_result(), Some(AnswerResult::Stored));
    let other = again(&worker, page, &from(B), ASK_JSON, 0);
    assert_eq!(other.request_result(), Some(RequestResult::Hit));
}

#[test]
fn the_short_way_of_one_origin_is_not_another_s() {
    let worker = worker("{}");
    let mut host = stored_for(&worker, &from(A), &[("access-control-allow-origin", A)]);
    for _ in 0..3 {
        host = again(&worker, host, &from(A), ASK_JSON, 0);
        assert_eq!(host.header("access-control-allow-origin").unwrap(), A);
        host = again(&worker, host, &post(&[]), ASK_JSON, 0);
        assert_eq!(host.request_result(), Some(RequestResult::Hit));
        assert_eq!(host.header("access-control-allow-origin"), None);
        host = again(&worker, host, &from(B), ASK_JSON, 0);
        assert_eq!(
            host.request_result(),
            Some(RequestResult::Miss(Miss::Origin))
        );
    }
}

#[test]
fn expired_answers_are_no_more_for_another_origin() {
    let worker = worker(r#"{"ttl":"1s","stale_if_error":"1h"}"#);
    let sharing = [("access-control-allow-origin", A)];
    for (origin, stands_in) in [(A, true), (B, false)] {
        let first = stored_for(&worker, &from(A), &sharing);
        let mut late = again(&worker, first, &from(origin), ASK_JSON, 5_000);
        late.response_headers(&ok("application/json", &[(":status", "503")]), true);
        assert_eq!(late.reply().is_some(), stands_in, "{origin}");
        let allowed = late.header("access-control-allow-origin");
        assert_eq!(allowed.is_some(), stands_in);
    }
}

#[test]
fn where_envoy_speaks_to_browsers_the_origin_makes_no_difference() {
    let worker = worker(r#"{"respond":{"cors":"envoy"}}"#);
    for sharing in [&[][..], &[("access-control-allow-origin", A)]] {
        for (one, other) in [(post(&[]), from(A)), (from(A), from(B))] {
            let hit = again(
                &worker,
                stored_for(&worker, &one, sharing),
                &other,
                ASK_JSON,
                0,
            );
            assert_eq!(hit.request_result(), Some(RequestResult::Hit));
            assert_eq!(hit.header("access-control-allow-origin"), None);
        }
    }
}

const INVOKE: &str = "/model/amazon.titan-text/invoke";
const ASK_TITAN: &str = r#"{"inputText":"Hi"}"#;
const TITAN: &str = r#"{"inputTextTokenCount":5,"results":[{"tokenCount":2,"outputText":"Hi","completionReason":"FINISH"}]}"#;

/// A hit of `InvokeModel`.
fn invoked(worker: &Rc<TestWorker>, extra: Extra<'_>) -> Host {
    let path = [(":path", INVOKE)];
    let request = post(&[&path[..], &[("x-request-id", "first")]].concat());
    let answer = ok(
        "application/json",
        &[
            ("x-amzn-requestid", "aws"),
            ("x-amzn-bedrock-input-token-count", "5"),
            ("x-amzn-bedrock-output-token-count", "2"),
            ("x-amzn-bedrock-cache-read-input-token-count", "1"),
            ("x-amzn-bedrock-invocation-latency", "700"),
            ("x-amzn-bedrock-service-tier", "flex"),
        ],
    );
    let first = miss(worker, &request, ASK_TITAN, &answer, TITAN);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    let request = post(&[&path[..], extra].concat());
    again(worker, first, &request, ASK_TITAN, 0)
}

#[test]
fn what_bedrock_says_in_headers_is_a_part_of_the_answer() {
    let hit = invoked(&worker("{}"), &[("x-request-id", "second")]);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
    for (name, value) in [
        ("x-amzn-bedrock-input-token-count", Some("5")),
        ("x-amzn-bedrock-output-token-count", Some("2")),
        ("x-amzn-bedrock-cache-read-input-token-count", Some("1")),
        ("x-amzn-bedrock-service-tier", Some("flex")),
        // Of the one exchange.
        ("x-amzn-bedrock-invocation-latency", None),
        // The id that Envoy gave to this request, and never another's.
        ("x-amzn-requestid", Some("second")),
        ("x-request-id", None),
    ] {
        assert_eq!(hit.header(name).as_deref(), value, "{name}");
    }
    assert_eq!(text_of(&hit), TITAN);
    let long = "i".repeat(200);
    for extra in [&[][..], &[("x-request-id", long.as_str())]] {
        assert_eq!(
            invoked(&worker("{}"), extra).header("x-amzn-requestid"),
            None
        );
    }
}

#[test]
fn counts_in_headers_are_zero_where_usage_is() {
    let worker = worker(r#"{"respond":{"usage":"zero"}}"#);
    let mut hit = invoked(&worker, &[]);
    for _ in 0..2 {
        assert_eq!(hit.header("x-amzn-bedrock-input-token-count").unwrap(), "0");
        assert_eq!(hit.header("x-amzn-bedrock-service-tier").unwrap(), "flex");
        assert!(!text_of(&hit).contains('5'), "{}", text_of(&hit));
        // From the copy that the memory keeps.
        hit = again(&worker, hit, &post(&[(":path", INVOKE)]), ASK_TITAN, 0);
    }
}
