//! Copies of entries in other forms than the ones they came in, under keys of their own.

use sha2::{Digest, Sha256};

use super::entry::framing_code;
use super::{CacheKey, Entry};
use crate::llm::Form;

/// The key of a copy of this very entry, which is stored under `key`, in a form. A newer entry under
/// the same key has other copies.
///
/// What is hashed begins otherwise than what the key of a request is made of, so that no request
/// has it.
pub fn copy_key(key: &CacheKey, entry: &Entry, form: &Form, zero_usage: bool) -> CacheKey {
    let mut digest = Sha256::new();
    digest.update(b"copy");
    digest.update(key.as_bytes());
    digest.update(entry.head.created.as_millis().to_le_bytes());
    digest.update([u8::from(zero_usage), framing_code(form.framing)]);
    for part in [entry.seal(), &form.options] {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        digest.update(part);
    }
    CacheKey::from_bytes(digest.finalize().into())
}
