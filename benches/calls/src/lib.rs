//! Floor C: what the proxy-wasm ABI takes of any cache that reads a request and answers it, or stores
//! the answer of the upstream. It makes the host calls of a hit of the filter, or of a miss, with
//! values of the same sizes, and nothing else: it looks at nothing that it is given.
//!
//! Its configuration is the body of the answer to every request. Without one, every request is a
//! miss. A call that fails traps the VM, which the benchmark notices.

mod hit;
mod host;
mod miss;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use hit::Hit;
use miss::Miss;

/// What an entry of the filter holds beside the answer's body, about: its key and times, its
/// headers, its slot's trailer.
const BESIDE_THE_BODY: usize = 151;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    answers: bool,
    metrics: host::Metrics,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let body = host::buffer(host::CONFIGURATION);
        self.metrics = host::define_metrics();
        self.answers = !body.is_empty();
        if self.answers {
            hit::prepare(&body);
        } else {
            miss::prepare();
        }
        true
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(if self.answers {
            Box::new(Hit::new(self.metrics))
        } else {
            Box::new(Miss::new(self.metrics, context_id))
        })
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
