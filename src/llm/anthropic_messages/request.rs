//! What a request for a message asks for.

use crate::json::Canonical;
use crate::llm::openai_chat::request as chat;
use crate::llm::request::path::{Path, last_segment};
use crate::llm::request::{asks_for, number_member, tools};
use crate::llm::scan::{Said, Text, read_members};
use crate::llm::{Form, Framing, RequestTraits, Unfit};

pub(super) fn read(path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let verb = Verb::of(path.bare);
    let Some(body) = body else {
        // The path in the key does not tell the verb.
        return Ok(RequestTraits {
            form: verb.map(Verb::form),
            ..RequestTraits::unreadable()
        });
    };
    let form = match (verb, body.member("stream")) {
        (None | Some(Verb::Json), None | Some(b"null" | b"false")) => Form::json(),
        (None | Some(Verb::Stream), Some(b"true")) => Form::new(Framing::Sse, b""),
        // The verb is for Google, the member for the model: they may say it once.
        (Some(Verb::Stream), None | Some(b"null")) => Verb::Stream.form(),
        _ => return Err(Unfit::UnclearForm),
    };
    read_body(body, form)
}

/// Vertex AI's, behind the model in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Json,
    Stream,
}

impl Verb {
    /// The verb of a path without its query, if it asks one of Anthropic's models for a message.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        let (verb, before) = [Self::Json, Self::Stream]
            .into_iter()
            .find_map(|verb| Some((verb, path.strip_suffix(verb.suffix())?)))?;
        let model = last_segment(before);
        let is_anthropic = before
            .strip_suffix(model)?
            .ends_with(b"/publishers/anthropic/models/");
        // Counting tokens is a model there.
        (is_anthropic && !model.is_empty() && model != b"count-tokens").then_some(verb)
    }

    pub(super) fn suffix(self) -> &'static [u8] {
        match self {
            Self::Json => b":rawPredict",
            Self::Stream => b":streamRawPredict",
        }
    }

    fn form(self) -> Form {
        match self {
            Self::Json => Form::json(),
            Self::Stream => Form::new(Framing::Sse, b""),
        }
    }
}

/// What a request in this form asks for, by its body; Bedrock takes the same bodies.
pub(in crate::llm) fn read_body(body: &Canonical, form: Form) -> Result<RequestTraits, Unfit> {
    // A container keeps files and processes from one request to the next.
    if asks_for(body, "container") {
        return Err(Unfit::Conversation);
    }
    Ok(RequestTraits {
        form: Some(form),
        choices: 1,
        temperature: number_member(body, "temperature"),
        server_tools: asks_for(body, "mcp_servers")
            || chat::searches(body)
            || tools::has_server_tool(body, Tool::is_client_tool),
    })
}

/// The client runs its own tools, which have a name, and those of Anthropic's that act on the client's
/// machine (the reference, "Tool use"); web search, web fetch, code execution, tool search, MCP and
/// new tools run on the server.
#[derive(Default)]
struct Tool<'a> {
    r#type: Text<'a>,
    name: Said,
}

read_members!(Tool<'a>: r#type as "type", name);

impl Tool<'_> {
    fn is_client_tool(&self) -> bool {
        let acts_on_the_client = |word: &str| {
            CLIENT_TOOL_PREFIXES
                .iter()
                .any(|name| word.starts_with(name))
        };
        let word = self.r#type.as_str();
        self.name.0 && word.is_none_or(|word| word == "custom" || acts_on_the_client(word))
    }
}

/// Each with a date after it.
const CLIENT_TOOL_PREFIXES: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
