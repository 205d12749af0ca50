//! Completions from one form to the other.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::llm::convert::tree;
use crate::llm::convert::tree::Object;
use crate::llm::{Finish, Verdict};

const WITH_USAGE: &[u8] = br#"{"include_usage":true}"#;

fn stream_form(options: &[u8]) -> Form {
    Form::new(Framing::Sse, options)
}

fn stream_of(events: &[Value]) -> String {
    let events: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    events + "data: [DONE]\n\n"
}

fn join(events: &[Value]) -> Result<Value, ConversionError> {
    join_stream(stream_of(events).as_bytes())
}

fn join_stream(stream: &[u8]) -> Result<Value, ConversionError> {
    let json = OpenaiChat.join(stream, &stream_form(b""))?;
    tree::parse(&json).map(Value::Object)
}

fn split(completion: &Value, options: &[u8]) -> Result<String, ConversionError> {
    let stream = OpenaiChat.split(completion.to_string().as_bytes(), &stream_form(options))?;
    String::from_utf8(stream).map_err(|_| ConversionError::Malformed)
}

/// The stream as JSON, without its end marker.
fn events_of(stream: &str) -> Vec<Value> {
    let events = stream.strip_suffix("data: [DONE]\n\n").unwrap();
    events
        .split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

/// A chunk's only choice.
fn choice(delta: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn ending() -> [Value; 2] {
    let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    [stop, json!({"choices": [], "usage": {"total_tokens": 3}})]
}

/// The message that these deltas make.
fn message_of(deltas: &[Value]) -> Result<Value, ConversionError> {
    let mut events: Vec<Value> = deltas.iter().cloned().map(choice).collect();
    events.extend(ending());
    let mut completion = join(&events)?;
    Ok(completion["choices"][0]["message"].take())
}

fn completion(choices: Value) -> Value {
    json!({"id": "c", "object": "chat.completion", "created": 5, "model": "m",
        "choices": choices, "usage": {"total_tokens": 3}, "system_fingerprint": null})
}

fn saying(message: Value) -> Value {
    completion(json!([{"index": 0, "message": message, "finish_reason": "stop"}]))
}

#[test]
fn a_whole_completion_comes_back_from_the_stream_made_of_it() {
    let token =
        |text: &str| json!({"token": text, "logprob": -0.25, "bytes": [1], "top_logprobs": []});
    for message in [
        json!({"role": "assistant", "content": "Hi é\n\u{2028}", "refusal": null, "annotations": []}),
        json!({"role": "assistant", "content": "", "tool_calls": null}),
        json!({"role": "assistant", "content": null, "refusal": "No."}),
        json!({"role": "assistant", "content": "Hi", "reasoning_content": "hm"}),
        json!({"role": "assistant", "content": "Hi", "reasoning": "hm", "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0},
            {"type": "reasoning.encrypted", "data": "x", "index": 0}]}),
        json!({"role": "assistant", "content": "Hi", "reasoning": null, "reasoning_details": []}),
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""},
                "extra_content": {"google": {"thought_signature": "s"}}},
            {"id": "c", "type": "custom", "custom": {"name": "h", "input": "any"}}]}),
        json!({"role": "assistant", "content": null,
            "function_call": {"name": "f", "arguments": "{}"}}),
        json!({"role": "assistant", "content": "Hi", "annotations": [{"type": "url_citation"}],
            "citations": ["x"], "context": {"intent": "y"}}),
        json!({"role": "assistant", "content": [
            {"type": "text", "text": "So"},
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "Hi"},
            {"type": "reference", "reference_ids": [1]},
            {"type": "reference", "reference_ids": [2]}]}),
    ] {
        for rest in [
            json!({}),
            json!({"logprobs": null, "native_finish_reason": "completed", "stop_reason": 7}),
            json!({"logprobs": {"content": [token("a"), token("b")], "refusal": null}}),
            json!({"content_filter_results": {"hate": {"filtered": false}}}),
        ] {
            let mut first = json!({"index": 0, "message": message, "finish_reason": "stop"});
            first
                .as_object_mut()
                .unwrap()
                .append(&mut rest.as_object().unwrap().clone());
            let whole = completion(json!([first]));
            let stream = split(&whole, WITH_USAGE).unwrap();
            assert_eq!(
                join_stream(stream.as_bytes()),
                Ok(whole.clone()),
                "{stream}"
            );
            let finish = match &message["refusal"] {
                Value::String(_) => Finish::Filtered,
                _ => Finish::Complete,
            };
            let expected = Verdict {
                finish,
                empty: message["tool_calls"].is_null() && message["content"].as_str() == Some(""),
                marked_end: true,
            };
            let traits = RequestTraits::unreadable();
            let mut judging = API.judge(&traits, Framing::Sse);
            judging.feed(stream.as_bytes(), &mut |_, _| {}).unwrap();
            assert_eq!(judging.finish(stream.as_bytes()), Ok(expected), "{stream}");
            let json = whole.to_string();
            let judged = API.judge(&traits, Framing::Json).finish(json.as_bytes());
            assert_eq!(judged, Ok(expected), "{json}");
        }
    }
}

#[test]
fn a_stream_has_the_shape_that_the_api_gives_it() {
    let whole = completion(json!([
        {"index": 1, "message": {"role": "assistant", "content": "b"}, "logprobs": null,
            "finish_reason": "length"},
        {"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [
            {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            "logprobs": null, "finish_reason": "tool_calls"},
    ]));
    let chunk = |choices: Value, usage: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m",
            "system_fingerprint": null, "choices": choices, "usage": usage})
    };
    let piece = |index: u64, delta: Value, finish: Value| {
        let choice = json!({"index": index, "delta": delta, "logprobs": null,
            "finish_reason": finish});
        chunk(json!([choice]), Value::Null)
    };
    let null = Value::Null;
    let call = json!({"index": 0, "id": "t", "type": "function",
        "function": {"name": "f", "arguments": "{}"}});
    let expected = vec![
        piece(
            0,
            json!({"role": "assistant", "content": null}),
            null.clone(),
        ),
        piece(0, json!({"tool_calls": [call]}), null.clone()),
        piece(0, json!({}), json!("tool_calls")),
        piece(1, json!({"role": "assistant", "content": ""}), null.clone()),
        piece(1, json!({"content": "b"}), null),
        piece(1, json!({}), json!("length")),
        chunk(json!([]), json!({"total_tokens": 3})),
    ];
    assert_eq!(events_of(&split(&whole, WITH_USAGE).unwrap()), expected);
    // Without having been asked for, usage is nowhere.
    let without: Vec<Value> = expected[..6]
        .iter()
        .cloned()
        .map(|mut event| {
            event.as_object_mut().unwrap().remove("usage");
            event
        })
        .collect();
    for options in [&b""[..], b"{}", br#"{"include_usage":false}"#] {
        assert_eq!(events_of(&split(&whole, options).unwrap()), without);
    }
}

#[test]
fn usage_that_was_never_sent_is_not_made_up() {
    let mut whole = saying(json!({"role": "assistant", "content": "Hi"}));
    let stream = split(&whole, b"").unwrap();
    assert_eq!(
        join_stream(stream.as_bytes()),
        Err(ConversionError::NoUsage)
    );
    for usage in [Some(Value::Null), None] {
        match usage {
            Some(usage) => whole["usage"] = usage,
            None => drop(whole.as_object_mut().unwrap().remove("usage")),
        }
        assert_eq!(split(&whole, WITH_USAGE), Err(ConversionError::NoUsage));
        assert!(split(&whole, b"").is_ok());
    }
    for unknown in [
        &br#"{"continuous_usage_stats":true,"include_usage":true}"#[..],
        br#"{"new":true}"#,
    ] {
        assert_eq!(split(&whole, unknown), Err(ConversionError::Unsupported));
    }
}

#[test]
fn the_dialects_of_chunks_make_one_completion() {
    // Azure: an empty first chunk; filters in pieces. OpenAI: padding. Usage on a chunk whose
    // finish is null again. Interleaved choices.
    let events = [
        json!({"choices": [], "created": 0, "id": "", "model": "", "object": "",
            "prompt_filter_results": [{"prompt_index": 0}]}),
        json!({"choices": [
            {"index": 1, "delta": {"role": "assistant", "content": "x"}, "finish_reason": null},
            {"index": 0, "delta": {"content": ""}, "content_filter_results": {}}],
            "created": 5, "id": "c", "model": "m", "object": "chat.completion.chunk",
            "system_fingerprint": "", "obfuscation": "aa", "p": "bb", "usage": null}),
        json!({"choices": [{"index": 0, "delta": {"content": "y", "role": "assistant"},
            "content_filter_results": {"hate": 1}, "logprobs": {"content": [1], "refusal": null}}],
            "created": 5, "id": "c", "model": "m", "system_fingerprint": "fp"}),
        json!({"choices": [{"index": 0, "delta": {"content": "z", "index": 0},
            "finish_reason": "stop", "logprobs": {"content": [2]}},
            {"index": 1, "delta": {}, "finish_reason": "length", "logprobs": null}]}),
        json!({"choices": [{"index": 0, "delta": {"content": null}, "finish_reason": null}],
            "usage": {"total_tokens": 1}}),
        json!({"choices": [{"index": 0, "content_filter_offsets": {"start_offset": 1}}],
            "usage": {"total_tokens": 3}}),
    ];
    assert_eq!(
        join(&events),
        Ok(json!({
            "id": "c", "object": "chat.completion", "created": 5, "model": "m",
            "prompt_filter_results": [{"prompt_index": 0}], "system_fingerprint": "fp",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "yz"},
                    "logprobs": {"content": [1, 2], "refusal": null}, "finish_reason": "stop",
                    "content_filter_results": {"hate": 1}},
                {"index": 1, "message": {"role": "assistant", "content": "x"}, "logprobs": null,
                    "finish_reason": "length"}],
            "usage": {"total_tokens": 3}
        }))
    );
}

#[test]
fn tool_calls_are_put_together_whatever_the_dialect() {
    let call = |call: Value| json!({"tool_calls": [call]});
    let f = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for pieces in [
        // OpenAI, here beginning at 1.
        vec![
            json!({"index": 1, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 1, "function": {"arguments": "{"}}),
            json!({"index": 1, "function": {"arguments": "}"}}),
        ],
        // Kimi says all of it again; Mistral an empty name.
        vec![
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": null}}),
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "", "arguments": "{}"}}),
        ],
        // No index.
        vec![
            json!({"id": "a", "function": {"name": "f", "arguments": "{"}}),
            json!({"id": null, "type": "function", "function": {"arguments": "}"}}),
        ],
    ] {
        let deltas: Vec<Value> = pieces.into_iter().map(call).collect();
        let message = message_of(&deltas).unwrap();
        assert_eq!(message["tool_calls"], json!([f]));
        assert_eq!(message["content"], Value::Null);
    }
    let two = [
        json!({"tool_calls": [{"index": 1, "id": "b"}, {"index": 0, "id": "a"}]}),
        call(json!({"id": "c"})),
        call(json!({"id": "b", "type": "function"})),
    ];
    assert_eq!(
        message_of(&two).unwrap()["tool_calls"],
        json!([{"id": "a"}, {"id": "b", "type": "function"}, {"id": "c"}])
    );
    // What clients would not agree on.
    for (first, second) in [
        (
            json!({"index": 0, "id": "a"}),
            json!({"index": 0, "id": "b"}),
        ),
        (
            json!({"index": 0, "function": {"name": "f"}}),
            json!({"index": 0, "function": {"name": "g"}}),
        ),
    ] {
        let message = message_of(&[call(first), call(second)]);
        assert_eq!(message, Err(ConversionError::UnknownMember));
    }
}

#[test]
fn thoughts_and_words_of_mistral_become_parts() {
    let thinking = |text: &str| json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]});
    let text = |text: &str| json!({"content": text});
    let message = message_of(&[text(""), thinking("a"), thinking("b"), text("c"), text("d")]);
    assert_eq!(
        message.unwrap()["content"],
        json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]},
            {"type": "text", "text": "cd"}
        ])
    );
    let closed = |text: &str, closed: Value| {
        let mut delta = thinking(text);
        delta["content"][0]["closed"] = closed;
        delta
    };
    let pieces = [
        thinking("a"),
        closed("b", json!(true)),
        closed("c", json!(true)),
        text("d"),
    ];
    let message = message_of(&pieces).unwrap();
    assert_eq!(
        message["content"],
        json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "abc"}], "closed": true},
            {"type": "text", "text": "d"}
        ])
    );
    let whole = saying(message);
    assert_eq!(
        join_stream(split(&whole, WITH_USAGE).unwrap().as_bytes()),
        Ok(whole)
    );
    let differing = [closed("a", json!("x")), closed("b", json!("y"))];
    assert_eq!(message_of(&differing), Err(ConversionError::UnknownMember));
}

#[test]
fn thoughts_of_openrouter_are_put_together_by_index() {
    let detail = |detail: Value| json!({"reasoning_details": [detail]});
    let deltas = [
        json!({"reasoning": null, "reasoning_details": []}),
        detail(json!({"type": "reasoning.text", "text": "a", "format": "f", "index": 0})),
        detail(json!({"type": "reasoning.text", "text": "b", "format": "f", "index": 0})),
        detail(json!({"type": "reasoning.text", "signature": "s", "format": "f", "index": 0})),
        detail(json!({"type": "reasoning.text", "text": "c", "index": 1})),
        detail(json!({"type": "reasoning.encrypted", "data": "x", "index": 1})),
    ];
    assert_eq!(
        message_of(&deltas).unwrap()["reasoning_details"],
        json!([
            {"type": "reasoning.text", "text": "ab", "format": "f", "index": 0, "signature": "s"},
            {"type": "reasoning.text", "text": "c", "index": 1},
            {"type": "reasoning.encrypted", "data": "x", "index": 1},
        ])
    );
}

#[test]
fn groq_s_request_id_is_kept_and_its_usage_put_where_it_belongs() {
    let mut events = vec![choice(json!({"role": "assistant", "content": "Hi"}))];
    events[0]["x_groq"] = json!({"id": "r", "seed": 1});
    let mut stop = ending()[0].clone();
    stop["x_groq"] = json!({"id": "r", "usage": {"total_tokens": 3}});
    events.push(stop);
    let whole = join(&events).unwrap();
    assert_eq!(whole["usage"], json!({"total_tokens": 3}));
    assert_eq!(whole["x_groq"], json!({"id": "r", "seed": 1}));
    let stream = split(&whole, b"").unwrap();
    assert_eq!(join_stream(stream.as_bytes()), Ok(whole));
}

#[test]
fn what_has_no_known_place_in_the_other_form_is_declined() {
    for (delta, lossy) in [
        (json!({"audio": {"data": "x"}}), ConversionError::Content),
        (json!({"images": [1]}), ConversionError::Content),
        (json!({"index": 7}), ConversionError::UnknownMember),
        (json!({"content": 5}), ConversionError::Malformed),
        (json!({"tool_calls": [5]}), ConversionError::Malformed),
        (
            json!({"content": [{"type": "image_url"}]}),
            ConversionError::UnknownMember,
        ),
    ] {
        assert_eq!(
            message_of(std::slice::from_ref(&delta)),
            Err(lossy),
            "{delta}"
        );
    }
    // Null says nothing.
    let null = message_of(&[json!({"content": "a", "audio": null})]);
    assert_eq!(null.unwrap()["audio"], Value::Null);
    for (message, lossy) in [
        (
            json!({"content": "a", "channel": "final"}),
            ConversionError::UnknownMember,
        ),
        (
            json!({"content": "a", "p": "x"}),
            ConversionError::UnknownMember,
        ),
        (
            json!({"content": "a", "index": null}),
            ConversionError::UnknownMember,
        ),
        (
            json!({"content": "a", "refusal": 5}),
            ConversionError::UnknownMember,
        ),
        (
            json!({"content": null, "audio": {"id": "x"}}),
            ConversionError::Content,
        ),
        (
            json!({"content": [{"type": "text", "text": "a"}]}),
            ConversionError::Content,
        ),
        (json!({"content": 5}), ConversionError::Malformed),
        (
            json!({"tool_calls": [{"function": {"arguments": {}}}]}),
            ConversionError::Content,
        ),
        (
            json!({"reasoning_details": [{"type": "reasoning.text"}, {"type": "reasoning.text"}]}),
            ConversionError::Content,
        ),
    ] {
        assert_eq!(
            split(&saying(message.clone()), b""),
            Err(lossy),
            "{message}"
        );
    }
    // A member of which each chunk has another value: which one would the whole have?
    let mut events = [
        choice(json!({"content": "a"})),
        choice(json!({"content": "b"})),
    ];
    events[0]["choices"][0]["seed"] = json!(1);
    events[1]["choices"][0]["seed"] = json!(2);
    let stream = [&events[..], &ending()].concat();
    assert_eq!(join(&stream), Err(ConversionError::UnknownMember));
    // One of which all have the same is kept.
    events[1]["choices"][0]["seed"] = json!(1);
    let stream = [&events[..], &ending()].concat();
    assert_eq!(join(&stream).unwrap()["choices"][0]["seed"], json!(1));
}

#[test]
fn members_that_nobody_knows_are_carried_over_where_they_come_once_or_always_the_same() {
    let metadata = json!({"gateway": {"cost": "0.1"}});
    for (deltas, expected) in [
        // Vercel's gateway; Venice.
        (
            vec![
                json!({"content": "a"}),
                json!({"content": "b"}),
                json!({"provider_metadata": metadata}),
            ],
            json!({"content": "ab", "provider_metadata": metadata}),
        ),
        (
            vec![
                json!({"content": "a"}),
                json!({"content": "b", "reasoning_encrypted": "xyz"}),
            ],
            json!({"content": "ab", "reasoning_encrypted": "xyz"}),
        ),
        // Hugging Face, with every delta that says something.
        (
            vec![
                json!({"role": "assistant", "content": ""}),
                json!({"role": "assistant", "content": "a", "name": "n"}),
                json!({"role": "assistant", "content": "b", "name": "n"}),
                json!({"role": "assistant", "content": "", "name": "n"}),
            ],
            json!({"content": "ab", "name": "n"}),
        ),
        // Google, with some of them.
        (
            vec![
                json!({"content": "a", "extra_content": {"google": {"thought": true}}}),
                json!({"content": "b", "extra_content": {"google": {"thought": true}}}),
                json!({"content": "c"}),
            ],
            json!({"content": "abc", "extra_content": {"google": {"thought": true}}}),
        ),
        // Groq and Together, of this piece alone; Copilot.
        (
            vec![
                json!({"reasoning": "a", "channel": "analysis", "token_id": 1, "padding": "x"}),
                json!({"content": "b", "channel": "final", "token_id": 2, "padding": "xy"}),
            ],
            json!({"reasoning": "a", "content": "b"}),
        ),
        // Groq's Compound, when a tool is called and when it is done.
        (
            vec![
                json!({"executed_tools": [{"index": 0, "type": "search", "arguments": "{}", "search_results": {"results": []}}]}),
                json!({"executed_tools": [{"index": 0, "type": "search", "arguments": "{}", "output": "o"}]}),
                json!({"executed_tools": [{"index": 1, "type": "search", "arguments": "{}"}]}),
                json!({"content": "a"}),
            ],
            json!({"content": "a", "executed_tools": [
                {"index": 0, "type": "search", "arguments": "{}", "output": "o"},
                {"index": 1, "type": "search", "arguments": "{}"},
            ]}),
        ),
        // Snowflake: nothing at all.
        (
            vec![json!({"content": "a", "audio": {"data": "", "expires_at": 0}})],
            json!({"content": "a", "audio": {"data": "", "expires_at": 0}}),
        ),
    ] {
        let mut message = message_of(&deltas).unwrap();
        assert_eq!(message["role"], "assistant");
        let role = message.as_object_mut().unwrap().remove("role");
        assert_eq!(message, expected, "{deltas:?}");
        message["role"] = role.unwrap();
        let whole = saying(message);
        let again = join_stream(split(&whole, WITH_USAGE).unwrap().as_bytes());
        assert_eq!(again, Ok(whole));
    }
}

#[test]
fn a_text_of_which_nobody_knows_how_it_adds_up_is_never_carried_over() {
    for deltas in [
        vec![json!({"thoughts": "a"}), json!({"thoughts": "b"})],
        vec![
            json!({"thoughts": "ha"}),
            json!({"thoughts": "ha"}),
            json!({"content": "a"}),
        ],
        vec![json!({"thoughts": "ha"}), json!({"thoughts": "ha"})],
        vec![
            json!({"content": "a", "thoughts": "b"}),
            json!({"content": "c", "thoughts": "d"}),
        ],
        vec![
            json!({"thoughts": ["a"]}),
            json!({"thoughts": ["a"]}),
            json!({"content": "a"}),
        ],
        vec![
            json!({"thoughts": {"text": "a"}}),
            json!({"thoughts": {"text": "b"}}),
        ],
        vec![json!({"tool_calls": "a"}), json!({"tool_calls": "a"})],
    ] {
        assert_eq!(
            message_of(&deltas),
            Err(ConversionError::UnknownMember),
            "{deltas:?}"
        );
    }
}

#[test]
fn a_document_without_a_finish_makes_no_stream_that_never_finishes() {
    let mut whole = saying(json!({"role": "assistant", "content": "a"}));
    whole["choices"][0]["finish_reason"] = Value::Null;
    assert_eq!(split(&whole, b""), Err(ConversionError::Content));
    whole["choices"][0]
        .as_object_mut()
        .unwrap()
        .remove("finish_reason");
    assert_eq!(split(&whole, b""), Err(ConversionError::Content));
    // Snowflake's documents and streams alike.
    whole["choices"][0]["finish_reason"] = json!("");
    assert!(split(&whole, b"").is_ok());
}

#[test]
fn usage_after_the_end_marker_is_part_of_the_answer() {
    let deltas = [
        choice(json!({"content": "a"})),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ];
    let usage = json!({"choices": [], "usage": {"total_tokens": 3}});
    let written = |events: &[Value]| -> String {
        events
            .iter()
            .map(|event| format!("data: {event}\n\n"))
            .collect()
    };
    let stream = written(&deltas) + "data: [DONE]\n\n" + &written(&[usage]);
    let whole = join_stream(stream.as_bytes()).unwrap();
    assert_eq!(whole["usage"], json!({"total_tokens": 3}));
    assert_eq!(whole["choices"][0]["message"]["content"], "a");
}

#[test]
fn a_member_that_nobody_knows_is_in_one_chunk_of_a_stream() {
    let mut whole = saying(
        json!({"role": "assistant", "content": "a", "new": "x", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": 1}}]}),
    );
    whole["generationId"] = json!("g");
    whole["cost"] = json!({"usd": 1});
    let stream = split(&whole, WITH_USAGE).unwrap();
    for once in [
        "\"new\"",
        "\"generationId\"",
        "\"cost\"",
        "\"extra_content\"",
    ] {
        assert_eq!(stream.matches(once).count(), 1, "{once} {stream}");
    }
    assert_eq!(join_stream(stream.as_bytes()), Ok(whole));
}

#[test]
fn what_is_said_beside_the_deltas_must_be_what_they_say() {
    let chunk = |content: &str, name: &str, value: Value| {
        let mut chunk = choice(json!({"content": content}));
        chunk["choices"][0][name] = value;
        chunk
    };
    let joined = |chunks: &[Value]| {
        let whole = join(&[chunks, &ending()].concat())?;
        Ok(whole["choices"][0]["message"]["content"].clone())
    };
    // Together's text, and Perplexity's message so far.
    let so_far = |content: &str| json!({"role": "assistant", "content": content});
    for (first, second, expected) in [
        (
            chunk("a", "text", json!("a")),
            chunk("b", "text", json!("b")),
            Ok(json!("ab")),
        ),
        (
            chunk("a", "text", json!("")),
            chunk("b", "text", json!("")),
            Ok(json!("ab")),
        ),
        (
            chunk("a", "text", json!("a")),
            chunk("b", "text", json!("c")),
            Err(ConversionError::UnknownMember),
        ),
        (
            chunk("a", "message", so_far("a")),
            chunk("b", "message", so_far("ab")),
            Ok(json!("ab")),
        ),
        (
            chunk("a", "message", so_far("")),
            chunk("b", "message", so_far("")),
            Ok(json!("ab")),
        ),
        (
            chunk("a", "message", so_far("a")),
            chunk("b", "message", so_far("abc")),
            Err(ConversionError::UnknownMember),
        ),
        (
            chunk("a", "message", json!({"tool_calls": [1]})),
            chunk("b", "x", Value::Null),
            Err(ConversionError::UnknownMember),
        ),
    ] {
        assert_eq!(joined(&[first, second]), expected);
    }
    // A delta beside a whole message.
    for (delta, said) in [
        (json!({"role": "assistant", "content": ""}), true),
        (json!({}), true),
        (Value::Null, true),
        (json!({"content": "b"}), false),
    ] {
        let mut whole = saying(json!({"role": "assistant", "content": "a"}));
        whole["choices"][0]["delta"] = delta;
        assert_eq!(split(&whole, WITH_USAGE).is_ok(), said);
    }
}

#[test]
fn counts_of_all_so_far_are_those_of_the_last_chunk() {
    let mut events = [
        choice(json!({"content": "a"})),
        choice(json!({"content": "b"})),
    ];
    events[0]["timings"] = json!({"predicted_n": 1});
    events[1]["timings"] = json!({"predicted_n": 2});
    events[0]["choices"][0]["token_ids"] = json!([1]);
    events[1]["choices"][0]["token_ids"] = json!([1]);
    let whole = join(&[&events[..], &ending()].concat()).unwrap();
    assert_eq!(whole["timings"], json!({"predicted_n": 2}));
    // vLLM's tokens add up.
    assert_eq!(whole["choices"][0]["token_ids"], json!([1, 1]));
}

#[test]
fn a_stream_serves_every_other_that_wants_no_more_usage_than_it_has() {
    let mut without = vec![choice(json!({"role": "assistant", "content": "a"}))];
    let [stop, usage] = ending();
    without.push(stop);
    let with = [&without[..], &[usage]].concat();
    for (sent, asked, wanted, serves) in [
        (&with, WITH_USAGE, &b""[..], Ok(())),
        (&with, b"", WITH_USAGE, Ok(())),
        (&without, WITH_USAGE, b"", Ok(())),
        (&without, b"", WITH_USAGE, Err(ConversionError::NoUsage)),
        (
            &without,
            WITH_USAGE,
            br#"{"continuous_usage_stats":true,"include_usage":true}"#,
            Err(ConversionError::Unsupported),
        ),
        (
            &with,
            br#"{"continuous_usage_stats":true,"include_usage":true}"#,
            b"",
            Ok(()),
        ),
        (
            &with,
            br#"{"continuous_usage_stats":true,"include_usage":true}"#,
            WITH_USAGE,
            Ok(()),
        ),
    ] {
        let stream = stream_of(sent);
        let converted = API.convert(stream.as_bytes(), &stream_form(asked), &stream_form(wanted));
        let has_usage = |stream: &[u8]| memchr::memmem::find(stream, b"total_tokens").is_some();
        if let Ok(converted) = &converted {
            assert_eq!(has_usage(converted), wanted == WITH_USAGE);
        }
        assert_eq!(converted.map(|_| ()), serves, "{asked:?} {wanted:?}");
        let json = API.convert(stream.as_bytes(), &stream_form(asked), &Form::json());
        assert_eq!(json.is_ok(), sent.len() == with.len());
    }
}

#[test]
fn what_cannot_be_taken_apart_is_malformed() {
    for stream in [
        "",
        "data: [DONE]\n\n",
        "data: 1\n\n",
        "data: {\"choices\":1}\n\n",
        "data: {\"choices\":[1]}\n\n",
        "data: {\"choices\":[{\"index\":-1}]}\n\n",
        "data: {\"choices\":[{\"logprobs\":1}]}\n\n",
        "data: {\"choices\":[],\"usage\":{}}",
    ] {
        assert_eq!(
            join_stream(stream.as_bytes()),
            Err(ConversionError::Malformed),
            "{stream}"
        );
    }
    let many: String = (0..2_000)
        .map(|index| format!("data: {{\"choices\":[{{\"index\":{index}}}]}}\n\n"))
        .collect();
    assert_eq!(
        join_stream(many.as_bytes()),
        Err(ConversionError::Malformed)
    );
    let message = json!({"index": 0, "message": {}, "finish_reason": "stop"});
    for choices in [json!([]), json!([1]), json!([message, message])] {
        assert_eq!(
            split(&completion(choices), b""),
            Err(ConversionError::Malformed)
        );
    }
    for json in ["", "[]", "{", "{}"] {
        let split = OpenaiChat.split(json.as_bytes(), &stream_form(b""));
        assert_eq!(split, Err(ConversionError::Malformed), "{json}");
    }
}

#[test]
fn usage_is_zeroed_in_both_forms_and_nothing_else() {
    let whole = r#"{"id":"c","created":5,"choices":[{"index":0,"logprobs":{"content":[{"logprob":-1.50}]}}],"usage":{"total_tokens":3,"prompt_tokens_details":{"cached_tokens":2},"cost":0.5,"total_time":1.5},"x_groq":{"id":"r","usage":{"total_tokens":3}}}"#;
    // What is written anew has its members in the order of their names.
    let whole = &serde_json::from_str::<Value>(whole).unwrap().to_string();
    let zero = whole
        .replace(":3", ":0")
        .replace(":2", ":0")
        .replace("0.5", "0");
    let zeroed = OpenaiChat.zero_usage(whole.as_bytes(), &Form::json());
    assert_eq!(String::from_utf8(zeroed.unwrap()).unwrap(), zero);
    let stream = |usage: &str| {
        format!(
            ": c\r\ndata:  {{\"choices\": [ ],\"usage\":null}}\r\n\r\nevent: e\r\ndata: {usage}\r\nid: 1\r\n\r\ndata: [DONE]\r\n\r\n"
        )
    };
    let zeroed = OpenaiChat.zero_usage(stream(whole).as_bytes(), &stream_form(b""));
    assert_eq!(String::from_utf8(zeroed.unwrap()).unwrap(), stream(&zero));
    let broken = OpenaiChat.zero_usage(b"data: \"usage\n\n", &stream_form(b""));
    assert_eq!(broken, Err(ConversionError::Malformed));
}

/// JSON made of the words of the API, put together without sense.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!("a")),
        Just(json!("text")),
        Just(json!("thinking")),
        Just(json!("reasoning.text")),
        Just(json!("stop")),
        (0_u64..3).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "index",
        "type",
        "text",
        "thinking",
        "id",
        "function",
        "arguments",
        "name",
        "custom",
        "input",
        "content",
        "refusal",
        "role",
        "signature",
        "summary",
        "tokens",
        "new",
    ]);
    prop::collection::vec((name, value), 0..4).prop_map(|members| {
        Value::Object(members.into_iter().map(|(n, v)| (n.into(), v)).collect())
    })
}

/// An object with some of these members.
fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Object> {
    prop::collection::vec((prop::sample::select(names), any_json()), 0..5)
        .prop_map(|members| members.into_iter().map(|(n, v)| (n.into(), v)).collect())
}

const MESSAGE: &[&str] = &[
    "role",
    "content",
    "content",
    "refusal",
    "reasoning",
    "reasoning_details",
    "tool_calls",
    "tool_calls",
    "function_call",
    "annotations",
    "citations",
    "index",
    "audio",
    "new",
];
const CHOICE: &[&str] = &[
    "logprobs",
    "finish_reason",
    "stop_reason",
    "text",
    "new",
    "message",
];
const TOP: &[&str] = &[
    "id",
    "created",
    "model",
    "x_groq",
    "usage",
    "new",
    "p",
    "citations",
];

fn any_choice(name: &'static str) -> impl Strategy<Value = Value> {
    let choice = (0_u64..2, some_of(MESSAGE), some_of(CHOICE));
    choice.prop_map(move |(index, message, mut choice)| {
        choice.insert("index".into(), index.into());
        choice.insert(name.into(), message.into());
        choice.into()
    })
}

fn any_answer(choice: &'static str, object: &'static str) -> impl Strategy<Value = Value> {
    let choices = prop::collection::vec(any_choice(choice), 0..3);
    (choices, some_of(TOP)).prop_map(move |(choices, mut top)| {
        top.insert("object".into(), object.into());
        top.insert("choices".into(), choices.into());
        top.into()
    })
}

/// What is left out or empty in a completion, as a joined stream has it.
fn with_defaults(mut whole: Value) -> Value {
    let choices = whole["choices"].as_array_mut().unwrap();
    choices.sort_by_key(|choice| choice["index"].as_u64());
    for choice in choices {
        let choice = choice.as_object_mut().unwrap();
        choice.entry("finish_reason").or_insert(Value::Null);
        let message = choice["message"].as_object_mut().unwrap();
        if message
            .get("role")
            .is_none_or(crate::llm::convert::tree::is_blank)
        {
            message.insert("role".into(), "assistant".into());
        }
        message.entry("content").or_insert(Value::Null);
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            call.as_object_mut().unwrap().remove("index");
        }
    }
    if let Some(Value::Object(x_groq)) = whole.get_mut("x_groq") {
        x_groq.remove("usage");
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn whatever_the_chunks_what_is_joined_can_be_split_and_joined_again(
        mut events in prop::collection::vec(any_answer("delta", "chat.completion.chunk"), 0..4),
    ) {
        events.push(json!({"usage": {"total_tokens": 3}}));
        if let Ok(whole) = join(&events)
            && let Ok(stream) = split(&whole, WITH_USAGE)
        {
            prop_assert_eq!(join_stream(stream.as_bytes()), Ok(whole), "{}", stream);
        }
    }

    #[test]
    fn whatever_the_completion_what_is_split_can_be_joined_again(
        mut whole in any_answer("message", "chat.completion"),
    ) {
        whole["usage"] = json!({"total_tokens": 3});
        if let Ok(stream) = split(&whole, WITH_USAGE) {
            let joined = join_stream(stream.as_bytes());
            prop_assert_eq!(joined, Ok(with_defaults(whole)), "{}", stream);
        }
    }
}

#[test]
fn a_stream_does_not_outgrow_a_vm_because_each_chunk_repeats_the_head() {
    let calls =
        vec![r#"{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}"#; 900];
    let json = format!(
        r#"{{"id":"{}","choices":[{{"index":0,"message":{{"tool_calls":[{}]}},"finish_reason":"tool_calls"}}]}}"#,
        "i".repeat(100_000),
        calls.join(",")
    );
    let split = OpenaiChat.split(json.as_bytes(), &stream_form(b""));
    assert_eq!(split, Err(ConversionError::TooLarge));
}
