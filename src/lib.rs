//! A proxy-wasm HTTP filter that answers repeated LLM requests from a cache inside Envoy.
//!
//! Two layers: a pure core (bytes, `now` and settings in, decisions out), which compiles and is
//! tested natively, and a shell (`filter`, wasm32 only) that moves bytes between Envoy and the core
//! and decides nothing. Modules are listed from the top down; imports go down only. See
//! ARCHITECTURE.md for the picture and the invariants.

#[cfg(target_arch = "wasm32")]
mod filter;

pub mod exchange;

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
