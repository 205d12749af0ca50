use super::*;

const SECRET: &str = "Bearer sk-0123456789abcdef";

fn find(headers: &[(&str, &str)]) -> Result<&'static str, NoCaller> {
    let headers: Headers = headers.iter().copied().collect();
    let attributes = Attributes::default();
    let found = Caller::find(&headers, &attributes, Anonymous::Bypass);
    found.map(|caller| match caller {
        Caller::Credentials(_) => "credentials",
        Caller::Named { .. } => "named",
        Caller::Query => "query",
        Caller::Verified { .. } => "verified",
        Caller::Session => "session",
        Caller::Anonymous => "anonymous",
    })
}

#[test]
fn the_lists_are_sorted_and_name_no_header_twice() {
    let lists = [&CREDENTIAL_HEADERS[..], &NAME_HEADERS, &CERTIFICATE_HEADERS];
    for list in lists {
        assert!(list.is_sorted_by(|one, next| one < next));
    }
    let mut names = lists.concat();
    names.sort_unstable();
    assert!(names.is_sorted_by(|one, next| one < next));
}

#[test]
fn every_identity_header_stands_for_its_caller() {
    for name in CREDENTIAL_HEADERS {
        assert_eq!(find(&[(name, "one")]), Ok("named"), "{name}");
        assert_eq!(find(&[(name, SECRET)]), Ok("credentials"), "{name}");
    }
    for name in NAME_HEADERS {
        assert_eq!(find(&[(name, SECRET)]), Ok("named"), "{name}");
    }
    for name in CERTIFICATE_HEADERS {
        assert_eq!(find(&[(name, "one")]), Ok("verified"), "{name}");
    }
}

#[test]
fn what_says_nothing_stands_for_nobody() {
    for value in ["", " ", "Bearer", "bearer ", "Basic", "token"] {
        let found = find(&[("authorization", value)]);
        assert_eq!(found, Err(NoCaller::NoTenant), "{value:?}");
    }
    assert_eq!(find(&[]), Err(NoCaller::NoTenant));
    assert_eq!(
        find(&[("x-consumer-groups", "all")]),
        Err(NoCaller::NoTenant)
    );
}

#[test]
fn a_key_in_the_query_stands_for_its_caller() {
    let path = |path| find(&[(":path", path)]);
    assert_eq!(
        path("/v1beta/models/g:generateContent?key=AIza0123456789abcdef"),
        Ok("query")
    );
    assert_eq!(
        path("/v1/chat?alt=sse&Api-Key=0123456789abcdef"),
        Ok("query")
    );
    for other in [
        "/v1/chat?key=",
        "/v1/chat?key=short",
        "/key=0123456789abcdef",
        "/v1?monkey=0123456789abcdef",
    ] {
        assert_eq!(path(other), Err(NoCaller::NoTenant), "{other}");
    }
}

#[test]
fn requests_that_are_signed_anew_each_time_are_told() {
    for value in [
        "AWS4-HMAC-SHA256 Credential=AKID/20261130/us-east-1/bedrock/aws4_request",
        "AWS4-ECDSA-P256-SHA256 Credential=AKID",
        "Signature keyId=\"k\",signature=\"s\"",
        "Digest username=\"u\", nonce=\"n\"",
        "hmac username=\"u\"",
        "GOOG4-RSA-SHA256 Credential=a@b/20261130/auto/storage/goog4_request",
        "SDK-HMAC-SHA256 Access=a, SignedHeaders=host, Signature=0",
        "bce-auth-v1/ak/2026-11-30T00:00:00Z/1800/host/00",
    ] {
        let found = find(&[("authorization", value), ("x-api-key", "k")]);
        assert_eq!(found, Err(NoCaller::SignedRequest), "{value}");
    }
    let presigned = "/model/m/converse?X-Amz-Signature=00&X-Amz-Date=20261130T000000Z";
    assert_eq!(find(&[(":path", presigned)]), Err(NoCaller::SignedRequest));
    let by_rfc = [
        ("signature-input", "sig1=()"),
        ("authorization", "Bearer k"),
    ];
    assert_eq!(find(&by_rfc), Err(NoCaller::SignedRequest));
    assert_eq!(find(&[("authorization", "Bearer aws4")]), Ok("named"));
}

#[test]
fn the_host_is_asked_for_no_more_than_a_configuration_and_a_request_need() {
    let needed = |config: &str, headers: &[(&str, &str)]| {
        let config = crate::config::Config::parse(config.as_bytes()).unwrap();
        let needed = NeededAttributes::new(config.all_settings());
        needed
            .of_caller(&headers.iter().copied().collect())
            .to_vec()
    };
    let sha256 = Attribute::Certificate(CertificateField::Sha256);
    let verified = vec![Attribute::DynamicMetadata, sha256];
    let bearer = [("authorization", SECRET)];
    assert_eq!(needed("{}", &bearer), []);
    assert_eq!(needed("{}", &[("x-api-key", SECRET)]), []);
    for no_secret in [
        ("accept", SECRET),
        ("authorization", "Bearer EMPTY"),
        ("authorization", "Bearer sk-no-key-required"),
        ("x-user-id", SECRET),
        ("cookie", "session=0123456789abcdef"),
    ] {
        assert_eq!(needed("{}", &[no_secret]), verified, "{no_secret:?}");
    }
    assert_eq!(
        needed("{}", &[("x-forwarded-client-cert", "Hash=1")]),
        verified,
        "the certificate may be that of one more gateway"
    );
    assert_eq!(needed(r#"{"key":{"tenant":"shared"}}"#, &[]), []);
    assert_eq!(
        needed(
            r#"{"key":{"tenant":[{"metadata":["f","a"]},{"certificate":"uri_san"},{"metadata":["f","b"]}]}}"#,
            &bearer
        ),
        [
            Attribute::DynamicMetadata,
            Attribute::Certificate(CertificateField::UriSan)
        ]
    );
}
