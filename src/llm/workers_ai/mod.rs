//! Cloudflare Workers AI by its own REST API.
//!
//! Source: developers.cloudflare.com/workers-ai and the provider in github.com/cloudflare/ai.
//! `POST /client/v4/accounts/{account}/ai/run/{model}` answers
//! `{result: {response, tool_calls?, usage}, success, errors, messages}`, and streams
//! `data: {"response":"piece","p":"padding"}`, at last with the usage, then `data: [DONE]`. Newer
//! models put a chat completion in `result` and stream its chunks as they are.
//!
//! Most models name no finish, in either form. A JSON answer ends with its last brace; a stream
//! without a finish may have been given up before `[DONE]`, so that its end is not marked.

mod join;
mod judge;
mod split;

use crate::json::Canonical;
use crate::llm::convert::{memory, usage};
use crate::llm::judge::framings::{Document, Events};
use crate::llm::request::number_member;
use crate::llm::request::path::Path;
use crate::llm::request::volatile::{CHAT_CALL_IDS, OPENAI_ATTRIBUTION};
use crate::llm::semantics::{Says, Semantics};
use crate::llm::{
    ConversionError, Facts, FinishWords, Form, Framing, Judge, ProviderApi, RequestTraits, Unfit,
    openai_chat,
};

/// `POST .../ai/run/{model}`, and the same behind Cloudflare's AI Gateway.
pub(super) struct WorkersAi;

static FACTS: Facts = Facts {
    name: "workers_ai",
    streams: Facts::SSE,
    attribution: OPENAI_ATTRIBUTION,
    call_ids: CHAT_CALL_IDS,
    looked_for: &["stream", "stream_options", "temperature"],
    usage: &["/usage", "/result/usage"],
    semantics: Semantics {
        said: &[
            ("/result/choices/*", openai_chat::CHOICE),
            (
                "/result",
                &[
                    // An object where the request names a schema.
                    Says::Value("/response"),
                    Says::Calls("/tool_calls/*", "/name", &["/arguments"]),
                    Says::Calls("/tool_calls/*", "/function/name", &["/function/arguments"]),
                    Says::Value("/finish_reason"),
                    Says::Value("/data"),
                    Says::Value("/text"),
                    Says::Value("/translated_text"),
                    Says::Value("/summary"),
                ],
            ),
        ],
        usage_event: openai_chat::USAGE_EVENT,
    },
    ..Facts::DEFAULT
};

impl ProviderApi for WorkersAi {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn owns(&self, path: &[u8]) -> bool {
        [&b"/ai/run/"[..], b"/workers-ai/@"]
            .iter()
            .any(|part| memchr::memmem::find(path, part).is_some())
    }

    fn chooses_form(&self, _path: Path<'_>, name: &str, value: &[u8]) -> bool {
        openai_chat::request::chooses_form(name, value)
    }

    fn read(&self, _path: Path<'_>, body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        Ok(RequestTraits {
            form: Some(openai_chat::request::form(body)?),
            choices: 1,
            temperature: number_member(body, "temperature"),
            server_tools: false,
        })
    }

    fn judge(
        &self,
        _traits: &RequestTraits,
        framing: Framing,
        words: FinishWords,
    ) -> Box<dyn Judge> {
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge::judge(json, &words))),
            _ => Box::new(Events::new(judge::Stream::new(words))),
        }
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        join::join(stream)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        let max_bytes = memory::max_stream(json.len(), FACTS.max_growth);
        split::split(json, wanted, max_bytes)
    }

    /// Workers AI sends its usage unasked: all of its streams are of one form.
    fn restream(
        &self,
        stream: &[u8],
        _stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        match wanted.options.is_empty() || join::has_usage(stream)? {
            true => Ok(stream.to_vec()),
            false => Err(ConversionError::NoUsage),
        }
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        if form.framing != Framing::Json {
            return openai_chat::zero_usage(answer, form);
        }
        let of_result = openai_chat::USAGES.map(|usage| format!("/result{usage}"));
        usage::zero_document(answer, &of_result.each_ref().map(String::as_str))
    }
}

#[cfg(test)]
mod tests;
