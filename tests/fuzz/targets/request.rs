//! What a request asks for: any path, any body, every API.
#![no_main]

use envoy_llm_cache::json::canonicalize;
use envoy_llm_cache::llm::Api;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (path, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[][..]),
    };
    let canonical = canonicalize(body, &[]).ok();
    for api in Api::all() {
        let _unfit = api.read(path, body, canonical.as_ref());
        let _path = api.key_path(path);
    }
    let _api = Api::from_path(path);
});
