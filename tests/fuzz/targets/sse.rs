//! Event streams: any chunking gives the same events.
#![no_main]

use envoy_llm_cache::sse::Parser;
use envoy_llm_cache::steps;
use libfuzzer_sys::fuzz_target;

fn events(data: &[u8], size: usize) -> (Vec<(Vec<u8>, Vec<u8>)>, impl PartialEq + std::fmt::Debug) {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    steps::taken();
    for chunk in data.chunks(size) {
        parser.feed(chunk, |e| events.push((e.event.to_vec(), e.data.to_vec())));
    }
    let steps = steps::taken();
    assert!(
        steps <= 8 * data.len() + 64,
        "{steps} steps for {} bytes",
        data.len()
    );
    (events, parser.finish())
}

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    assert_eq!(events(data, data.len().max(1)), events(data, size));
});
