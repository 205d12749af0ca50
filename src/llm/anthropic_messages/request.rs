//! What a request for a message asks for.

use crate::json::Canonical;
use crate::llm::request::path::{Path, last_segment};
use crate::llm::request::{asks_for, number_member};
use crate::llm::scan::{self, Said, read_members, read_word};
use crate::llm::{Form, Framing, RequestTraits, Unfit};

use crate::llm::openai_chat::request as chat;

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
            || body.member("tools").is_some_and(has_server_tools),
    })
}

/// Whether a list of tools, as JSON, has one that Anthropic runs. The client runs its own tools and
/// those of Anthropic's that act on the client's machine (the reference, "Tool use"); web search,
/// web fetch, code execution, tool search, MCP and whatever comes next run on the server.
pub(in crate::llm) fn has_server_tools(tools: &[u8]) -> bool {
    #[derive(Default)]
    struct Tool {
        r#type: ToolType,
        name: Said,
    }

    read_members!(Tool: r#type as "type", name);
    if tools == b"null" {
        return false;
    }
    // Tools of another shape than the client's, which have a name, may be anything.
    !scan::all_objects(tools, |tool: &Tool| {
        tool.r#type == ToolType::Client && tool.name.0
    })
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolType {
    #[default]
    Client,
    Server,
}

read_word!(ToolType, ToolType::Client, |word| match word {
    "custom" => ToolType::Client,
    _ if OF_THE_CLIENT.iter().any(|name| word.starts_with(name)) => ToolType::Client,
    _ => ToolType::Server,
});

/// Each with a date after it.
const OF_THE_CLIENT: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
