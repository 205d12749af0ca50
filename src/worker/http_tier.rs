//! The store behind HTTP as a worker uses it.

use crate::cache::Seal;
use crate::config;
use crate::store::HttpStore;

/// The store behind HTTP, and what proves that an entry in it is ours.
#[derive(Debug)]
pub(crate) struct HttpTier {
    pub(crate) store: HttpStore,
    pub(crate) seal: Seal,
}

impl HttpTier {
    pub(crate) fn new(settings: config::Http, seed: u64) -> Self {
        let key = settings.integrity_key.as_ref();
        Self {
            seal: Seal::new(key.map(|key| key.expose().as_bytes())),
            store: HttpStore::new(settings, seed),
        }
    }
}
