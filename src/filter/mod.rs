//! The proxy-wasm shell: callbacks in, host calls out. It moves bytes between Envoy and the core
//! and decides nothing.

mod abi;
mod contexts;
mod host;
mod logging;

use contexts::Root;

proxy_wasm::main! {{
    logging::install();
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}
