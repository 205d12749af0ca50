//! The second phase of an exchange: the stores are asked, what they have is verified, and if it
//! does not serve, somebody asks the upstream: this request, or an identical one that it waits for.

mod converting;
mod fetching;
mod found;
mod leasing;
mod refreshing;
mod waiting;

use std::rc::Rc;

pub(super) use converting::Converting;
pub(super) use fetching::Fetching;
pub(super) use leasing::Leasing;
pub(super) use refreshing::Refreshing;
pub(super) use waiting::Waiting;

use crate::attributes::Attributes;
use crate::cache::{CacheStatus, Entry, Forward, Seal, Tier};
use crate::config::{Mode, Settings};
use crate::http::{Headers, RequestDirectives};
use crate::store::{StoreFault, Stored};

use super::budget::{Charged, Reservation};
use super::permit::Leadership;
use super::reply::{self, Addressee, Asked, Served};
use super::request::Keyed;
use super::request_memo::{Fingerprint, MemoEntry, ResolvedRequest};
use super::response::{Fallback, Forwarded, Rehearsal, Storable};
use super::state::State;
use super::{Miss, NotStored, Output, Report, RequestResult, Worker};
use found::{Found, Stale, Usable, Validity};
use leasing::Purpose;

/// A client may choose its id. Envoy's own has 36 bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request for whose answer the stores are searched.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) request: Keyed,
    pub(super) headers: Charged<Headers>,
    pub(super) attributes: Attributes,
    /// What the exchange takes beside.
    pub(super) place: Reservation,
    pub(super) directives: RequestDirectives,
    /// By this the worker knows the request again.
    pub(super) fingerprint: Option<Fingerprint>,
    /// What the memory had for it before.
    pub(super) known: Option<MemoEntry>,
    /// The one member in which it differs from an earlier request.
    pub(super) near_miss: Option<&'static str>,
}

impl Search {
    pub(super) fn looked_up(
        mut self,
        found: Result<Option<Stored>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let (found, known) = match self.recognize(found) {
            Ok((entry, known)) => (self.verify(entry, Tier::Memory, now, worker), known),
            Err(miss) => (Err(miss), None),
        };
        let found = match found {
            Ok(found) => found,
            Err(miss) => return self.fetch(miss, None, now, worker, out),
        };
        let told = known.as_ref().map(|known| Rc::clone(&known.told));
        self.remember(known, worker);
        if let Validity::Fresh { ttl } = found.validity
            && !self.serves_as_it_is(&found.entry)
        {
            return self.ask_for_copy(found, ttl, out);
        }
        match self.convert(found, worker) {
            Ok(Found::Fresh(usable, ttl)) => {
                let usable = Usable { told, ..usable };
                self.hit(usable, ttl, now, worker, out)
            }
            Ok(Found::Stale(stale)) if self.may_revalidate(&stale) => {
                self.revalidate(stale, worker, out)
            }
            // Another gateway may have a newer one.
            Ok(Found::Stale(stale)) => self.fetch(Miss::Expired, Some(stale), now, worker, out),
            Err(miss) => self.fetch(miss, None, now, worker, out),
        }
    }

    /// The entry that the memory has. What was decoded before, from the same bytes, is not decoded
    /// again.
    fn recognize(
        &mut self,
        found: Result<Option<Stored>, StoreFault>,
    ) -> Result<(Entry, Option<MemoEntry>), Miss> {
        let Stored { bytes, seen } = found.map_err(Miss::Store)?.ok_or(Miss::Absent)?;
        let before = self.known.take();
        let before = before
            .zip(seen)
            .filter(|(known, seen)| known.seen.is_same(seen));
        if let Some((known, seen)) = before {
            let entry = Entry::again(Rc::clone(&known.head), bytes).ok_or(Miss::Unusable)?;
            return Ok((entry, Some(MemoEntry { seen, ..known })));
        }
        let entry = Entry::decode(&self.request.key, bytes, &Seal::Checksum);
        let entry = entry.map_err(|_| Miss::Unusable)?;
        let known = seen.map(|seen| MemoEntry {
            seen,
            head: Rc::clone(&entry.head),
            told: Rc::default(),
        });
        Ok((entry, known))
    }

    /// A store has an answer to the request; `known` says more, if it is the memory.
    fn remember(&self, known: Option<MemoEntry>, worker: &Worker) {
        if let (Some(fingerprint), Some(memo)) = (self.fingerprint, &worker.memo) {
            memo.remember(fingerprint, known, || ResolvedRequest::of(&self.request));
        }
    }

    fn hit(
        self,
        usable: Usable,
        ttl: u64,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        if self.request.settings.mode == Mode::Shadow {
            return self.rehearse(usable, now, worker, out);
        }
        let tier = usable.tier;
        self.serve(
            usable,
            &CacheStatus::Hit { ttl, tier },
            RequestResult::Hit,
            out,
        )
    }

    /// Asks the upstream although there is an entry, to compare the two.
    fn rehearse(self, usable: Usable, now: u64, worker: &Worker, out: &mut Vec<Output>) -> State {
        out.push(Output::Report(Report::Request(RequestResult::ShadowHit)));
        let Self {
            request,
            place,
            attributes,
            ..
        } = self;
        let rehearsal = Rehearsal::new(usable.entry, now, &worker.budget.of(request.tenant));
        let route = attributes.of_route();
        State::Forwarded(Box::new(Forwarded {
            status: None,
            respond: request.settings.respond,
            key: Some(request.key),
            parts: None,
            storable: rehearsal.is_some().then_some(Storable { request, route }),
            rehearsal,
            fallback: None,
            place: Some(place),
        }))
    }

    fn serve(
        &self,
        usable: Usable,
        status: &CacheStatus,
        result: RequestResult,
        out: &mut Vec<Output>,
    ) -> State {
        let Keyed {
            key,
            settings,
            parts,
            ..
        } = &self.request;
        let asked = Asked {
            key: Some(*key),
            parts: parts.clone(),
        };
        let Usable {
            entry,
            converted,
            age,
            told,
            ..
        } = usable;
        let served = Served::new(entry, converted, self.addressee());
        let respond = settings.respond;
        let reply = match told {
            Some(told) => served.reply_again(&told, &asked, respond, status, age),
            None => served.reply(&asked, respond, status, age),
        };
        out.push(Output::Report(Report::Request(result)));
        out.push(Output::Reply(reply));
        State::Replied
    }

    /// Whom a hit is for.
    fn addressee(&self) -> Addressee {
        let Keyed { api, origin, .. } = &self.request;
        let id = |name| {
            let id = self.headers.get("x-request-id")?;
            (id.len() <= MAX_REQUEST_ID_BYTES).then(|| (name, id.into()))
        };
        Addressee {
            origin: origin.clone(),
            request_id: api.request_id_header().and_then(id),
        }
    }

    /// The client wants a new answer.
    pub(super) fn ask_anew(self, out: &mut Vec<Output>) -> State {
        self.ask(Miss::NoCache, None, None, out)
    }

    /// No store has a fresh answer.
    fn missed(
        self,
        miss: Miss,
        stale: Option<Stale>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let stale = match stale {
            Some(stale) if self.may_revalidate(&stale) => {
                return self.revalidate(stale, worker, out);
            }
            stale => stale.filter(|stale| self.may_stand_in(stale)),
        };
        let settings = &self.request.settings;
        let may_collapse = !settings.collapse.max_wait.is_zero()
            && settings.mode != Mode::Shadow
            && !self.directives.only_if_cached
            && self.may_store();
        if !may_collapse {
            return self.ask(miss, stale, None, out);
        }
        let is_stream = self.request.asks_for_stream();
        let waits = (settings.collapse.streams || !is_stream) && worker.flights.have_room();
        // Nobody is to wait for an answer that will not be stored.
        let leads = settings.store_if.streams || !is_stream;
        match (worker.flights.has(&self.request.key, now), waits, leads) {
            (true, true, _) => self.wait(miss, stale, now, out),
            (false, waits, true) => {
                let purpose = Purpose::Ask { miss, stale };
                self.lease(purpose, waits, out)
            }
            (true, false, _) | (false, _, false) => self.ask(miss, stale, None, out),
        }
    }

    fn may_stand_in(&self, stale: &Stale) -> bool {
        let Settings {
            mode,
            stale_if_error,
            ..
        } = *self.request.settings;
        // A request with only-if-cached does not ask the upstream, which then cannot fail.
        mode != Mode::Shadow
            && !self.directives.only_if_cached
            && stale.expired_for < stale_if_error
    }

    fn may_store(&self) -> bool {
        self.request.settings.mode.writes() && !self.request.ttl.is_zero()
    }

    /// The request goes on to the upstream; should that fail, `stale` stands in.
    fn ask(
        self,
        miss: Miss,
        stale: Option<Stale>,
        leadership: Option<Leadership>,
        out: &mut Vec<Output>,
    ) -> State {
        let (because, detail) = forward_of(miss);
        // Otherwise a client whose answers are never stored could not see why.
        let stores_nothing = self.request.settings.mode.writes() && self.request.ttl.is_zero();
        let detail = detail.or(stores_nothing.then(|| NotStored::ZeroTtl.as_str()));
        let status = CacheStatus::Forwarded {
            because,
            detail,
            waited: matches!(miss, Miss::Collapse(_)),
        };
        let result = RequestResult::Miss(miss);
        let fallback = stale.map(|stale| stale.into_fallback(result, self.addressee()));
        if fallback.is_none() {
            // With a fallback, it is not yet known how the request will go.
            out.push(Output::Report(Report::Request(result)));
        }
        if let (Miss::Absent, Some(member)) = (miss, self.near_miss) {
            out.push(Output::Report(Report::NearMiss(member)));
        }
        self.forward(status, fallback, leadership, out)
    }

    pub(super) fn forward(
        self,
        status: CacheStatus,
        fallback: Option<Fallback>,
        leadership: Option<Leadership>,
        out: &mut Vec<Output>,
    ) -> State {
        let shadow = self.request.settings.mode == Mode::Shadow;
        if self.directives.only_if_cached && !shadow {
            return refuse(out);
        }
        let may_store = self.may_store();
        let mut request = self.request;
        request.leadership = leadership;
        let route = self.attributes.of_route();
        // A refresh in the background needs to know what the route makes of such requests.
        if may_store && !request.settings.stale_while_revalidate.is_zero() {
            out.push(Output::WatchRoute(self.headers, route.clone()));
        }
        if request.settings.mode.writes() && !may_store {
            let zero = NotStored::ZeroTtl;
            out.push(Output::Report(Report::not_stored(zero)));
        }
        State::Forwarded(Box::new(Forwarded {
            status: (!shadow).then_some(status),
            respond: request.settings.respond,
            key: Some(request.key),
            parts: request.parts.clone(),
            storable: may_store.then_some(Storable { request, route }),
            rehearsal: None,
            fallback,
            place: Some(self.place),
        }))
    }
}

/// Why a request goes on, as `Cache-Status` tells it.
fn forward_of(miss: Miss) -> (Forward, Option<&'static str>) {
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

pub(super) fn refuse(out: &mut Vec<Output>) -> State {
    out.push(Output::Reply(reply::only_if_cached()));
    State::Replied
}
