//! What a request for a completion asks for.

use crate::json::{Canonical, Malformed, Read, Reader, is_misspelled, string_value};
use crate::llm::request::{asks_for, form_by_stream_member, is_flag, number_member, tools};
use crate::llm::scan::{Said, Text, read_members};
use crate::llm::{Form, RequestTraits, Unfit};

pub(super) fn read(body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let Some(body) = body else {
        return Ok(RequestTraits::unreadable());
    };
    // xAI answers with an id, to ask again with.
    if asks_for(body, "deferred") {
        return Err(Unfit::Background);
    }
    Ok(RequestTraits {
        form: Some(form(body)?),
        choices: number_member(body, "n").unwrap_or(1),
        temperature: number_member(body, "temperature"),
        server_tools: runs_server_tools(body),
    })
}

/// What `stream_options` may hold, and nothing else.
#[derive(Default)]
pub(super) struct StreamOptions {
    /// The usage comes in a chunk of its own at the end.
    pub(super) include_usage: Option<bool>,
    /// vLLM: it comes with every chunk, if it comes at all.
    pub(super) continuous_usage_stats: Option<bool>,
}

impl<'a> Read<'a> for StreamOptions {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        json.each_member(&mut |name, json| match name {
            "include_usage" => self.include_usage.read(json),
            "continuous_usage_stats" => self.continuous_usage_stats.read(json),
            // Padding, which says nothing.
            "include_obfuscation" => Option::<bool>::None.read(json),
            _ => Err(Malformed),
        })
    }
}

impl StreamOptions {
    pub(super) fn parse(options: &[u8]) -> Option<Self> {
        let mut parsed = Self::default();
        if !options.is_empty() {
            Reader::whole(options, &mut parsed).ok()?;
        }
        Some(parsed)
    }
}

/// Whether a member chooses the form of a completion, and is known to do no more.
pub(in crate::llm) fn chooses_form(name: &str, value: &[u8]) -> bool {
    match name {
        "stream" => is_flag(value),
        "stream_options" if value.starts_with(b"{") => StreamOptions::parse(value).is_some(),
        "stream_options" => value == b"null",
        _ => false,
    }
}

/// The form of a completion. Of the ways to say the same in `stream_options` it holds one, so that
/// they share a stored stream byte for byte.
pub(in crate::llm) fn form(body: &Canonical) -> Result<Form, Unfit> {
    let form = form_by_stream_member(body)?;
    let Some(options) = StreamOptions::parse(&form.options) else {
        return Ok(form);
    };
    let usage = options.include_usage == Some(true);
    let options: &[u8] = match options.continuous_usage_stats {
        Some(true) if usage => br#"{"continuous_usage_stats":true,"include_usage":true}"#,
        _ if usage => br#"{"include_usage":true}"#,
        _ => b"",
    };
    Ok(Form::new(form.framing, options))
}

/// Members with which a request asks its provider to search or to run something.
const SERVER_TOOL_MEMBERS: [&str; 5] = [
    // xAI.
    "search_parameters",
    // Qwen.
    "enable_search",
    // Azure OpenAI On Your Data, and its older spelling.
    "data_sources",
    "dataSources",
    // Groq's Compound.
    "compound_custom",
];

/// OpenAI: `web_search_options`, and tools that are neither the client's functions nor its custom
/// tools. Providers name their own in `tools[].type`, and some models search whenever they answer.
fn runs_server_tools(body: &Canonical) -> bool {
    // An empty object asks for a web search as well.
    if !matches!(body.member("web_search_options"), None | Some(b"null")) {
        return true;
    }
    if SERVER_TOOL_MEMBERS.iter().any(|name| asks_for(body, name)) || searches(body) {
        return true;
    }
    tools::has_server_tool(body, Tool::is_client_tool)
}

/// Whether the provider searches although no tool says so: OpenRouter's `plugins`, which it takes in
/// each of its APIs, and models that do so.
pub(in crate::llm) fn searches(body: &Canonical) -> bool {
    let model = body.member("model").and_then(string_value);
    asks_for(body, "plugins") || model.is_some_and(|model| is_searching_model(&model))
}

/// Perplexity's Sonar, Groq's Compound, OpenAI's search models, and OpenRouter's `:online`.
fn is_searching_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name == "sonar"
        || name.starts_with("sonar-")
        || name == "compound"
        || name.starts_with("compound-")
        || name.contains("-search-preview")
        || name.contains("-search-api")
        || name.ends_with(":online")
}

/// A tool of a request.
#[derive(Default)]
struct Tool<'a> {
    r#type: Text<'a>,
    /// Its `function` has a name.
    is_function: bool,
    /// It has other members that say something.
    has_more: bool,
}

impl Tool<'_> {
    /// Mistral's older client leaves the type of functions out. What has neither may be anything:
    /// Gemini's search, say.
    fn is_client_tool(&self) -> bool {
        match self.r#type.as_str() {
            Some("function" | "custom") => true,
            None => self.is_function && !self.has_more,
            Some(_) => false,
        }
    }
}

impl<'a> Read<'a> for Tool<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        #[derive(Default)]
        struct Function {
            name: Said,
        }

        read_members!(Function: name);
        json.each_member(&mut |name, json| match name {
            "type" => self.r#type.read(json),
            "function" => {
                let mut function = Function::default();
                function.read(json)?;
                self.is_function = function.name.0;
                Ok(())
            }
            _ if is_misspelled(name, "type") => Err(Malformed),
            _ => {
                let mut said = Said::default();
                said.read(json)?;
                self.has_more |= said.0;
                Ok(())
            }
        })
    }
}
