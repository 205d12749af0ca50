//! [`Host`] for proxy-wasm.

use std::time::Duration;

use proxy_wasm::hostcalls;

use crate::attributes::Attribute;
use crate::callout::{Callout, CalloutFault, CalloutReply, CalloutResult};
use crate::clock::UnixMillis;
use crate::config::Config;
use crate::host::{Host, Reply};
use crate::http::Headers;
use crate::protobuf::push_field;
use crate::report::{Gauges, MetricKind, Metrics, MetricsHost, Report, Subject};
use crate::store::{HostFault, SetFault, SharedData, Version, Versioned};

use super::abi;

/// The host of a plugin under one configuration.
#[derive(Debug)]
pub(super) struct ProxyWasm {
    metrics: Metrics<EnvoyMetrics>,
}

impl ProxyWasm {
    pub(super) fn new(config: &Config) -> Self {
        if config.metrics.filter_state {
            declare_log_record();
        }
        Self {
            metrics: Metrics::open(EnvoyMetrics, config),
        }
    }
}

/// Each method is legal in the callbacks in which the core calls it: what concerns a request in those
/// of the request and, as it was sent, in `on_log`; what concerns a response in those of the response;
/// the rest in every one from `on_configure` on.
impl Host for ProxyWasm {
    fn now(&self) -> UnixMillis {
        UnixMillis::from_millis(abi::nanoseconds().unwrap_or(0) / 1_000_000)
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        match getrandom::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => abi::nanoseconds().unwrap_or(0),
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
        abi::register_queue(name)
    }

    fn enqueue(&self, queue: u32, message: &[u8]) -> Result<(), HostFault> {
        abi::enqueue(queue, message)
    }

    fn set_tick_period(&self, period: Duration) {
        let milliseconds = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        let _unset = abi::set_tick_period(milliseconds);
    }

    fn report(&self, subject: &Subject, report: Report) {
        self.metrics.report(subject, report);
    }

    fn flush_reports(&self, gauges: &Gauges) {
        self.metrics.flush(gauges);
    }

    fn set_log_record(&self, record: &[u8]) {
        // An exchange that is not logged in full is better than none.
        let _unset = abi::set_property(LOG_RECORD, record);
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
        abi::property(attribute.path()).ok()
    }

    fn request_headers(&self) -> Option<Headers> {
        abi::headers(abi::MAP_HTTP_REQUEST_HEADERS).ok()
    }

    fn request_body(&self) -> Option<Vec<u8>> {
        abi::buffer(abi::BUFFER_HTTP_REQUEST_BODY, usize::MAX).ok()
    }

    fn response_headers(&self) -> Option<Headers> {
        abi::headers(abi::MAP_HTTP_RESPONSE_HEADERS).ok()
    }

    fn response_chunk(&self, size: usize) -> Option<Vec<u8>> {
        abi::buffer(abi::BUFFER_HTTP_RESPONSE_BODY, size).ok()
    }

    fn response_trailers(&self) -> Option<Headers> {
        abi::headers(abi::MAP_HTTP_RESPONSE_TRAILERS).ok()
    }

    fn is_via_upstream(&self) -> bool {
        abi::property(CODE_DETAILS).is_ok_and(|details| details == b"via_upstream")
    }

    fn is_closed_by_client(&self) -> bool {
        abi::property(CODE_DETAILS)
            .is_ok_and(|details| details.starts_with(b"downstream_remote_disconnect"))
    }

    // A request or a response without our header is better than none.
    fn set_request_header(&self, name: &str, value: &str) {
        let _unset = abi::set_header(abi::MAP_HTTP_REQUEST_HEADERS, name, value);
    }

    fn set_response_header(&self, name: &str, value: &str) {
        let _unset = abi::set_header(abi::MAP_HTTP_RESPONSE_HEADERS, name, value);
    }

    fn add_response_header(&self, name: &str, value: &str) {
        let _unset = abi::add_header(abi::MAP_HTTP_RESPONSE_HEADERS, name, value);
    }

    /// Envoy adds `content-length`, `date` and `server`. Legal until response headers have gone out; it
    /// overrides what the callback returns, and so must concern the stream whose callback is running.
    fn reply(&self, reply: Reply) -> Result<(), HostFault> {
        let body = reply.body.as_bytes();
        abi::send_local_response(reply.status, reply.details, &reply.headers, body)
    }

    fn has_asked_upstream(&self) -> bool {
        abi::property(b"upstream\0request_attempt_count")
            .is_ok_and(|count| count.iter().any(|byte| *byte != 0))
    }

    /// Only the root context may do this: a reply to another stream overrides what the callback returns.
    fn enter_stream(&self, stream: u32) -> Result<(), HostFault> {
        abi::set_effective_context(stream)
    }

    fn resume_request(&self) {
        // A request that is gone needs no more.
        let _gone = abi::continue_request();
    }
}

/// The details of a response, as an attribute.
const CODE_DETAILS: &[u8] = b"response\0code_details";

/// Under this name, behind `wasm.`, a stream's filter state has its record.
const LOG_RECORD: &str = "llm_cache";

/// Tells Envoy that the record is a Struct, so that access logs can write it as JSON, and CEL can read its
/// members.
///
/// Source: `DeclarePropertyArguments` in Envoy's `source/extensions/common/wasm/ext/declare_property.proto`:
/// `name = 1`, `readonly = 2`, `type = 3` (3 is Protobuf), `schema = 4`.
fn declare_log_record() {
    const TYPE_URL: &[u8] = b"type.googleapis.com/google.protobuf.Struct";
    let mut arguments = Vec::new();
    push_field(&mut arguments, 1, LOG_RECORD.as_bytes());
    arguments.extend_from_slice(&[3 << 3, 3]);
    push_field(&mut arguments, 4, TYPE_URL);
    // A VM with another plugin of ours knows it already.
    let _known = abi::call_foreign_function("declare_property", &arguments);
}

/// Envoy's metrics.
#[derive(Clone, Copy, Debug)]
struct EnvoyMetrics;

impl MetricsHost for EnvoyMetrics {
    fn define(&self, kind: MetricKind, name: &str) -> Option<u32> {
        let kind = match kind {
            MetricKind::Counter => abi::METRIC_COUNTER,
            MetricKind::Gauge => abi::METRIC_GAUGE,
            MetricKind::Histogram => abi::METRIC_HISTOGRAM,
        };
        abi::define_metric(kind, name).ok()
    }

    fn add(&self, id: u32, offset: i64) {
        // A host that does not count does not stop the exchange.
        let _uncounted = abi::add_to_metric(id, offset);
    }

    fn record(&self, id: u32, value: u64) {
        let _unrecorded = abi::record_metric(id, value);
    }
}

/// Envoy's shared data.
#[derive(Clone, Copy, Debug)]
struct HostSharedData;

impl SharedData for HostSharedData {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        abi::shared_data(name)
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        abi::set_shared_data(name, value, version)
    }
}

/// The plugin configuration. Legal in `on_configure`.
pub(super) fn plugin_configuration() -> Result<Vec<u8>, HostFault> {
    abi::buffer(abi::BUFFER_PLUGIN_CONFIGURATION, usize::MAX)
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
        abi::headers(abi::MAP_HTTP_CALL_RESPONSE_HEADERS).map_err(|_| CalloutFault::NoReply)?;
    let status = headers.number(":status");
    let status = status.and_then(|status| u16::try_from(status).ok());
    let body = match body_bytes {
        0 => Some(Vec::new()),
        _ if body_bytes > max_bytes => None,
        _ => Some(
            abi::buffer(abi::BUFFER_HTTP_CALL_RESPONSE_BODY, body_bytes)
                .map_err(|_| CalloutFault::NoReply)?,
        ),
    };
    let trailers = match trailers {
        0 => Headers::new(),
        _ => {
            abi::headers(abi::MAP_HTTP_CALL_RESPONSE_TRAILERS).map_err(|_| CalloutFault::NoReply)?
        }
    };
    Ok(CalloutReply {
        status: status.ok_or(CalloutFault::NoReply)?,
        headers,
        trailers,
        body,
    })
}

/// Ends the VM as a panic would, so that the tests can see what that costs.
#[cfg(feature = "trap-for-tests")]
pub(super) fn trap_if_asked() {
    let headers = abi::headers(abi::MAP_HTTP_REQUEST_HEADERS);
    if headers.is_ok_and(|headers| headers.contains("x-llm-cache-trap")) {
        std::process::abort();
    }
}
