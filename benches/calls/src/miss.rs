//! The host calls of a miss in a store that is full: the head of a set is read, and later read again and
//! changed for an entry that takes the place of another one, whose version is read for it. The head is set in any
//! version, so that nobody who came in between makes it fail.

use std::hint::black_box;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::{BESIDE_THE_BODY, host};

/// Those of a store of 64 MiB, full of entries with answers of 1.7 KB.
const SETS: u32 = 64;
const SLOTS: u32 = 256;
const ENTRY_BYTES: usize = 1_700 + BESIDE_THE_BODY;
const HEAD_BYTES: usize = 11 + (17 + 4) * SLOTS as usize;

/// Fills the store.
pub fn prepare() {
    for set in 0..SETS {
        host::set_shared_data(&head_name(set), &[b'.'; HEAD_BYTES], host::ANY_VERSION);
        for slot in 0..SLOTS {
            host::set_shared_data(
                &slot_name(set, slot),
                &[b'.'; ENTRY_BYTES],
                host::ANY_VERSION,
            );
        }
    }
}

pub struct Miss {
    metrics: host::Metrics,
    set: u32,
    slot: u32,
    headers: Vec<u8>,
    head: Vec<u8>,
    entry: Vec<u8>,
}

impl Miss {
    pub fn new(metrics: host::Metrics, context_id: u32) -> Self {
        // Keys are digests: neighbours among requests are none in the store (Knuth, 6.4).
        let place = context_id.wrapping_mul(2_654_435_769) >> 16;
        Self {
            metrics,
            set: place % SETS,
            slot: place / SETS % SLOTS,
            headers: Vec::new(),
            head: Vec::new(),
            entry: vec![b'.'; BESIDE_THE_BODY],
        }
    }

    fn store(&mut self) {
        (self.head, _) = host::shared_data(&head_name(self.set));
        let name = slot_name(self.set, self.slot);
        let (old, version) = host::shared_data(&name);
        black_box(old);
        host::set_shared_data(&head_name(self.set), &self.head, host::ANY_VERSION);
        host::set_shared_data(&name, &self.entry, version);
        // The upstream's first byte and its last.
        host::record(self.metrics);
        host::record(self.metrics);
        // An answer that is stored, and an entry that made room.
        host::increment(self.metrics);
        host::increment(self.metrics);
    }
}

impl Context for Miss {}

impl HttpContext for Miss {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.headers = host::headers(host::REQUEST_HEADERS);
        Action::Continue
    }

    fn on_http_request_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if !end_of_stream {
            return Action::Pause;
        }
        black_box(&self.headers);
        read_route();
        black_box(host::buffer(host::REQUEST_BODY));
        black_box(host::now());
        black_box(host::shared_data(&head_name(self.set)));
        // A miss, and one that is near to an earlier request.
        host::increment(self.metrics);
        host::increment(self.metrics);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        black_box(host::headers(host::RESPONSE_HEADERS));
        black_box(host::property(b"response\0code_details"));
        black_box(host::now());
        host::set_response_header("x-cache", "MISS");
        host::add_response_header("cache-status", "envoy-llm-cache; fwd=uri-miss");
        // By which the answer came.
        read_route();
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if size > 0 {
            self.entry.extend(host::buffer(host::RESPONSE_BODY));
        }
        black_box(host::now());
        if end_of_stream {
            self.store();
        }
        Action::Continue
    }
}

/// The route is a part of the key.
fn read_route() {
    black_box(host::property(b"xds\0cluster_name"));
    black_box(host::property(b"xds\0route_name"));
}

fn head_name(set: u32) -> String {
    format!("llm-cache/{SETS}/{set}")
}

fn slot_name(set: u32, slot: u32) -> String {
    format!("llm-cache/{SETS}/{set}/{slot}")
}
