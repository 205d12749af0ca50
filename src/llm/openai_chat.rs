//! Chat completions and their dialects.
//!
//! Source: the OpenAI API reference, "Chat" (object `chat.completion`, object
//! `chat.completion.chunk`); the dialects' deviations as recorded from them. A whole stream has a
//! `finish_reason` for every choice and ends with `data: [DONE]`. Neither alone is proof: vLLM and
//! OpenRouter send `[DONE]` after errors, and a finish may be followed by the usage.

mod content;
pub(super) mod join;
pub(super) mod split;
pub(super) mod whole;

use super::anew::{Attribution, CHAT_CALL_IDS, CallId, OPENAI_ATTRIBUTION};
use super::events;
use super::fields::{self, Said, read_members, read_word};
use super::judge::{Document, Events};
use super::semantics::{OPENAI_TOKENS, Says, Semantics};
use super::{
    ConversionError, FinishWords, Form, Framing, Judge, Protocol, RequestTraits, Unfit, memory,
    usage,
};
use super::{asks_for, form_by_stream_member, is_flag, json_or_sse, number_member};
use crate::json::{Canonical, Malformed, Read, Reader, is_misspelled, string_value};

/// `POST .../chat/completions`.
pub(super) struct OpenaiChat;

impl Protocol for OpenaiChat {
    fn name(&self) -> &'static str {
        "openai_chat"
    }

    fn owns(&self, path: &[u8]) -> bool {
        // Mistral answers on the latter two with chat completions as well.
        [
            &b"/chat/completions"[..],
            b"/fim/completions",
            b"/agents/completions",
        ]
        .iter()
        .any(|end| path.ends_with(end))
    }

    fn chooses_form(&self, _path: &[u8], name: &str, value: &[u8]) -> bool {
        chooses_form(name, value)
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn call_ids(&self) -> &'static [CallId] {
        CHAT_CALL_IDS
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
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

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type)
    }

    fn judge_by(
        &self,
        ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        judge_by(ask, framing, words)
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        events::text(&join::join(stream, Shape::Chat)?)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        let max_bytes = memory::max_stream(json.len(), self.max_growth());
        split::split(events::object(json)?, Shape::Chat, wanted, max_bytes)
    }

    /// A stream without usage serves requests that ask for none.
    fn restream(
        &self,
        stream: &[u8],
        _stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        let max_bytes = memory::max_stream(stream.len(), self.max_growth());
        let whole = join::join_any(stream, Shape::Chat)?;
        split::split(whole, Shape::Chat, wanted, max_bytes)
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        zero_usage(answer, form)
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

/// Which of the two kinds of completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `choices[].message` and `.delta`.
    Chat,
    /// `choices[].text`.
    Text,
}

impl Shape {
    /// The `object` of a whole completion.
    fn object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion",
            Self::Text => "text_completion",
        }
    }

    /// The `object` of a chunk.
    fn chunk_object(self) -> &'static str {
        match self {
            Self::Chat => "chat.completion.chunk",
            Self::Text => "text_completion",
        }
    }
}

/// What `stream_options` may hold, and nothing else.
#[derive(Default)]
struct StreamOptions {
    /// The usage comes in a chunk of its own at the end.
    include_usage: Option<bool>,
    /// vLLM: it comes with every chunk, if it comes at all.
    continuous_usage_stats: Option<bool>,
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
    fn parse(options: &[u8]) -> Option<Self> {
        let mut parsed = Self::default();
        if !options.is_empty() {
            Reader::whole(options, &mut parsed).ok()?;
        }
        Some(parsed)
    }
}

/// Whether a member chooses the form of a completion, and is known to do no more.
pub(super) fn chooses_form(name: &str, value: &[u8]) -> bool {
    match name {
        "stream" => is_flag(value),
        "stream_options" if value.starts_with(b"{") => StreamOptions::parse(value).is_some(),
        "stream_options" => value == b"null",
        _ => false,
    }
}

/// The form of a completion. Of the ways to say the same in `stream_options` it holds one, so that
/// they share a stored stream byte for byte.
pub(super) fn form(body: &Canonical) -> Result<Form, Unfit> {
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

/// A judge for completions of both kinds.
pub(super) fn judge_by(
    ask: &RequestTraits,
    framing: Framing,
    words: &FinishWords,
) -> Box<dyn Judge> {
    let choices = ask.choices;
    match framing {
        Framing::Json => {
            let words = words.clone();
            Box::new(Document(move |json: &[u8]| {
                whole::judge(json, choices, &words)
            }))
        }
        _ => {
            let expected = match ask.form {
                Some(_) => whole::Expected::Exactly(choices),
                None => whole::Expected::AtLeast(choices),
            };
            Box::new(Events::new(whole::Stream::new(expected, words)))
        }
    }
}

/// Where a completion and its chunks report usage. Groq's Compound does so per model too.
pub(super) const USAGES: [&str; 4] = [
    "/usage",
    "/usage_breakdown",
    "/x_groq/usage",
    "/x_groq/usage_breakdown",
];

/// [`Protocol::zero_usage`] for completions of both kinds.
pub(super) fn zero_usage(answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
    match form.framing {
        Framing::Json => usage::zero_document(answer, &USAGES),
        _ => usage::zero_events(answer, &USAGES),
    }
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
    match body.member("tools") {
        None | Some(b"null") => false,
        // Tools of another shape than ours may be anything.
        Some(tools) => !fields::all_objects(tools, Tool::is_the_client_s),
    }
}

/// Whether the provider searches whatever the tools are: OpenRouter's `plugins`, which it takes in
/// each of its APIs, and models that do so.
pub(super) fn searches(body: &Canonical) -> bool {
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
struct Tool {
    r#type: ToolType,
    /// Its `function` has a name.
    is_function: bool,
    /// It has other members that say something.
    has_more: bool,
}

impl Tool {
    /// Mistral's older client leaves the type of functions out. What has neither may be anything:
    /// Gemini's search, say.
    fn is_the_client_s(&self) -> bool {
        match self.r#type {
            ToolType::Client => true,
            ToolType::None => self.is_function && !self.has_more,
            ToolType::Other => false,
        }
    }
}

impl<'a> Read<'a> for Tool {
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

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ToolType {
    #[default]
    None,
    Client,
    Other,
}

read_word!(ToolType, ToolType::None, |word| match word {
    "function" | "custom" => ToolType::Client,
    _ => ToolType::Other,
});

/// What a choice of a chat completion says.
pub(super) const CHOICE: &[Says] = &[
    // Mistral has a list where the model reasons.
    Says::Text(&["/message/content", "/message/content/*/text"]),
    Says::Text(&["/message/refusal"]),
    Says::Text(&["/message/audio/transcript"]),
    Says::Calls(
        "/message/tool_calls/*",
        "/function/name",
        &["/function/arguments"],
    ),
    Says::Calls("/message/tool_calls/*", "/custom/name", &["/custom/input"]),
    Says::Calls("/message/function_call", "/name", &["/arguments"]),
    Says::Value("/message/images/*/image_url/url"),
    Says::Value("/finish_reason"),
];

/// Before a stream whose request did not ask for usage.
pub(super) const USAGE_EVENT: Option<&[u8]> = Some(b"data: {\"usage\":{\"total_tokens\":0}}\n\n");

static SEMANTICS: Semantics = Semantics {
    said: &[("/choices/*", CHOICE)],
    usage: &["/usage", "/x_groq/usage"],
    tokens: OPENAI_TOKENS,
    usage_event: USAGE_EVENT,
};

#[cfg(test)]
mod convert_tests;
#[cfg(test)]
mod tests;
