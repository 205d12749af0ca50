//! Entries: any bytes are an entry or a fault, also under a checksum that is right.
#![no_main]

use envoy_llm_cache::cache::{CacheKey, Entry, Seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = CacheKey::from_bytes([7; 32]);
    let _fault = Entry::decode(&key, data.to_vec(), &Seal::Checksum);
    let mut checked = data.to_vec();
    let checksum = crc32fast::hash(data);
    checked.extend_from_slice(&checksum.to_le_bytes());
    if let Ok(entry) = Entry::decode(&key, checked, &Seal::Checksum) {
        assert!(entry.body().len() <= data.len());
    }
});
