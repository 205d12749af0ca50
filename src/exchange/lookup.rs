//! The second phase of an exchange: the stores are asked, and what they have is verified.

use std::borrow::Cow;

use crate::cache::{CacheStatus, Entry, Forward, Freshness, Seal, Tier, freshness};
use crate::callout::CalloutResult;
use crate::coding;
use crate::config::Usage;
use crate::http::{self, RequestDirectives};
use crate::llm::{Form, Lossy};
use crate::store::{Lookup, StoreFault};

use super::reply::{self, Served};
use super::request::Keyed;
use super::response::{Forwarded, not_stored};
use super::state::State;
use super::{Miss, NotStored, Output, Report, RequestResult, Worker};

#[derive(Debug)]
pub(super) struct LookingUp {
    pub(super) request: Keyed,
    pub(super) directives: RequestDirectives,
    /// The lines of `accept-encoding`, as one list.
    pub(super) accept_encoding: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Fetching {
    looking_up: LookingUp,
    /// What the memory said.
    miss: Miss,
}

impl LookingUp {
    pub(super) fn looked_up(
        mut self,
        found: Result<Option<Vec<u8>>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let found = found.map_err(Miss::Store);
        let usable = found
            .and_then(|bytes| bytes.ok_or(Miss::Absent))
            .and_then(|bytes| self.usable(bytes, &Seal::Checksum, now, worker));
        match usable {
            Ok(usable) => self.hit(usable, Tier::Memory, out),
            // What the memory has cannot serve this request, nor could a copy of it.
            Err(miss @ Miss::Form(_)) => self.miss(miss, out),
            Err(miss) => self.fetch(miss, now, worker, out),
        }
    }

    /// Asks the store behind HTTP, if there is one and it is well.
    fn fetch(self, miss: Miss, now: u64, worker: &Worker, out: &mut Vec<Output>) -> State {
        let Some(remote) = &worker.http else {
            return self.miss(miss, out);
        };
        let key = &self.request.key;
        let (lookup, turn) = remote.store.look_up(&key.to_string(), now);
        out.extend(turn.map(|turn| Output::Report(Report::Breaker(turn))));
        match lookup {
            Lookup::Ask(callout) => {
                out.push(Output::Call(callout));
                State::Fetching(Box::new(Fetching {
                    looking_up: self,
                    miss,
                }))
            }
            Lookup::Probe => {
                worker.probe(key, out);
                self.miss(Miss::Store(StoreFault::BreakerOpen), out)
            }
            Lookup::Refused => self.miss(Miss::Store(StoreFault::BreakerOpen), out),
        }
    }

    /// Whether what a store has under the key can serve this request.
    fn usable(
        &mut self,
        bytes: Vec<u8>,
        seal: &Seal,
        now: u64,
        worker: &Worker,
    ) -> Result<Usable, Miss> {
        let entry = Entry::decode(&self.request.key, bytes, seal).map_err(|_| Miss::Unusable)?;
        let (age, ttl) = match freshness(now, entry.created, entry.lifetime) {
            Freshness::Fresh { age, ttl } => (age, ttl),
            Freshness::Expired => return Err(Miss::Expired),
            Freshness::FromTheFuture => return Err(Miss::Unusable),
        };
        if self.directives.max_age.is_some_and(|max_age| age > max_age) {
            return Err(Miss::RequestDirective);
        }
        match self.converted(&entry, worker) {
            Ok(converted) => Ok(Usable {
                entry,
                converted,
                age,
                ttl,
            }),
            Err(lossy) => {
                let asked = self.request.ask.form.as_ref();
                self.request.rival = Some(entry.form).filter(|form| Some(form) != asked);
                Err(Miss::Form(lossy))
            }
        }
    }

    fn hit(self, usable: Usable, tier: Tier, out: &mut Vec<Output>) -> State {
        let Keyed { key, settings, .. } = &self.request;
        let Usable {
            entry,
            converted,
            age,
            ttl,
        } = usable;
        let status = CacheStatus::Hit { ttl, tier };
        let reply = Served::new(entry, converted).reply(key, settings.respond, &status, age);
        out.push(Output::Report(Report::Request(RequestResult::Hit)));
        out.push(Output::Reply(reply));
        State::Replied
    }

    /// The entry's answer as this request wants it: its form and its body, uncompressed, or `None`
    /// if that is the entry as it is.
    fn converted(&self, entry: &Entry, worker: &Worker) -> Result<Option<(Form, Vec<u8>)>, Lossy> {
        let Keyed {
            api, ask, settings, ..
        } = &self.request;
        let form = ask.form.as_ref().unwrap_or(&entry.form);
        let coding = entry.headers.get("content-encoding");
        let accept = [self.accept_encoding.as_slice()];
        let accepted = coding.is_none_or(|coding| http::accepts_coding(accept.into_iter(), coding));
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

    pub(super) fn miss(self, miss: Miss, out: &mut Vec<Output>) -> State {
        out.push(Output::Report(Report::Request(RequestResult::Miss(miss))));
        let (because, detail) = match miss {
            Miss::Absent => (Forward::UriMiss, None),
            Miss::Expired => (Forward::Stale, None),
            Miss::RequestDirective => (Forward::Request, None),
            Miss::Form(_) | Miss::Unusable | Miss::Store(_) => (Forward::Miss, Some(miss.as_str())),
        };
        self.forward(because, detail, out)
    }

    pub(super) fn forward(
        self,
        because: Forward,
        detail: Option<&'static str>,
        out: &mut Vec<Output>,
    ) -> State {
        if self.directives.only_if_cached {
            return refuse(out);
        }
        let request = self.request;
        let key = Some(request.key);
        let respond = request.settings.respond;
        let storable = if !request.settings.mode.writes() {
            None
        } else if request.ttl.is_zero() {
            out.push(not_stored(NotStored::ZeroTtl));
            None
        } else {
            Some(request)
        };
        State::Forwarded(Box::new(Forwarded {
            status: CacheStatus::Forwarded { because, detail },
            respond,
            storable,
            key,
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
            mut looking_up,
            miss,
        } = self;
        let Some(remote) = &worker.http else {
            return looking_up.miss(miss, out);
        };
        let bytes = match remote.looked_up(result, now, out) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return looking_up.miss(miss, out),
            Err(fault) => return looking_up.miss(Miss::Store(fault), out),
        };
        let key = looking_up.request.key;
        match looking_up.usable(bytes, &remote.seal, now, worker) {
            Ok(usable) => {
                let copy = worker.copy_for_memory(key, &usable.entry);
                let state = looking_up.hit(usable, Tier::Http, out);
                out.extend(copy);
                state
            }
            Err(miss) => {
                if miss == Miss::Expired && looking_up.request.settings.mode.writes() {
                    worker.delete(&key, out);
                }
                looking_up.miss(miss, out)
            }
        }
    }
}

/// An entry that can serve a request.
struct Usable {
    entry: Entry,
    /// The answer in it in the form asked for, where that is not the entry as it is.
    converted: Option<(Form, Vec<u8>)>,
    /// Seconds since the answer was received.
    age: u64,
    /// Seconds until it expires.
    ttl: u64,
}

pub(super) fn refuse(out: &mut Vec<Output>) -> State {
    out.push(Output::Reply(reply::only_if_cached()));
    State::Replied
}
