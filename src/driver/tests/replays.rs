//! Answers that are stored and served again, in their own form and in the other one.

use super::*;

#[test]
fn a_json_answer_is_stored_and_served_again() {
    let worker = worker("{}");
    let first = json_miss(&worker);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(first.header("x-cache").unwrap(), "MISS");
    assert_eq!(
        first.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=uri-miss"
    );
    let second = again(&worker, first, &post(&[]), ASK_JSON, 61_000);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    assert!(second.holds_request());
    let reply = second.reply().unwrap();
    assert_eq!(
        (reply.status, reply.body.as_bytes()),
        (200, JSON.as_bytes())
    );
    assert_eq!(second.header("content-type").unwrap(), "application/json");
    assert_eq!(second.header("x-cache").unwrap(), "HIT");
    assert_eq!(second.header("age").unwrap(), "61");
    assert_eq!(
        second.header("cache-status").unwrap(),
        "envoy-llm-cache; hit; ttl=3539; detail=memory"
    );
}

#[test]
fn a_stream_is_captured_chunk_by_chunk_and_replayed_byte_for_byte() {
    let worker = worker("{}");
    let mut first = Host::new(&worker);
    first.request(&post(&[]), ASK_STREAM);
    first.response_headers(&ok("text/event-stream; charset=utf-8", &[]), true);
    for chunk in STREAM.as_bytes().chunks(5) {
        assert!(first.captures_response());
        first.response_body(std::str::from_utf8(chunk).unwrap(), false);
    }
    first.response_body("", true);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    assert_eq!(first.header("x-accel-buffering").unwrap(), "no");
    assert_eq!(worker.budget.left(), 64 << 20, "the copy is given back");
    let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    let reply = second.reply().unwrap();
    assert_eq!(reply.body.as_bytes(), STREAM.as_bytes());
    assert_eq!(second.header("x-accel-buffering").unwrap(), "no");
}

const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";

#[test]
fn a_stored_stream_answers_a_request_for_json() {
    let worker = worker("{}");
    let event_stream = ok("text/event-stream", &[("cache-control", "no-cache")]);
    let with_usage = STREAM.replace("data: [DONE]", &format!("{USAGE}data: [DONE]"));
    let first = miss(&worker, &post(&[]), ASK_USAGE, &event_stream, &with_usage);
    let second = again(&worker, first, &post(&[]), ASK_JSON, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    assert_eq!(second.header("content-type").unwrap(), "application/json");
    assert_eq!(second.header("x-accel-buffering"), None);
    let json: serde_json::Value = serde_json::from_str(&text_of(&second)).unwrap();
    assert_eq!(json["choices"][0]["message"]["content"], "Hi");
    assert_eq!(json["usage"]["total_tokens"], 3);
}

#[test]
fn a_stored_json_answer_answers_a_request_for_a_stream() {
    let worker = worker("{}");
    let first = json_miss(&worker);
    let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    let content_type = second.header("content-type").unwrap();
    assert_eq!(content_type, "text/event-stream; charset=utf-8");
    assert_eq!(second.header("cache-control").unwrap(), "no-cache");
    assert_eq!(second.header("x-accel-buffering").unwrap(), "no");
    let stream = text_of(&second);
    assert!(
        stream.contains("Hi") && stream.ends_with("data: [DONE]\n\n"),
        "{stream}"
    );
}

#[test]
fn what_would_be_lost_is_a_miss_and_the_more_general_answer_stays() {
    let worker = worker("{}");
    let event_stream = ok("text/event-stream", &[]);
    let without = || miss(&worker, &post(&[]), ASK_STREAM, &event_stream, STREAM);
    let no_usage = RequestResult::Miss(Miss::Form(crate::llm::ConversionError::NoUsage));
    // The JSON answer serves streams as well, and so takes the place of the stream.
    let mut json = again(&worker, without(), &post(&[]), ASK_JSON, 0);
    assert_eq!(json.request_result(), Some(no_usage));
    json.response_headers(&ok("application/json", &[]), true);
    json.response_body(JSON, true);
    assert_eq!(json.answer_result(), Some(AnswerResult::Stored));
    // A JSON answer with audio cannot become a stream, nor a stream without usage JSON.
    let audio = JSON.replace("\"Hi\"", "\"Hi\",\"audio\":{\"id\":\"a\"}");
    let json = ok("application/json", &[]);
    let first = miss(&worker, &post(&[]), ASK_JSON, &json, &audio);
    let mut stream = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    stream.response_headers(&event_stream, true);
    stream.response_body(STREAM, true);
    assert_eq!(
        stream.answer_result(),
        Some(not_stored(NotStored::LessGeneral))
    );
}

#[test]
fn a_hit_reports_no_usage_where_the_configuration_says_so() {
    let worker = worker(r#"{"respond": {"usage": "zero"}}"#);
    let used = JSON.replace("]}", "],\"usage\":{\"total_tokens\":3}}");
    let json = ok("application/json", &[]);
    let stored = || miss(&worker, &post(&[]), ASK_JSON, &json, &used);
    for ask in [ASK_JSON, ASK_USAGE] {
        let hit = again(&worker, stored(), &post(&[]), ask, 0);
        assert!(
            text_of(&hit).contains("\"total_tokens\":0"),
            "{}",
            text_of(&hit)
        );
    }
}

#[test]
fn only_headers_of_the_answer_itself_are_stored() {
    let worker = worker("{}");
    let response = ok(
        "application/json",
        &[
            ("set-cookie", "a=b"),
            ("x-request-id", "r"),
            ("x-ratelimit-remaining-tokens", "1"),
            ("date", "today"),
            ("openai-version", "2020-10-01"),
        ],
    );
    let first = miss(&worker, &post(&[]), ASK_JSON, &response, JSON);
    let second = again(&worker, first, &post(&[]), ASK_JSON, 0);
    let reply = second.reply().unwrap();
    let names: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "content-type",
            "openai-version",
            "x-cache",
            "cache-status",
            "age"
        ]
    );
}

#[test]
fn the_key_is_shown_only_when_asked_for() {
    for (config, shown) in [
        ("{}", false),
        (r#"{"respond": {"expose_key": true}}"#, true),
    ] {
        let worker = worker(config);
        let first = json_miss(&worker);
        assert_eq!(first.header("x-cache-key").is_some(), shown);
        let second = again(&worker, first, &post(&[]), ASK_JSON, 0);
        assert_eq!(second.header("x-cache-key").is_some(), shown);
    }
}
