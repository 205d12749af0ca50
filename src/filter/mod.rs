//! The proxy-wasm shell: callbacks in, host calls out. It moves bytes between Envoy and the core
//! and decides nothing.

mod abi;
mod contexts;
mod host;
mod logging;

use contexts::Root;

/// The version, in a custom section of the module: tools read it without running the module.
#[used]
#[expect(
    unsafe_code,
    reason = "a custom section is not loaded into memory, and this is all of it"
)]
#[unsafe(link_section = "envoy_llm_cache.version")]
static VERSION: [u8; env!("CARGO_PKG_VERSION").len()] =
    *env!("CARGO_PKG_VERSION").as_bytes().first_chunk().unwrap();

proxy_wasm::main! {{
    logging::install();
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}
