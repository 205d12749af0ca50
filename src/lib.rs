//! A proxy-wasm HTTP filter that answers repeated LLM requests from a cache inside Envoy.
//!
//! Two layers: a pure core, which reaches the outside world only through a [`host::Host`] and is tested
//! natively, and a shell (`filter`, wasm32 only) that implements that host for proxy-wasm. Modules are
//! listed from the top down, and imports go down only: `tests/imports.rs` checks it. See
//! ARCHITECTURE.md for the layers and the invariants.

// The tests' host is shared with the tests beside `src/`, and names this crate.
#[cfg(test)]
extern crate self as envoy_llm_cache;
#[cfg(test)]
#[path = "../tests/fake_host/mod.rs"]
mod fake_host;

#[cfg(target_arch = "wasm32")]
mod filter;

pub mod driver;

mod background;
mod exchange;

mod step;

pub mod worker;

mod recording;
mod request;

pub mod host;

pub mod report;

pub mod budget;

pub mod cache;
pub mod store;

pub mod config;

pub mod llm;

pub mod attributes;
pub mod callout;
pub mod coding;
pub mod eventstream;
pub mod http;
pub mod json;
pub mod ndjson;
mod protobuf;
pub mod random;
pub mod shares;
pub mod sse;
#[cfg(fuzzing)]
pub mod steps;
#[cfg(not(fuzzing))]
mod steps;

pub mod bytes;
pub mod clock;
