//! The proxy-wasm shell: callbacks in, host calls out. It moves bytes between Envoy and the core
//! and decides nothing.

mod contexts;
mod host;

use contexts::Root;

proxy_wasm::main! {{
    host::install_logger();
    proxy_wasm::set_root_context(|id| Box::new(Root::new(id)));
}}
