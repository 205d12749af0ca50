//! What a request for a response asks for.

use crate::json::{Canonical, Malformed, Read, Reader};
use crate::llm::openai_chat::request as chat;
use crate::llm::request::{asks_for, form_by_stream_member, number_member, tools};
use crate::llm::scan::{Text, read_members};
use crate::llm::{Form, RequestTraits, Unfit};

pub(super) fn read(body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let Some(body) = body else {
        return Ok(RequestTraits::unreadable());
    };
    if asks_for(body, "background") {
        return Err(Unfit::Background);
    }
    if asks_for(body, "conversation") {
        return Err(Unfit::Conversation);
    }
    Ok(RequestTraits {
        form: Some(form(body)?),
        choices: 1,
        temperature: number_member(body, "temperature"),
        server_tools: runs_server_tools(body),
    })
}

/// The form of a response. Padding against observers of lengths changes nothing in an answer.
fn form(body: &Canonical) -> Result<Form, Unfit> {
    let form = form_by_stream_member(body)?;
    if is_padding(&form.options) {
        return Ok(Form::new(form.framing, b""));
    }
    Ok(form)
}

/// Whether these `stream_options` speak of padding alone.
pub(super) fn is_padding(options: &[u8]) -> bool {
    matches!(
        options,
        b"{}" | br#"{"include_obfuscation":false}"# | br#"{"include_obfuscation":true}"#
    )
}

/// Tools that are not the client's to run; `tools[].type` names them. Beyond `tools`: a stored
/// `prompt` may bring tools that cannot be seen here, xAI has `search_parameters`.
fn runs_server_tools(body: &Canonical) -> bool {
    let asks = |name: &&str| asks_for(body, name);
    if ["prompt", "search_parameters"].iter().any(asks) || chat::searches(body) {
        return true;
    }
    asks_for(body, "tools") && tools::has_server_tool(body, Tool::is_client_tool)
}

#[derive(Default)]
struct Tool<'a> {
    r#type: Text<'a>,
    /// Of a namespace.
    tools: InNamespace,
}

read_members!(Tool<'a>: r#type as "type", tools);

impl Tool<'_> {
    fn is_client_tool(&self) -> bool {
        match self.r#type.is("namespace") {
            true => self.tools == InNamespace::Client,
            false => is_client_tool(&self.r#type),
        }
    }
}

/// The tools that a namespace holds, as Codex groups those of an MCP server that it calls itself.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum InNamespace {
    #[default]
    None,
    /// All are the client's.
    Client,
    Other,
}

impl<'a> Read<'a> for InNamespace {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        #[derive(Default)]
        struct Nested<'a> {
            r#type: Text<'a>,
        }

        read_members!(Nested<'a>: r#type as "type");
        // Lists of other things may be anything.
        if json.peek() != Some(b'[') {
            *self = Self::Other;
            return json.skip();
        }
        json.each_element(&mut |json| {
            let mut nested = Nested::default();
            nested.read(json)?;
            let is_client = *self != Self::Other && is_client_tool(&nested.r#type);
            *self = if is_client { Self::Client } else { Self::Other };
            Ok(())
        })
    }
}

/// Others are the provider's: web and file search, MCP and connectors, code interpreter, computer use, image generation,
/// shells, which may be containers of the provider, and new ones.
fn is_client_tool(r#type: &Text<'_>) -> bool {
    let client = [
        Some("function"),
        Some("custom"),
        Some("local_shell"),
        Some("apply_patch"),
    ];
    r#type.as_str().is_none() || client.contains(&r#type.as_str())
}
