//! The request goes on to the upstream, unless it said `only-if-cached`.

use crate::cache::{CacheStatus, Forward};
use crate::exchange::reply::{self, Announced, Sent};
use crate::exchange::response::{Fallback, Forwarded, Storable, Watched};
use crate::report::{AnswerResult, Miss, NotStored, Report, RequestResult, Subject};
use crate::request::Leadership;
use crate::step::Cx;

use super::{Search, Searched, Stale};

impl Search {
    /// No store serves: the request goes on to the upstream. Should that fail, `stale` stands in.
    pub(super) fn forward_miss(
        self,
        miss: Miss,
        stale: Option<Stale>,
        leadership: Option<Leadership>,
        cx: &Cx<'_>,
    ) -> Searched {
        let (because, detail) = forward_of(miss);
        // Otherwise a client whose answers are never stored could not see why.
        let stores_nothing = self.request.settings.mode.writes() && self.request.ttl.is_zero();
        let detail = detail.or(stores_nothing.then(|| NotStored::ZeroTtl.as_str()));
        let status = CacheStatus::Forwarded {
            because,
            detail,
            waited: matches!(miss, Miss::Collapse(_)),
        };
        let (result, subject) = (RequestResult::Miss(miss), cx.subject(&self.request));
        let fallback = stale.map(|stale| stale.into_fallback(result, self.addressee()));
        if fallback.is_none() {
            // With a fallback, it is not yet known how the request will go.
            cx.report_of(&subject, Report::Request(result));
        }
        if let (Miss::Absent, Some(member)) = (miss, self.near_miss) {
            cx.report(Report::NearMiss(member));
        }
        self.forward(subject, status, fallback, leadership, cx)
    }

    pub(super) fn forward(
        self,
        subject: Subject,
        status: CacheStatus,
        fallback: Option<Fallback>,
        leadership: Option<Leadership>,
        cx: &Cx<'_>,
    ) -> Searched {
        let shadow = self.is_shadow();
        if self.directives.only_if_cached && !shadow {
            return Searched::Replied(reply_only_if_cached(cx));
        }
        let may_store = self.may_store();
        let mut request = self.request;
        request.leadership = leadership;
        let route = self.attributes.of_route();
        // A refresh in the background needs to know what the route makes of such requests.
        let is_watched = may_store && !request.settings.stale_while_revalidate.is_zero();
        let watched = is_watched.then(|| Watched {
            came: self.headers,
            route: route.clone(),
        });
        if request.settings.mode.writes() && !may_store {
            let zero = AnswerResult::NotStored(NotStored::ZeroTtl);
            cx.report_of(&subject, Report::Answer(zero));
        }
        Searched::Forwarded(Box::new(Forwarded {
            subject,
            sent: cx.now(),
            status: (!shadow).then_some(status),
            respond: request.settings.respond,
            announced: Announced {
                key: Some(request.key),
                parts: request.parts.clone(),
            },
            storable: may_store.then_some(Storable { request, route }),
            shadow_hit: None,
            fallback,
            watched,
            reservation: Some(self.reservation),
        }))
    }
}

/// Why a request goes on, as `Cache-Status` tells it.
pub(super) fn forward_of(miss: Miss) -> (Forward, Option<&'static str>) {
    match miss {
        Miss::Absent => (Forward::UriMiss, None),
        Miss::Expired => (Forward::Stale, None),
        Miss::CaptureLimit => (Forward::Stale, Some(miss.as_str())),
        Miss::NoCache | Miss::MaxAge => (Forward::Request, Some(miss.as_str())),
        Miss::Form(_)
        | Miss::ConversionLimit
        | Miss::Origin
        | Miss::Unusable
        | Miss::Store(_)
        | Miss::Collapse(_) => (Forward::Miss, Some(miss.as_str())),
    }
}

/// The request said `only-if-cached`, and nothing is.
pub(in crate::exchange) fn reply_only_if_cached(cx: &Cx<'_>) -> Sent {
    reply::send(reply::only_if_cached(), cx)
}
