//! README.md and docs/ say what the code knows, and nothing else.
//!
//! The code is asked through the crate's public items. Where it has no list of its own, a list here does not
//! compile while it lacks a variant.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it is a test, helpers included"
)]

mod apis;
mod configuration;
mod headers;
mod links;
mod pages;
mod reasons;
#[path = "../simulated/mod.rs"]
mod simulated;
