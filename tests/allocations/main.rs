//! How often memory is allocated for a request and for a passing chunk, and how much. Counted, not
//! timed.

mod counting;
mod held;
#[path = "../simulated/mod.rs"]
mod simulated;

use std::rc::Rc;

use counting::count;
use envoy_llm_cache::exchange::{Exchange, Input, Output};
use simulated::{Host, post};

fn allocations<T>(run: impl FnOnce() -> T) -> usize {
    let before = count();
    let kept = run();
    let after = count();
    drop(kept);
    after - before
}

fn ask(length: usize) -> Vec<u8> {
    let text = "a".repeat(length);
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#).into_bytes()
}

/// For a hit, what the simulated host does among it: a list for each step that says something, and what
/// its caller is told by.
const HIT: usize = 13;

/// For a miss, with what the simulated host does among it: its shared data above all.
const MISS: usize = 70;

/// For a passing chunk, but for the copies, which grow now and then.
const CHUNK: usize = 1;

const SECRET: Option<[u64; 4]> = Some([1, 2, 3, 4]);

#[test]
fn a_hit_allocates_as_often_for_a_long_prompt_as_for_a_short_one() {
    let counts = [10, 1_000, 100_000].map(|length| {
        let mut host = Host::new("{}", SECRET);
        let body = ask(length);
        for _ in 0..3 {
            host.ask(post(&[]), &body);
        }
        let headers = post(&[("x-request-id", "1")]);
        let count = allocations(|| host.ask(headers, &body));
        assert_eq!(host.asked, 1);
        count
    });
    assert_eq!(counts, [counts[0]; 3]);
    assert!(counts[0] <= HIT, "{counts:?}");
}

#[test]
fn a_miss_allocates_within_its_bound_however_long_its_prompt() {
    let mut host = Host::new("{}", SECRET);
    host.ask(post(&[]), &ask(1));
    let counts = [10, 1_000, 100_000].map(|length| {
        let body = ask(length);
        let headers = post(&[("x-request-id", "1")]);
        allocations(|| host.ask(headers, &body))
    });
    assert_eq!(host.asked, 4);
    assert!(counts.iter().all(|count| *count <= MISS), "{counts:?}");
}

#[test]
fn a_chunk_that_passes_allocates_once() {
    let host = Host::new("{}", SECRET);
    let body = br#"{"model":"m","messages":[],"stream":true}"#;
    let mut exchange = Exchange::new(Rc::clone(&host.worker));
    let mut seen = Vec::new();
    let headers = post(&[]);
    let end_of_stream = false;
    let begin = Input::RequestHeaders {
        headers,
        end_of_stream,
    };
    host.step(&mut exchange, begin, body, &mut seen);
    let held = body.len();
    let end_of_stream = true;
    let whole = Input::RequestBody {
        held,
        end_of_stream,
    };
    host.step(&mut exchange, whole, body, &mut seen);
    let fields = [(":status", "200"), ("content-type", "text/event-stream")];
    let began = Input::ResponseHeaders {
        headers: &fields.into_iter().collect(),
        via_upstream: true,
        end_of_stream: false,
        now: host.now,
    };
    host.step(&mut exchange, began, body, &mut seen);
    assert!(exchange.captures_response());
    let chunk = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
    let mut out: Vec<Output> = Vec::new();
    let mut pass = |times: usize| {
        allocations(|| {
            for _ in 0..times {
                let passing = Input::ResponseBody {
                    chunk: Some(chunk),
                    size: chunk.len(),
                    now: host.now,
                    end_of_stream: false,
                };
                exchange.handle(passing, &mut out);
            }
        })
    };
    pass(100);
    let count = pass(1_000);
    assert!(count <= 1_000 * CHUNK + 16, "{count} for 1000 chunks");
}
