//! Answers recorded from providers, each against itself in all its forms and against all others.

use envoy_llm_cache::llm::{Api, Form, Framing, Lossy};
use memchr::memmem;

use crate::index::{Recorded, recorded};

/// A whole answer.
struct Recording {
    path: String,
    api: Api,
    form: Form,
    answer: Vec<u8>,
}

impl Recording {
    fn agree(&self, other: &Self) -> Result<bool, Lossy> {
        self.api
            .agree(&self.answer, &self.form, &other.answer, &other.form)
    }
}

pub(crate) fn api(folder: &str, file: &str) -> Option<Api> {
    let name = match folder {
        "derived" => return api(file.split('_').next()?, ""),
        "openai-completions" | "vllm-completions" => "openai_completions",
        "openai-embeddings" => "openai_embeddings",
        "anthropic" | "anthropic-messages" => "anthropic_messages",
        "workers-ai" => "workers_ai",
        _ if folder.starts_with("bedrock-mantle") => "openai_responses",
        _ if folder.starts_with("bedrock") => "bedrock",
        _ if folder.starts_with("cohere") => "cohere",
        _ if folder.starts_with("gemini") => "gemini",
        "ollama" | "ollama-chat" | "ollama-generate" => "ollama",
        _ if folder.ends_with("-responses") => "openai_responses",
        "openai" | "vllm" => "openai_chat",
        _ if folder.ends_with("-chat") => "openai_chat",
        _ => return None,
    };
    Api::from_name(name)
}

fn whole_answers() -> Vec<Recording> {
    let recording = |recorded: Recorded| {
        let (folder, file) = (recorded.folder.as_str(), recorded.file());
        let is_whole = recorded.status.starts_with("complete");
        let api = api(folder, file).filter(|_| is_whole)?;
        let framing = match recorded.extension() {
            "sse" => Framing::Sse,
            "ndjson" => Framing::Ndjson,
            "bin" => Framing::EventStream,
            _ if file.starts_with("gemini_array_") => Framing::JsonArray,
            _ => Framing::Json,
        };
        let options: &[u8] = match folder {
            "bedrock-invoke-stream" => b"invoke",
            _ => b"",
        };
        Some(Recording {
            api,
            form: Form::stream(framing, options),
            answer: recorded.body(),
            path: recorded.path,
        })
    };
    recorded().filter_map(recording).collect()
}

/// Those that have no JSON form to compare, and why.
const INCOMPARABLE: [(&str, Lossy); 6] = [
    // A second message begins in the first.
    (
        "anthropic-messages/vercel_spliced_message_start.sse",
        Lossy::Malformed,
    ),
    // Of a model whose answers are not known.
    (
        "bedrock-invoke-stream/guardrail_invoke_stream.bin",
        Lossy::Malformed,
    ),
    // The index goes by the finish alone: these are cut.
    (
        "derived/anthropic_missing_message_stop.sse",
        Lossy::Malformed,
    ),
    (
        "derived/openai_done_without_blank_line.sse",
        Lossy::Malformed,
    ),
    // Arguments in pieces that name their places.
    (
        "gemini/vercel_google_stream_no_args_tool_call.sse",
        Lossy::Content,
    ),
    // Tool calls, of which a JSON answer of such a model is not known.
    ("workers-ai/native_tool_call.sse", Lossy::Content),
];

/// Those that say the same, some of them by chance. All others disagree.
const SAME: [&[&str]; 8] = [
    &[
        "anthropic-messages/vercel_anthropic_refusal.json",
        "anthropic-messages/vercel_anthropic_refusal.sse",
    ],
    &[
        "deepseek-chat/vercel_deepseek_tool_call.json",
        "mistral-chat/vercel_mistral_tool_call.sse",
    ],
    &[
        "derived/gemini_array_code_execution_stream.json",
        "gemini/code_execution_stream.sse",
    ],
    &[
        "derived/gemini_array_google_model_stream.json",
        "gemini/google_model_stream.sse",
        "gemini/multiple_agent_tool_calls_1.json",
    ],
    &[
        "derived/openai_bom.sse",
        "derived/openai_cr_only.sse",
        "derived/openai_crlf.sse",
        "derived/openai_missing_done_after_finish.sse",
        "openai-chat/chat_streaming.sse",
    ],
    // `2 + 2 = 4`, with different reasoning.
    &[
        "mistral-chat/vercel_mistral_reasoning.json",
        "openrouter-chat/openrouter_streaming_reasoning.sse",
        "zai-chat/zai_reasoning_effort.json",
    ],
    &[
        "openai-chat/tools_streaming_variant_a_1.sse",
        "openai-chat/tools_streaming_variant_d_1.sse",
    ],
    &[
        "openai-responses/vercel_openai_custom_tool_1.json",
        "openai-responses/vercel_openai_custom_tool_1.sse",
    ],
];

fn are_the_same(one: &str, other: &str) -> bool {
    one == other
        || SAME
            .iter()
            .any(|group| group.contains(&one) && group.contains(&other))
}

#[test]
fn recorded_answers_agree_where_they_say_the_same() {
    let answers = whole_answers();
    for one in &answers {
        let incomparable = INCOMPARABLE.iter().find(|(path, _)| *path == one.path);
        for other in answers.iter().filter(|other| other.api == one.api) {
            let lossy = incomparable.or(INCOMPARABLE.iter().find(|(path, _)| *path == other.path));
            let expected = match lossy {
                Some((_, lossy)) => Err(*lossy),
                None => Ok(are_the_same(&one.path, &other.path)),
            };
            assert_eq!(one.agree(other), expected, "{} {}", one.path, other.path);
        }
    }
}

#[test]
fn a_recorded_answer_agrees_with_what_it_converts_to() {
    for one in whole_answers() {
        for framing in Framing::ALL {
            let form = Form::stream(framing, &one.form.options);
            let Ok(answer) = one.api.convert(&one.answer, &one.form, &form) else {
                continue;
            };
            // What has no JSON form may have several forms of streams that are one.
            if answer == one.answer {
                continue;
            }
            let agreed = one.api.agree(&one.answer, &one.form, &answer, &form);
            assert_eq!(agreed, Ok(true), "{} {form:?}", one.path);
        }
    }
}

#[test]
fn a_recorded_answer_reports_tokens_where_it_names_a_count() {
    for one in whole_answers() {
        let tokens = one.api.tokens(&one.answer, &one.form);
        let names = ["total_tokens", "put_tokens", "otalTokenCount", "eval_count"];
        let finds = |name: &&str| memmem::find(&one.answer, name.as_bytes()).is_some();
        let expected = names.iter().any(finds) || one.path.starts_with("bedrock-converse-stream/");
        assert_eq!(tokens.is_some(), expected, "{}", one.path);
        let zeroed = one.api.zero_usage(&one.answer, &one.form);
        let zeroed = zeroed
            .ok()
            .and_then(|zeroed| one.api.tokens(&zeroed, &one.form));
        assert_eq!(zeroed, tokens.map(|_| 0), "{}", one.path);
    }
}
