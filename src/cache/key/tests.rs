use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::attributes::{CertificateField, MetadataPath};
use crate::config::Anonymous;
use crate::json::{Edit, Mask, Pointer, Scope, canonicalize};

/// A request in which nothing is left at its default.
#[derive(Clone)]
struct Request {
    settings: KeySettings,
    headers: Vec<(&'static str, &'static str)>,
    attributes: Vec<(Attribute, Vec<u8>)>,
    body: String,
}

fn credentials(anonymous: Anonymous) -> Tenant {
    Tenant::Same(vec![Distinction::Credentials(anonymous)])
}

fn request() -> Request {
    Request {
        settings: KeySettings {
            tenant: credentials(Anonymous::Bypass),
            headers: vec!["x-team".into()],
            exclude: vec![place("/user")],
            mask: vec![line("/messages/*/content", "date: *")],
            namespace: "blue".into(),
        },
        headers: vec![
            (":authority", "api.example"),
            (":path", "/v1/chat/completions?api-version=1"),
            ("authorization", "Bearer sk-0123456789abcdef"),
            ("openai-organization", "acme"),
            ("x-team", "search"),
            ("x-other", "1"),
        ],
        attributes: vec![
            (Attribute::Cluster, b"upstream".to_vec()),
            (Attribute::RouteName, b"chat".to_vec()),
        ],
        body: r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"stream_options":{"include_usage":true},"user":"u"}"#
            .into(),
    }
}

fn place(at: &str) -> Exclude {
    Exclude::Pointer(Edit {
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

fn key_of(request: &Request) -> Result<CacheKey, NoCaller> {
    explained(request, None)
}

fn explained(
    request: &Request,
    explanation: Option<&mut Explanation>,
) -> Result<CacheKey, NoCaller> {
    let headers = request.headers.iter().copied().collect();
    let api = Api::from_name("openai_chat").unwrap();
    let edits = request.settings.edits(api);
    let canonical = canonicalize(request.body.as_bytes(), &edits).ok();
    let parts = KeyParts {
        settings: &request.settings,
        headers: &headers,
        attributes: &Attributes::read(request.attributes.clone(), &request.paths()),
        api,
        body: match &canonical {
            Some(canonical) => Body::Canonical(canonical),
            None => Body::Raw(request.body.as_bytes()),
        },
        traits: &RequestTraits {
            form: None,
            choices: 1,
            temperature: None,
            server_tools: false,
        },
    };
    CacheKey::explained(&parts, explanation)
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

impl Request {
    fn paths(&self) -> Vec<MetadataPath> {
        let distinctions = self.settings.tenant.distinctions().iter();
        distinctions
            .filter_map(|distinction| match distinction {
                Distinction::Metadata(path) => Some(path.clone()),
                _ => None,
            })
            .collect()
    }

    fn without(&mut self, name: &str) {
        self.headers.retain(|(known, _)| *known != name);
    }
}

#[test]
fn the_cluster_and_the_route_take_part() {
    let at = |index: usize, value: &[u8]| key(|r| r.attributes[index].1 = value.to_vec());
    assert_ne!(key(|_| {}), at(0, b"other"));
    assert_ne!(key(|_| {}), at(1, b"other"));
    assert_ne!(at(0, b"chat"), at(1, b"upstream"));
    assert_ne!(
        key(|_| {}),
        key(|r| r.attributes.clear()),
        "no route is none of these"
    );
}

#[test]
fn the_caller_takes_part() {
    let other = key(|r| set(r, "authorization", "Bearer sk-fedcba9876543210"));
    assert_ne!(key(|_| {}), other);
    for name in ["x-api-key", "proxy-authorization", "cf-aig-authorization"] {
        assert_ne!(key(|_| {}), key(|r| r.headers.push((name, "k"))), "{name}");
    }
}

#[test]
fn identity_headers_take_part_together_and_in_any_order() {
    let both = |names: [&'static str; 2]| {
        key(|r| {
            r.without("authorization");
            r.headers.extend(names.map(|name| (name, "k")));
        })
    };
    assert_eq!(
        both(["x-api-key", "x-forwarded-user"]),
        both(["x-forwarded-user", "x-api-key"])
    );
    assert_ne!(
        both(["x-api-key", "x-forwarded-user"]),
        both(["x-api-key", "x-forwarded-email"])
    );
}

#[test]
fn a_cookie_counts_only_where_nothing_else_says_who_asks() {
    let with = |cookie: &'static str| key(|r| r.headers.push(("cookie", cookie)));
    assert_eq!(
        with("session=0123456789abcdef"),
        with("session=fedcba9876543210")
    );
    let alone = |cookie: &'static str| {
        let mut request = request();
        request.without("authorization");
        request.headers.push(("cookie", cookie));
        key_of(&request)
    };
    assert_ne!(
        alone("session=0123456789abcdef").unwrap(),
        alone("session=fedcba9876543210").unwrap()
    );
    for common in [
        "theme=dark; lang=en",
        "consent=accepted-all-cookies",
        "consent=2026-11-30T00:00:00Z",
        "session=none",
    ] {
        let found = alone(common);
        assert_eq!(found, Err(NoCaller::NoTenant), "many have {common}");
    }
}

#[test]
fn verified_claims_and_certificates_are_callers_of_their_own() {
    let verified = |attribute: Attribute, value: &[u8]| {
        let mut request = request();
        request.without("authorization");
        request.attributes.push((attribute, value.to_vec()));
        key_of(&request).unwrap()
    };
    let claims = |subject: u8| {
        let mut metadata = crate::attributes::tests::METADATA.to_vec();
        let at = metadata
            .windows(5)
            .position(|bytes| bytes == b"user1")
            .unwrap();
        metadata[at + 4] = subject;
        verified(Attribute::DynamicMetadata, &metadata)
    };
    let certificate =
        |digest: &[u8]| verified(Attribute::Certificate(CertificateField::Sha256), digest);
    let all = [
        claims(b'1'),
        claims(b'2'),
        certificate(b"1"),
        certificate(b"2"),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(all[index + 1..].iter().all(|other| other != one), "{index}");
    }
    // A certificate may be that of a proxy, behind which sessions tell callers apart.
    let session = |attribute: Attribute, value: &[u8], cookie: &'static str| {
        let mut request = request();
        request.without("authorization");
        request.attributes.push((attribute, value.to_vec()));
        request.headers.push(("cookie", cookie));
        key_of(&request).unwrap()
    };
    let sha256 = Attribute::Certificate(CertificateField::Sha256);
    let [one, two] = ["sid=0123456789abcdef", "sid=fedcba9876543210"];
    assert_ne!(session(sha256, b"1", one), session(sha256, b"1", two));
    // A verified token needs no session beside it.
    let metadata = crate::attributes::tests::METADATA;
    let by_token = |cookie| session(Attribute::DynamicMetadata, metadata, cookie);
    assert_eq!(by_token(one), by_token(two));
    // A secret that the filter sees stands for its caller alone.
    let seen = |digest: &[u8], headers: Vec<(&'static str, &'static str)>| {
        key(|r| {
            r.attributes.push((sha256, digest.to_vec()));
            if !headers.is_empty() {
                r.without("authorization");
                r.headers.extend(headers);
            }
        })
    };
    assert_eq!(seen(b"1", vec![]), key(|_| {}));
    // A name does not, nor does a placeholder: any client may send it.
    for name in [
        ("x-user-id", "alice"),
        ("x-forwarded-email", "alice-in-accounting-1@example.test"),
        ("authorization", "Bearer EMPTY"),
        ("authorization", "Bearer sk-no-key-required"),
    ] {
        assert_ne!(seen(b"1", vec![name]), seen(b"2", vec![name]), "{name:?}");
    }
}

#[test]
fn claims_that_cannot_be_read_are_nobody_s() {
    let with = |metadata: &[u8]| {
        let mut request = request();
        request.without("authorization");
        request.settings.tenant = credentials(Anonymous::Share);
        request.headers.push(("cookie", "session=0123456789abcdef"));
        let metadata = (Attribute::DynamicMetadata, metadata.to_vec());
        request.attributes.push(metadata);
        key_of(&request)
    };
    let metadata = crate::attributes::tests::METADATA;
    assert!(with(metadata).is_ok());
    assert_eq!(
        with(&metadata[..metadata.len() - 1]),
        Err(NoCaller::NoTenant)
    );
}

#[test]
fn what_is_shared_out_goes_by_what_a_caller_cannot_vary() {
    let tenant = |headers: &[(&'static str, &'static str)]| {
        let request = request();
        let headers: Headers = headers.iter().copied().collect();
        CacheKey::tenant(&request.settings, &headers, &Attributes::default()).unwrap()
    };
    const KEY: (&str, &str) = ("authorization", "Bearer sk-0123456789abcdef");
    const OTHER: (&str, &str) = ("authorization", "Bearer sk-fedcba9876543210");
    assert_ne!(tenant(&[KEY]), tenant(&[OTHER]));
    for more in [
        ("x-user-id", "1"),
        ("x-token", "0123456789abcdef"),
        ("api-key", "0123456789abcdef"),
    ] {
        assert_eq!(tenant(&[KEY, more]), tenant(&[KEY]), "{more:?}");
    }
    let by_query = |query: &'static str| tenant(&[(":path", query)]);
    assert_ne!(
        by_query("/v1beta/models/m:generateContent?key=AIza0123456789abcdef"),
        by_query("/v1beta/models/m:generateContent?key=AIzafedcba9876543210"),
    );
    assert_eq!(
        by_query("/v1beta/models/m:generateContent?key=AIza0123456789abcdef"),
        by_query("/v1beta/models/n:generateContent?key=AIza0123456789abcdef&x=1"),
    );
}

#[test]
fn settings_of_the_upstream_in_headers_take_part() {
    for name in [
        "x-portkey-provider",
        "x-portkey-azure-deployment-id",
        "x-litellm-tags",
    ] {
        let with = |value: &'static str| key(|r| r.headers.push((name, value)));
        assert_ne!(with("a"), with("b"), "{name}");
        assert_ne!(with("a"), key(|_| {}), "{name}");
    }
    let traced = key(|r| r.headers.push(("x-portkey-trace-id", "1")));
    assert_eq!(traced, key(|_| {}));
}

#[test]
fn who_is_anonymous_shares_only_if_the_configuration_says_so() {
    let anonymous = |anonymous| {
        let mut request = request();
        request.without("authorization");
        request.settings.tenant = credentials(anonymous);
        key_of(&request)
    };
    assert_eq!(anonymous(Anonymous::Bypass), Err(NoCaller::NoTenant));
    let shared = anonymous(Anonymous::Share).unwrap();
    // What belongs to nobody is not what belongs to everybody.
    assert_ne!(shared, key(|r| r.settings.tenant = Tenant::Shared));
    assert_eq!(
        key(|r| r.settings.tenant = credentials(Anonymous::Share)),
        key(|_| {}),
        "it changes nothing for others"
    );
}

#[test]
fn signed_requests_have_no_key() {
    let signed = |value: &'static str| {
        let mut request = request();
        set(&mut request, "authorization", value);
        key_of(&request)
    };
    let by_aws =
        "AWS4-HMAC-SHA256 Credential=AKID/20261130/us-east-1/bedrock/aws4_request, Signature=0";
    assert_eq!(signed(by_aws), Err(NoCaller::SignedRequest));
    let mut shared = request();
    set(&mut shared, "authorization", by_aws);
    shared.settings.tenant = Tenant::Shared;
    assert!(key_of(&shared).is_ok(), "the signature takes no part");
}

#[test]
fn a_shared_tenant_is_everybody() {
    let shared = |value: &'static str| {
        key(|r| {
            r.settings.tenant = Tenant::Shared;
            set(r, "authorization", value);
        })
    };
    assert_eq!(
        shared("Bearer sk-0123456789abcdef"),
        shared("Bearer sk-fedcba9876543210")
    );
    assert_ne!(shared("Bearer sk-0123456789abcdef"), key(|_| {}));
}

#[test]
fn a_tenant_header_tells_tenants_apart_and_must_be_there() {
    let tenant = |value: Option<&'static str>| {
        let mut request = request();
        request.settings.tenant = Tenant::Same(vec![Distinction::Header("x-tenant".into())]);
        request
            .headers
            .extend(value.map(|value| ("x-tenant", value)));
        key_of(&request)
    };
    assert_ne!(tenant(Some("a")), tenant(Some("b")));
    assert_eq!(tenant(None), Err(NoCaller::NoTenant));
    assert_eq!(tenant(Some("")), Err(NoCaller::NoTenant));
}

#[test]
fn a_certificate_that_tells_tenants_apart_must_be_there() {
    let subject = Attribute::Certificate(CertificateField::Subject);
    let tenant = |value: Option<&[u8]>| {
        let mut request = request();
        request.settings.tenant =
            Tenant::Same(vec![Distinction::Certificate(CertificateField::Subject)]);
        let value = value.map(|value| (subject, value.to_vec()));
        request.attributes.extend(value);
        key_of(&request)
    };
    assert_ne!(tenant(Some(b"CN=a")), tenant(Some(b"CN=b")));
    assert_eq!(tenant(None), Err(NoCaller::NoTenant));
}

#[test]
fn all_of_several_distinctions_must_be_there() {
    let path = MetadataPath {
        filter: "envoy.filters.http.jwt_authn".into(),
        members: vec!["pay".into(), "email".into()],
    };
    let tenant = |metadata: bool, header: Option<&'static str>| {
        let mut request = request();
        request.settings.tenant = Tenant::Same(vec![
            Distinction::Metadata(path.clone()),
            Distinction::Header("x-tenant".into()),
        ]);
        if metadata {
            let value = crate::attributes::tests::METADATA.to_vec();
            request.attributes.push((Attribute::DynamicMetadata, value));
        }
        request
            .headers
            .extend(header.map(|value| ("x-tenant", value)));
        key_of(&request)
    };
    assert_eq!(tenant(true, None), Err(NoCaller::NoTenant));
    assert_eq!(tenant(false, Some("a")), Err(NoCaller::NoTenant));
    assert_ne!(
        tenant(true, Some("a")).unwrap(),
        tenant(true, Some("b")).unwrap()
    );
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

/// The parts of a request's key, by their names.
fn parts(change: impl FnOnce(&mut Request)) -> BTreeMap<String, String> {
    let mut request = request();
    change(&mut request);
    let mut explanation = Explanation::new([1, 2, 3, 4]);
    let key = explained(&request, Some(&mut explanation)).unwrap();
    assert_eq!(
        key,
        key_of(&request).unwrap(),
        "an explanation changes no key"
    );
    let text = explanation.finish();
    let pairs = text.split(", ").map(|part| part.split_once('=').unwrap());
    pairs
        .map(|(name, digest)| (name.into(), digest.into()))
        .collect()
}

#[test]
fn what_takes_part_in_the_key_changes_its_own_part_of_the_explanation_only() {
    type Case = (&'static str, fn(&mut Request));
    let cases: [Case; 18] = [
        ("authority", |r| set(r, ":authority", "other.example")),
        ("path", |r| {
            set(r, ":path", "/v1/chat/completions?api-version=2")
        }),
        ("caller", |r| {
            set(r, "authorization", "Bearer sk-fedcba9876543210")
        }),
        ("caller", |r| r.headers.push(("x-api-key", "k"))),
        ("cluster", |r| r.attributes[0].1 = b"other".to_vec()),
        ("route", |r| r.attributes[1].1 = b"other".to_vec()),
        ("header.openai-organization", |r| {
            set(r, "openai-organization", "b")
        }),
        ("header.openai-organization", |r| {
            r.without("openai-organization")
        }),
        ("header.openai-beta", |r| {
            r.headers.push(("openai-beta", "1"))
        }),
        ("header.x-team", |r| set(r, "x-team", "other")),
        ("header.x-team", |r| r.without("x-team")),
        ("body.model", |r| {
            r.body = r.body.replace(r#""m""#, r#""n""#)
        }),
        ("body.messages", |r| r.body = r.body.replace("hi", "ho")),
        ("body.seed", |r| {
            r.body = r.body.replacen('{', r#"{"seed":1,"#, 1)
        }),
        ("body.~", |r| {
            r.body = r.body.replacen('{', r#"{"mine":1,"#, 1)
        }),
        ("settings", |r| r.settings.namespace = "green".into()),
        ("settings", |r| r.settings.exclude.push(place("/absent"))),
        ("settings", |r| r.settings.mask.clear()),
    ];
    let plain = parts(|_| {});
    for (name, change) in cases {
        let other = parts(change);
        let names = plain.keys().chain(other.keys());
        let differ: BTreeSet<_> = names.filter(|n| plain.get(*n) != other.get(*n)).collect();
        let differ: Vec<_> = differ.into_iter().collect();
        assert!(
            matches!(&*differ, [only] if *only == name || name == "body.~" && only.starts_with(name)),
            "{name}: {differ:?}"
        );
    }
    assert_eq!(
        plain,
        parts(|r| r.body = r.body.replace(r#""u""#, r#""v""#)),
        "left out"
    );
}
