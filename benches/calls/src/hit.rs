//! The host calls of a hit.

use std::hint::black_box;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::{BESIDE_THE_BODY, host};

const ENTRY: &str = "llm-cache/64/12/45";
const DETAILS: &str = "calls_hit";
const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/json"),
    ("x-cache", "HIT"),
    (
        "cache-status",
        "envoy-llm-cache; hit; ttl=86399; detail=memory",
    ),
    ("age", "0"),
];

/// Stores the entry that every request gets.
pub fn prepare(body: &[u8]) {
    let mut entry = vec![b'.'; BESIDE_THE_BODY];
    entry.extend_from_slice(body);
    host::set_shared_data(ENTRY, &entry, host::ANY_VERSION);
}

pub struct Hit {
    metrics: host::Metrics,
    headers: Vec<u8>,
}

impl Hit {
    pub fn new(metrics: host::Metrics) -> Self {
        let headers = Vec::new();
        Self { metrics, headers }
    }
}

impl Context for Hit {}

impl HttpContext for Hit {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.headers = host::headers(host::REQUEST_HEADERS);
        // The route is a part of the key.
        black_box(host::property(b"xds\0cluster_name"));
        black_box(host::property(b"xds\0route_name"));
        Action::Continue
    }

    fn on_http_request_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if end_of_stream {
            black_box(&self.headers);
            black_box(host::buffer(host::REQUEST_BODY));
            black_box(host::now());
            let (entry, _) = host::shared_data(ENTRY);
            host::increment(self.metrics);
            // The age of the answer.
            host::record(self.metrics);
            host::reply(DETAILS, &HEADERS, &entry[BESIDE_THE_BODY..]);
        }
        Action::Pause
    }
}
