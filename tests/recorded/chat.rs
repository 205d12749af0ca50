//! The chat and text completions, and Workers AI, against answers recorded from providers.

use std::collections::BTreeMap;

use envoy_llm_cache::llm::{
    Api, ConversionError, Finish, Form, Framing, NotWhole, RequestTraits, Verdict,
};
use serde_json::Value;

use crate::index::{Recorded, read, recorded};

struct Recording {
    path: String,
    api: Api,
    status: String,
    framing: Framing,
}

impl Recording {
    fn is_complete(&self) -> bool {
        expected(self).is_ok_and(|(_, marked_end)| marked_end)
    }

    fn form(&self) -> Form {
        match self.framing {
            Framing::Json => Form::json(),
            framing => Form::new(framing, b""),
        }
    }
}

fn api_of(recorded: &Recorded) -> Option<Api> {
    let (folder, file) = (recorded.folder.as_str(), recorded.file());
    let name = match folder {
        _ if folder.ends_with("-completions") => "openai_completions",
        "workers-ai" => "workers_ai",
        "derived" if file.starts_with("openai_") || file.starts_with("vllm_") => "openai_chat",
        "ollama-chat" | "cohere-v1-chat" | "cohere-v2-chat" => return None,
        _ if folder.ends_with("-chat") => "openai_chat",
        _ => return None,
    };
    Api::from_name(name)
}

fn ask() -> RequestTraits {
    RequestTraits {
        form: None,
        choices: 1,
        temperature: None,
        server_tools: false,
    }
}

/// Those that came with status 200: others are no answers.
fn recordings() -> Vec<Recording> {
    let recording = |recorded: Recorded| {
        let api = api_of(&recorded).filter(|_| recorded.http_status == "200")?;
        let content_type = match recorded.content_type.as_str() {
            "" if recorded.is_stream => "text/event-stream",
            "" => "application/json",
            given => given,
        };
        Some(Recording {
            api,
            framing: api.framing(&ask(), content_type.as_bytes()).unwrap(),
            path: recorded.path,
            status: recorded.status,
        })
    };
    recorded().filter_map(recording).collect()
}

fn judge<'c>(
    recording: &Recording,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Verdict, NotWhole> {
    judge_framing(recording.api, recording.framing, chunks)
}

fn judge_framing<'c>(
    api: Api,
    framing: Framing,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Verdict, NotWhole> {
    let mut judge = api.judge(&ask(), framing);
    let mut whole = Vec::new();
    for chunk in chunks {
        judge.feed(chunk, &mut |_, _| {})?;
        whole.extend_from_slice(chunk);
    }
    judge.finish(&whole)
}

/// What the index says of a recording: its finish, and whether its end is marked.
fn expected(recording: &Recording) -> Result<(Finish, bool), ()> {
    match (recording.path.as_str(), recording.status.as_str()) {
        // The standard strips a byte order mark; OpenAI's client loses the first event with it.
        ("derived/openai_bom.sse", _) => Err(()),
        // The index goes by the finish alone.
        ("derived/openai_missing_done_after_finish.sse", _) => Ok((Finish::Complete, false)),
        // The last line has no end, and its text alone proves that nothing is missing.
        ("mistral-chat/stream_basic_text_1.sse", _)
        | ("openai-compat-chat/vercel_anthropic_fallback_tool_call.sse", _) => {
            Ok((Finish::Complete, true))
        }
        // Snowflake leaves the finish empty; a document with usage cannot be cut.
        ("snowflake-chat/test_snowflake_thinking.json", _) => Ok((Finish::Complete, true)),
        // Cut between two events: nothing is wrong with it but its end.
        ("derived/openai_cut_before_finish.sse", _) => Ok((Finish::Complete, false)),
        // The index looks for a finish in choices only; this one is beside the tool calls.
        ("workers-ai/native_tool_call.sse", _) => Ok((Finish::Complete, true)),
        // An answer without content is whole; `store_if.empty` is asked about it.
        (_, "complete" | "complete-empty") => Ok((Finish::Complete, true)),
        (_, "complete-length") => Ok((Finish::Length, true)),
        (_, "complete-filtered") => Ok((Finish::Filtered, true)),
        (_, "complete-nofinish") => Ok((Finish::Complete, false)),
        // Errors, aborts, what is cut, and what lacks the blank line after its last event.
        _ => Err(()),
    }
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_is_judged_as_the_index_says_at_every_chunking() {
    let mut ran = 0;
    for recording in recordings() {
        let body = read(&recording.path);
        let whole = judge(&recording, [&body[..]]);
        let seen = whole.map(|answer| (answer.finish, answer.marked_end));
        assert_eq!(
            seen.map_err(|_| ()),
            expected(&recording),
            "{}: {whole:?}",
            recording.path
        );
        if recording.status == "unterminated-tail" && !recording.is_complete() {
            assert_eq!(whole, Err(NotWhole::Pending), "{}", recording.path);
        }
        for size in [1, 7, 64, 4_096] {
            let chunked = judge(&recording, body.chunks(size));
            assert_eq!(chunked, whole, "{} by {size}", recording.path);
        }
        let every_split = 0..=body.len().min(4_096);
        let step = if body.len() <= 4_096 { 1 } else { 13 };
        for split in every_split.step_by(step) {
            let (head, tail) = body.split_at(split);
            let chunked = judge(&recording, [head, tail]);
            assert_eq!(chunked, whole, "{} at {split}", recording.path);
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn no_recorded_answer_is_whole_when_it_is_cut_before_its_end() {
    let mut ran = 0;
    for recording in recordings().iter().filter(|it| it.is_complete()) {
        let body = read(&recording.path);
        // JSON may end with white space, which says nothing; a stream needs its last byte.
        let end = match recording.framing {
            Framing::Json => body.trim_ascii_end().len() - 1,
            _ => last_needed(&body) - 1,
        };
        let cuts = (0..=end).rev().step_by(1 + body.len() / 2_000);
        for cut in cuts {
            let whole = judge(recording, [&body[..cut]]).is_ok_and(|answer| answer.marked_end);
            assert!(!whole, "{} cut at {cut} of {}", recording.path, body.len());
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}

/// How many bytes of a stream are needed: those of `[DONE]` without a line end, or, if that is
/// sooner, all up to the first event by which every choice has finished and that has the usage.
fn last_needed(stream: &[u8]) -> usize {
    let marker = memchr::memmem::rfind(stream, b"[DONE]").map(|start| start + "[DONE]".len());
    let mut finished = BTreeMap::new();
    let mut end = 0;
    let mut text = stream;
    while let Some(length) = blank_line(text) {
        let (event, rest) = text.split_at(length);
        text = rest;
        end += length;
        let data = memchr::memmem::find(event, b"data:").map(|at| &event[at + "data:".len()..]);
        let Some(chunk) = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()) else {
            continue;
        };
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let has_finish = choice["finish_reason"]
                .as_str()
                .is_some_and(|it| !it.is_empty());
            *finished.entry(choice["index"].to_string()).or_insert(false) |= has_finish;
        }
        let is_finished = !finished.is_empty() && finished.values().all(|finished| *finished);
        if is_finished && chunk["usage"].is_object() {
            // Of a line end of two bytes the first is enough.
            return end - usize::from(event.ends_with(b"\r\n"));
        }
    }
    marker.unwrap_or(stream.len())
}

/// The length of the text up to its first blank line and with it.
fn blank_line(text: &[u8]) -> Option<usize> {
    ["\n\n", "\r\n\r\n", "\r\r"]
        .iter()
        .filter_map(|end| memchr::memmem::find(text, end.as_bytes()).map(|at| at + end.len()))
        .min()
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_converts_without_loss_or_says_why_not() {
    let with_usage = Form::new(Framing::Sse, br#"{"include_usage":true}"#);
    let plain = Form::new(Framing::Sse, b"");
    let mut convertible: BTreeMap<&str, u32> = BTreeMap::new();
    let mut declined = Vec::new();
    for recording in recordings().iter().filter(|it| it.is_complete()) {
        let body = read(&recording.path);
        let api = recording.api;
        let join = |stream: &[u8]| api.convert(stream, &plain, &Form::json());
        let split = |json: &[u8]| api.convert(json, &Form::json(), &with_usage);
        let json = match recording.framing {
            Framing::Json => Ok(body.clone()),
            _ => join(&body).or_else(|lossy| match lossy {
                // What there is besides must convert all the same.
                ConversionError::NoUsage => {
                    declined.push((recording.path.clone(), lossy));
                    join(&with_made_up_usage(&body))
                }
                _ => Err(lossy),
            }),
        };
        let stream = json.as_deref().map_err(|lossy| *lossy).and_then(split);
        let (json, stream) = match (json, stream) {
            (Ok(json), Ok(stream)) => (json, stream),
            (_, Err(lossy)) | (Err(lossy), _) => {
                declined.push((recording.path.clone(), lossy));
                continue;
            }
        };
        let again = join(&stream).unwrap();
        let (mut again, json_value) = (value(&again), value(&json));
        // Copilot's do not say what they are.
        if json_value.get("object").is_none() {
            again.as_object_mut().unwrap().remove("object");
        }
        assert_eq!(again, json_value, "{}", recording.path);
        for (framing, converted) in [(Framing::Json, &json), (Framing::Sse, &stream)] {
            let mut seen = judge_framing(api, framing, [&converted[..]]);
            // Whole answers of these say no finish, so that the streams made of them say none.
            let has_finish =
                api.name() != "workers_ai" && !recording.path.starts_with("snowflake-chat/");
            if let (Ok(answer), Framing::Sse, false) = (&mut seen, framing, has_finish) {
                answer.marked_end = true;
            }
            assert_eq!(seen, judge(recording, [&body[..]]), "{}", recording.path);
        }
        if declined
            .last()
            .is_none_or(|(path, _)| *path != recording.path)
        {
            *convertible.entry(api.name()).or_default() += 1;
        }
    }
    println!("convertible: {convertible:?}; declined: {}", declined.len());
    for (path, lossy) in &declined {
        println!("  {path}: {}", lossy.as_str());
        // Anything else would be a shape that nobody has thought of.
        assert_ne!(*lossy, ConversionError::Malformed, "{path}");
    }
}

fn with_made_up_usage(stream: &[u8]) -> Vec<u8> {
    let done = memchr::memmem::rfind(stream, b"data: [DONE]").unwrap();
    let (events, done) = stream.split_at(done);
    let usage = b"data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";
    [events, usage, done].concat()
}

/// The value of an answer, without the indexes that DeepSeek and others give the tool calls of
/// whole messages, as every stream has them, and without padding.
fn value(json: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(json).unwrap();
    for choice in value["choices"].as_array_mut().into_iter().flatten() {
        // Beside a message Perplexity has a delta that says nothing.
        choice.as_object_mut().unwrap().remove("delta");
        let message = choice.get_mut("message").and_then(Value::as_object_mut);
        let calls = message
            .and_then(|message| {
                message.remove("padding");
                // Left out means the same as null.
                if message.get("content") == Some(&Value::Null) {
                    message.remove("content");
                }
                message.get_mut("tool_calls")
            })
            .and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            call.as_object_mut().unwrap().remove("index");
        }
    }
    value
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn zeroing_the_usage_of_a_recorded_answer_leaves_the_rest_as_it_is() {
    let mut ran = 0;
    for recording in recordings().iter().filter(|it| it.is_complete()) {
        let body = read(&recording.path);
        let form = recording.form();
        let zeroed = recording.api.zero_usage(&body, &form).unwrap();
        assert_eq!(
            judge(recording, [&zeroed[..]]),
            judge(recording, [&body[..]]),
            "{}",
            recording.path
        );
        let again = recording.api.zero_usage(&zeroed, &form).unwrap();
        assert!(again == zeroed, "{}", recording.path);
        if recording.framing == Framing::Sse {
            let lines = |text: &[u8]| -> Vec<Vec<u8>> {
                text.split(|byte| *byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect()
            };
            let (old, new) = (lines(&body), lines(&zeroed));
            assert_eq!(old.len(), new.len(), "{}", recording.path);
            for (old, new) in old.iter().zip(&new) {
                let finds = |text: &[u8]| memchr::memmem::find(old, text).is_some();
                let has_usage = finds(b"_tokens\":");
                let counts = [&b"cost"[..], b"Usage", b"usage", b"timings"];
                assert!(
                    old == new || has_usage || counts.iter().any(|it| finds(it)),
                    "{}",
                    recording.path
                );
                assert!(!has_usage || old != new, "{}", recording.path);
            }
        }
        let zeroed = String::from_utf8(zeroed).unwrap();
        let counts = zeroed.split("_tokens\":").skip(1);
        for count in counts.map(str::trim_start) {
            assert!(
                count.starts_with("0,") || count.starts_with("0}") || count.starts_with("null"),
                "{}: {count}",
                recording.path
            );
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}
