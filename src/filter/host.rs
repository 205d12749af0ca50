//! The only file that calls the host: [`Host`] for proxy-wasm.
//!
//! The SDK's wrappers panic on values that are not UTF-8 and on statuses that they do not expect,
//! and a panic takes down every stream on the worker. So these are thin wrappers over the raw ABI
//! (proxy-wasm ABI 0.2.1), each of which returns an error instead.
#![expect(unsafe_code, reason = "the ABI is C functions that return pointers")]

use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use proxy_wasm::hostcalls;

use crate::attributes::Attribute;
use crate::callout::{Callout, CalloutFault, CalloutReply, CalloutResult};
use crate::host::{Host, Reply};
use crate::http::Headers;
use crate::report::{Counters, Metrics, Report};
use crate::store::{HostFault, SetFault, SharedData, Version, Versioned};

const STATUS_OK: u32 = 0;
const STATUS_NOT_FOUND: u32 = 1;
const STATUS_EMPTY: u32 = 7;
const STATUS_CAS_MISMATCH: u32 = 8;
const STATUS_INTERNAL_FAILURE: u32 = 10;

const BUFFER_HTTP_REQUEST_BODY: u32 = 0;
const BUFFER_HTTP_RESPONSE_BODY: u32 = 1;
const BUFFER_HTTP_CALL_RESPONSE_BODY: u32 = 4;
const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;

const MAP_HTTP_REQUEST_HEADERS: u32 = 0;
const MAP_HTTP_RESPONSE_HEADERS: u32 = 2;
const MAP_HTTP_RESPONSE_TRAILERS: u32 = 3;
const MAP_HTTP_CALL_RESPONSE_HEADERS: u32 = 6;
const MAP_HTTP_CALL_RESPONSE_TRAILERS: u32 = 7;

const STREAM_HTTP_REQUEST: u32 = 0;

const METRIC_COUNTER: u32 = 0;
const METRIC_GAUGE: u32 = 1;

const LOG_CRITICAL: u32 = 5;

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
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(id: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_register_shared_queue(name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(id: u32, data: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(id: u32, data: *mut *mut u8, size: *mut usize) -> u32;
}

/// The host of a plugin under one configuration.
#[derive(Debug)]
pub(super) struct ProxyWasm {
    metrics: Metrics<HostCounters>,
}

impl ProxyWasm {
    /// `cluster` is that of the store behind HTTP.
    pub(super) fn new(cluster: Option<String>) -> Self {
        Self {
            metrics: Metrics::new(HostCounters, cluster),
        }
    }
}

/// Each method is legal in the callbacks in which the core calls it: what concerns a request in those
/// of the request and, as it was sent, in `on_log`; what concerns a response in those of the response;
/// the rest in every one from `on_configure` on.
impl Host for ProxyWasm {
    fn now(&self) -> u64 {
        nanoseconds().unwrap_or(0) / 1_000_000
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => nanoseconds().unwrap_or(0),
        }
    }

    fn secret(&self) -> Option<[u64; 4]> {
        let mut words = [[0; 8]; 4];
        getrandom::fill(words.as_flattened_mut()).ok()?;
        Some(words.map(u64::from_le_bytes))
    }

    fn shared_data(&self) -> &dyn SharedData {
        &HostSharedData
    }

    /// The queue's messages come to the root context that makes it last.
    fn register_queue(&self, name: &str) -> Result<u32, HostFault> {
        let mut id = 0;
        // SAFETY: the host reads the name during the call and writes one u32 to a place that is ours.
        check(unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut id) })?;
        Ok(id)
    }

    fn enqueue(&self, queue: u32, message: &[u8]) -> Result<(), HostFault> {
        // SAFETY: the host reads the message during the call.
        check(unsafe { proxy_enqueue_shared_queue(queue, message.as_ptr(), message.len()) })
    }

    fn set_tick_period(&self, period: Duration) {
        let milliseconds = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: only a number is passed.
        let _unset = check(unsafe { proxy_set_tick_period_milliseconds(milliseconds) });
    }

    fn report(&self, report: Report) {
        self.metrics.report(report);
    }

    /// This goes through the SDK, because its dispatcher wants to know each token. It panics on
    /// statuses that Envoy's `Context::httpCall` does not have.
    fn call(&self, callout: &Callout) -> Result<u32, CalloutFault> {
        let headers = callout.headers.iter();
        hostcalls::dispatch_http_call(
            &callout.cluster,
            headers.map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            Some(&callout.body)
                .filter(|body| !body.is_empty())
                .map(Vec::as_slice),
            Vec::new(),
            callout.timeout,
        )
        .map_err(|_| CalloutFault::NotSent)
    }

    fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        property(attribute.path()).ok()
    }

    fn request_headers(&self) -> Option<Headers> {
        headers(MAP_HTTP_REQUEST_HEADERS).ok()
    }

    fn request_body(&self) -> Option<Vec<u8>> {
        buffer(BUFFER_HTTP_REQUEST_BODY, usize::MAX).ok()
    }

    fn response_headers(&self) -> Option<Headers> {
        headers(MAP_HTTP_RESPONSE_HEADERS).ok()
    }

    fn response_chunk(&self, size: usize) -> Option<Vec<u8>> {
        buffer(BUFFER_HTTP_RESPONSE_BODY, size).ok()
    }

    fn response_trailers(&self) -> Option<Headers> {
        headers(MAP_HTTP_RESPONSE_TRAILERS).ok()
    }

    fn is_via_upstream(&self) -> bool {
        property(CODE_DETAILS).is_ok_and(|details| details == b"via_upstream")
    }

    fn is_closed_by_client(&self) -> bool {
        property(CODE_DETAILS)
            .is_ok_and(|details| details.starts_with(b"downstream_remote_disconnect"))
    }

    // A request or a response without our header is better than none.
    fn set_request_header(&self, name: &str, value: &str) {
        let _unset = set_header(MAP_HTTP_REQUEST_HEADERS, name, value);
    }

    fn set_response_header(&self, name: &str, value: &str) {
        let _unset = set_header(MAP_HTTP_RESPONSE_HEADERS, name, value);
    }

    fn add_response_header(&self, name: &str, value: &str) {
        // SAFETY: the host reads both strings during the call.
        let _unset = check(unsafe {
            proxy_add_header_map_value(
                MAP_HTTP_RESPONSE_HEADERS,
                name.as_ptr(),
                name.len(),
                value.as_ptr(),
                value.len(),
            )
        });
    }

    /// Envoy adds `content-length`, `date` and `server`. Legal until response headers have gone out; it
    /// overrides what the callback returns, and so must concern the stream whose callback is running.
    fn reply(&self, reply: Reply) -> Result<(), HostFault> {
        let headers = reply.headers.to_pairs();
        let body = reply.body.as_bytes();
        // SAFETY: the host reads all of them during the call.
        check(unsafe {
            proxy_send_local_response(
                u32::from(reply.status),
                reply.details.as_ptr(),
                reply.details.len(),
                body.as_ptr(),
                body.len(),
                headers.as_ptr(),
                headers.len(),
                NO_GRPC_STATUS,
            )
        })
    }

    fn has_asked_upstream(&self) -> bool {
        property(b"upstream\0request_attempt_count")
            .is_ok_and(|count| count.iter().any(|byte| *byte != 0))
    }

    /// Only the root context may do this: a reply to another stream overrides what the callback returns.
    fn enter_stream(&self, stream: u32) -> Result<(), HostFault> {
        // SAFETY: only a number is passed.
        check(unsafe { proxy_set_effective_context(stream) })
    }

    fn resume_request(&self) {
        // SAFETY: only a number is passed. A request that is gone needs no more.
        let _gone = check(unsafe { proxy_continue_stream(STREAM_HTTP_REQUEST) });
    }
}

/// The details of a response, as an attribute.
const CODE_DETAILS: &[u8] = b"response\0code_details";

/// Envoy's counters and gauges.
#[derive(Clone, Copy, Debug)]
struct HostCounters;

impl Counters for HostCounters {
    fn define_counter(&self, name: &str) -> Option<u32> {
        define_metric(METRIC_COUNTER, name).ok()
    }

    fn define_gauge(&self, name: &str) -> Option<u32> {
        define_metric(METRIC_GAUGE, name).ok()
    }

    fn add(&self, id: u32, offset: i64) {
        // SAFETY: only numbers are passed. A host that does not count does not stop the exchange.
        let _uncounted = check(unsafe { proxy_increment_metric(id, offset) });
    }
}

fn nanoseconds() -> Result<u64, HostFault> {
    let mut nanoseconds = 0;
    // SAFETY: the host writes one u64 to a place that is ours.
    check(unsafe { proxy_get_current_time_nanoseconds(&raw mut nanoseconds) })?;
    Ok(nanoseconds)
}

/// The plugin configuration. Legal in `on_configure`.
pub(super) fn plugin_configuration() -> Result<Vec<u8>, HostFault> {
    buffer(BUFFER_PLUGIN_CONFIGURATION, usize::MAX)
}

fn set_header(map: u32, name: &str, value: &str) -> Result<(), HostFault> {
    // SAFETY: the host reads both strings during the call.
    check(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// An attribute of the current request. `path` has its parts separated by NUL. Legal in the callbacks of a
/// stream.
fn property(path: &[u8]) -> Result<Vec<u8>, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host reads the path during the call and writes to places that are ours.
    check(unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) })?;
    // SAFETY: the host has just allocated it for this call.
    Ok(unsafe { take(data, size) })
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

/// What came of a callout: `headers`, `body_bytes` and `trailers` are as the callback for it has them. A
/// body longer than `max_bytes` is not read. Legal in that callback.
pub(super) fn callout_result(
    headers: usize,
    body_bytes: usize,
    trailers: usize,
    max_bytes: usize,
) -> CalloutResult {
    // The host has no headers for a connection that broke.
    if headers == 0 {
        return Err(CalloutFault::NoReply);
    }
    let headers =
        self::headers(MAP_HTTP_CALL_RESPONSE_HEADERS).map_err(|_| CalloutFault::NoReply)?;
    let status = headers.number(":status");
    let status = status.and_then(|status| u16::try_from(status).ok());
    let body = match body_bytes {
        0 => Some(Vec::new()),
        _ if body_bytes > max_bytes => None,
        _ => Some(
            buffer(BUFFER_HTTP_CALL_RESPONSE_BODY, body_bytes)
                .map_err(|_| CalloutFault::NoReply)?,
        ),
    };
    let trailers = match trailers {
        0 => Headers::new(),
        _ => self::headers(MAP_HTTP_CALL_RESPONSE_TRAILERS).map_err(|_| CalloutFault::NoReply)?,
    };
    Ok(CalloutReply {
        status: status.ok_or(CalloutFault::NoReply)?,
        headers,
        trailers,
        body,
    })
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

/// Envoy's shared data. Legal in every callback.
#[derive(Clone, Copy, Debug)]
struct HostSharedData;

impl SharedData for HostSharedData {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
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
                value: unsafe { take(data, size) },
                version: Version(version),
            })),
            STATUS_NOT_FOUND => Ok(None),
            _ => Err(HostFault),
        }
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
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
}

/// Sends what is logged to Envoy's log, and a panic's message too. Legal in `_initialize`.
pub(super) fn install_logger() {
    static LOGGER: Logger = Logger;
    // Fails only if there is one already.
    let _already = log::set_logger(&LOGGER);
    std::panic::set_hook(Box::new(|panic| log(LOG_CRITICAL, &panic.to_string())));
}

/// Logs what Envoy would print, and formats nothing else. Legal from `on_vm_start` on.
pub(super) fn adopt_log_level() {
    let mut level = 0;
    // SAFETY: the host writes one u32 to a place that is ours.
    let status = unsafe { proxy_get_log_level(&raw mut level) };
    log::set_max_level(match (status, level) {
        (STATUS_OK, 0) => LevelFilter::Trace,
        (STATUS_OK, 1) => LevelFilter::Debug,
        (STATUS_OK, 2) => LevelFilter::Info,
        (STATUS_OK, 3) => LevelFilter::Warn,
        _ => LevelFilter::Error,
    });
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Trace => 0,
                Level::Debug => 1,
                Level::Info => 2,
                Level::Warn => 3,
                Level::Error => 4,
            };
            log(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn log(level: u32, message: &str) {
    // SAFETY: the host reads the message during the call. There is nobody to tell of a failure.
    let _status = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

fn headers(map: u32) -> Result<Headers, HostFault> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: the host writes to places that are ours.
    check(unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) })?;
    // SAFETY: the host has just allocated it for this call.
    let pairs = unsafe { take(data, size) };
    Headers::from_pairs(pairs).ok_or(HostFault)
}

fn define_metric(kind: u32, name: &str) -> Result<u32, HostFault> {
    let mut id = 0;
    // SAFETY: the host reads the name during the call and writes one u32 to a place that is ours.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// At most `max_size` bytes of a buffer, from its start. A buffer that does not exist is empty.
fn buffer(buffer: u32, max_size: usize) -> Result<Vec<u8>, HostFault> {
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

/// Ends the VM as a panic would, so that the tests can see what that costs.
#[cfg(feature = "trap-for-tests")]
pub(super) fn trap_if_asked() {
    let headers = headers(MAP_HTTP_REQUEST_HEADERS);
    if headers.is_ok_and(|headers| headers.contains("x-llm-cache-trap")) {
        std::process::abort();
    }
}
