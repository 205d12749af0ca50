//! Keys are equal exactly when the requests are, wherever the boundaries between their fields lie.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use envoy_llm_cache::attributes::Attributes;
use envoy_llm_cache::cache::{Body, CacheKey, KeyParts};
use envoy_llm_cache::config::{Anonymous, Distinction, Exclude, KeySettings, Tenant};
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::json::{Change, Edit, Pointer, canonicalize};
use envoy_llm_cache::llm::{Api, RequestTraits};
use proptest::{collection::vec, prelude::*, sample::select};

/// Everything in a request that takes part in its key.
#[derive(Clone, Debug, PartialEq)]
struct Request {
    namespace: String,
    exclude: Vec<&'static str>,
    tenant: Option<String>,
    authority: String,
    path: String,
    key_headers: Vec<(&'static str, String)>,
    /// Members of the body, in the order of their names, each once.
    body: std::collections::BTreeMap<&'static str, String>,
}

/// Short texts of few letters: often equal, and often equal when put together.
fn text() -> impl Strategy<Value = String> {
    "[ab\\n]{0,2}"
}

const NAMES: [&str; 3] = ["anthropic-beta", "openai-beta", "x-own"];
const MEMBERS: [&str; 4] = ["model", "n", "a", "ab"];

fn requests() -> impl Strategy<Value = Request> {
    let body = proptest::collection::btree_map(select(&MEMBERS[..]), text(), 0..3);
    (
        text(),
        vec(select(&["/x", "/y", "/x/y"][..]), 0..2),
        // An empty one stands for nobody.
        proptest::option::of("[ab]{1,2}"),
        text(),
        text(),
        vec((select(&NAMES[..]), text()), 0..3),
        body,
    )
        .prop_map(
            |(namespace, mut exclude, tenant, authority, path, mut key_headers, body)| {
                exclude.sort_unstable();
                exclude.dedup();
                // Values keep their order under one name; names have none among each other.
                key_headers.sort_by_key(|(name, _)| *name);
                Request {
                    namespace,
                    exclude,
                    tenant,
                    authority,
                    path,
                    key_headers,
                    body,
                }
            },
        )
}

fn key(request: &Request) -> CacheKey {
    let settings = KeySettings {
        tenant: Tenant::Same(vec![Distinction::Credentials(Anonymous::Share)]),
        headers: vec!["x-own".to_owned()],
        exclude: request
            .exclude
            .iter()
            .map(|at| {
                Exclude::Pointer(Edit {
                    at: Pointer::parse(at).unwrap(),
                    change: Change::Remove,
                })
            })
            .collect(),
        mask: Vec::new(),
        namespace: request.namespace.clone(),
    };
    let mut headers = Headers::new();
    headers.push(":authority", &request.authority);
    headers.push(":path", &request.path);
    if let Some(tenant) = &request.tenant {
        headers.push("authorization", tenant);
    }
    for (name, value) in &request.key_headers {
        headers.push(name, value);
    }
    let member = |(name, value): (&&str, &String)| {
        format!("{}:{}", serde_json::json!(name), serde_json::json!(value))
    };
    let members: Vec<_> = request.body.iter().map(member).collect();
    let json = format!("{{{}}}", members.join(","));
    let body = canonicalize(json.as_bytes(), &[]).unwrap();
    CacheKey::new(&KeyParts {
        settings: &settings,
        headers: &headers,
        attributes: &Attributes::default(),
        api: Api::from_name("openai_chat").unwrap(),
        body: Body::Canonical(&body),
        traits: &RequestTraits {
            form: None,
            choices: 1,
            temperature: None,
            server_tools: false,
        },
    })
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn keys_are_equal_exactly_when_requests_are(one in requests(), other in requests()) {
        prop_assert_eq!(key(&one) == key(&other), one == other);
    }

    /// One text moved over the boundary between two neighbouring fields.
    #[test]
    fn a_boundary_that_moves_changes_the_key(request in requests(), moved in "[ab]{1,2}") {
        let mut left = request.clone();
        let mut right = request;
        left.authority.push_str(&moved);
        right.path.insert_str(0, &moved);
        prop_assert_ne!(key(&left), key(&right));
    }
}
