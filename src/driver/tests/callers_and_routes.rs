//! Who sends a request, and by which route it goes.

use super::*;

#[test]
fn a_request_whose_caller_nobody_knows_is_let_go_before_its_body_comes() {
    let worker = worker("{}");
    let mut anonymous = post(&[]);
    anonymous.retain(|(name, _)| *name != "authorization");
    let mut host = Host::new(&worker);
    host.request_headers(&anonymous);
    let no_tenant = RequestResult::Bypass(Bypass::NoTenant);
    assert_eq!(bypassed(&host), Some(no_tenant));
    host.response_headers(&ok("application/json", &[]), true);
    assert_eq!(
        host.header("cache-status").unwrap(),
        "envoy-llm-cache; fwd=bypass; detail=no_tenant"
    );
}

#[test]
fn a_verified_certificate_stands_for_a_caller_without_credentials() {
    let worker = worker("{}");
    let mut request = post(&[]);
    request.retain(|(name, _)| *name != "authorization");
    let certificate = |digest: &str| {
        let sha256 = Attribute::Certificate(CertificateField::Sha256);
        let certificate = vec![(sha256, digest.as_bytes().to_vec())];
        [by_upstream(), certificate].concat()
    };
    let mut first = Host::new(&worker);
    first.fake.attributes.replace(certificate("one"));
    first.request(&request, ASK_JSON);
    first.response_headers(&ok("application/json", &[]), true);
    first.response_body(JSON, true);
    for (digest, result) in [
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
        ("one", RequestResult::Hit),
    ] {
        let mut again = Host::with_memory_of(&worker, &first);
        again.fake.attributes.replace(certificate(digest));
        again.request(&request, ASK_JSON);
        assert_eq!(again.request_result(), Some(result), "{digest}");
    }
}

#[test]
fn a_request_that_comes_again_by_another_route_is_another_request() {
    let worker = worker("{}");
    let by = |cluster: &str| vec![(Attribute::Cluster, cluster.as_bytes().to_vec())];
    let mut first = Host::new(&worker);
    first.fake.attributes.replace(by("one"));
    first.request(&post(&[]), ASK_JSON);
    first.response_headers(&ok("application/json", &[]), true);
    first.response_body(JSON, true);
    // After the first hit the worker knows the request again by its fingerprint.
    for (cluster, result) in [
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
        ("one", RequestResult::Hit),
        ("two", RequestResult::Miss(Miss::Absent)),
    ] {
        let mut again = Host::with_memory_of(&worker, &first);
        again.fake.attributes.replace(by(cluster));
        again.request(&post(&[]), ASK_JSON);
        assert_eq!(again.request_result(), Some(result), "{cluster}");
    }
}

#[test]
fn a_request_that_goes_where_nobody_knows_is_let_go() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.fake
        .attributes
        .replace(vec![(Attribute::RouteName, b"named".to_vec())]);
    host.request(&post(&[]), ASK_JSON);
    assert_eq!(
        bypassed(&host),
        Some(RequestResult::Bypass(Bypass::NoCluster))
    );
}

#[test]
fn an_answer_that_came_by_another_route_than_the_key_says_is_not_stored() {
    let worker = worker("{}");
    for (attribute, value) in [
        (Attribute::Cluster, "other"),
        (Attribute::RouteName, "named"),
    ] {
        let mut host = Host::new(&worker);
        host.request(&post(&[]), ASK_JSON);
        let other = (attribute, value.as_bytes().to_vec());
        let mut attributes = host.fake.attributes.take();
        attributes.retain(|(known, _)| *known != attribute);
        host.fake
            .attributes
            .replace([attributes, vec![other]].concat());
        host.response_headers(&ok("application/json", &[]), true);
        host.response_body(JSON, true);
        host.close();
        assert_eq!(host.answer_result(), Some(not_stored(NotStored::Rerouted)));
        assert!(host.stored().is_none(), "{value}");
    }
}

#[test]
fn a_signature_over_headers_of_its_own_choice_is_one() {
    let worker = worker("{}");
    let mut host = Host::new(&worker);
    host.request_headers(&post(&[
        ("authorization", "Bearer sk-0123456789abcdef"),
        ("signature-input", "sig1=(\"@method\")"),
    ]));
    let signed = RequestResult::Bypass(Bypass::SignedRequest);
    assert_eq!(bypassed(&host), Some(signed));
}
