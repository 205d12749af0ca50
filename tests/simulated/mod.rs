//! A host without Envoy: one worker, its memory in a map, and an upstream that never says the same
//! twice.
#![expect(clippy::unwrap_used, reason = "it is a part of tests")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use envoy_llm_cache::attributes::Attribute;
use envoy_llm_cache::config::Config;
use envoy_llm_cache::exchange::{Exchange, Input, Output, Worker};
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::store::{HostFault, MemoryStore, SetFault, SharedData, Version, Versioned};

pub(crate) const NOW: u64 = 1_700_000_000_000;

/// Shared data as proxy-wasm-cpp-host has it: one counter for all versions.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    versions: Cell<u32>,
    /// How often it was asked for a value.
    pub(crate) reads: Cell<usize>,
}

impl SharedData for Shared {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        self.reads.set(self.reads.get() + 1);
        let values = self.values.borrow();
        Ok(values.get(name).map(|(value, version)| Versioned {
            value: value.clone(),
            version: Version(*version),
        }))
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        let mut values = self.values.borrow_mut();
        if let (Some((_, current)), Some(Version(expected))) = (values.get(name), version)
            && *current != expected
        {
            return Err(SetFault::VersionMismatch);
        }
        self.versions.set(self.versions.get() + 1);
        values.insert(name.to_owned(), (value.to_owned(), self.versions.get()));
        Ok(())
    }
}

pub(crate) struct Host {
    pub(crate) shared: Shared,
    memory: MemoryStore,
    pub(crate) worker: Rc<Worker>,
    pub(crate) now: u64,
    /// How often the upstream was asked.
    pub(crate) asked: u32,
    /// The language that the upstream says its answers are in.
    pub(crate) language: String,
    /// What the host knows of requests besides their headers.
    pub(crate) attributes: Vec<(Attribute, Vec<u8>)>,
}

impl Host {
    pub(crate) fn new(config: &str, secret: Option<[u64; 4]>) -> Self {
        let config = Config::parse(config.as_bytes()).unwrap();
        let shared = Shared::default();
        Self {
            memory: MemoryStore::open(&shared, 4 << 20, 1 << 20),
            worker: Rc::new(Worker::new(config, 1, secret)),
            shared,
            now: NOW,
            asked: 0,
            language: "en".to_owned(),
            attributes: by_upstream(),
        }
    }

    /// Takes a request through; what the client and the operators see of it.
    pub(crate) fn ask(&mut self, headers: Headers, body: &[u8]) -> Vec<Output> {
        let mut exchange = Exchange::new(Rc::clone(&self.worker));
        let mut seen = Vec::new();
        let end_of_stream = false;
        let begin = Input::RequestHeaders {
            headers,
            end_of_stream,
        };
        self.step(&mut exchange, begin, body, &mut seen);
        if exchange.holds_request() {
            let whole = Input::RequestBody {
                held: body.len(),
                end_of_stream: true,
            };
            self.step(&mut exchange, whole, body, &mut seen);
        }
        if seen.iter().any(|output| matches!(output, Output::Reply(_))) {
            return seen;
        }
        self.asked += 1;
        if exchange.awaits_response() {
            let fields = [
                (":status", "200"),
                ("content-type", "application/json"),
                ("content-language", self.language.as_str()),
            ];
            let now = self.now;
            let began = Input::ResponseHeaders {
                headers: &fields.into_iter().collect(),
                via_upstream: true,
                end_of_stream,
                now,
            };
            self.step(&mut exchange, began, body, &mut seen);
        }
        if exchange.captures_response() {
            let answer = format!(
                r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"content":"answer {}"}},"finish_reason":"stop"}}]}}"#,
                self.asked
            );
            let ended = Input::ResponseBody {
                chunk: Some(answer.as_bytes()),
                size: answer.len(),
                now: self.now,
                end_of_stream: true,
            };
            self.step(&mut exchange, ended, body, &mut seen);
        }
        seen
    }

    pub(crate) fn step(
        &self,
        exchange: &mut Exchange,
        input: Input<'_>,
        body: &[u8],
        seen: &mut Vec<Output>,
    ) {
        let mut outputs = Vec::new();
        exchange.handle(input, &mut outputs);
        for output in outputs {
            let now = self.now;
            let answer = match output {
                Output::ReadAttributes(wanted) => {
                    let known = self.attributes.iter().cloned();
                    let told = known.filter(|(attribute, _)| wanted.contains(attribute));
                    Input::AttributesRead(told.collect())
                }
                Output::ReadRequestBody => Input::RequestBodyRead(Some(body)),
                Output::LookUp(key) => {
                    let found = self.memory.look_up(&self.shared, key.as_bytes(), now);
                    Input::LookedUp { found, now }
                }
                Output::LookAgain(key, again) => {
                    let key = key.as_bytes();
                    let found = self.memory.look_again(&self.shared, key, again, now);
                    Input::LookedUp { found, now }
                }
                Output::Insert {
                    key,
                    entry,
                    expires,
                    now,
                } => {
                    let (now, expires) = ((now / 1_000) as u32, (expires / 1_000) as u32);
                    let key = key.as_bytes();
                    let inserted = self.memory.insert(&self.shared, key, &entry, now, expires);
                    Input::Inserted(inserted)
                }
                output => {
                    seen.push(output);
                    continue;
                }
            };
            self.step(exchange, answer, body, seen);
        }
    }
}

/// A route without a name.
pub(crate) fn by_upstream() -> Vec<(Attribute, Vec<u8>)> {
    vec![(Attribute::Cluster, b"upstream".to_vec())]
}

/// A chat completion, with these headers beside or in the place of its own.
pub(crate) fn post(extra: &[(&str, &str)]) -> Headers {
    let own = [
        (":method", "POST"),
        (":path", "/v1/chat/completions"),
        (":authority", "api.example"),
        ("content-type", "application/json"),
        ("authorization", "Bearer sk-0123456789abcdef"),
    ];
    let kept = own
        .iter()
        .filter(|(name, _)| extra.iter().all(|(other, _)| other != name));
    kept.chain(extra).copied().collect()
}
