//! Responses and embeddings against answers recorded from providers: judged at many chunkings, and
//! changed from one form to the other and back.

use envoy_llm_cache::llm::{Api, Finish, Form, Framing, NotWhole, RequestTraits, Verdict};
use serde_json::Value;

use crate::index::{Recorded, recorded};

struct Recording {
    path: String,
    api: Api,
    status: String,
    framing: Framing,
    body: Vec<u8>,
}

const CUT_IN_A_CALL: &str = "openai-responses/handles_refusal_for_stream.sse";

impl Recording {
    fn is_whole(&self) -> bool {
        self.status.starts_with("complete") && self.path != CUT_IN_A_CALL
    }

    fn form(&self) -> Form {
        Form::new(self.framing, b"")
    }
}

/// The recordings of these APIs. Those that came as HTTP errors are read as if they had come with
/// 200, as some providers send them.
fn recordings() -> Vec<Recording> {
    let recording = |recorded: Recorded| {
        let name = match recorded.folder.as_str() {
            // Of other APIs.
            "gemini-embeddings" | "ollama-embeddings" => return None,
            folder if folder.ends_with("-embeddings") => "openai_embeddings",
            folder if folder.ends_with("-responses") => "openai_responses",
            _ => return None,
        };
        Some(Recording {
            api: Api::from_name(name).unwrap(),
            framing: match recorded.is_stream {
                true => Framing::Sse,
                false => Framing::Json,
            },
            body: recorded.body(),
            path: recorded.path,
            status: recorded.status,
        })
    };
    recorded().filter_map(recording).collect()
}

fn ask() -> RequestTraits {
    RequestTraits {
        // Embeddings: at least one.
        form: None,
        choices: 1,
        temperature: None,
        server_tools: false,
    }
}

fn judge<'c>(
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

/// What the index says of a recording.
fn expected(path: &str, status: &str) -> Result<(Finish, bool), ()> {
    match status {
        // The limit on tokens fell into the arguments of a call, which no client can use.
        _ if path == CUT_IN_A_CALL => Err(()),
        "complete" => Ok((Finish::Complete, true)),
        "complete-length" => Ok((Finish::Length, true)),
        "complete-filtered" => Ok((Finish::Filtered, true)),
        "complete-nofinish" => Ok((Finish::Complete, false)),
        // Errors, and what is not final.
        _ => Err(()),
    }
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_is_judged_as_the_index_says_at_every_chunking() {
    let mut ran = 0;
    for recording in recordings() {
        let (api, framing) = (recording.api, recording.framing);
        let body = &recording.body;
        let whole = judge(api, framing, [&body[..]]);
        let seen = whole.map(|answer| (answer.finish, answer.marked_end));
        assert_eq!(
            seen.map_err(|_| ()),
            expected(&recording.path, &recording.status),
            "{}: {whole:?}",
            recording.path
        );
        assert!(
            whole.is_ok_and(|answer| !answer.empty) || !recording.is_whole(),
            "{}",
            recording.path
        );
        for size in [1, 7, 64, 4_096] {
            let chunked = judge(api, framing, body.chunks(size));
            assert_eq!(chunked, whole, "{} by {size}", recording.path);
        }
        for split in 0..=body.len().min(4_096) {
            let (head, tail) = body.split_at(split);
            let chunked = judge(api, framing, [head, tail]);
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
    for recording in recordings().iter().filter(|r| r.is_whole()) {
        let body = &recording.body;
        // White space after JSON says nothing, nor does `[DONE]` after the last event.
        let content = body.trim_ascii_end();
        let content = content.strip_suffix(b"data: [DONE]").unwrap_or(content);
        let end = match recording.framing {
            Framing::Json => content.len(),
            _ => content.trim_ascii_end().len() + 2,
        };
        for cut in 0..end {
            let whole = judge(recording.api, recording.framing, [&body[..cut]]);
            assert!(
                !whole.is_ok_and(|answer| answer.marked_end),
                "{} cut at {cut} of {}",
                recording.path,
                body.len()
            );
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_keeps_what_it_says_through_the_other_form_and_back() {
    let (mut ran, mut converted) = (0, 0);
    let (json, sse) = (Form::json(), Form::new(Framing::Sse, b""));
    for recording in recordings().iter().filter(|r| r.is_whole()) {
        ran += 1;
        let (api, path) = (recording.api, &recording.path);
        let document = match recording.framing {
            Framing::Json => Ok(recording.body.clone()),
            _ => api.convert(&recording.body, &recording.form(), &json),
        };
        let stream = document
            .as_ref()
            .map_err(|lossy| *lossy)
            .and_then(|document| api.convert(document, &json, &sse));
        let (document, stream) = match (document, stream) {
            (Ok(document), Ok(stream)) => (document, stream),
            (Err(lossy), _) | (_, Err(lossy)) => {
                println!("{path}: {}", lossy.as_str());
                continue;
            }
        };
        let back = api.convert(&stream, &sse, &json).unwrap();
        let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
        assert_eq!(value(&back), value(&document), "{path}");
        let verdict = judge(api, recording.framing, [&recording.body[..]]);
        assert_eq!(
            judge(api, Framing::Json, [&document[..]]),
            verdict,
            "{path}"
        );
        assert_eq!(judge(api, Framing::Sse, [&stream[..]]), verdict, "{path}");
        converted += 1;
    }
    println!("converted {converted} of {ran} recorded answers");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_keeps_all_but_its_usage_when_that_is_zero() {
    let mut ran = 0;
    for recording in recordings().iter().filter(|r| r.is_whole()) {
        let (api, path) = (recording.api, &recording.path);
        let zeroed = api.zero_usage(&recording.body, &recording.form()).unwrap();
        let verdict = judge(api, recording.framing, [&recording.body[..]]);
        assert_eq!(
            judge(api, recording.framing, [&zeroed[..]]),
            verdict,
            "{path}"
        );
        let (before, after) = match recording.framing {
            Framing::Json => (recording.body.clone(), zeroed),
            _ => {
                let lines = |bytes: &[u8]| {
                    let text = String::from_utf8(bytes.to_vec()).unwrap();
                    text.lines().map(str::to_owned).collect::<Vec<_>>()
                };
                let (before, after) = (lines(&recording.body), lines(&zeroed));
                assert_eq!(before.len(), after.len(), "{path}");
                let mut changed = before.iter().zip(&after).filter(|(a, b)| a != b);
                let (before, after) = changed.next().unwrap_or((&before[0], &after[0]));
                assert_eq!(changed.next(), None, "{path}");
                let data = |line: &str| line.strip_prefix("data: ").unwrap_or("0").into();
                (data(before), data(after))
            }
        };
        let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
        let (mut before, mut after) = (value(&before), value(&after));
        for pointer in ["/usage", "/response/usage"] {
            let Some(usage) = after.pointer_mut(pointer).map(Value::take) else {
                continue;
            };
            let digits = |c: char| c.is_ascii_digit() && c != '0';
            assert!(!usage.to_string().contains(digits), "{path}: {usage}");
            before.pointer_mut(pointer).map(Value::take);
        }
        assert_eq!(before, after, "{path}");
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}
