//! What holds for the judges of all APIs, and for what is looked for in all requests.

mod judge;
mod request;

use super::testing::WHOLE;
use super::*;
use crate::eventstream;
use crate::json::canonicalize;

/// An answer of an API in a framing: the path and the body of its request, what comes before the
/// chunk that tries something, and what comes after it.
struct Case {
    api: &'static str,
    path: &'static str,
    framing: Framing,
    before: &'static [&'static str],
    after: &'static [&'static str],
}

const CASES: [Case; 11] = [
    Case {
        api: "openai_chat",
        path: "/v1/chat/completions",
        framing: Framing::Sse,
        before: &[r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}]}"#],
        after: &[
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
    },
    Case {
        api: "openai_completions",
        path: "/v1/completions",
        framing: Framing::Sse,
        before: &[r#"{"choices":[{"index":0,"text":"Hi"}]}"#],
        after: &[
            r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
    },
    Case {
        api: "workers_ai",
        path: "/client/v4/accounts/a/ai/run/@cf/m",
        framing: Framing::Sse,
        before: &[r#"{"response":"Hi"}"#],
        after: &[r#"{"response":"","finish_reason":"stop"}"#, "[DONE]"],
    },
    Case {
        api: "openai_responses",
        path: "/v1/responses",
        framing: Framing::Sse,
        before: &[
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[]}}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}"#,
            r#"{"type":"response.content_part.added","output_index":0,"content_index":0}"#,
            r#"{"type":"response.output_text.delta","output_index":0,"delta":"Hi"}"#,
        ],
        after: &[
            r#"{"type":"response.completed","response":{"id":"r","status":"completed","output":[{"type":"message","status":"completed","content":[{"type":"output_text","text":"Hi"}]}]}}"#,
        ],
    },
    Case {
        api: "anthropic_messages",
        path: "/v1/messages",
        framing: Framing::Sse,
        before: &[
            r#"{"type":"message_start","message":{"type":"message","content":[],"usage":{}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}"#,
        ],
        after: &[
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}"#,
            r#"{"type":"message_stop"}"#,
        ],
    },
    Case {
        api: "gemini",
        path: "/v1beta/models/m:streamGenerateContent?alt=sse",
        framing: Framing::Sse,
        before: &[r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#],
        after: &[
            r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":3}}"#,
        ],
    },
    Case {
        api: "gemini",
        path: "/v1beta/models/m:streamGenerateContent",
        framing: Framing::JsonArray,
        before: &[r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]}"#],
        after: &[r#"{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}]}"#],
    },
    Case {
        api: "ollama",
        path: "/api/chat",
        framing: Framing::Ndjson,
        before: &[r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#],
        after: &[
            r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop"}"#,
        ],
    },
    Case {
        api: "cohere",
        path: "/v1/chat",
        framing: Framing::Ndjson,
        before: &[
            r#"{"event_type":"stream-start"}"#,
            r#"{"event_type":"text-generation","text":"Hi"}"#,
        ],
        after: &[
            r#"{"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"Hi","finish_reason":"COMPLETE"}}"#,
        ],
    },
    Case {
        api: "cohere",
        path: "/v2/chat",
        framing: Framing::Sse,
        before: &[
            r#"{"type":"message-start"}"#,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":"Hi"}}}}"#,
        ],
        after: &[
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
        ],
    },
    Case {
        api: "bedrock",
        path: "/model/m/converse-stream",
        framing: Framing::EventStream,
        before: &[
            r#"messageStart{"role":"assistant"}"#,
            r#"contentBlockDelta{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#,
        ],
        after: &[
            r#"contentBlockStop{"contentBlockIndex":0}"#,
            r#"messageStop{"stopReason":"end_turn"}"#,
            r#"metadata{"usage":{"totalTokens":3}}"#,
        ],
    },
];

impl Case {
    fn name(&self) -> String {
        format!("{} {:?}", self.api, self.framing)
    }

    /// The chunks as this framing writes them, each by itself.
    fn framed(&self, chunks: &[&str]) -> Vec<Vec<u8>> {
        let count = chunks.len();
        let frame = |(place, chunk): (usize, &&str)| match self.framing {
            Framing::Ndjson => format!("{chunk}\n").into_bytes(),
            Framing::JsonArray => {
                let begin = if place == 0 { "[" } else { "," };
                let end = if place + 1 == count { "]" } else { "" };
                format!("{begin}{chunk}{end}").into_bytes()
            }
            Framing::EventStream => {
                let (event, payload) = chunk.split_at(chunk.find('{').unwrap());
                let mut message = Vec::new();
                let headers = [(":event-type", event), (":message-type", "event")];
                eventstream::encode(&mut message, &headers, payload.as_bytes()).unwrap();
                message
            }
            _ => {
                let name = match serde_json::from_str::<serde_json::Value>(chunk) {
                    Ok(chunk) if self.api == "anthropic_messages" => {
                        format!("event: {}\n", chunk["type"].as_str().unwrap_or_default())
                    }
                    _ => String::new(),
                };
                format!("{name}data: {chunk}\n\n").into_bytes()
            }
        };
        chunks.iter().enumerate().map(frame).collect()
    }

    fn judge(&self) -> Box<dyn Judge> {
        let api = Api::from_name(self.api).unwrap();
        let body = canonicalize(br#"{"stream":true}"#, &[]).unwrap();
        let traits = api.read(self.path.as_bytes(), b"", Some(&body)).unwrap();
        assert_eq!(traits.form.as_ref().unwrap().framing, self.framing);
        api.judge(&traits, self.framing)
    }

    fn verdict(&self, pieces: &[Vec<u8>]) -> Result<Verdict, NotWhole> {
        let mut judge = self.judge();
        let whole = pieces.concat();
        judge.feed(&whole, &mut |_, _| {})?;
        judge.finish(&whole)
    }

    /// The verdict on the answer with these chunks in its middle.
    fn with(&self, chunks: &[&str]) -> Result<Verdict, NotWhole> {
        self.verdict(&self.framed(&[self.before, chunks, self.after].concat()))
    }

    /// The verdict on an event stream with this text in its middle.
    fn with_text(&self, text: &str) -> Result<Verdict, NotWhole> {
        let mut pieces = self.framed(self.before);
        pieces.push(text.into());
        pieces.extend(self.framed(self.after));
        self.verdict(&pieces)
    }
}

fn event_streams() -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(|case| case.framing == Framing::Sse)
}
