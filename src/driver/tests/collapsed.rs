//! Many at once: identical requests that wait for the answer to one of them.

use std::time::Duration;

use super::*;
use crate::callout::CalloutReply;
use crate::store::{Joined, Leases};

const COLLAPSE: &str = r#"{"collapse": {"max_wait": "10s"}}"#;

/// A request that asks the upstream on behalf of all others, of all workers.
fn leader(worker: &Rc<TestWorker>) -> Host {
    leader_for(worker, ASK_JSON)
}

fn leader_for(worker: &Rc<TestWorker>, body: &str) -> Host {
    let mut host = Host::new(worker);
    host.memory.refused.set(None);
    host.request(&post(&[]), body);
    assert!(!host.holds_request());
    host
}

/// A request that waits.
fn waiter(worker: &Rc<TestWorker>, body: &str) -> Host {
    let mut host = Host::new(worker);
    host.request(&post(&[]), body);
    assert!(host.holds_request() && host.awaits_response());
    assert!(worker.wants_ticks());
    host
}

/// The key of what the requests here ask for.
fn key() -> CacheKey {
    let (key, _) = json_miss(&worker("{}")).stored().unwrap();
    key
}

/// Another worker, in the same process.
fn other_worker() -> Leases {
    Leases::new(99, None)
}

/// What another worker gets at this time that asks for the lease on the key.
fn lease_at(host: &Host, now: u64) -> Joined {
    let now = UnixMillis::from_millis(now);
    let max_age = Duration::from_millis(1);
    other_worker().join(&host.memory, key().as_bytes(), now, max_age, false)
}

/// A request that waits for one of another worker.
fn follower(worker: &Rc<TestWorker>) -> Host {
    let mut host = Host::new(worker);
    host.memory.refused.set(None);
    let (now, max_age) = (UnixMillis::from_millis(NOW), Duration::from_secs(20));
    let joined = other_worker().join(&host.memory, key().as_bytes(), now, max_age, false);
    assert!(matches!(joined, Joined::Leads(_)));
    host.request(&post(&[]), ASK_JSON);
    assert!(host.holds_request() && worker.wants_ticks());
    host
}

/// Runs what is to be done in the background, with what this one has in memory.
fn settle(host: &Host) {
    host.worker.settle(&host.memory);
}

fn miss_of(fault: CollapseFault) -> Option<RequestResult> {
    Some(RequestResult::Miss(Miss::Collapse(fault)))
}

fn answer(leader: &mut Host, status: &str) {
    leader.response_headers(&ok("application/json", &[(":status", status)]), true);
    leader.response_body(JSON, true);
    leader.close();
}

#[test]
fn identical_requests_wait_for_the_first_ones_answer() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    let waiters: Vec<_> = (0..3).map(|_| waiter(&worker, ASK_JSON)).collect();
    answer(&mut leader, "200");
    assert!(worker.is_woken());
    assert!(matches!(lease_at(&leader, NOW), Joined::Leads(_)));
    settle(&leader);
    for waiter in &waiters {
        assert_eq!(waiter.request_result(), Some(RequestResult::Collapsed));
        let reply = waiter.reply().unwrap();
        assert_eq!(reply.body.as_bytes(), JSON.as_bytes());
        drop(reply);
        assert_eq!(
            waiter.header("cache-status").unwrap(),
            "envoy-llm-cache; fwd=uri-miss; collapsed; ttl=3600"
        );
        assert_eq!(waiter.header("x-cache").unwrap(), "HIT");
    }
    assert!(!worker.wants_ticks());
}

#[test]
fn whatever_the_leader_ends_with_all_are_let_go_at_once() {
    type End = fn(&mut Host);
    let ends: [(End, bool); 4] = [
        (|leader| answer(leader, "500"), true),
        (|leader| leader.close(), false),
        (
            |leader| {
                leader.response_headers(&ok("application/json", &[]), true);
                leader.response_body("{\"choices\":[", true);
            },
            true,
        ),
        (
            |leader| {
                leader.response_headers(&ok("application/json", &[]), true);
                leader.close();
            },
            false,
        ),
    ];
    for (end, is_unstorable) in ends {
        let worker = worker(COLLAPSE);
        let mut leader = leader(&worker);
        let mut waiters: Vec<_> = (0..3).map(|_| waiter(&worker, ASK_JSON)).collect();
        assert!(matches!(lease_at(&leader, NOW), Joined::Held { .. }));
        end(&mut leader);
        // For five seconds, nobody waits for what cannot be stored.
        assert_eq!(
            lease_at(&leader, NOW + 4_999) == Joined::Unstorable,
            is_unstorable
        );
        assert!(matches!(lease_at(&leader, NOW + 5_000), Joined::Leads(_)));
        settle(&leader);
        for waiter in &mut waiters {
            assert!(waiter.fake.is_resumed.get());
            assert!(!waiter.holds_request() && waiter.reply().is_none());
            // Each gets its own answer, and may store it.
            answer(waiter, "200");
            assert_eq!(waiter.answer_result(), Some(AnswerResult::Stored));
            assert_eq!(
                waiter.header("cache-status").unwrap(),
                "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_leader_failed"
            );
        }
    }
}

#[test]
fn nobody_waits_longer_than_configured() {
    let worker = worker(COLLAPSE);
    let leader = leader(&worker);
    let host = waiter(&worker, ASK_JSON);
    worker.tick(NOW + 9_999, &leader.memory);
    assert!(host.holds_request());
    worker.tick(NOW + 10_000, &leader.memory);
    assert!(!host.holds_request() && host.fake.is_resumed.get());
    assert_eq!(host.request_result(), miss_of(CollapseFault::Timeout));
    assert!(!worker.wants_ticks());
}

#[test]
fn a_leader_in_another_worker_is_waited_for_until_it_is_heard_of() {
    let stored = json_miss(&worker("{}"));
    for told in [true, false] {
        let worker = worker(COLLAPSE);
        let host = follower(&worker);
        if told {
            let message = *key().as_bytes();
            worker.outside(&stored.memory, |context| context.message(&message));
        } else {
            worker.tick(NOW + 250, &stored.memory);
        }
        assert_eq!(host.request_result(), Some(RequestResult::Collapsed));
        settle(&stored);
        assert!(!worker.wants_ticks());
    }
}

#[test]
fn a_message_about_a_lease_that_is_still_held_is_none() {
    let worker = worker(COLLAPSE);
    let host = follower(&worker);
    let message = *key().as_bytes();
    worker.outside(&host.memory, |context| context.message(&message));
    assert!(host.holds_request() && worker.wants_ticks());
}

#[test]
fn a_request_that_takes_the_lease_looks_once_more_before_asking() {
    let worker = worker(COLLAPSE);
    let stored = json_miss(&self::worker("{}"));
    let mut host = Host::new(&worker);
    host.memory.refused.set(None);
    // The answer comes between the first look and the lease.
    host.worker
        .host
        .shared
        .appears
        .replace(Some(Box::new(stored.memory.clone())));
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert!(matches!(lease_at(&host, NOW), Joined::Leads(_)));
}

#[test]
fn where_no_lease_is_to_be_had_those_of_one_worker_wait_all_the_same() {
    let worker = worker(COLLAPSE);
    let mut first = Host::new(&worker);
    first.request(&post(&[]), ASK_JSON);
    assert!(!first.holds_request());
    let second = waiter(&worker, ASK_JSON);
    answer(&mut first, "200");
    settle(&first);
    assert_eq!(second.request_result(), Some(RequestResult::Collapsed));
}

#[test]
fn a_key_that_proved_unstorable_is_not_waited_for() {
    let worker = worker(COLLAPSE);
    let key = key();
    for _ in 0..2 {
        let mut host = Host::new(&worker);
        host.memory.refused.set(None);
        let other = other_worker();
        let now = UnixMillis::from_millis(NOW);
        let max_age = Duration::from_secs(1);
        let joined = other.join(&host.memory, key.as_bytes(), now, max_age, false);
        let Joined::Leads(lease) = joined else {
            panic!("{joined:?}")
        };
        let until = Some(now + Duration::from_secs(5));
        other.release(&host.memory, key.as_bytes(), lease, until, now);
        host.request(&post(&[]), ASK_JSON);
        assert!(!host.holds_request());
        assert_eq!(
            host.request_result(),
            Some(RequestResult::Miss(Miss::Absent))
        );
    }
}

#[test]
fn streams_wait_only_where_they_are_told_to_and_lead_in_any_case() {
    for streams in [false, true] {
        let collapse = r#"{"collapse": {"max_wait": "10s", "streams": STREAMS}}"#;
        let worker = worker(&collapse.replace("STREAMS", &streams.to_string()));
        let mut leader = leader_for(&worker, ASK_STREAM);
        let json = waiter(&worker, ASK_JSON);
        let mut stream = Host::new(&worker);
        stream.request(&post(&[]), ASK_STREAM);
        assert_eq!(stream.holds_request(), streams);
        leader.response_headers(&ok("text/event-stream", &[]), true);
        let ends = STREAM.replace("\"choices\"", "\"usage\":{},\"choices\"");
        leader.response_body(&ends, true);
        settle(&leader);
        // The stream has no usage that the JSON would have: a request of its own.
        assert!(json.reply().is_some() || !json.holds_request());
    }
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    let mut gone = waiter(&worker, ASK_JSON);
    let stays = waiter(&worker, ASK_JSON);
    gone.close();
    answer(&mut leader, "200");
    settle(&leader);
    assert_eq!(gone.request_result(), None);
    assert_eq!(stays.request_result(), Some(RequestResult::Collapsed));
}

#[test]
fn without_memory_those_who_wait_are_answered_once_the_store_has_the_answer() {
    let config = r#"{"collapse": {"max_wait": "10s"}, "store": {"memory": null,
        "http": {"cluster": "cache", "protocol": "rest"}}}"#;
    let reply = |status, body: &[u8]| {
        Ok(CalloutReply {
            status,
            headers: Headers::new(),
            trailers: Headers::new(),
            body: Some(body.to_vec()),
        })
    };
    for (written, collapsed) in [(200, true), (500, false)] {
        let worker = worker(config);
        let ask = || {
            let mut host = Host::new(&worker);
            host.memory.refused.set(None);
            host.request(&post(&[]), ASK_JSON);
            host.called(reply(404, b""));
            host
        };
        let mut leader = ask();
        let host = ask();
        assert!(host.holds_request());
        answer(&mut leader, "200");
        let is_leased = |host: &Host| matches!(lease_at(host, NOW), Joined::Held { .. });
        assert!(is_leased(&leader), "not given back before it is written");
        let call = |token, result| {
            let called = |context: &WorkerContext| context.called(token, |_| result);
            worker.outside(&leader.memory, called);
        };
        settle(&leader);
        let (token, put) = worker.take_calls().remove(0);
        call(token, reply(written, b""));
        assert!(!is_leased(&leader));
        if collapsed {
            let (token, _get) = worker.take_calls().remove(0);
            call(token, reply(200, &put.body));
        }
        assert_eq!(
            host.request_result() == Some(RequestResult::Collapsed),
            collapsed
        );
    }
}

#[test]
fn a_host_that_cannot_wake_the_worker_answers_at_the_next_tick() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    let waiter = waiter(&worker, ASK_JSON);
    worker.host.refuses_messages.set(true);
    answer(&mut leader, "200");
    assert!(waiter.holds_request());
    worker.tick(NOW + 20, &leader.memory);
    assert_eq!(waiter.request_result(), Some(RequestResult::Collapsed));
}

#[test]
fn those_who_wait_are_released_a_few_at_a_time() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    let waiters: Vec<_> = (0..40).map(|_| waiter(&worker, ASK_JSON)).collect();
    answer(&mut leader, "500");
    for released in [16, 32, 40] {
        let message = worker.next_message().unwrap();
        worker.outside(&leader.memory, |context| context.message(&message));
        let free = waiters.iter().filter(|waiter| !waiter.holds_request());
        assert_eq!(free.count(), released);
        assert_eq!(worker.wants_ticks(), released < 40);
    }
    assert_eq!(worker.next_message(), None);
}

#[test]
fn a_leader_that_takes_too_long_is_replaced_and_ends_nothing_of_the_new_ones() {
    let worker = worker(COLLAPSE);
    let mut old = leader(&worker);
    let mut new = Host::new(&worker);
    new.memory.refused.set(None);
    new.now = NOW + 20_000;
    new.request(&post(&[]), ASK_JSON);
    assert!(!new.holds_request(), "it asks itself");
    let mut host = Host::new(&worker);
    host.now = NOW + 20_001;
    host.request(&post(&[]), ASK_JSON);
    assert!(host.holds_request());
    old.now = host.now;
    answer(&mut old, "500");
    settle(&old);
    assert!(host.holds_request());
    answer(&mut new, "200");
    settle(&new);
    assert_eq!(host.request_result(), Some(RequestResult::Collapsed));
}

#[test]
fn a_stream_that_will_not_be_stored_is_waited_for_by_nobody() {
    let worker = worker(r#"{"collapse": {"max_wait": "10s"}, "store_if": {"streams": false}}"#);
    let _stream = leader_for(&worker, ASK_STREAM);
    let json = leader(&worker);
    assert!(!json.holds_request());
}

#[test]
fn an_answer_that_was_there_before_is_none_to_those_who_wait() {
    let worker = worker(COLLAPSE);
    let old = json_miss(&self::worker(r#"{"ttl": "1s"}"#));
    let mut leader = leader(&worker);
    let waiter = waiter(&worker, ASK_JSON);
    answer(&mut leader, "200");
    worker.host.now.set(NOW + 2_000);
    worker.settle(&old.memory);
    assert_eq!(
        waiter.request_result(),
        miss_of(CollapseFault::LeaderFailed)
    );
}

#[test]
fn an_answer_is_held_for_those_who_wait_if_there_is_room_for_it() {
    for is_full in [false, true] {
        let worker = worker(COLLAPSE);
        let all = worker.budget.left();
        let mut leader = leader(&worker);
        let waiters = [(); 2].map(|()| waiter(&worker, ASK_JSON));
        answer(&mut leader, "200");
        let others = is_full.then(|| fill(&worker));
        settle(&leader);
        let result = match is_full {
            true => miss_of(CollapseFault::CaptureLimit),
            false => Some(RequestResult::Collapsed),
        };
        for host in &waiters {
            assert_eq!(host.request_result(), result);
        }
        drop((others, waiters, leader));
        assert_eq!(worker.budget.left(), all);
    }
}
