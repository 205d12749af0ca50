//! What routes make of requests. A callout goes past the route, so it is the same request only where
//! the route changes nothing that matters. A plugin cannot see the route; but when a request is over,
//! it can see what was sent.
//!
//! If a request passed unchanged, later requests by that route with the same headers count as
//! unchanged. A route may still change requests that have other headers. For headers that differ between
//! clients and do not affect the answer, equal names are enough. If a request was changed, the route
//! counts as one that changes requests, for good.

use std::cell::RefCell;

use sha2::{Digest, Sha256};

use crate::attributes::{Attribute, Attributes};
use crate::http::Headers;

/// The number of requests that passed as they came and are known at once, per worker; a power of two.
const MAX_PASSED: usize = 4_096;

/// The number of routes that change requests and are known at once, per worker. A gateway with more has no
/// refreshes in the background, but on routes that are known to change none.
const MAX_CHANGING: usize = 1_024;

/// What belongs to the client's connection or is Envoy's to set (RFC 9110, section 7.6.1), the number
/// of the one request, what it asks of this cache, and the coding that suits the one client that asked.
const LEFT_OUT: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-llm-cache-ttl",
    "x-request-id",
];

/// Headers that differ from request to request, or concern Envoy only.
const NOISE: [&str; 16] = [
    "b3",
    "baggage",
    "grpc-trace-bin",
    "newrelic",
    "sentry-trace",
    "sw8",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-b3-",
    "x-client-trace-id",
    "x-cloud-trace-context",
    "x-datadog-",
    "x-envoy-",
    "x-ot-span-context",
];

/// Headers that differ between clients, hops and moments. They need not have the same values.
const PASSING: [&str; 14] = [
    "accept-language",
    "cf-connecting-ip",
    "cf-ray",
    "date",
    "forwarded",
    "idempotency-key",
    "referer",
    "sec-",
    "true-client-ip",
    "user-agent",
    "via",
    "x-forwarded-",
    "x-real-ip",
    "x-stainless-",
];

/// What a worker has seen of routes.
#[derive(Debug, Default)]
pub(crate) struct RouteObserver(RefCell<Observed>);

#[derive(Debug, Default)]
struct Observed {
    /// Requests that reached the upstream as they came. Each has one index, where another may take
    /// its turn: a request that is forgotten is one that was never seen.
    passed: Vec<Option<HalfDigest>>,
    /// Routes that have changed a request. None is ever forgotten.
    changing: Vec<HalfDigest>,
}

/// The first half of a SHA-256 digest.
type HalfDigest = [u8; 16];

impl RouteObserver {
    /// Sees how a request came by a route, and how it was sent.
    pub(crate) fn observe(&self, came: &Headers, sent: &Headers, by: &Attributes) {
        let mut seen = self.0.borrow_mut();
        if same(what_matters(came), what_matters(sent)) {
            let request = request_of(came, by);
            if seen.passed.is_empty() {
                seen.passed.resize(MAX_PASSED, None);
            }
            if let Some(passed) = seen.passed.get_mut(index(request)) {
                *passed = Some(request);
            }
        } else {
            let route = route_of(by);
            if !seen.changing.contains(&route) && seen.changing.len() < MAX_CHANGING {
                seen.changing.push(route);
            }
        }
    }

    /// Whether a request is known to reach the upstream by this route as it comes.
    pub(crate) fn lets_pass(&self, came: &Headers, by: &Attributes) -> bool {
        let seen = self.0.borrow();
        let request = request_of(came, by);
        seen.changing.len() < MAX_CHANGING
            && !seen.changing.contains(&route_of(by))
            && seen.passed.get(index(request)) == Some(&Some(request))
    }
}

/// What tells one route from another, as far as can be seen.
fn route_of(by: &Attributes) -> HalfDigest {
    let mut digest = Sha256::new();
    write_route(by, &mut digest);
    half(digest)
}

/// A digest of the route and the headers. One request stands for all that have the same digest.
fn request_of(came: &Headers, by: &Attributes) -> HalfDigest {
    let passes = |name: &[u8]| PASSING.iter().any(|it| name.starts_with(it.as_bytes()));
    // Values of one name keep their order.
    let mut fields = what_matters(came);
    fields.sort_by_key(|(name, _)| *name);
    let mut digest = Sha256::new();
    write_route(by, &mut digest);
    for (name, value) in fields {
        write(name, &mut digest);
        write(if passes(name) { b"" } else { value }, &mut digest);
    }
    half(digest)
}

fn write_route(by: &Attributes, digest: &mut Sha256) {
    for attribute in [Attribute::Cluster, Attribute::RouteName] {
        write(by.get(attribute).unwrap_or_default(), digest);
    }
}

fn write(part: &[u8], digest: &mut Sha256) {
    digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
    digest.update(part);
}

fn half(digest: Sha256) -> HalfDigest {
    let digest: [u8; 32] = digest.finalize().into();
    *digest.first_chunk().unwrap_or(&[0; 16])
}

fn index([first, second, ..]: HalfDigest) -> usize {
    const {
        assert!(
            MAX_PASSED.is_power_of_two(),
            "a mask takes part of the bits"
        )
    };
    usize::from(u16::from_le_bytes([first, second])) & (MAX_PASSED - 1)
}

/// The headers that a callout repeats.
pub(crate) fn what_matters(headers: &Headers) -> Vec<(&[u8], &[u8])> {
    let matters = |name: &[u8]| {
        LEFT_OUT.iter().all(|out| out.as_bytes() != name)
            && NOISE
                .iter()
                .all(|noise| !name.starts_with(noise.as_bytes()))
    };
    headers.iter().filter(|(name, _)| matters(name)).collect()
}

/// Whether two lists hold the same, in any order. Mostly it is the same order.
fn same<T: PartialEq>(some: Vec<T>, mut others: Vec<T>) -> bool {
    if some == others {
        return true;
    }
    let all = some.iter().all(|one| {
        let found = others.iter().position(|other| other == one);
        found.map(|index| others.remove(index)).is_some()
    });
    all && others.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(more: &[(&str, &str)]) -> Headers {
        let base = [
            (":authority", "gateway.example"),
            (":path", "/v1/chat/completions"),
            ("authorization", "Bearer k"),
        ];
        let own = base
            .iter()
            .filter(|(n, _)| more.iter().all(|(m, _)| m != n));
        own.chain(more).copied().collect()
    }

    fn route(cluster: &str, name: &str) -> Attributes {
        let values = [(Attribute::Cluster, cluster), (Attribute::RouteName, name)];
        let values = values.map(|(attribute, value)| (attribute, value.as_bytes().to_vec()));
        Attributes::read(values.to_vec(), &[])
    }

    fn see(routes: &RouteObserver, came: &Headers, sent: &Headers, by: &Attributes) {
        routes.observe(came, sent, by);
    }

    fn passes(routes: &RouteObserver, came: &Headers, by: &Attributes) -> bool {
        routes.lets_pass(came, by)
    }

    #[test]
    fn a_request_is_known_to_pass_where_the_same_has_passed() {
        let routes = RouteObserver::default();
        let by = route("upstream", "");
        let came = headers(&[
            ("accept-encoding", "br"),
            ("x-envoy-retry-on", "5xx"),
            ("user-agent", "a"),
            ("x-role", "user"),
        ]);
        assert!(!passes(&routes, &came, &by), "nothing was seen yet");
        let sent = headers(&[
            ("x-role", "user"),
            ("user-agent", "a"),
            ("x-envoy-expected-rq-timeout-ms", "15000"),
            ("traceparent", "00-1"),
        ]);
        see(&routes, &came, &sent, &by);
        let again = headers(&[
            ("x-request-id", "2"),
            ("content-length", "7"),
            ("user-agent", "b"),
            ("x-role", "user"),
        ]);
        assert!(passes(&routes, &again, &by));
        assert!(!passes(&routes, &came, &route("other", "")));
        assert!(!passes(&routes, &came, &route("upstream", "named")));
        for other in [
            (":path", "/v1/other"),
            (":authority", "other.example"),
            ("authorization", "Bearer other"),
            ("cookie", "session=1"),
            ("x-variant", "b"),
        ] {
            let came = headers(&[("x-role", "user"), other, ("user-agent", "a")]);
            assert!(
                !passes(&routes, &came, &by),
                "a route may match on {other:?}"
            );
        }
        let came = headers(&[("x-role", "admin"), ("user-agent", "a")]);
        assert!(!passes(&routes, &came, &by), "a route may overwrite it");
    }

    #[test]
    fn a_route_that_has_changed_a_request_lets_none_pass_from_then_on() {
        for changed in [
            (":authority", "model-a.internal"),
            (":path", "/a/v1/chat/completions"),
            ("authorization", "Bearer provider"),
            ("openai-organization", "org"),
        ] {
            let routes = RouteObserver::default();
            let (here, there) = (route("upstream", "a"), route("upstream", "b"));
            let came = headers(&[]);
            for by in [&here, &there] {
                see(&routes, &came, &came, by);
                assert!(passes(&routes, &came, by));
            }
            see(
                &routes,
                &headers(&[("x-variant", "b")]),
                &headers(&[changed]),
                &here,
            );
            for _ in 0..2 {
                assert!(!passes(&routes, &came, &here), "{changed:?}");
                assert!(passes(&routes, &came, &there), "{changed:?}");
                see(&routes, &came, &came, &here);
            }
        }
    }

    #[test]
    fn what_is_known_is_bounded_and_no_change_is_forgotten() {
        let routes = RouteObserver::default();
        let (came, changed) = (headers(&[]), headers(&[(":path", "/changed")]));
        let name = |number: usize| route("upstream", &number.to_string());
        for number in 0..MAX_CHANGING - 1 {
            see(&routes, &came, &changed, &name(number));
        }
        for number in 0..3 * MAX_PASSED {
            let came = headers(&[(":path", &format!("/{number}/v1/chat/completions"))]);
            see(&routes, &came, &came, &name(MAX_CHANGING));
            assert!(passes(&routes, &came, &name(MAX_CHANGING)));
            see(&routes, &came, &came, &name(number % (MAX_CHANGING - 1)));
            assert!(!passes(&routes, &came, &name(number % (MAX_CHANGING - 1))));
        }
        assert_eq!(routes.0.borrow().passed.len(), MAX_PASSED);
        for number in MAX_CHANGING..2 * MAX_CHANGING {
            see(&routes, &came, &changed, &name(number));
        }
        assert_eq!(routes.0.borrow().changing.len(), MAX_CHANGING);
        let new = name(3 * MAX_CHANGING);
        see(&routes, &came, &came, &new);
        assert!(
            !passes(&routes, &came, &new),
            "it may be one that was not written down"
        );
    }
}
