//! An answer that is recorded as it passes: captured, judged, and made into an entry if it is whole and
//! wanted.

use std::borrow::Cow;

use crate::cache::{Draft, Entry, STORED_HEADERS, Seal, encode};
use crate::coding;
use crate::config::StoreIf;
use crate::http::{self, Headers};
use crate::llm::{self, Api, Finish, Form, Framing, Judge, RequestTraits, Stutter, Verdict};

use super::budget::{Charged, NoRoom, Reservation};
use super::capture::Capture;
use super::decoded_capture::DecodedCapture;
use super::permit::FetchPermit;
use super::request::Keyed;
use super::response::plain;
use super::{NotStored, Worker, cors, milliseconds};

/// An answer that passes, and what is known of it so far.
#[derive(Debug)]
pub(super) struct ResponseRecorder {
    request: Keyed,
    form: Form,
    headers: Charged<Headers>,
    /// When the response's headers came, in milliseconds since 1970.
    created: u64,
    content_length: Option<u64>,
    judge: Box<dyn Judge>,
    stutter: Stutter,
    capture: Capture,
    /// Where the answer is compressed.
    decoded: Option<DecodedCapture>,
    /// What the judge and its like take.
    reservation: Reservation,
}

/// Who ended a response that is taken for whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    Upstream,
    /// It hung up at the API's end marker ([`ResponseRecorder::is_over`]), before the upstream was done.
    Client,
}

impl ResponseRecorder {
    /// Begins with the response's headers.
    ///
    /// # Errors
    /// Why this answer is not stored, whatever follows.
    pub(super) fn begin(
        request: Keyed,
        headers: &Headers,
        via_upstream: bool,
        now: u64,
        worker: &Worker,
    ) -> Result<Self, NotStored> {
        if !via_upstream {
            return Err(NotStored::LocalReply);
        }
        if headers.get(":status") != Some(b"200") {
            return Err(NotStored::Status);
        }
        // A part, whatever the status says.
        if headers.contains("content-range") {
            return Err(NotStored::ContentRange);
        }
        let vetoes = &request.settings.store_if.unless_headers;
        if vetoes.iter().any(|veto| veto.holds(headers)) {
            return Err(NotStored::VetoedByHeader);
        }
        let content_type = headers.get("content-type").unwrap_or_default();
        let Keyed { api, ask, .. } = &request;
        let framing = api
            .framing(ask, content_type)
            .ok_or(NotStored::ContentType)?;
        if framing.is_stream() && !request.settings.store_if.streams {
            return Err(NotStored::Streams);
        }
        let max_bytes = worker.config.limits.max_response_bytes;
        let budget = worker.budget.of(request.tenant);
        let decoded = DecodedCapture::new(headers, max_bytes, &budget)?;
        let form = match &ask.form {
            Some(asked) if asked.framing == framing => asked.clone(),
            Some(_) => return Err(NotStored::Form),
            None => Form::new(framing, b""),
        };
        let mut capture = Capture::new(&budget, max_bytes);
        let content_length = headers.number("content-length");
        if let Some(length) = content_length {
            capture.expect(usize::try_from(length).map_err(|_| NotStored::ResponseTooLarge)?)?;
        }
        let is_untyped = http::is_any_text(content_type);
        let stored = |name| {
            if is_untyped && name == "content-type" {
                return None;
            }
            let value = if cors::is_for_browsers(name) {
                request.origin.stored(name, headers)
            } else {
                headers.get(name).map(Cow::Borrowed)
            };
            value.map(|value| (name, value))
        };
        let mut headers: Headers = STORED_HEADERS.into_iter().filter_map(stored).collect();
        // Without a type the host calls what it replies with plain text, and Cohere's client takes
        // no stream that is called so. Whose answer this is did without one.
        if is_untyped {
            headers.push("content-type", framing.content_type());
        }
        let bytes = headers.held_bytes();
        Ok(Self {
            form,
            headers: Charged::new(headers, bytes, &budget).ok_or(NoRoom)?,
            created: now,
            content_length,
            reservation: Reservation::new(&budget),
            judge: api.judge_by(ask, framing, &request.settings.store_if.finish_words),
            stutter: Stutter::new(),
            capture,
            decoded,
            request,
        })
    }

    /// Takes the next chunk; `None` is one that the host could not give.
    pub(super) fn take(&mut self, chunk: Option<&[u8]>, now: u64) -> Result<(), NotStored> {
        let chunk = chunk.ok_or(NotStored::Unreadable)?;
        self.capture.push(chunk)?;
        let mut plain = Cow::Borrowed(chunk);
        if let Some(decoded) = &mut self.decoded {
            plain = Cow::Owned(decoded.take(chunk, self.form.framing)?);
        }
        let stutter = &mut self.stutter;
        self.judge
            .feed(&plain, &mut |choice, text| stutter.piece(choice, text, now))
            .map_err(NotStored::NotWhole)?;
        let held = self.judge.held_bytes();
        let held = held.saturating_add(self.stutter.held_bytes());
        Ok(self.reservation.set(held)?)
    }

    pub(super) fn permit(&self) -> FetchPermit {
        self.request.permit()
    }

    /// Whether the API's end marker has come, so that nothing is missing.
    pub(super) fn is_over(&self) -> bool {
        self.judge.is_over()
    }

    /// The response came to its end: what is to be stored, if it is whole and wanted.
    pub(super) fn finish(
        mut self,
        ended_by: EndedBy,
        worker: &Worker,
    ) -> Result<StorableResponse, NotStored> {
        let length = self.capture.bytes().len();
        let all_there = self
            .content_length
            .is_none_or(|expected| usize::try_from(expected) == Ok(length));
        if !all_there {
            return Err(NotStored::Length);
        }
        if ended_by == EndedBy::Client {
            self.undo_cut_coding(worker)?;
        }
        let body = self.capture.bytes();
        let decoded = self.decoded.map(DecodedCapture::finish).transpose()?;
        let plain = decoded.as_ref().map_or(body, Capture::bytes);
        let answer = self.judge.finish(plain).map_err(NotStored::NotWhole)?;
        let Keyed {
            api,
            settings,
            ttl,
            rival,
            ..
        } = &self.request;
        is_wanted(&settings.store_if, answer)?;
        if self.stutter.is_stuttering() && !settings.store_if.stuttering {
            return Err(NotStored::Stuttering);
        }
        if is_of_another(&self.request, plain, self.form.framing) {
            return Err(NotStored::OtherModel);
        }
        if let Some(rival) = rival {
            let coding = self.headers.get("content-encoding").unwrap_or_default();
            let plain = coding::decode(coding, body, self.capture.max_bytes());
            let plain = plain.map_err(|_| NotStored::LessGeneral)?;
            let room = Reservation::take(&worker.budget, api.conversion_bytes(&plain));
            let _room = room.ok_or(NoRoom)?;
            let converted = api.convert(&plain, &self.form, rival);
            converted.map_err(|_| NotStored::LessGeneral)?;
        }
        let ttl = settings.ttl_jitter.apply(*ttl, worker.random_bits());
        let draft = encode(
            &self.request.key,
            &self.form,
            200,
            self.created,
            milliseconds(ttl),
            &self.headers,
            body,
        );
        let of_use = ttl.saturating_add(settings.stale_window());
        Ok(StorableResponse {
            permit: self.request.permit(),
            tenant: self.request.tenant,
            api: *api,
            draft: draft.ok_or(NotStored::ResponseTooLarge)?,
            expires: self.created.saturating_add(milliseconds(of_use)),
        })
    }

    /// Makes a plain answer of a compressed one whose coding has not ended, which others would take
    /// for cut. What its client read is all there, as its judge says; what the coding adds at its end,
    /// a checksum at most, the client did not wait for either.
    fn undo_cut_coding(&mut self, worker: &Worker) -> Result<(), NotStored> {
        if self.decoded.as_ref().is_none_or(DecodedCapture::is_ended) {
            return Ok(());
        }
        self.decoded = None;
        let (body, max_bytes) = (self.capture.bytes(), self.capture.max_bytes());
        if let Some(plain) =
            DecodedCapture::beginning(&self.headers, body, max_bytes, &worker.budget)?
        {
            let headers = self.headers.filtered(|name| name != b"content-encoding");
            let bytes = headers.held_bytes();
            self.headers = Charged::new(headers, bytes, &worker.budget).ok_or(NoRoom)?;
            self.capture = plain;
        }
        Ok(())
    }
}

/// Whether an entry of the store behind HTTP, to which others may write, is one that this filter could
/// have made of an upstream's answer to the request. Entries that only who has the integrity key can
/// make were judged when they were made.
pub(super) fn is_genuine(entry: &Entry, request: &Keyed, worker: &Worker) -> bool {
    let seal = worker.http.as_ref().map(|remote| &remote.seal);
    seal.is_some_and(Seal::proves_origin) || would_be_stored(entry, request, worker)
}

fn would_be_stored(entry: &Entry, request: &Keyed, worker: &Worker) -> bool {
    let form = &entry.head.form;
    let ask = RequestTraits {
        form: Some(form.clone()),
        ..(*request.ask).clone()
    };
    let content_type = entry.head.headers.get("content-type").unwrap_or_default();
    let store_if = &request.settings.store_if;
    let fits = request.api.framing(&ask, content_type) == Some(form.framing)
        && (store_if.streams || !form.framing.is_stream());
    fits && whole(entry, &ask, request, worker)
        .is_some_and(|answer| is_wanted(store_if, answer).is_ok())
}

/// What is to be said of an entry's answer, if it is whole and of the model that is asked for.
fn whole(entry: &Entry, ask: &RequestTraits, request: &Keyed, worker: &Worker) -> Option<Verdict> {
    let plain = plain(entry, worker.config.limits.max_response_bytes)?;
    let framing = entry.head.form.framing;
    let words = &request.settings.store_if.finish_words;
    let mut judge = request.api.judge_by(ask, framing, words);
    judge.feed(&plain, &mut |_, _| {}).ok()?;
    let answer = judge.finish(&plain).ok()?;
    (!is_of_another(request, &plain, framing)).then_some(answer)
}

/// Whether the configuration wants answers of the request's model only, and this one is not.
fn is_of_another(request: &Keyed, plain: &[u8], framing: Framing) -> bool {
    let model = request.model.as_deref();
    model.is_some_and(|asked| llm::is_of_another(asked, plain, framing))
}

/// A whole answer that is wanted.
pub(super) struct StorableResponse {
    pub(super) permit: FetchPermit,
    /// On behalf of whom: [`Keyed::tenant`].
    pub(super) tenant: u64,
    pub(super) api: Api,
    pub(super) draft: Draft,
    /// When it is of no more use, in milliseconds since 1970.
    pub(super) expires: u64,
}

/// Whether the configuration wants a whole answer like this stored.
fn is_wanted(store_if: &StoreIf, answer: Verdict) -> Result<(), NotStored> {
    if !answer.marked_end && !store_if.unmarked_end {
        return Err(NotStored::UnmarkedEnd);
    }
    if !store_if.finish.contains(&answer.finish) {
        return Err(match answer.finish {
            Finish::Complete => NotStored::FinishComplete,
            Finish::Length => NotStored::FinishLength,
            Finish::Filtered => NotStored::FinishFiltered,
        });
    }
    if answer.empty && !store_if.empty {
        return Err(NotStored::Empty);
    }
    Ok(())
}
