//! `Converse` and `ConverseStream`, which are the same for every model.

pub(super) mod join;
pub(super) mod judge;
pub(super) mod request;
pub(super) mod split;
