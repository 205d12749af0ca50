//! Refreshing an expired entry in the background: the request is sent once more, as a callout to the
//! cluster that its route leads to.
//!
//! A callout goes past the route: what the route adds, removes or rewrites does not happen. Where
//! the upstream refuses such requests, or none can be made, a request of a client goes in its place.

use std::cell::Cell;
use std::time::Duration;

use crate::callout::Callout;
use crate::http::Headers;

use super::capture::Hold;
use super::request::Keyed;
use super::task::Task;
use super::{Output, RefreshResult, Report, Worker};

/// How long the upstream may take for an answer that nobody waits for.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How long nobody else refreshes meanwhile.
pub(super) const LEASE: Duration = Duration::from_secs(310);

/// So many may be under way at once, per worker.
const MAX_REFRESHES: usize = 16;

/// After a refusal, requests go in the place of callouts for so long, in milliseconds.
const BY_REQUEST_FOR: u64 = 60_000;

/// What belongs to the client's connection or is Envoy's to set (RFC 9110, section 7.6.1), and the
/// coding that suits the one client that asked.
const LEFT_OUT: [&str; 11] = [
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
];

/// Why there is no refresh in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRefreshed {
    /// Too many are under way, or there is no room for the request.
    Busy,
    /// No callout can be made of this request, or the upstream has refused such ones.
    Impossible,
}

/// What a worker knows of refreshes.
#[derive(Debug, Default)]
pub(super) struct Refreshes {
    under_way: Cell<usize>,
    by_request_until: Cell<u64>,
}

impl Refreshes {
    /// Room for one more whose request has so many bytes, if there is any.
    fn room(&self, bytes: usize, worker: &Worker) -> Option<Hold> {
        let under_way = self.under_way.get();
        if under_way >= MAX_REFRESHES {
            return None;
        }
        let hold = Hold::take(&worker.budget, bytes)?;
        self.under_way.set(under_way.saturating_add(1));
        Some(hold)
    }

    /// One has ended, with this status if there was an answer.
    pub(super) fn ended(&self, status: Option<u16>, now: u64) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
        // 429 and 5xx come to any request; all else that is not an answer speaks of this way of
        // asking.
        if !matches!(status, Some(200 | 429 | 500..)) {
            self.by_request_until
                .set(now.saturating_add(BY_REQUEST_FOR));
        }
    }

    fn go_by_request(&self, now: u64) -> bool {
        let until = self.by_request_until.get();
        now < until && until <= now.saturating_add(BY_REQUEST_FOR)
    }
}

/// Has the request sent once more, and its answer stored.
pub(super) fn begin(
    request: Keyed,
    headers: &Headers,
    body: Option<&[u8]>,
    cluster: Option<&str>,
    now: u64,
    worker: &Worker,
    out: &mut Vec<Output>,
) -> Result<(), NotRefreshed> {
    let refreshes = &worker.refreshes;
    let max_reply_bytes = worker.config.limits.max_response_bytes;
    let callout = body
        .zip(cluster)
        .filter(|_| !refreshes.go_by_request(now))
        .and_then(|(body, cluster)| callout(headers, body, cluster, max_reply_bytes));
    let (told, result) = match callout {
        None => (RefreshResult::ByRequest, Err(NotRefreshed::Impossible)),
        Some(callout) => match refreshes.room(callout.body.len(), worker) {
            None => (RefreshResult::Busy, Err(NotRefreshed::Busy)),
            Some(hold) => {
                worker.add(Task::refresh(request, callout, hold), out);
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
    cluster: &str,
    max_reply_bytes: usize,
) -> Option<Callout> {
    let kept = headers
        .iter()
        .filter(|(name, _)| LEFT_OUT.iter().all(|out| out.as_bytes() != *name));
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some(Callout {
        cluster: cluster.to_owned(),
        headers: kept
            .map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect::<Option<_>>()?,
        body: body.to_vec(),
        timeout: TIMEOUT,
        max_reply_bytes,
    })
}
