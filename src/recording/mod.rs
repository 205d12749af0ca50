//! An answer that is recorded as it passes: captured, judged, and made into an entry if it is whole and
//! wanted.

mod capture;
mod decoded;
mod trailers;

use std::borrow::Cow;

use crate::budget::{CaptureBudget, Charged, NoRoom, Reservation};
use crate::cache::{Draft, Entry, NewEntry, STORED_HEADERS, UpstreamCost, encode};
use crate::clock::UnixMillis;
use crate::coding;
use crate::config::StoreIf;
use crate::http::{self, Headers};
use crate::llm::{self, Finish, Form, Framing, Judge, RequestTraits, Stutter, Tokens, Verdict};
use crate::report::{NotStored, Passage};
use crate::request::{KeyedRequest, is_for_browsers};

use capture::Capture;
use decoded::DecodedCapture;
pub(crate) use trailers::are_harmless;

/// An answer that passes, and what is known of it so far.
#[derive(Debug)]
pub(crate) struct ResponseRecorder {
    request: KeyedRequest,
    form: Form,
    headers: Charged<Headers>,
    /// When its request was sent.
    sent: UnixMillis,
    /// When the response's headers came.
    created: UnixMillis,
    first_byte: Option<UnixMillis>,
    last_byte: UnixMillis,
    chunks: u32,
    content_length: Option<u64>,
    judge: Box<dyn Judge>,
    stutter: Stutter,
    capture: Capture,
    /// Where the answer is compressed.
    decoded: Option<DecodedCapture>,
    /// What the judge and its like take.
    reservation: Reservation,
    limits: RecordingLimits,
}

/// What an answer may take while it is recorded.
#[derive(Clone, Debug)]
pub(crate) struct RecordingLimits {
    /// The worker's budget, not yet on behalf of a tenant.
    pub(crate) budget: CaptureBudget,
    /// `limits.max_response_bytes`.
    pub(crate) max_bytes: usize,
}

/// Who ended a response that is taken for whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    Upstream,
    /// It hung up at the API's end marker ([`ResponseRecorder::is_over`]), before the upstream was done.
    Client,
}

impl ResponseRecorder {
    /// Begins with the response's headers, which came `now` to a request that was sent at `sent`.
    ///
    /// # Errors
    /// Why this answer is not stored, whatever follows.
    pub(crate) fn begin(
        request: KeyedRequest,
        headers: &Headers,
        via_upstream: bool,
        (sent, now): (UnixMillis, UnixMillis),
        limits: RecordingLimits,
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
        let (api, traits) = (request.api, &request.traits);
        let framing = api
            .framing(traits, content_type)
            .ok_or(NotStored::ContentType)?;
        if framing.is_stream() && !request.settings.store_if.streams {
            return Err(NotStored::Streams);
        }
        let max_bytes = limits.max_bytes;
        let budget = limits.budget.of(request.tenant);
        let decoded = DecodedCapture::new(headers, max_bytes, &budget)?;
        let form = match &traits.form {
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
            let value = if is_for_browsers(name) {
                request.origin.stored(name, headers)
            } else {
                headers.get(name).map(Cow::Borrowed)
            };
            value.map(|value| (name, value))
        };
        let mut headers: Headers = STORED_HEADERS.into_iter().filter_map(stored).collect();
        // The host sends a reply without a type as `text/plain`, which Cohere's client rejects for a
        // stream. The upstream named no better type, so the one of the framing is stored.
        if is_untyped {
            headers.push("content-type", framing.content_type());
        }
        let bytes = headers.held_bytes();
        Ok(Self {
            form,
            headers: Charged::new(headers, bytes, &budget).ok_or(NoRoom)?,
            sent,
            created: now,
            first_byte: None,
            last_byte: now,
            chunks: 0,
            content_length,
            reservation: Reservation::new(&budget),
            judge: api.judge_by(traits, framing, &request.settings.store_if.finish_words),
            stutter: Stutter::new(),
            capture,
            decoded,
            limits,
            request,
        })
    }

    /// Takes the next chunk; `None` is one that the host could not give.
    pub(crate) fn take(&mut self, chunk: Option<&[u8]>, now: UnixMillis) -> Result<(), NotStored> {
        let chunk = chunk.ok_or(NotStored::Unreadable)?;
        if !chunk.is_empty() {
            self.chunks = self.chunks.saturating_add(1);
            self.first_byte.get_or_insert(now);
            self.last_byte = now;
        }
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

    /// The request whose answer it is.
    pub(crate) fn request(&self) -> &KeyedRequest {
        &self.request
    }

    /// How the answer passed so far.
    pub(crate) fn passage(&self) -> Passage {
        Passage {
            chunks: self.chunks,
            first_byte: self.first_byte.map(|first| first.since(self.sent)),
            last_byte: self.last_byte.since(self.sent),
            tokens: None,
            is_ended: false,
        }
    }

    /// Whether the API's end marker has come, so that nothing is missing.
    pub(crate) fn is_over(&self) -> bool {
        self.judge.is_over()
    }

    /// The response came to its end: how it passed, and what is to be stored if it is whole and wanted.
    /// `random` makes the jitter of its lifetime.
    pub(crate) fn finish(
        mut self,
        ended_by: EndedBy,
        random: u32,
    ) -> (Passage, Result<StorableResponse, NotStored>) {
        let mut passage = Passage {
            is_ended: true,
            ..self.passage()
        };
        let plain = match self.plain(ended_by) {
            Ok(plain) => plain,
            Err(reason) => return (passage, Err(reason)),
        };
        let body = plain.as_ref().map_or(self.capture.bytes(), Capture::bytes);
        passage.tokens = self.tokens(body);
        let response = self.judged(plain.as_ref(), passage, random);
        (passage, response)
    }

    /// The whole answer, decoded, where it is compressed.
    fn plain(&mut self, ended_by: EndedBy) -> Result<Option<Capture>, NotStored> {
        let length = self.capture.bytes().len();
        let all_there = self
            .content_length
            .is_none_or(|expected| usize::try_from(expected) == Ok(length));
        if !all_there {
            return Err(NotStored::Length);
        }
        if ended_by == EndedBy::Client {
            self.undo_cut_coding()?;
        }
        self.decoded.take().map(DecodedCapture::finish).transpose()
    }

    /// The tokens that the answer reports, or else its headers, as Bedrock's do.
    fn tokens(&self, plain: &[u8]) -> Option<Tokens> {
        let in_headers = || {
            let count = |name| self.headers.number(name);
            Some(Tokens {
                input: count("x-amzn-bedrock-input-token-count")?.saturating_add(
                    count("x-amzn-bedrock-cache-write-input-token-count").unwrap_or(0),
                ),
                cached_input: count("x-amzn-bedrock-cache-read-input-token-count").unwrap_or(0),
                output: count("x-amzn-bedrock-output-token-count").unwrap_or(0),
            })
        };
        let in_body = self.request.api.tokens(plain, &self.form);
        in_body.or_else(in_headers)
    }

    fn judged(
        self,
        decoded: Option<&Capture>,
        passage: Passage,
        random: u32,
    ) -> Result<StorableResponse, NotStored> {
        let body = self.capture.bytes();
        let plain = decoded.map_or(body, Capture::bytes);
        let answer = self.judge.finish(plain).map_err(NotStored::NotWhole)?;
        let KeyedRequest {
            resolved,
            ttl,
            rival,
            ..
        } = &self.request;
        let (api, settings) = (resolved.api, &resolved.settings);
        is_wanted(&settings.store_if, answer)?;
        if self.stutter.is_stuttering() && !settings.store_if.stuttering {
            return Err(NotStored::Stuttering);
        }
        if names_another_model(&self.request, plain, self.form.framing) {
            return Err(NotStored::OtherModel);
        }
        if let Some(rival) = rival {
            let coding = self.headers.get("content-encoding").unwrap_or_default();
            let plain = coding::decode(coding, body, self.capture.max_bytes());
            let plain = plain.map_err(|_| NotStored::LessGeneral)?;
            let room = Reservation::take(&self.limits.budget, api.conversion_bytes(&plain));
            let _room = room.ok_or(NoRoom)?;
            let converted = api.convert(&plain, &self.form, rival);
            converted.map_err(|_| NotStored::LessGeneral)?;
        }
        let ttl = settings.ttl_jitter.apply(*ttl, random);
        let first_byte = passage.first_byte.unwrap_or(passage.last_byte);
        let cost = UpstreamCost::new(passage.tokens, first_byte, passage.last_byte);
        let entry = NewEntry {
            form: &self.form,
            status: 200,
            created: self.created,
            lifetime: ttl,
            cost,
            headers: &self.headers,
            body,
        };
        let draft = encode(&self.request.key, &entry);
        let expires = self.created + ttl.saturating_add(settings.stale_window());
        Ok(StorableResponse {
            draft: draft.ok_or(NotStored::ResponseTooLarge)?,
            expires,
            cost,
            request: self.request,
        })
    }

    /// Decodes a compressed answer whose coding has not ended, because other clients would take it for
    /// truncated. The judge has seen a whole answer: at most a checksum at the end of the coding is
    /// missing.
    fn undo_cut_coding(&mut self) -> Result<(), NotStored> {
        if self.decoded.as_ref().is_none_or(DecodedCapture::is_ended) {
            return Ok(());
        }
        self.decoded = None;
        let (body, max_bytes) = (self.capture.bytes(), self.capture.max_bytes());
        if let Some(plain) =
            DecodedCapture::beginning(&self.headers, body, max_bytes, &self.limits.budget)?
        {
            let headers = self.headers.filtered(|name| name != b"content-encoding");
            let bytes = headers.held_bytes();
            self.headers = Charged::new(headers, bytes, &self.limits.budget).ok_or(NoRoom)?;
            self.capture = plain;
        }
        Ok(())
    }
}

/// Whether an entry of a store to which others may write is one that this filter could have made of an
/// upstream's answer to the request.
pub(crate) fn would_be_stored(entry: &Entry, request: &KeyedRequest, max_bytes: usize) -> bool {
    let form = &entry.head.form;
    let traits = RequestTraits {
        form: Some(form.clone()),
        ..request.traits.clone()
    };
    let content_type = entry.head.headers.get("content-type").unwrap_or_default();
    let store_if = &request.settings.store_if;
    let fits = request.api.framing(&traits, content_type) == Some(form.framing)
        && (store_if.streams || !form.framing.is_stream());
    fits && judged(entry, &traits, request, max_bytes)
        .is_some_and(|verdict| is_wanted(store_if, verdict).is_ok())
}

/// The verdict on an entry's answer, if it is whole and of the model that is asked for.
fn judged(
    entry: &Entry,
    traits: &RequestTraits,
    request: &KeyedRequest,
    max_bytes: usize,
) -> Option<Verdict> {
    let plain = plain_body(entry, max_bytes)?;
    let framing = entry.head.form.framing;
    let words = &request.settings.store_if.finish_words;
    let mut judge = request.api.judge_by(traits, framing, words);
    judge.feed(&plain, &mut |_, _| {}).ok()?;
    let verdict = judge.finish(&plain).ok()?;
    (!names_another_model(request, &plain, framing)).then_some(verdict)
}

/// The body of an entry, uncompressed.
pub(crate) fn plain_body(entry: &Entry, max_bytes: usize) -> Option<Cow<'_, [u8]>> {
    match entry.head.headers.get("content-encoding") {
        None => Some(Cow::Borrowed(entry.body())),
        Some(coding) => {
            let decoded = coding::decode(coding, entry.body(), max_bytes);
            decoded.ok().map(Cow::Owned)
        }
    }
}

/// Whether the configuration wants answers of the request's model only, and this one is not.
fn names_another_model(request: &KeyedRequest, plain: &[u8], framing: Framing) -> bool {
    let model = request.model.as_deref();
    let model = model.filter(|_| request.settings.store_if.same_model);
    model.is_some_and(|asked| llm::names_another_model(asked, plain, framing))
}

/// A whole answer that is wanted.
pub(crate) struct StorableResponse {
    pub(crate) request: KeyedRequest,
    pub(crate) draft: Draft,
    /// The end of its lifetime and of the stale window.
    pub(crate) expires: UnixMillis,
    pub(crate) cost: UpstreamCost,
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
