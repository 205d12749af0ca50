//! The LLM APIs: what a request asks for, whether an answer is whole, and how an answer in one
//! form becomes the same answer in another.
//!
//! Each API is a folder and implements [`ProviderApi`]. Its files have the same names and meanings:
//!
//! - `mod.rs`: its paths, its [`Facts`], and the calls into the other files,
//! - `request.rs`: what a request asks for,
//! - `judge.rs`: whether an answer is whole,
//! - `join.rs`: the JSON answer that a stream comes to,
//! - `split.rs`: the stream that a JSON answer could have come in,
//! - `tests.rs` or `tests/`.
//!
//! An API without conversions, for example, has neither `join.rs` nor `split.rs`. Dialects are folders with the same files. What APIs share
//! in reading requests is [`request`], in judging [`judge`], in conversions [`convert`]. [`scan`] reads
//! members without building a tree, [`convert::tree`] takes trees apart. [`semantics`] says what of an
//! answer carries meaning.
//!
//! To add an API, add its folder with its `mod` line, and its line in [`APIS`].

mod anthropic_messages;
mod bedrock;
mod cohere;
mod convert;
mod documents;
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
mod tokens;
mod workers_ai;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use crate::http;
use crate::json::Canonical;

use convert::{can_be_taken_apart, memory};
use request::path::{self, Path};
use request::unclear;
use request::volatile::{Attribution, CallId};
use semantics::Semantics;

pub use convert::ConversionError;
pub use form::{Form, Framing};
pub use judge::finish::{Finish, FinishWords};
pub use judge::model::{asked_model, names_another_model};
pub use judge::stutter::Stutter;
pub use judge::{Judge, Listener, NotWhole, Verdict};
pub use request::{RequestTraits, Unfit};
pub use tokens::Tokens;

/// Every API. The first whose paths match takes a request.
static APIS: [&dyn ProviderApi; 11] = [
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
pub struct Api(&'static dyn ProviderApi);

/// An API as its module describes it.
trait ProviderApi: Sync {
    /// What is the same for all of its requests and answers.
    fn facts(&self) -> &'static Facts;

    /// Whether a path (without its query and any slash at its end) is this API's.
    fn owns(&self, path: &[u8]) -> bool;

    /// Whether a top-level member of the request's body, with this canonical value, chooses the
    /// form of the answer and nothing else. It stays out of the key then, because one entry serves
    /// all forms. What the API does not know stays in.
    fn chooses_form(&self, _path: Path<'_>, _name: &str, _value: &[u8]) -> bool {
        false
    }

    /// The path as the key sees it, where that is another: without what chooses the form of the
    /// answer, for an API that does that in the URL.
    fn key_path(&self, _path: Path<'_>) -> Option<Vec<u8>> {
        None
    }

    /// Reads what a request asks for. `body` is `None` where the body is not plain JSON.
    ///
    /// # Errors
    /// Why the answer to this request must not come from a cache.
    fn read(&self, path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit>;

    /// A judge for an answer in this framing, which [`Api::framing`] gave. `words` adds
    /// finish words that the API does not know.
    fn judge(&self, traits: &RequestTraits, framing: Framing, words: FinishWords)
    -> Box<dyn Judge>;

    /// The JSON answer that the API would have sent instead of this whole stream.
    ///
    /// # Errors
    /// If the conversion would lose or invent something.
    fn join(&self, _stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        Err(ConversionError::Unsupported)
    }

    /// A stream in the form `wanted` that the API could have sent instead of this JSON answer.
    ///
    /// # Errors
    /// If the conversion would lose or invent something.
    fn split(&self, _json: &[u8], _wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        Err(ConversionError::Unsupported)
    }

    /// This stream in another form of streams.
    ///
    /// # Errors
    /// If the conversion would lose or invent something.
    fn restream(
        &self,
        stream: &[u8],
        stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        self.split(&self.join(stream, stored)?, wanted)
    }

    /// The same answer with every count of tokens that it reports set to zero, and with what is
    /// made of them (costs, rates) gone or zero too. Durations stay.
    ///
    /// # Errors
    /// If the answer cannot be taken apart.
    fn zero_usage(&self, _answer: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        Err(ConversionError::Unsupported)
    }
}

/// What is the same for all requests and answers of an API.
struct Facts {
    /// The word for it in configuration and keys.
    name: &'static str,
    /// The media types of its streams.
    streams: &'static [(&'static str, Framing)],
    /// The parts of a request that only say who asks: no answer depends on them.
    attribution: &'static [Attribution],
    /// Where a request has ids of calls, which clients may make up.
    call_ids: &'static [CallId],
    /// The top-level members of a request's body that are looked at. A name that some servers take
    /// for one of them makes the body unclear, in a request of any API: gateways take members of
    /// one API in requests of another.
    looked_for: &'static [&'static str],
    /// The names that other APIs look for mean nothing here.
    has_names_of_its_own: bool,
    /// Words in small letters that may ask for more than an answer. In a body that is not plain
    /// JSON they make it unclear, in a request of any API.
    suspicious_words: &'static [&'static [u8]],
    /// The same, in requests of this API only: others have such words in ordinary requests.
    suspicious_here: &'static [&'static [u8]],
    /// The response header in which the API's clients want an id of the exchange.
    request_id_header: Option<&'static str>,
    /// The length of a converted stream, at most, as a multiple of the answer's. A longer one is
    /// refused, because it mostly repeats names and ids.
    max_growth: usize,
    /// Where documents of any form report usage, as JSON pointers; `""` is the document itself.
    usage: &'static [&'static str],
    /// What of its answers carries meaning.
    semantics: Semantics,
}

impl Facts {
    /// What holds where an API says nothing else.
    const DEFAULT: Self = Self {
        name: "",
        streams: &[],
        attribution: &[],
        call_ids: &[],
        looked_for: &[],
        has_names_of_its_own: false,
        suspicious_words: &[],
        suspicious_here: &[],
        request_id_header: None,
        max_growth: 4,
        usage: &[],
        semantics: Semantics {
            said: &[],
            usage_event: None,
        },
    };

    /// The [`Facts::streams`] of most APIs.
    const SSE: &[(&str, Framing)] = &[("text/event-stream", Framing::Sse)];
}

impl Api {
    /// Whether a content type says that an answer is a stream, of whatever API.
    pub fn is_stream_type(content_type: &[u8]) -> bool {
        let media_type = http::media_type(content_type);
        let mut streams = APIS.iter().flat_map(|api| api.facts().streams);
        streams.any(|(stream, _)| *stream == media_type)
    }

    /// Every API.
    pub fn all() -> impl Iterator<Item = Self> {
        APIS.iter().map(|api| Self(*api))
    }

    /// The word for it in configuration and keys.
    pub fn name(self) -> &'static str {
        self.0.facts().name
    }

    /// Whether requests are told to be of this API by their path, and not by a rule alone.
    pub fn has_paths(self) -> bool {
        self != Self(&json::Json)
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
        let facts = self.0.facts();
        let is_unclear = match canonical {
            None => unclear::may_ask_for_more(body, facts.suspicious_here),
            Some(canonical) if facts.has_names_of_its_own => {
                unclear::has_misspelled_names(canonical, facts.looked_for)
            }
            Some(canonical) => unclear::has_misspelled_names(canonical, &unclear::LOOKED_FOR),
        };
        if is_unclear {
            return Err(Unfit::UnclearBody);
        }
        self.0.read(Path::of(&self.normal_path(path)), canonical)
    }

    /// Whether a top-level member of the request's body, with this canonical value, chooses the
    /// form of the answer and nothing else, and so stays out of the key. `path` is a
    /// [normal one](Api::normal_path).
    pub fn chooses_form(self, path: &[u8], name: &str, value: &[u8]) -> bool {
        self.0.chooses_form(Path::of(path), name, value)
    }

    /// The path (with its query) as the key sees it.
    pub fn key_path(self, path: &[u8]) -> Cow<'_, [u8]> {
        let normal = self.normal_path(path);
        match self.0.key_path(Path::of(&normal)) {
            Some(key_path) => Cow::Owned(key_path),
            None => normal,
        }
    }

    /// The path (with its query) in the one spelling that stands for its equivalents. A path that
    /// only a rule assigns to this API stays as it is.
    pub fn normal_path(self, path: &[u8]) -> Cow<'_, [u8]> {
        let Path { bare, query } = Path::of(path);
        let normal = path::normal(bare);
        if *normal == *bare || !self.0.owns(&normal) {
            return Cow::Borrowed(path);
        }
        Cow::Owned([&normal, query].concat())
    }

    /// The framing of an answer with this content type to this request, if the API answers so.
    pub fn framing(self, traits: &RequestTraits, content_type: &[u8]) -> Option<Framing> {
        let media_type = http::media_type(content_type);
        let mut streams = self.0.facts().streams.iter();
        let asked = traits.form.as_ref().map(|form| form.framing);
        match streams.find(|(stream, _)| *stream == media_type) {
            Some((_, framing)) => Some(*framing),
            // Both a document and an array of them have this type.
            None if http::is_json(&media_type) => match asked {
                Some(Framing::JsonArray) => asked,
                _ => Some(Framing::Json),
            },
            // A stream of text that was asked for may come without a type, or with that of any
            // text. Its judge tells whether it is one.
            None if matches!(&*media_type, "" | "text/plain") => {
                asked.filter(|framing| matches!(framing, Framing::Sse | Framing::Ndjson))
            }
            None => None,
        }
    }

    /// A judge for an answer in this framing.
    pub fn judge(self, traits: &RequestTraits, framing: Framing) -> Box<dyn Judge> {
        self.judge_by(traits, framing, &FinishWords::default())
    }

    /// The response header in which the API's clients want an id of the exchange: without one, they
    /// fail or ignore what else the headers say.
    pub fn request_id_header(self) -> Option<&'static str> {
        self.0.facts().request_id_header
    }

    /// A judge that knows more words for how an answer ended.
    pub fn judge_by(
        self,
        traits: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        self.0.judge(traits, framing, words.clone())
    }

    /// Turns a whole answer stored in one form into the same answer in another, which is judged as
    /// an upstream's would be: what a judge let pass in one form may be odd enough to be refused in
    /// the other.
    ///
    /// # Errors
    /// If the conversion would lose or invent something.
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
        if converted.len() > memory::max_stream(answer.len(), self.0.facts().max_growth) {
            return Err(ConversionError::TooLarge);
        }
        self.judged(converted, wanted)
    }

    /// The most bytes of memory that [`Api::convert`], [`Api::zero_usage`] or one side of
    /// [`Api::agree`] holds at one time for this answer, with what it gives. It takes one pass over
    /// the answer and no memory to tell.
    pub fn conversion_bytes(self, answer: &[u8]) -> usize {
        // A vector that grows has three times its length for a moment.
        let result = memory::max_stream(answer.len(), self.0.facts().max_growth).saturating_mul(3);
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
        // The tree of the first answer is dropped before the second is parsed.
        Ok(self.said(one, one_form)? == self.said(other, other_form)?)
    }

    /// The tokens that an answer reports. `None` where it reports none.
    pub fn tokens(self, answer: &[u8], form: &Form) -> Option<Tokens> {
        tokens::reported(answer, form, self.0.facts().usage)
    }

    /// What an answer says, spelled so that equal bytes mean the same.
    fn said(self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        can_be_taken_apart(answer)?;
        let semantics = &self.0.facts().semantics;
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
        let traits = RequestTraits {
            form: Some(form.clone()),
            choices: 0,
            ..RequestTraits::unreadable()
        };
        let mut judge = self.judge_by(&traits, form.framing, &FinishWords::Any);
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
