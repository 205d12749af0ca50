//! Of prompts.

use super::{SIZE, of_pieces};

/// Its name and its body.
pub(crate) type Prompt = (&'static str, Vec<u8>);

/// Shapes of prompts, each against a plain one.
pub(crate) fn prompts() -> Vec<(&'static str, Vec<u8>, Vec<Prompt>)> {
    let head = r#"{"model":"m","messages":[{"role":"user","content":"#;
    let prompt = |json: String| format!("{head}{json}}}]}}").into_bytes();
    let of = |piece: &dyn Fn(usize) -> String, open: &str, close: &str| {
        let pieces = of_pieces(open, piece, close);
        prompt(String::from_utf8(pieces).unwrap())
    };
    let sorted_anew = |depth: usize| {
        // Each level holds the next in a member that has to change places.
        let padding = "p".repeat(SIZE - depth * 14);
        let open = "{\"b\":".repeat(depth);
        let close = ",\"a\":0}".repeat(depth);
        prompt(format!("{open}\"{padding}\"{close}"))
    };
    vec![(
        "prompt",
        of(&|_| "some words of a \\\"prompt\\\"\\n".into(), "\"", "\""),
        vec![
            ("objects in objects, each to be sorted", sorted_anew(120)),
            ("few objects in objects, each to be sorted", sorted_anew(20)),
            (
                "members in reverse",
                of(&|n| format!("\"{:07}\":0,", 9_999_999 - n), "{", "\"\":0}"),
            ),
            (
                "short members",
                of(&|n| format!("\"{n:x}\":0,"), "{", "\"\":0}"),
            ),
            (
                "capital members",
                of(&|n| format!("\"A{n:x}\":0,"), "{", "\"\":0}"),
            ),
            (
                "members of letters to fold",
                of(
                    &|n| format!("\"{}{n:x}\":0,", "É".repeat(40)),
                    "{",
                    "\"\":0}",
                ),
            ),
            (
                "a member of letters to fold",
                of(&|_| "ẞ".into(), "{\"", "\":0}"),
            ),
            (
                "a member of escapes to fold",
                of(&|_| "\\u0000".into(), "{\"", "\":0}"),
            ),
            (
                "long members of equal prefix",
                of(
                    &|n| format!("\"{}{:07}\":0,", "n".repeat(1_000), 9_999_999 - n),
                    "{",
                    "\"\":0}",
                ),
            ),
            ("escapes", of(&|_| "\\u0041".into(), "\"", "\"")),
            (
                "escapes of pairs",
                of(&|_| "\\ud83d\\ude00".into(), "\"", "\""),
            ),
            (
                "escapes of control characters",
                of(&|_| "\\n".into(), "\"", "\""),
            ),
            ("lone surrogates", of(&|_| "\\ud83d".into(), "\"", "\"")),
            ("empty lists", of(&|_| "[],".into(), "[", "0]")),
            ("empty objects", of(&|_| "{},".into(), "[", "0]")),
            (
                "objects of a member",
                of(&|_| "{\"a\":0},".into(), "[", "0]"),
            ),
            (
                "objects of a capital member",
                of(&|_| "{\"A\":0},".into(), "[", "0]"),
            ),
            (
                "objects of two to be sorted",
                of(&|_| "{\"b\":0,\"a\":0},".into(), "[", "0]"),
            ),
            ("numbers", of(&|_| "0,".into(), "[", "0]")),
            ("white space", of(&|_| " ".into(), "", "0")),
            (
                "tools",
                of_pieces(
                    "{\"tools\":[",
                    |_| "{\"type\":\"function\"},".into(),
                    "{}]}",
                ),
            ),
            (
                "a long temperature",
                of_pieces("{\"temperature\":0.", |_| "5".into(), "}"),
            ),
            ("no JSON", of_pieces("", |_| "too".into(), "")),
        ],
    )]
}

/// What Codex needs (docs/agents.md), and what makes an element leave a trace.
pub(crate) const EDITS: &str = r#"{"key": {
    "exclude": ["attribution", "call_ids", "/input/*/internal", "/input/*/content/*/internal"],
    "mask": [
        {"at": "/input/*/output", "line": "Chunk ID: *"},
        {"at": "/input/*/output", "line": "Wall time: *"},
        {"at": "/input/*/content/*/text", "part": "<current_date>*</current_date>"}
    ]
}}"#;

/// Shapes of prompts to OpenAI's Responses, of which the key leaves out what [`EDITS`] says.
pub(crate) fn edited_prompts() -> Vec<Prompt> {
    let input = |open: &str, piece: &dyn Fn(usize) -> String, close: &str| {
        let open = format!("{{\"model\":\"m\",\"input\":{open}");
        of_pieces(&open, piece, &format!("{close}}}"))
    };
    let items = |piece: &dyn Fn(usize) -> String| input("[", piece, "0]");
    let content = |piece: &dyn Fn(usize) -> String| input("[{\"content\":[", piece, "0]}]");
    let call = |n: usize| format!("{{\"type\":\"function_call\",\"call_id\":\"call_{n:07}\"}},");
    vec![
        ("numbers", items(&|_| "0,".into())),
        ("numbers of a message", content(&|_| "0,".into())),
        ("empty texts", items(&|_| "\"\",".into())),
        ("empty texts of a message", content(&|_| "\"\",".into())),
        ("empty lists", items(&|_| "[],".into())),
        ("empty objects", items(&|_| "{},".into())),
        ("empty objects of a message", content(&|_| "{},".into())),
        ("objects of a member", items(&|_| "{\"a\":0},".into())),
        (
            "short members",
            input("{", &|n| format!("\"{n:x}\":0,"), "\"\":0}"),
        ),
        (
            "members that are left out",
            items(&|_| "{\"internal\":0},".into()),
        ),
        ("empty outputs", items(&|_| "{\"output\":\"\"},".into())),
        (
            "outputs of a masked line",
            items(&|_| "{\"output\":\"Wall time: 0\"},".into()),
        ),
        (
            "an output of masked lines",
            input(
                "[{\"output\":\"",
                &|_| "Wall time: \\nChunk ID: \\n".into(),
                "\"}]",
            ),
        ),
        (
            "an output of lines not masked",
            input(
                "[{\"output\":\"Wall time: \\nChunk ID: ",
                &|_| "\\n".into(),
                "\"}]",
            ),
        ),
        (
            "a text of masked parts",
            input(
                "[{\"content\":[{\"text\":\"",
                &|_| "<current_date></current_date>".into(),
                "\"}]}]",
            ),
        ),
        ("calls", items(&|n| call(n % 4_000))),
        (
            "calls that a text tells of",
            input("[", &|n| call(n % 4_000), "\"call_0003999\"]"),
        ),
    ]
}
