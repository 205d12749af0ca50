//! What routes make of requests. A callout goes past the route, so it is the same request only where
//! the route changes nothing that matters. A plugin cannot see the route; but when a request is over,
//! it can see what was sent.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::http::Headers;

use super::refresh::LEFT_OUT;

/// So many are known at once, per worker.
const MAX_ROUTES: usize = 1_024;

/// Clients choose how long a path is; one with a longer way is not looked at.
const MAX_WAY_BYTES: usize = 2_048;

/// Headers that differ from request to request, or concern nobody but Envoy, whoever sends them.
const NOISE: [&str; 7] = [
    "b3",
    "traceparent",
    "tracestate",
    "x-amzn-trace-id",
    "x-b3-",
    "x-datadog-",
    "x-envoy-",
];

/// What a worker has seen of routes.
#[derive(Debug, Default)]
pub(super) struct Routes(RefCell<BTreeMap<Way, bool>>);

/// Where requests come to and where they are sent: what tells one route from another, as far as can
/// be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    authority: Vec<u8>,
    path: Vec<u8>,
    cluster: String,
}

impl Way {
    fn new(came: &Headers, cluster: &str) -> Self {
        let field = |name| came.get(name).unwrap_or_default().to_vec();
        Self {
            authority: field(":authority"),
            path: field(":path"),
            cluster: cluster.to_owned(),
        }
    }
}

impl Routes {
    /// Sees how a request came and how it was sent to this cluster.
    pub(super) fn observe(&self, came: &Headers, sent: &Headers, cluster: &str) {
        let mut routes = self.0.borrow_mut();
        let way = Way::new(came, cluster);
        if way.authority.len().saturating_add(way.path.len()) > MAX_WAY_BYTES {
            return;
        }
        if routes.len() >= MAX_ROUTES && !routes.contains_key(&way) {
            routes.clear();
        }
        // A way on which one request was changed is not taken for one that changes none.
        let as_it_came = routes.entry(way).or_insert(true);
        *as_it_came &= same(what_matters(came), what_matters(sent));
    }

    /// Whether requests are known to reach this cluster as they come.
    pub(super) fn let_pass(&self, came: &Headers, cluster: &str) -> bool {
        let routes = self.0.borrow();
        routes.get(&Way::new(came, cluster)).copied() == Some(true)
    }
}

/// The headers that a callout would have to repeat.
fn what_matters(headers: &Headers) -> Vec<(&[u8], &[u8])> {
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
        let place = others.iter().position(|other| other == one);
        place.map(|place| others.remove(place)).is_some()
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

    #[test]
    fn a_route_that_changes_nothing_lets_requests_pass() {
        let routes = Routes::default();
        let came = headers(&[("accept-encoding", "br"), ("x-envoy-retry-on", "5xx")]);
        assert!(!routes.let_pass(&came, "upstream"), "nothing was seen yet");
        let sent = headers(&[
            ("x-envoy-expected-rq-timeout-ms", "15000"),
            ("traceparent", "00-1"),
        ]);
        routes.observe(&came, &sent, "upstream");
        assert!(routes.let_pass(&headers(&[]), "upstream"));
        assert!(!routes.let_pass(&headers(&[]), "other"));
        assert!(!routes.let_pass(&headers(&[(":path", "/v1/other")]), "upstream"));
        assert!(!routes.let_pass(&headers(&[(":authority", "other.example")]), "upstream"));
    }

    #[test]
    fn a_route_that_changes_anything_that_matters_lets_none_pass_from_then_on() {
        for changed in [
            (":authority", "model-a.internal"),
            (":path", "/a/v1/chat/completions"),
            ("authorization", "Bearer provider"),
            ("openai-organization", "org"),
        ] {
            let routes = Routes::default();
            let came = headers(&[]);
            routes.observe(&came, &came, "upstream");
            assert!(routes.let_pass(&came, "upstream"));
            routes.observe(&came, &headers(&[changed]), "upstream");
            assert!(!routes.let_pass(&came, "upstream"), "{changed:?}");
            routes.observe(&came, &came, "upstream");
            assert!(!routes.let_pass(&came, "upstream"), "{changed:?}");
        }
    }

    #[test]
    fn what_is_known_of_routes_is_bounded() {
        let routes = Routes::default();
        for n in 0..3_000 {
            let came = headers(&[(":path", &format!("/{n}/v1/chat/completions"))]);
            routes.observe(&came, &came, "upstream");
            assert!(routes.let_pass(&came, "upstream"));
            assert!(routes.0.borrow().len() <= MAX_ROUTES);
        }
        let long = headers(&[(":path", &"/".repeat(MAX_WAY_BYTES))]);
        routes.observe(&long, &long, "upstream");
        assert!(!routes.let_pass(&long, "upstream"));
    }
}
