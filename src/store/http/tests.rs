use super::*;
use crate::callout::CalloutFault;
use crate::config::Secret;
use crate::http::Headers;
use std::time::Duration;

const NOW: u64 = 1_700_000_000_000;
const KEY: &str = "00ff";

fn settings(protocol: StoreProtocol) -> config::Http {
    config::Http {
        cluster: "cache".into(),
        protocol,
        authority: "cache.local".into(),
        path_prefix: "/llm.cache/".into(),
        headers: vec![("authorization".into(), Secret::new("Bearer x"))],
        lookup_timeout: Duration::from_millis(50),
        store_timeout: Duration::from_secs(2),
        max_entry_bytes: 1_000,
        breaker: config::Breaker {
            failures: 2,
            min_open: Duration::from_secs(1),
            max_open: Duration::from_secs(1),
        },
        integrity_key: None,
    }
}

fn store(protocol: StoreProtocol) -> HttpStore {
    HttpStore::new(settings(protocol), 1)
}

fn reply(status: u16, body: &[u8]) -> CalloutResult {
    Ok(CalloutReply {
        status,
        headers: Headers::new(),
        body: Some(body.to_vec()),
    })
}

fn too_long() -> CalloutResult {
    Ok(CalloutReply {
        status: 200,
        headers: Headers::new(),
        body: None,
    })
}

fn headers(callout: &Callout) -> Vec<(&str, &str)> {
    let headers = callout.headers.iter();
    headers.map(|(n, v)| (n.as_str(), v.as_str())).collect()
}

#[test]
fn webdis_is_asked_with_one_argument_whatever_the_prefix_holds() {
    let store = store(StoreProtocol::Webdis);
    let get = store.probe(KEY);
    assert_eq!(
        headers(&get),
        [
            (":method", "GET"),
            (
                ":path",
                "/GET/%2Fllm%2Ecache%2F00ff?type=application/octet-stream"
            ),
            (":authority", "cache.local"),
            ("authorization", "Bearer x"),
        ]
    );
    assert_eq!(
        (get.cluster.as_str(), get.timeout, get.body.len()),
        ("cache", Duration::from_millis(50), 0)
    );
    let put = store.write(KEY, 60, b"entry".to_vec());
    assert_eq!(
        headers(&put)[..2],
        [
            (":method", "PUT"),
            (":path", "/SETEX/%2Fllm%2Ecache%2F00ff/60")
        ]
    );
    assert_eq!(
        (put.body.as_slice(), put.timeout),
        (&b"entry"[..], Duration::from_secs(2))
    );
    // Redis refuses a lifetime of 0.
    assert!(
        headers(&store.write(KEY, 0, vec![]))
            .contains(&(":path", "/SETEX/%2Fllm%2Ecache%2F00ff/1"))
    );
    assert!(!store.keeps_expired() && store.delete(KEY).is_none());
}

#[test]
fn objects_are_got_put_and_deleted_under_their_path() {
    let store = store(StoreProtocol::Rest);
    assert_eq!(
        headers(&store.probe(KEY))[..2],
        [(":method", "GET"), (":path", "/llm.cache/00ff")]
    );
    assert_eq!(
        headers(&store.write(KEY, 60, b"entry".to_vec())),
        [
            (":method", "PUT"),
            (":path", "/llm.cache/00ff"),
            (":authority", "cache.local"),
            ("content-type", "application/octet-stream"),
            ("cache-control", "max-age=60"),
            ("authorization", "Bearer x"),
        ]
    );
    assert!(store.keeps_expired());
    assert_eq!(
        headers(&store.delete(KEY).unwrap())[..2],
        [(":method", "DELETE"), (":path", "/llm.cache/00ff")]
    );
}

#[test]
fn a_callout_does_not_show_what_it_carries() {
    let shown = format!(
        "{:?}",
        store(StoreProtocol::Rest).write(KEY, 1, b"prompt".to_vec())
    );
    assert!(
        !shown.contains("Bearer") && !shown.contains("prompt"),
        "{shown}"
    );
}

#[test]
fn every_reply_to_a_lookup_is_an_entry_a_miss_or_a_fault() {
    use StoreFault::{Refused, Timeout, TooLarge, Unavailable};
    let no_reply = || Err(CalloutFault::NoReply);
    let both = [StoreProtocol::Webdis, StoreProtocol::Rest];
    let webdis = [StoreProtocol::Webdis];
    let rest = [StoreProtocol::Rest];
    for (protocols, result, found) in [
        (&both[..], reply(200, b"LLMC"), Ok(Some(b"LLMC".to_vec()))),
        (&both, reply(200, b""), Ok(Some(vec![]))),
        (&both, reply(404, b""), Ok(None)),
        (&rest, reply(410, b""), Ok(None)),
        (&both, too_long(), Err(TooLarge)),
        (&both, reply(200, &[0; 1_000]), Ok(Some(vec![0; 1_000]))),
        (&both, reply(200, &[0; 1_001]), Err(TooLarge)),
        (&both, reply(204, b""), Err(Refused)),
        (&both, reply(206, b"LLMC"), Err(Refused)),
        (&both, reply(301, b""), Err(Refused)),
        (&both, reply(304, b""), Err(Refused)),
        (&both, reply(400, b""), Err(Refused)),
        (&both, reply(403, b""), Err(Refused)),
        (&both, reply(408, b""), Err(Timeout)),
        (&both, reply(429, b""), Err(Unavailable)),
        (&both, reply(500, b""), Err(Unavailable)),
        (&both, reply(503, b""), Err(Unavailable)),
        (&both, reply(504, b""), Err(Timeout)),
        (&both, no_reply(), Err(Unavailable)),
        (&both, Err(CalloutFault::NotSent), Err(Unavailable)),
        (
            &webdis,
            reply(200, b"-NOAUTH Authentication required."),
            Err(Refused),
        ),
        (&webdis, reply(200, b"-WRONGTYPE Operation"), Err(Refused)),
        (&webdis, reply(200, b"-LOADING Redis is"), Err(Unavailable)),
        (
            &webdis,
            reply(200, b"-CLUSTERDOWN Hash slot"),
            Err(Unavailable),
        ),
    ] {
        for protocol in protocols {
            let (told, _) = store(*protocol).looked_up(result.clone(), NOW);
            assert_eq!(told, found, "{protocol:?} {result:?}");
        }
    }
}

#[test]
fn a_write_is_done_only_if_the_store_says_so() {
    use StoreFault::{Refused, Timeout, Unavailable};
    for (protocol, result, written) in [
        (
            StoreProtocol::Webdis,
            reply(200, br#"{"SETEX":[true,"OK"]}"#),
            Ok(()),
        ),
        (
            StoreProtocol::Webdis,
            reply(200, br#"{"SETEX":[false,"OOM command not allowed"]}"#),
            Err(Refused),
        ),
        (
            StoreProtocol::Webdis,
            reply(200, br#"{"SETEX":[false,"LOADING Redis is"]}"#),
            Err(Unavailable),
        ),
        (StoreProtocol::Webdis, reply(200, b""), Err(Refused)),
        (StoreProtocol::Webdis, too_long(), Err(Refused)),
        (StoreProtocol::Webdis, reply(404, b""), Err(Refused)),
        (StoreProtocol::Webdis, reply(413, b""), Err(Refused)),
        (StoreProtocol::Webdis, reply(503, b""), Err(Unavailable)),
        (StoreProtocol::Rest, reply(200, b""), Ok(())),
        (StoreProtocol::Rest, reply(201, b""), Ok(())),
        (StoreProtocol::Rest, reply(204, b""), Ok(())),
        (StoreProtocol::Rest, reply(301, b""), Err(Refused)),
        (StoreProtocol::Rest, reply(403, b""), Err(Refused)),
        (StoreProtocol::Rest, reply(503, b""), Err(Unavailable)),
        (StoreProtocol::Rest, reply(504, b""), Err(Timeout)),
    ] {
        let (told, _) = store(protocol).written(result.clone(), NOW);
        assert_eq!(told, written, "{protocol:?} {result:?}");
    }
}

#[test]
fn only_faults_of_the_store_itself_open_the_breaker() {
    for (result, opens) in [
        (reply(503, b""), true),
        (reply(504, b""), true),
        (Err(CalloutFault::NoReply), true),
        (Err(CalloutFault::NotSent), true),
        (reply(404, b""), false),
        (reply(200, b"garbage"), false),
        (reply(403, b""), false),
        (too_long(), false),
    ] {
        let lookups = store(StoreProtocol::Webdis);
        let writes = store(StoreProtocol::Webdis);
        for _ in 0..2 {
            let _found = lookups.looked_up(result.clone(), NOW);
            let _written = writes.written(result.clone(), NOW);
        }
        for store in [lookups, writes] {
            let (lookup, _) = store.look_up(KEY, NOW);
            assert_eq!(lookup == Lookup::Refused, opens, "{result:?}");
            let (begun, _) = store.begin_write(1, NOW);
            assert_eq!(begun != WriteBegun::Yes, opens, "{result:?}");
        }
    }
}

#[test]
fn an_open_breaker_lets_one_probe_out_whose_answer_closes_it() {
    let store = store(StoreProtocol::Webdis);
    for _ in 0..2 {
        let _found = store.looked_up(reply(503, b""), NOW);
    }
    assert_eq!(store.look_up(KEY, NOW + 999).0, Lookup::Refused);
    assert_eq!(store.look_up(KEY, NOW + 1_000).0, Lookup::Probe);
    assert_eq!(store.look_up(KEY, NOW + 1_000).0, Lookup::Refused);
    let (_, turn) = store.probed(reply(404, b""), NOW + 1_001);
    assert_eq!(turn.unwrap().to, BreakerState::Closed);
    assert!(matches!(store.look_up(KEY, NOW + 1_001).0, Lookup::Ask(_)));
}

#[test]
fn a_write_finds_out_as_well_that_a_probe_is_due() {
    let store = store(StoreProtocol::Webdis);
    for _ in 0..2 {
        let _written = store.written(reply(503, b""), NOW);
    }
    let open = WriteBegun::No(StoreFault::BreakerOpen);
    assert_eq!(store.begin_write(1, NOW + 999).0, open);
    assert_eq!(store.begin_write(1, NOW + 1_000).0, WriteBegun::Probe);
    assert_eq!(store.begin_write(1, NOW + 1_000).0, open);
    let _found = store.probed(reply(404, b""), NOW + 1_001);
    assert_eq!(store.begin_write(1, NOW + 1_001).0, WriteBegun::Yes);
}

#[test]
fn writes_on_their_way_are_bounded_in_number_and_bytes() {
    let store = store(StoreProtocol::Webdis);
    let begin = |bytes| store.begin_write(bytes, NOW).0;
    let busy = WriteBegun::No(StoreFault::Busy);
    assert_eq!(begin(1_001), WriteBegun::No(StoreFault::TooLarge));
    for _ in 0..MAX_WRITTEN_ENTRIES {
        assert_eq!(begin(1_000), WriteBegun::Yes);
    }
    assert_eq!(begin(1), busy);
    store.end_write(1_000);
    for _ in MAX_WRITTEN_ENTRIES..=MAX_WRITES {
        assert_eq!(begin(1), WriteBegun::Yes);
    }
    assert_eq!(begin(1), busy);
    store.end_write(1);
    assert_eq!(begin(1), WriteBegun::Yes);
}
