//! A gateway without Envoy: one worker in a fake host, and an upstream that never says the same twice.
#![expect(clippy::unwrap_used, reason = "it is a part of tests")]

#[path = "../fake_host/mod.rs"]
pub(crate) mod fake_host;

use std::rc::Rc;

use envoy_llm_cache::attributes::Attribute;
use envoy_llm_cache::config::Config;
use envoy_llm_cache::driver::{StreamContext, WorkerContext};
use envoy_llm_cache::host::Reply;
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::report::Report;
use fake_host::{FakeHost, FakeStream, by_upstream};

/// The one stream that there is at a time.
const STREAM: u32 = 1;

pub(crate) struct Gateway {
    pub(crate) host: Rc<FakeHost>,
    pub(crate) context: Rc<WorkerContext>,
    /// How often the upstream was asked.
    pub(crate) asked: u32,
    /// The language that the upstream says its answers are in.
    pub(crate) language: String,
    /// What the host knows of requests besides their headers.
    pub(crate) attributes: Vec<(Attribute, Vec<u8>)>,
}

/// What the client and the operators see of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) reply: Option<Reply>,
    set_in_request: Vec<(String, String)>,
    pub(crate) set_in_response: Vec<(String, String)>,
    reports: Vec<Report>,
}

impl Gateway {
    pub(crate) fn new(config: &str, secret: Option<[u64; 4]>) -> Self {
        let config = Config::parse(config.as_bytes()).unwrap();
        let host = Rc::new(FakeHost::new(secret));
        Self {
            context: WorkerContext::new(config, Rc::<FakeHost>::clone(&host)),
            host,
            asked: 0,
            language: "en".to_owned(),
            attributes: by_upstream(),
        }
    }

    /// A stream that is to come.
    pub(crate) fn stream(&self) -> (StreamContext, Rc<FakeStream>) {
        let fake = self.host.add_stream(STREAM);
        fake.attributes.replace(self.attributes.clone());
        self.host.current.set(STREAM);
        (StreamContext::new(STREAM, Rc::clone(&self.context)), fake)
    }

    /// Takes a request through.
    pub(crate) fn ask(&mut self, headers: Headers, body: &[u8]) -> Seen {
        let (stream, fake) = self.stream();
        fake.request_headers.replace(Some(headers));
        fake.request_body.replace(Some(body.to_vec()));
        stream.request_headers(false);
        stream.request_body(body.len(), true);
        if fake.reply.borrow().is_none() {
            self.asked += 1;
            let fields = [
                (":status", "200"),
                ("content-type", "application/json"),
                ("content-language", self.language.as_str()),
            ];
            let headers = fields.into_iter().collect();
            fake.response_headers.replace(Some(headers));
            fake.is_via_upstream.set(true);
            stream.response_headers(false);
            let answer = format!(
                r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"content":"answer {}"}},"finish_reason":"stop"}}]}}"#,
                self.asked
            );
            let length = answer.len();
            fake.response_chunk.replace(Some(answer.into_bytes()));
            stream.response_body(length, true);
        }
        Seen {
            reply: fake.reply.take(),
            set_in_request: fake.set_in_request.take(),
            set_in_response: fake.set_in_response.take(),
            reports: fake.reports.take(),
        }
    }
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
