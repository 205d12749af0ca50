use super::*;
use crate::llm::Tokens;

fn key() -> CacheKey {
    CacheKey::from_bytes([7; 32])
}

fn headers() -> Headers {
    [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
    ]
    .into_iter()
    .collect()
}

fn seals() -> [Seal; 2] {
    [Seal::Checksum, Seal::new(Some(b"an integrity key"))]
}

fn new_entry<'a>(form: &'a Form, headers: &'a Headers) -> NewEntry<'a> {
    NewEntry {
        form,
        status: 200,
        created: UnixMillis::default(),
        lifetime: Duration::from_millis(1),
        cost: UpstreamCost::default(),
        headers,
        body: b"",
    }
}

fn cost() -> UpstreamCost {
    let tokens = Tokens {
        input: 10,
        cached_input: 20,
        output: 30,
    };
    UpstreamCost::new(
        Some(tokens),
        Duration::from_millis(400),
        Duration::from_secs(5),
    )
}

fn encoded(seal: &Seal) -> Vec<u8> {
    let form = Form::new(Framing::Sse, b"{\"include_usage\":true}");
    let headers = headers();
    let entry = NewEntry {
        created: UnixMillis::from_millis(1_700_000_000_000),
        lifetime: Duration::from_hours(1),
        cost: cost(),
        body: b"data: [DONE]\n\n",
        ..new_entry(&form, &headers)
    };
    encode(&key(), &entry).unwrap().seal(seal)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_entry_format_is_the_golden_one() {
    let golden = include_str!("../../../tests/golden/entry.hex");
    let encoded = seals().map(|seal| hex(&encoded(&seal)));
    assert_eq!(encoded.join("\n"), golden.trim());
}

#[test]
fn an_entry_survives_a_round_trip() {
    for seal in seals() {
        let entry = Entry::decode(&key(), encoded(&seal), &seal).unwrap();
        assert_eq!(
            entry.head.form,
            Form::new(Framing::Sse, b"{\"include_usage\":true}")
        );
        assert_eq!(entry.head.status, 200);
        assert_eq!(entry.head.created.as_millis(), 1_700_000_000_000);
        assert_eq!(entry.head.lifetime, Duration::from_hours(1));
        assert_eq!(entry.head.headers, headers());
        assert_eq!(entry.body(), b"data: [DONE]\n\n");
    }
}

#[test]
fn an_entry_goes_from_one_seal_to_another() {
    let [checksum, hmac] = seals();
    let entry = Entry::decode(&key(), encoded(&hmac), &hmac).unwrap();
    let sealed = encoded(&checksum);
    let draft = entry.draft_within(sealed.len()).unwrap();
    assert_eq!(draft.seal(&checksum), sealed);
    assert_eq!(entry.draft_within(entry.body().len()), None);
}

#[test]
fn an_entry_sealed_otherwise_is_refused() {
    let [checksum, hmac] = seals();
    let other = Seal::new(Some(b"another integrity key"));
    for (written, read) in [(&checksum, &hmac), (&hmac, &checksum), (&hmac, &other)] {
        let decoded = Entry::decode(&key(), encoded(written), read);
        assert_eq!(decoded, Err(EntryFault::Corrupt));
    }
}

#[test]
fn a_seal_does_not_tell_its_key() {
    assert_eq!(format!("{:?}", seals()), "[Checksum, Hmac]");
}

#[test]
fn an_empty_body_and_no_headers_survive_too() {
    let none = Headers::new();
    let draft = encode(&key(), &new_entry(&Form::json(), &none)).unwrap();
    for seal in seals() {
        let entry = Entry::decode(&key(), draft.clone().seal(&seal), &seal).unwrap();
        assert_eq!((entry.body(), &entry.head.headers), (&b""[..], &none));
    }
}

#[test]
fn a_cut_entry_is_refused_at_every_length() {
    for seal in seals() {
        let whole = encoded(&seal);
        for length in 0..whole.len() {
            let cut = whole[..length].to_vec();
            assert!(Entry::decode(&key(), cut, &seal).is_err(), "{length}");
        }
        let mut longer = whole;
        longer.push(0);
        assert!(Entry::decode(&key(), longer, &seal).is_err());
    }
}

#[test]
fn an_entry_with_any_bit_flipped_is_refused() {
    for seal in seals() {
        let whole = encoded(&seal);
        for byte in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << bit;
                let decoded = Entry::decode(&key(), flipped, &seal);
                assert!(decoded.is_err(), "{byte}.{bit}");
            }
        }
    }
}

#[test]
fn an_entry_under_another_key_is_refused() {
    let other = CacheKey::from_bytes([8; 32]);
    for seal in seals() {
        let decoded = Entry::decode(&other, encoded(&seal), &seal);
        assert_eq!(decoded, Err(EntryFault::OtherKey));
    }
}

#[test]
fn an_entry_of_another_version_is_foreign() {
    for seal in seals() {
        let mut newer = encoded(&seal);
        newer[4] += 1;
        for bytes in [newer, vec![]] {
            let decoded = Entry::decode(&key(), bytes, &seal);
            assert_eq!(decoded, Err(EntryFault::Foreign));
        }
    }
}

/// An entry that `encode` would not make.
fn forged(
    status: u16,
    lifetime: u64,
    options: &[u8],
    headers: &[(&str, &str)],
    seal: &Seal,
) -> Vec<u8> {
    let mut out = vec![];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[FORMAT_VERSION, 0]);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&lifetime.to_le_bytes());
    out.extend_from_slice(key().as_bytes());
    out.extend_from_slice(&UpstreamCost::default().encode());
    put(&mut out, options).unwrap();
    out.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_le_bytes());
    for (name, value) in headers {
        put(&mut out, name.as_bytes()).unwrap();
        put(&mut out, value.as_bytes()).unwrap();
    }
    put(&mut out, b"x").unwrap();
    Draft(out).seal(seal)
}

#[test]
fn only_what_is_stored_is_an_entry_whichever_key_sealed_it() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    const YEAR: u64 = 365 * 86_400_000;
    let long = "a".repeat(MAX_HEADER_BYTES);
    let seven = [JSON; 7];
    type Forged<'a> = (u16, u64, &'a [u8], &'a [(&'a str, &'a str)]);
    let refused: [Forged<'_>; 25] = [
        // A body behind a status that has none is the beginning of the next response.
        (204, 1, b"", &[JSON]),
        (205, 1, b"", &[JSON]),
        (304, 1, b"", &[JSON]),
        (101, 1, b"", &[JSON]),
        (0, 1, b"", &[JSON]),
        (201, 1, b"", &[JSON]),
        (206, 1, b"", &[JSON]),
        (301, 1, b"", &[JSON]),
        (503, 1, b"", &[JSON]),
        (999, 1, b"", &[JSON]),
        (200, YEAR + 1, b"", &[JSON]),
        (200, u64::MAX, b"", &[JSON]),
        (200, 1, &[b'o'; MAX_OPTION_BYTES + 1], &[JSON]),
        (200, 1, b"", &[("content-type", "a\r\nset-cookie: b")]),
        (200, 1, b"", &[("content-type", "a\nb")]),
        (200, 1, b"", &[("content-type", "a\0")]),
        (200, 1, b"", &[("content-type", "a\u{7f}")]),
        (200, 1, b"", &[("content-type", &long)]),
        (200, 1, b"", &[("Content-Type", "application/json")]),
        (200, 1, b"", &[("content-type\r\nx", "a")]),
        (200, 1, b"", &[("set-cookie", "a=b")]),
        (200, 1, b"", &[("content-length", "1")]),
        (200, 1, b"", &[(":status", "204")]),
        (200, 1, b"", &[JSON, JSON]),
        (200, 1, b"", &seven),
    ];
    for seal in seals() {
        for (status, lifetime, options, headers) in refused {
            let entry = forged(status, lifetime, options, headers, &seal);
            let decoded = Entry::decode(&key(), entry, &seal);
            assert_eq!(
                decoded,
                Err(EntryFault::NotOurs),
                "{status} {lifetime} {headers:?}"
            );
            // One list for both directions: nothing is written that would be refused.
            let form = Form::new(Framing::Json, options);
            let headers = headers.iter().copied().collect();
            let entry = NewEntry {
                status,
                lifetime: Duration::from_millis(lifetime),
                body: b"x",
                ..new_entry(&form, &headers)
            };
            let draft = encode(&key(), &entry);
            assert_eq!(draft, None, "{status} {lifetime} {headers:?}");
        }
        let all = STORED_HEADERS.map(|name| (name, "a"));
        let options = [b'o'; MAX_OPTION_BYTES];
        let decoded = Entry::decode(&key(), forged(200, YEAR, &options, &all, &seal), &seal);
        assert!(decoded.is_ok(), "{decoded:?}");
    }
}

#[test]
fn a_cost_that_no_answer_has_is_refused_whichever_key_sealed_it() {
    const COST_AT: usize = 4 + 1 + 1 + 2 + 8 + 8 + 32;
    for seal in seals() {
        let form = Form::new(Framing::Json, b"");
        let headers = Headers::new();
        let draft = encode(&key(), &new_entry(&form, &headers)).unwrap();
        for (place, byte) in [(0, 7), (4, 255), (20, 255)] {
            let mut forged = draft.clone();
            forged.0[COST_AT + place] = byte;
            let decoded = Entry::decode(&key(), forged.seal(&seal), &seal);
            assert_eq!(decoded, Err(EntryFault::NotOurs), "{place}");
        }
        assert!(Entry::decode(&key(), draft.seal(&seal), &seal).is_ok());
    }
}

#[test]
fn headers_without_end_are_not_read_to_their_end() {
    let many = vec![("", ""); 100_000];
    let entry = forged(200, 1, b"", &many, &Seal::Checksum);
    assert_eq!(
        Entry::decode(&key(), entry, &Seal::Checksum),
        Err(EntryFault::NotOurs)
    );
}

#[test]
fn lengths_that_reach_beyond_the_entry_are_refused_though_its_checksum_is_right() {
    // Each byte of the entry set to 255, under a checksum that fits.
    let whole = encoded(&Seal::Checksum);
    for byte in 0..whole.len() - 4 {
        let mut changed = whole[..whole.len() - 4].to_vec();
        changed[byte] = 255;
        let checksum = crc32fast::hash(&changed);
        changed.extend_from_slice(&checksum.to_le_bytes());
        if let Ok(entry) = Entry::decode(&key(), changed, &Seal::Checksum) {
            assert!(entry.body().len() <= whole.len(), "{byte}");
        }
    }
}
