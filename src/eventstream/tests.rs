use proptest::prelude::*;

use super::*;

type Owned = (String, Vec<u8>);

fn owned(message: &Message<'_>) -> Owned {
    (format!("{:?}", message.kind()), message.payload().to_vec())
}

/// The messages, what went wrong, and whether one was left unfinished.
fn parse<'c>(
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> (Vec<Owned>, Result<(), Corrupt>, bool) {
    let mut parser = Parser::new();
    let mut messages = Vec::new();
    let mut fed = Ok(());
    for chunk in chunks {
        fed = parser.feed(chunk, |message| messages.push(owned(&message)));
    }
    (messages, fed, parser.is_pending())
}

fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let headers = [
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    encode(&mut out, &headers, payload).unwrap();
    out
}

/// A message around these bytes of headers, with right checksums.
fn framed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let total = u32::try_from(16 + headers.len() + payload.len()).unwrap();
    out.extend(total.to_be_bytes());
    out.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out.extend(headers);
    out.extend(payload);
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out
}

fn prelude_of(total: u32, headers: u32) -> Vec<u8> {
    let mut out = [total.to_be_bytes(), headers.to_be_bytes()].concat();
    out.extend(crc32fast::hash(&out).to_be_bytes());
    out
}

#[test]
fn the_specification_s_vectors_are_read_and_written() {
    // Test vectors of the AWS clients: an empty message; a payload alone; a 32-bit header.
    let empty = [
        0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
    ];
    assert_eq!(
        parse([&empty[..]]),
        (vec![("Unknown".into(), vec![])], Ok(()), false)
    );
    let mut out = Vec::new();
    encode(&mut out, &[], b"").unwrap();
    assert_eq!(out, empty);
    let payload = b"{'foo':'bar'}";
    let mut no_headers = vec![0, 0, 0, 0x1d, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a];
    no_headers.extend(payload);
    no_headers.extend([0xc3, 0x65, 0x39, 0x36]);
    out.clear();
    encode(&mut out, &[], payload).unwrap();
    assert_eq!(out, no_headers);
    let mut int = vec![
        0, 0, 0, 0x2d, 0, 0, 0, 0x10, 0x41, 0xc4, 0x24, 0xb8, 0x0a, b'e', b'v', b'e', b'n', b't',
        b'-', b't', b'y', b'p', b'e', 4, 0, 0, 0xa0, 0x0c,
    ];
    int.extend(payload);
    int.extend([0x36, 0xf4, 0x80, 0xa0]);
    assert_eq!(
        parse([&int[..]]),
        (vec![("Unknown".into(), payload.to_vec())], Ok(()), false)
    );
}

#[test]
fn chunking_makes_no_difference() {
    let stream = [
        event("messageStart", b"{}"),
        event("chunk", "h\u{e9}llo".as_bytes()),
        event("", b""),
    ]
    .concat();
    let whole = parse([&stream[..]]);
    assert_eq!(whole.0.len(), 3);
    assert_eq!(
        whole.0[0],
        ("Event(\"messageStart\")".into(), b"{}".to_vec())
    );
    assert_eq!((whole.1, whole.2), (Ok(()), false));
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(parse([head, tail]), whole, "split at {at}");
    }
    for size in 1..20 {
        assert_eq!(parse(stream.chunks(size)), whole, "chunks of {size}");
    }
}

#[test]
fn every_prefix_is_pending_except_at_message_ends() {
    let first = event("a", b"1");
    let stream = [first.clone(), event("b", b"2")].concat();
    for length in 0..=stream.len() {
        let (_, fed, pending) = parse([&stream[..length]]);
        assert_eq!(fed, Ok(()));
        let at_end = [0, first.len(), stream.len()].contains(&length);
        assert_eq!(pending, !at_end, "{length}");
    }
}

#[test]
fn a_changed_bit_anywhere_is_seen() {
    let message = event("a", b"{\"x\":1}");
    for at in 0..message.len() {
        for bit in 0..8 {
            let mut changed = message.clone();
            changed[at] ^= 1 << bit;
            let (messages, fed, _) = parse([&changed[..]]);
            assert_eq!(messages, [], "bit {bit} of {at}");
            assert!(fed.is_err(), "bit {bit} of {at}");
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_refused_at_the_prelude() {
    let over = u32::try_from(MAX_PAYLOAD_BYTES + 17).unwrap();
    for (total, headers) in [
        (15, 0),
        (0, 0),
        (20, 5),
        (over, 0),
        (u32::MAX, 0),
        (200_000, 131_073),
    ] {
        let prelude = prelude_of(total, headers);
        assert_eq!(parse([&prelude[..]]).1, Err(Corrupt::Length), "{total}");
    }
    let most = prelude_of(over - 1, 0);
    assert_eq!(parse([&most[..]]).1, Ok(()));
}

#[test]
fn what_went_wrong_stays_wrong() {
    let mut parser = Parser::new();
    let bad = prelude_of(1, 0);
    assert_eq!(parser.feed(&bad, |_| {}), Err(Corrupt::Length));
    let good = event("a", b"");
    assert_eq!(
        parser.feed(&good, |_| panic!("a message after the end")),
        Err(Corrupt::Length)
    );
}

#[test]
fn headers_of_every_type_are_read_over() {
    let mut headers = Vec::new();
    let values: [(u8, &[u8]); 10] = [
        (0, b""),
        (1, b""),
        (2, b"1"),
        (3, b"12"),
        (4, b"1234"),
        (5, b"12345678"),
        (6, b"\0\x03abc"),
        (7, b"\0\x02ab"),
        (8, b"12345678"),
        (9, b"1234567890123456"),
    ];
    for (kind, value) in values {
        headers.extend([1, b'a' + kind, kind]);
        headers.extend(value);
    }
    headers.extend(b"\x0d:message-type\x07\0\x09exception");
    headers.extend(b"\x0f:exception-type\x07\0\x03boo");
    let message = framed(&headers, b"");
    assert_eq!(
        parse([&message[..]]).0,
        [("Exception(\"boo\")".into(), vec![])]
    );
    for cut in 1..headers.len() {
        let (_, fed, _) = parse([&framed(&headers[..cut], b"")[..]]);
        // A cut between two headers leaves a shorter list.
        assert!(matches!(fed, Ok(()) | Err(Corrupt::Headers)));
    }
    let unknown = framed(b"\x01a\x0a", b"");
    assert_eq!(parse([&unknown[..]]).1, Err(Corrupt::Headers));
}

#[test]
fn a_message_is_what_its_headers_say_once() {
    let kind = |headers: &[(&str, &str)]| {
        let mut out = Vec::new();
        encode(&mut out, headers, b"").unwrap();
        parse([&out[..]]).0.remove(0).0
    };
    assert_eq!(
        kind(&[(":message-type", "error"), (":error-code", "Bad")]),
        "Error(\"Bad\")"
    );
    for unknown in [
        &[(":message-type", "event")][..],
        &[(":event-type", "chunk")],
        &[(":message-type", "exception"), (":event-type", "chunk")],
        &[(":message-type", "else"), (":event-type", "chunk")],
        &[
            (":message-type", "event"),
            (":event-type", "chunk"),
            (":event-type", "chunk"),
        ],
    ] {
        assert_eq!(kind(unknown), "Unknown", "{unknown:?}");
    }
}

#[test]
fn what_is_too_long_is_not_written() {
    let mut out = b"as it was".to_vec();
    let long = "x".repeat(70_000);
    assert_eq!(encode(&mut out, &[(&long, "")], b""), Err(Corrupt::Headers));
    assert_eq!(
        encode(&mut out, &[("a", &long)], b""),
        Err(Corrupt::Headers)
    );
    let payload = vec![0; MAX_PAYLOAD_BYTES + 1];
    assert_eq!(encode(&mut out, &[], &payload), Err(Corrupt::Length));
    assert_eq!(out, b"as it was");
}

proptest! {
    #[test]
    fn any_messages_survive_any_chunking(
        messages in prop::collection::vec(("[a-z]{0,9}", prop::collection::vec(any::<u8>(), 0..90)), 0..5),
        size in 1_usize..50,
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(name, payload)| event(name, payload)).collect();
        let expected: Vec<Owned> = messages
            .iter()
            .map(|(name, payload)| (format!("Event({name:?})"), payload.clone()))
            .collect();
        prop_assert_eq!(parse(stream.chunks(size)), (expected, Ok(()), false));
    }

    #[test]
    fn any_bytes_are_parsed_alike_at_any_split(
        headers in prop::collection::vec(any::<u8>(), 0..30),
        tail in prop::collection::vec(any::<u8>(), 0..30),
        at in 0_usize..80,
    ) {
        let stream = [framed(&headers, b"p"), tail].concat();
        let (head, rest) = stream.split_at(at.min(stream.len()));
        let (messages, fed, _) = parse([&stream[..]]);
        let (split_messages, split_fed, _) = parse([head, rest]);
        prop_assert_eq!((messages, fed), (split_messages, split_fed));
    }
}
