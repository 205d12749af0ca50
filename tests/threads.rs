//! A host that is no wasm VM: workers in threads, over one map that they share.

#[path = "fake_host/mod.rs"]
mod fake_host;

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use envoy_llm_cache::config::Config;
use envoy_llm_cache::driver::{StreamContext, WorkerContext};
use envoy_llm_cache::host::Reply;
use fake_host::{FakeHost, Process};

const WORKERS: usize = 4;
const PROMPTS: usize = 200;
const STREAM: u32 = 1;

/// The answer to a prompt.
fn answer(prompt: usize) -> String {
    format!(
        r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"content":"{prompt}"}},"finish_reason":"stop"}}]}}"#
    )
}

/// The next message to a worker.
fn dequeue(process: &Process, worker: &WorkerContext) -> Option<Vec<u8>> {
    let mut queues = process.queues.lock().ok()?;
    let queue = queues.get_mut(worker.worker().queue()? as usize)?;
    queue.pop_front()
}

/// Takes a request through, waiting for other workers if need be; its answer, if the cache had it.
fn ask(
    worker: &Rc<WorkerContext>,
    host: &Rc<FakeHost>,
    process: &Process,
    prompt: usize,
) -> Option<Reply> {
    let fake = host.add_stream(STREAM);
    host.current.set(STREAM);
    let stream = StreamContext::new(STREAM, Rc::clone(worker));
    let headers = [
        (":method", "POST"),
        (":path", "/v1/chat/completions"),
        (":authority", "api.example"),
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-0123456789abcdef"),
    ];
    fake.request_headers
        .replace(Some(headers.into_iter().collect()));
    let body = format!(r#"{{"model":"m","messages":[],"seed":{prompt}}}"#);
    fake.request_body.replace(Some(body.clone().into_bytes()));
    stream.request_headers(false);
    stream.request_body(body.len(), true);
    while stream.holds_request() && fake.reply.borrow().is_none() {
        let message = dequeue(process, worker);
        match message {
            Some(message) => worker.message(&message),
            None => thread::yield_now(),
        }
        host.current.set(STREAM);
    }
    if let Some(reply) = fake.reply.take() {
        stream.logged();
        return Some(reply);
    }
    let headers = [(":status", "200"), ("content-type", "application/json")];
    fake.response_headers
        .replace(Some(headers.into_iter().collect()));
    fake.is_via_upstream.set(true);
    stream.response_headers(false);
    let answer = answer(prompt);
    let length = answer.len();
    fake.response_chunk.replace(Some(answer.into_bytes()));
    stream.response_body(length, true);
    stream.logged();
    None
}

/// A worker in the thread that calls this.
fn start(config: Config, process: &Arc<Process>, seed: u64) -> (Rc<WorkerContext>, Rc<FakeHost>) {
    let host = Rc::new(FakeHost {
        process: Some(Arc::clone(process)),
        seed,
        ..FakeHost::new(Some([seed; 4]))
    });
    let worker = WorkerContext::new(config, Rc::<FakeHost>::clone(&host));
    (worker, host)
}

#[test]
fn workers_in_threads_ask_the_upstream_once_for_each_prompt() {
    let process = Arc::new(Process::default());
    let asked: Vec<_> = (0..PROMPTS).map(|_| AtomicUsize::new(0)).collect();
    let ready = Barrier::new(WORKERS);
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let (process, asked, ready) = (Arc::clone(&process), &asked, &ready);
            scope.spawn(move || {
                let config = Config::parse(br#"{"collapse": {"max_wait": "1m"}}"#).unwrap();
                let (worker, host) = start(config, &process, number as u64 + 1);
                ready.wait();
                for _ in 0..3 {
                    for (prompt, asked) in asked.iter().enumerate() {
                        match ask(&worker, &host, &process, prompt) {
                            Some(reply) => {
                                assert_eq!(reply.body.as_bytes(), answer(prompt).as_bytes())
                            }
                            None => drop(asked.fetch_add(1, Ordering::Relaxed)),
                        }
                    }
                }
            });
        }
    });
    let asked: Vec<_> = asked
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    assert_eq!(asked, [1; PROMPTS]);
}

#[test]
fn an_entry_that_a_host_shares_is_served_without_a_copy() {
    let process = Arc::new(Process::default());
    let (worker, host) = start(Config::parse(b"{}").unwrap(), &process, 1);
    assert!(ask(&worker, &host, &process, 0).is_none());
    // Decoded at the first hit, and found in the same slot at the second.
    for _ in 0..2 {
        let reply = ask(&worker, &host, &process, 0).unwrap();
        assert_eq!(reply.body.as_bytes(), answer(0).as_bytes());
        let body = reply.body.as_bytes().as_ptr_range();
        let values = process.values.lock().unwrap();
        let mut shared = values.values().map(|(value, _)| value.as_ptr_range());
        assert!(shared.any(|value| value.start <= body.start && body.end <= value.end));
    }
}
