use super::*;

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

fn encoded() -> Vec<u8> {
    encode(
        &key(),
        &Form::stream(Framing::Sse, b"{\"include_usage\":true}"),
        200,
        1_700_000_000_000,
        3_600_000,
        &headers(),
        b"data: [DONE]\n\n",
    )
    .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_entry_format_is_the_golden_one() {
    let golden = include_str!("../../../tests/golden/entry.hex");
    assert_eq!(hex(&encoded()), golden.trim());
}

#[test]
fn an_entry_survives_a_round_trip() {
    let entry = Entry::decode(&key(), encoded()).unwrap();
    assert_eq!(
        entry.form,
        Form::stream(Framing::Sse, b"{\"include_usage\":true}")
    );
    assert_eq!(entry.status, 200);
    assert_eq!(entry.created, 1_700_000_000_000);
    assert_eq!(entry.lifetime, 3_600_000);
    assert_eq!(entry.headers, headers());
    assert_eq!(entry.body(), b"data: [DONE]\n\n");
}

#[test]
fn an_empty_body_and_no_headers_survive_too() {
    let none = Headers::new();
    let bytes = encode(&key(), &Form::json(), 200, 0, 1, &none, b"").unwrap();
    let entry = Entry::decode(&key(), bytes).unwrap();
    assert_eq!((entry.body(), &entry.headers), (&b""[..], &none));
}

#[test]
fn a_cut_entry_is_refused_at_every_length() {
    let whole = encoded();
    for length in 0..whole.len() {
        assert!(
            Entry::decode(&key(), whole[..length].to_vec()).is_err(),
            "{length}"
        );
    }
    let mut longer = whole;
    longer.push(0);
    assert!(Entry::decode(&key(), longer).is_err());
}

#[test]
fn an_entry_with_any_bit_flipped_is_refused() {
    let whole = encoded();
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << bit;
            assert!(Entry::decode(&key(), flipped).is_err(), "{byte}.{bit}");
        }
    }
}

#[test]
fn an_entry_under_another_key_is_refused() {
    let other = CacheKey::from_bytes([8; 32]);
    assert_eq!(Entry::decode(&other, encoded()), Err(EntryFault::OtherKey));
}

#[test]
fn an_entry_of_another_version_is_foreign() {
    let mut newer = encoded();
    newer[4] += 1;
    assert_eq!(Entry::decode(&key(), newer), Err(EntryFault::Foreign));
    assert_eq!(Entry::decode(&key(), vec![]), Err(EntryFault::Foreign));
}

#[test]
fn what_would_split_a_response_is_refused_though_its_checksum_is_right() {
    for (status, value) in [
        (200, "a\r\nset-cookie: b"),
        (200, "a\0"),
        (999, "a"),
        (100, "a"),
    ] {
        let headers = [("content-type", value)].into_iter().collect();
        let bytes = encode(&key(), &Form::json(), status, 0, 1, &headers, b"x").unwrap();
        assert_eq!(
            Entry::decode(&key(), bytes),
            Err(EntryFault::Corrupt),
            "{status} {value:?}"
        );
    }
}

#[test]
fn lengths_that_reach_beyond_the_entry_are_refused_though_its_checksum_is_right() {
    // Each byte of the entry set to 255, under a checksum that fits.
    let whole = encoded();
    for byte in 0..whole.len() - 4 {
        let mut changed = whole[..whole.len() - 4].to_vec();
        changed[byte] = 255;
        let checksum = crc32fast::hash(&changed);
        changed.extend_from_slice(&checksum.to_le_bytes());
        if let Ok(entry) = Entry::decode(&key(), changed) {
            assert!(entry.body().len() <= whole.len(), "{byte}");
        }
    }
}
