//! Counters, named `<family>.result.<word>[.reason.<word>]` so that `stats_tags` can turn the
//! words into labels (see `envoy/envoy.yaml`).

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::exchange::{AnswerResult, RequestResult};

use super::host;

const REQUESTS: &str = "llm_cache_requests";
const ANSWERS: &str = "llm_cache_answers";

/// Entries that made room for others before they expired: has no result and no reason.
const EVICTIONS: Words = ("llm_cache_evictions", "", None);

/// The family, the result and the reason.
type Words = (&'static str, &'static str, Option<&'static str>);

/// Counters of one VM, defined when first counted. Their number is bounded by the reasons.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    ids: RefCell<BTreeMap<Words, u32>>,
}

impl Metrics {
    pub(super) fn count_request(&self, result: RequestResult) {
        let (result, reason) = result.words();
        self.count((REQUESTS, result, reason));
    }

    pub(super) fn count_answer(&self, result: AnswerResult) {
        let (result, reason) = result.words();
        if let Some(reason) = reason {
            log::debug!("llm-cache: answer not stored: {reason}");
        }
        self.count((ANSWERS, result, reason));
    }

    pub(super) fn count_evictions(&self, evicted: u32) {
        if evicted > 0 {
            self.add(EVICTIONS, i64::from(evicted));
        }
    }

    fn count(&self, words: Words) {
        self.add(words, 1);
    }

    fn add(&self, words: Words, count: i64) {
        let known = self.ids.borrow().get(&words).copied();
        let id = known.or_else(|| {
            let (family, result, reason) = words;
            let name = match (result, reason) {
                ("", _) => family.to_owned(),
                (result, None) => format!("{family}.result.{result}"),
                (result, Some(reason)) => format!("{family}.result.{result}.reason.{reason}"),
            };
            let id = host::define_counter(&name).ok()?;
            self.ids.borrow_mut().insert(words, id);
            Some(id)
        });
        // A host that does not count does not stop the exchange.
        let _uncounted = id.map(|id| host::count(id, count));
    }
}
