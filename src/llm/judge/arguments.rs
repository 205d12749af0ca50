//! The arguments of tool calls, which are JSON in a text.

use crate::json::Reader;
use crate::llm::NotWhole;

/// Checks the arguments of a call. No text at all stands for `{}`.
///
/// # Errors
/// [`NotWhole::ToolArguments`] if they do not parse.
pub(crate) fn check(arguments: &str) -> Result<(), NotWhole> {
    match arguments.is_empty() || Reader::is_json(arguments.as_bytes()) {
        true => Ok(()),
        false => Err(NotWhole::ToolArguments),
    }
}
