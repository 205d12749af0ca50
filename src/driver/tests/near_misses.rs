//! Misses of requests that differ from an earlier one in one member.

use super::*;

/// What is reported of a request that misses.
fn near_miss(worker: &Rc<TestWorker>, request: &Fields, ask: &str) -> Option<&'static str> {
    let mut host = Host::new(worker);
    host.request(request, ask);
    let absent = RequestResult::Miss(Miss::Absent);
    assert_eq!(host.request_result(), Some(absent), "{ask}");
    host.reported(named)
}

fn named(report: &Report) -> Option<&'static str> {
    match report {
        Report::NearMiss(member) => Some(*member),
        _ => None,
    }
}

#[test]
fn a_miss_that_differs_in_one_member_from_an_earlier_request_names_it() {
    const FIRST: &str = r#"{"model":"m","messages":[1],"user":"a","own":1}"#;
    for (ask, member) in [
        (
            r#"{"model":"m","messages":[1],"user":"b","own":1}"#,
            Some("user"),
        ),
        // Members that no API knows are not told by name.
        (
            r#"{"model":"m","messages":[1],"user":"a","own":2}"#,
            Some("other"),
        ),
        (
            r#"{"model":"m","messages":[2],"user":"a","own":1}"#,
            Some("messages"),
        ),
        // One more, and one less.
        (
            r#"{"model":"m","messages":[1],"user":"a","own":1,"seed":1}"#,
            Some("seed"),
        ),
        (r#"{"model":"m","messages":[1],"own":1}"#, Some("user")),
        // What takes no part in the key makes no difference.
        (
            r#"{"model":"m","messages":[1],"user":"b","own":1,"stream":true}"#,
            Some("user"),
        ),
        (r#"{"model":"m","messages":[2],"user":"b","own":1}"#, None),
        (r#"{"model":"m","messages":[1],"own":1,"seed":1}"#, None),
        (r#"{"model":"m","messages":[1],"USER":"a","own":1}"#, None),
        (FIRST, None),
    ] {
        let worker = worker("{}");
        assert_eq!(near_miss(&worker, &post(&[]), FIRST), None);
        assert_eq!(near_miss(&worker, &post(&[]), ask), member, "{ask}");
    }
}

#[test]
fn requests_are_compared_with_those_of_the_same_caller_path_and_key_headers_only() {
    const ONE: &str = r#"{"model":"m","messages":[],"user":"a"}"#;
    const TWO: &str = r#"{"model":"m","messages":[],"user":"b"}"#;
    for extra in [
        ("authorization", "Bearer other"),
        (":path", "/openai/v1/chat/completions"),
        (":authority", "other.example"),
        ("openai-beta", "v2"),
    ] {
        let worker = worker("{}");
        assert_eq!(near_miss(&worker, &post(&[]), ONE), None);
        assert_eq!(near_miss(&worker, &post(&[extra]), TWO), None, "{extra:?}");
        assert_eq!(near_miss(&worker, &post(&[]), TWO), Some("user"));
    }
}

#[test]
fn a_difference_in_the_prompt_is_named_only_if_there_is_no_other() {
    let worker = worker("{}");
    let ask = |messages: u32, seed: u32| {
        format!(r#"{{"model":"m","messages":[{messages}],"seed":{seed}}}"#)
    };
    assert_eq!(near_miss(&worker, &post(&[]), &ask(1, 1)), None);
    assert_eq!(near_miss(&worker, &post(&[]), &ask(2, 2)), None);
    // Later than the first, in the prompt; earlier, in the seed.
    let of_both = near_miss(&worker, &post(&[]), &ask(1, 2));
    assert_eq!(of_both, Some("seed"));
    assert_eq!(near_miss(&worker, &post(&[]), &ask(3, 2)), Some("messages"));
}

#[test]
fn a_request_that_came_before_as_it_is_names_nothing() {
    let worker = worker("{}");
    let ask = |model: &str| format!(r#"{{"model":"{model}","messages":[]}}"#);
    assert_eq!(near_miss(&worker, &post(&[]), &ask("a")), None);
    assert_eq!(near_miss(&worker, &post(&[]), &ask("b")), Some("model"));
    assert_eq!(near_miss(&worker, &post(&[]), &ask("a")), None);
}

#[test]
fn a_hit_names_nothing() {
    let worker = worker("{}");
    let first = json_miss(&worker);
    let other = r#"{"model":"m","messages":[],"user":"a"}"#;
    assert_eq!(near_miss(&worker, &post(&[]), other), Some("user"));
    let hit = again(&worker, first, &post(&[]), ASK_JSON, 500);
    assert_eq!(hit.request_result(), Some(RequestResult::Hit));
    assert_eq!(hit.reported(named), None);
}

#[test]
fn the_last_64_requests_of_at_most_32_members_are_remembered() {
    let worker = worker("{}");
    let ask = |n: u32, user: &str| format!(r#"{{"model":"{n}","seed":{n},"user":"{user}"}}"#);
    for n in 0..65 {
        assert_eq!(near_miss(&worker, &post(&[]), &ask(n, "a")), None);
    }
    assert_eq!(near_miss(&worker, &post(&[]), &ask(64, "b")), Some("user"));
    assert_eq!(near_miss(&worker, &post(&[]), &ask(2, "b")), Some("user"));
    assert_eq!(near_miss(&worker, &post(&[]), &ask(0, "b")), None);
    // A request that comes again is the latest of them.
    assert_eq!(near_miss(&worker, &post(&[]), &ask(5, "a")), None);
    for n in 100..163 {
        assert_eq!(near_miss(&worker, &post(&[]), &ask(n, "a")), None);
    }
    assert_eq!(near_miss(&worker, &post(&[]), &ask(5, "b")), Some("user"));
    let wide = |members: u32, user: &str| {
        let more: String = (2..members).map(|n| format!(r#","m{n}":0"#)).collect();
        format!(r#"{{"model":"wide","user":"{user}"{more}}}"#)
    };
    for (members, expected) in [(32, Some("user")), (33, None)] {
        near_miss(&worker, &post(&[]), &wide(members, "a"));
        let found = near_miss(&worker, &post(&[]), &wide(members, "b"));
        assert_eq!(found, expected, "{members}");
    }
}
