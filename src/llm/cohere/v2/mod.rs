//! Chat in its version 2, whose streams are events.

pub(super) mod join;
pub(super) mod judge;
pub(super) mod split;
