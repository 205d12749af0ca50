use super::*;
use crate::json::{Edit, Mask, Pointer, Scope, canonicalize};

/// A request in which nothing is left at its default.
#[derive(Clone)]
struct Request {
    settings: KeySettings,
    headers: Vec<(&'static str, &'static str)>,
    body: String,
}

fn request() -> Request {
    Request {
        settings: KeySettings {
            tenant: Tenant::Credentials,
            headers: vec!["x-team".into()],
            exclude: vec![place("/user")],
            mask: vec![line("/messages/*/content", "date: *")],
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
        body: r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"user":"u"}"#
            .into(),
    }
}

fn place(at: &str) -> Exclude {
    Exclude::Place(Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Remove,
    })
}

fn line(at: &str, pattern: &str) -> Edit {
    Edit {
        at: Pointer::parse(at).unwrap(),
        change: Change::Mask(Mask::parse(Scope::Line, pattern).unwrap()),
    }
}

fn key_of(request: &Request) -> Result<CacheKey, NoTenant> {
    let headers = request.headers.iter().copied().collect();
    let api = Api::from_name("openai_chat").unwrap();
    let edits = request.settings.edits(api);
    let canonical = canonicalize(request.body.as_bytes(), &edits).ok();
    CacheKey::new(&KeyParts {
        settings: &request.settings,
        headers: &headers,
        api,
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
    let body = |body: &str| key(|r| r.body = body.into());
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
    let body = |body: &str| key(|r| r.body = body.into());
    let plain = body(r#"{"model":"m"}"#);
    assert_eq!(plain, body(r#"{"model":"m","stream":true}"#));
    for options in [
        "null",
        "{}",
        r#"{"include_usage":true}"#,
        r#"{"include_usage":null,"include_obfuscation":false,"continuous_usage_stats":true}"#,
    ] {
        let with = key(|r| r.body = format!(r#"{{"model":"m","stream_options":{options}}}"#));
        assert_eq!(plain, with, "{options}");
    }
    for other in [
        r#""stream_options":{"include_citations":true}"#,
        r#""stream_options":{"include_usage":1}"#,
        r#""stream_options":{"include_usage":{}}"#,
        r#""stream_options":[]"#,
        r#""stream_options":"include_usage""#,
        r#""stream_options":true"#,
        r#""stream":false,"stream_options":{"x":1}"#,
        r#""stream":"no""#,
        r#""stream":0"#,
        r#""stream":{}"#,
    ] {
        let with = key(|r| r.body = format!(r#"{{"model":"m",{other}}}"#));
        assert_ne!(plain, with, "{other}");
    }
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
            r.body = r#"{"model":"m"}"#.into();
            r.settings.exclude = pointers.iter().map(|at| place(at)).collect();
        })
    };
    assert_ne!(without(&["/temperature"]), without(&[]));
    assert_eq!(without(&["/a", "/b"]), without(&["/b", "/a", "/a"]));
    assert_ne!(without(&["/a", "/b"]), without(&["/a/b"]));
    let with = |words: &[Exclude]| {
        key(|r| {
            r.body = r#"{"model":"m"}"#.into();
            r.settings.exclude = words.to_vec();
        })
    };
    let all = [&[][..], &[Exclude::Attribution], &[Exclude::CallIds]];
    for (at, one) in all.iter().enumerate() {
        for other in all.iter().skip(at + 1) {
            assert_ne!(with(one), with(other), "{one:?} {other:?}");
        }
    }
}

#[test]
fn what_is_masked_takes_no_part_and_the_mask_does() {
    let masked = |at: &str, pattern: &str, text: &str| {
        key(|r| {
            r.settings.mask = vec![line(at, pattern)];
            r.body = format!(r#"{{"messages":[{{"content":"{text}"}}]}}"#);
        })
    };
    let content = "/messages/*/content";
    let one = masked(content, "date: *", "date: 1");
    assert_eq!(one, masked(content, "date: *", "date: 2"));
    assert_ne!(one, masked(content, "date: *", "1"));
    for (at, pattern) in [
        ("/messages/0/content", "date: *"),
        (content, "dat*"),
        (content, "date: *1"),
    ] {
        assert_ne!(one, masked(at, pattern, "date: 1"), "{at} {pattern}");
    }
    let part = key(|r| {
        let mask = Mask::parse(Scope::Part, "date: *").unwrap();
        let at = Pointer::parse(content).unwrap();
        let change = Change::Mask(mask);
        r.settings.mask = vec![Edit { at, change }];
        r.body = r#"{"messages":[{"content":"date: 1"}]}"#.into();
    });
    assert_ne!(one, part);
}

#[test]
fn a_list_without_its_only_element_is_not_the_empty_list() {
    let body = |body: &str| {
        key(|r| {
            r.settings.exclude = vec![place("/x/0")];
            r.body = body.into();
        })
    };
    assert_eq!(body(r#"{"x":["a"]}"#), body(r#"{"x":["b"]}"#));
    assert_ne!(body(r#"{"x":["a"]}"#), body(r#"{"x":[]}"#));
    assert_ne!(body(r#"{"x":["a","b"]}"#), body(r#"{"x":["b"]}"#));
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
    let body = |body: &str| key(|r| r.body = body.into());
    assert_ne!(
        body(r#"{"a":"b","c":"d"}"#),
        body(r#"{"a":"b\",\"c\":\"d"}"#)
    );
}
