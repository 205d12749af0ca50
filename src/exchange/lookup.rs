//! The second phase of an exchange: the stores are asked, what they have is verified, and if it
//! does not serve, somebody asks the upstream: this request, or an identical one that it waits for.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::cache::{CacheStatus, Entry, Forward, Freshness, Seal, Tier, freshness};
use crate::callout::CalloutResult;
use crate::coding;
use crate::config::{Mode, Usage};
use crate::http::{self, Headers, RequestDirectives};
use crate::llm::{Form, Lossy};
use crate::store::{Joined, Lookup, StoreFault};

use super::capture::Hold;
use super::fate::{Fate, Lead};
use super::refresh::{self, LEASE, NotRefreshed};
use super::reply::{self, Served};
use super::request::Keyed;
use super::response::{Fallback, Forwarded, Rehearsal};
use super::state::State;
use super::{
    CollapseFault, Miss, NotStored, Output, Release, Report, RequestResult, StaleBecause, Worker,
};

/// A request for whose answer the stores are searched.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) request: Keyed,
    pub(super) headers: Headers,
    pub(super) directives: RequestDirectives,
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
    stale: Option<Stale>,
}

/// An entry that can serve a request.
#[derive(Debug)]
struct Usable {
    entry: Entry,
    /// The answer in it in the form asked for, where that is not the entry as it is.
    converted: Option<(Form, Vec<u8>)>,
    /// Seconds since the answer was received.
    age: u64,
    tier: Tier,
}

/// An entry that could serve a request if it had not expired, and may yet.
#[derive(Debug)]
pub(super) struct Stale {
    usable: Usable,
    /// Milliseconds since it expired.
    since: u64,
}

enum Found {
    /// Seconds until it expires.
    Fresh(Usable, u64),
    Stale(Stale),
}

impl Search {
    pub(super) fn looked_up(
        mut self,
        found: Result<Option<Vec<u8>>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        match self.examine(found, &Seal::Checksum, Tier::Memory, now, worker) {
            Ok(Found::Fresh(usable, ttl)) => self.hit(usable, ttl, now, worker, out),
            // Another gateway may have refreshed it.
            Ok(Found::Stale(stale)) => self.fetch(Miss::Expired, Some(stale), now, worker, out),
            // What the memory has cannot serve this request, nor could a copy of it.
            Err(miss @ Miss::Form(_)) => self.missed(miss, None, now, worker, out),
            Err(miss) => self.fetch(miss, None, now, worker, out),
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
        match remote.look_up(&key, now, out) {
            Lookup::Ask(callout) => {
                out.push(Output::Call(callout));
                let search = self;
                State::Fetching(Box::new(Fetching {
                    search,
                    miss,
                    stale,
                }))
            }
            lookup => {
                if lookup == Lookup::Probe {
                    worker.probe(&key, out);
                }
                let open = Miss::Store(StoreFault::BreakerOpen);
                self.missed(open, stale, now, worker, out)
            }
        }
    }

    /// What a store has under the key, if it can serve this request, or could if it were fresh.
    fn examine(
        &mut self,
        found: Result<Option<Vec<u8>>, StoreFault>,
        seal: &Seal,
        tier: Tier,
        now: u64,
        worker: &Worker,
    ) -> Result<Found, Miss> {
        let bytes = found.map_err(Miss::Store)?.ok_or(Miss::Absent)?;
        let entry = Entry::decode(&self.request.key, bytes, seal).map_err(|_| Miss::Unusable)?;
        let freshness = freshness(now, entry.created, entry.lifetime);
        let age = match freshness {
            Freshness::FromTheFuture => return Err(Miss::Unusable),
            Freshness::Expired { since, .. }
                if !is_within(since, self.request.settings.stale_window()) =>
            {
                return Err(Miss::Expired);
            }
            Freshness::Fresh { age, .. } | Freshness::Expired { age, .. } => age,
        };
        if self.directives.max_age.is_some_and(|max_age| age > max_age) {
            return Err(Miss::RequestDirective);
        }
        let converted = self.converted(&entry, worker).map_err(|lossy| {
            let asked = self.request.ask.form.as_ref();
            let fresh = matches!(freshness, Freshness::Fresh { .. });
            let rival = Some(&entry.form).filter(|form| fresh && Some(*form) != asked);
            self.request.rival = rival.cloned();
            Miss::Form(lossy)
        })?;
        let usable = Usable {
            entry,
            converted,
            age,
            tier,
        };
        Ok(match freshness {
            Freshness::Expired { since, .. } => Found::Stale(Stale { usable, since }),
            Freshness::Fresh { ttl, .. } => Found::Fresh(usable, ttl),
            Freshness::FromTheFuture => return Err(Miss::Unusable),
        })
    }

    /// The entry's answer as this request wants it: its form and its body, uncompressed, or `None`
    /// if that is the entry as it is.
    fn converted(&self, entry: &Entry, worker: &Worker) -> Result<Option<(Form, Vec<u8>)>, Lossy> {
        let Keyed {
            api, ask, settings, ..
        } = &self.request;
        let form = ask.form.as_ref().unwrap_or(&entry.form);
        let coding = entry.headers.get("content-encoding");
        let accepted = coding.is_none_or(|coding| {
            http::accepts_coding(self.headers.get_all("accept-encoding"), coding)
        });
        let zero_usage = settings.respond.usage == Usage::Zero;
        if accepted && *form == entry.form && !zero_usage {
            return Ok(None);
        }
        let max_bytes = worker.config.limits.max_response_bytes;
        let mut body = match coding {
            None => Cow::Borrowed(entry.body()),
            Some(coding) => Cow::Owned(
                coding::decode(coding, entry.body(), max_bytes).map_err(|_| Lossy::Malformed)?,
            ),
        };
        if *form != entry.form {
            body = Cow::Owned(api.convert(&body, &entry.form, form)?);
        }
        if zero_usage {
            body = Cow::Owned(api.zero_usage(&body, form)?);
        }
        Ok(Some((form.clone(), body.into_owned())))
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
            ..
        } = usable;
        let reply = Served::new(entry, converted).reply(Some(key), settings.respond, status, age);
        out.push(Output::Report(Report::Request(result)));
        out.push(Output::Reply(reply));
        State::Replied
    }

    /// The client wants a new answer.
    pub(super) fn refresh(self, worker: &Worker, out: &mut Vec<Output>) -> State {
        self.ask(Miss::RequestDirective, None, None, worker, out)
    }

    /// No store has a fresh answer.
    pub(super) fn missed(
        self,
        miss: Miss,
        stale: Option<Stale>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let settings = Rc::clone(&self.request.settings);
        let shadow = settings.mode == Mode::Shadow;
        let stale = stale.filter(|_| !shadow);
        let stale = match stale {
            Some(stale) if is_within(stale.since, settings.stale_while_revalidate) => {
                return self.revalidate(stale, worker, out);
            }
            stale => stale,
        };
        let may_collapse = !settings.collapse.max_wait.is_zero()
            && !shadow
            && !self.directives.only_if_cached
            && self.may_store();
        if !may_collapse {
            return self.ask(miss, stale, None, worker, out);
        }
        let key = self.request.key;
        let waits = settings.collapse.streams || !self.request.asks_for_stream();
        if worker.flights.has(&key) {
            if waits {
                self.wait(stale, now, out)
            } else {
                self.ask(miss, stale, None, worker, out)
            }
        } else {
            // A leader that vanished is waited for no longer than this.
            let max_age = settings.collapse.max_wait.saturating_mul(2);
            let purpose = Purpose::Ask { miss, stale };
            self.lease(purpose, max_age, waits, out)
        }
    }

    fn lease(
        self,
        purpose: Purpose,
        max_age: Duration,
        waits: bool,
        out: &mut Vec<Output>,
    ) -> State {
        out.push(Output::Lease {
            key: self.request.key,
            max_age: milliseconds(max_age),
            waits,
        });
        let search = self;
        State::Leasing(Box::new(Leasing { search, purpose }))
    }

    fn wait(self, stale: Option<Stale>, now: u64, out: &mut Vec<Output>) -> State {
        let max_wait = milliseconds(self.request.settings.collapse.max_wait);
        out.push(Output::Wait {
            key: self.request.key,
            deadline: now.saturating_add(max_wait),
        });
        let search = self;
        State::Waiting(Box::new(Waiting { search, stale }))
    }

    /// Serves what has expired, and has it refreshed unless that is already under way.
    fn revalidate(self, stale: Stale, worker: &Worker, out: &mut Vec<Output>) -> State {
        let is_due = self.may_store()
            && !self.directives.only_if_cached
            && !worker.flights.has(&self.request.key);
        if is_due {
            self.lease(Purpose::Refresh(stale), LEASE, false, out)
        } else {
            self.serve_stale(stale, out)
        }
    }

    fn serve_stale(&self, stale: Stale, out: &mut Vec<Output>) -> State {
        let Stale { usable, since } = stale;
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

    /// The request goes on to the upstream; with `stale` at hand, should that fail.
    fn ask(
        self,
        miss: Miss,
        stale: Option<Stale>,
        lead: Option<Lead>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let (because, detail) = match miss {
            Miss::Absent => (Forward::UriMiss, None),
            Miss::Expired => (Forward::Stale, None),
            Miss::RequestDirective => (Forward::Request, None),
            Miss::Form(_) | Miss::Unusable | Miss::Store(_) | Miss::Collapse(_) => {
                (Forward::Miss, Some(miss.as_str()))
            }
        };
        let status = CacheStatus::Forwarded {
            because,
            detail,
            waited: matches!(miss, Miss::Collapse(_)),
        };
        let result = RequestResult::Miss(miss);
        let stale =
            stale.filter(|stale| is_within(stale.since, self.request.settings.stale_if_error));
        let fallback = stale.and_then(|stale| self.fallback(stale, result, worker));
        if fallback.is_none() {
            // With a fallback, it is not yet known how the request will go.
            out.push(Output::Report(Report::Request(result)));
        }
        self.forward(status, fallback, lead, out)
    }

    /// Keeps an expired entry until it is known whether the upstream fails, if there is room.
    fn fallback(
        &self,
        stale: Stale,
        otherwise: RequestResult,
        worker: &Worker,
    ) -> Option<Fallback> {
        let Stale { usable, since } = stale;
        let converted = usable.converted.as_ref().map_or(0, |(_, body)| body.len());
        let bytes = usable.entry.len().saturating_add(converted);
        Some(Fallback {
            age: usable.age,
            since: since.div_ceil(1_000),
            served: Served::new(usable.entry, usable.converted),
            otherwise,
            _hold: Hold::take(&worker.budget, bytes)?,
        })
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
        match search.examine(found, &remote.seal, Tier::Http, now, worker) {
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
                    worker.delete(&key, out);
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
        found: Result<Option<Vec<u8>>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            purpose,
        } = self;
        let key = search.request.key;
        let lead = match joined {
            Joined::Leads(lease) => Some(Lead { lease: Some(lease) }),
            // Nobody else will know, but those of this worker.
            Joined::Unavailable => Some(Lead { lease: None }),
            Joined::Waits { .. } | Joined::Held { .. } | Joined::Unstorable => None,
        };
        // Whoever had the lease before may have stored an answer since the memory was asked.
        if let (Some(lead), Ok(Found::Fresh(usable, ttl))) = (
            lead,
            search.examine(found, &Seal::Checksum, Tier::Memory, now, worker),
        ) {
            Fate::new(key, Some(lead)).found(worker, out);
            return search.hit(usable, ttl, now, worker, out);
        }
        match (purpose, lead) {
            (Purpose::Ask { miss, stale }, Some(lead)) => {
                worker.flights.lead(key);
                search.ask(miss, stale, Some(lead), worker, out)
            }
            (Purpose::Ask { miss, stale }, None) => match joined {
                Joined::Waits { .. } => {
                    worker.flights.follow(key);
                    search.wait(stale, now, out)
                }
                _ => search.ask(miss, stale, None, worker, out),
            },
            (Purpose::Refresh(stale), Some(lead @ Lead { lease: Some(_) })) => {
                worker.flights.lead(key);
                out.push(Output::ReadRequest);
                let fate = Fate::new(key, Some(lead));
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
                search.ask(Miss::Expired, Some(stale), fate.lead(), worker, out)
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
        let Self { mut search, stale } = self;
        let (bytes, tier) = match release {
            Release::Go(fault) => {
                return search.ask(Miss::Collapse(fault), stale, None, worker, out);
            }
            Release::Answer { entry, tier } => (entry.to_vec(), tier),
        };
        let seal = match (tier, &worker.http) {
            (Tier::Http, Some(remote)) => &remote.seal,
            _ => &Seal::Checksum,
        };
        match search.examine(Ok(Some(bytes)), seal, tier, now, worker) {
            Ok(Found::Fresh(usable, ttl)) => {
                let status = CacheStatus::Collapsed { ttl };
                search.serve(usable, &status, RequestResult::Collapsed, out)
            }
            Ok(Found::Stale(stale)) => {
                let unusable = Miss::Collapse(CollapseFault::Unusable);
                search.ask(unusable, Some(stale), None, worker, out)
            }
            Err(_) => {
                let unusable = Miss::Collapse(CollapseFault::Unusable);
                search.ask(unusable, stale, None, worker, out)
            }
        }
    }

    /// The client is gone.
    pub(super) fn leave(&self, out: &mut Vec<Output>) {
        out.push(Output::Leave(self.search.request.key));
    }
}

fn is_within(milliseconds: u64, window: Duration) -> bool {
    u128::from(milliseconds) < window.as_millis()
}

/// Durations are configured in years at the most.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn refuse(out: &mut Vec<Output>) -> State {
    out.push(Output::Reply(reply::only_if_cached()));
    State::Replied
}
