//! The plugin configuration: any bytes are a configuration or a list of problems.
#![no_main]

use envoy_llm_cache::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Err(problems) = Config::parse(data) {
        assert!(!problems.is_empty());
    }
});
