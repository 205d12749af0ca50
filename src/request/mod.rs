//! A request that has a key, as plain data: what is decided of it, who it is for, and its permit to
//! ask the upstream.

mod origin;
mod permit;

use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use crate::cache::CacheKey;
use crate::config::Settings;
use crate::llm::{Api, Form, RequestTraits};

pub(crate) use origin::{Origin, is_for_browsers};
pub(crate) use permit::{FetchPermit, Leadership, LeaseKind};

/// What is decided of a request. It depends on the configuration, the key headers, the attributes and
/// the body, and on nothing else: equal requests have equal ones.
#[derive(Debug)]
pub(crate) struct ResolvedRequest {
    pub(crate) key: CacheKey,
    /// Stands for the caller, with whom others share the worker: [`CacheKey::tenant`].
    pub(crate) tenant: u64,
    pub(crate) api: Api,
    pub(crate) settings: Rc<Settings>,
    pub(crate) traits: RequestTraits,
    /// What the key is made of, with `respond.explain`.
    pub(crate) parts: Option<Rc<str>>,
    /// The model that the request names, at most 256 bytes, and the empty name where that cannot be told.
    pub(crate) model: Option<Rc<str>>,
}

/// A request that has a key, and so an answer that may be stored.
#[derive(Clone, Debug)]
pub(crate) struct KeyedRequest {
    pub(crate) resolved: Rc<ResolvedRequest>,
    /// For how long its answer is fresh.
    pub(crate) ttl: Duration,
    pub(crate) origin: Origin,
    /// The form of a fresh entry under the key that could not serve this request.
    pub(crate) rival: Option<Form>,
    /// Set if it asks the upstream on behalf of others.
    pub(crate) leadership: Option<Leadership>,
}

impl Deref for KeyedRequest {
    type Target = ResolvedRequest;

    fn deref(&self) -> &ResolvedRequest {
        &self.resolved
    }
}

impl KeyedRequest {
    pub(crate) fn permit(&self) -> FetchPermit {
        FetchPermit::new(self.key, self.leadership)
    }
}

impl ResolvedRequest {
    pub(crate) fn asks_for_stream(&self) -> bool {
        let form = self.traits.form.as_ref();
        form.is_some_and(|form| form.framing.is_stream())
    }
}
