//! Many at once: identical requests that wait for the answer to one of them.

use super::*;
use crate::callout::CalloutReply;
use crate::store::{Lease, Leases, SharedData};

const COLLAPSE: &str = r#"{"collapse": {"max_wait": "10s"}}"#;
const UNTIL: u64 = NOW + 20_000;

/// Shared data that is new and refuses nothing.
#[derive(Default)]
struct Shared(std::cell::RefCell<std::collections::BTreeMap<String, crate::store::Versioned>>);

impl SharedData for Shared {
    fn get(&self, name: &str) -> Result<Option<crate::store::Versioned>, crate::store::HostFault> {
        Ok(self.0.borrow().get(name).cloned())
    }

    fn set(
        &self,
        name: &str,
        value: &[u8],
        _version: Option<crate::store::Version>,
    ) -> Result<(), crate::store::SetFault> {
        let value = value.to_vec();
        let version = crate::store::Version(1);
        let versioned = crate::store::Versioned { value, version };
        self.0.borrow_mut().insert(name.to_owned(), versioned);
        Ok(())
    }
}

/// A lease, as it comes from shared data.
pub(super) fn a_lease() -> Lease {
    match Leases::new(1, Some(1)).join(&Shared::default(), &[1; 32], NOW, 1_000, true) {
        Joined::Leads(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// A request that asks the upstream on behalf of all others.
fn leader(worker: &Rc<Worker>) -> Host {
    let mut host = Host::new(worker);
    host.lease = Joined::Leads(a_lease());
    host.request(&post(&[]), ASK_JSON);
    assert!(!host.exchange.holds_request());
    host
}

/// A request that waits, under this number.
fn waiter(worker: &Rc<Worker>, exchange: u32, body: &str) -> Host {
    let mut host = Host::new(worker);
    host.lease = Joined::Waits { until: UNTIL };
    host.request(&post(&[]), body);
    let Some(Output::Wait {
        key,
        since,
        deadline,
    }) = host.seen.pop()
    else {
        panic!("it does not wait")
    };
    assert_eq!((since, deadline), (NOW, NOW + 10_000));
    worker.wait(&key, exchange, since, deadline, &mut Vec::new());
    assert!(host.exchange.holds_request() && host.exchange.awaits_response());
    assert!(worker.wants_ticks());
    host
}

/// Runs what is to be done in the background, with this in memory; whom that releases, and how.
fn run(worker: &Worker, memory: Option<&(CacheKey, Vec<u8>)>) -> Vec<(u32, Release)> {
    for mut task in worker.take_tasks() {
        let mut next = Some(Input::Begin { now: NOW });
        while let Some(input) = next.take() {
            let mut out = Vec::new();
            task.handle(input, worker, &mut out);
            for output in out {
                match output {
                    Output::Peek(_) => next = Some(Input::Peeked { held: false }),
                    Output::LookUp(key) => {
                        let found = memory.filter(|(stored, _)| *stored == key);
                        next = Some(Input::LookedUp {
                            found: Ok(found.map(|(_, entry)| unseen(entry.clone()))),
                            now: NOW,
                        });
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    released(worker)
}

/// All that are to be released, however often the worker has to be woken up for that.
fn released(worker: &Worker) -> Vec<(u32, Release)> {
    let mut released = worker.take_released();
    while worker.has_more() {
        released.extend(worker.take_released());
    }
    released
}

fn answer(leader: &mut Host, status: &str) {
    leader.response_headers(&ok("application/json", &[(":status", status)]), true);
    leader.response_body(JSON, true);
    leader.close();
}

fn release(host: &mut Host, release: Release) {
    let out = host.step(Input::Released { release, now: NOW });
    host.carry_out(out, "");
}

fn gives_back(host: &Host) -> Option<u64> {
    host.seen.iter().find_map(|output| match output {
        Output::GiveBack { unstorable_for, .. } => Some(*unstorable_for),
        _ => None,
    })
}

#[test]
fn identical_requests_wait_for_the_first_ones_answer() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    let mut waiters: Vec<_> = (10..13).map(|n| waiter(&worker, n, ASK_JSON)).collect();
    answer(&mut leader, "200");
    assert!(leader.seen.contains(&Output::Wake));
    assert_eq!(gives_back(&leader), Some(0));
    let released = run(&worker, leader.stored.as_ref());
    assert_eq!(released.len(), 3);
    for (waiter, (_, how)) in waiters.iter_mut().zip(released) {
        release(waiter, how);
        assert_eq!(waiter.request_result(), Some(RequestResult::Collapsed));
        let reply = waiter.reply.as_ref().unwrap();
        assert_eq!(reply.body.as_bytes(), JSON.as_bytes());
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
    let ends: [(End, u64); 4] = [
        (|leader| answer(leader, "500"), 5_000),
        (|leader| leader.close(), 0),
        (
            |leader| {
                leader.response_headers(&ok("application/json", &[]), true);
                leader.response_body("{\"choices\":[", true);
            },
            5_000,
        ),
        (
            |leader| {
                leader.response_headers(&ok("application/json", &[]), true);
                leader.close();
            },
            0,
        ),
    ];
    for (end, unstorable_for) in ends {
        let worker = worker(COLLAPSE);
        let mut leader = leader(&worker);
        let mut waiters: Vec<_> = (10..13).map(|n| waiter(&worker, n, ASK_JSON)).collect();
        end(&mut leader);
        assert_eq!(gives_back(&leader), Some(unstorable_for));
        let released = run(&worker, None);
        let gone = Release::Go(CollapseFault::LeaderFailed);
        assert_eq!(
            released,
            [(10, gone.clone()), (11, gone.clone()), (12, gone.clone())]
        );
        for waiter in &mut waiters {
            release(waiter, gone.clone());
            assert!(!waiter.exchange.holds_request() && waiter.reply.is_none());
            // Each gets its own answer, and may store it.
            answer(waiter, "200");
            assert_eq!(waiter.answer_result(), Some(AnswerResult::Stored));
            assert_eq!(
                waiter.header("cache-status").unwrap(),
                "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_leader_failed"
            );
            assert_eq!(gives_back(waiter), None, "it led nobody");
        }
    }
}

#[test]
fn nobody_waits_longer_than_configured() {
    let worker = worker(COLLAPSE);
    let _leader = leader(&worker);
    let mut host = waiter(&worker, 10, ASK_JSON);
    worker.tick(NOW + 9_999);
    assert_eq!(run(&worker, None), []);
    worker.tick(NOW + 10_000);
    let released = run(&worker, None);
    assert_eq!(released, [(10, Release::Go(CollapseFault::Timeout))]);
    release(&mut host, Release::Go(CollapseFault::Timeout));
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Collapse(CollapseFault::Timeout)))
    );
    assert!(!worker.wants_ticks());
}

#[test]
fn a_leader_in_another_worker_is_waited_for_until_it_is_heard_of() {
    for told in [true, false] {
        let worker = worker(COLLAPSE);
        let stored = json_miss(&self::worker("{}")).stored.unwrap();
        let mut host = waiter(&worker, 10, ASK_JSON);
        if told {
            worker.told(&stored.0);
        } else {
            worker.tick(NOW + 250);
        }
        let released = run(&worker, Some(&stored));
        assert_eq!(released.len(), 1);
        release(&mut host, released[0].1.clone());
        assert_eq!(host.request_result(), Some(RequestResult::Collapsed));
        assert_eq!(run(&worker, Some(&stored)), [], "once");
    }
}

#[test]
fn a_message_about_a_lease_that_is_still_held_is_none() {
    let worker = worker(COLLAPSE);
    let stored = json_miss(&self::worker("{}")).stored.unwrap();
    let _host = waiter(&worker, 10, ASK_JSON);
    worker.told(&stored.0);
    let mut task = worker.take_tasks().remove(0);
    let mut out = Vec::new();
    task.handle(Input::Begin { now: NOW }, &worker, &mut out);
    task.handle(Input::Peeked { held: true }, &worker, &mut out);
    assert_eq!(out, [Output::Peek(stored.0)]);
    assert!(worker.wants_ticks());
}

#[test]
fn who_takes_the_lease_looks_once_more_before_asking() {
    let worker = worker(COLLAPSE);
    let stored = json_miss(&self::worker("{}")).stored;
    let mut host = Host::new(&worker);
    host.lease = Joined::Leads(a_lease());
    let headers = headers(&post(&[]));
    let end_of_stream = false;
    host.step(Input::RequestHeaders {
        headers,
        end_of_stream,
    });
    host.step(Input::AttributesRead(by_upstream()));
    host.step(Input::RequestBody {
        held: ASK_JSON.len(),
        end_of_stream: true,
    });
    host.step(Input::AttributesRead(by_upstream()));
    host.step(Input::RequestBodyRead(Some(ASK_JSON.as_bytes())));
    let found = Ok(None);
    let out = host.step(Input::LookedUp { found, now: NOW });
    host.stored = stored;
    host.carry_out(out, ASK_JSON);
    assert_eq!(host.request_result(), Some(RequestResult::Hit));
    assert_eq!(gives_back(&host), Some(0));
}

#[test]
fn where_no_lease_is_to_be_had_those_of_one_worker_wait_all_the_same() {
    let worker = worker(COLLAPSE);
    let mut first = Host::new(&worker);
    first.request(&post(&[]), ASK_JSON);
    assert!(!first.exchange.holds_request());
    let _second = waiter(&worker, 10, ASK_JSON);
    answer(&mut first, "200");
    assert_eq!(gives_back(&first), None);
    assert_eq!(run(&worker, first.stored.as_ref()).len(), 1);
}

#[test]
fn a_key_that_proved_unstorable_is_not_waited_for() {
    let worker = worker(COLLAPSE);
    for _ in 0..2 {
        let mut host = Host::new(&worker);
        host.lease = Joined::Unstorable;
        host.request(&post(&[]), ASK_JSON);
        assert!(!host.exchange.holds_request());
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
        let mut leader = Host::new(&worker);
        leader.lease = Joined::Leads(a_lease());
        leader.request(&post(&[]), ASK_STREAM);
        let mut json = waiter(&worker, 10, ASK_JSON);
        let mut stream = Host::new(&worker);
        stream.request(&post(&[]), ASK_STREAM);
        assert_eq!(stream.exchange.holds_request(), streams);
        leader.response_headers(&ok("text/event-stream", &[]), true);
        let ends = STREAM.replace("\"choices\"", "\"usage\":{},\"choices\"");
        leader.response_body(&ends, true);
        let (_, how) = run(&worker, leader.stored.as_ref()).remove(0);
        release(&mut json, how);
        // The stream has no usage that the JSON would have: a request of its own.
        assert!(json.reply.is_some() || !json.exchange.holds_request());
    }
}

#[test]
fn a_client_that_leaves_is_forgotten() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    let mut gone = waiter(&worker, 10, ASK_JSON);
    let _stays = waiter(&worker, 11, ASK_JSON);
    gone.close();
    let Some(Output::Leave(key)) = gone.seen.pop() else {
        panic!("it says nothing")
    };
    worker.leave(&key, 10);
    answer(&mut leader, "200");
    let released = run(&worker, leader.stored.as_ref());
    assert_eq!(released.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [11]);
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
        let ask = |lease| {
            let mut host = Host::new(&worker);
            host.lease = lease;
            host.request(&post(&[]), ASK_JSON);
            let result = reply(404, b"");
            let out = host.step(Input::Called { result, now: NOW });
            host.carry_out(out, "");
            host
        };
        let mut leader = ask(Joined::Leads(a_lease()));
        let mut host = ask(Joined::Waits { until: UNTIL });
        let Some(Output::Wait { key, deadline, .. }) = host.seen.pop() else {
            panic!("it does not wait")
        };
        worker.wait(&key, 10, NOW, deadline, &mut Vec::new());
        answer(&mut leader, "200");
        assert_eq!(gives_back(&leader), None, "not before it is written");

        let mut write = worker.take_tasks().remove(0);
        let mut out = Vec::new();
        write.handle(Input::Begin { now: NOW }, &worker, &mut out);
        let Some(Output::Call(put)) = out.pop() else {
            panic!("{out:?}")
        };
        let result = reply(written, b"");
        write.handle(Input::Called { result, now: NOW }, &worker, &mut out);
        assert!(
            out.iter()
                .any(|output| matches!(output, Output::GiveBack { .. }))
        );
        let mut find = worker.take_tasks().remove(0);
        let mut out = Vec::new();
        find.handle(Input::Begin { now: NOW }, &worker, &mut out);
        if collapsed {
            let found = Ok(None);
            find.handle(Input::LookedUp { found, now: NOW }, &worker, &mut out);
            let result = reply(200, &put.body);
            find.handle(Input::Called { result, now: NOW }, &worker, &mut out);
        }
        let (_, how) = released(&worker).remove(0);
        release(&mut host, how);
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
    let _waiter = waiter(&worker, 10, ASK_JSON);
    answer(&mut leader, "200");
    worker.cannot_wake(NOW, &mut Vec::new());
    worker.tick(NOW + 20);
    assert_eq!(run(&worker, leader.stored.as_ref()).len(), 1);
}

#[test]
fn those_who_wait_are_released_a_few_at_a_time() {
    let worker = worker(COLLAPSE);
    let mut leader = leader(&worker);
    for exchange in 0..40 {
        waiter(&worker, exchange, ASK_JSON);
    }
    answer(&mut leader, "500");
    for mut task in worker.take_tasks() {
        task.handle(Input::Begin { now: NOW }, &worker, &mut Vec::new());
    }
    let counts = [16, 16, 8, 0].map(|_| {
        assert!(worker.wants_ticks() == worker.has_more());
        worker.take_released().len()
    });
    assert_eq!(counts, [16, 16, 8, 0]);
}

#[test]
fn a_leader_that_takes_too_long_is_replaced_and_ends_nothing_of_the_new_ones() {
    let worker = worker(COLLAPSE);
    let mut old = leader(&worker);
    let mut new = Host::new(&worker);
    new.now = NOW + 20_000;
    new.lease = Joined::Leads(a_lease());
    new.request(&post(&[]), ASK_JSON);
    assert!(!new.exchange.holds_request(), "it asks itself");
    let mut host = Host::new(&worker);
    host.now = NOW + 20_001;
    host.request(&post(&[]), ASK_JSON);
    let Some(Output::Wait {
        key,
        since,
        deadline,
    }) = host.seen.pop()
    else {
        panic!("it does not wait")
    };
    worker.wait(&key, 10, since, deadline, &mut Vec::new());
    answer(&mut old, "500");
    assert_eq!(run(&worker, None), []);
    answer(&mut new, "200");
    assert_eq!(run(&worker, new.stored.as_ref()).len(), 1);
}

#[test]
fn a_stream_that_will_not_be_stored_is_waited_for_by_nobody() {
    let worker = worker(r#"{"collapse": {"max_wait": "10s"}, "store_if": {"streams": false}}"#);
    let mut stream = Host::new(&worker);
    stream.lease = Joined::Leads(a_lease());
    stream.request(&post(&[]), ASK_STREAM);
    assert!(!stream.exchange.holds_request());
    let json = leader(&worker);
    assert!(!json.exchange.holds_request());
}

#[test]
fn an_answer_that_was_there_before_is_none_to_those_who_wait() {
    let worker = worker(COLLAPSE);
    let mut old = json_miss(&self::worker(r#"{"ttl": "1s"}"#)).stored.unwrap();
    let mut leader = leader(&worker);
    let _waiter = waiter(&worker, 10, ASK_JSON);
    answer(&mut leader, "200");
    mem::swap(&mut old, leader.stored.as_mut().unwrap());
    let mut task = worker.take_tasks().remove(0);
    let mut out = Vec::new();
    task.handle(Input::Begin { now: NOW }, &worker, &mut out);
    task.handle(
        Input::LookedUp {
            found: Ok(leader.stored.map(|(_, entry)| unseen(entry))),
            now: NOW + 2_000,
        },
        &worker,
        &mut out,
    );
    let gone = Release::Go(CollapseFault::LeaderFailed);
    assert_eq!(released(&worker), [(10, gone)]);
}

#[test]
fn an_answer_is_held_for_those_who_wait_if_there_is_room_for_it() {
    for is_full in [false, true] {
        let worker = worker(COLLAPSE);
        let all = worker.budget.left();
        let mut leader = leader(&worker);
        let mut waiters = [1, 2].map(|number| waiter(&worker, number, ASK_JSON));
        answer(&mut leader, "200");
        let others = is_full.then(|| fill(&worker));
        let left = worker.budget.left();
        let released = run(&worker, leader.stored.as_ref());
        let result = match is_full {
            true => RequestResult::Miss(Miss::Collapse(CollapseFault::CaptureLimit)),
            false => RequestResult::Collapsed,
        };
        assert_eq!(worker.budget.left() < left, !is_full);
        for (host, (_, how)) in waiters.iter_mut().zip(released) {
            release(host, how);
            assert_eq!(host.request_result(), Some(result));
        }
        drop((others, waiters, leader));
        assert_eq!(worker.budget.left(), all);
    }
}
