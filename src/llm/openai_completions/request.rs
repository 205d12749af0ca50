//! What a request for a text completion asks for.

use crate::json::Canonical;
use crate::llm::openai_chat::request as chat;
use crate::llm::request::number_member;
use crate::llm::scan::count_elements;
use crate::llm::{RequestTraits, Unfit};

pub(super) fn read(body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
    let Some(body) = body else {
        return Ok(RequestTraits::unreadable());
    };
    let per_prompt: u32 = number_member(body, "n").unwrap_or(1);
    Ok(RequestTraits {
        form: Some(chat::form(body)?),
        choices: per_prompt.saturating_mul(prompts(body)),
        temperature: number_member(body, "temperature"),
        server_tools: chat::searches(body),
    })
}

/// How many prompts there are: `prompt` is a string, its tokens as numbers, or a list of either.
fn prompts(body: &Canonical) -> u32 {
    let is_list = body
        .member("prompt")
        .is_some_and(|prompt| prompt.starts_with(b"[\"") || prompt.starts_with(b"[["));
    if !is_list {
        return 1;
    }
    body.member("prompt")
        .and_then(count_elements)
        .unwrap_or(u32::MAX)
}
