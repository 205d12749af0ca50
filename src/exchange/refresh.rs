//! Refreshing an expired entry in the background: the request is sent once more, as a callout to the
//! cluster that its route leads to.
//!
//! A callout goes past the route: what the route adds, removes or rewrites does not happen. So one is
//! made only where such requests are known to reach the upstream as they come (see `route`), and where
//! the upstream does not refuse it; otherwise a request of a client goes in its place. It carries what
//! the client's request would have carried there, and no more; but the host adds `x-envoy-internal`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use crate::attributes::{Attribute, Attributes};
use crate::cache::CacheKey;
use crate::callout::{Callout, CalloutFault};
use crate::http::Headers;
use crate::shares::{Share, Shares};

use super::budget::Reservation;
use super::request::Keyed;
use super::route::what_matters;
use super::task::Task;
use super::{Output, RefreshResult, Report, Worker};

/// How long the upstream may take for an answer that nobody waits for.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How long nobody else refreshes meanwhile.
pub(super) const LEASE: Duration = Duration::from_secs(310);

/// The number that may be under way at once, per worker: half of it for one caller.
const MAX_REFRESHES: usize = 32;

/// After a refusal, requests go in the place of callouts for so long, in milliseconds.
const BY_REQUEST_FOR: u64 = 60_000;

/// The number of refusals that are remembered, per worker.
const MAX_REFUSED: usize = 1_024;

/// What belongs to the client's connection or is Envoy's to set (RFC 9110, section 7.6.1), the number
/// of the one request, what it asks of this cache, and the coding that suits the one client that asked.
pub(super) const LEFT_OUT: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-llm-cache-ttl",
    "x-request-id",
];

/// There is no refresh in the background: no callout can be made of this request, the upstream has
/// refused such ones, too many are under way, or there is no room for the request. It goes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotRefreshed;

/// What a worker knows of refreshes.
#[derive(Debug)]
pub(super) struct Refreshes {
    under_way: RefCell<Vec<(CacheKey, Share)>>,
    shares: Shares,
    /// The keys for which the upstream has refused callouts, and until when, in milliseconds since
    /// 1970, the oldest first. Looked through only where there would be a callout.
    refused: RefCell<VecDeque<(CacheKey, u64)>>,
}

impl Refreshes {
    pub(super) fn new() -> Self {
        Self {
            under_way: RefCell::default(),
            shares: Shares::new(MAX_REFRESHES),
            refused: RefCell::default(),
        }
    }

    /// Whether a key is being refreshed by this worker.
    pub(super) fn has(&self, key: &CacheKey) -> bool {
        self.under_way
            .borrow()
            .iter()
            .any(|(other, _)| other == key)
    }

    /// Room for one more whose request has this many bytes, if there is any.
    fn room(&self, request: &Keyed, bytes: usize, worker: &Worker) -> Option<Reservation> {
        let share = self.shares.take(request.tenant, 1)?;
        let reservation = Reservation::take(&worker.budget.of(request.tenant), bytes)?;
        self.under_way.borrow_mut().push((request.key, share));
        Some(reservation)
    }

    /// One has ended, with this status if there was an answer.
    pub(super) fn ended(&self, key: &CacheKey, status: Result<u16, CalloutFault>, now: u64) {
        self.under_way
            .borrow_mut()
            .retain(|(other, _)| other != key);
        // 429, 5xx and connections that break come to any request; all else that is not an answer
        // speaks of this way of asking.
        if !matches!(status, Ok(200 | 429 | 500..) | Err(CalloutFault::NoReply)) {
            let mut refused = self.refused.borrow_mut();
            refused.retain(|(other, until)| other != key && now < *until);
            // To forget them all would have each of them asked for anew.
            if refused.len() >= MAX_REFUSED {
                refused.pop_front();
            }
            refused.push_back((*key, now.saturating_add(BY_REQUEST_FOR)));
        }
    }

    fn were_refused(&self, key: &CacheKey, now: u64) -> bool {
        let refused = self.refused.borrow();
        let refused = refused.iter().find(|(other, _)| other == key);
        refused
            .is_some_and(|(_, until)| now < *until && *until <= now.saturating_add(BY_REQUEST_FOR))
    }
}

/// Has the request sent once more, and its answer stored.
pub(super) fn begin(
    request: Keyed,
    headers: &Headers,
    attributes: &Attributes,
    body: Option<&[u8]>,
    now: u64,
    worker: &Worker,
    out: &mut Vec<Output>,
) -> Result<(), NotRefreshed> {
    let refreshes = &worker.refreshes;
    let max_reply_bytes = worker.config.limits.max_response_bytes;
    let callout = body
        .filter(|_| worker.lets_pass(headers, attributes))
        .filter(|_| !refreshes.were_refused(&request.key, now))
        .zip(attributes.get(Attribute::Cluster))
        .and_then(|(body, cluster)| callout(headers, body, cluster, max_reply_bytes));
    let (told, result) = match callout {
        None => (RefreshResult::ByRequest, Err(NotRefreshed)),
        Some(callout) => match refreshes.room(&request, callout.held_bytes(), worker) {
            None => (RefreshResult::Busy, Err(NotRefreshed)),
            Some(reservation) => {
                worker.add(Task::refresh(request, callout, reservation), out);
                (RefreshResult::Sent, Ok(()))
            }
        },
    };
    out.push(Output::Report(Report::Refresh(told)));
    result
}

/// The same request, to the cluster; `None` if a header of it is not text, as callouts need it.
fn callout(
    headers: &Headers,
    body: &[u8],
    cluster: &[u8],
    max_reply_bytes: usize,
) -> Option<Callout> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some(Callout {
        cluster: text(cluster)?,
        headers: what_matters(headers)
            .into_iter()
            .map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect::<Option<_>>()?,
        body: body.to_vec(),
        timeout: TIMEOUT,
        max_reply_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn key(number: usize) -> CacheKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        CacheKey::from_bytes(bytes)
    }

    #[test]
    fn one_refusal_too_many_has_the_oldest_forgotten_and_no_other() {
        let refreshes = Refreshes::new();
        for number in 0..=MAX_REFUSED {
            refreshes.ended(&key(number), Ok(404), NOW);
        }
        assert!(!refreshes.were_refused(&key(0), NOW));
        assert!((1..=MAX_REFUSED).all(|number| refreshes.were_refused(&key(number), NOW)));
        refreshes.ended(&key(1), Ok(404), NOW + 1);
        refreshes.ended(&key(0), Ok(404), NOW + 1);
        let still =
            (0..=MAX_REFUSED).filter(|number| refreshes.were_refused(&key(*number), NOW + 1));
        assert_eq!(still.count(), MAX_REFUSED);
        assert!(refreshes.were_refused(&key(1), NOW + 1), "it came again");
    }
}
