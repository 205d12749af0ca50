//! A proxy-wasm HTTP filter that answers repeated LLM requests from a cache inside Envoy.
//!
//! Two layers: a pure core, which asks a [`host::Host`] for all that it cannot know by itself and is
//! tested natively, and a shell (`filter`, wasm32 only) that is that host for proxy-wasm. Modules are
//! listed from the top down; imports go down only, which `tests/imports.rs` holds. See ARCHITECTURE.md
//! for the picture and the invariants.

// The tests' host is shared with the tests beside `src/`, and names this crate.
#[cfg(test)]
extern crate self as envoy_llm_cache;

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
pub mod clock;
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
