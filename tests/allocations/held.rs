//! The memory of held requests and captured answers is charged to the worker's budget: at least what is
//! allocated, and at most twice as much.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write;
use std::rc::Rc;

use super::counting::{highest, live};
use super::simulated::{Gateway, post};
use envoy_llm_cache::driver::StreamContext;
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::worker::Worker;

const ASK: &[u8] = br#"{"model":"m","messages":[]}"#;
const ASK_STREAM: &[u8] = br#"{"model":"m","messages":[],"stream":true}"#;

/// A gateway whose shared data keeps nothing, not even leases.
fn gateway(config: &str) -> Gateway {
    let gateway = Gateway::new(config, Some([1, 2, 3, 4]));
    gateway.host.shared.refused.set(Some("llm-cache/"));
    let (_, fake) = gateway.stream();
    fake.is_via_upstream.set(true);
    gateway
}

/// As they come from the host: without spare capacity.
fn exact(headers: &Headers) -> Headers {
    Headers::from_pairs(headers.to_pairs()).unwrap()
}

/// A callback of a stream, of which the host keeps nothing.
fn call<T>(gateway: &Gateway, callback: impl FnOnce() -> T) -> T {
    let result = callback();
    let streams = gateway.host.streams.borrow();
    for fake in streams.values() {
        fake.request_headers.take();
        fake.request_body.take();
        fake.response_headers.take();
        fake.response_chunk.take();
        fake.reports.take();
        fake.subjects.take();
        fake.log_record.take();
        fake.set_in_response.take();
    }
    result
}

/// A stream under this number whose request's headers have come.
fn begin(gateway: &Gateway, number: u32, headers: Headers) -> StreamContext {
    let stream = StreamContext::new(number, Rc::clone(&gateway.context));
    for fake in gateway.host.streams.borrow().values() {
        fake.request_headers.replace(Some(headers.clone()));
    }
    drop(headers);
    call(gateway, || stream.request_headers(false));
    stream
}

/// Takes the request on, with nothing in any store, until it goes to the upstream or waits.
fn go_on(gateway: &Gateway, stream: &StreamContext, body: &[u8]) {
    for fake in gateway.host.streams.borrow().values() {
        fake.request_body.replace(Some(body.to_vec()));
    }
    call(gateway, || stream.request_body(body.len(), true));
}

/// Measures how much is allocated, and how much is charged.
struct Taken<'w> {
    worker: &'w Worker,
    live: isize,
    left: usize,
}

impl<'w> Taken<'w> {
    fn since_now(worker: &'w Worker) -> Self {
        Self {
            worker,
            live: live(),
            left: worker.budget.left(),
        }
    }

    fn both(&self) -> (usize, usize) {
        (
            usize::try_from(live() - self.live).unwrap(),
            self.left - self.worker.budget.left(),
        )
    }
}

const MANY: u32 = 500;

#[test]
fn requests_that_are_held_take_no_more_than_they_are_charged() {
    let huge = "v".repeat(3_900);
    let huge = huge.as_str();
    let pad = [("x-pad", huge); 15];
    let keys = [("authorization", huge); 15];
    let refreshes = r#"{"stale_while_revalidate": "1m"}"#;
    for (config, extra) in [
        ("{}", &[][..]),
        ("{}", &pad),
        ("{}", &keys),
        (refreshes, &[]),
        (refreshes, &pad),
        (refreshes, &keys),
    ] {
        let gateway = gateway(config);
        let worker = gateway.context.worker();
        let mut streams = Vec::with_capacity(MANY as usize);
        let taken = Taken::since_now(worker);
        for number in 0..MANY {
            let stream = begin(&gateway, number, exact(&post(extra)));
            assert!(stream.holds_request());
            streams.push(stream);
        }
        let (live, charged) = taken.both();
        assert!(live <= charged, "{live} bytes, {charged} charged");
        assert!(charged <= live + MANY as usize * 2_200, "{live}, {charged}");
        drop(streams);
        assert_eq!(worker.budget.left(), 64 << 20);
    }
}

#[test]
fn requests_that_wait_take_no_more_than_they_are_charged() {
    let gateway = gateway(r#"{"collapse": {"max_wait": "1m"}}"#);
    let worker = gateway.context.worker();
    // Half of them wait for the others.
    let mut streams = Vec::with_capacity(MANY as usize * 2);
    let bodies: Vec<_> = (0..MANY)
        .map(|number| format!(r#"{{"model":"m","messages":[],"seed":{number}}}"#))
        .collect();
    let taken = Taken::since_now(worker);
    for number in 0..2 * MANY {
        let body = bodies[(number / 2) as usize].as_bytes();
        let stream = begin(&gateway, number, exact(&post(&[])));
        go_on(&gateway, &stream, body);
        assert_eq!(stream.holds_request(), number % 2 == 1);
        streams.push(stream);
    }
    let (live, charged) = taken.both();
    assert!(live <= charged, "{live} bytes, {charged} charged");
}

#[test]
fn a_key_is_made_in_as_much_memory_as_the_manual_says() {
    let edits = r#"{"key": {"exclude": ["/user", "call_ids"]}}"#;
    let masks = r#"{"key": {"mask": [
        {"at": "/messages/*/content", "line": "Wall time: *"},
        {"at": "/messages/*/content", "line": "Chunk ID: *"}
    ]}}"#;
    let message = |text: &str| format!(r#"{{"role":"user","content":"{text}"}}"#);
    let call = r#"{"tool_calls":[{"id":"call_1234567"}],"content":""#;
    let told = format!("{call}call_1234567 {}\"}}", "word ".repeat(200_000));
    let words = message(&"word ".repeat(200_000));
    let lines = message(&"\\n".repeat(500_000));
    let masked = message(&format!(
        "Wall time: 1\\nChunk ID: 2\\n{}",
        "word ".repeat(200_000)
    ));
    for (name, config, message, times) in [
        ("words", "{}", &words, 3),
        ("words and edits", edits, &words, 3),
        ("ids that a text tells of", edits, &told, 3),
        ("lines", "{}", &lines, 11),
        ("lines and edits", edits, &lines, 11),
        ("a masked text", masks, &masked, 6),
        ("lines and masks", masks, &lines, 11),
    ] {
        let gateway = gateway(config);
        let body = format!(r#"{{"model":"m","messages":[{message}]}}"#).into_bytes();
        let stream = begin(&gateway, 1, exact(&post(&[])));
        // What the host holds of the body is none of ours, and its copy for us is.
        let held = body.len();
        let all = highest(|| go_on(&gateway, &stream, &body)) - held;
        assert!(stream.awaits_response(), "{name}");
        assert!(
            all <= times * body.len() + (64 << 10),
            "{name}: {all} of {}",
            body.len()
        );
    }
}

#[test]
fn a_request_that_is_refused_a_place_takes_no_more_than_the_manual_says() {
    let huge = "v".repeat(50_000);
    let gateway = gateway(r#"{"limits": {"max_capture_bytes": "1MiB"}}"#);
    let refused = |number| {
        let headers = post(&[("content-encoding", "br"), ("x-pad", &huge)]);
        let stream = begin(&gateway, number, exact(&headers));
        assert!(stream.awaits_response() && !stream.holds_request());
        stream
    };
    let mut streams = Vec::with_capacity(MANY as usize);
    let before = live();
    streams.extend((0..MANY).map(refused));
    let each = usize::try_from(live() - before).unwrap() / MANY as usize;
    assert!(each <= 150, "{each}");
}

/// A request, and a stream that makes its judge hold much.
struct Hostile {
    name: &'static str,
    path: &'static str,
    content_type: &'static str,
    stream: Vec<u8>,
}

fn sse(events: impl Iterator<Item = serde_json::Value>) -> Vec<u8> {
    let mut stream = String::new();
    for event in events {
        write!(stream, "data: {event}\n\n").unwrap();
    }
    stream.into_bytes()
}

/// Events that are named by their types, as Anthropic's are.
fn named(events: impl Iterator<Item = serde_json::Value>) -> Vec<u8> {
    let mut stream = String::new();
    for event in events {
        let name = event.get("type").and_then(|name| name.as_str()).unwrap();
        write!(stream, "event: {name}\ndata: {event}\n\n").unwrap();
    }
    stream.into_bytes()
}

fn hostile() -> Vec<Hostile> {
    let calls = sse((0..60).map(|choice| {
        let call = |index: usize| {
            let function = serde_json::json!({"arguments": "{\"a\":"});
            serde_json::json!({"index": index, "id": format!("call-{index}"), "function": function})
        };
        let calls: Vec<_> = (0..128).map(call).collect();
        serde_json::json!({"choices": [{"index": choice, "delta": {"tool_calls": calls}}]})
    }));
    let text = |index: usize| {
        let content = format!("choice {index} says {}", "word ".repeat(200));
        serde_json::json!({"choices": [{"index": index, "delta": {"content": content}}]})
    };
    let anthropic = {
        let start = serde_json::json!({"type": "message_start", "message": {"type": "message", "content": [], "usage": {}}});
        let blocks = (0..60).flat_map(|index| {
            let block = serde_json::json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
            let start = serde_json::json!({"type": "content_block_start", "index": index, "content_block": block});
            let delta = serde_json::json!({"type": "input_json_delta", "partial_json": "[1,".repeat(3_000)});
            let delta = serde_json::json!({"type": "content_block_delta", "index": index, "delta": delta});
            [start, delta]
        });
        named(std::iter::once(start).chain(blocks))
    };
    let cohere = {
        let start = serde_json::json!({"type": "message-start"});
        let calls = (0..1_000).map(|index| {
            let call = serde_json::json!({"function": {"name": "f", "arguments": "{\"a\":".repeat(50)}});
            serde_json::json!({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": call}}})
        });
        sse(std::iter::once(start).chain(calls))
    };
    let items = {
        let created = serde_json::json!({"type": "response.created", "response": {"id": "r".repeat(100_000)}});
        let added = (0..1_000).map(|index| {
            serde_json::json!({"type": "response.output_item.added", "output_index": index, "item": {"type": "message"}})
        });
        sse(std::iter::once(created).chain(added))
    };
    let candidates = sse((0..128).map(|index| {
        serde_json::json!({"candidates": [{"index": index, "content": {"parts": [{"text": "x"}]}}]})
    }));
    let chat = "/v1/chat/completions";
    let event_stream = "text/event-stream";
    let on = |name, path, stream| Hostile {
        name,
        path,
        content_type: event_stream,
        stream,
    };
    vec![
        on("calls", chat, calls),
        on("choices", chat, sse((0..128).map(text))),
        on(
            "a long line",
            chat,
            [b"data: \"", &[b'x'; 3 << 20][..]].concat(),
        ),
        on("many lines", chat, b"data: x\n".repeat(400_000)),
        on(
            "a long event name",
            chat,
            [b"event: ", &[b'x'; 1 << 20][..], b"\n"].concat(),
        ),
        on("blocks", "/v1/messages", anthropic),
        on("calls that are open", "/v2/chat", cohere),
        on("items", "/v1/responses", items),
        on(
            "candidates",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            candidates,
        ),
        Hostile {
            name: "a long line of JSON",
            path: "/api/chat",
            content_type: "application/x-ndjson",
            stream: [b"{\"a\":\"", &[b'x'; 3 << 20][..]].concat(),
        },
        Hostile {
            name: "a long element",
            path: "/v1beta/models/m:streamGenerateContent",
            content_type: "application/json",
            stream: [b"[{\"a\":\"", &[b'x'; 3 << 20][..]].concat(),
        },
    ]
}

#[test]
fn answers_that_are_captured_take_no_more_than_they_are_charged() {
    for Hostile {
        name,
        path,
        content_type,
        stream,
    } in hostile()
    {
        let gateway = gateway(r#"{"metrics": {"filter_state": true}}"#);
        let worker = gateway.context.worker();
        let taken = Taken::since_now(worker);
        let stream_of = begin(&gateway, 1, exact(&post(&[(":path", path)])));
        let body = if path.starts_with("/v1beta") {
            ASK
        } else {
            ASK_STREAM
        };
        go_on(&gateway, &stream_of, body);
        let fakes = || gateway.host.streams.borrow();
        for fake in fakes().values() {
            let fields = [(":status", "200"), ("content-type", content_type)];
            let headers = fields.into_iter().collect();
            fake.response_headers.replace(Some(headers));
        }
        call(&gateway, || stream_of.response_headers(false));
        assert!(stream_of.captures_response(), "{name}");
        let mut highest = (0, 0);
        for chunk in stream.chunks(16 << 10) {
            for fake in fakes().values() {
                fake.response_chunk.replace(Some(chunk.to_vec()));
            }
            call(&gateway, || stream_of.response_body(chunk.len(), false));
            let (live, charged) = taken.both();
            assert!(live <= charged, "{name}: {live} bytes, {charged} charged");
            assert!(charged <= 2 * live + (8 << 10), "{name}: {live}, {charged}");
            highest = highest.max((live, charged));
        }
        assert!(stream_of.captures_response(), "{name}: {highest:?}");
        assert!(highest.0 >= stream.len(), "{name}: {highest:?}");
        drop(stream_of);
        assert_eq!(worker.budget.left(), 64 << 20, "{name}");
    }
}
