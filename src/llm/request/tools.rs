//! The tools that a request lists: the client runs some, the provider others.

use crate::json::{Canonical, Read};
use crate::llm::scan;

/// Whether `tools` lists one that the provider runs: one of which `is_the_client_s` is false, or that
/// has another shape than `T`.
pub(crate) fn are_not_all<'a, T: Read<'a> + Default>(
    body: &'a Canonical,
    is_the_client_s: fn(&T) -> bool,
) -> bool {
    match body.member("tools") {
        None | Some(b"null") => false,
        Some(tools) => !scan::all_objects(tools, is_the_client_s),
    }
}
