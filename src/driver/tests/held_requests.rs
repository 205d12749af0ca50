//! Requests that are held until their key is known, and the room that they may take.

use super::*;

#[test]
fn a_body_that_grows_over_the_limit_is_let_go_before_it_is_complete() {
    let worker = worker(r#"{"limits": {"max_request_bytes": "1KiB"}}"#);
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    assert!(host.holds_request());
    let grow = |host: &mut Host, held| {
        host.call(|stream| stream.request_body(held, false));
    };
    grow(&mut host, 1_024);
    assert!(host.holds_request());
    grow(&mut host, 1_025);
    assert!(!host.holds_request());
}

#[test]
fn request_trailers_complete_the_body() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    let body = ASK_JSON.as_bytes();
    host.fake.request_body.replace(Some(body.to_vec()));
    assert!(host.call(|stream| stream.request_body(body.len(), false)));
    assert!(!host.call(StreamContext::request_trailers));
    assert!(!host.holds_request() && host.awaits_response());
}

#[test]
fn headers_are_held_only_where_the_configuration_says_so() {
    for (config, held) in [("{}", false), (r#"{"hold_headers": true}"#, true)] {
        let mut host = Host::new(&worker(config));
        let headers = headers(&post(&[("content-length", "27")]));
        assert_eq!(host.raw_request_headers(headers), held);
        assert!(host.holds_request());
    }
}

#[test]
fn headers_are_not_held_for_a_body_of_unknown_length() {
    let mut host = Host::new(&worker(r#"{"hold_headers": true}"#));
    host.request(&post(&[]), ASK_JSON);
    let unknown = RequestResult::Bypass(Bypass::UnknownLength);
    assert_eq!(host.request_result(), Some(unknown));
    assert!(!host.holds_request());
}

#[test]
fn a_body_of_another_length_than_held_has_no_key() {
    let mut host = Host::new(&worker("{}"));
    host.request_headers(&post(&[]));
    let body = ASK_JSON.as_bytes();
    host.fake.request_body.replace(Some(body.to_vec()));
    host.call(|stream| stream.request_body(body.len() + 1, true));
    let incomplete = RequestResult::Bypass(Bypass::BodyIncomplete);
    assert_eq!(host.request_result(), Some(incomplete));
}

/// A request with much more in its headers than decides.
fn padded(extra: Extra<'_>) -> Fields {
    let mut fields = post(extra);
    fields.extend(std::iter::repeat_n(("x-pad", "v".repeat(3_900)), 15));
    fields
}

#[test]
fn a_request_that_is_held_keeps_no_header_but_those_that_matter_later() {
    let worker = worker("{}");
    let all = worker.budget.left();
    let mut host = Host::new(&worker);
    host.request_headers(&padded(&[("accept-encoding", "gzip")]));
    assert!(all - worker.budget.left() < 3 << 10);
    drop(host);
    assert_eq!(worker.budget.left(), all);
    // What is kept is all that an answer depends on.
    let gzipped = ok("application/json", &[("content-encoding", "gzip")]);
    let mut first = Host::new(&worker);
    first.request(&padded(&[("accept-encoding", "gzip")]), ASK_JSON);
    first.response_headers(&gzipped, true);
    first.response_bytes(&gzip(JSON), true);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    for (accepted, coding) in [("gzip", Some("gzip")), ("br", None)] {
        let request = padded(&[("accept-encoding", accepted)]);
        let mut host = Host::with_memory_of(&worker, &first);
        host.request(&request, ASK_JSON);
        assert_eq!(host.request_result(), Some(RequestResult::Hit));
        assert_eq!(host.header("content-encoding").as_deref(), coding);
    }
    let mut other = Host::with_memory_of(&worker, &first);
    let authorization = [("authorization", "Bearer another")];
    other.request(&padded(&authorization), ASK_JSON);
    assert!(other.reply().is_none(), "what decides is kept");
}

#[test]
fn requests_that_begin_and_do_not_end_are_followed_only_as_long_as_there_is_room() {
    let huge = "Bearer ".to_owned() + &"k".repeat(50_000);
    for (extra, config, at_least) in [
        (&[][..], "{}", 12_000),
        (&[("authorization", huge.as_str())], "{}", 500),
        (&[("x-pad", huge.as_str())], "{}", 12_000),
        (
            &[("x-pad", huge.as_str())],
            r#"{"stale_while_revalidate": "1m"}"#,
            250,
        ),
    ] {
        let worker = worker(config);
        let mut held = Vec::new();
        let refused = loop {
            let mut host = Host::new(&worker);
            host.request_headers(&post(extra));
            if !host.holds_request() {
                break host;
            }
            held.push(host);
        };
        assert!(held.len() > at_least, "{}", held.len());
        let limit = RequestResult::Bypass(Bypass::CaptureLimit);
        assert_eq!(refused.request_result(), Some(limit));
        // It goes on to the upstream, and its client is told why.
        assert!(refused.reply().is_none() && refused.awaits_response());
        // Others have a part of what this caller had to leave.
        let authorization = [("authorization", "Bearer another")];
        let mut other = Host::new(&worker);
        other.request(&post(&authorization), ASK_JSON);
        let absent = RequestResult::Miss(Miss::Absent);
        assert_eq!(other.request_result(), Some(absent));
        drop(other);
        held.clear();
        assert_eq!(worker.budget.left(), 64 << 20);
        let mut host = Host::new(&worker);
        host.request(&post(extra), ASK_JSON);
        assert_eq!(host.request_result(), Some(absent));
    }
}

#[test]
fn slow_answers_of_one_caller_leave_room_for_those_of_another() {
    let worker = worker("{}");
    let begin = |caller: &str, sent: usize| {
        let mut host = Host::new(&worker);
        host.request(&post(&[("authorization", caller)]), ASK_JSON);
        let length = [("content-length", "10485760")];
        host.response_headers(&ok("application/json", &length), true);
        host.response_body(&"x".repeat(sent), false);
        host
    };
    let length = 10 << 20;
    let promised: Vec<_> = (0..100).map(|_| begin("Bearer one", 1)).collect();
    assert!(promised.iter().all(|host| host.captures_response()));
    assert!(
        worker.budget.left() > 63 << 20,
        "what has not come takes no room"
    );
    drop(promised);
    let slow: Vec<_> = (0..7).map(|_| begin("Bearer one", length - 1)).collect();
    let captured = slow.iter().filter(|host| host.captures_response());
    assert_eq!(captured.count(), 3, "half of 64 MiB");
    let limit = AnswerResult::NotStored(NotStored::CaptureLimit);
    assert_eq!(slow.last().unwrap().answer_result(), Some(limit));
    let other = begin("Bearer two", length - 1);
    assert!(other.captures_response());
    drop((slow, other));
    assert_eq!(worker.budget.left(), 64 << 20);
}

#[test]
fn a_request_keeps_its_place_until_its_answer_has_passed() {
    let worker = worker("{}");
    let all = worker.budget.left();
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    let forwarded = worker.budget.left();
    assert!(forwarded < all);
    host.response_headers(&ok("application/json", &[]), true);
    let (first, rest) = JSON.split_at(20);
    host.response_body(first, false);
    assert!(worker.budget.left() < forwarded);
    host.response_body(rest, true);
    assert_eq!(host.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(worker.budget.left(), all);
}
