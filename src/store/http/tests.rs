use super::*;
use crate::callout::CalloutFault;
use crate::config::Secret;
use crate::http::Headers;
use std::time::Duration;

const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);
const KEY: &str = "00ff";
const CALLER: u64 = 1;

/// This many milliseconds.
const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

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

/// What becomes of a lookup, without its room.
fn looks_up(store: &HttpStore, now: UnixMillis) -> Result<&'static str, StoreFault> {
    match store.look_up(KEY, CALLER, now).0 {
        Lookup::Send(..) => Ok("ask"),
        Lookup::Probe => Ok("probe"),
        Lookup::Refused(fault) => Err(fault),
    }
}

/// What becomes of a write, without its room.
fn writes(store: &HttpStore, now: UnixMillis) -> Result<&'static str, StoreFault> {
    match store.begin_write(1, CALLER, now).0 {
        WriteBegun::Yes(_) => Ok("write"),
        WriteBegun::Probe => Ok("probe"),
        WriteBegun::No(fault) => Err(fault),
    }
}

const OPEN: Result<&str, StoreFault> = Err(StoreFault::BreakerOpen);

fn reply(status: u16, body: &[u8]) -> CalloutResult {
    Ok(CalloutReply {
        status,
        headers: Headers::new(),
        trailers: Headers::new(),
        body: Some(body.to_vec()),
    })
}

fn too_long() -> CalloutResult {
    Ok(CalloutReply {
        status: 200,
        headers: Headers::new(),
        trailers: Headers::new(),
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
    let get = store.get(KEY);
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
    let put = store.write(KEY, DeltaSeconds::new(60), b"entry".to_vec());
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
        headers(&store.write(KEY, DeltaSeconds::new(0), vec![]))
            .contains(&(":path", "/SETEX/%2Fllm%2Ecache%2F00ff/1"))
    );
    assert!(!store.keeps_expired() && store.delete(KEY).is_none());
}

#[test]
fn objects_are_got_put_and_deleted_under_their_path() {
    let store = store(StoreProtocol::Rest);
    assert_eq!(
        headers(&store.get(KEY))[..2],
        [(":method", "GET"), (":path", "/llm.cache/00ff")]
    );
    assert_eq!(
        headers(&store.write(KEY, DeltaSeconds::new(60), b"entry".to_vec())),
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
        store(StoreProtocol::Rest).write(KEY, DeltaSeconds::new(1), b"prompt".to_vec())
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
        let looking = store(StoreProtocol::Webdis);
        let writing = store(StoreProtocol::Webdis);
        for _ in 0..2 {
            let _found = looking.looked_up(result.clone(), NOW);
            let _written = writing.written(result.clone(), NOW);
        }
        for store in [looking, writing] {
            // Says nothing where no probe was due.
            let _found = store.probed(reply(503, b""), NOW);
            assert_eq!(looks_up(&store, NOW) == OPEN, opens, "{result:?}");
            assert_eq!(writes(&store, NOW) == OPEN, opens, "{result:?}");
        }
    }
}

/// A store whose breaker has just opened.
fn open() -> HttpStore {
    let store = store(StoreProtocol::Webdis);
    let suspicions = [0, 1].map(|_| store.looked_up(reply(504, b""), NOW).1);
    assert_eq!(suspicions, [None, Some(Suspicion)]);
    assert_eq!(looks_up(&store, NOW), Ok("ask"), "suspected, and asked yet");
    let (_, turn) = store.probed(reply(504, b""), NOW);
    assert_eq!(turn.unwrap().to, BreakerState::Open);
    store
}

#[test]
fn an_open_breaker_lets_one_probe_out_whose_answer_closes_it() {
    let store = open();
    assert_eq!(looks_up(&store, NOW + ms(999)), OPEN);
    assert_eq!(looks_up(&store, NOW + ms(1_000)), Ok("probe"));
    assert_eq!(looks_up(&store, NOW + ms(1_000)), OPEN);
    let (_, turn) = store.probed(reply(404, b""), NOW + ms(1_001));
    assert_eq!(turn.unwrap().to, BreakerState::Closed);
    assert_eq!(looks_up(&store, NOW + ms(1_001)), Ok("ask"));
}

#[test]
fn a_write_finds_out_as_well_that_a_probe_is_due() {
    let store = open();
    assert_eq!(writes(&store, NOW + ms(999)), OPEN);
    assert_eq!(writes(&store, NOW + ms(1_000)), Ok("probe"));
    assert_eq!(writes(&store, NOW + ms(1_000)), OPEN);
    let _found = store.probed(reply(404, b""), NOW + ms(1_001));
    assert_eq!(writes(&store, NOW + ms(1_001)), Ok("write"));
}

#[test]
fn entries_that_take_too_long_leave_a_store_open_that_answers_probes() {
    let store = store(StoreProtocol::Webdis);
    for round in 0..100 {
        let suspicions = [0, 1, 2].map(|_| store.looked_up(reply(504, b""), NOW).1);
        assert_eq!(suspicions, [None, Some(Suspicion), None], "{round}");
        let (_, turn) = store.probed(reply(404, b""), NOW);
        assert_eq!(turn, None);
        assert_eq!(looks_up(&store, NOW), Ok("ask"));
    }
}

#[test]
fn a_probe_asks_for_what_nobody_has_stored() {
    let store = store(StoreProtocol::Rest);
    let [one, other] = [0, 1].map(|_| headers(&store.probe())[1].1.to_owned());
    assert_ne!(one, other);
    assert_eq!(one.len(), "/llm.cache/".len() + 64);
}

/// As many rooms as a caller gets for writes of this many bytes.
fn rooms(store: &HttpStore, caller: u64, bytes: usize) -> Vec<WriteRoom> {
    let begin = || match store.begin_write(bytes, caller, NOW).0 {
        WriteBegun::Yes(room) => Some(room),
        WriteBegun::No(StoreFault::Busy) => None,
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(begin).collect()
}

#[test]
fn writes_on_their_way_are_bounded_in_number_and_bytes_and_each_caller_has_a_share() {
    let store = store(StoreProtocol::Webdis);
    let too_large = store.begin_write(1_001, CALLER, NOW).0;
    assert!(matches!(too_large, WriteBegun::No(StoreFault::TooLarge)));
    let large = rooms(&store, 1, 1_000);
    assert_eq!(large.len(), MAX_WRITTEN_ENTRIES / 2);
    let other = rooms(&store, 2, 1_000);
    assert_eq!(other.len(), 1, "another caller's");
    assert_eq!(rooms(&store, 1, 1).len(), 0, "no more for the first");
    drop((large, other));
    let small = rooms(&store, 1, 1);
    assert_eq!(small.len(), MAX_WRITES / 2);
    assert!(!rooms(&store, 2, 1).is_empty());
    drop(small);
    assert_eq!(rooms(&store, 1, 1).len(), MAX_WRITES / 2);
}

#[test]
fn lookups_on_their_way_are_bounded_and_each_caller_has_a_share() {
    let store = store(StoreProtocol::Webdis);
    let all = |caller| {
        let ask = || match store.look_up(KEY, caller, NOW).0 {
            Lookup::Send(_, room) => Some(room),
            Lookup::Refused(StoreFault::Busy) => None,
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(ask).collect::<Vec<_>>()
    };
    let held = all(1);
    assert_eq!(held.len(), MAX_LOOKUPS / 2);
    assert_eq!(all(2).len(), MAX_LOOKUPS / 4);
    drop(held);
    assert_eq!(all(1).len(), MAX_LOOKUPS / 2);
}
