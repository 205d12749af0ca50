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

fn seals() -> [Seal; 2] {
    [Seal::Checksum, Seal::new(Some(b"an integrity key"))]
}

fn encoded(seal: &Seal) -> Vec<u8> {
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
    .seal(seal)
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
            Form::stream(Framing::Sse, b"{\"include_usage\":true}")
        );
        assert_eq!(entry.head.status, 200);
        assert_eq!(entry.head.created, 1_700_000_000_000);
        assert_eq!(entry.head.lifetime, 3_600_000);
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
    let draft = encode(&key(), &Form::json(), 200, 0, 1, &none, b"").unwrap();
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

#[test]
fn what_would_split_a_response_is_refused_though_its_checksum_is_right() {
    for (status, value) in [
        (200, "a\r\nset-cookie: b"),
        (200, "a\0"),
        (999, "a"),
        (100, "a"),
    ] {
        let headers = [("content-type", value)].into_iter().collect();
        let draft = encode(&key(), &Form::json(), status, 0, 1, &headers, b"x").unwrap();
        for seal in seals() {
            let decoded = Entry::decode(&key(), draft.clone().seal(&seal), &seal);
            assert_eq!(decoded, Err(EntryFault::Corrupt), "{status} {value:?}");
        }
    }
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
