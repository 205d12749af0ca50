//! Host calls as the filter makes them: without the SDK's wrappers, which make strings of what is
//! read. One that fails traps the VM.

use std::ptr::null_mut;

const STATUS_OK: u32 = 0;
pub const REQUEST_BODY: u32 = 0;
pub const RESPONSE_BODY: u32 = 1;
pub const CONFIGURATION: u32 = 7;
pub const REQUEST_HEADERS: u32 = 0;
pub const RESPONSE_HEADERS: u32 = 2;
const COUNTER: u32 = 0;
const HISTOGRAM: u32 = 2;
/// Nobody else sets what this sets.
pub const ANY_VERSION: u32 = 0;
const NO_GRPC_STATUS: i32 = -1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
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
    fn proxy_record_metric(id: u32, value: u64) -> u32;
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

pub fn headers(map: u32) -> Vec<u8> {
    // SAFETY: the host writes to the places that it is given.
    given(|data, size| unsafe { proxy_get_header_map_pairs(map, data, size) })
}

pub fn buffer(buffer: u32) -> Vec<u8> {
    // SAFETY: the host writes to the places that it is given.
    given(|data, size| unsafe { proxy_get_buffer_bytes(buffer, 0, usize::MAX, data, size) })
}

/// `path` is the property's path, its parts separated by NUL.
pub fn property(path: &[u8]) -> Vec<u8> {
    // SAFETY: the host reads the path during the call and writes to the places that it is given.
    given(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// The value and its version.
pub fn shared_data(name: &str) -> (Vec<u8>, u32) {
    let mut version = 0;
    // SAFETY: the host reads the name during the call and writes to the places that it is given.
    let value = given(|data, size| unsafe {
        proxy_get_shared_data(name.as_ptr(), name.len(), data, size, &raw mut version)
    });
    (value, version)
}

pub fn set_shared_data(name: &str, value: &[u8], version: u32) {
    // SAFETY: the host reads name and value during the call.
    succeed(unsafe {
        proxy_set_shared_data(
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
            version,
        )
    });
}

pub fn now() -> u64 {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64 to a place that is ours.
    succeed(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) });
    nanoseconds
}

pub fn set_response_header(name: &str, value: &str) {
    // SAFETY: the host reads both during the call.
    succeed(unsafe {
        proxy_replace_header_map_value(
            RESPONSE_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    });
}

pub fn add_response_header(name: &str, value: &str) {
    // SAFETY: the host reads both during the call.
    succeed(unsafe {
        proxy_add_header_map_value(
            RESPONSE_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    });
}

/// A counter and a histogram.
#[derive(Clone, Copy, Default)]
pub struct Metrics {
    counter: u32,
    histogram: u32,
}

pub fn define_metrics() -> Metrics {
    let define = |kind, name: &str| {
        let mut id = 0;
        // SAFETY: the host reads the name and writes one number to a place that is ours.
        succeed(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) });
        id
    };
    Metrics {
        counter: define(COUNTER, "calls"),
        histogram: define(HISTOGRAM, "durations"),
    }
}

pub fn increment(metrics: Metrics) {
    // SAFETY: only numbers are passed.
    succeed(unsafe { proxy_increment_metric(metrics.counter, 1) });
}

pub fn record(metrics: Metrics) {
    // SAFETY: only numbers are passed.
    succeed(unsafe { proxy_record_metric(metrics.histogram, 1) });
}

pub fn reply(details: &str, headers: &[(&str, &str)], body: &[u8]) {
    let headers = pairs(headers);
    // SAFETY: the host reads all of them during the call.
    succeed(unsafe {
        proxy_send_local_response(
            200,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    });
}

/// As the ABI has them: their number, all lengths, then names and values, each with NUL.
fn pairs(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend((headers.len() as u32).to_le_bytes());
    for (name, value) in headers {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in headers {
        for text in [name, value] {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
    }
    out
}

/// What the host allocates through the SDK's `proxy_on_memory_allocate`, taken over so that it is
/// freed.
fn given(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Vec<u8> {
    let (mut data, mut size) = (null_mut(), 0);
    succeed(call(&raw mut data, &raw mut size));
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the host has just allocated it for this call, and the allocator is the global one:
    // length and capacity are the allocated size.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

fn succeed(status: u32) {
    assert_eq!(status, STATUS_OK, "a host call failed");
}
