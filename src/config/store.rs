//! The section `store`: where entries live.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::section::{Section, header_name, in_memory};
use super::{Breaker, Http, Memory, Secret, StoreProtocol};

const PROTOCOLS: [(&str, StoreProtocol); 2] = [
    ("webdis", StoreProtocol::Webdis),
    ("rest", StoreProtocol::Rest),
];

const MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=64 << 30;
const ENTRY_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 20;

/// Envoy gives up on the answer to a callout that is longer (`http.async_response_buffer_limit`).
const HTTP_ENTRY_BYTES: RangeInclusive<u64> = 1 << 10..=32 << 20;

/// A callout without a timeout would never end, and one of minutes is of no use to anybody.
const LOOKUP_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
const STORE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
const OPEN: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3_600);
const FAILURES: RangeInclusive<u32> = 1..=1_000;

/// A key that can be guessed protects nothing; 32 characters of base64 are 192 bits.
const MIN_INTEGRITY_KEY: usize = 32;

/// Headers that the filter or Envoy sets itself, so that a configuration must not.
const OWN_HEADERS: [&str; 9] = [
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The stores, at least one of which there is.
pub(super) fn store(parent: &mut Section<'_>) -> (Option<Memory>, Option<Http>) {
    let Some(mut section) = parent.section("store") else {
        return (Some(Memory::default()), None);
    };
    let memory = memory(&mut section);
    let http = http(&mut section);
    if memory.is_none() && http.is_none() {
        section.problem(
            "memory",
            "null leaves no store; to turn the cache off, use mode: disabled",
        );
    }
    section.finish();
    (memory, http)
}

fn memory(store: &mut Section<'_>) -> Option<Memory> {
    let base = Memory::default();
    let mut section = match store.take("memory") {
        None => return Some(base),
        Some(Value::Null) => return None,
        Some(value) => store.inner("memory", value),
    };
    let memory = Memory {
        max_bytes: section
            .size("max_bytes", MEMORY_BYTES)
            .unwrap_or(base.max_bytes),
        max_entry_bytes: section
            .size("max_entry_bytes", ENTRY_BYTES)
            .map_or(base.max_entry_bytes, in_memory),
    };
    section.finish();
    Some(memory)
}

fn http(store: &mut Section<'_>) -> Option<Http> {
    let mut section = match store.take("http") {
        None | Some(Value::Null) => return None,
        Some(value) => store.inner("http", value),
    };
    section.require("cluster", "it names the store's Envoy cluster");
    section.require("protocol", "webdis or rest");
    let cluster = section.take_as("cluster", "the name of an Envoy cluster", |value| {
        let name = value.as_str()?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    let protocol = section
        .word("protocol", &PROTOCOLS)
        .unwrap_or(StoreProtocol::Webdis);
    let authority = section.take_as("authority", "a host, with a port or without", |value| {
        let text = value.as_str()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]~".contains(&byte);
        (!text.is_empty() && text.bytes().all(is_plain)).then(|| text.to_owned())
    });
    let http = Http {
        authority: authority.unwrap_or_else(|| "cache.local".to_owned()),
        path_prefix: path_prefix(&mut section, protocol)
            .unwrap_or_else(|| "/llm-cache/".to_owned()),
        headers: headers(&mut section),
        lookup_timeout: section
            .duration("lookup_timeout", LOOKUP_TIMEOUT)
            .unwrap_or(Duration::from_millis(50)),
        store_timeout: section
            .duration("store_timeout", STORE_TIMEOUT)
            .unwrap_or(Duration::from_secs(2)),
        max_entry_bytes: section
            .size("max_entry_bytes", HTTP_ENTRY_BYTES)
            .map_or(10 << 20, in_memory),
        breaker: breaker(&mut section),
        integrity_key: integrity_key(&mut section),
        protocol,
        // A missing cluster is already a problem, so this value is never used.
        cluster: cluster.unwrap_or_default(),
    };
    section.finish();
    Some(http)
}

fn path_prefix(section: &mut Section<'_>, protocol: StoreProtocol) -> Option<String> {
    // RFC 3986, section 3.3, without percent-encoding: a filter that signs requests must not have to guess the encoding.
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    match protocol {
        StoreProtocol::Rest => {
            let expected = "a path that begins with / and has no //, no . or .. for a segment, \
                            no query and no percent-encoding";
            section.take_as("path_prefix", expected, |value| {
                let text = value.as_str()?;
                let segments = text.strip_prefix('/')?;
                let is_plain = |(index, segment): (usize, &str)| {
                    let last = index == segments.matches('/').count();
                    !matches!(segment, "." | "..") && (last || !segment.is_empty())
                };
                let plain = segments.split('/').enumerate().all(is_plain);
                (plain && text.bytes().all(is_path)).then(|| text.to_owned())
            })
        }
        StoreProtocol::Webdis => {
            let expected = "text of visible ASCII characters";
            section.take_as("path_prefix", expected, |value| {
                let text = value.as_str()?;
                text.bytes().all(is_visible).then(|| text.to_owned())
            })
        }
    }
}

fn headers(section: &mut Section<'_>) -> Vec<(String, Secret)> {
    let members = match section.take("headers") {
        None => return Vec::new(),
        Some(Value::Object(members)) => members,
        Some(_) => {
            section.problem("headers", "must be an object of header names and values");
            return Vec::new();
        }
    };
    let mut headers = Vec::with_capacity(members.len());
    for (name, value) in members {
        // RFC 9110, section 5.5, as far as HTTP/1.1 and HTTP/2 agree.
        let value = value.as_str().filter(|value| {
            let is_field = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            value.trim() == *value && value.bytes().all(is_field)
        });
        match (header_name(&Value::String(name.clone())), value) {
            (None, _) => section.problem("headers", format!("{name:?} is not a header name")),
            (Some(own), _) if OWN_HEADERS.contains(&own.as_str()) => section.problem(
                "headers",
                format!("{name:?} is set by the filter or by Envoy; leave it out"),
            ),
            (_, None) => section.problem(
                "headers",
                format!("{name:?} must have a string of ASCII characters, without line breaks"),
            ),
            (Some(name), Some(value)) => headers.push((name, Secret::new(value))),
        }
    }
    headers
}

fn breaker(parent: &mut Section<'_>) -> Breaker {
    let base = Breaker {
        failures: 5,
        min_open: Duration::from_secs(1),
        max_open: Duration::from_secs(30),
    };
    let Some(mut section) = parent.section("breaker") else {
        return base;
    };
    let breaker = Breaker {
        failures: section.count("failures", FAILURES).unwrap_or(base.failures),
        min_open: section.duration("min_open", OPEN).unwrap_or(base.min_open),
        max_open: section.duration("max_open", OPEN).unwrap_or(base.max_open),
    };
    if breaker.min_open > breaker.max_open {
        section.problem(
            "min_open",
            format!("must not exceed max_open, which is {:?}", breaker.max_open),
        );
    }
    section.finish();
    breaker
}

fn integrity_key(section: &mut Section<'_>) -> Option<Secret> {
    let value = section.take("integrity_key")?;
    if value.is_null() {
        return None;
    }
    let key = value.as_str().filter(|key| key.len() >= MIN_INTEGRITY_KEY);
    if key.is_none() {
        section.problem(
            "integrity_key",
            format!("must be a string of at least {MIN_INTEGRITY_KEY} characters, such as `openssl rand -base64 32` prints"),
        );
    }
    key.map(Secret::new)
}
