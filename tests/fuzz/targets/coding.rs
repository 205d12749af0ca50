//! Content codings: any bytes in any pieces decode to the same, within the bound.
#![no_main]

use envoy_llm_cache::coding::{CodingFault, Decoder};
use envoy_llm_cache::steps;
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 1 << 20;

/// Decodes, and counts the steps: whoever compresses chooses how much work there is, in proportion to
/// what comes and goes.
fn decode(coding: &[u8], body: &[u8], size: usize) -> Result<Vec<u8>, CodingFault> {
    let mut out = Vec::new();
    steps::taken();
    let decoded = decode_to(&mut out, coding, body, size);
    let (steps, bytes) = (steps::taken(), body.len() + out.len());
    assert!(
        steps <= 64 * bytes + (1 << 20),
        "{steps} steps for {bytes} bytes"
    );
    decoded.map(|()| out)
}

fn decode_to(
    out: &mut Vec<u8>,
    coding: &[u8],
    body: &[u8],
    size: usize,
) -> Result<(), CodingFault> {
    let mut decoder = Decoder::new(coding, MAX_BYTES).expect("a coding that is known");
    for chunk in body.chunks(size) {
        decoder.decode(chunk, out)?;
        assert!(out.len() <= MAX_BYTES);
        // What it holds grows with what came and what was decoded, whatever window it was told.
        assert!(decoder.held_bytes() <= 4 * (body.len() + out.len()) + (256 << 10));
    }
    decoder.finish()
}

fuzz_target!(|data: &[u8]| {
    let [coding, size, body @ ..] = data else {
        return;
    };
    let coding: &[u8] = [&b"gzip"[..], b"deflate", b"zstd"][usize::from(*coding) % 3];
    let whole = decode(coding, body, body.len().max(1));
    let pieces = decode(coding, body, usize::from(*size).max(1));
    // How much work is too much may depend on the pieces; what comes out does not.
    let laborious = Err(CodingFault::Laborious);
    if whole != laborious && pieces != laborious {
        assert_eq!(whole.is_ok(), pieces.is_ok());
    }
    if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
        assert_eq!(whole, pieces);
    }
});
