//! Header pairs, `Cache-Control` and media types: any bytes, no panic.
#![no_main]

use envoy_llm_cache::http::{Headers, RequestDirectives, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(headers) = Headers::from_pairs(data.to_vec()) {
        let again = Headers::from_pairs(headers.to_pairs());
        assert_eq!(again.as_ref(), Some(&headers));
    }
    let mut directives = RequestDirectives::default();
    for line in data.split(|byte| *byte == b'\n') {
        directives.add(line);
    }
    let _essence = media_type(data);
});
