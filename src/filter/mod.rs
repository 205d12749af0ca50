//! The proxy-wasm shell: callbacks in, host calls out. It moves bytes between Envoy and the core
//! and decides nothing.

mod host;
mod http_context;
mod metrics;
mod root_context;
mod shared;

use root_context::Root;

proxy_wasm::main! {{
    host::install_logger();
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}
