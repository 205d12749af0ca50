//! What a request for embeddings asks for.

use crate::json::Canonical;
use crate::llm::scan;

/// How many embeddings `input` asks for: one for a text or for a list of tokens, and one for each
/// element of any other list. An `input` of another shape is an error for the provider to tell.
pub(in crate::llm) fn inputs(body: &Canonical) -> u32 {
    // Canonical JSON has no white space.
    match body.member("input") {
        Some(list @ [b'[', b'"' | b'[' | b'{', ..]) => scan::count_elements(list).unwrap_or(1),
        _ => 1,
    }
}
