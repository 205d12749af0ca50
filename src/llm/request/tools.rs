//! The tools that a request lists: the client runs some, the provider others.

use crate::json::{Canonical, Read};
use crate::llm::scan;

/// Whether `tools` lists a tool that the provider runs: `is_client_tool` is false of it, or it has
/// another shape than `T`.
pub(crate) fn has_server_tool<'a, T: Read<'a> + Default>(
    body: &'a Canonical,
    is_client_tool: fn(&T) -> bool,
) -> bool {
    match body.member("tools") {
        None | Some(b"null") => false,
        Some(tools) => !scan::all_objects(tools, is_client_tool),
    }
}
