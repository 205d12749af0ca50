//! Chat in its version 1, whose streams are lines.

pub(super) mod join;
pub(in crate::llm) mod judge;
pub(super) mod split;
