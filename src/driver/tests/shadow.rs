//! `mode: shadow`: the cache does all but answer.

use super::*;
use crate::llm::Tokens;

const SHADOW: &str =
    r#"{"mode": "shadow", "collapse": {"max_wait": "1s"}, "stale_if_error": "1h"}"#;

/// A request whose answer is stored, `later` milliseconds after that was.
fn again_in_shadow(worker: &Rc<TestWorker>, request: &Fields, later: u64) -> Host {
    let mut host = Host::new(worker);
    host.remember(&json_miss(worker));
    host.now = NOW + later;
    host.request(request, ASK_JSON);
    assert!(host.reply().is_none() && !host.holds_request());
    host
}

/// What is reported of the answer.
fn answered(host: &mut Host, body: &str) -> Vec<Report> {
    host.response_headers(&ok("application/json", &[]), true);
    host.now += 500;
    let before = host.reports().len();
    host.response_body(body, true);
    host.reports().split_off(before)
}

fn shows_nothing(host: &Host) -> bool {
    ["x-cache", "cache-status", "x-accel-buffering"]
        .iter()
        .all(|name| host.header(name).is_none())
}

#[test]
fn what_is_missing_is_stored_and_the_client_sees_nothing_of_it() {
    let worker = worker(SHADOW);
    let host = json_miss(&worker);
    assert!(host.stored().is_some() && shows_nothing(&host));
    assert_eq!(
        host.request_result(),
        Some(RequestResult::Miss(Miss::Absent))
    );
}

#[test]
fn the_upstream_is_asked_all_the_same_and_the_two_answers_are_compared() {
    let usage = r#""usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10},"#;
    let with_usage = JSON.replace("\"choices\"", &format!("{usage}\"choices\""));
    for (body, result, tokens) in [
        (JSON.to_owned(), ShadowResult::Agreed, 0),
        (with_usage, ShadowResult::Agreed, 10),
        (JSON.replace("Hi", "Ho"), ShadowResult::Disagreed, 0),
        (JSON.replace("}]}", ""), ShadowResult::NotWhole, 0),
    ] {
        let worker = worker(SHADOW);
        let before = worker.budget.left();
        let mut host = again_in_shadow(&worker, &post(&[]), 1_000);
        assert_eq!(host.request_result(), Some(RequestResult::ShadowHit));
        let mut reports = answered(&mut host, &body);
        reports.retain(|report| !matches!(report, Report::Passed(_)));
        assert_eq!(reports[0], Report::Shadow(result));
        let saved = reports[1..].iter().find_map(|report| match report {
            Report::ShadowSaved(cost) => Some(*cost),
            _ => None,
        });
        if result == ShadowResult::NotWhole {
            assert_eq!(saved, None);
        } else {
            let cost = saved.unwrap();
            assert_eq!(cost.last_byte(), Duration::from_millis(500));
            assert_eq!(cost.tokens().map_or(0, Tokens::total), tokens);
        }
        assert!(shows_nothing(&host));
        assert_eq!(host.answer_result(), None, "the entry stays");
        host.close();
        assert_eq!(worker.budget.left(), before);
    }
}

#[test]
fn only_if_cached_stale_and_bypassed_requests_go_to_the_upstream_like_all_others() {
    let worker = worker(SHADOW);
    for (request, later) in [
        (post(&[("cache-control", "only-if-cached")]), 0),
        (
            post(&[("cache-control", "only-if-cached, max-age=0")]),
            10_000,
        ),
        (post(&[("cache-control", "no-store")]), 0),
        (post(&[]), 3_600_001),
    ] {
        let mut host = again_in_shadow(&worker, &request, later);
        host.response_headers(&ok("application/json", &[(":status", "503")]), true);
        assert!(host.reply().is_none() && shows_nothing(&host));
        host.close();
    }
}

#[test]
fn a_shadowed_answer_that_breaks_off_is_reported() {
    let worker = worker(SHADOW);
    for headers_came in [false, true] {
        let mut host = again_in_shadow(&worker, &post(&[]), 0);
        if headers_came {
            host.response_headers(&ok("application/json", &[]), true);
        }
        host.close();
        let told = Report::Shadow(ShadowResult::NotWhole);
        assert!(host.reports().contains(&told));
        assert_eq!(host.answer_result(), None);
    }
}
