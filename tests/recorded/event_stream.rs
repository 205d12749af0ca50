//! The event-stream parser against the recorded vectors of other projects'
//! conformance suites, and against itself at random chunkings.

use envoy_llm_cache::sse::Parser;
use proptest::prelude::*;
use serde_json::Value;

use crate::index::read;

type Seen = (Vec<(Vec<u8>, Vec<u8>)>, envoy_llm_cache::sse::Ending);

fn parse<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Seen {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for chunk in chunks {
        parser.feed(chunk, |e| events.push((e.event.to_vec(), e.data.to_vec())));
    }
    (events, parser.finish())
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_vector_gives_its_events_at_every_chunking() {
    let lines = String::from_utf8(read("sse-spec/vectors.jsonl")).expect("vectors are text");
    let mut ran = 0;
    for line in lines.lines().filter(|l| !l.trim().is_empty()) {
        let vector: Value = serde_json::from_str(line).expect("a vector is JSON");
        check(&vector);
        ran += 1;
    }
    println!("ran {ran} vectors");
    assert!(ran > 0, "there are no vectors");
}

fn check(vector: &Value) {
    let name = vector["name"].as_str().expect("name");
    let input = vector["input"].as_str().expect("input").as_bytes();
    let expected: Vec<(String, String)> = vector["expect"]
        .as_array()
        .expect("expect")
        .iter()
        .map(|e| {
            (
                e["event"].as_str().expect("event").into(),
                e["data"].as_str().expect("data").into(),
            )
        })
        .collect();
    let agree = |chunks: Vec<&[u8]>, how: &str| {
        let seen: Vec<(String, String)> = parse(chunks)
            .0
            .into_iter()
            .map(|(event, data)| {
                let event = if event.is_empty() {
                    b"message".to_vec()
                } else {
                    event
                };
                (
                    String::from_utf8(event).expect("UTF-8"),
                    String::from_utf8(data).expect("UTF-8"),
                )
            })
            .collect();
        assert_eq!(seen, expected, "{name}: {how}");
    };
    for at in 0..=input.len() {
        let (head, tail) = input.split_at(at);
        agree(vec![head, tail], &format!("split at {at}"));
    }
    for size in [1, 2, 3, 7] {
        agree(input.chunks(size).collect(), &format!("chunks of {size}"));
    }
    if let Some(chunks) = vector["chunks"].as_array() {
        let chunks: Vec<&[u8]> = chunks
            .iter()
            .map(|c| c.as_str().expect("chunk").as_bytes())
            .collect();
        assert_eq!(chunks.concat(), input, "{name}: its chunks are its input");
        agree(chunks, "its chunks");
    }
}

/// Bytes in which everything the parser looks for is frequent.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "\n", "\r", "\r\n", "\n\n", "data", "data:", "data: ", "event: ", "id: ", "retry:",
            ":", " ", "\u{FEFF}", "x", "[DONE]", "é",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..3),
        proptest::sample::select(vec![0xEF_u8, 0xBB, 0xBF]).prop_map(|b| vec![b]),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_what_one_piece_gives(
        stream in stream(),
        sizes in proptest::collection::vec(0_usize..9, 1..12),
    ) {
        let mut rest = stream.as_slice();
        let mut chunks = Vec::new();
        for size in sizes.iter().cycle().take(10_000) {
            let (chunk, tail) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks.push(rest);
        prop_assert_eq!(parse(chunks), parse([stream.as_slice()]));
    }

    #[test]
    fn the_parser_agrees_with_the_standard_read_literally(stream in stream()) {
        let (events, ending) = parse([stream.as_slice()]);
        prop_assert_eq!(events, literal(&stream));
        prop_assert_eq!(ending.invalid_utf8_lines == 0, std::str::from_utf8(&stream).is_ok());
    }
}

/// The standard's steps in their simplest form: the whole stream at hand, line
/// ends unified, one buffer per field.
fn literal(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut unified = Vec::new();
    let mut last = b' ';
    for byte in stream {
        match (last, *byte) {
            (b'\r', b'\n') => {}
            (_, b'\r') => unified.push(b'\n'),
            (_, byte) => unified.push(byte),
        }
        last = *byte;
    }
    let mut lines: Vec<&[u8]> = unified.split(|b| *b == b'\n').collect();
    lines.pop(); // What follows the last line end is no line.
    let (mut events, mut event, mut data) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            if data.pop().is_some() {
                events.push((std::mem::take(&mut event), std::mem::take(&mut data)));
            }
            event.clear();
            continue;
        }
        let mut parts = line.splitn(2, |b| *b == b':');
        let name = parts.next().unwrap();
        let value = parts.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => data.extend(value.iter().copied().chain([b'\n'])),
            b"event" => event = value.to_vec(),
            _ => {}
        }
    }
    events
}
