//! `mode: shadow`: what would have been served is held against what the upstream says.

use crate::budget::{CaptureBudget, Reservation};
use crate::cache::{Entry, Seal};
use crate::recording::{StorableResponse, plain_body};
use crate::report::{Report, ShadowResult};
use crate::step::Cx;

/// A stored answer that would have been served, but for `mode: shadow`.
#[derive(Debug)]
pub(super) struct ShadowHit {
    entry: Entry,
    _reservation: Reservation,
}

impl ShadowHit {
    /// `None` if there is no room for it.
    pub(super) fn new(entry: Entry, budget: &CaptureBudget) -> Option<Self> {
        let reservation = Reservation::take(budget, entry.len())?;
        Some(Self {
            entry,
            _reservation: reservation,
        })
    }

    /// Compares what the upstream said with what would have been served.
    pub(super) fn compare(&self, response: StorableResponse, cx: &Cx<'_>) {
        let StorableResponse {
            request,
            draft,
            cost,
            ..
        } = response;
        let api = request.api;
        let max_bytes = cx.worker.config.limits.max_response_bytes;
        let bytes = draft.seal(&Seal::Checksum);
        let fresh = Entry::decode(&request.key, bytes, &Seal::Checksum).ok();
        let agreed = fresh.as_ref().and_then(|fresh| {
            let stored = plain_body(&self.entry, max_bytes)?;
            let said = plain_body(fresh, max_bytes)?;
            // They are taken apart one after the other.
            let bytes = [&stored, &said].map(|answer| api.conversion_bytes(answer));
            let _room = Reservation::take(&cx.worker.budget, bytes.into_iter().max()?)?;
            let agreed = api.agree(&stored, &self.entry.head.form, &said, &fresh.head.form);
            agreed.ok()
        });
        let result = match agreed {
            Some(true) => ShadowResult::Agreed,
            Some(false) => ShadowResult::Disagreed,
            None => ShadowResult::Incomparable,
        };
        let subject = cx.subject(&request);
        cx.report_of(&subject, Report::Shadow(result));
        cx.report_of(&subject, Report::ShadowSaved(cost));
    }
}
