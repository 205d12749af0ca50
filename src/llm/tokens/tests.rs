//! Tests of what answers report. That each API's usage is found in every form stands in the tests of
//! semantics, which have an answer of each.

use super::*;
use crate::llm::{Api, Framing};

const SSE: Framing = Framing::Sse;

fn named(api: &str) -> Api {
    Api::from_name(api).unwrap()
}

fn tokens(api: &str, form: &Form, answer: &str) -> Option<u64> {
    named(api)
        .tokens(answer.as_bytes(), form)
        .map(Tokens::total)
}

fn of(api: &str, answer: &str) -> Option<(u64, u64, u64)> {
    let Tokens {
        input,
        cached_input,
        output,
    } = named(api).tokens(answer.as_bytes(), &Form::json())?;
    Some((input, cached_input, output))
}

#[test]
fn the_last_usage_that_is_reported_counts() {
    let sse = Form::new(SSE, b"");
    let anthropic = concat!(
        r#"data: {"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#,
        "\n\n",
        r#"data: {"type":"message_delta","usage":{"input_tokens":null,"output_tokens":20}}"#,
        "\n\n",
    );
    assert_eq!(tokens("anthropic_messages", &sse, anthropic), Some(30));
    let chat = "data: {\"usage\":{\"total_tokens\":3}}\n\ndata: {\"usage\":{\"total_tokens\":5}}\n\ndata: {\"usage\":null}\n\ndata: [DONE]\n\n";
    assert_eq!(tokens("openai_chat", &sse, chat), Some(5));
    // A stream without a JSON form still reports its usage.
    let groq = "data: {\"unknown\":[1],\"x_groq\":{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}}\n\n";
    assert_eq!(tokens("openai_chat", &sse, groq), Some(3));
}

#[test]
fn an_answer_that_reports_no_count_has_none() {
    for answer in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"usage":null}"#,
        r#"{"usage":{}}"#,
        r#"{"usage":{"total_tokens":null}}"#,
        r#"{"usage":{"total_tokens":"12"}}"#,
        r#"{"usage":{"total_tokens":-1}}"#,
        r#"{"usage":{"total_tokens":1.5}}"#,
        r#"{"usage":{"total_tokens":1e400}}"#,
    ] {
        assert_eq!(
            tokens("openai_chat", &Form::json(), answer),
            None,
            "{answer}"
        );
    }
    let huge = r#"{"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":1}}"#;
    assert_eq!(tokens("openai_chat", &Form::json(), huge), Some(u64::MAX));
}

#[test]
fn what_the_provider_had_cached_is_told_apart_from_other_input() {
    for (api, answer, expected) in [
        (
            "openai_chat",
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,
                "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":0}}}"#,
            (40, 60, 7),
        ),
        (
            "openai_responses",
            r#"{"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":60},
                "output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":107}}"#,
            (40, 60, 7),
        ),
        (
            "anthropic_messages",
            r#"{"usage":{"input_tokens":10,"cache_creation_input_tokens":30,
                "cache_read_input_tokens":60,"output_tokens":7}}"#,
            (40, 60, 7),
        ),
        (
            "gemini",
            r#"{"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,
                "candidatesTokenCount":4,"thoughtsTokenCount":3,"totalTokenCount":107}}"#,
            (40, 60, 7),
        ),
        (
            "bedrock",
            r#"{"usage":{"inputTokens":10,"cacheWriteInputTokens":30,"cacheReadInputTokens":60,
                "outputTokens":7,"totalTokens":107}}"#,
            (40, 60, 7),
        ),
        // DeepSeek.
        (
            "openai_chat",
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,
                "prompt_cache_hit_tokens":60,"prompt_cache_miss_tokens":40}}"#,
            (40, 60, 7),
        ),
        // LiteLLM, in front of Anthropic.
        (
            "openai_chat",
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,
                "prompt_tokens_details":{"cached_tokens":60},"cache_read_input_tokens":60,
                "cache_creation_input_tokens":0}}"#,
            (40, 60, 7),
        ),
        (
            "openai_chat",
            r#"{"usage":{"prompt_tokens":100,"completion_tokens":7,"cache_read_input_tokens":60}}"#,
            (40, 60, 7),
        ),
    ] {
        assert_eq!(of(api, answer), Some(expected), "{api}: {answer}");
    }
}

#[test]
fn a_total_fills_in_what_is_not_reported_beside_it() {
    for (api, answer, expected) in [
        ("json", r#"{"usage":{"total_tokens":12}}"#, (12, 0, 0)),
        (
            "openai_embeddings",
            r#"{"usage":{"prompt_tokens":12,"total_tokens":12}}"#,
            (12, 0, 0),
        ),
        (
            "gemini",
            r#"{"usageMetadata":{"promptTokenCount":5,"thoughtsTokenCount":3,"totalTokenCount":15}}"#,
            (5, 0, 10),
        ),
        // A total that is wrong takes nothing away.
        (
            "openai_chat",
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":1}}"#,
            (5, 0, 7),
        ),
        (
            "openai_chat",
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":7,
                "prompt_tokens_details":{"cached_tokens":9}}}"#,
            (0, 9, 7),
        ),
    ] {
        assert_eq!(of(api, answer), Some(expected), "{api}: {answer}");
    }
}

#[test]
fn what_cohere_bills_counts_where_it_reports_nothing_else() {
    let both = r#"{"usage":{"billed_units":{"input_tokens":1,"output_tokens":2},
        "tokens":{"input_tokens":5.0,"output_tokens":7.0},"cached_tokens":4}}"#;
    assert_eq!(of("cohere", both), Some((1, 4, 7)));
    let billed = r#"{"meta":{"billed_units":{"input_tokens":1,"output_tokens":2}}}"#;
    assert_eq!(of("cohere", billed), Some((1, 0, 2)));
}

#[test]
fn counts_elsewhere_in_an_answer_are_not_usage() {
    for answer in [
        r#"{"choices":[{"message":{"content":"x","usage":{"prompt_tokens":9}}}]}"#,
        r#"{"prompt_tokens":9,"total_tokens":9}"#,
        r#"{"usage":[{"prompt_tokens":9}]}"#,
        r#"{"usage":{"other":{"prompt_tokens":9}}}"#,
        r#"["prompt_tokens"]"#,
    ] {
        assert_eq!(of("openai_chat", answer), None, "{answer}");
    }
}

#[test]
fn depth_and_length_of_an_answer_take_no_stack() {
    let deep = format!(
        r#"{{"usage":{{"prompt_tokens":1,"x":{}1{}}}}}"#,
        "[".repeat(1 << 20),
        "]".repeat(1 << 20)
    );
    assert_eq!(of("openai_chat", &deep), Some((1, 0, 0)));
    let nested = r#"{"usage":"#.repeat(1 << 18);
    assert_eq!(of("openai_chat", &nested), None);
}
