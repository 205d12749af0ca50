//! Lines, elements and messages: any chunking gives the same pieces.
#![no_main]

use envoy_llm_cache::json::Elements;
use envoy_llm_cache::{eventstream, ndjson};
use libfuzzer_sys::fuzz_target;

fn pieces(kind: u8, data: &[u8], size: usize) -> (Vec<Vec<u8>>, bool) {
    let mut pieces = Vec::new();
    let mut fine = true;
    match kind % 3 {
        0 => {
            let mut parser = ndjson::Parser::new();
            for chunk in data.chunks(size) {
                parser.feed(chunk, |line| pieces.push(line.to_vec()));
            }
            fine = !parser.finish().pending;
        }
        1 => {
            let mut elements = Elements::new();
            for chunk in data.chunks(size) {
                fine &= elements
                    .feed(chunk, |element| pieces.push(element.to_vec()))
                    .is_ok();
            }
            fine &= elements.is_ended();
        }
        _ => {
            let mut parser = eventstream::Parser::new();
            for chunk in data.chunks(size) {
                fine &= parser
                    .feed(chunk, |message| pieces.push(message.payload().to_vec()))
                    .is_ok();
            }
            fine &= !parser.is_pending();
        }
    }
    (pieces, fine)
}

fuzz_target!(|data: &[u8]| {
    let [kind, size, data @ ..] = data else {
        return;
    };
    let (whole, fine) = pieces(*kind, data, data.len().max(1));
    let (cut, cut_fine) = pieces(*kind, data, usize::from(*size).max(1));
    assert_eq!(fine, cut_fine);
    if fine {
        assert_eq!(whole, cut);
    }
});
