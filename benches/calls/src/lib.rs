//! Floor C: what the proxy-wasm ABI takes of any cache that reads a request and answers it. It makes
//! the six host calls of a hit of the filter, with values of the same sizes, and nothing else: it
//! looks at nothing that it is given. Its configuration is the answer's body.
//!
//! A call that fails lets the request go on to the upstream, which the benchmark notices.

use std::hint::black_box;
use std::ptr::null_mut;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

const STATUS_OK: u32 = 0;
const REQUEST_BODY: u32 = 0;
const CONFIGURATION: u32 = 7;
const REQUEST_HEADERS: u32 = 0;
const COUNTER: u32 = 0;
const NO_GRPC_STATUS: i32 = -1;

const METRIC: &str = "calls";
const ENTRY: &str = "llm-cache/123/45";
/// What an entry of the filter holds beside the answer's body, about: its slot's key and times, and
/// its headers.
const BESIDE_THE_BODY: usize = 135;

const DETAILS: &str = "calls_hit";
/// The headers of a hit.
const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/json"),
    ("x-cache", "HIT"),
    (
        "cache-status",
        "envoy-llm-cache; hit; ttl=86399; detail=memory",
    ),
    ("age", "0"),
];

// As the filter calls them: without the SDK's wrappers, which make strings of what is read.
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_shared_data(
        name: *const u8,
        name_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    counter: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        prepare().map(|counter| self.counter = counter).is_some()
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Calls {
            counter: self.counter,
            headers: None,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Calls {
    counter: u32,
    headers: Option<Vec<u8>>,
}

impl Context for Calls {}

impl HttpContext for Calls {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        self.headers = request_headers();
        Action::Continue
    }

    fn on_http_request_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        if end_of_stream && self.answer().is_none() {
            return Action::Continue;
        }
        Action::Pause
    }
}

impl Calls {
    /// All the calls but the first, in the order in which the filter makes them.
    fn answer(&self) -> Option<()> {
        black_box(self.headers.as_ref()?);
        black_box(buffer(REQUEST_BODY)?);
        black_box(now()?);
        let entry = entry()?;
        // SAFETY: only numbers are passed.
        succeeded(unsafe { proxy_increment_metric(self.counter, 1) })?;
        reply(entry.get(BESIDE_THE_BODY..)?)
    }
}

/// Stores the entry; the counter.
fn prepare() -> Option<u32> {
    let mut entry = vec![b'.'; BESIDE_THE_BODY];
    entry.extend(buffer(CONFIGURATION)?);
    let mut counter = 0;
    // SAFETY: the host reads names and the entry, and writes one number to a place that is ours.
    let statuses = unsafe {
        [
            proxy_set_shared_data(ENTRY.as_ptr(), ENTRY.len(), entry.as_ptr(), entry.len(), 0),
            proxy_define_metric(COUNTER, METRIC.as_ptr(), METRIC.len(), &raw mut counter),
        ]
    };
    (statuses == [STATUS_OK; 2]).then_some(counter)
}

fn request_headers() -> Option<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host writes to places that are ours.
    succeeded(unsafe {
        proxy_get_header_map_pairs(REQUEST_HEADERS, &raw mut data, &raw mut size)
    })?;
    // SAFETY: the host has just allocated it for this call.
    Some(unsafe { take(data, size) })
}

fn buffer(buffer: u32) -> Option<Vec<u8>> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the host writes to places that are ours.
    succeeded(unsafe {
        proxy_get_buffer_bytes(buffer, 0, usize::MAX, &raw mut data, &raw mut size)
    })?;
    // SAFETY: the host has just allocated it for this call.
    Some(unsafe { take(data, size) })
}

fn now() -> Option<u64> {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64 to a place that is ours.
    succeeded(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) })?;
    Some(nanoseconds)
}

fn entry() -> Option<Vec<u8>> {
    let (mut data, mut size, mut version) = (null_mut(), 0, 0);
    // SAFETY: the host reads the name during the call and writes to places that are ours.
    succeeded(unsafe {
        proxy_get_shared_data(
            ENTRY.as_ptr(),
            ENTRY.len(),
            &raw mut data,
            &raw mut size,
            &raw mut version,
        )
    })?;
    // SAFETY: the host has just allocated it for this call.
    Some(unsafe { take(data, size) })
}

fn reply(body: &[u8]) -> Option<()> {
    let headers = pairs();
    // SAFETY: the host reads all of them during the call.
    succeeded(unsafe {
        proxy_send_local_response(
            200,
            DETAILS.as_ptr(),
            DETAILS.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// [`HEADERS`] as the ABI has them: their number, all lengths, then names and values, each with NUL.
fn pairs() -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend((HEADERS.len() as u32).to_le_bytes());
    for (name, value) in HEADERS {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in HEADERS {
        for text in [name, value] {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
    }
    out
}

fn succeeded(status: u32) -> Option<()> {
    (status == STATUS_OK).then_some(())
}

/// Takes over what the host allocated through the SDK's `proxy_on_memory_allocate`, so that it is
/// freed.
///
/// # Safety
/// `data` is null or was allocated there with exactly `size` bytes, and is passed once.
unsafe fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the allocator is the global one, length and capacity are the allocated size.
    unsafe { Vec::from_raw_parts(data, size, size) }
}
