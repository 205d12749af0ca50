//! What a request for `Converse` asks for.

use crate::json::{Canonical, Reader, canonicalize};
use crate::llm::request::unclear::{LOOKED_FOR, has_misspelled_names};
use crate::llm::scan::{self, Said, read_members};
use crate::llm::{Form, RequestTraits, Unfit, anthropic_messages};

/// What a request in this form asks for, by its body.
pub(in crate::llm::bedrock) fn read_body(
    body: &Canonical,
    form: Form,
) -> Result<RequestTraits, Unfit> {
    #[derive(Default)]
    struct Inference {
        temperature: Option<f64>,
    }

    read_members!(Inference: temperature);
    // What has another shape is an error for Bedrock to tell.
    let inference: Inference = body
        .member("inferenceConfig")
        .and_then(|json| scan::parse_object(json).ok())
        .unwrap_or_default();
    // The model's own parameters: Anthropic's tools and containers can be among them.
    let additional = body
        .member("additionalModelRequestFields")
        .and_then(|json| canonicalize(json, &[]).ok());
    let is_unclear = |fields: &Canonical| has_misspelled_names(fields, &LOOKED_FOR);
    if additional.as_ref().is_some_and(is_unclear) {
        return Err(Unfit::UnclearBody);
    }
    let native = match &additional {
        Some(fields) => anthropic_messages::request::read_body(fields, form.clone())?,
        None => RequestTraits::unreadable(),
    };
    Ok(RequestTraits {
        form: Some(form),
        choices: 1,
        temperature: inference.temperature.or(native.temperature),
        server_tools: native.server_tools
            || body.member("toolConfig").is_some_and(has_server_tools),
    })
}

/// Whether a `toolConfig` has a tool that Bedrock runs: a `systemTool`, or what comes next.
fn has_server_tools(config: &[u8]) -> bool {
    #[derive(Default)]
    struct Config {
        tools: Vec<Tool>,
    }

    read_members!(Config: tools);
    #[derive(Default)]
    struct Tool {
        spec: Said,
        cache_point: Said,
    }

    read_members!(Tool: spec as "toolSpec", cache_point as "cachePoint");
    // Tools of another shape may be anything.
    let mut read = Config::default();
    Reader::whole(config, &mut read).is_err()
        || (read.tools.iter()).any(|tool| !tool.spec.0 && !tool.cache_point.0)
}
