//! The tools that a request lists: the client runs some, the provider others.

use crate::json::{Canonical, Read};
use crate::llm::scan;

/// Whether `tools` lists one that is not the client's to run, which the provider runs then. Tools of
/// another shape than `T` may be anything.
pub(crate) fn are_not_all<'a, T: Read<'a> + Default>(
    body: &'a Canonical,
    is_the_client_s: fn(&T) -> bool,
) -> bool {
    match body.member("tools") {
        None | Some(b"null") => false,
        Some(tools) => !scan::all_objects(tools, is_the_client_s),
    }
}
