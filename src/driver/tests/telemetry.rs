//! What is reported of exchanges, and what access logs find of them.

use serde_json::{Value, json};

use super::*;
use crate::protobuf::decode_struct;
use crate::report::{Gauges, Passage, Served, Subject};

const WITH_USAGE: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#;

const LOGGED: &str = r#"{"metrics": {"filter_state": true}}"#;

const SECOND: Duration = Duration::from_secs(1);

/// What access logs find of a stream that is over.
fn logged(host: &mut Host) -> Value {
    host.call(StreamContext::logged);
    decode_struct(&host.fake.log_record.borrow()).unwrap()
}

/// The subject of each report about a request.
fn subjects(host: &Host) -> Vec<Subject> {
    let mut subjects = host.fake.subjects.borrow().clone();
    subjects.retain(|subject| *subject != Subject::default());
    subjects
}

/// An exchange whose answer began after 200 milliseconds and took 900.
fn slow_miss(worker: &Rc<TestWorker>, response: &Fields, chunks: &[&str]) -> Host {
    let mut host = Host::new(worker);
    host.request(&post(&[]), ASK_JSON);
    host.now += 100;
    host.response_headers(response, true);
    host.now += 100;
    let (last, others) = chunks.split_last().unwrap();
    for chunk in others {
        host.response_body(chunk, false);
    }
    host.now += 700;
    host.response_body(last, true);
    host
}

fn whole_miss(worker: &Rc<TestWorker>) -> Host {
    let (begin, end) = WITH_USAGE.split_at(30);
    slow_miss(worker, &ok("application/json", &[]), &[begin, end])
}

#[test]
fn a_hit_saves_what_its_answer_cost_the_upstream() {
    let worker = worker(LOGGED);
    let mut first = whole_miss(&worker);
    let passed = first.reported(|report| match report {
        Report::Passed(passage) => Some(*passage),
        _ => None,
    });
    let Some(Passage {
        chunks: 2,
        first_byte: Some(first_byte),
        last_byte,
        is_ended: true,
        ..
    }) = passed
    else {
        panic!("{passed:?}")
    };
    assert_eq!([first_byte, last_byte].map(|it| it.as_millis()), [200, 900]);
    let of_miss = logged(&mut first);
    let key = of_miss["key"].as_str().unwrap().to_owned();
    assert_eq!(key.len(), 16);
    assert_eq!(
        of_miss,
        json!({"result": "miss", "reason": "absent", "api": "openai_chat", "model": "m",
            "stream": false, "key": key, "chunks": 2, "upstream_first_byte_ms": 200,
            "upstream_ms": 900, "input_tokens": 6, "cached_input_tokens": 4,
            "output_tokens": 5, "answer": "stored"})
    );
    let mut again = Host::with_memory_of(&worker, &first);
    again.now += 60_000;
    again.request(&post(&[]), ASK_JSON);
    let served = again.reported(|report| match report {
        Report::Served(served) => Some(*served),
        _ => None,
    });
    let Served { age, cost } = served.unwrap();
    assert_eq!(age.as_secs(), 59);
    assert_eq!(
        [cost.first_byte(), cost.last_byte()],
        [first_byte, last_byte]
    );
    assert_eq!(
        logged(&mut again),
        json!({"result": "hit", "api": "openai_chat", "model": "m", "stream": false, "key": key,
            "age": 59, "saved_ms": 900, "input_tokens": 6, "cached_input_tokens": 4,
            "output_tokens": 5})
    );
}

#[test]
fn a_converted_hit_and_a_stale_one_save_the_same() {
    let worker =
        worker(r#"{"stale_if_error": "1h", "ttl": "1m", "metrics": {"filter_state": true}}"#);
    let first = whole_miss(&worker);
    for (later, ask, result) in [
        (1_000, ASK_USAGE, "hit"),
        (61_000 + 60_000, ASK_JSON, "stale"),
    ] {
        let mut again = Host::with_memory_of(&worker, &first);
        again.now += later;
        again.request(&post(&[]), ask);
        if again.reply().is_none() {
            again.response_headers(&ok("text/plain", &[(":status", "503")]), true);
        }
        let record = logged(&mut again);
        assert_eq!(
            [
                &record["result"],
                &record["saved_ms"],
                &record["output_tokens"]
            ],
            [&json!(result), &json!(900), &json!(5)]
        );
    }
}

#[test]
fn an_answer_that_was_waited_for_saves_what_it_cost() {
    let worker = worker(r#"{"collapse": {"max_wait": "10s"}, "metrics": {"filter_state": true}}"#);
    let mut leader = Host::new(&worker);
    leader.request(&post(&[]), ASK_JSON);
    let mut follower = Host::with_memory_of(&worker, &leader);
    follower.request(&post(&[]), ASK_JSON);
    assert!(follower.holds_request());
    leader.now += 700;
    leader.response_headers(&ok("application/json", &[]), true);
    leader.response_body(WITH_USAGE, true);
    follower.now = leader.now;
    worker.settle(&leader.memory);
    let record = logged(&mut follower);
    assert_eq!(
        [&record["result"], &record["saved_ms"], &record["age"]],
        [&json!("collapsed"), &json!(700), &json!(0)]
    );
}

#[test]
fn what_was_not_stored_is_logged_with_its_reason() {
    let worker = worker(LOGGED);
    let whole = ok("application/json", &[]);
    let cut = WITH_USAGE.strip_suffix("}").unwrap();
    let length = WITH_USAGE.replace("stop", "length");
    let failed = ok("application/json", &[(":status", "500")]);
    for (response, body, reason, chunks) in [
        (&whole, cut, "malformed", Some(1)),
        (&whole, length.as_str(), "finish_length", Some(1)),
        (&failed, "{}", "status", None),
    ] {
        let record = logged(&mut slow_miss(&worker, response, &[body]));
        assert_eq!(record["answer"], "not_stored");
        assert_eq!(record["answer_reason"], reason);
        assert_eq!(record["chunks"].as_u64(), chunks, "{reason}");
        // Tokens were spent all the same.
        let tokens = chunks.map(|_| 5);
        assert_eq!(record["output_tokens"].as_u64(), tokens, "{reason}");
    }
    let mut cut = Host::new(&worker);
    cut.request(&post(&[]), ASK_JSON);
    cut.response_headers(&whole, true);
    cut.response_body("{", false);
    let record = logged(&mut cut);
    assert_eq!(record["answer_reason"], "aborted");
    assert_eq!(record["chunks"], 1);
}

#[test]
fn a_bypass_is_logged_and_a_request_that_takes_no_part_is_not() {
    let worker = worker(LOGGED);
    let mut bypassed = Host::new(&worker);
    bypassed.request(&post(&[("cache-control", "no-store")]), ASK_JSON);
    assert_eq!(
        logged(&mut bypassed),
        json!({"result": "bypass", "reason": "no_store", "api": "openai_chat"})
    );
    let mut other = Host::new(&worker);
    other.request(&post(&[(":path", "/upload")]), ASK_JSON);
    assert_eq!(logged(&mut other), json!({}));
}

#[test]
fn a_shadowed_request_is_logged_with_its_verdict() {
    let worker = worker(r#"{"mode": "shadow", "metrics": {"filter_state": true}}"#);
    let first = whole_miss(&worker);
    let mut again = Host::with_memory_of(&worker, &first);
    again.request(&post(&[]), ASK_JSON);
    again.response_headers(&ok("application/json", &[]), true);
    again.response_body(&WITH_USAGE.replace("Hi", "Ho"), true);
    let record = logged(&mut again);
    assert_eq!(
        [&record["result"], &record["shadow"]],
        [&json!("shadow_hit"), &json!("disagreed")]
    );
}

#[test]
fn a_model_is_logged_in_one_line_however_a_client_spells_it() {
    let worker = worker(LOGGED);
    let mut host = Host::new(&worker);
    host.request(&post(&[]), r#"{"model":"a\n\u0000b","messages":[]}"#);
    assert_eq!(logged(&mut host)["model"], "a__b");
    let mut unnamed = Host::new(&worker);
    unnamed.request(&post(&[]), r#"{"model":"","messages":[]}"#);
    assert_eq!(logged(&mut unnamed).get("model"), None);
}

#[test]
fn nothing_is_logged_unless_the_configuration_says_so() {
    let worker = worker("{}");
    assert_eq!(logged(&mut whole_miss(&worker)), json!({}));
}

#[test]
fn each_report_about_a_request_names_its_api_and_the_label_of_its_model() {
    let worker = worker(r#"{"metrics": {"model": true, "max_models": 1}}"#);
    let labels = |host: &Host| -> Vec<_> {
        let subjects = subjects(host).into_iter();
        subjects
            .map(|subject| subject.label.unwrap().to_string())
            .collect()
    };
    let first = whole_miss(&worker);
    // It has a label from the moment on that its answer is stored.
    assert_eq!(labels(&first), ["other", "other", "m"]);
    let api = |subject: &Subject| subject.api.unwrap().name() == "openai_chat";
    assert!(subjects(&first).iter().all(api));
    let mut again = Host::with_memory_of(&worker, &first);
    again.request(&post(&[]), ASK_JSON);
    assert_eq!(labels(&again), ["m", "m"]);
    // There is room for one.
    let mut other = Host::with_memory_of(&worker, &first);
    other.request(&post(&[]), &ASK_JSON.replace("\"m\"", "\"n\""));
    other.response_headers(&ok("application/json", &[]), true);
    other.response_body(WITH_USAGE, true);
    assert_eq!(labels(&other), ["other"; 3]);
    let mut bypassed = Host::with_memory_of(&worker, &first);
    bypassed.request(&post(&[("cache-control", "no-store")]), ASK_JSON);
    assert_eq!(labels(&bypassed), ["other"]);
}

#[test]
fn ticks_tell_what_the_worker_holds_as_long_as_there_is_traffic() {
    let worker = worker(LOGGED);
    let period = || worker.host.tick_period.get();
    let flushed = || worker.host.flushed.borrow_mut().pop();
    assert_eq!(period(), Duration::ZERO);
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[]));
    assert_eq!(period(), SECOND);
    worker.tick(NOW + 1_000, &host.memory);
    let Some(Gauges {
        capture_bytes: 1..,
        held_requests: 1,
        waiting_requests: 0,
        memory: Some(_),
    }) = flushed()
    else {
        panic!("a request is held")
    };
    // Too early.
    worker.tick(NOW + 1_500, &host.memory);
    assert_eq!(flushed(), None);
    host.request_body(ASK_JSON);
    host.response_headers(&ok("application/json", &[]), true);
    host.response_body(WITH_USAGE, true);
    host.close();
    worker.tick(NOW + 2_000, &host.memory);
    assert_eq!(flushed(), Some(Gauges::default()));
    // All is told, and nothing is held.
    assert_eq!(period(), Duration::ZERO);
    worker.tick(NOW + 20_000, &host.memory);
    assert_eq!(flushed(), None);
    let _again = Host::with_memory_of(&worker, &host);
    let mut next = Host::with_memory_of(&worker, &host);
    next.request(&post(&[]), ASK_JSON);
    next.close();
    worker.tick(NOW + 21_000, &host.memory);
    let memory = flushed().unwrap().memory.unwrap();
    assert_eq!(memory.entries, 1);
    assert!(memory.bytes > 100);
}

#[test]
fn requests_that_wait_are_told_apart_from_others_that_are_held() {
    let worker = worker(r#"{"collapse": {"max_wait": "10s"}}"#);
    let mut leader = Host::new(&worker);
    leader.request(&post(&[]), ASK_JSON);
    let mut follower = Host::with_memory_of(&worker, &leader);
    follower.request(&post(&[]), ASK_JSON);
    let mut open = Host::with_memory_of(&worker, &leader);
    open.request_headers(&post(&[]));
    worker.tick(NOW + 1_000, &leader.memory);
    let gauges = worker.host.flushed.borrow()[0];
    assert_eq!((gauges.held_requests, gauges.waiting_requests), (2, 1));
}

#[test]
fn a_host_without_ticks_is_told_while_there_is_traffic() {
    let worker = worker("{}");
    let told = || worker.host.flushed.borrow().len();
    for second in 0..100 {
        let mut host = Host::new(&worker);
        host.now = NOW + second * 1_000;
        host.request(&post(&[]), ASK_JSON);
        host.close();
    }
    assert!((5..20).contains(&told()), "{}", told());
}
