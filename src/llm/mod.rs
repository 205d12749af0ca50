//! The LLM APIs: what a request asks for, whether an answer is whole, and how an answer in one
//! form becomes the same answer in another.
//!
//! One module per API, each a [`Protocol`]. Adding an API is one new file, and one line in
//! [`APIS`]. What APIs share stands beside them: the framings ([`judge`]), the readers of members
//! ([`fields`]), the documents of stored answers ([`documents`]) and what of them carries meaning
//! ([`semantics`]).

mod anthropic_messages;
mod bedrock;
mod cohere;
mod convert;
mod form;
mod gemini;
mod json;
mod judge;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_embeddings;
mod openai_responses;
mod request;
mod scan;
mod semantics;
mod workers_ai;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use crate::http;
use crate::json::Canonical;

use convert::documents::Object;
use convert::{can_be_taken_apart, documents, memory};
use request::path;
use request::unclear::{LOOKED_FOR, has_misspelled_names, may_ask_for_more};
use request::volatile::{Attribution, CallId};
use semantics::Semantics;

pub use convert::ConversionError;
pub use form::{Form, Framing};
pub use judge::finish::{Finish, FinishWords};
pub use judge::model::{asked as asked_model, is_of_another};
pub use judge::stutter::Stutter;
pub use judge::{Judge, Listener, NotWhole, Verdict};
pub use request::{RequestTraits, Unfit};

/// Every API. The first whose paths match takes a request.
static APIS: [&dyn Protocol; 11] = [
    // `/chat/completions` ends as `/completions` does: the longer ending first.
    &openai_chat::OpenaiChat,
    &openai_completions::OpenaiCompletions,
    &openai_responses::OpenaiResponses,
    &openai_embeddings::OpenaiEmbeddings,
    &anthropic_messages::AnthropicMessages,
    &gemini::Gemini,
    &ollama::Ollama,
    &cohere::Cohere,
    &bedrock::Bedrock,
    &workers_ai::WorkersAi,
    &json::Json,
];

/// One LLM API.
#[derive(Clone, Copy)]
pub struct Api(&'static dyn Protocol);

/// What an API's module knows of it.
trait Protocol: Sync {
    /// The word for it in configuration and keys.
    fn name(&self) -> &'static str;

    /// Whether a path (without its query and any slash at its end) is this API's.
    fn owns(&self, path: &[u8]) -> bool;

    /// Whether a top-level member of the request's body, with this canonical value, chooses the
    /// form of the answer and nothing else. It stays out of the key then, because one entry serves
    /// all forms. What the API does not know stays in. `path` is with its query.
    fn chooses_form(&self, _path: &[u8], _name: &str, _value: &[u8]) -> bool {
        false
    }

    /// What of a request says who asks, and no more: no answer depends on it.
    fn attribution(&self) -> &'static [Attribution] {
        &[]
    }

    /// Where a request has ids of calls, which clients may make up.
    fn call_ids(&self) -> &'static [CallId] {
        &[]
    }

    /// The path (with its query) as the key sees it: without what chooses the form of the answer,
    /// where the API does that in the URL.
    fn key_path<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        Cow::Borrowed(path)
    }

    /// Top-level members of a request's body that must not go unseen because of their spelling.
    fn looked_for(&self) -> &'static [&'static str] {
        &LOOKED_FOR
    }

    /// Words in a body that is not plain JSON, in small letters, that may ask for more than an
    /// answer, besides those that do so in any API.
    fn words_for_more(&self) -> &'static [&'static [u8]] {
        &[]
    }

    /// Reads what a request asks for. `path` is with its query; `body` is `None` where the body is
    /// not plain JSON.
    ///
    /// # Errors
    /// Why the answer to this request must not come from a cache.
    fn read(&self, path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit>;

    /// The framing of an answer with this media type to this request, if the API answers so.
    fn framing(&self, ask: &RequestTraits, media_type: &str) -> Option<Framing>;

    /// A judge for an answer in this framing, which is one that [`Protocol::framing`] gave. `words`
    /// are those for how it ended that the API does not know.
    fn judge_by(
        &self,
        ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge>;

    /// A judge that knows the API's own words alone.
    fn judge(&self, ask: &RequestTraits, framing: Framing) -> Box<dyn Judge> {
        self.judge_by(ask, framing, &FinishWords::default())
    }

    /// The response header in which the API's clients want an id of the exchange.
    fn request_id_header(&self) -> Option<&'static str> {
        None
    }

    /// The JSON answer that the API would have sent instead of this whole stream.
    ///
    /// # Errors
    /// What would be lost, or guessed.
    fn join(&self, _stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        Err(ConversionError::Unsupported)
    }

    /// A stream in the form `wanted` that the API could have sent instead of this JSON answer.
    ///
    /// # Errors
    /// What would be lost, or guessed.
    fn split(&self, _json: &[u8], _wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        Err(ConversionError::Unsupported)
    }

    /// The JSON objects that an answer consists of, in order.
    ///
    /// # Errors
    /// If it cannot be taken apart.
    fn documents(&self, answer: &[u8], form: &Form) -> Result<Vec<Object>, ConversionError> {
        documents::objects(answer, form.framing)
    }

    /// This stream in another form of streams.
    ///
    /// # Errors
    /// What would be lost, or guessed.
    fn restream(
        &self,
        stream: &[u8],
        stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        self.split(&self.join(stream, stored)?, wanted)
    }

    /// How many times as long as an answer the stream may be that it becomes. More is refused: it
    /// repeats names and ids for pieces that say next to nothing.
    fn max_growth(&self) -> usize {
        4
    }

    /// What of its answers carries meaning.
    fn semantics(&self) -> &'static Semantics;

    /// The same answer with every count of tokens that it reports set to zero, and with what is
    /// made of them (costs, rates) gone or zero too. Durations stay.
    ///
    /// # Errors
    /// If the answer cannot be taken apart.
    fn zero_usage(&self, _answer: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        Err(ConversionError::Unsupported)
    }
}

impl Api {
    /// Every API.
    pub fn all() -> impl Iterator<Item = Self> {
        APIS.iter().map(|protocol| Self(*protocol))
    }

    /// The word for it in configuration and keys.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The API of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|api| api.name() == name)
    }

    /// The API of a path (without its query), if it is a known one.
    pub fn from_path(path: &[u8]) -> Option<Self> {
        Self::owner(&path::normal(path))
    }

    fn owner(path: &[u8]) -> Option<Self> {
        Self::all().find(|api| api.0.owns(path))
    }

    /// Reads what a request asks for. `path` is with its query; `canonical` is the body's canonical
    /// form, or `None` where the body is not plain JSON.
    ///
    /// # Errors
    /// Why the answer to this request must not come from a cache.
    pub fn read(
        self,
        path: &[u8],
        body: &[u8],
        canonical: Option<&Canonical>,
    ) -> Result<RequestTraits, Unfit> {
        let is_unclear = match canonical {
            None => may_ask_for_more(body, self.0.words_for_more()),
            Some(canonical) => has_misspelled_names(canonical, self.0.looked_for()),
        };
        if is_unclear {
            return Err(Unfit::UnclearBody);
        }
        self.0.read(&self.normal_path(path), canonical)
    }

    /// Whether a top-level member of the request's body, with this canonical value, chooses the
    /// form of the answer and nothing else, and so stays out of the key. `path` is a
    /// [normal one](Api::normal_path).
    pub fn chooses_form(self, path: &[u8], name: &str, value: &[u8]) -> bool {
        self.0.chooses_form(path, name, value)
    }

    /// The path (with its query) as the key sees it.
    pub fn key_path(self, path: &[u8]) -> Cow<'_, [u8]> {
        match self.normal_path(path) {
            Cow::Borrowed(path) => self.0.key_path(path),
            Cow::Owned(path) => Cow::Owned(self.0.key_path(&path).into_owned()),
        }
    }

    /// The path (with its query) in the spelling that stands for all of it, where this API's paths
    /// are known: not where a rule says that it is this API's.
    pub fn normal_path(self, path: &[u8]) -> Cow<'_, [u8]> {
        let (bare, query) = path::split_query(path);
        let normal = path::normal(bare);
        if *normal == *bare || !self.0.owns(&normal) {
            return Cow::Borrowed(path);
        }
        Cow::Owned([&normal, query].concat())
    }

    /// The framing of an answer with this content type to this request, if the API answers so.
    pub fn framing(self, ask: &RequestTraits, content_type: &[u8]) -> Option<Framing> {
        let media_type = http::media_type(content_type);
        let framing = self.0.framing(ask, &media_type);
        framing.or_else(|| untyped_stream(ask, &media_type))
    }

    /// A judge for an answer in this framing.
    pub fn judge(self, ask: &RequestTraits, framing: Framing) -> Box<dyn Judge> {
        self.0.judge(ask, framing)
    }

    /// The response header in which the API's clients want an id of the exchange: without one, they
    /// fail or ignore what else the headers say.
    pub fn request_id_header(self) -> Option<&'static str> {
        self.0.request_id_header()
    }

    /// A judge that knows more words for how an answer ended.
    pub fn judge_by(
        self,
        ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        self.0.judge_by(ask, framing, words)
    }

    /// Turns a whole answer stored in one form into the same answer in another, which is judged as
    /// an upstream's would be: what a judge let pass in one form may be odd enough to be refused in
    /// the other.
    ///
    /// # Errors
    /// What would be lost, or guessed.
    pub fn convert(
        self,
        answer: &[u8],
        stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        can_be_taken_apart(answer)?;
        let converted = match (stored.framing.is_stream(), wanted.framing.is_stream()) {
            (false, false) => Err(ConversionError::Unsupported),
            (true, false) => self.0.join(answer, stored),
            (false, true) => self.0.split(answer, wanted),
            (true, true) => self.0.restream(answer, stored, wanted),
        }?;
        if converted.len() > memory::max_stream(answer.len(), self.0.max_growth()) {
            return Err(ConversionError::TooLarge);
        }
        self.judged(converted, wanted)
    }

    /// The most bytes of memory that [`Api::convert`], [`Api::zero_usage`] or one side of
    /// [`Api::agree`] holds at one time for this answer, with what it gives. It takes one pass over
    /// the answer and no memory to tell.
    pub fn conversion_bytes(self, answer: &[u8]) -> usize {
        // A vector that grows has three times its length for a moment.
        let result = memory::max_stream(answer.len(), self.0.max_growth()).saturating_mul(3);
        memory::bytes(answer).saturating_add(result)
    }

    /// The same answer with every count of tokens that it reports set to zero.
    ///
    /// # Errors
    /// If the answer cannot be taken apart.
    pub fn zero_usage(self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        can_be_taken_apart(answer)?;
        self.0.zero_usage(answer, form)
    }

    /// Whether two whole answers say the same: text, refusals, tool calls, why each choice
    /// finished, embeddings. Ids, usage, reasoning and all else that accompanies an answer may
    /// differ, and so may the forms.
    ///
    /// # Errors
    /// Why one of them cannot be compared.
    pub fn agree(
        self,
        one: &[u8],
        one_form: &Form,
        other: &[u8],
        other_form: &Form,
    ) -> Result<bool, ConversionError> {
        // What takes much memory of the one is gone before the other is taken apart.
        Ok(self.said(one, one_form)? == self.said(other, other_form)?)
    }

    /// The tokens that an answer reports in all, of the prompt and of what was made of it. `None`
    /// where it reports none, or is too large to be taken apart.
    pub fn tokens(self, answer: &[u8], form: &Form) -> Option<u64> {
        can_be_taken_apart(answer).ok()?;
        let documents = self.0.documents(answer, form).ok()?;
        self.0.semantics().tokens(documents)
    }

    /// What an answer says, in words of which equal ones mean the same.
    fn said(self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        can_be_taken_apart(answer)?;
        let semantics = self.0.semantics();
        if !form.framing.is_stream() {
            return semantics.of(answer);
        }
        let joined = match (self.0.join(answer, form), semantics.usage_event) {
            (Err(ConversionError::NoUsage), Some(event)) => {
                self.0.join(&[event, answer].concat(), form)
            }
            (joined, _) => joined,
        };
        semantics.of(&joined?)
    }

    /// The answer, if an upstream's like it would be stored.
    fn judged(self, answer: Vec<u8>, form: &Form) -> Result<Vec<u8>, ConversionError> {
        let ask = RequestTraits {
            form: Some(form.clone()),
            choices: 0,
            ..RequestTraits::unreadable()
        };
        let mut judge = self.judge_by(&ask, form.framing, &FinishWords::Any);
        judge
            .feed(&answer, &mut |_, _| {})
            .and_then(|()| judge.finish(&answer))
            .map_err(|_| ConversionError::Malformed)?;
        Ok(answer)
    }
}

/// The spelling of a path (without its query) that stands for all that mean the same, if it tells
/// its API.
pub fn normal_path(path: &[u8]) -> Cow<'_, [u8]> {
    let normal = path::normal(path);
    if *normal == *path || Api::owner(&normal).is_none() {
        return Cow::Borrowed(path);
    }
    normal
}

impl PartialEq for Api {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Api {}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The framing of an API that answers in JSON and in event streams.
fn json_or_sse(media_type: &str) -> Option<Framing> {
    match media_type {
        "text/event-stream" => Some(Framing::Sse),
        json if http::is_json(json) => Some(Framing::Json),
        _ => None,
    }
}

/// The framing of a stream of text that was asked for, and came without a type or with that of any
/// text. Its judge will tell whether it is one.
fn untyped_stream(ask: &RequestTraits, media_type: &str) -> Option<Framing> {
    let framing = ask.form.as_ref()?.framing;
    let is_text = matches!(framing, Framing::Sse | Framing::Ndjson);
    (is_text && matches!(media_type, "" | "text/plain")).then_some(framing)
}

/// An answer line by line, as values where a line is JSON or data that is: what is written anew has
/// its members in the order of their names, which means the same.
#[cfg(test)]
fn values(answer: impl AsRef<[u8]>) -> Vec<serde_json::Value> {
    let text = String::from_utf8(answer.as_ref().to_vec()).unwrap();
    let value = |line: &str| {
        let json = line.strip_prefix("data:").unwrap_or(line);
        serde_json::from_str(json).unwrap_or_else(|_| line.into())
    };
    text.lines().map(value).collect()
}
