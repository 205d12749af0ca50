//! The headers of docs/: what a client can send, what it gets, what is stored and what takes part in keys.

use envoy_llm_cache::cache::{STORED_HEADERS, key_headers, steers_by_prefix};
use envoy_llm_cache::config::{KeySettings, Tenant};
use envoy_llm_cache::http::RequestDirectives;
use envoy_llm_cache::llm::Api;

use crate::pages::{self, assert_same, spans};
use crate::simulated::{Gateway, Seen, post};

const APIS: &str = "docs/apis-and-conversion.md";
const ASK: &[u8] = br#"{"model":"m","messages":[]}"#;
const ASK_STREAM: &[u8] = br#"{"model":"m","messages":[],"stream":true}"#;

/// The response headers that the filter sets.
fn set(seen: Seen) -> Vec<(String, String)> {
    let mut headers = seen.set_in_response;
    if let Some(reply) = seen.reply {
        headers.extend(reply.headers.iter().map(|(name, value)| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(name), text(value))
        }));
    }
    headers
}

#[test]
fn every_header_of_a_response_is_documented_and_no_other() {
    let explains = r#"{"respond":{"expose_key":true,"explain":true}}"#;
    let mut gateway = Gateway::new(explains, Some([1, 2, 3, 4]));
    let asked = [ASK, ASK, ASK_STREAM].map(|body| set(gateway.ask(post(&[]), body)));
    let mut known: Vec<_> = asked.concat().into_iter().map(|(name, _)| name).collect();
    known.extend(
        Api::all()
            .filter_map(Api::request_id_header)
            .map(str::to_owned),
    );
    known.retain(|name| !STORED_HEADERS.contains(&name.as_str()));
    known.sort();
    known.dedup();
    let tables = pages::tables_of("docs/operations.md", "header");
    assert_same("response headers", pages::first_column(&tables), known);
}

#[test]
fn every_header_of_a_request_has_the_effect_that_is_documented() {
    let tables = pages::tables_of(APIS, "request header");
    let mut directives = Vec::new();
    for row in &tables[0].rows {
        let (name, value) = spans(&row[0]).next().unwrap().split_once(": ").unwrap();
        let wanted = spans(&row[2]).next().unwrap();
        if name == "cache-control" {
            directives.push(value.split('=').next().unwrap().replace('-', "_"));
        }
        let mut gateway = Gateway::new("{}", None);
        if value.starts_with("max-age") {
            gateway.ask(post(&[]), ASK);
            gateway.host.now.set(gateway.host.now.get() + 2_000);
        }
        let headers = set(gateway.ask(post(&[(name, value)]), ASK));
        let status = headers.iter().find(|(name, _)| name == "cache-status");
        let (_, status) = status.unwrap();
        assert_eq!(
            *status,
            format!("envoy-llm-cache; {wanted}"),
            "{name}: {value}"
        );
    }
    // Does not compile while it lacks one.
    let RequestDirectives {
        no_store: _,
        no_cache: _,
        max_age: _,
        only_if_cached: _,
    } = RequestDirectives::default();
    let known = ["no_store", "no_cache", "max_age", "only_if_cached"];
    assert_same("directives", directives, known.map(str::to_owned).to_vec());
}

#[test]
fn every_stored_header_is_documented_and_no_other() {
    let tables = pages::tables_of(APIS, "stored header");
    let documented = pages::first_column(&tables).into_iter();
    // The value that is stored of `vary`.
    let mut documented: Vec<_> = documented.collect();
    let vary = documented.iter().position(|name| name == "vary").unwrap();
    assert_eq!(documented.remove(vary + 1), "origin");
    assert_same(
        "stored headers",
        documented,
        STORED_HEADERS.map(str::to_owned).to_vec(),
    );
}

fn steering() -> Vec<String> {
    let shared = KeySettings {
        tenant: Tenant::Shared,
        ..KeySettings::default()
    };
    key_headers(&shared).map(str::to_owned).collect()
}

#[test]
fn every_header_that_steers_is_documented_and_no_other() {
    let documented = pages::first_column(&pages::tables_of(APIS, "steering headers"));
    let (by_prefix, named): (Vec<_>, Vec<_>) = documented
        .into_iter()
        .partition(|name| name.starts_with("x-portkey-"));
    assert_same("steering headers", named, steering());
    let (any, others): (Vec<_>, Vec<_>) =
        by_prefix.into_iter().partition(|name| name.ends_with('*'));
    assert!(
        any.iter().all(|name| steers_by_prefix(name.as_bytes())),
        "{any:?}"
    );
    assert!(
        others.iter().all(|name| !steers_by_prefix(name.as_bytes())),
        "{others:?}"
    );
    // The list is the module's own.
    let strings = include_str!("../../src/cache/key.rs").split('"');
    let known = strings.filter(|text| text.starts_with("x-portkey-") && !text.ends_with('-'));
    assert_same(
        "headers of Portkey",
        others,
        known.map(str::to_owned).collect(),
    );
}

#[test]
fn every_header_that_stands_for_a_caller_is_documented_and_no_other() {
    let tables = pages::tables_of("docs/security-and-limits.md", "caller header");
    let settings = KeySettings::default();
    let steering = steering();
    let known = key_headers(&settings).map(str::to_owned);
    let known = known.filter(|name| !steering.contains(name));
    assert_same(
        "caller headers",
        pages::first_column(&tables),
        known.collect(),
    );
}
