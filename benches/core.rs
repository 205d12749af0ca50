//! The pure parts, natively, in bytes per second: what a request, a hit and a chunk of a stream
//! cost before any host call. `make bench` measures them inside Envoy, all together.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use envoy_llm_cache::attributes::Attributes;
use envoy_llm_cache::cache::{
    Body, CacheKey, Entry, KeyParts, NewEntry, Seal, UpstreamCost, encode,
};
use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::config::KeySettings;
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::json;
use envoy_llm_cache::llm::{Api, Form, Framing};
use serde_json::{Value, json as value};

const PATH: &[u8] = b"/v1/chat/completions";
const PROMPTS: [usize; 3] = [1_000, 16_000, 100_000];
const ANSWERS: [usize; 3] = [1_700, 20_000, 200_000];
/// How a stream comes over the network, about.
const CHUNK: usize = 200;

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    for size in PROMPTS {
        let body = prompt(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("canonicalize", size), &body, |b, body| {
            b.iter(|| json::canonicalize(black_box(body), &[]).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("key", size), &body, |b, body| {
            b.iter(|| key(black_box(body)));
        });
    }
    group.finish();
}

fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("judge");
    for size in ANSWERS {
        let stream = stream(size);
        let ask = ask(&prompt(1_000));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_with_input(BenchmarkId::new("stream", size), &stream, |b, stream| {
            b.iter(|| {
                let mut judge = api().judge(&ask, Framing::Sse);
                for chunk in black_box(stream).chunks(CHUNK) {
                    judge.feed(chunk, &mut |_, _| {}).unwrap();
                }
                judge.finish(stream).unwrap()
            });
        });
    }
    group.finish();
}

fn entries(c: &mut Criterion) {
    let mut group = c.benchmark_group("entry");
    let key = key(&prompt(1_000));
    for size in ANSWERS {
        let mut headers = Headers::new();
        headers.push("content-type", "application/json");
        let entry = NewEntry {
            form: &Form::json(),
            status: 200,
            created: UnixMillis::from_millis(1),
            lifetime: Duration::from_secs(3_600),
            cost: UpstreamCost::default(),
            headers: &headers,
            body: &answer(size),
        };
        let entry = encode(&key, &entry).unwrap().seal(&Seal::Checksum);
        group.throughput(Throughput::Bytes(entry.len() as u64));
        group.bench_with_input(BenchmarkId::new("decode", size), &entry, |b, entry| {
            b.iter_batched(
                || entry.clone(),
                |entry| Entry::decode(&key, entry, &Seal::Checksum).unwrap(),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn conversions(c: &mut Criterion) {
    let mut group = c.benchmark_group("convert");
    let json = Form::json();
    let sse = Form::new(Framing::Sse, br#"{"include_usage":true}"#);
    for size in ANSWERS {
        for (name, answer, stored, wanted) in [
            ("stream to JSON", stream(size), &sse, &json),
            ("JSON to stream", answer(size), &json, &sse),
        ] {
            group.throughput(Throughput::Bytes(answer.len() as u64));
            group.bench_with_input(BenchmarkId::new(name, size), &answer, |b, answer| {
                b.iter(|| api().convert(black_box(answer), stored, wanted).unwrap());
            });
        }
    }
    group.finish();
}

fn api() -> Api {
    Api::from_path(PATH).unwrap()
}

fn ask(body: &[u8]) -> envoy_llm_cache::llm::RequestTraits {
    let canonical = json::canonicalize(body, &[]).unwrap();
    api().read(PATH, body, Some(&canonical)).unwrap()
}

/// From a body as it came to its key, as an exchange does it.
fn key(body: &[u8]) -> CacheKey {
    let canonical = json::canonicalize(body, &[]).unwrap();
    let ask = api().read(PATH, body, Some(&canonical)).unwrap();
    let mut headers = Headers::new();
    headers.push(":authority", "api.example.com");
    headers.push(":path", PATH);
    headers.push(
        "authorization",
        "Bearer sk-0123456789abcdef0123456789abcdef",
    );
    CacheKey::new(&KeyParts {
        settings: &KeySettings::default(),
        headers: &headers,
        attributes: &Attributes::default(),
        api: api(),
        body: Body::Canonical(&canonical),
        traits: &ask,
    })
    .unwrap()
}

/// A chat request of about `size` bytes, in turns of about 2 KB.
fn prompt(size: usize) -> Vec<u8> {
    let turns = (size / 2048).max(1);
    let messages: Vec<Value> = (0..turns)
        .map(|turn| {
            let role = if turn % 2 == 0 { "user" } else { "assistant" };
            value!({"role": role, "content": prose((size - 100) / turns - 32)})
        })
        .collect();
    let body = value!({"model": "gpt-4o-mini", "temperature": 0.2, "messages": messages});
    body.to_string().into_bytes()
}

fn answer(size: usize) -> Vec<u8> {
    value!({
        "id": "chatcmpl-0123456789abcdef", "object": "chat.completion", "created": 1_750_000_000,
        "model": "gpt-4o-mini",
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": prose(size - 350), "refusal": null},
        }],
        "usage": {"prompt_tokens": 250, "completion_tokens": 400, "total_tokens": 650},
    })
    .to_string()
    .into_bytes()
}

/// A stream of about `size` bytes, a token or two an event.
fn stream(size: usize) -> Vec<u8> {
    let event = |choices: Value, usage: Value| {
        let data = value!({
            "id": "chatcmpl-01234", "object": "chat.completion.chunk", "created": 1_750_000_000,
            "model": "gpt-4o-mini", "choices": choices, "usage": usage,
        });
        format!("data: {data}\n\n")
    };
    let choice = |delta: Value, finish: Value| {
        let choices = value!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        event(choices, Value::Null)
    };
    let mut stream = choice(value!({"role": "assistant", "content": ""}), Value::Null);
    while stream.len() + 500 < size {
        stream += &choice(value!({"content": "some \"words\" "}), Value::Null);
    }
    stream += &choice(value!({}), value!("stop"));
    let usage = value!({"prompt_tokens": 250, "completion_tokens": 400, "total_tokens": 650});
    stream += &event(value!([]), usage);
    stream += "data: [DONE]\n\n";
    stream.into_bytes()
}

/// Text with what text in JSON has: quotes, new lines, characters beyond ASCII.
fn prose(size: usize) -> String {
    let words = "a token of the \"model\" in an answer\nfrom the gateway → über all and so on ";
    words.chars().cycle().take(size).collect()
}

criterion_group!(benches, requests, streams, entries, conversions);
criterion_main!(benches);
