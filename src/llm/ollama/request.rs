//! What a request asks for.

use crate::json::Canonical;
use crate::llm::request::path::Path;
use crate::llm::scan::{self, read_members};
use crate::llm::{Form, Framing, RequestTraits, Unfit, openai_embeddings};

pub(super) fn read(path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let Some(body) = body else {
        return Ok(RequestTraits::unreadable());
    };
    let endpoint = Endpoint::of(path.bare).unwrap_or(Endpoint::Generation);
    let (form, choices) = match endpoint {
        Endpoint::Generation => (form(body)?, 1),
        Endpoint::Embed => (Form::json(), inputs(body)),
        Endpoint::Embeddings => (Form::json(), openai_embeddings::request::inputs(body)),
    };
    Ok(RequestTraits {
        form: Some(form),
        choices,
        temperature: temperature(body),
        // It runs none: searching the web is a tool of the client's there.
        server_tools: false,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Generation,
    Embed,
    /// Ollama's takes one `prompt`; servers that speak OpenAI's API under `/api` (Open WebUI) take
    /// `input`, and answer in OpenAI's form.
    Embeddings,
}

impl Endpoint {
    /// By a path without its query.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        [
            (Self::Generation, &b"/api/chat"[..]),
            (Self::Generation, b"/api/generate"),
            (Self::Embed, b"/api/embed"),
            (Self::Embeddings, b"/api/embeddings"),
        ]
        .into_iter()
        .find_map(|(endpoint, end)| path.ends_with(end).then_some(endpoint))
    }
}

fn form(body: &Canonical) -> Result<Form, Unfit> {
    match body.member("stream") {
        None | Some(b"null" | b"true") => Ok(Form::new(Framing::Ndjson, b"")),
        Some(b"false") => Ok(Form::json()),
        Some(_) => Err(Unfit::UnclearForm),
    }
}

/// How many texts are to be embedded: `input` is one, or a list.
fn inputs(body: &Canonical) -> u32 {
    body.member("input")
        .and_then(scan::count_elements)
        .unwrap_or(1)
}

fn temperature(body: &Canonical) -> Option<f64> {
    #[derive(Default)]
    struct Options {
        temperature: Option<f64>,
    }

    read_members!(Options: temperature);
    let options = scan::parse_object::<Options>(body.member("options")?);
    options.ok()?.temperature
}
