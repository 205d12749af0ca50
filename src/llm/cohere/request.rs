//! What a request asks for.

use crate::json::Canonical;
use crate::llm::request::path::Path;
use crate::llm::request::{asks_for, number_member, tools};
use crate::llm::scan::{self, Text, read_members};
use crate::llm::{Form, Framing, RequestTraits, Unfit};

pub(super) fn read(path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let Some(body) = body else {
        return Ok(RequestTraits::unreadable());
    };
    let endpoint = Endpoint::of(path.bare).unwrap_or(Endpoint::ChatV2);
    if endpoint == Endpoint::ChatV1 && asks_for(body, "conversation_id") {
        return Err(Unfit::Conversation);
    }
    Ok(RequestTraits {
        form: Some(endpoint.form(body)?),
        choices: match endpoint {
            Endpoint::ChatV1 | Endpoint::ChatV2 => 1,
            Endpoint::Embed => inputs(body),
        },
        temperature: number_member(body, "temperature"),
        server_tools: runs_server_tools(body),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    ChatV1,
    ChatV2,
    Embed,
}

impl Endpoint {
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        [
            (Self::ChatV1, &b"/v1/chat"[..]),
            (Self::ChatV2, b"/v2/chat"),
            (Self::Embed, b"/v1/embed"),
            (Self::Embed, b"/v2/embed"),
        ]
        .into_iter()
        .find_map(|(endpoint, end)| path.ends_with(end).then_some(endpoint))
    }

    fn form(self, body: &Canonical) -> Result<Form, Unfit> {
        let stream = match self {
            Self::ChatV1 => Framing::Ndjson,
            Self::ChatV2 => Framing::Sse,
            Self::Embed => return Ok(Form::json()),
        };
        match body.member("stream") {
            None | Some(b"null" | b"false") => Ok(Form::json()),
            Some(b"true") => Ok(Form::new(stream, b"")),
            Some(_) => Err(Unfit::UnclearForm),
        }
    }
}

/// How many embeddings are asked for: of `texts`, `images` or `inputs`.
pub(in crate::llm) fn inputs(body: &Canonical) -> u32 {
    let lists = ["texts", "images", "inputs"].map(|name| scan::count_elements(body.member(name)?));
    lists
        .into_iter()
        .flatten()
        .fold(0_u32, u32::saturating_add)
        .max(1)
}

/// Version 1: `connectors`, which search on Cohere's side. Version 2 has none; what is no function
/// there is not known to be the client's.
fn runs_server_tools(body: &Canonical) -> bool {
    asks_for(body, "connectors")
        || asks_for(body, "tools") && tools::has_server_tool(body, Tool::is_client_tool)
}

#[derive(Default)]
struct Tool<'a> {
    r#type: Text<'a>,
}

read_members!(Tool<'a>: r#type as "type");

impl Tool<'_> {
    fn is_client_tool(&self) -> bool {
        matches!(self.r#type.as_str(), None | Some("function"))
    }
}
