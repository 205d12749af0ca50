//! What a request for `InvokeModel` asks for.

use super::super::converse;
use crate::json::Canonical;
use crate::llm::request::number_member;
use crate::llm::scan::{self, read_members};
use crate::llm::{Form, RequestTraits, Unfit, anthropic_messages, cohere};

/// What a request in this form asks for, by its body, for the models of every vendor.
pub(in crate::llm::bedrock) fn read_body(
    body: &Canonical,
    form: Form,
) -> Result<RequestTraits, Unfit> {
    #[derive(Default)]
    struct Generation {
        temperature: Option<f64>,
    }

    read_members!(Generation: temperature);
    let of_titan = || {
        let config = body.member("textGenerationConfig")?;
        scan::parse_object::<Generation>(config).ok()?.temperature
    };
    // Neither's members mean anything else to the other.
    let anthropic = anthropic_messages::request::read_body(body, form.clone())?;
    let nova = converse::request::read_body(body, form)?;
    Ok(RequestTraits {
        choices: cohere::request::inputs(body)
            .max(number_member(body, "num_generations").unwrap_or(1)),
        temperature: (anthropic.temperature)
            .or(nova.temperature)
            .or_else(of_titan),
        server_tools: anthropic.server_tools || nova.server_tools,
        ..anthropic
    })
}
