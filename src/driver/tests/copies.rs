//! Copies of stored answers in other forms.

use super::*;

/// A stored JSON answer that has been asked for as a stream.
fn converted(worker: &Rc<TestWorker>) -> Host {
    let host = again(worker, json_miss(worker), &post(&[]), ASK_STREAM, 0);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert_eq!(host.copies().len(), 1);
    host
}

#[test]
fn what_was_converted_once_is_served_again_as_it_was() {
    let worker = worker("{}");
    let first = converted(&worker);
    let (text, fields) = (text_of(&first), first.reply().unwrap().headers.clone());
    let second = again(&worker, first, &post(&[]), ASK_STREAM, 0);
    assert_eq!(second.request_result(), Some(RequestResult::Hit));
    assert!(matches!(second.reply().unwrap().body, ReplyBody::Stored(_)));
    assert_eq!(text_of(&second), text);
    assert_eq!(second.reply().unwrap().headers, fields);
    let original = again(&worker, second, &post(&[]), ASK_JSON, 7_000);
    assert_eq!(text_of(&original), JSON);
    assert_eq!(original.header("age").unwrap(), "7");
    let later = again(&worker, original, &post(&[]), ASK_STREAM, 7_000);
    assert_eq!(later.header("age").unwrap(), "7");
    assert_eq!(later.copies().len(), 1);
}

#[test]
fn each_form_and_each_answer_has_a_copy_of_its_own() {
    let worker = worker("{}");
    let used = JSON.replace("]}", "],\"usage\":{\"total_tokens\":3}}");
    let json = ok("application/json", &[]);
    let mut host = miss(&worker, &post(&[]), ASK_JSON, &json, &used);
    for (ask, copies) in [(ASK_STREAM, 1), (ASK_USAGE, 2), (ASK_STREAM, 2)] {
        host = again(&worker, host, &post(&[]), ask, 0);
        assert_eq!(text_of(&host).contains("total_tokens"), ask == ASK_USAGE);
        assert_eq!(host.copies().len(), copies);
    }
    let other = used.replace("Hi", "Bye");
    let newer = miss(&worker, &post(&[]), ASK_JSON, &json, &other);
    let (key, entry) = newer.stored().unwrap();
    host.put(key, &entry);
    let host = again(&worker, host, &post(&[]), ASK_STREAM, 0);
    assert!(text_of(&host).contains("Bye"), "{}", text_of(&host));
}

#[test]
fn a_copy_that_is_not_as_it_was_written_is_made_anew() {
    let worker = worker("{}");
    let whole = text_of(&converted(&worker));
    let mut host = converted(&worker);
    let (key, copy) = host.copies().remove(0);
    host.put(key, &copy[..copy.len() - 1]);
    let host = again(&worker, host, &post(&[]), ASK_STREAM, 0);
    assert_eq!(text_of(&host), whole);
    assert_eq!(host.copies(), [(key, copy)]);
    let mut host = converted(&worker);
    let (_, other) = host.stored().unwrap();
    host.put(key, &other);
    let host = again(&worker, host, &post(&[]), ASK_STREAM, 0);
    assert_eq!(text_of(&host), whole, "an entry under another key");
}

#[test]
fn what_expired_is_not_copied() {
    let worker = worker(r#"{"ttl": "10s", "stale_if_error": "1h"}"#);
    let host = again(&worker, json_miss(&worker), &post(&[]), ASK_STREAM, 11_000);
    assert_ne!(host.request_result(), Some(RequestResult::Hit));
    assert!(host.copies().is_empty());
    let host = again(&worker, converted(&worker), &post(&[]), ASK_STREAM, 11_000);
    assert_ne!(host.request_result(), Some(RequestResult::Hit));
}

#[test]
fn what_there_is_no_room_to_convert_is_a_miss_that_says_so() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.remember(&json_miss(&worker));
    let others = host.request_without_room(&post(&[]), ASK_STREAM);
    let full = RequestResult::Miss(Miss::ConversionLimit);
    assert_eq!(host.request_result(), Some(full));
    host.response_headers(&ok("text/event-stream", &[]), true);
    assert_eq!(
        host.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=miss; detail=conversion_limit"
    );
    drop(others);
    let before = worker.budget.left();
    let mut host = Host::with_memory_of(&worker, &host);
    host.request(&post(&[]), ASK_STREAM);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert_eq!(worker.budget.left(), before, "it is done");
}
