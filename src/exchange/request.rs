//! The first phase of an exchange: the request's headers and its body, until it has a key.

use std::mem;
use std::rc::Rc;
use std::time::Duration;

use crate::attributes::{Attribute, Attributes};
use crate::cache::{Body, CacheKey, CacheStatus, Explanation, Forward, KeyParts, NoCaller};
use crate::config::{Cors, Mode, Policy, Selection, Settings};
use crate::http::{self, Headers, RequestDirectives};
use crate::json;
use crate::llm::{self, Api, Form, RequestTraits};

use super::cors::Origin;
use super::head::{Head, InvalidTtl, RequestCoding};
use super::kept::Kept;
use super::lookup::{Search, refuse};
use super::permit::{FetchPermit, Leadership};
use super::request_memo::ResolvedRequest;
use super::response::Bypassed;
use super::state::State;
use super::{Bypass, Output, Report, RequestResult, Worker};

#[derive(Debug)]
pub(super) struct Collecting {
    kept: Kept,
    head: Head,
    selection: Selection,
    /// See [`Keyed::tenant`]; `None` as long as it depends on the model.
    tenant: Option<u64>,
    /// Bytes of the body that the host said it holds.
    held: usize,
}

/// A request that has a key, and so an answer that may be stored.
#[derive(Clone, Debug)]
pub(super) struct Keyed {
    pub(super) key: CacheKey,
    /// Stands for the caller, with whom others share the worker: [`CacheKey::tenant`].
    pub(super) tenant: u64,
    pub(super) api: Api,
    pub(super) settings: Rc<Settings>,
    pub(super) ask: Rc<RequestTraits>,
    /// What the key is made of, with `respond.explain`.
    pub(super) parts: Option<Rc<str>>,
    /// The model that it asks for, where answers of others are not stored.
    pub(super) model: Option<Rc<str>>,
    pub(super) ttl: Duration,
    pub(super) origin: Origin,
    /// The form of a fresh entry under the key that could not serve this request.
    pub(super) rival: Option<Form>,
    /// Set if it asks the upstream on behalf of others.
    pub(super) leadership: Option<Leadership>,
}

impl Keyed {
    pub(super) fn permit(&self) -> FetchPermit {
        FetchPermit::new(self.key, self.leadership)
    }

    pub(super) fn asks_for_stream(&self) -> bool {
        let form = self.ask.form.as_ref();
        form.is_some_and(|form| form.framing.is_stream())
    }
}

/// Why a request has no key.
enum NotKeyed {
    /// It takes no part.
    NoPart,
    Bypass(Bypass),
}

pub(super) fn start(headers: Headers, worker: &Worker, out: &mut Vec<Output>) -> State {
    let Some(head) = Head::read(&headers) else {
        return State::Over;
    };
    let deciding = worker.deciding.pick(&headers);
    let selection = worker.config.select(&deciding, path(&deciding));
    if selection == Selection::NoPart {
        return State::Over;
    }
    let hold_headers = worker.config.hold_headers;
    let unfit = match head {
        Head {
            length: Some(length),
            ..
        } if length > max_request_bytes(worker) => Some(Bypass::RequestTooLarge),
        // Envoy buffers what it lets go of once more while headers were held, so that a body
        // which turns out too large would be refused with 413.
        Head { length: None, .. } if hold_headers => Some(Bypass::UnknownLength),
        Head { directives, .. } if forbids_storing(directives, &selection) => Some(Bypass::NoStore),
        Head {
            ttl: Some(Err(InvalidTtl)),
            ..
        } => Some(Bypass::InvalidTtl),
        Head {
            coding: RequestCoding::Unknown,
            ..
        } => Some(Bypass::ContentEncoding),
        _ => None,
    };
    let kept = match unfit {
        Some(reason) => Err(reason),
        None => Kept::new(headers, deciding, worker).ok_or(Bypass::CaptureLimit),
    };
    match kept {
        Err(reason) => bypass(reason, &selection, &head, worker, out),
        Ok(kept) => {
            let needed = worker.needed.of_caller(&kept.deciding);
            let collecting = Box::new(Collecting {
                kept,
                head,
                selection,
                tenant: None,
                held: 0,
            });
            if needed.is_empty() {
                return collecting.caller_read(Vec::new(), worker, out);
            }
            out.push(Output::ReadAttributes(needed));
            State::Identifying(collecting)
        }
    }
}

/// Whether no store is to be touched, as far as is known before the body.
fn forbids_storing(directives: RequestDirectives, selection: &Selection) -> bool {
    match selection {
        Selection::Decided(policy) => policy.settings.client.obeyed(directives).no_store,
        Selection::NoPart | Selection::NeedsModel => false,
    }
}

/// Whether the answer to a request may be stored, as far as its headers tell. In shadow, nothing is
/// to change for the client, and so not the coding either.
fn may_be_stored(selection: &Selection, deciding: &Headers, worker: &Worker) -> bool {
    let stores = |settings: &Settings| settings.mode.writes() && settings.mode != Mode::Shadow;
    match selection {
        Selection::NoPart => false,
        Selection::Decided(policy) => stores(&policy.settings),
        Selection::NeedsModel => worker
            .config
            .candidates(deciding, path(deciding))
            .any(stores),
    }
}

/// The path without its query.
fn path(headers: &Headers) -> &[u8] {
    let path = headers.get(":path").unwrap_or_default();
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

fn max_request_bytes(worker: &Worker) -> u64 {
    // The limit's range ends below 32 bits.
    u64::try_from(worker.config.limits.max_request_bytes).unwrap_or(u64::MAX)
}

impl Collecting {
    /// The host has told what it knows of the caller. A request without one is let go before its body
    /// comes, and as it came.
    pub(super) fn caller_read(
        mut self: Box<Self>,
        told: Vec<(Attribute, Vec<u8>)>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let attributes = Attributes::read(told, &worker.needed.paths);
        let key = match &self.selection {
            Selection::Decided(policy) => &policy.settings.key,
            Selection::NoPart | Selection::NeedsModel => &worker.config.settings.key,
        };
        let is_decided = matches!(self.selection, Selection::Decided(_));
        let tenant = match CacheKey::tenant(key, &self.kept.deciding, &attributes) {
            Ok(tenant) => tenant,
            Err(nobody) if is_decided => return self.bypass(nobody.into(), worker, out),
            // The caller depends on the model. Until the body has come, all such requests share.
            Err(_) => 0,
        };
        self.tenant = is_decided.then_some(tenant);
        if self.kept.learn(attributes, tenant).is_err() {
            return self.bypass(Bypass::CaptureLimit, worker, out);
        }
        if may_be_stored(&self.selection, &self.kept.deciding, worker) {
            let narrowed = http::narrowed_codings(&self.kept.headers);
            out.extend(
                narrowed.map(|codings| Output::SetRequestHeader("accept-encoding", codings)),
            );
        }
        State::Collecting(self)
    }

    /// The body is complete. Only now is the host asked for the route: where a filter has changed what it
    /// is chosen by, Envoy looks for it once more when the next filter asks, and tells the old one until
    /// then.
    pub(super) fn complete(self: Box<Self>, worker: &Worker, out: &mut Vec<Output>) -> State {
        out.push(Output::ReadAttributes(Rc::clone(&worker.needed.route)));
        State::Routing(self)
    }

    /// The host has told where the request is going. Where it does not know that, it is not known either
    /// whose answer would be stored.
    pub(super) fn route_read(
        mut self: Box<Self>,
        told: Vec<(Attribute, Vec<u8>)>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        if self.kept.learn_route(told).is_err() {
            return self.bypass(Bypass::CaptureLimit, worker, out);
        }
        if self.kept.attributes.get(Attribute::Cluster).is_none() {
            return self.bypass(Bypass::NoCluster, worker, out);
        }
        out.push(Output::ReadRequestBody);
        State::Reading(self)
    }

    pub(super) fn body(
        mut self: Box<Self>,
        held: usize,
        end_of_stream: bool,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        if held > worker.config.limits.max_request_bytes {
            return self.bypass(Bypass::RequestTooLarge, worker, out);
        }
        self.held = held;
        if end_of_stream {
            self.complete(worker, out)
        } else {
            State::Collecting(self)
        }
    }

    pub(super) fn body_read(
        mut self,
        body: Option<&[u8]>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Some(body) = body.filter(|body| self.is_complete(body)) else {
            return self.bypass(Bypass::BodyIncomplete, worker, out);
        };
        // An empty POST asks an LLM for nothing.
        if body.is_empty() {
            return State::Over;
        }
        let (body, _held) = match self.head.coding.undo(body, worker) {
            Ok(undone) => undone,
            Err(reason) => return self.bypass(reason, worker, out),
        };
        let body: &[u8] = &body;
        let memo = worker.memo.as_ref();
        let (fingerprint, repeated) = memo
            .map(|memo| memo.find(&self.kept.deciding, &self.kept.attributes, body))
            .unzip();
        let (resolved, known, near_miss) = match repeated.flatten() {
            Some((resolved, known)) => (resolved, known, None),
            None => match self.decide(body, worker) {
                Ok((resolved, near_miss)) => (resolved, None, near_miss),
                Err(NotKeyed::NoPart) => return State::Over,
                Err(NotKeyed::Bypass(reason)) => return self.bypass(reason, worker, out),
            },
        };
        let ResolvedRequest {
            key,
            tenant,
            api,
            settings,
            ask,
            parts,
            model,
        } = resolved;
        let directives = settings.client.obeyed(self.head.directives);
        if directives.no_store {
            self.selection = Selection::Decided(Policy { api, settings });
            return self.bypass(Bypass::NoStore, worker, out);
        }
        let requested = self.head.ttl.and_then(Result::ok);
        let ttl = requested.map_or(settings.ttl, |ttl| ttl.min(settings.client.max_ttl));
        let origin = match settings.respond.cors {
            Cors::Upstream => Origin::of(&self.kept.headers),
            Cors::Envoy => Origin::Absent,
        };
        let reads = settings.mode.reads();
        let Kept {
            headers,
            attributes,
            place,
            ..
        } = self.kept;
        let search = Search {
            request: Keyed {
                key,
                tenant,
                api,
                settings,
                ask,
                parts,
                model,
                ttl,
                origin,
                rival: None,
                leadership: None,
            },
            headers,
            attributes,
            place,
            directives,
            fingerprint,
            known,
            near_miss,
        };
        if !reads {
            let bypass = Bypass::WriteOnly;
            out.push(Output::Report(Report::Request(RequestResult::Bypass(
                bypass,
            ))));
            search.forward(bypassed(bypass), None, None, out)
        } else if directives.no_cache {
            search.ask_anew(out)
        } else {
            out.push(match &search.known {
                Some(known) => Output::LookAgain(key, known.seen),
                None => Output::LookUp(key),
            });
            State::LookingUp(Box::new(search))
        }
    }

    /// Keys are made of whole bodies only: on Envoy before 1.32 the last chunk could be missing.
    fn is_complete(&self, body: &[u8]) -> bool {
        body.len() == self.held
            && self
                .head
                .length
                .is_none_or(|length| usize::try_from(length) == Ok(body.len()))
    }

    /// Reads the request. What is decided depends on nothing but the configuration, the deciding
    /// headers, the attributes and the body: see [`request_memo`](super::request_memo). Beside it, the member in
    /// which the request differs from an earlier one: see [`near_misses`](super::near_misses).
    fn decide(
        &mut self,
        body: &[u8],
        worker: &Worker,
    ) -> Result<(ResolvedRequest, Option<&'static str>), NotKeyed> {
        let headers = &self.kept.deciding;
        let canonical = json::canonicalize(body, &[]).ok();
        let policy = match mem::replace(&mut self.selection, Selection::NoPart) {
            Selection::NoPart => None,
            Selection::Decided(policy) => Some(policy),
            Selection::NeedsModel => {
                let model = canonical
                    .as_ref()
                    .and_then(|body| json::string_value(body.member("model")?));
                let config = &worker.config;
                config.select_with_model(headers, path(headers), model.as_deref())
            }
        };
        let Policy { api, settings } = policy.ok_or(NotKeyed::NoPart)?;
        self.selection = Selection::Decided(Policy {
            api,
            settings: Rc::clone(&settings),
        });
        let path = headers.get(":path").unwrap_or_default();
        // What decides about the answer is read from the whole body, whatever the key leaves out.
        let ask = api.read(path, body, canonical.as_ref());
        let ask = ask.map_err(|unfit| NotKeyed::Bypass(Bypass::Unfit(unfit)))?;
        if ask.server_tools && !settings.store_if.server_tools {
            return Err(NotKeyed::Bypass(Bypass::ServerTools));
        }
        if !is_cool(ask.temperature, settings.store_if.max_temperature) {
            return Err(NotKeyed::Bypass(Bypass::Temperature));
        }
        let same_model = settings.store_if.same_model;
        let model = same_model.then(|| llm::asked_model(path, canonical.as_ref()));
        let keyed = match settings.key.edits(api).as_slice() {
            [] => canonical,
            edits => {
                // Both at once would be twice the memory.
                drop(canonical);
                json::canonicalize(body, edits).ok()
            }
        };
        let secret = worker.explaining.filter(|_| settings.respond.explain);
        let mut explanation = secret.map(Explanation::new);
        let key_parts = KeyParts {
            settings: &settings.key,
            headers,
            attributes: &self.kept.attributes,
            api,
            body: keyed.as_ref().map_or(Body::Raw(body), Body::Canonical),
            ask: &ask,
        };
        let key = CacheKey::explained(&key_parts, explanation.as_mut());
        let nobody = |nobody: NoCaller| NotKeyed::Bypass(nobody.into());
        let key = key.map_err(nobody)?;
        let tenant = match self.tenant {
            Some(tenant) => tenant,
            None => {
                let attributes = &self.kept.attributes;
                CacheKey::tenant(&settings.key, headers, attributes).map_err(nobody)?
            }
        };
        if !settings.sample.takes(key.sample_bits()) {
            return Err(NotKeyed::Bypass(Bypass::Sample));
        }
        let near_miss = worker.near_misses.compare(&key_parts);
        let resolved = ResolvedRequest {
            key,
            tenant,
            api,
            settings,
            ask: Rc::new(ask),
            parts: explanation.map(|explanation| explanation.finish().into()),
            model: model.flatten().map(Rc::from),
        };
        Ok((resolved, near_miss))
    }

    fn bypass(&self, reason: Bypass, worker: &Worker, out: &mut Vec<Output>) -> State {
        bypass(reason, &self.selection, &self.head, worker, out)
    }
}

fn bypass(
    reason: Bypass,
    selection: &Selection,
    head: &Head,
    worker: &Worker,
    out: &mut Vec<Output>,
) -> State {
    let result = RequestResult::Bypass(reason);
    out.push(Output::Report(Report::Request(result)));
    let settings = match selection {
        Selection::Decided(policy) => &policy.settings,
        Selection::NoPart | Selection::NeedsModel => &worker.config.settings,
    };
    let shadow = settings.mode == Mode::Shadow;
    let directives = settings.client.obeyed(head.directives);
    if directives.only_if_cached && !shadow {
        return refuse(out);
    }
    if shadow {
        return State::Over;
    }
    State::Bypassed(Box::new(Bypassed {
        status: bypassed(reason),
        respond: settings.respond,
    }))
}

impl From<NoCaller> for Bypass {
    fn from(nobody: NoCaller) -> Self {
        match nobody {
            NoCaller::NoTenant => Self::NoTenant,
            NoCaller::SignedRequest => Self::SignedRequest,
        }
    }
}

/// Whether a request is as deterministic as the configuration wants it.
fn is_cool(temperature: Option<f64>, max: Option<f64>) -> bool {
    max.is_none_or(|max| temperature.is_some_and(|temperature| temperature <= max))
}

fn bypassed(reason: Bypass) -> CacheStatus {
    CacheStatus::Forwarded {
        because: Forward::Bypass,
        detail: Some(reason.as_str()),
        waited: false,
    }
}
