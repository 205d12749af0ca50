//! Refreshing an expired entry in the background: the request is sent once more, as a callout to the
//! cluster that its route leads to.
//!
//! A callout goes past the route: what the route adds, removes or rewrites does not happen. So one is
//! made only where such requests are known to reach the upstream as they come
//! ([`RouteObserver`](crate::worker::RouteObserver)), and where the upstream does not refuse it;
//! otherwise a request of a client goes in its place. It carries what the client's request would have
//! carried there, and no more; but the host adds `x-envoy-internal`.

use std::time::Duration;

use crate::attributes::{Attribute, Attributes};
use crate::callout::Callout;
use crate::http::Headers;
use crate::report::{RefreshResult, Report};
use crate::request::KeyedRequest;
use crate::worker::{Task, what_matters};

use super::Cx;

/// How long the upstream may take for an answer that nobody waits for.
const TIMEOUT: Duration = Duration::from_mins(5);

/// There is no refresh in the background: no callout can be made of this request, the upstream has
/// refused such ones, too many are under way, or there is no room for the request. It goes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotRefreshed;

impl Cx<'_> {
    /// Has the request sent once more, and its answer stored.
    ///
    /// # Errors
    /// [`NotRefreshed`], and the request goes in its place.
    pub(crate) fn refresh(
        &self,
        request: KeyedRequest,
        headers: &Headers,
        attributes: &Attributes,
    ) -> Result<(), NotRefreshed> {
        let refreshes = &self.worker.refreshes;
        let may_call = self.worker.routes.lets_pass(headers, attributes)
            && !refreshes.were_refused(&request.key, self.now());
        let callout = may_call
            .then(|| self.callout(headers, attributes))
            .flatten();
        let (outcome, result) = match callout {
            None => (RefreshResult::ByRequest, Err(NotRefreshed)),
            Some(callout) => {
                let bytes = callout.held_bytes();
                match refreshes.begin(&request, bytes, &self.worker.budget) {
                    None => (RefreshResult::Busy, Err(NotRefreshed)),
                    Some(reservation) => {
                        self.add_task(Task::Refresh {
                            request: Box::new(request),
                            callout,
                            reservation,
                        });
                        (RefreshResult::Sent, Ok(()))
                    }
                }
            }
        };
        self.report(Report::Refresh(outcome));
        result
    }

    /// The same request, to the cluster; `None` if its body cannot be read, or a header of it is not
    /// text, as callouts need it.
    fn callout(&self, headers: &Headers, attributes: &Attributes) -> Option<Callout> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        Some(Callout {
            cluster: text(attributes.get(Attribute::Cluster)?)?,
            headers: what_matters(headers)
                .into_iter()
                .map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect::<Option<_>>()?,
            body: self.host.request_body()?,
            timeout: TIMEOUT,
            max_reply_bytes: self.worker.config.limits.max_response_bytes,
        })
    }
}
