//! Answers recorded from providers, each against itself in all its forms and against all others.

use envoy_llm_cache::llm::{Api, ConversionError, Form, Framing, Tokens};
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
    fn agree(&self, other: &Self) -> Result<bool, ConversionError> {
        self.api
            .agree(&self.answer, &self.form, &other.answer, &other.form)
    }
}

pub(crate) fn api(folder: &str, file: &str) -> Option<Api> {
    let name = match folder {
        "derived" => return api(file.split('_').next()?, ""),
        _ if folder.ends_with("-completions") => "openai_completions",
        "anthropic" | "anthropic-messages" => "anthropic_messages",
        "workers-ai" => "workers_ai",
        _ if folder.starts_with("bedrock-mantle") => "openai_responses",
        _ if folder.starts_with("bedrock") => "bedrock",
        _ if folder.starts_with("cohere") => "cohere",
        _ if folder.starts_with("gemini") => "gemini",
        "ollama" | "ollama-chat" | "ollama-generate" | "ollama-embeddings" => "ollama",
        _ if folder.ends_with("-embeddings") => "openai_embeddings",
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
        let is_odd = [
            // An array of JSON with numbers for words, which the index calls an event stream.
            "gemini/testgoogleaitoolcallresponse_1.sse",
            // No judge lets a byte order mark pass.
            "derived/openai_bom.sse",
        ]
        .contains(&recorded.path.as_str());
        let api = api(folder, file).filter(|_| is_whole && !is_odd)?;
        let framing = match recorded.extension() {
            "sse" => Framing::Sse,
            "ndjson" => Framing::Ndjson,
            "bin" => Framing::EventStream,
            _ if file.starts_with("gemini_array_") => Framing::JsonArray,
            _ => Framing::Json,
        };
        let options: &[u8] = match folder {
            "bedrock-invoke" | "bedrock-invoke-stream" => b"invoke",
            _ => b"",
        };
        Some(Recording {
            api,
            form: Form::new(framing, options),
            answer: recorded.body(),
            path: recorded.path,
        })
    };
    recorded().filter_map(recording).collect()
}

/// Those that have no JSON form to compare, and why.
const INCOMPARABLE: [(&str, ConversionError); 5] = [
    // A second message begins in the first.
    (
        "anthropic-messages/vercel_spliced_message_start.sse",
        ConversionError::Malformed,
    ),
    // Titan's, whose streams have no JSON form here.
    (
        "bedrock-invoke-stream/guardrail_invoke_stream.bin",
        ConversionError::Unsupported,
    ),
    // The index goes by the finish alone: these are cut.
    (
        "derived/anthropic_missing_message_stop.sse",
        ConversionError::Malformed,
    ),
    // Arguments in pieces that name their places.
    (
        "gemini/vercel_google_stream_no_args_tool_call.sse",
        ConversionError::Content,
    ),
    // Tool calls, of which a JSON answer of such a model is not known.
    ("workers-ai/native_tool_call.sse", ConversionError::Content),
];

/// Those that say the same, some of them by chance. All others disagree.
const SAME: [&[&str]; 18] = [
    &[
        "vercel-gateway-chat/thinking.json",
        "vercel-gateway-chat/thinking_streaming.sse",
    ],
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
        "derived/openai_cr_only.sse",
        "derived/openai_crlf.sse",
        "derived/openai_done_without_blank_line.sse",
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
    // Reasoning until the limit, and nothing else.
    &[
        "deepseek-chat/blocking_low_length_top_two.json",
        "deepseek-chat/streaming_low_length_top_absent.sse",
        "deepseek-chat/streaming_low_length_top_two.sse",
        "mistralrs-chat/raw_chat_completion_surfaces_reasoning_or_text.json",
        "openai-chat/chat_streaming_detailed_usage.sse",
        "venice-chat/streaming_probe.sse",
    ],
    // Nothing at all.
    &[
        "doubleword-chat/stop_sequence_from_additional_params.json",
        "venice-chat/agent_loop_1.json",
    ],
    &[
        "google-compat-chat/test_openai_chat_model_gemini_complete_return_true_output_ty.sse",
        "ollama-compat-chat/test_openai_chat_model_acomplete_ollama_return_true_output_t.sse",
    ],
    &[
        "llama-api-chat/chat_function_calling_ollama_cloud_gpt_oss_120b_can_use_tool_2.sse",
        "openai-compat-chat/chat_function_calling_ollama_qwen3_can_use_tools_in_multi_tu_2.json",
        "openai-compat-chat/chat_function_calling_ollama_qwen3_can_use_tools_with_multi__2.sse",
    ],
    &[
        "mantle-responses/providers_bedrock_mantle_responses_chat_chats_through_the_re.json",
        "mantle-responses/test_reused_tool_call_ids_gpt_5_5_3.json",
        "openrouter-responses/openrouter_responses_prompt_cache_e2e_1.json",
    ],
    &[
        "mantle-responses/test_reused_tool_call_ids_request_2.json",
        "mantle-responses/test_reused_tool_call_ids_stream_2.sse",
    ],
    &[
        "mistral-chat/blocking_ministral_3b_low_agent.json",
        "mistral-chat/blocking_mistral_small_low_agent.json",
        "mistral-chat/streaming_ministral_3b_low_agent.sse",
    ],
    &[
        "openrouter-responses/openai_responses_raw_cot_stream_openrouter.sse",
        "openrouter-responses/test_reasoning_1.sse",
    ],
    &[
        "vllm-chat/chat_async_context_propagation.json",
        "vllm-chat/test_chat_async_context_propagation.json",
    ],
];

fn are_the_same(one: &str, other: &str) -> bool {
    one == other
        || SAME
            .iter()
            .any(|group| group.contains(&one) && group.contains(&other))
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn recorded_answers_agree_where_they_say_the_same() {
    let answers = whole_answers();
    let mut wrong = Vec::new();
    for one in &answers {
        let incomparable = INCOMPARABLE.iter().find(|(path, _)| *path == one.path);
        for other in answers.iter().filter(|other| other.api == one.api) {
            let lossy = incomparable.or(INCOMPARABLE.iter().find(|(path, _)| *path == other.path));
            let expected = match lossy {
                Some((_, lossy)) => Err(*lossy),
                None => Ok(are_the_same(&one.path, &other.path)),
            };
            let agreed = one.agree(other);
            if agreed != expected && one.path <= other.path {
                wrong.push(format!("{} {}: {agreed:?}", one.path, other.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn a_recorded_answer_agrees_with_what_it_converts_to() {
    for one in whole_answers() {
        for framing in Framing::ALL {
            let form = Form::new(framing, &one.form.options);
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
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn a_recorded_answer_reports_tokens_where_it_names_a_count() {
    for one in whole_answers() {
        let tokens = one.api.tokens(&one.answer, &one.form);
        let names = [
            "total_tokens",
            "put_tokens",
            "otalTokenCount",
            "TextTokenCount",
            "eval_count",
        ];
        let finds = |name: &&str| memmem::find(&one.answer, name.as_bytes()).is_some();
        // Some name it in camel case, and some in base64.
        let bedrock = ["bedrock-converse-stream/", "bedrock-invoke-stream/"];
        let expected = names.iter().any(finds) || bedrock.iter().any(|b| one.path.starts_with(b));
        assert_eq!(tokens.is_some(), expected, "{}", one.path);
        let zeroed = one.api.zero_usage(&one.answer, &one.form);
        let zeroed = zeroed
            .ok()
            .and_then(|zeroed| one.api.tokens(&zeroed, &one.form));
        let nothing = Tokens::default();
        assert_eq!(zeroed, tokens.map(|_| nothing), "{}", one.path);
    }
}
