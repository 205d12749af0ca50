//! The decoder of content codings against streams recorded from providers.

use std::io::Write;

use envoy_llm_cache::coding::{CodingFault, Decoder};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::index::{Recorded, recorded};

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

fn with_extension(wanted: &[&str]) -> Vec<Recorded> {
    let is_wanted = |recorded: &Recorded| wanted.contains(&recorded.extension());
    recorded().filter(is_wanted).collect()
}

#[test]
fn every_recorded_gzip_stream_is_decoded_and_none_that_is_cut() {
    let streams = with_extension(&["gz"]);
    for stream in &streams {
        let (path, coded) = (&stream.path, stream.body());
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
    println!("ran {} recorded gzip streams", streams.len());
}

#[test]
fn every_recorded_stream_survives_gzip_flushed_after_each_event() {
    let streams = with_extension(&["sse", "ndjson"]);
    for stream in &streams {
        let (path, body) = (&stream.path, stream.body());
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
    println!("ran {} recorded streams", streams.len());
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
