//! An entry is served, or, in shadow, kept to be compared with the upstream's answer.

use crate::cache::CacheStatus;
use crate::clock::DeltaSeconds;
use crate::exchange::reply::{Addressee, Announced, Sent, Served, send};
use crate::exchange::response::{Forwarded, Storable};
use crate::exchange::shadow::ShadowHit;
use crate::report::{Report, RequestResult};
use crate::step::Cx;

use super::{Search, Searched, Usable};

/// A client may choose its id. Envoy's own has 36 bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

impl Search {
    pub(super) fn hit(self, usable: Usable, ttl: DeltaSeconds, cx: &Cx<'_>) -> Searched {
        if self.is_shadow() {
            return self.forward_shadow_hit(usable, cx);
        }
        // Reported before the reply, which would end the request to the upstream.
        if cx.worker.upstream_watch.is_due() && cx.host.has_asked_upstream() {
            cx.report(Report::UpstreamAskedInVain);
        }
        let tier = usable.tier;
        let status = CacheStatus::Hit { ttl, tier };
        Searched::Replied(self.serve(usable, &status, RequestResult::Hit, cx))
    }

    /// Asks the upstream although there is an entry, to compare the two.
    fn forward_shadow_hit(self, usable: Usable, cx: &Cx<'_>) -> Searched {
        let subject = cx.subject(&self.request);
        cx.report_of(&subject, Report::Request(RequestResult::ShadowHit));
        let Self {
            request,
            reservation,
            attributes,
            ..
        } = self;
        let budget = cx.worker.budget.of(request.tenant);
        let shadow_hit = ShadowHit::new(usable.entry, &budget);
        let route = attributes.of_route();
        Searched::Forwarded(Box::new(Forwarded {
            subject,
            sent: cx.now(),
            status: None,
            respond: request.settings.respond,
            announced: Announced {
                key: Some(request.key),
                parts: None,
            },
            storable: shadow_hit.is_some().then_some(Storable { request, route }),
            shadow_hit,
            fallback: None,
            watched: None,
            reservation: Some(reservation),
        }))
    }

    pub(super) fn serve(
        &self,
        usable: Usable,
        status: &CacheStatus,
        result: RequestResult,
        cx: &Cx<'_>,
    ) -> Sent {
        let announced = Announced {
            key: Some(self.request.key),
            parts: self.request.parts.clone(),
        };
        let served = Served::new(usable.entry, usable.converted, self.addressee());
        let subject = cx.subject(&self.request);
        cx.report_of(&subject, Report::Request(result));
        cx.report_of(&subject, served.report(usable.age));
        let respond = self.request.settings.respond;
        let reply = match usable.hit_headers {
            Some(hit_headers) => {
                served.reply_again(&hit_headers, &announced, respond, status, usable.age)
            }
            None => served.reply(&announced, respond, status, usable.age),
        };
        send(reply, cx)
    }

    /// Whom a hit is for.
    pub(super) fn addressee(&self) -> Addressee {
        let id = |name| {
            let id = self.headers.get("x-request-id")?;
            (id.len() <= MAX_REQUEST_ID_BYTES).then(|| (name, id.into()))
        };
        Addressee {
            origin: self.request.origin.clone(),
            request_id: self.request.api.request_id_header().and_then(id),
        }
    }
}
