//! The decoder of content codings against streams recorded from providers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and says what it ran"
)]

mod recorded;

use std::io::Write;

use envoy_llm_cache::coding::{CodingFault, Decoder};
use flate2::Compression;
use flate2::write::GzEncoder;

const MAX_BYTES: usize = 16 << 20;

fn decode<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Vec<u8>, CodingFault> {
    let mut decoder = Decoder::new(b"gzip", MAX_BYTES).unwrap();
    let mut out = Vec::new();
    for chunk in chunks {
        decoder.decode(chunk, &mut out)?;
    }
    decoder.finish()?;
    Ok(out)
}

/// The paths in the index for which `wanted` holds.
fn paths(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let index = recorded::read("INDEX.tsv").unwrap_or_default();
    let text = String::from_utf8(index).unwrap();
    let path = |line: &str| line.split('\t').next().unwrap().to_owned();
    let paths = text.lines().skip(1).map(path);
    paths.filter(|path| wanted(path)).collect()
}

#[test]
fn every_recorded_gzip_stream_is_decoded_and_none_that_is_cut() {
    let paths = paths(|path| path.ends_with(".gz"));
    for path in &paths {
        let coded = recorded::read(path).unwrap();
        let decoded = decode([&coded[..]]).unwrap();
        assert!(!decoded.is_empty(), "{path}");
        for size in [1, 7, 64, 4_096] {
            assert!(decode(coded.chunks(size)).unwrap() == decoded, "{path}");
        }
        for cut in 0..coded.len() {
            let truncated = Err(CodingFault::Truncated);
            assert_eq!(decode([&coded[..cut]]), truncated, "{path} at {cut}");
        }
    }
    println!("ran {} recorded gzip streams", paths.len());
}

#[test]
fn every_recorded_stream_survives_gzip_flushed_after_each_event() {
    let paths = paths(|path| path.ends_with(".sse") || path.ends_with(".ndjson"));
    for path in &paths {
        let body = recorded::read(path).unwrap();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = Decoder::new(b"gzip", MAX_BYTES).unwrap();
        let mut out = Vec::new();
        let mut fed = 0;
        for (line, end) in body.split_inclusive(|byte| *byte == b'\n').zip(ends(&body)) {
            encoder.write_all(line).unwrap();
            encoder.flush().unwrap();
            let coded = encoder.get_ref();
            decoder.decode(&coded[fed..], &mut out).unwrap();
            fed = coded.len();
            // What the provider flushed is decoded, and does not wait for more.
            assert!(out == body[..end], "{path} at {end}");
        }
        let coded = encoder.finish().unwrap();
        decoder.decode(&coded[fed..], &mut out).unwrap();
        decoder.finish().unwrap();
        for size in [1, 7, 64, 4_096] {
            assert!(decode(coded.chunks(size)).unwrap() == body, "{path} {size}");
        }
    }
    println!("ran {} recorded streams", paths.len());
}

/// The offsets after each line.
fn ends(body: &[u8]) -> impl Iterator<Item = usize> {
    let mut end = 0;
    body.split_inclusive(|byte| *byte == b'\n')
        .map(move |line| {
            end += line.len();
            end
        })
}
