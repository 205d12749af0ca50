//! The host calls of proxy-wasm ABI 0.2.1, each of which returns an error instead of a panic.
//!
//! The SDK's wrappers panic on values that are not UTF-8 and on statuses that they do not expect,
//! and a panic takes down every stream on the worker.
#![expect(unsafe_code, reason = "the ABI is C functions that return pointers")]

use crate::http::Headers;
use crate::store::{HostFault, SetFault, Version, Versioned};

const STATUS_OK: u32 = 0;
const STATUS_NOT_FOUND: u32 = 1;
const STATUS_EMPTY: u32 = 7;
const STATUS_CAS_MISMATCH: u32 = 8;
const STATUS_INTERNAL_FAILURE: u32 = 10;

pub(super) const BUFFER_HTTP_REQUEST_BODY: u32 = 0;
pub(super) const BUFFER_HTTP_RESPONSE_BODY: u32 = 1;
pub(super) const BUFFER_HTTP_CALL_RESPONSE_BODY: u32 = 4;
pub(super) const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;

pub(super) const MAP_HTTP_REQUEST_HEADERS: u32 = 0;
pub(super) const MAP_HTTP_RESPONSE_HEADERS: u32 = 2;
pub(super) const MAP_HTTP_RESPONSE_TRAILERS: u32 = 3;
pub(super) const MAP_HTTP_CALL_RESPONSE_HEADERS: u32 = 6;
pub(super) const MAP_HTTP_CALL_RESPONSE_TRAILERS: u32 = 7;

const STREAM_HTTP_REQUEST: u32 = 0;

pub(super) const METRIC_COUNTER: u32 = 0;
pub(super) const METRIC_GAUGE: u32 = 1;
pub(super) const METRIC_HISTOGRAM: u32 = 2;

pub(super) const LOG_CRITICAL: u32 = 5;

/// "This is no gRPC answer".
const NO_GRPC_STATUS: i32 = -1;

// Statuses and enumerations are plain numbers here: a number that a Rust enumeration does not
// know would be undefined behaviour.
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
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
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(id: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_register_shared_queue(name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(id: u32, data: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(id: u32, data: *mut *mut u8, size: *mut usize) -> u32;
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds() -> Result<u64, HostFault> {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64 to a place that is ours.
    check(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) })?;
    Ok(nanoseconds)
}

/// Writes a line to the host's log. There is nobody to tell of a failure.
pub(super) fn log(level: u32, message: &str) {
    // SAFETY: the host reads the message during the call.
    let _status = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// The level from which on the host prints what is logged.
pub(super) fn log_level() -> Result<u32, HostFault> {
    let mut level = 0;
    // SAFETY: the host writes one u32 to a place that is ours.
    check(unsafe { proxy_get_log_level(&raw mut level) })?;
    Ok(level)
}

/// An attribute of the current request. `path` has its parts separated by NUL. Legal in the callbacks of a
/// stream.
pub(super) fn property(path: &[u8]) -> Result<Vec<u8>, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host reads the path during the call and writes to places that are ours.
    check(unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) })?;
    // SAFETY: the host has just allocated it for this call.
    Ok(unsafe { take(data, size) })
}

/// Sets what Envoy keeps as the stream's filter state under `wasm.` and this name.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), HostFault> {
    // SAFETY: the host reads both during the call.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Calls a function that the host has beyond the ABI. What it returns is dropped.
pub(super) fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<(), HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host reads name and arguments during the call and writes to places that are ours.
    check(unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            &raw mut data,
            &raw mut size,
        )
    })?;
    // SAFETY: the host has just allocated it for this call, if there is any.
    drop(unsafe { take(data, size) });
    Ok(())
}

pub(super) fn headers(map: u32) -> Result<Headers, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host writes to places that are ours.
    check(unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) })?;
    // SAFETY: the host has just allocated it for this call.
    let pairs = unsafe { take(data, size) };
    Headers::from_pairs(pairs).ok_or(HostFault)
}

/// Sets a header, whatever its values were.
pub(super) fn set_header(map: u32, name: &str, value: &str) -> Result<(), HostFault> {
    // SAFETY: the host reads both strings during the call.
    check(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Adds a header, beside those of its name.
pub(super) fn add_header(map: u32, name: &str, value: &str) -> Result<(), HostFault> {
    // SAFETY: the host reads both strings during the call.
    check(unsafe {
        proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Answers the request of the current context.
pub(super) fn send_local_response(
    status: u16,
    details: &str,
    headers: &Headers,
    body: &[u8],
) -> Result<(), HostFault> {
    let headers = headers.to_pairs();
    // SAFETY: the host reads all of them during the call.
    check(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Lets the request of the current context go on.
pub(super) fn continue_request() -> Result<(), HostFault> {
    // SAFETY: only a number is passed.
    check(unsafe { proxy_continue_stream(STREAM_HTTP_REQUEST) })
}

/// Makes what follows concern another context than the one whose callback is running.
pub(super) fn set_effective_context(id: u32) -> Result<(), HostFault> {
    // SAFETY: only a number is passed.
    check(unsafe { proxy_set_effective_context(id) })
}

/// Whether the VM may let requests go on that were held back: a restricted one cannot, and would
/// panic in the SDK. `id` is that of the root context. Legal in `on_configure`.
pub(super) fn may_resume(id: u32) -> bool {
    // SAFETY: only numbers are passed. The root context has no stream that could go on.
    let statuses = unsafe {
        [
            proxy_set_effective_context(id),
            proxy_continue_stream(STREAM_HTTP_REQUEST),
            proxy_set_tick_period_milliseconds(0),
        ]
    };
    statuses
        .iter()
        .all(|status| *status != STATUS_INTERNAL_FAILURE)
}

/// Has the root context's `on_tick` called at this interval in milliseconds; 0 is never.
pub(super) fn set_tick_period(milliseconds: u32) -> Result<(), HostFault> {
    // SAFETY: only a number is passed.
    check(unsafe { proxy_set_tick_period_milliseconds(milliseconds) })
}

/// Makes a queue of this name, whose messages come to the current root context; those of a name
/// that several make come to the last one.
pub(super) fn register_queue(name: &str) -> Result<u32, HostFault> {
    let mut id = 0;
    // SAFETY: the host reads the name during the call and writes one u32 to a place that is ours.
    check(unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Puts a message into a queue.
pub(super) fn enqueue(queue: u32, message: &[u8]) -> Result<(), HostFault> {
    // SAFETY: the host reads the message during the call.
    check(unsafe { proxy_enqueue_shared_queue(queue, message.as_ptr(), message.len()) })
}

/// Takes the first message out of a queue, if there is one.
pub(super) fn dequeue(id: u32) -> Result<Option<Vec<u8>>, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host writes to places that are ours.
    let status = unsafe { proxy_dequeue_shared_queue(id, &raw mut data, &raw mut size) };
    match status {
        // SAFETY: the host has just allocated it for this call.
        STATUS_OK => Ok(Some(unsafe { take(data, size) })),
        STATUS_EMPTY => Ok(None),
        _ => Err(HostFault),
    }
}

/// The value under a name in shared data, and its version.
pub(super) fn shared_data(name: &str) -> Result<Option<Versioned>, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    let mut version = 0;
    // SAFETY: the host reads the name during the call and writes to places that are ours.
    let status = unsafe {
        proxy_get_shared_data(
            name.as_ptr(),
            name.len(),
            &raw mut data,
            &raw mut size,
            &raw mut version,
        )
    };
    match status {
        STATUS_OK => Ok(Some(Versioned {
            // SAFETY: the host has just allocated it for this call.
            value: unsafe { take(data, size) }.into(),
            version: Version(version),
        })),
        STATUS_NOT_FOUND => Ok(None),
        _ => Err(HostFault),
    }
}

/// Sets the value under a name in shared data, if its version is the one given.
pub(super) fn set_shared_data(
    name: &str,
    value: &[u8],
    version: Option<Version>,
) -> Result<(), SetFault> {
    let version = version.map_or(0, |Version(version)| version);
    // SAFETY: the host reads name and value during the call.
    let status = unsafe {
        proxy_set_shared_data(
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
            version,
        )
    };
    match status {
        STATUS_OK => Ok(()),
        STATUS_CAS_MISMATCH => Err(SetFault::VersionMismatch),
        _ => Err(SetFault::Host),
    }
}

/// Defines a metric, or finds it.
pub(super) fn define_metric(kind: u32, name: &str) -> Result<u32, HostFault> {
    let mut id = 0;
    // SAFETY: the host reads the name during the call and writes one u32 to a place that is ours.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Adds to a counter or a gauge.
pub(super) fn add_to_metric(id: u32, offset: i64) -> Result<(), HostFault> {
    // SAFETY: only numbers are passed.
    check(unsafe { proxy_increment_metric(id, offset) })
}

/// Sets a gauge, or adds a value to a histogram.
pub(super) fn record_metric(id: u32, value: u64) -> Result<(), HostFault> {
    // SAFETY: only numbers are passed.
    check(unsafe { proxy_record_metric(id, value) })
}

/// At most `max_size` bytes of a buffer, from its start. A buffer that does not exist is empty.
pub(super) fn buffer(buffer: u32, max_size: usize) -> Result<Vec<u8>, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host writes to places that are ours.
    let status =
        unsafe { proxy_get_buffer_bytes(buffer, 0, max_size, &raw mut data, &raw mut size) };
    match status {
        // SAFETY: the host has just allocated it for this call.
        STATUS_OK => Ok(unsafe { take(data, size) }),
        STATUS_NOT_FOUND => Ok(Vec::new()),
        _ => Err(HostFault),
    }
}

fn check(status: u32) -> Result<(), HostFault> {
    match status {
        STATUS_OK => Ok(()),
        _ => Err(HostFault),
    }
}

/// Takes over what the host allocated through the SDK's `proxy_on_memory_allocate`.
///
/// # Safety
/// `data` is null or was allocated there with exactly `size` bytes, and is passed once.
unsafe fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        Vec::new()
    } else {
        // SAFETY: the allocator is the global one, length and capacity are the allocated size.
        unsafe { Vec::from_raw_parts(data, size, size) }
    }
}
