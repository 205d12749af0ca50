//! The shapes, and how they are made.

mod chat;
mod coded;
mod conversions;
mod prompts;

use envoy_llm_cache::llm::Framing;

use chat::{chat_documents, chat_streams};
use coded::coded;
pub(crate) use coded::{CodedPrompt, coded_prompts};
pub(crate) use conversions::{Conversion, conversions};
pub(crate) use prompts::{EDITS, edited_prompts, prompts};

pub(crate) const SIZE: usize = 1 << 20;
pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const RESPONSES: &str = "/v1/responses";
const EMBEDDINGS: &str = "/v1/embeddings";

/// How much comes at once, about.
const CHUNK: usize = 4_096;

#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) framing: Framing,
    pub(crate) coding: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) chunk: usize,
}

/// Plain answers, each with the shapes that are held against it.
pub(crate) fn answers() -> Vec<(Answer, Vec<Answer>)> {
    let mut streams = chat_streams();
    streams.extend(coded());
    let slow = |answer: Answer| Answer { chunk: 1, ..answer };
    vec![
        (
            slow(stream("chat stream, a byte at a time", CHAT, plain_stream())),
            [chat_streams(), coded(), chat_documents()].concat().into_iter().map(slow).collect(),
        ),
        (stream("chat stream", CHAT, plain_stream()), streams),
        (
            document("chat as JSON", CHAT, of_words(r#"{"choices":[{"index":0,"finish_reason":"stop","message":{"content":""#, r#""}}]}"#)),
            chat_documents(),
        ),
        (
            document("embeddings", EMBEDDINGS, embedding("-0.012345678,")),
            ["1.0715086071862674399e+301,", "0,", "1E1,", "1e-400,", "17976931348623157e292,", " 0 ,"]
                .map(|number| document(number, EMBEDDINGS, embedding(number)))
                .into(),
        ),
        (
            stream("Anthropic's stream", "/v1/messages", anthropic(r#""delta":{"type":"text_delta","text":"some words "}"#)),
            vec![
                stream("Anthropic: empty deltas", "/v1/messages", anthropic(r#""delta":{}"#)),
                stream("Anthropic: pings", "/v1/messages", of_pieces("", |_| "data:{\"type\":\"ping\"}\n\n".into(), "")),
            ],
        ),
        (
            stream("Responses' stream", "/v1/responses", of_pieces(
                &(CREATED.to_owned() + "data: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"message\",\"content\":[{}]}}\n\n"),
                |_| "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"some words\"}\n\n".into(), "")),
            vec![
                stream("Responses: 1,024 open items in turn", "/v1/responses", of_pieces(
                    &(CREATED.to_owned() + &(0..1_024).map(|n| format!("data:{{\"type\":\"response.output_item.added\",\"output_index\":{n},\"item\":{{\"type\":\"function_call\"}}}}\n\n")).collect::<String>()),
                    |n| format!("data:{{\"type\":\"response.function_call_arguments.delta\",\"output_index\":{},\"delta\":\"\"}}\n\n", n % 4), "")),
                stream("Responses: empty events", "/v1/responses", of_pieces(CREATED, |_| "data:{\"type\":\"x\"}\n\n".into(), "")),
            ],
        ),
        (
            stream("Gemini's stream", "/v1beta/models/m:streamGenerateContent", of_pieces("", |_| "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"some words\"}],\"role\":\"model\"},\"index\":0}]}\n\n".into(), "")),
            vec![stream("Gemini: 128 candidates in turn", "/v1beta/models/m:streamGenerateContent", of_pieces("", |n| {
                let candidates = (0..1_000).map(|m| format!("{{\"index\":{}}}", (m * 127 + n) % 128)).collect::<Vec<_>>();
                format!("data: {{\"candidates\":[{}]}}\n\n", candidates.join(","))
            }, "")),
            stream("Gemini: empty parts", "/v1beta/models/m:streamGenerateContent", of_pieces("", |_| {
                format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{}]}}}}]}}\n\n", vec!["{}"; 4_000].join(","))
            }, ""))],
        ),
        (
            lines("Ollama's lines", "/api/chat", of_pieces("", |_| "{\"model\":\"llama3.2\",\"created_at\":\"2026-01-01T00:00:00.000000Z\",\"message\":{\"role\":\"assistant\",\"content\":\"some\"},\"done\":false}\n".into(), "")),
            vec![
                lines("Ollama: empty objects", "/api/chat", of_pieces("", |_| "{}\n".into(), "")),
                lines("Ollama: blank lines", "/api/chat", of_pieces("", |_| "\n".into(), "")),
            ],
        ),
        (
            messages("Bedrock's messages", of_messages(|_| r#"{"contentBlockIndex":0,"delta":{"text":"some words"},"p":"abcdefghijklmnop"}"#.into())),
            vec![
                messages("Bedrock: 1,024 blocks in turn", of_messages(|n| format!(r#"{{"contentBlockIndex":{},"delta":{{"text":""}}}}"#, (n * 1_023) % 1_024))),
            ],
        ),
    ]
}

fn stream(name: &'static str, path: &'static str, body: Vec<u8>) -> Answer {
    Answer {
        name,
        path,
        framing: Framing::Sse,
        coding: "identity",
        body,
        chunk: CHUNK,
    }
}

fn document(name: &'static str, path: &'static str, body: Vec<u8>) -> Answer {
    Answer {
        framing: Framing::Json,
        ..stream(name, path, body)
    }
}

fn lines(name: &'static str, path: &'static str, body: Vec<u8>) -> Answer {
    Answer {
        framing: Framing::Ndjson,
        ..stream(name, path, body)
    }
}

fn messages(name: &'static str, body: Vec<u8>) -> Answer {
    Answer {
        framing: Framing::EventStream,
        ..stream(name, "/model/m/converse-stream", body)
    }
}

/// So many pieces that they come to [`SIZE`].
fn of_pieces(open: &str, piece: impl Fn(usize) -> String, close: &str) -> Vec<u8> {
    let mut body = open.as_bytes().to_vec();
    for n in 0.. {
        if body.len() >= SIZE {
            break;
        }
        body.extend(piece(n).into_bytes());
    }
    body.extend(close.as_bytes());
    body
}

fn of_words(open: &str, close: &str) -> Vec<u8> {
    of_pieces(open, |_| "some words of an \\\"answer\\\"\\n".into(), close)
}

fn plain_stream() -> Vec<u8> {
    of_pieces(
        "",
        |n| {
            format!(
                "data: {{\"id\":\"chatcmpl-01234\",\"object\":\"chat.completion.chunk\",\"created\":1750000000,\"model\":\"gpt-4o-mini\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word {n}\"}},\"finish_reason\":null}}]}}\n\n"
            )
        },
        "data: [DONE]\n\n",
    )
}

const CREATED: &str = "data: {\"type\":\"response.created\",\"response\":{}}\n\n";

fn anthropic(delta: &str) -> Vec<u8> {
    of_pieces(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        |_| {
            format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,{delta}}}\n\n"
            )
        },
        "",
    )
}

fn embedding(number: &str) -> Vec<u8> {
    of_pieces(
        "{\"data\":[{\"index\":0,\"embedding\":[",
        |_| number.into(),
        "0]}]}",
    )
}

fn of_messages(payload: impl Fn(usize) -> String) -> Vec<u8> {
    let mut body = Vec::new();
    for n in 0.. {
        if body.len() >= SIZE {
            break;
        }
        let (kind, payload) = match n {
            0 => ("messageStart", r#"{"role":"assistant"}"#.to_owned()),
            n => ("contentBlockDelta", payload(n)),
        };
        let payload = payload.into_bytes();
        let mut headers = Vec::new();
        for (name, value) in [
            (":message-type", "event"),
            (":event-type", kind),
            (":content-type", "application/json"),
        ] {
            headers.push(name.len() as u8);
            headers.extend(name.as_bytes());
            headers.push(7);
            headers.extend((value.len() as u16).to_be_bytes());
            headers.extend(value.as_bytes());
        }
        let total = (16 + headers.len() + payload.len()) as u32;
        let mut message = total.to_be_bytes().to_vec();
        message.extend((headers.len() as u32).to_be_bytes());
        message.extend(crc32fast::hash(&message).to_be_bytes());
        message.extend([headers, payload].concat());
        message.extend(crc32fast::hash(&message).to_be_bytes());
        body.extend(message);
    }
    body
}
