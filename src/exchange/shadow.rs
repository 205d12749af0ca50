//! `mode: shadow`: what would have been served is held against what the upstream says.

use crate::budget::{CaptureBudget, Reservation};
use crate::cache::{Entry, Seal};
use crate::clock::{UnixMillis, as_millis};
use crate::llm::Tokens;
use crate::recording::{StorableResponse, plain_body};
use crate::report::{Report, ShadowResult};
use crate::step::Cx;

/// A stored answer that would have been served, but for `mode: shadow`.
#[derive(Debug)]
pub(super) struct ShadowHit {
    entry: Entry,
    /// When the request went on to the upstream.
    forwarded: UnixMillis,
    _reservation: Reservation,
}

impl ShadowHit {
    /// `None` if there is no room for it.
    pub(super) fn new(entry: Entry, forwarded: UnixMillis, budget: &CaptureBudget) -> Option<Self> {
        let reservation = Reservation::take(budget, entry.len())?;
        Some(Self {
            entry,
            forwarded,
            _reservation: reservation,
        })
    }

    /// Compares what the upstream said with what would have been served.
    pub(super) fn compare(&self, response: StorableResponse, cx: &Cx<'_>) {
        let StorableResponse {
            permit, api, draft, ..
        } = response;
        let max_bytes = cx.worker.config.limits.max_response_bytes;
        let bytes = draft.seal(&Seal::Checksum);
        let fresh = Entry::decode(&permit.key, bytes, &Seal::Checksum).ok();
        let agreed = fresh.as_ref().and_then(|fresh| {
            let stored = plain_body(&self.entry, max_bytes)?;
            let said = plain_body(fresh, max_bytes)?;
            // They are taken apart one after the other.
            let bytes = [&stored, &said].map(|answer| api.conversion_bytes(answer));
            let _room = Reservation::take(&cx.worker.budget, bytes.into_iter().max()?)?;
            let agreed = api.agree(&stored, &self.entry.head.form, &said, &fresh.head.form);
            Some((agreed.ok()?, api.tokens(&said, &fresh.head.form)))
        });
        let (result, tokens) = match agreed {
            Some((true, tokens)) => (ShadowResult::Agreed, tokens),
            Some((false, tokens)) => (ShadowResult::Disagreed, tokens),
            None => (ShadowResult::Incomparable, None),
        };
        cx.report(Report::Shadow(result));
        let saved = as_millis(cx.now().since(self.forwarded));
        cx.report(Report::SavedMilliseconds(saved));
        cx.report(Report::SavedTokens(tokens.map_or(0, Tokens::total)));
    }
}
