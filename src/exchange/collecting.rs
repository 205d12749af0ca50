//! The request's headers and its body, until it has a key.

use std::mem;
use std::rc::Rc;

use crate::attributes::{Attribute, Attributes};
use crate::cache::{Body, CacheKey, Explanation, KeyParts, NoCaller};
use crate::config::{Cors, Mode, Policy, Selection, Settings};
use crate::http::{self, Headers, RequestDirectives};
use crate::json;
use crate::llm;
use crate::report::{Bypass, Report, RequestResult, Subject};
use crate::request::{KeyedRequest, Origin, ResolvedRequest};
use crate::step::Cx;
use crate::worker::{Models, Worker};

use super::held_request::HeldRequest;
use super::lookup::{Search, Searched, reply_only_if_cached};
use super::reply::{Sent, bypassed};
use super::request_head::{InvalidTtl, RequestCoding, RequestHead};
use super::response::Bypassed;

/// The request's body is being held until it is complete.
#[derive(Debug)]
pub(super) struct Collecting {
    held: HeldRequest,
    head: RequestHead,
    selection: Selection,
    /// See [`ResolvedRequest::tenant`]; `None` as long as it depends on the model.
    tenant: Option<u64>,
    /// Bytes of the body that the host said it holds.
    held_bytes: usize,
}

/// What comes of a request's headers, and of its body.
#[derive(Debug)]
pub(super) enum Collected {
    /// It takes no part.
    Over,
    /// It goes on to the upstream, and its answer is not of interest.
    Bypassed(Box<Bypassed>),
    /// It goes nowhere, as it said `only-if-cached`.
    Replied(Sent),
    /// More of its body is to come.
    Collecting(Box<Collecting>),
    /// It has a key, for which the stores were searched.
    Searched(Searched),
}

/// Why a request has no key.
enum NotKeyed {
    /// It takes no part.
    NoPart,
    Bypass(Bypass),
}

/// The request's headers came, and a body follows.
pub(super) fn start(headers: Headers, cx: &Cx<'_>) -> Collected {
    let worker = cx.worker;
    let Some(head) = RequestHead::read(&headers) else {
        return Collected::Over;
    };
    let key_headers = worker.key_headers.pick(&headers);
    let selection = worker.config.select(&key_headers, path(&key_headers));
    if selection == Selection::NoPart {
        return Collected::Over;
    }
    let hold_headers = worker.config.hold_headers;
    let unfit = match head {
        RequestHead {
            length: Some(length),
            ..
        } if length > max_request_bytes(worker) => Some(Bypass::RequestTooLarge),
        // While headers are held, Envoy buffers a released body once more, so that a body
        // which turns out too large would be refused with 413.
        RequestHead { length: None, .. } if hold_headers => Some(Bypass::UnknownLength),
        RequestHead { directives, .. } if forbids_storing(directives, &selection) => {
            Some(Bypass::NoStore)
        }
        RequestHead {
            ttl: Some(Err(InvalidTtl)),
            ..
        } => Some(Bypass::InvalidTtl),
        RequestHead {
            coding: RequestCoding::Unknown,
            ..
        } => Some(Bypass::ContentEncoding),
        _ => None,
    };
    let held = match unfit {
        Some(reason) => Err(reason),
        None => HeldRequest::new(headers, key_headers, worker).ok_or(Bypass::CaptureLimit),
    };
    match held {
        Err(reason) => bypass(reason, &selection, &head, cx),
        Ok(held) => Collecting {
            held,
            head,
            selection,
            tenant: None,
            held_bytes: 0,
        }
        .identify(cx),
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
fn may_be_stored(selection: &Selection, key_headers: &Headers, worker: &Worker) -> bool {
    let stores = |settings: &Settings| settings.mode.writes() && settings.mode != Mode::Shadow;
    match selection {
        Selection::NoPart => false,
        Selection::Decided(policy) => stores(&policy.settings),
        Selection::NeedsModel => worker
            .config
            .candidates(key_headers, path(key_headers))
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
    /// Asks the host what it knows of the caller. A request without a caller goes on to the upstream
    /// unchanged, before its body comes.
    fn identify(mut self, cx: &Cx<'_>) -> Collected {
        let worker = cx.worker;
        let needed = worker.needed.of_caller(&self.held.key_headers);
        let attributes = Attributes::read(cx.attributes(needed), &worker.needed.paths);
        let key = match &self.selection {
            Selection::Decided(policy) => &policy.settings.key,
            Selection::NoPart | Selection::NeedsModel => &worker.config.settings.key,
        };
        let is_decided = matches!(self.selection, Selection::Decided(_));
        let tenant = match CacheKey::tenant(key, &self.held.key_headers, &attributes) {
            Ok(tenant) => tenant,
            Err(fault) if is_decided => return self.bypass(fault.into(), cx),
            // The caller depends on the model. Until the body has come, all such requests share.
            Err(_) => 0,
        };
        self.tenant = is_decided.then_some(tenant);
        if self.held.learn(attributes, tenant).is_err() {
            return self.bypass(Bypass::CaptureLimit, cx);
        }
        if may_be_stored(&self.selection, &self.held.key_headers, worker)
            && let Some(codings) = http::narrowed_codings(&self.held.headers)
        {
            cx.host.set_request_header("accept-encoding", &codings);
        }
        Collected::Collecting(Box::new(self))
    }

    /// More of the body came, so that `held_bytes` of it are held.
    pub(super) fn body(
        mut self: Box<Self>,
        held_bytes: usize,
        end_of_stream: bool,
        cx: &Cx<'_>,
    ) -> Collected {
        if held_bytes > cx.worker.config.limits.max_request_bytes {
            return self.bypass(Bypass::RequestTooLarge, cx);
        }
        self.held_bytes = held_bytes;
        if end_of_stream {
            self.complete(cx)
        } else {
            Collected::Collecting(self)
        }
    }

    /// The body is complete. The host is asked for the route only now: if a filter has changed what the
    /// route is chosen by, Envoy chooses again when the next filter asks, and reports the old route until
    /// then.
    pub(super) fn complete(mut self: Box<Self>, cx: &Cx<'_>) -> Collected {
        let route = cx.attributes(&Attribute::OF_ROUTE);
        if self.held.learn_route(route).is_err() {
            return self.bypass(Bypass::CaptureLimit, cx);
        }
        // Where the host knows no cluster, it is not known either whose answer would be stored.
        if self.held.attributes.get(Attribute::Cluster).is_none() {
            return self.bypass(Bypass::NoCluster, cx);
        }
        let body = cx.host.request_body();
        let search = self.read(body.as_deref(), cx);
        // What the body takes is given back before the stores are searched.
        drop(body);
        match search {
            Ok(search) => Collected::Searched(search.begin(cx)),
            Err(collected) => collected,
        }
    }

    fn read(mut self, body: Option<&[u8]>, cx: &Cx<'_>) -> Result<Search, Collected> {
        let worker = cx.worker;
        let Some(body) = body.filter(|body| self.is_complete(body)) else {
            return Err(self.bypass(Bypass::BodyIncomplete, cx));
        };
        // An empty POST asks an LLM for nothing.
        if body.is_empty() {
            return Err(Collected::Over);
        }
        let max_bytes = worker.config.limits.max_request_bytes;
        let (body, _held) = match self.head.coding.undo(body, max_bytes, &worker.budget) {
            Ok(undone) => undone,
            Err(reason) => return Err(self.bypass(reason, cx)),
        };
        let body: &[u8] = &body;
        let memo = worker.memo.as_ref();
        let (fingerprint, repeated) = memo
            .map(|memo| memo.find(&self.held.key_headers, &self.held.attributes, body))
            .unzip();
        let (resolved, memo_entry, near_miss) = match repeated.flatten() {
            Some(remembered) => (remembered.resolved, remembered.entry, None),
            None => match self.resolve(body, worker) {
                Ok((resolved, near_miss)) => (Rc::new(resolved), None, near_miss),
                Err(NotKeyed::NoPart) => return Err(Collected::Over),
                Err(NotKeyed::Bypass(reason)) => return Err(self.bypass(reason, cx)),
            },
        };
        let settings = &resolved.settings;
        let directives = settings.client.obeyed(self.head.directives);
        if directives.no_store {
            let (api, settings) = (resolved.api, Rc::clone(settings));
            self.selection = Selection::Decided(Policy { api, settings });
            return Err(self.bypass(Bypass::NoStore, cx));
        }
        let requested = self.head.ttl.and_then(Result::ok);
        let ttl = requested.map_or(settings.ttl, |ttl| ttl.min(settings.client.max_ttl));
        let origin = match settings.respond.cors {
            Cors::Upstream => Origin::of(&self.held.headers),
            Cors::Envoy => Origin::Absent,
        };
        Ok(Search {
            request: KeyedRequest {
                resolved,
                ttl,
                origin,
                rival: None,
                leadership: None,
            },
            headers: self.held.headers,
            attributes: self.held.attributes,
            reservation: self.held.reservation,
            directives,
            fingerprint,
            memo_entry,
            near_miss,
        })
    }

    /// Keys are made of whole bodies only: on Envoy before 1.32 the last chunk could be missing.
    fn is_complete(&self, body: &[u8]) -> bool {
        body.len() == self.held_bytes
            && self
                .head
                .length
                .is_none_or(|length| usize::try_from(length) == Ok(body.len()))
    }

    /// Reads the request. What is decided depends on nothing but the configuration, the key headers, the
    /// attributes and the body: see [`RequestMemo`](crate::worker::RequestMemo). Beside it, the member in
    /// which the request differs from an earlier one: see [`NearMisses`](crate::worker::NearMisses).
    fn resolve(
        &mut self,
        body: &[u8],
        worker: &Worker,
    ) -> Result<(ResolvedRequest, Option<&'static str>), NotKeyed> {
        let headers = &self.held.key_headers;
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
        let traits = api.read(path, body, canonical.as_ref());
        let traits = traits.map_err(|unfit| NotKeyed::Bypass(Bypass::Unfit(unfit)))?;
        if traits.server_tools && !settings.store_if.server_tools {
            return Err(NotKeyed::Bypass(Bypass::ServerTools));
        }
        if !is_cool(traits.temperature, settings.store_if.max_temperature) {
            return Err(NotKeyed::Bypass(Bypass::Temperature));
        }
        let model = llm::asked_model(path, canonical.as_ref());
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
            attributes: &self.held.attributes,
            api,
            body: keyed.as_ref().map_or(Body::Raw(body), Body::Canonical),
            traits: &traits,
        };
        let key = CacheKey::explained(&key_parts, explanation.as_mut());
        let no_caller = |fault: NoCaller| NotKeyed::Bypass(fault.into());
        let key = key.map_err(no_caller)?;
        let tenant = match self.tenant {
            Some(tenant) => tenant,
            None => {
                let attributes = &self.held.attributes;
                CacheKey::tenant(&settings.key, headers, attributes).map_err(no_caller)?
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
            traits,
            parts: explanation.map(|explanation| explanation.finish().into()),
            model: model.map(Rc::from),
        };
        Ok((resolved, near_miss))
    }

    fn bypass(&self, reason: Bypass, cx: &Cx<'_>) -> Collected {
        bypass(reason, &self.selection, &self.head, cx)
    }
}

fn bypass(reason: Bypass, selection: &Selection, head: &RequestHead, cx: &Cx<'_>) -> Collected {
    let api = match selection {
        Selection::Decided(policy) => Some(policy.api),
        Selection::NoPart | Selection::NeedsModel => None,
    };
    let subject = Subject {
        api,
        label: cx.worker.models.as_ref().map(Models::other),
        ..Subject::default()
    };
    cx.report_of(&subject, Report::Request(RequestResult::Bypass(reason)));
    let settings = match selection {
        Selection::Decided(policy) => &policy.settings,
        Selection::NoPart | Selection::NeedsModel => &cx.worker.config.settings,
    };
    let shadow = settings.mode == Mode::Shadow;
    let directives = settings.client.obeyed(head.directives);
    if directives.only_if_cached && !shadow {
        return Collected::Replied(reply_only_if_cached(cx));
    }
    if shadow {
        return Collected::Over;
    }
    Collected::Bypassed(Box::new(Bypassed {
        status: bypassed(reason),
        respond: settings.respond,
    }))
}

impl From<NoCaller> for Bypass {
    fn from(fault: NoCaller) -> Self {
        match fault {
            NoCaller::NoTenant => Self::NoTenant,
            NoCaller::SignedRequest => Self::SignedRequest,
        }
    }
}

/// Whether a request is as deterministic as the configuration wants it.
fn is_cool(temperature: Option<f64>, max: Option<f64>) -> bool {
    max.is_none_or(|max| temperature.is_some_and(|temperature| temperature <= max))
}
