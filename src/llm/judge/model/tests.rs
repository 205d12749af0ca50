use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;
use crate::eventstream;

#[test]
fn a_version_of_a_model_is_the_same_model() {
    for (asked, answered) in [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o", "GPT-4o-2024-08-06"),
        ("openai/gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4", "gpt-4-0613"),
        ("gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        (
            "gemini-2.5-flash-preview",
            "gemini-2.5-flash-preview-09-2025",
        ),
        ("claude-sonnet-4", "claude-sonnet-4-20250514"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4-20250514"),
        (
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "claude-sonnet-4-20250514",
        ),
        ("anthropic.claude-v2:1", "anthropic.claude-v2:1"),
        (
            "meta.llama3-8b-instruct-v1:0",
            "eu.meta.llama3-8b-instruct-v1:0",
        ),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("mistral-large", "mistral-large-latest"),
        ("llama3", "llama3:latest"),
        ("llama3:latest", "llama3"),
        (
            "amazon.titan-text-express-v1",
            "amazon.titan-text-express-v1:0",
        ),
        ("@cf/meta/llama-3.1-8b-instruct", "llama-3.1-8b-instruct"),
    ] {
        assert!(is_same(asked, answered), "{asked} {answered}");
    }
}

#[test]
fn another_model_is_not_a_version() {
    for (asked, answered) in [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o", "gpt-4"),
        ("gpt-4", "gpt-4o"),
        ("gpt-4", "gpt-4.1"),
        ("gpt-4", "gpt-4-32k"),
        ("gpt-4", "gpt-4-"),
        ("gpt-4", "gpt-4:"),
        ("llama3", "llama3:8b"),
        ("llama3", "llama3:70b"),
        ("llama3:latest", "llama3:70b"),
        ("llama3", "llama3:70"),
        ("openai/gpt-4o", "openai/gpt-4o:free"),
        ("gpt-4o-2024-08-06", "gpt-4o-2024-05-13"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-sonnet-4", "claude-sonnet-4-5"),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929"),
        ("m", "m-2024-08-06-1"),
        ("m", "m-2024-8-6"),
        ("m", "m-12"),
        ("m", "m-123456789"),
        ("m", "m-1234-56-7x"),
        ("llama3:8b", "llama3:70b"),
        ("anthropic.claude-v2:1", "anthropic.claude-v1:3"),
        ("a.gguf", "b.gguf"),
        ("a/", "b"),
        ("", "-123"),
        ("-latest", "m"),
    ] {
        assert!(!is_same(asked, answered), "{asked} {answered}");
    }
}

#[test]
fn a_request_names_its_model_in_the_body_or_in_the_path() {
    let asked = |path: &str, body: &str| {
        let body = json::canonicalize(body.as_bytes(), &[]).ok();
        asked_model(path.as_bytes(), body.as_ref()).map(String::from)
    };
    let chat = "/v1/chat/completions?a=/model/b/c";
    assert_eq!(asked(chat, r#"{"model":"\u006d"}"#).as_deref(), Some("m"));
    for nameless in [
        "{}",
        "[]",
        r#"{"model":""}"#,
        r#"{"model":null}"#,
        r#"{"model":7}"#,
    ] {
        assert_eq!(asked(chat, nameless), None, "{nameless}");
    }
    for (path, model) in [
        (
            "/v1beta/models/gemini-2.5-pro:generateContent?key=k",
            Some("gemini-2.5-pro"),
        ),
        (
            "/p/publishers/anthropic/models/claude-3%4020240307:rawPredict",
            Some("claude-3@20240307"),
        ),
        (
            "/model/anthropic.claude-v2%3A1/invoke",
            Some("anthropic.claude-v2:1"),
        ),
        (
            "/model/anthropic.claude-v2:1/converse",
            Some("anthropic.claude-v2:1"),
        ),
        ("/model/a%zz/invoke", Some("")),
        ("/models/chat/completions", None),
        ("/v1/models", None),
    ] {
        assert_eq!(asked(path, "{}").as_deref(), model, "{path}");
    }
    assert_eq!(
        asked("/model/a/invoke", r#"{"model":"b"}"#).as_deref(),
        Some("b")
    );
    // What cannot be told is no answer's name.
    for unclear in [r#"{"model":"a","model":"b"}"#, "{", r#"{"model":"\ud800"}"#] {
        assert_eq!(asked(chat, unclear).as_deref(), Some(""), "{unclear}");
    }
    let long = format!(r#"{{"model":"{}"}}"#, "ü".repeat(1_000));
    assert_eq!(asked(chat, &long).map(|name| name.len()), Some(256));
}

#[test]
fn an_answer_names_its_model_wherever_its_api_does() {
    for (document, is_other) in [
        (r#"{"model":"m"}"#, false),
        (r#"{"model":"n"}"#, true),
        (r#"{"modelVersion":"n"}"#, true),
        (r#"{"message":{"model":"n"}}"#, true),
        (r#"{"response":{"model":"n"}}"#, true),
        (r#"{"response":{"modelVersion":"n"}}"#, true),
        (r#"{"message":{},"response":{"model":"n"}}"#, true),
        (r#"{"message":"text","model":"n"}"#, true),
        (r#"{"model":"m","model":"n"}"#, true),
        (r#"{"model":"m","message":{"model":"n"}}"#, true),
        (r#"{"model":""}"#, false),
        (r#"{"model":null,"message":"n","response":["n"]}"#, false),
        (r#"{"choices":[{"model":"n"}]}"#, false),
        (r#"[{"model":"n"}]"#, false),
        ("[DONE]", false),
    ] {
        let answer = document.as_bytes();
        assert_eq!(
            names_another_model("m", answer, Framing::Json),
            is_other,
            "{document}"
        );
    }
}

#[test]
fn every_document_of_a_stream_is_looked_at() {
    for other in ["m", "n"] {
        let (one, two) = (r#"{"model":"m"}"#, format!(r#"{{"model":"{other}"}}"#));
        let chunk = |json: &str| format!(r#"{{"bytes":"{}"}}"#, BASE64.encode(json));
        let mut messages = Vec::new();
        for payload in [chunk(one), chunk(&two)] {
            eventstream::encode(&mut messages, &[], payload.as_bytes()).unwrap();
        }
        for (framing, answer) in [
            (
                Framing::Sse,
                format!("data: {one}\n\ndata: {two}\n\ndata: [DONE]\n\n").into_bytes(),
            ),
            (Framing::Ndjson, format!("{one}\n{two}\n").into_bytes()),
            (Framing::JsonArray, format!("[{one},{two}]").into_bytes()),
            (Framing::EventStream, messages),
        ] {
            let is_other = names_another_model("m", &answer, framing);
            assert_eq!(is_other, other == "n", "{framing:?}");
        }
    }
    for cut in [Framing::JsonArray, Framing::EventStream] {
        assert!(names_another_model(
            "m",
            b"{\"model\":\"m\"} and more than that",
            cut
        ));
    }
}

#[test]
fn an_answer_that_names_the_model_and_another_names_another_model() {
    for (answer, is_other) in [
        (r#"{"model":"m","modelVersion":"m-2024-08-06"}"#, false),
        (r#"{"model":"m","modelVersion":"n"}"#, true),
        (r#"{"model":"m","message":{"model":"n"}}"#, true),
        (r#"{"model":"m","response":{"model":"n"}}"#, true),
        (r#"{"model":"","response":{"modelVersion":"n"}}"#, true),
        (
            r#"{"message":{"model":"m"},"response":{"model":"n"}}"#,
            true,
        ),
        (r#"{"message":{"model":"m"},"response":"n"}"#, false),
        (r#"{"message":{"model":7},"response":{"model":"m"}}"#, false),
    ] {
        let is = names_another_model("m", answer.as_bytes(), Framing::Json);
        assert_eq!(is, is_other, "{answer}");
    }
}
