//! Canonical JSON: no panic, and a canonical form is its own.
#![no_main]

use envoy_llm_cache::config::{Exclude, KeySettings};
use envoy_llm_cache::json::{Change, Edit, Pointer, canonicalize, string_value};
use envoy_llm_cache::llm::Api;
use envoy_llm_cache::steps;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    steps::taken();
    let canonical = canonicalize(data, &[]);
    let steps = steps::taken();
    // Names are sorted, and what is sorted is copied, at most once for each level.
    assert!(
        steps <= 256 * data.len() + 4_096,
        "{steps} steps for {} bytes",
        data.len()
    );
    if let Ok(canonical) = canonical {
        let again = canonicalize(canonical.as_bytes(), &[]).expect("canonical is JSON");
        assert_eq!(again.as_bytes(), canonical.as_bytes());
        for (name, value) in canonical.members() {
            let _text = (string_value(name), string_value(value));
        }
    }
    for api in Api::all() {
        let settings = KeySettings {
            exclude: vec![Exclude::Attribution, Exclude::CallIds],
            ..KeySettings::default()
        };
        let edited = canonicalize(data, &settings.edits(api));
        assert_eq!(edited.is_ok(), canonicalize(data, &[]).is_ok());
    }
    if let Ok(pointer) =
        std::str::from_utf8(data).map_or(Err(()), |t| Pointer::parse(t).map_err(|_| ()))
    {
        let _dropped = canonicalize(
            br#"{"a":[1,{"b":2}],"":3}"#,
            &[&Edit {
                at: pointer,
                change: Change::Remove,
            }],
        );
    }
});
