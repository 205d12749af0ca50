//! Counts the allocations for a request and for a passing chunk, and their size.

mod counting;
mod held;
#[path = "../simulated/mod.rs"]
mod simulated;

use counting::count;
use simulated::{Gateway, post};

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

/// For a hit, with what the fake host does among it: its stream, copies of the request's headers and
/// body, and a list of what it was told.
const HIT: usize = 17;

/// For a miss, with what the fake host does among it: its shared data above all.
const MISS: usize = 80;

/// For a passing chunk, with the host's copy of it, but for the copies, which grow now and then.
const CHUNK: usize = 2;

const SECRET: Option<[u64; 4]> = Some([1, 2, 3, 4]);

#[test]
fn a_hit_allocates_as_often_for_a_long_prompt_as_for_a_short_one() {
    let counts = [10, 1_000, 100_000].map(|length| {
        let mut gateway = Gateway::new("{}", SECRET);
        let body = ask(length);
        for _ in 0..3 {
            gateway.ask(post(&[]), &body);
        }
        let headers = post(&[("x-request-id", "1")]);
        let count = allocations(|| gateway.ask(headers, &body));
        assert_eq!(gateway.asked, 1);
        count
    });
    assert_eq!(counts, [counts[0]; 3]);
    assert!(counts[0] <= HIT, "{counts:?}");
}

#[test]
fn a_miss_allocates_within_its_bound_however_long_its_prompt() {
    let mut gateway = Gateway::new("{}", SECRET);
    gateway.ask(post(&[]), &ask(1));
    let counts = [10, 1_000, 100_000].map(|length| {
        let body = ask(length);
        let headers = post(&[("x-request-id", "1")]);
        allocations(|| gateway.ask(headers, &body))
    });
    assert_eq!(gateway.asked, 4);
    assert!(counts.iter().all(|count| *count <= MISS), "{counts:?}");
}

#[test]
fn a_chunk_that_passes_allocates_once() {
    let gateway = Gateway::new("{}", SECRET);
    let (stream, fake) = gateway.stream();
    let body = br#"{"model":"m","messages":[],"stream":true}"#;
    fake.request_headers.replace(Some(post(&[])));
    fake.request_body.replace(Some(body.to_vec()));
    stream.request_headers(false);
    stream.request_body(body.len(), true);
    let fields = [(":status", "200"), ("content-type", "text/event-stream")];
    let headers = fields.into_iter().collect();
    fake.response_headers.replace(Some(headers));
    fake.is_via_upstream.set(true);
    stream.response_headers(false);
    assert!(stream.captures_response());
    let chunk = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n";
    fake.response_chunk.replace(Some(chunk.to_vec()));
    let pass = |times: usize| {
        allocations(|| {
            for _ in 0..times {
                stream.response_body(chunk.len(), false);
            }
        })
    };
    pass(100);
    let count = pass(1_000);
    assert!(count <= 1_000 * CHUNK + 16, "{count} for 1000 chunks");
}
