//! The second phase of an exchange: the stores are asked, what they have is verified, and if it
//! does not serve, somebody asks the upstream: this request, or an identical one that it waits for.

use std::rc::Rc;
use std::time::Duration;

use crate::cache::{CacheKey, CacheStatus, Entry, Forward, Freshness, Seal, Tier};
use crate::callout::CalloutResult;
use crate::config::{Mode, Settings};
use crate::http::{Headers, RequestDirectives};
use crate::store::{Joined, Lookup, StoreFault, Stored};

use super::fate::{Fate, Lead};
use super::found::{Found, Stale, Usable, Verified, is_within};
use super::refresh::{self, LEASE, NotRefreshed};
use super::repeat::{Decided, Fingerprint, Known};
use super::reply::{self, Served};
use super::request::Keyed;
use super::response::{Fallback, Forwarded, Rehearsal};
use super::state::State;
use super::{
    CollapseFault, LeaseKind, Miss, NotStored, Output, Release, Report, RequestResult,
    StaleBecause, Worker,
};

/// A request for whose answer the stores are searched.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) request: Keyed,
    pub(super) headers: Headers,
    pub(super) directives: RequestDirectives,
    /// By this the worker knows the request again.
    pub(super) fingerprint: Option<Fingerprint>,
    /// What the memory had for it before.
    pub(super) known: Option<Known>,
}

/// The store behind HTTP is being asked.
#[derive(Debug)]
pub(super) struct Fetching {
    search: Search,
    /// Why the memory did not serve.
    miss: Miss,
    /// What the memory has, expired.
    stale: Option<Stale>,
}

/// The memory is being asked for a copy of a fresh entry in the form that the request asks for.
#[derive(Debug)]
pub(super) struct Converting {
    search: Search,
    copy: CacheKey,
    found: Verified,
    ttl: u64,
}

/// The lease on the key is being asked for.
#[derive(Debug)]
pub(super) struct Leasing {
    search: Search,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    /// To ask the upstream on behalf of all identical requests.
    Ask { miss: Miss, stale: Option<Stale> },
    /// To refresh this entry.
    Refresh(Stale),
}

/// The request is being read, to ask the upstream the same in the background.
#[derive(Debug)]
pub(super) struct Refreshing {
    search: Search,
    stale: Stale,
    fate: Fate,
}

/// An identical request has gone to the upstream, and its answer is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    search: Search,
    /// Why it would have gone to the upstream itself.
    miss: Miss,
    stale: Option<Stale>,
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
            Ok((entry, known)) => (self.verify(entry, Tier::Memory, now), known),
            Err(miss) => (Err(miss), None),
        };
        let found = match found {
            Ok(found) => found,
            Err(miss) => return self.fetch(miss, None, now, worker, out),
        };
        let told = known.as_ref().map(|known| Rc::clone(&known.told));
        self.remember(known, worker);
        if let Freshness::Fresh { ttl, .. } = found.freshness
            && !self.serves_as_it_is(&found.entry)
        {
            let copy = self.copy_key(&found.entry);
            out.push(Output::LookUp(copy));
            let search = self;
            return State::Converting(Box::new(Converting {
                search,
                copy,
                found,
                ttl,
            }));
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
            // What the memory has cannot serve this request, nor could a copy of it.
            Err(miss @ Miss::Form(_)) => self.missed(miss, None, now, worker, out),
            Err(miss) => self.fetch(miss, None, now, worker, out),
        }
    }

    /// The entry that the memory has. What was decoded before, from the same bytes, is not decoded
    /// again.
    fn recognize(
        &mut self,
        found: Result<Option<Stored>, StoreFault>,
    ) -> Result<(Entry, Option<Known>), Miss> {
        let Stored { bytes, seen } = found.map_err(Miss::Store)?.ok_or(Miss::Absent)?;
        let before = self.known.take();
        let before = before
            .zip(seen)
            .filter(|(known, seen)| known.seen.is_same(seen));
        if let Some((known, seen)) = before {
            let entry = Entry::again(Rc::clone(&known.head), bytes).ok_or(Miss::Unusable)?;
            return Ok((entry, Some(Known { seen, ..known })));
        }
        let entry = Entry::decode(&self.request.key, bytes, &Seal::Checksum);
        let entry = entry.map_err(|_| Miss::Unusable)?;
        let known = seen.map(|seen| Known {
            seen,
            head: Rc::clone(&entry.head),
            told: Rc::default(),
        });
        Ok((entry, known))
    }

    /// A store has an answer to the request; `known` says more, if it is the memory.
    fn remember(&self, known: Option<Known>, worker: &Worker) {
        if let (Some(fingerprint), Some(repeats)) = (self.fingerprint, &worker.repeats) {
            repeats.remember(fingerprint, known, || Decided::of(&self.request));
        }
    }

    /// Asks the store behind HTTP, if there is one and it is well.
    fn fetch(
        self,
        miss: Miss,
        stale: Option<Stale>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Some(remote) = &worker.http else {
            return self.missed(miss, stale, now, worker, out);
        };
        let key = self.request.key;
        match remote.look_up(&key, now, worker, out) {
            Lookup::Ask(callout) => {
                out.push(Output::Call(callout));
                let search = self;
                State::Fetching(Box::new(Fetching {
                    search,
                    miss,
                    stale,
                }))
            }
            Lookup::Probe | Lookup::Refused => {
                let open = Miss::Store(StoreFault::BreakerOpen);
                self.missed(open, stale, now, worker, out)
            }
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
        let request = self.request;
        let rehearsal = Rehearsal::new(usable.entry, now, worker);
        State::Forwarded(Box::new(Forwarded {
            status: None,
            respond: request.settings.respond,
            key: Some(request.key),
            storable: rehearsal.is_some().then_some(request),
            rehearsal,
            fallback: None,
        }))
    }

    fn serve(
        &self,
        usable: Usable,
        status: &CacheStatus,
        result: RequestResult,
        out: &mut Vec<Output>,
    ) -> State {
        let Keyed { key, settings, .. } = &self.request;
        let Usable {
            entry,
            converted,
            age,
            told,
            ..
        } = usable;
        let served = Served::new(entry, converted);
        let respond = settings.respond;
        let reply = match told {
            Some(told) => served.reply_again(&told, Some(key), respond, status, age),
            None => served.reply(Some(key), respond, status, age),
        };
        out.push(Output::Report(Report::Request(result)));
        out.push(Output::Reply(reply));
        State::Replied
    }

    /// The client wants a new answer.
    pub(super) fn refresh(self, out: &mut Vec<Output>) -> State {
        self.ask(Miss::RequestDirective, None, None, out)
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
        let max_wait = settings.collapse.max_wait;
        let may_collapse = !max_wait.is_zero()
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
                self.lease(
                    purpose,
                    LeaseKind::Collapse,
                    leased_for(max_wait),
                    waits,
                    out,
                )
            }
            (true, false, _) | (false, _, false) => self.ask(miss, stale, None, out),
        }
    }

    fn may_revalidate(&self, stale: &Stale) -> bool {
        let Settings {
            mode,
            stale_while_revalidate,
            ..
        } = *self.request.settings;
        mode != Mode::Shadow && is_within(stale.since, stale_while_revalidate)
    }

    fn may_stand_in(&self, stale: &Stale) -> bool {
        let Settings {
            mode,
            stale_if_error,
            ..
        } = *self.request.settings;
        // Who asks for what is cached only does not ask the upstream, which then cannot fail.
        mode != Mode::Shadow
            && !self.directives.only_if_cached
            && is_within(stale.since, stale_if_error)
    }

    fn lease(
        self,
        purpose: Purpose,
        kind: LeaseKind,
        max_age: Duration,
        waits: bool,
        out: &mut Vec<Output>,
    ) -> State {
        out.push(Output::Lease {
            key: self.request.key,
            kind,
            max_age: milliseconds(max_age),
            waits,
        });
        let search = self;
        State::Leasing(Box::new(Leasing { search, purpose }))
    }

    fn wait(self, miss: Miss, stale: Option<Stale>, now: u64, out: &mut Vec<Output>) -> State {
        let max_wait = milliseconds(self.request.settings.collapse.max_wait);
        out.push(Output::Wait {
            key: self.request.key,
            since: now,
            deadline: now.saturating_add(max_wait),
        });
        State::Waiting(Box::new(Waiting {
            search: self,
            miss,
            stale,
        }))
    }

    /// Serves what has expired, and has it refreshed unless that is already under way.
    fn revalidate(self, stale: Stale, worker: &Worker, out: &mut Vec<Output>) -> State {
        let is_due = self.may_store()
            && !self.directives.only_if_cached
            && !worker.refreshes.has(&self.request.key);
        if is_due {
            self.lease(
                Purpose::Refresh(stale),
                LeaseKind::Refresh,
                LEASE,
                false,
                out,
            )
        } else {
            self.serve_stale(stale, out)
        }
    }

    fn serve_stale(&self, stale: Stale, out: &mut Vec<Output>) -> State {
        let Stale { usable, since, .. } = stale;
        let status = CacheStatus::Stale {
            since: since.div_ceil(1_000),
            tier: usable.tier,
        };
        let result = RequestResult::Stale(StaleBecause::Revalidating);
        self.serve(usable, &status, result, out)
    }

    fn may_store(&self) -> bool {
        self.request.settings.mode.writes() && !self.request.ttl.is_zero()
    }

    /// The request goes on to the upstream; should that fail, `stale` stands in.
    fn ask(
        self,
        miss: Miss,
        stale: Option<Stale>,
        lead: Option<Lead>,
        out: &mut Vec<Output>,
    ) -> State {
        let (because, detail) = forward_of(miss);
        let status = CacheStatus::Forwarded {
            because,
            detail,
            waited: matches!(miss, Miss::Collapse(_)),
        };
        let result = RequestResult::Miss(miss);
        let fallback = stale.map(|stale| Fallback::new(stale, result));
        if fallback.is_none() {
            // With a fallback, it is not yet known how the request will go.
            out.push(Output::Report(Report::Request(result)));
        }
        self.forward(status, fallback, lead, out)
    }

    pub(super) fn forward(
        self,
        status: CacheStatus,
        fallback: Option<Fallback>,
        lead: Option<Lead>,
        out: &mut Vec<Output>,
    ) -> State {
        let shadow = self.request.settings.mode == Mode::Shadow;
        if self.directives.only_if_cached && !shadow {
            return refuse(out);
        }
        let may_store = self.may_store();
        let mut request = self.request;
        request.lead = lead;
        // A refresh in the background needs to know what the route makes of such requests.
        if may_store && !request.settings.stale_while_revalidate.is_zero() {
            out.push(Output::WatchRoute(self.headers));
        }
        if request.settings.mode.writes() && !may_store {
            let zero = NotStored::ZeroTtl;
            out.push(Output::Report(Report::not_stored(zero)));
        }
        State::Forwarded(Box::new(Forwarded {
            status: (!shadow).then_some(status),
            respond: request.settings.respond,
            key: Some(request.key),
            storable: may_store.then_some(request),
            rehearsal: None,
            fallback,
        }))
    }
}

impl Converting {
    /// Serves the copy that the memory has; or converts the entry, and gives the memory a copy.
    pub(super) fn looked_up(
        self,
        found: Result<Option<Stored>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            copy: key,
            found: verified,
            ttl,
        } = self;
        let bytes = found.ok().flatten().map(|stored| stored.bytes);
        if let Some(entry) =
            bytes.and_then(|bytes| Entry::decode(&key, bytes, &Seal::Checksum).ok())
        {
            let usable = Usable {
                entry,
                converted: None,
                age: verified.age,
                tier: verified.tier,
                told: None,
            };
            return search.hit(usable, ttl, now, worker, out);
        }
        match search.convert(verified, worker) {
            Ok(Found::Fresh(usable, ttl)) => {
                let copy = usable.copy(key, worker);
                let state = search.hit(usable, ttl, now, worker, out);
                out.extend(copy);
                state
            }
            Ok(Found::Stale(stale)) => search.missed(Miss::Expired, Some(stale), now, worker, out),
            // Nor could a copy in the store behind HTTP serve it.
            Err(miss) => search.missed(miss, None, now, worker, out),
        }
    }
}

impl Fetching {
    pub(super) fn called(
        self,
        result: CalloutResult,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            miss: from_memory,
            stale,
        } = self;
        let Some(remote) = &worker.http else {
            return search.missed(from_memory, stale, now, worker, out);
        };
        let found = remote.looked_up(result, now, out);
        let key = search.request.key;
        let found = search.examine(found, &remote.seal, Tier::Http, now, worker);
        if found.is_ok() {
            search.remember(None, worker);
        }
        match found {
            Ok(Found::Fresh(usable, ttl)) => {
                let copy = worker.copy_for_memory(key, &usable.entry, &search.request.settings);
                let state = search.hit(usable, ttl, now, worker, out);
                out.extend(copy);
                state
            }
            Ok(Found::Stale(other)) => {
                let newest = match stale {
                    Some(stale) if stale.since <= other.since => stale,
                    _ => other,
                };
                search.missed(Miss::Expired, Some(newest), now, worker, out)
            }
            Err(miss) => {
                // Where an answer may follow, that replaces it, and a removal might come after it.
                let replaces = search.may_store() && !search.directives.only_if_cached;
                if miss == Miss::Expired && search.request.settings.mode.writes() && !replaces {
                    worker.delete(&key, now, out);
                }
                let miss = match miss {
                    Miss::Absent => from_memory,
                    miss => miss,
                };
                search.missed(miss, stale, now, worker, out)
            }
        }
    }
}

impl Leasing {
    pub(super) fn leased(
        self,
        joined: Joined,
        found: Result<Option<Stored>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            purpose,
        } = self;
        let key = search.request.key;
        if let Joined::Leads(lease) = joined {
            // Whoever had it before may have stored an answer since the memory was asked.
            let found = found.map(|found| found.map(|stored| stored.bytes));
            let found = search.examine(found, &Seal::Checksum, Tier::Memory, now, worker);
            if let Ok(Found::Fresh(usable, ttl)) = found {
                out.push(Output::GiveBack {
                    key,
                    kind: purpose.kind(),
                    lease,
                    unstorable_for: 0,
                });
                return search.hit(usable, ttl, now, worker, out);
            }
        }
        match (purpose, joined) {
            (Purpose::Ask { miss, stale }, Joined::Leads(_) | Joined::Unavailable) => {
                let max_wait = search.request.settings.collapse.max_wait;
                let until = now.saturating_add(milliseconds(leased_for(max_wait)));
                let lead = Lead::Collapse {
                    flight: worker.flights.lead(key, now, until),
                    // Without one, only those of this worker wait.
                    lease: match joined {
                        Joined::Leads(lease) => Some(lease),
                        _ => None,
                    },
                };
                search.ask(miss, stale, Some(lead), out)
            }
            (Purpose::Ask { miss, stale }, Joined::Waits { .. }) => {
                worker.flights.follow(key, now);
                search.wait(miss, stale, now, out)
            }
            (Purpose::Ask { miss, stale }, Joined::Held { .. } | Joined::Unstorable) => {
                search.ask(miss, stale, None, out)
            }
            (Purpose::Refresh(stale), Joined::Leads(lease)) => {
                out.push(Output::ReadRequest);
                let fate = Fate::new(key, Some(Lead::Refresh(lease)));
                State::Refreshing(Box::new(Refreshing {
                    search,
                    stale,
                    fate,
                }))
            }
            (Purpose::Refresh(stale), _) => search.serve_stale(stale, out),
        }
    }
}

impl Purpose {
    fn kind(&self) -> LeaseKind {
        match self {
            Self::Ask { .. } => LeaseKind::Collapse,
            Self::Refresh(_) => LeaseKind::Refresh,
        }
    }
}

impl Refreshing {
    /// Refreshes by a callout and serves what has expired at once; or, where no callout can be made
    /// of the request, lets the request itself go.
    pub(super) fn request_read(
        self,
        body: Option<&[u8]>,
        cluster: Option<&str>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            search,
            stale,
            fate,
        } = self;
        let request = Keyed {
            lead: fate.lead(),
            ..search.request.clone()
        };
        match refresh::begin(request, &search.headers, body, cluster, now, worker, out) {
            Ok(()) => search.serve_stale(stale, out),
            Err(NotRefreshed::Busy) => {
                fate.abandoned(worker, out);
                search.serve_stale(stale, out)
            }
            Err(NotRefreshed::Impossible) => {
                search.ask(Miss::Expired, Some(stale), fate.lead(), out)
            }
        }
    }
}

impl Waiting {
    pub(super) fn released(
        self,
        release: Release,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            miss,
            stale,
        } = self;
        let (bytes, tier) = match release {
            Release::Go(fault) => {
                return search.ask(Miss::Collapse(fault), stale, None, out);
            }
            Release::Answer { entry, tier } => (entry.to_vec(), tier),
        };
        let seal = match (tier, &worker.http) {
            (Tier::Http, Some(remote)) => &remote.seal,
            _ => &Seal::Checksum,
        };
        match search.examine(Ok(Some(bytes)), seal, tier, now, worker) {
            Ok(Found::Fresh(usable, ttl)) => {
                let (because, _) = forward_of(miss);
                let status = CacheStatus::Collapsed { because, ttl };
                search.serve(usable, &status, RequestResult::Collapsed, out)
            }
            Ok(Found::Stale(_)) | Err(_) => {
                let unusable = Miss::Collapse(CollapseFault::Unusable);
                search.ask(unusable, stale, None, out)
            }
        }
    }

    /// The client is gone.
    pub(super) fn leave(&self, out: &mut Vec<Output>) {
        out.push(Output::Leave(self.search.request.key));
    }
}

/// Why a request goes on, as `Cache-Status` tells it.
fn forward_of(miss: Miss) -> (Forward, Option<&'static str>) {
    match miss {
        Miss::Absent => (Forward::UriMiss, None),
        Miss::Expired => (Forward::Stale, None),
        Miss::RequestDirective => (Forward::Request, None),
        Miss::Form(_) | Miss::Unusable | Miss::Store(_) | Miss::Collapse(_) => {
            (Forward::Miss, Some(miss.as_str()))
        }
    }
}

/// A leader that vanished is waited for no longer than this.
fn leased_for(max_wait: Duration) -> Duration {
    max_wait.saturating_mul(2)
}

/// Durations are configured in years at the most.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn refuse(out: &mut Vec<Output>) -> State {
    out.push(Output::Reply(reply::only_if_cached()));
    State::Replied
}
