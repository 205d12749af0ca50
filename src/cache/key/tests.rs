use super::*;
use crate::json::{Pointer, canonicalize};

/// A request in which nothing is left at its default.
#[derive(Clone)]
struct Request {
    settings: KeySettings,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
}

fn request() -> Request {
    Request {
        settings: KeySettings {
            tenant: Tenant::Credentials,
            headers: vec!["x-team".into()],
            exclude: vec![Pointer::parse("/user").unwrap()],
            namespace: "blue".into(),
        },
        headers: vec![
            (":authority", "api.example"),
            (":path", "/v1/chat/completions?api-version=1"),
            ("authorization", "Bearer one"),
            ("openai-organization", "acme"),
            ("x-team", "search"),
            ("x-other", "1"),
        ],
        body: r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"user":"u"}"#,
    }
}

fn key_of(request: &Request) -> Result<CacheKey, NoTenant> {
    let headers = request.headers.iter().copied().collect();
    let canonical = canonicalize(request.body.as_bytes(), &request.settings.exclude).ok();
    CacheKey::new(&KeyParts {
        settings: &request.settings,
        headers: &headers,
        api: Api::from_name("openai_chat").unwrap(),
        body: match &canonical {
            Some(canonical) => Body::Canonical(canonical),
            None => Body::Raw(request.body.as_bytes()),
        },
        ask: &Ask {
            form: None,
            choices: 1,
            temperature: None,
            server_tools: false,
        },
    })
}

fn key(change: impl FnOnce(&mut Request)) -> CacheKey {
    let mut request = request();
    change(&mut request);
    key_of(&request).unwrap()
}

fn set(request: &mut Request, name: &'static str, value: &'static str) {
    for field in &mut request.headers {
        if field.0 == name {
            field.1 = value;
        }
    }
}

#[test]
fn the_key_format_is_the_golden_one() {
    let golden = include_str!("../../../tests/golden/key.hex");
    assert_eq!(key(|_| {}).to_string(), golden.trim());
}

#[test]
fn the_namespace_takes_part() {
    assert_ne!(key(|_| {}), key(|r| r.settings.namespace = "green".into()));
}

#[test]
fn the_tenant_takes_part() {
    let other = key(|r| set(r, "authorization", "Bearer two"));
    assert_ne!(key(|_| {}), other);
    let none = key(|r| r.headers.retain(|field| field.0 != "authorization"));
    assert_ne!(other, none);
    for name in ["x-api-key", "api-key", "x-goog-api-key"] {
        assert_ne!(key(|_| {}), key(|r| r.headers.push((name, "k"))), "{name}");
    }
}

#[test]
fn a_shared_tenant_is_everybody() {
    let shared = |value: &'static str| {
        key(|r| {
            r.settings.tenant = Tenant::Shared;
            set(r, "authorization", value);
        })
    };
    assert_eq!(shared("Bearer one"), shared("Bearer two"));
    assert_ne!(shared("Bearer one"), key(|_| {}));
}

#[test]
fn a_tenant_header_tells_tenants_apart_and_must_be_there() {
    let tenant = |value: Option<&'static str>| {
        let mut request = request();
        request.settings.tenant = Tenant::Header("x-tenant".into());
        request
            .headers
            .extend(value.map(|value| ("x-tenant", value)));
        key_of(&request)
    };
    assert_ne!(tenant(Some("a")), tenant(Some("b")));
    assert_eq!(tenant(None), Err(NoTenant));
    assert_eq!(tenant(Some("")), Err(NoTenant));
}

#[test]
fn the_authority_takes_part() {
    assert_ne!(
        key(|_| {}),
        key(|r| set(r, ":authority", "api.example:8080"))
    );
}

#[test]
fn spellings_of_one_server_share_a_key() {
    let with = |scheme: &'static str, authority: &'static str| {
        key(|r| {
            r.headers.push((":scheme", scheme));
            set(r, ":authority", authority);
        })
    };
    for (scheme, authority) in [
        ("https", "API.example"),
        ("https", "api.example.:443"),
        ("http", "api.example:80"),
        ("http", "api.example"),
    ] {
        assert_eq!(key(|_| {}), with(scheme, authority), "{scheme} {authority}");
    }
    for (scheme, authority) in [("http", "api.example:443"), ("https", "api.example:80")] {
        assert_ne!(key(|_| {}), with(scheme, authority), "{scheme} {authority}");
    }
}

#[test]
fn spellings_of_one_path_share_a_key() {
    let with = |path: &'static str| key(|r| set(r, ":path", path));
    assert_eq!(key(|_| {}), with("/v1/chat/completions/?api-version=1"));
    let azure = "/openai/deployments/gpt-4o/chat/completions?api-version=1";
    let other = "/OpenAI/Deployments/gpt-4o/Chat/Completions?api-version=1";
    assert_eq!(with(azure), with(other));
    for other in [
        // No document says that the name of a deployment, or a query, is the same in another case.
        "/openai/deployments/GPT-4o/chat/completions?api-version=1",
        "/openai/deployments/gpt-4o/chat/completions?API-version=1",
        "/openai/deployments/gpt-4o/chat/completions//?api-version=1",
    ] {
        assert_ne!(with(azure), with(other), "{other}");
    }
    // A path that only a rule says to be an API's may mean something else with a slash.
    assert_ne!(with("/ask"), with("/ask/"));
    assert_ne!(with("/V1/chat/completions"), with("/v1/chat/completions"));
}

#[test]
fn the_path_takes_part_with_its_query_byte_for_byte() {
    for path in [
        "/v1/chat/completions",
        "/v1/chat/completions?api-version=2",
        "/v1//chat/completions?api-version=1",
        "/v1/chat/%63ompletions?api-version=1",
    ] {
        assert_ne!(key(|_| {}), key(|r| set(r, ":path", path)), "{path}");
    }
}

#[test]
fn every_built_in_header_takes_part() {
    for name in HEADERS {
        let with = |value| key(|r| r.headers.push((name, value)));
        assert_ne!(with("1"), with("2"), "{name}");
        assert_ne!(with(""), key(|_| {}), "{name} empty and absent");
    }
}

#[test]
fn configured_headers_take_part_and_others_do_not() {
    assert_ne!(key(|_| {}), key(|r| set(r, "x-team", "ads")));
    assert_eq!(key(|_| {}), key(|r| set(r, "x-other", "2")));
    // Two values are not one that looks like both.
    let two = key(|r| r.headers.push(("x-team", "ads")));
    assert_ne!(two, key(|r| set(r, "x-team", "searchads")));
    assert_ne!(two, key(|r| set(r, "x-team", "search,ads")));
}

#[test]
fn the_body_takes_part_whatever_the_order_of_its_members() {
    let body = |body| key(|r| r.body = body);
    assert_ne!(body(r#"{"model":"a"}"#), body(r#"{"model":"b"}"#));
    assert_ne!(body(r#"{"n":1}"#), body(r#"{"n":1.0}"#));
    assert_eq!(
        body(r#"{"model":"a","n":1}"#),
        body("{ \"n\" : 1,\n\"model\" : \"\\u0061\" }")
    );
    // Not plain JSON: by its bytes.
    assert_ne!(
        body(r#"{"model":"a","model":"b"}"#),
        body(r#"{"model":"b","model":"a"}"#)
    );
    assert_ne!(body("[1]"), body("[2]"));
    assert_ne!(body("1"), body("\"1\""));
}

#[test]
fn the_wire_and_what_is_excluded_take_no_part() {
    let body = |body| key(|r| r.body = body);
    let plain = body(r#"{"model":"m"}"#);
    assert_eq!(plain, body(r#"{"model":"m","stream":true}"#));
    assert_eq!(plain, body(r#"{"model":"m","stream_options":{}}"#));
    assert_eq!(plain, body(r#"{"model":"m","user":"someone"}"#));
    assert_ne!(plain, body(r#"{"model":"m","Stream":true}"#));
    assert_ne!(
        plain,
        body(r#"{"model":"m","metadata":{"user":"someone"}}"#)
    );
}

#[test]
fn what_is_excluded_itself_takes_part() {
    let without = |pointers: &[&str]| {
        key(|r| {
            r.body = r#"{"model":"m"}"#;
            let parse = |text: &&str| Pointer::parse(text).unwrap();
            r.settings.exclude = pointers.iter().map(parse).collect();
        })
    };
    assert_ne!(without(&["/temperature"]), without(&[]));
    assert_eq!(without(&["/a", "/b"]), without(&["/b", "/a", "/a"]));
    assert_ne!(without(&["/a", "/b"]), without(&["/a/b"]));
}

#[test]
fn fields_do_not_run_into_each_other() {
    let parts = |namespace: &str, authority: &'static str| {
        key(|r| {
            r.settings.namespace = namespace.into();
            set(r, ":authority", authority);
        })
    };
    assert_ne!(parts("a", "bc"), parts("ab", "c"));
    let body = |body| key(|r| r.body = body);
    assert_ne!(
        body(r#"{"a":"b","c":"d"}"#),
        body(r#"{"a":"b\",\"c\":\"d"}"#)
    );
}
