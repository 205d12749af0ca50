//! The decoder of content codings against streams recorded from providers.

use std::io::Write;

use envoy_llm_cache::coding::{CodingFault, Decoder};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::index::{Recorded, recorded};

const MAX_BYTES: usize = 16 << 20;

fn decode<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Vec<u8>, CodingFault> {
    decoded("gzip", chunks)
}

fn decoded<'c>(
    coding: &str,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Vec<u8>, CodingFault> {
    let mut decoder = Decoder::new(coding.as_bytes(), MAX_BYTES).unwrap();
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
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
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
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_stream_survives_codings_flushed_after_each_line() {
    let streams = with_extension(&["sse", "ndjson"]);
    for stream in &streams {
        let (path, body) = (&stream.path, stream.body());
        let lines: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut flushed = vec![0];
        for line in &lines {
            encoder.write_all(line).unwrap();
            encoder.flush().unwrap();
            flushed.push(encoder.get_ref().len());
        }
        is_decoded_as_it_comes(path, "gzip", &lines, &flushed, &encoder.finish().unwrap());
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        let mut flushed = vec![0];
        for line in &lines {
            encoder.write_all(line).unwrap();
            encoder.flush().unwrap();
            flushed.push(encoder.get_ref().len());
        }
        is_decoded_as_it_comes(path, "zstd", &lines, &flushed, &encoder.finish().unwrap());
    }
    println!("ran {} recorded streams", streams.len());
}

/// What the provider flushed is decoded, and does not wait for more.
fn is_decoded_as_it_comes(
    path: &str,
    coding: &str,
    lines: &[&[u8]],
    flushed: &[usize],
    coded: &[u8],
) {
    let mut decoder = Decoder::new(coding.as_bytes(), MAX_BYTES).unwrap();
    let mut out = Vec::new();
    let mut length = 0;
    for (line, ends) in lines.iter().zip(flushed.windows(2)) {
        decoder.decode(&coded[ends[0]..ends[1]], &mut out).unwrap();
        length += line.len();
        assert_eq!(out.len(), length, "{path} {coding}");
    }
    let rest = &coded[*flushed.last().unwrap()..];
    decoder.decode(rest, &mut out).unwrap();
    decoder.finish().unwrap();
    assert!(out == lines.concat(), "{path} {coding}");
    for size in [1, 7, 64, 4_096] {
        assert!(
            decoded(coding, coded.chunks(size)).unwrap() == out,
            "{path} {coding} {size}"
        );
    }
}
