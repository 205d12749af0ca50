//! Whole answers that are turned into their other form.

use envoy_llm_cache::llm::{Form, Framing};

use super::{CHAT, anthropic, of_pieces, plain_stream};

pub(crate) struct Conversion {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) stored: Form,
    pub(crate) wanted: Form,
    pub(crate) body: Vec<u8>,
}

/// Plain ones, each with the shapes that are held against it.
pub(crate) fn conversions() -> Vec<(Conversion, Vec<Conversion>)> {
    let join = |name, body| Conversion {
        name,
        path: CHAT,
        stored: Form::new(Framing::Sse, b""),
        wanted: Form::json(),
        body,
    };
    let split = |name, body| Conversion {
        name,
        path: CHAT,
        stored: Form::json(),
        wanted: Form::new(Framing::Sse, b""),
        body,
    };
    vec![
        (
            join("chat stream to JSON", plain_finished()),
            vec![
                join("pieces of a byte", chat(|_| (0, content("x", "")))),
                join("pieces of nothing", chat(|_| (0, content("", "")))),
                join("128 choices in turn", chat(|n| (n % 128, content("x", "")))),
                join("128 calls in turn", chat(|n| (0, call(n % 128)))),
                join("128 calls in 128 choices", {
                    chat(|n| (n % 128, call(n / 128 % 128)))
                }),
                join("64 unknown members in each piece", {
                    let unknown: String = (0..64).map(|n| format!(",\"u{n}\":{n}")).collect();
                    chat(|_| (0, content("x", &unknown)))
                }),
                join("unknown trees in each piece", {
                    let unknown = format!(",\"u\":[{}0]", "{\"\":[]},".repeat(100));
                    chat(|_| (0, content("x", &unknown)))
                }),
                join("a long unknown text in each piece", {
                    let unknown = format!(",\"u\":\"{}\"", "x".repeat(10_000));
                    chat(|_| (0, content("x", &unknown)))
                }),
                join("reasoning beside", {
                    chat(|_| (0, content("x", ",\"reasoning_content\":\"y\"")))
                }),
                join("escapes", chat(|_| (0, content(&"\\u0001".repeat(50), "")))),
                join(
                    "numbers of many digits",
                    chat(|_| (0, content("x", &format!(",\"u\":1.{}", "1".repeat(300))))),
                ),
                join("empty objects in a piece", {
                    let objects = ["{}"; 4_000].join(",");
                    chat(|_| (0, content("x", &format!(",\"u\":[{objects}]"))))
                }),
            ],
        ),
        (
            split("chat as JSON to stream", plain_document()),
            vec![
                split("one long text", message(&text(" some words"), "")),
                split("escapes", message(&text("\\u0001"), "")),
                split("empty parts", {
                    message(&list("{\"type\":\"text\",\"text\":\"\"}"), "")
                }),
                split("128 choices of nothing", {
                    choices(128, |n| {
                        format!(
                            "{{\"index\":{n},\"finish_reason\":\"stop\",\"message\":{{\"content\":\"\"}}}}"
                        )
                    })
                }),
                split("128 choices of 128 calls", {
                    choices(128, |n| {
                        let calls: Vec<_> = (0..128)
                            .map(|m| format!("{{\"id\":\"{m}\",\"type\":\"function\",\"function\":{{\"name\":\"f\",\"arguments\":\"\"}}}}"))
                            .collect();
                        format!(
                            "{{\"index\":{n},\"finish_reason\":\"tool_calls\",\"message\":{{\"tool_calls\":[{}]}}}}",
                            calls.join(",")
                        )
                    })
                }),
                split("unknown trees", {
                    message("\"x\"", &format!(",\"u\":{}", list("{\"\":0}")))
                }),
                split("unknown members", {
                    let members = of_pieces("", |n| format!(",\"u{n}\":0"), "");
                    message("\"x\"", &String::from_utf8(members).unwrap())
                }),
                split("unknown members of the answer, and 128 choices", {
                    let mut body = choices(128, |n| {
                        format!(
                            "{{\"index\":{n},\"finish_reason\":\"stop\",\"message\":{{\"content\":\"\"}}}}"
                        )
                    });
                    body.pop();
                    body.extend(format!(",\"u\":{}}}", list("0")).into_bytes());
                    body
                }),
                split("logprobs", {
                    let logprobs = list("{\"token\":\"x\",\"logprob\":-1,\"top_logprobs\":[]}");
                    format!("{{\"choices\":[{{\"index\":0,\"finish_reason\":\"stop\",\"message\":{{\"content\":\"x\"}},\"logprobs\":{{\"content\":{logprobs}}}}}]}}").into_bytes()
                }),
            ],
        ),
        (
            join_of(
                "Anthropic's stream to JSON",
                "/v1/messages",
                finished(anthropic(
                    r#""delta":{"type":"text_delta","text":"some words "}"#,
                )),
            ),
            vec![
                join_of(
                    "pieces of nothing",
                    "/v1/messages",
                    finished(anthropic(r#""delta":{"type":"text_delta","text":""}"#)),
                ),
                join_of(
                    "citations",
                    "/v1/messages",
                    finished(anthropic(
                        r#""delta":{"type":"citations_delta","citation":{"":[]}}"#,
                    )),
                ),
            ],
        ),
    ]
}

fn join_of(name: &'static str, path: &'static str, body: Vec<u8>) -> Conversion {
    Conversion {
        name,
        path,
        stored: Form::new(Framing::Sse, b""),
        wanted: Form::json(),
        body,
    }
}

/// With what a message has at its beginning and end.
fn finished(stream: Vec<u8>) -> Vec<u8> {
    let bare = "\"message\":{\"content\":[],\"usage\":{}}";
    let message = "\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}";
    let mut stream = String::from_utf8(stream)
        .unwrap()
        .replacen(bare, message, 1)
        .into_bytes();
    stream.extend(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    stream
}

/// The plain stream, with a finish before its end.
fn plain_finished() -> Vec<u8> {
    let mut stream = plain_stream();
    stream.truncate(stream.len() - "data: [DONE]\n\n".len());
    stream.extend(ends(1, "stop").into_bytes());
    stream
}

/// As long as most are.
fn plain_document() -> Vec<u8> {
    let text = " some words of an answer,\\n".repeat(60);
    format!(
        "{{\"id\":\"chatcmpl-01234\",\"object\":\"chat.completion\",\"created\":1750000000,\"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2,\"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}}}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0\"}}"
    )
    .into_bytes()
}

/// A stream of such deltas, each of a choice, until all of them finish.
fn chat(delta: impl Fn(usize) -> (usize, String)) -> Vec<u8> {
    let choices = (0..20_000).map(|n| delta(n).0 + 1).max().unwrap();
    let reason = match delta(0).1.contains("tool_calls") {
        true => "tool_calls",
        false => "stop",
    };
    of_pieces(
        "",
        |n| {
            let (choice, delta) = delta(n);
            format!("data:{{\"choices\":[{{\"index\":{choice},\"delta\":{delta}}}]}}\n\n")
        },
        &ends(choices, reason),
    )
}

fn ends(choices: usize, reason: &str) -> String {
    let finish = |n| {
        format!(
            "data:{{\"choices\":[{{\"index\":{n},\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n"
        )
    };
    let usage = "data:{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}\n\n";
    (0..choices).map(finish).collect::<String>() + usage + "data: [DONE]\n\n"
}

fn content(text: &str, more: &str) -> String {
    format!("{{\"content\":\"{text}\"{more}}}")
}

fn call(n: usize) -> String {
    format!(
        "{{\"tool_calls\":[{{\"index\":{n},\"id\":\"{n}\",\"type\":\"function\",\"function\":{{\"name\":\"f\",\"arguments\":\" \"}}}}]}}"
    )
}

fn message(content: &str, more: &str) -> Vec<u8> {
    choices(1, |_| {
        format!(
            "{{\"index\":0,\"finish_reason\":\"stop\",\"message\":{{\"role\":\"assistant\",\"content\":{content}{more}}}}}"
        )
    })
}

fn choices(count: usize, choice: impl Fn(usize) -> String) -> Vec<u8> {
    let choices: Vec<_> = (0..count).map(choice).collect();
    format!(
        "{{\"id\":\"i\",\"model\":\"m\",\"choices\":[{}]}}",
        choices.join(",")
    )
    .into_bytes()
}

fn text(piece: &str) -> String {
    String::from_utf8(of_pieces("\"", |_| piece.into(), "\"")).unwrap()
}

fn list(element: &str) -> String {
    String::from_utf8(of_pieces("[", |_| format!("{element},"), "0]"))
        .unwrap()
        .replace(",0]", "]")
}
