//! What a conversion holds at one time, against what it says that it does. Counted, not timed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use envoy_llm_cache::llm::{Api, ConversionError, Form, Framing};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn take(bytes: usize) {
    // A thread that ends counts no more.
    let _ended = HELD.try_with(|held| {
        held.set(held.get().saturating_add(bytes));
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

fn give(bytes: usize) {
    let _ended = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: all is left to the system's allocator, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // For a moment there are both.
        take(size);
        give(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `run` holds at one time, with what it gives.
fn peak<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = HELD.get();
    PEAK.set(before);
    let given = run();
    (PEAK.get() - before, given)
}

fn api(name: &str) -> Api {
    Api::from_name(name).unwrap()
}

fn sse() -> Form {
    Form::new(Framing::Sse, b"")
}

fn repeated(piece: &str, bytes: usize) -> String {
    vec![piece; bytes / (piece.len() + 1)].join(",")
}

/// Answers of that length whose pieces are as short as can be, and one that is mostly text.
fn shapes(bytes: usize) -> Vec<(&'static str, Form, String)> {
    let chat = |message: &str| {
        format!(
            r#"{{"object":"chat.completion","choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":"stop"}}],"usage":{{"total_tokens":3}}}}"#
        )
    };
    let event = |data: String| format!("data: {data}\n\n");
    let chunk = |delta: &str, finish: &str| {
        event(format!(
            r#"{{"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}],"usage":{{"total_tokens":3}}}}"#
        ))
    };
    let text = "a word, ".repeat(bytes / 8);
    let escaped = r#"\u007b\u0022\u0022\u003a0\u007d,"#.repeat(bytes / 31);
    let mut shapes = vec![
        (
            "openai_chat",
            Form::json(),
            chat(&format!("\"content\":\"{text}\"")),
        ),
        (
            "openai_chat",
            Form::json(),
            chat(&format!("\"content\":\"{escaped}\"")),
        ),
    ];
    for piece in [
        r#"{"":0}"#,
        "{}",
        "[]",
        "[0]",
        "0",
        "\"\"",
        r#"{"":{"":0}}"#,
    ] {
        let list = repeated(piece, bytes);
        for name in ["annotations", "tool_calls", "content", "unknown"] {
            let message = format!("\"content\":\"a\",\"{name}\":[{list}]");
            shapes.push(("openai_chat", Form::json(), chat(&message)));
            let delta = format!("{{\"{name}\":[{list}]}}");
            let stream = [
                chunk(&delta, "null"),
                chunk("{}", "\"stop\""),
                event("[DONE]".to_owned()),
            ];
            shapes.push(("openai_chat", sse(), stream.concat()));
        }
        let line = |rest: &str| {
            format!(
                "{{\"model\":\"m\",\"message\":{{\"role\":\"assistant\",\"content\":\"a\"{rest}}}"
            )
        };
        let last = format!(
            "{},\"done\":true,\"done_reason\":\"stop\"}}\n",
            line(&format!(",\"tool_calls\":[{list}]"))
        );
        shapes.push(("ollama", Form::new(Framing::Ndjson, b""), last.clone()));
        shapes.push(("ollama", Form::json(), last));
        let gemini = format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"a"}},{list}]}},"finishReason":"STOP"}}]}}"#
        );
        shapes.push(("gemini", Form::json(), gemini.clone()));
        shapes.push(("gemini", sse(), event(gemini)));
        let message = format!(
            r#"{{"type":"message","role":"assistant","content":[{{"type":"text","text":"a"}},{{"type":"server_tool_result","x":[{list}]}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}"#
        );
        shapes.push(("anthropic_messages", Form::json(), message));
        let response = format!(
            r#"{{"object":"response","status":"completed","output":[{{"type":"message","id":"m","role":"assistant","status":"completed","content":[{{"type":"output_text","text":"a","annotations":[{list}]}}]}}]}}"#
        );
        shapes.push(("openai_responses", Form::json(), response));
    }
    let short = vec![chunk(r#"{"content":"a"}"#, "null"); bytes / 120].concat();
    let stream = [short, chunk("{}", "\"stop\""), event("[DONE]".to_owned())].concat();
    shapes.push(("openai_chat", sse(), stream));
    let line =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n";
    let last = "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n";
    let lines = line.repeat(bytes / line.len()) + last;
    shapes.push(("ollama", Form::new(Framing::Ndjson, b""), lines));
    shapes
}

fn other(api: &str, form: &Form) -> Form {
    match (form.framing, api) {
        (Framing::Json, "ollama") => Form::new(Framing::Ndjson, b""),
        (Framing::Json, _) => sse(),
        _ => Form::json(),
    }
}

#[test]
fn a_conversion_holds_no_more_than_it_says() {
    let mut converted = 0;
    for bytes in [2_000, 60_000, 300_000] {
        for (name, form, answer) in shapes(bytes) {
            let wanted = other(name, &form);
            let (held, result) = peak(|| api(name).convert(answer.as_bytes(), &form, &wanted));
            let said = api(name).conversion_bytes(answer.as_bytes());
            let start = answer.get(..answer.len().min(200)).unwrap();
            assert!(held <= said, "{name} {held} > {said}: {start}");
            let (held, _zeroed) = peak(|| api(name).zero_usage(answer.as_bytes(), &form));
            assert!(held <= said, "{name} zero {held} > {said}: {start}");
            let (held, _agreed) = peak(|| api(name).agree(answer.as_bytes(), &form, b"", &form));
            assert!(held <= said, "{name} agree {held} > {said}: {start}");
            converted += u32::from(result.is_ok());
        }
    }
    assert!(converted > 20, "{converted}");
}

#[test]
fn what_takes_far_more_than_its_text_is_refused_before_it_is_taken_apart() {
    for (name, form, answer) in shapes(2 << 20) {
        let wanted = other(name, &form);
        let (held, result) = peak(|| api(name).convert(answer.as_bytes(), &form, &wanted));
        assert!(held <= 160 << 20, "{name}: {held}");
        if result == Err(ConversionError::TooLarge) {
            assert!(held < 4 << 20, "{name}: {held}");
        }
    }
}

#[test]
fn an_answer_of_text_takes_few_times_its_length() {
    let (_, _, answer) = shapes(1 << 20).swap_remove(0);
    let said = api("openai_chat").conversion_bytes(answer.as_bytes());
    assert!(said < 40 * answer.len(), "{said}");
}

/// Answers of few bytes of which each piece is an event of its own, with all that events repeat.
#[test]
fn a_stream_is_at_most_some_times_as_long_as_the_answer_that_became_it() {
    let long = "x".repeat(4_000);
    let choice = |index: usize| {
        let call = r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        let calls = repeated(call, 300);
        format!(
            r#"{{"index":{index},"message":{{"role":"assistant","content":"a","tool_calls":[{calls}]}},"finish_reason":"stop"}}"#
        )
    };
    let choices: Vec<_> = (0..60).map(choice).collect();
    let chat = |model: &str| {
        format!(
            r#"{{"object":"chat.completion","model":"{model}","choices":[{}]}}"#,
            choices.join(",")
        )
    };
    let part = r#"{"type":"output_text","text":"a"}"#;
    let response = |id: &str| {
        format!(
            r#"{{"object":"response","status":"completed","output":[{{"type":"message","id":"{id}","role":"assistant","content":[{}]}}]}}"#,
            repeated(part, 20_000)
        )
    };
    let block = r#"{"type":"text","text":"a"}"#;
    let message = format!(
        r#"{{"type":"message","role":"assistant","content":[{}],"stop_reason":"end_turn","stop_sequence":null,"usage":{{"input_tokens":1,"output_tokens":1}}}}"#,
        repeated(block, 40_000)
    );
    for (name, answer) in [
        ("openai_chat", chat("m")),
        ("openai_chat", chat(&long)),
        ("openai_responses", response("m")),
        ("openai_responses", response(&long)),
        ("anthropic_messages", message),
    ] {
        let converted = api(name).convert(answer.as_bytes(), &Form::json(), &sse());
        match converted {
            Ok(stream) => assert!(stream.len() < 8 * answer.len() + (64 << 10), "{name}"),
            Err(lossy) => assert_eq!(lossy, ConversionError::TooLarge, "{name}"),
        }
    }
    let refused = api("openai_chat").convert(chat(&long).as_bytes(), &Form::json(), &sse());
    assert_eq!(refused, Err(ConversionError::TooLarge));
    assert!(
        api("openai_chat")
            .convert(chat("m").as_bytes(), &Form::json(), &sse())
            .is_ok()
    );
}
