//! What a request asks for, and what APIs share in reading it.

pub(crate) mod path;
pub(crate) mod tools;
pub(crate) mod unclear;
pub(crate) mod volatile;

use crate::json::Canonical;
use crate::llm::form::{Form, Framing};

/// What a request asks for, as far as it decides which answers fit it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestTraits {
    /// The form of the answer. `None` where the body is not plain JSON, so that it is not known:
    /// the key then covers all bytes of the body, and a stored answer fits.
    pub form: Option<Form>,
    /// How many choices, candidates or embeddings a whole answer has at least.
    pub choices: u32,
    /// The temperature that the request names.
    pub temperature: Option<f64>,
    /// The request lets the provider run tools on its side; a hit would skip what they do.
    pub server_tools: bool,
}

impl RequestTraits {
    /// What is known of a request whose body is not plain JSON.
    pub(crate) fn unreadable() -> Self {
        Self {
            form: None,
            choices: 1,
            temperature: None,
            server_tools: false,
        }
    }
}

/// Why the answer to a request must not come from a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// What chooses the form of the answer is neither absent, null nor of its type, and servers treat
    /// that differently.
    UnclearForm,
    /// The body is not plain JSON, and may ask for what must not come from a cache.
    UnclearBody,
    /// The answer is made later, in the background.
    Background,
    /// The answer depends on, or adds to, a conversation that the provider keeps.
    Conversation,
}

impl Unfit {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnclearForm => "unclear_form",
            Self::UnclearBody => "unclear_body",
            Self::Background => "background",
            Self::Conversation => "conversation",
        }
    }
}

/// No provider knows longer options for the form of an answer.
const MAX_OPTIONS_BYTES: usize = 512;

/// The form that `stream` and `stream_options` ask for in the body of an OpenAI request and its
/// like, where a stream is an event stream.
pub(crate) fn form_by_stream_member(body: &Canonical) -> Result<Form, Unfit> {
    match body.member("stream") {
        None | Some(b"null" | b"false") => Ok(Form::json()),
        Some(b"true") => match body.member("stream_options") {
            None | Some(b"null") => Ok(Form::new(Framing::Sse, b"")),
            Some(options) if options.starts_with(b"{") && options.len() <= MAX_OPTIONS_BYTES => {
                Ok(Form::new(Framing::Sse, options))
            }
            Some(_) => Err(Unfit::UnclearForm),
        },
        Some(_) => Err(Unfit::UnclearForm),
    }
}

/// Whether all servers understand this value of `stream` in the same way.
pub(crate) fn is_flag(value: &[u8]) -> bool {
    matches!(value, b"null" | b"true" | b"false")
}

/// A number that a top-level member of a request's body holds.
pub(crate) fn number_member<T: std::str::FromStr>(body: &Canonical, name: &str) -> Option<T> {
    std::str::from_utf8(body.member(name)?).ok()?.parse().ok()
}

/// Whether a top-level member of a request's body is there and says something: not null, false,
/// `[]` or `{}`.
pub(crate) fn asks_for(body: &Canonical, name: &str) -> bool {
    !matches!(
        body.member(name),
        None | Some(b"null" | b"false" | b"[]" | b"{}")
    )
}
