//! The filter's parts against answers recorded from providers, and against the vectors of other
//! projects' conformance suites.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

mod anthropic;
mod chat;
mod coding;
mod conversions;
mod event_stream;
mod gemini;
mod index;
mod responses;
mod semantics;
mod stutter;
