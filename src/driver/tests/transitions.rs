//! Each transition in the table of `exchange::state` happens.

use super::*;
use crate::callout::CalloutReply;
use crate::exchange::table;

const BOTH: &str = r#"{"collapse": {"max_wait": "10s"}, "stale_if_error": "1h",
    "store": {"http": {"cluster": "cache", "protocol": "rest"}}}"#;

fn found(body: &[u8]) -> CalloutResult {
    Ok(CalloutReply {
        status: if body.is_empty() { 404 } else { 200 },
        headers: Headers::new(),
        trailers: Headers::new(),
        body: Some(body.to_vec()),
    })
}

/// How a stream comes into a state.
type Come<'a> = &'a dyn Fn() -> Host;

/// How it leaves it.
type Leave<'a> = &'a dyn Fn(&mut Host);

fn json() -> Fields {
    ok("application/json", &[])
}

fn in_trailers(host: &mut Host) {
    let body = ASK_JSON.as_bytes();
    host.fake.request_body.replace(Some(body.to_vec()));
    host.call(|stream| stream.request_body(body.len(), false));
    host.call(StreamContext::request_trailers);
}

#[test]
fn every_transition_of_the_table_happens() {
    let plain = worker(r#"{"collapse": {"max_wait": "10s"}}"#);
    let both = worker(BOTH);
    let stored = json_miss(&worker("{}"));
    let (_, entry) = stored.stored().unwrap();
    let only = post(&[("cache-control", "only-if-cached")]);
    let busy = || plain.flights.end(&stored.stored().unwrap().0);

    let start = || Host::new(&plain);
    let collecting = || {
        let mut host = Host::new(&plain);
        host.request_headers(&post(&[]));
        host
    };
    let collecting_hit = || {
        let mut host = Host::with_memory_of(&plain, &stored);
        host.request_headers(&post(&[]));
        host
    };
    let deaf = |mut host: Host| {
        host.fake.refuses_replies.set(true);
        host.request_headers(&post(&[]));
        host
    };
    let collecting_deaf_hit = || deaf(Host::with_memory_of(&plain, &stored));
    let collecting_both = || {
        let mut host = Host::new(&both);
        host.request_headers(&post(&[]));
        host
    };
    let fetching = || {
        let mut host = collecting_both();
        host.request_body(ASK_JSON);
        host
    };
    let deaf_fetching = || {
        let mut host = deaf(Host::new(&both));
        host.request_body(ASK_JSON);
        host
    };
    let forwarded = || {
        let mut host = collecting();
        host.request_body(ASK_JSON);
        host
    };
    let late = || {
        let mut host = Host::with_memory_of(&both, &stored);
        host.now = NOW + 3_600_001;
        host.request(&post(&[("x-request-id", "late")]), ASK_JSON);
        host.called(found(b""));
        host
    };
    let bypassed = || {
        let mut host = Host::new(&plain);
        host.request(&post(&[("cache-control", "no-store")]), ASK_JSON);
        host
    };
    let replied = || {
        let mut host = collecting_hit();
        host.request_body(ASK_JSON);
        host
    };
    let capturing = || {
        let mut host = forwarded();
        host.response_headers(&json(), true);
        host
    };

    let whole = |host: &mut Host| host.request_body(ASK_JSON);
    let answers = |host: &mut Host| host.response_headers(&json(), true);
    let fails = |host: &mut Host| {
        host.response_headers(&ok("application/json", &[(":status", "503")]), true);
    };
    let closes = |host: &mut Host| host.close();
    let part = |host: &mut Host| {
        host.fake.request_body.replace(Some(ASK_JSON.into()));
        host.call(|stream| stream.request_body(5, false));
    };
    let too_large = |host: &mut Host| {
        host.call(|stream| stream.request_body(1 << 30, false));
    };
    let empty = |host: &mut Host| host.request_body("");
    let cases: [(Come<'_>, Leave<'_>); 45] = [
        (&start, &|host| {
            host.fake.request_headers.replace(Some(headers(&post(&[]))));
            host.call(|stream| stream.request_headers(true));
        }),
        (&start, &|host| host.request_headers(&post(&[]))),
        (&start, &|host| {
            host.request_headers(&post(&[("cache-control", "no-store")]));
        }),
        (&start, &|host| {
            let control = "only-if-cached, no-store";
            host.request_headers(&post(&[("cache-control", control)]));
        }),
        (&start, &closes),
        (&collecting, &part),
        (&collecting, &too_large),
        (&collecting, &empty),
        (&collecting, &whole),
        (&collecting, &answers),
        (&collecting, &closes),
        (&collecting_hit, &whole),
        (&collecting_deaf_hit, &whole),
        (&collecting_both, &whole),
        (&collecting, &in_trailers),
        (&collecting_hit, &in_trailers),
        (&collecting_deaf_hit, &in_trailers),
        (&collecting_both, &in_trailers),
        (&collecting, &|host| {
            host.call(|stream| stream.request_body(5, false));
            host.call(StreamContext::request_trailers);
        }),
        (&fetching, &|host| host.called(found(&entry))),
        (&deaf_fetching, &|host| host.called(found(&entry))),
        (&fetching, &|host| host.called(found(b""))),
        (&fetching, &answers),
        (&fetching, &closes),
        (&forwarded, &fails),
        (&forwarded, &answers),
        (&forwarded, &closes),
        (&late, &fails),
        (&replied, &closes),
        (&bypassed, &answers),
        (&bypassed, &closes),
        (&capturing, &|host| host.response_body("{", false)),
        (&capturing, &|host| host.response_body(JSON, true)),
        (&capturing, &|host| {
            host.response_trailers(Some(Headers::new()))
        }),
        (&capturing, &closes),
        // One waits for another that is with the upstream.
        (&forwarded, &|_| waits(&plain, in_trailers)),
        (&forwarded, &|_| waits(&plain, whole)),
        (&forwarded, &|_| {
            waits(&plain, |host| {
                host.request_body(ASK_JSON);
                host.response_headers(&json(), true);
            })
        }),
        (&forwarded, &|_| {
            waits(&plain, |host| {
                host.request_body(ASK_JSON);
                host.close();
            })
        }),
        (&forwarded, &|_| {
            waits(&plain, |host| {
                host.request_body(ASK_JSON);
                plain.tick(NOW + 10_000, &host.memory);
            })
        }),
        (&forwarded, &|leader| {
            waits(&plain, |host| {
                host.request_body(ASK_JSON);
                leader_answers(leader);
                assert!(host.reply().is_some());
            })
        }),
        (&forwarded, &|leader| {
            waits(&plain, |host| {
                host.fake.refuses_replies.set(true);
                host.request_body(ASK_JSON);
                leader_answers(leader);
            })
        }),
        (
            &|| {
                let mut host = fetching();
                host.called(found(b""));
                host
            },
            &|_| {
                let mut other = collecting_both();
                other.request_body(ASK_JSON);
                other.called(found(b""));
                assert!(other.holds_request());
            },
        ),
        (&|| Host::new(&plain), &|host| {
            host.request_headers(&only);
            host.request_body(ASK_JSON);
        }),
        (&|| Host::new(&plain), &|host| {
            host.request_headers(&only);
            in_trailers(host);
        }),
    ];
    for (come, leave) in cases {
        let mut host = come();
        leave(&mut host);
        host.close();
        plain.settle(&host.memory);
        both.settle(&host.memory);
        busy();
        both.flights.end(&stored.stored().unwrap().0);
    }
    assert!(table::rows().len() > 30, "the table is not read");
    let missing: Vec<_> = table::rows()
        .difference(&table::happened())
        .copied()
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A request that comes while another one is with the upstream.
fn waits(worker: &Rc<TestWorker>, then: impl FnOnce(&mut Host)) {
    let mut host = Host::new(worker);
    host.request_headers(&post(&[]));
    then(&mut host);
}

fn leader_answers(leader: &mut Host) {
    leader.response_headers(&json(), true);
    leader.response_body(JSON, true);
    leader.worker.settle(&leader.memory);
}
