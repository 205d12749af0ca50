//! The memory does not serve: the store behind HTTP is asked.

use crate::cache::Tier;
use crate::callout::CalloutResult;
use crate::report::{Miss, Report};
use crate::step::Cx;
use crate::store::{Lookup, StoreFault};

use super::{Fetching, Found, Search, Searched, Stale};

impl Search {
    /// Asks the store behind HTTP, if there is one and it is well.
    pub(super) fn fetch(self, miss: Miss, stale: Option<Stale>, cx: &Cx<'_>) -> Searched {
        let fault = match cx.http_look_up(&self.request.key, self.request.tenant) {
            None => return self.missed(miss, stale, cx),
            Some(Lookup::Send(callout, room)) => {
                let fetching = Fetching {
                    search: self,
                    miss,
                    stale,
                    since: cx.now(),
                    _room: room,
                };
                return match cx.host.call(&callout) {
                    Ok(_token) => Searched::Fetching(Box::new(fetching)),
                    Err(fault) => fetching.called(Err(fault), cx),
                };
            }
            Some(Lookup::Probe) => StoreFault::BreakerOpen,
            Some(Lookup::Refused(fault)) => fault,
        };
        self.missed(Miss::Store(fault), stale, cx)
    }

    /// Whether what is too old for this request is so under every rule, and nothing replaces it.
    fn may_delete(&self, cx: &Cx<'_>) -> bool {
        let window = self.request.settings.stale_window();
        let mut all = cx.worker.config.all_settings();
        // Where an answer may follow, that replaces it, and a removal might come after it.
        let is_replaced = self.may_store() && !self.directives.only_if_cached;
        self.request.settings.mode.writes()
            && all.all(|settings| settings.stale_window() <= window)
            && !is_replaced
    }
}

impl Fetching {
    /// The store behind HTTP has answered, or will not.
    pub(in crate::exchange) fn called(self, result: CalloutResult, cx: &Cx<'_>) -> Searched {
        let Self {
            mut search,
            miss: from_memory,
            stale,
            since,
            _room,
        } = self;
        cx.report(Report::StoreLookup(cx.now().since(since)));
        let found = cx.http_looked_up(result);
        let found = search.examine(found, Tier::Http, cx);
        if found.is_ok() {
            search.remember(None, cx);
        }
        match found {
            Ok(Found::Fresh(usable, ttl)) => {
                let key = search.request.key;
                let copy = cx.draft_for_memory(&usable.entry, &search.request.settings);
                let searched = search.hit(usable, ttl, cx);
                if let Some((entry, expires)) = copy {
                    // Without it, the next one asks the store behind HTTP again.
                    let _not_kept = cx.insert(&key, &entry, expires);
                }
                searched
            }
            Ok(Found::Stale(other)) => {
                let newest = match stale {
                    Some(stale) if stale.expired_for <= other.expired_for => stale,
                    _ => other,
                };
                search.missed(Miss::Expired, Some(newest), cx)
            }
            Err(miss) => {
                if miss == Miss::Expired && search.may_delete(cx) {
                    cx.http_delete(&search.request.key, search.request.tenant);
                }
                let miss = match miss {
                    Miss::Absent => from_memory,
                    miss => miss,
                };
                search.missed(miss, stale, cx)
            }
        }
    }
}
