//! Of chat completions, plain.

use super::{Answer, CHAT, SIZE, document, of_pieces, stream};

pub(super) fn chat_streams() -> Vec<Answer> {
    let chat = |name, body| stream(name, CHAT, body);
    let in_choice = |delta: &str| format!("data:{{\"choices\":[{{\"delta\":{delta}}}]}}\n\n");
    let in_content = |text: &str| in_choice(&format!("{{\"content\":\"{text}\"}}"));
    let call = |n: usize, prefix: &str| format!("{{\"id\":\"{prefix}{n:04}\"}}");
    let long = "i".repeat(2_000);
    vec![
        chat("empty events", of_pieces("", |_| "data:{}\n\n".into(), "")),
        chat("comments", of_pieces("", |_| ":\n".into(), "")),
        chat("blank lines", of_pieces("", |_| "\n".into(), "")),
        chat("carriage returns", of_pieces("", |_| "\r".into(), "")),
        chat("ids and retries", of_pieces("", |_| "id\n".into(), "")),
        chat(
            "an event of short data lines",
            of_pieces("data:{\n", |_| "data\n".into(), "data:}\n\n"),
        ),
        chat(
            "an event's names",
            of_pieces("", |_| "event:x\n".into(), "\n"),
        ),
        chat("white space", of_pieces("data:", |_| " ".into(), "{}\n\n")),
        chat(
            "members",
            of_pieces("data:{", |_| "\"\":0,".into(), "\"\":0}\n\n"),
        ),
        chat("objects in objects", nested("{\"a\":", "}")),
        chat("lists in lists", nested("[", "]")),
        chat(
            "a long number",
            of_pieces("data:{\"x\":", |_| "1".into(), "}\n\n"),
        ),
        chat(
            "128 choices in turn",
            of_pieces(
                "",
                |n| {
                    let choices =
                        (0..1_000).map(|m| format!("{{\"index\":{}}}", (m * 127 + n) % 128));
                    format!(
                        "data:{{\"choices\":[{}]}}\n\n",
                        choices.collect::<Vec<_>>().join(",")
                    )
                },
                "",
            ),
        ),
        chat(
            "empty choices",
            of_pieces(
                "",
                |_| format!("data:{{\"choices\":[{}]}}\n\n", vec!["{}"; 4_000].join(",")),
                "",
            ),
        ),
        chat(
            "calls in turn",
            of_pieces(
                "",
                |n| {
                    let calls =
                        (0..1_000).map(|m| format!("{{\"index\":{}}}", (m * 127 + n) % 128));
                    in_choice(&format!(
                        "{{\"tool_calls\":[{}]}}",
                        calls.collect::<Vec<_>>().join(",")
                    ))
                },
                "",
            ),
        ),
        chat(
            "calls by long ids of equal prefix",
            of_pieces(
                "",
                |n| {
                    in_choice(&format!(
                        "{{\"tool_calls\":[{}]}}",
                        call((n * 127) % 128, &long)
                    ))
                },
                "",
            ),
        ),
        chat(
            "calls by long ids and one index",
            of_pieces(
                "",
                |n| {
                    let id = format!("{}{:04}", long, (n * 127) % 128);
                    in_choice(&format!(
                        "{{\"tool_calls\":[{{\"index\":0,\"id\":\"{id}\"}}]}}"
                    ))
                },
                "",
            ),
        ),
        chat(
            "empty calls",
            of_pieces(
                "",
                |_| {
                    in_choice(&format!(
                        "{{\"tool_calls\":[{}]}}",
                        vec!["{}"; 4_000].join(",")
                    ))
                },
                "",
            ),
        ),
        chat(
            "escapes of units",
            of_pieces("", |_| in_content(&"\\u0041".repeat(600)), ""),
        ),
        chat(
            "escapes of pairs",
            of_pieces("", |_| in_content(&"\\ud83d\\ude00".repeat(300)), ""),
        ),
        chat(
            "short escapes",
            of_pieces("", |_| in_content(&"\\n".repeat(1_800)), ""),
        ),
        chat("pieces of a letter", of_pieces("", |_| in_content("a"), "")),
        chat(
            "pieces of eight choices",
            of_pieces(
                "",
                |n| {
                    format!(
                        "data:{{\"choices\":[{{\"index\":{},\"delta\":{{\"content\":\"ab\"}}}}]}}\n\n",
                        n % 8
                    )
                },
                "",
            ),
        ),
        chat(
            "pieces that stutter",
            of_pieces("", |n| in_content(&"ab cd ".repeat(1 + n)), ""),
        ),
        chat(
            "pieces that almost stutter",
            of_pieces("", |n| in_content(&format!("{}{}", "x".repeat(600), n)), ""),
        ),
    ]
}

pub(super) fn chat_documents() -> Vec<Answer> {
    let chat = |name, body| document(name, CHAT, body);
    vec![
        chat(
            "JSON: 128 choices",
            of_pieces(
                "{\"choices\":[",
                |n| format!("{{\"index\":{}}},", n % 128),
                "{}]}",
            ),
        ),
        chat(
            "JSON: members",
            of_pieces("{", |_| "\"\":0,".into(), "\"\":0}"),
        ),
        chat(
            "JSON: escapes",
            of_pieces(
                "{\"choices\":[{\"message\":{\"content\":\"",
                |_| "\\u0041".into(),
                "\"}}]}",
            ),
        ),
        chat(
            "JSON: white space",
            of_pieces("{\"x\":", |_| " ".into(), "0}"),
        ),
        chat("JSON: lists in lists", {
            let depth = SIZE / 2;
            format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes()
        }),
        chat(
            "JSON: arguments of escapes",
            of_pieces(
                "{\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":\"[",
                |_| "\\u0030,".into(),
                "0]\"}}]}}]}",
            ),
        ),
        chat(
            "JSON: numbers",
            of_pieces("{\"x\":[", |_| "0,".into(), "0]}"),
        ),
    ]
}

fn nested(open: &str, close: &str) -> Vec<u8> {
    let depth = SIZE / (open.len() + close.len());
    let value = format!("{}0{}", open.repeat(depth), close.repeat(depth));
    format!("data:{{\"x\":{value}}}\n\n").into_bytes()
}
