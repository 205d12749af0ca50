//! The store behind HTTP, as an exchange and its worker see it.

use super::*;
use std::time::Duration;

use crate::cache::{Entry, NewEntry, Seal, UpstreamCost, encode};
use crate::callout::CalloutReply;
use crate::llm::{Form, Framing};
use crate::store::BreakerState;

const WEBDIS: &str = r#""http": {"cluster": "cache", "protocol": "webdis",
    "breaker": {"failures": 2, "min_open": "1s", "max_open": "1s"}"#;

/// With the memory as well.
fn both(more: &str) -> Rc<TestWorker> {
    worker(&format!(r#"{{"store": {{{WEBDIS}{more}}}}}}}"#))
}

fn http_only(more: &str) -> Rc<TestWorker> {
    worker(&format!(
        r#"{{"store": {{"memory": null, {WEBDIS}{more}}}}}}}"#
    ))
}

fn reply(status: u16, body: &[u8]) -> CalloutResult {
    Ok(CalloutReply {
        status,
        headers: Headers::new(),
        trailers: Headers::new(),
        body: Some(body.to_vec()),
    })
}

/// What the worker sends in the background: callouts and their tokens.
fn sent(worker: &TestWorker) -> Vec<(u32, Callout)> {
    sent_at(worker, NOW)
}

fn sent_at(worker: &TestWorker, now: u64) -> Vec<(u32, Callout)> {
    worker.take_calls();
    worker.host.now.set(now);
    worker.settle(&without_leases());
    worker.take_calls()
}

/// What is reported when the callout of this token has come to this.
fn reported(worker: &TestWorker, token: u32, result: CalloutResult) -> Vec<Report> {
    worker.host.reports.take();
    let called = |context: &WorkerContext| context.called(token, |_| result);
    worker.outside(&without_leases(), called);
    worker.host.reports.take()
}

fn path(callout: &Callout) -> &str {
    let path = callout.headers.iter().find(|(name, _)| name == ":path");
    &path.unwrap().1
}

/// A whole exchange with the upstream, whose lookup found nothing, and what it wrote.
fn written(worker: &Rc<TestWorker>) -> (Host, Vec<(u32, Callout)>) {
    let mut host = Host::new(worker);
    host.request(&post(&[]), ASK_JSON);
    host.called(reply(404, b""));
    host.response_headers(&ok("application/json", &[]), true);
    host.response_body(JSON, true);
    host.close();
    (host, sent(worker))
}

fn only_entry(worker: &Rc<TestWorker>) -> Vec<u8> {
    let (_, mut sent) = written(worker);
    assert_eq!(sent.len(), 1);
    sent.remove(0).1.body
}

#[test]
fn the_memory_is_asked_first_and_then_the_store_while_the_request_waits() {
    let worker = both("");
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    assert!(path(host.callout().unwrap()).starts_with("/GET/%2Fllm-cache%2F"));
    assert!(host.holds_request() && host.awaits_response());
    host.called(reply(404, b""));
    assert!(!host.holds_request());
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Absent))
    );
}

#[test]
fn an_answer_goes_to_both_stores_and_is_a_hit_from_either() {
    let worker = both("");
    let (first, sent) = written(&worker);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    let [(_, write)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    let (key, in_memory) = first.stored().unwrap();
    assert_eq!(path(write), format!("/SETEX/%2Fllm-cache%2F{key}/3600"));
    assert_eq!(write.body, in_memory);

    let from_memory = again(&worker, first, &post(&[]), ASK_JSON, 0);
    assert_eq!(from_memory.callout(), None);
    assert!(
        from_memory
            .header("cache-status")
            .unwrap()
            .ends_with("detail=memory")
    );

    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.called(reply(200, &write.body));
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert!(
        host.header("cache-status")
            .unwrap()
            .ends_with("detail=http")
    );
    assert_eq!(host.reply().unwrap().body.as_bytes(), JSON.as_bytes());
    assert_eq!(host.stored(), Some((key, in_memory)), "a copy is in memory");
    host.close();
    assert_eq!(host.answer_result(), None, "a copy is no answer");
}

#[test]
fn without_memory_the_answer_is_stored_all_the_same() {
    let worker = http_only("");
    let (first, sent) = written(&worker);
    assert_eq!(first.answer_result(), Some(AnswerResult::Stored));
    assert_eq!((first.stored(), sent.len()), (None, 1));
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.called(reply(200, &sent[0].1.body));
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert_eq!(host.stored(), None);
}

#[test]
fn whatever_the_store_does_is_a_miss_with_a_reason() {
    let worker = both(r#", "max_entry_bytes": "1KiB""#);
    let entry = only_entry(&worker);
    let mut other = entry.clone();
    other[30] ^= 1;
    let mut newer = entry.clone();
    newer[4] += 1;
    let too_long = Ok(CalloutReply {
        status: 200,
        headers: Headers::new(),
        trailers: Headers::new(),
        body: None,
    });
    for (result, miss) in [
        (reply(404, b""), Miss::Absent),
        (reply(200, b""), Miss::Unusable),
        (reply(200, b"<html>"), Miss::Unusable),
        (reply(200, &entry[..entry.len() - 1]), Miss::Unusable),
        (reply(200, &other), Miss::Unusable),
        (reply(200, &newer), Miss::Unusable),
        (too_long, Miss::Store(StoreFault::TooLarge)),
        (reply(403, b""), Miss::Store(StoreFault::Refused)),
        (reply(504, b""), Miss::Store(StoreFault::Timeout)),
        (
            Err(CalloutFault::NotSent),
            Miss::Store(StoreFault::Unavailable),
        ),
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        host.called(result.clone());
        assert_eq!(
            host.request_result(),
            Some(RequestResult::Miss(miss)),
            "{result:?}"
        );
        assert!(!host.holds_request() && host.reply().is_none());
        host.called(reply(404, b""));
    }
}

/// An entry for the request that `only_entry` answers, sealed as it should be, with another answer.
fn planted(
    worker: &Rc<TestWorker>,
    form: &Form,
    lifetime: u64,
    head: Extra<'_>,
    body: &[u8],
) -> Vec<u8> {
    let (first, _) = written(worker);
    let (key, _) = first.stored().unwrap();
    let head = headers(&head.iter().map(|(n, v)| (*n, (*v).to_owned())).collect());
    let entry = NewEntry {
        form,
        status: 200,
        created: UnixMillis::from_millis(NOW),
        lifetime: Duration::from_millis(lifetime),
        cost: UpstreamCost::default(),
        headers: &head,
        body,
    };
    let draft = encode(&key, &entry).unwrap();
    draft.seal(&worker.http.as_ref().unwrap().seal)
}

fn asked(worker: &Rc<TestWorker>, ask: &str, now: u64, entry: &[u8]) -> Host {
    let mut host = Host::new(worker);
    host.now = now;
    host.request(&post(&[]), ask);
    host.called(reply(200, entry));
    host
}

const JSON_TYPE: (&str, &str) = ("content-type", "application/json");
const SSE_TYPE: (&str, &str) = ("content-type", "text/event-stream");

#[test]
fn what_the_store_has_is_judged_as_an_upstream_s_answer_would_be() {
    let (json, sse) = (Form::json(), Form::new(Framing::Sse, b""));
    let brotli = ("content-encoding", "br");
    let gzip = ("content-encoding", "gzip");
    let (half, _) = JSON.split_at(JSON.len() / 2);
    let cut = JSON.replace("stop", "length");
    let claude =
        r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    let undone = STREAM.replace("data: [DONE]\n\n", "");
    let ndjson = Form::new(Framing::Ndjson, b"");
    let worker = both("");
    for (form, head, body, serves) in [
        (&json, &[JSON_TYPE][..], JSON, true),
        (&sse, &[SSE_TYPE], STREAM, true),
        (&json, &[JSON_TYPE], half, false),
        (&json, &[JSON_TYPE], "", false),
        (
            &json,
            &[JSON_TYPE],
            r#"{"error":{"message":"quota"}}"#,
            false,
        ),
        (&json, &[JSON_TYPE], cut.as_str(), false),
        (&json, &[JSON_TYPE], claude, false),
        (&json, &[JSON_TYPE], STREAM, false),
        (&json, &[SSE_TYPE], JSON, false),
        (&json, &[], JSON, false),
        (&json, &[("content-type", "text/html")], JSON, false),
        (&json, &[JSON_TYPE, brotli], JSON, false),
        (&json, &[JSON_TYPE, gzip], JSON, false),
        (&sse, &[SSE_TYPE], undone.as_str(), false),
        (&sse, &[JSON_TYPE], STREAM, false),
        (
            &ndjson,
            &[("content-type", "application/x-ndjson")],
            JSON,
            false,
        ),
    ] {
        let entry = planted(&worker, form, 3_600_000, head, body.as_bytes());
        let ask = if form.framing == Framing::Sse {
            ASK_STREAM
        } else {
            ASK_JSON
        };
        let host = asked(&worker, ask, NOW, &entry);
        let result = if serves {
            RequestResult::Hit
        } else {
            RequestResult::Miss(Miss::Unusable)
        };
        assert_eq!(
            host.request_result(),
            Some(result),
            "{form:?} {head:?} {body}"
        );
        assert_eq!(
            host.stored().is_some(),
            serves,
            "what is no entry has no copy"
        );
    }
}

#[test]
fn what_the_store_has_is_judged_by_the_finish_words_of_the_rule() {
    let answer = JSON.replace("stop", "fin");
    let store_if = r#""store_if": {"finish_words": {"complete": ["fin"]}}"#;
    let knowing = worker(&format!(r#"{{{store_if}, "store": {{{WEBDIS}}}}}}}"#));
    for (worker, result) in [
        (both(""), RequestResult::Miss(Miss::Unusable)),
        (knowing, RequestResult::Hit),
    ] {
        let form = Form::json();
        let entry = planted(&worker, &form, 3_600_000, &[JSON_TYPE], answer.as_bytes());
        let host = asked(&worker, ASK_JSON, NOW, &entry);
        assert_eq!(host.request_result(), Some(result));
    }
}

#[test]
fn what_only_holders_of_the_integrity_key_can_write_was_judged_when_it_was_written() {
    let worker = both(r#", "integrity_key": "0123456789abcdef0123456789abcdef""#);
    let entry = planted(
        &worker,
        &Form::json(),
        3_600_000,
        &[JSON_TYPE],
        b"not judged",
    );
    let host = asked(&worker, ASK_JSON, NOW, &entry);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
}

#[test]
fn an_entry_lives_no_longer_than_what_is_stored_here() {
    const DAY: u64 = 86_400_000;
    for (settings, lives) in [
        ("", DAY),
        (r#""client": {"max_ttl": "2h"}, "#, DAY / 12),
        (r#""ttl": "3d", "#, 3 * DAY),
        (
            r#""rules": [{"match": {"path": "/x"}, "ttl": "2d"}], "#,
            2 * DAY,
        ),
    ] {
        let worker = worker(&format!(r#"{{{settings} "store": {{{WEBDIS}}}}}}}"#));
        let entry = planted(
            &worker,
            &Form::json(),
            365 * DAY,
            &[JSON_TYPE],
            JSON.as_bytes(),
        );
        let result = |now| asked(&worker, ASK_JSON, now, &entry).request_result();
        assert_eq!(
            result(NOW + lives - 1),
            Some(RequestResult::Hit),
            "{settings}"
        );
        let expired = RequestResult::Miss(Miss::Expired);
        assert_eq!(result(NOW + lives), Some(expired), "{settings}");
    }
}

#[test]
fn an_entry_that_was_copied_to_another_key_is_a_miss() {
    let worker = http_only("");
    let entry = only_entry(&worker);
    let mut host = Host::new(&worker);
    host.request(&post(&[("authorization", "Bearer other")]), ASK_JSON);
    host.called(reply(200, &entry));
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Unusable))
    );
}

#[test]
fn with_an_integrity_key_only_its_holders_write_entries() {
    let key = r#", "integrity_key": "0123456789abcdef0123456789abcdef""#;
    let worker = both(key);
    let sealed = only_entry(&worker);
    let unsealed = only_entry(&both(""));
    assert_eq!(sealed.len(), unsealed.len() + 28);
    for (entry, result) in [
        (&sealed, RequestResult::Hit),
        (&unsealed, RequestResult::Miss(Miss::Unusable)),
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        host.called(reply(200, entry));
        assert_eq!(host.request_result(), Some(result));
        if let Some((key, copy)) = host.stored() {
            assert!(Entry::decode(&key, copy, &Seal::Checksum).is_ok());
        }
    }
}

#[test]
fn an_open_breaker_makes_nobody_wait_and_a_probe_closes_it() {
    let worker = both("");
    for failure in 1..=2 {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        host.called(reply(504, b""));
        assert_eq!(worker.is_woken(), failure == 2, "to try the store");
    }
    let (probe, _) = sent(&worker).remove(0);
    let reports = reported(&worker, probe, reply(504, b""));
    assert!(
        matches!(reports[1], Report::Breaker(turn) if turn.to == BreakerState::Open),
        "{reports:?}"
    );
    let open = RequestResult::Miss(Miss::Store(StoreFault::BreakerOpen));
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    assert_eq!((host.callout(), host.request_result()), (None, Some(open)));
    assert!(!host.holds_request() && !worker.is_woken());
    host.response_headers(&ok("application/json", &[]), true);
    host.response_body(JSON, true);
    assert_eq!(
        host.answer_result(),
        Some(AnswerResult::Stored),
        "in memory"
    );
    assert!(sent(&worker).is_empty());

    let mut host = Host::new(&worker);
    host.now = NOW + 1_000;
    host.request(&post(&[]), ASK_JSON);
    assert_eq!((host.callout(), host.request_result()), (None, Some(open)));
    assert!(!host.holds_request() && worker.is_woken());
    let (probe, callout) = sent(&worker).remove(0);
    assert!(path(&callout).starts_with("/GET/"));
    let reports = reported(&worker, probe, reply(404, b""));
    let probed = Report::Store(StoreOperation::Probe, OperationResult::Absent);
    assert_eq!(reports[0], probed);
    assert!(
        matches!(reports[1], Report::Breaker(turn) if turn.to == BreakerState::Closed),
        "{reports:?}"
    );
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    assert!(host.callout().is_some());
}

#[test]
fn one_caller_s_entries_that_take_too_long_keep_nobody_from_the_store() {
    let worker = both("");
    for round in 0..20 {
        for _ in 0..2 {
            let mut slow = Host::new(&worker);
            slow.request(&post(&[("authorization", "Bearer slow")]), ASK_JSON);
            slow.called(reply(504, b""));
        }
        let mut other = Host::new(&worker);
        other.request(&post(&[]), ASK_JSON);
        assert!(other.callout().is_some(), "{round}");
        let (probe, _) = sent(&worker).remove(0);
        let probed = Report::Store(StoreOperation::Probe, OperationResult::Absent);
        assert_eq!(reported(&worker, probe, reply(404, b"")), [probed]);
    }
}

#[test]
fn one_caller_s_lookups_that_hang_leave_room_for_the_others() {
    let worker = both("");
    let hang = |caller: &str| {
        let mut host = Host::new(&worker);
        host.request(&post(&[("authorization", caller)]), ASK_JSON);
        host
    };
    let slow: Vec<_> = (0..300).map(|_| hang("Bearer slow")).collect();
    let waiting = slow.iter().filter(|host| host.callout().is_some()).count();
    assert_eq!(waiting, 256);
    let busy = RequestResult::Miss(Miss::Store(StoreFault::Busy));
    assert_eq!(slow[299].request_result(), Some(busy));
    assert!(!slow[299].holds_request(), "it goes itself");
    assert!(hang("Bearer other").callout().is_some());
    drop(slow);
    assert!(hang("Bearer slow").callout().is_some());
}

#[test]
fn the_breaker_learns_from_callouts_that_nobody_waits_for_any_more() {
    let worker = both("");
    for _ in 0..2 {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        // The upstream answers although the request is held: there is no buffer filter.
        host.response_headers(&ok("application/json", &[]), true);
        assert!(!host.holds_request());
        host.called(reply(503, b""));
        assert!(host.reply().is_none());
    }
    let (probe, _) = sent(&worker).remove(0);
    reported(&worker, probe, reply(503, b""));
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(host.callout(), None);
}

#[test]
fn a_write_is_counted_when_its_result_comes() {
    for (result, outcome) in [
        (
            reply(200, br#"{"SETEX":[true,"OK"]}"#),
            OperationResult::Done,
        ),
        (
            reply(200, br#"{"SETEX":[false,"OOM command"]}"#),
            OperationResult::Failed(StoreFault::Refused),
        ),
        (
            Err(CalloutFault::NoReply),
            OperationResult::Failed(StoreFault::Unavailable),
        ),
    ] {
        let worker = both("");
        let (_, mut sent) = written(&worker);
        let (write, _) = sent.remove(0);
        let report = Report::Store(StoreOperation::Write, outcome);
        assert_eq!(reported(&worker, write, result), [report]);
        let twice = reported(&worker, write, Err(CalloutFault::NoReply));
        assert_eq!(twice, [], "a result comes once");
    }
}

#[test]
fn one_wake_sends_all_that_is_due_with_the_lifetime_that_is_left() {
    let worker = http_only("");
    for n in 0..3 {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), &format!(r#"{{"model":"m","messages":[{n}]}}"#));
        host.called(reply(404, b""));
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, true);
    }
    assert_eq!(worker.host.messages.borrow().len(), 1);
    let sent = sent_at(&worker, NOW + 1_500);
    assert_eq!(sent.len(), 3);
    for (_, callout) in sent {
        assert!(path(&callout).ends_with("/3599"), "{}", path(&callout));
    }
}

#[test]
fn an_answer_that_no_store_takes_is_not_stored() {
    let worker = http_only(r#", "max_entry_bytes": "1KiB""#);
    let mut host = Host::new(&worker);
    host.request(&post(&[]), ASK_JSON);
    host.called(reply(404, b""));
    host.response_headers(&ok("application/json", &[]), true);
    host.response_body(&JSON.replace("Hi", &"Hi ".repeat(400)), true);
    let too_large = StoreFault::TooLarge;
    assert_eq!(
        host.answer_result(),
        Some(AnswerResult::NotStored(NotStored::Store(too_large)))
    );
    let failed = Report::Store(StoreOperation::Write, OperationResult::Failed(too_large));
    assert!(host.reports().contains(&failed));
}

#[test]
fn a_host_that_cannot_wake_the_worker_loses_writes_and_nothing_else() {
    let worker = http_only("");
    worker.host.refuses_messages.set(true);
    for _ in 0..200 {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        if host.callout().is_some() {
            host.called(reply(404, b""));
        }
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, true);
        let failed = |report: &&Report| matches!(report, Report::Store(StoreOperation::Write, _));
        let reports = host.reports();
        assert_eq!(reports.iter().filter(failed).count(), 1, "{reports:?}");
    }
    worker.host.refuses_messages.set(false);
    assert!(sent(&worker).is_empty());
}

#[test]
fn who_only_reads_copies_what_the_store_has_and_stores_no_answer() {
    let entry = only_entry(&http_only(""));
    let worker = worker(&format!(
        r#"{{"mode": "read_only", "store": {{{WEBDIS}}}}}}}"#
    ));
    let mut found = Host::new(&worker);
    found.request(&post(&[]), ASK_JSON);
    found.called(reply(200, &entry));
    assert_eq!(found.request_result(), Some(RequestResult::Hit));
    assert!(found.stored().is_some());
    let (missed, sent) = written(&worker);
    assert!(missed.stored().is_none() && sent.is_empty());
}

#[test]
fn what_has_expired_in_memory_and_has_the_wrong_form_hides_nothing_in_the_store() {
    let short = post(&[("x-llm-cache-ttl", "60s")]);
    let event_stream = ok("text/event-stream", &[]);
    let stream = miss(&worker("{}"), &short, ASK_STREAM, &event_stream, STREAM);
    let entry = only_entry(&http_only(""));
    let mut host = Host::new(&worker(&format!(
        r#"{{"stale_if_error": "1h", "store": {{{WEBDIS}}}}}}}"#
    )));
    host.remember(&stream);
    host.now = NOW + 120_000;
    host.request(&post(&[]), ASK_JSON);
    host.called(reply(200, &entry));
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
}

#[test]
fn an_expired_object_is_deleted_by_who_may_write_and_will_not_replace_it() {
    let rest = r#""store": {"http": {"cluster": "s3", "protocol": "rest"}}"#;
    let only = ("cache-control", "only-if-cached");
    let rule = r#""rules": [{"match": {"model": "x"}, "stale_if_error": "2h"}]"#;
    for (more, header, deletes) in [
        (r#""mode": "read_write""#, ("x-llm-cache-ttl", "0s"), 1),
        (r#""mode": "read_write""#, only, 1),
        (r#""mode": "read_write""#, ("x-other", "1"), 0),
        (r#""mode": "read_only""#, only, 0),
        // Others may have use for it.
        (rule, only, 0),
    ] {
        let entry = only_entry(&worker(&format!("{{{rest}}}")));
        let worker = worker(&format!("{{{more}, {rest}}}"));
        let mut host = Host::new(&worker);
        host.now = NOW + 3_600_000;
        host.request(&post(&[header]), ASK_JSON);
        host.called(reply(200, &entry));
        assert_eq!(
            host.request_result(),
            Some(RequestResult::Miss(Miss::Expired))
        );
        let sent = sent(&worker);
        assert_eq!(sent.len(), deletes, "{more} {header:?}");
        for (task, callout) in sent {
            assert_eq!(callout.headers[0].1, "DELETE");
            let done = Report::Store(StoreOperation::Delete, OperationResult::Done);
            assert_eq!(reported(&worker, task, reply(204, b"")), [done]);
        }
    }
}

#[test]
fn an_expired_object_that_there_is_no_room_to_hold_is_left_to_others() {
    let rest = r#""store": {"memory": null, "http": {"cluster": "s3", "protocol": "rest"}}"#;
    let entry = only_entry(&worker(&format!("{{{rest}}}")));
    let worker = worker(&format!(r#"{{"stale_while_revalidate": "2h", {rest}}}"#));
    let mut host = Host::new(&worker);
    host.now = NOW + 3_600_000;
    host.request(&post(&[("cache-control", "only-if-cached")]), ASK_JSON);
    let _others = fill(&worker);
    host.called(reply(200, &entry));
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::CaptureLimit))
    );
    assert!(sent(&worker).is_empty());
}

#[test]
fn only_if_cached_asks_the_store_and_never_the_upstream() {
    let worker = http_only("");
    let mut host = Host::new(&worker);
    host.request(&post(&[("cache-control", "only-if-cached")]), ASK_JSON);
    host.called(reply(404, b""));
    assert_eq!(host.reply().unwrap().status, 504);
    assert!(host.holds_request());
}
