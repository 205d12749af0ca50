//! The judges against answers recorded from providers, at many chunkings.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and says what it ran"
)]

mod recorded;

use envoy_llm_cache::llm::{Answer, Api, Ask, Fault, Finish, Framing};

/// A line of `INDEX.tsv`.
struct Recording {
    path: String,
    api: Option<Api>,
    status: String,
    framing: Option<Framing>,
    http_status: String,
}

fn chat() -> Api {
    Api::from_name("openai_chat").unwrap()
}

fn ask() -> Ask {
    Ask {
        form: None,
        choices: 1,
        temperature: None,
        server_tools: false,
    }
}

fn recordings() -> Vec<Recording> {
    let Some(index) = recorded::read("INDEX.tsv") else {
        return Vec::new();
    };
    let line = |line: &str| {
        let columns: Vec<_> = line.split('\t').collect();
        let (path, name, kind) = (columns[0], columns[1], columns[2]);
        let is_chat = name.ends_with("-chat") || name == "vllm-chat";
        let other = ["bedrock", "cohere", "ollama-chat"];
        let is_other = other.iter().any(|other| name.starts_with(other));
        let content_type = match (kind, columns[7]) {
            (_, given) if !given.is_empty() => given,
            ("stream", _) => "text/event-stream",
            _ => "application/json",
        };
        Recording {
            path: path.to_owned(),
            api: (is_chat && !is_other).then(chat),
            status: columns[3].to_owned(),
            framing: chat().framing(&ask(), content_type.as_bytes()),
            http_status: columns[6].to_owned(),
        }
    };
    let text = String::from_utf8(index).unwrap();
    text.lines().skip(1).map(line).collect()
}

fn judge<'c>(
    recording: &Recording,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Answer, Fault> {
    let mut judge = recording
        .api
        .unwrap()
        .judge(&ask(), recording.framing.unwrap());
    let mut whole = Vec::new();
    for chunk in chunks {
        judge.feed(chunk, &mut |_, _| {})?;
        whole.extend_from_slice(chunk);
    }
    judge.finish(&whole)
}

/// What the index says of a recording.
fn expected(status: &str) -> Result<(Finish, bool), ()> {
    match status {
        "complete" => Ok((Finish::Complete, true)),
        "complete-length" => Ok((Finish::Length, true)),
        "complete-filtered" => Ok((Finish::Filtered, true)),
        "complete-nofinish" => Ok((Finish::Complete, false)),
        // Errors, aborts, what is cut, and what lacks the blank line after its last event.
        _ => Err(()),
    }
}

#[test]
fn every_recorded_answer_is_judged_as_the_index_says_at_every_chunking() {
    let mut ran = 0;
    for recording in recordings() {
        if recording.api.is_none() || recording.http_status != "200" {
            continue;
        }
        let body = recorded::read(&recording.path).unwrap();
        let whole = judge(&recording, [&body[..]]);
        let seen = whole.map(|answer| (answer.finish, answer.marked_end));
        assert_eq!(
            seen.map_err(|_| ()),
            expected(&recording.status),
            "{}: {whole:?}",
            recording.path
        );
        for size in [1, 7, 64, 4_096] {
            let chunked = judge(&recording, body.chunks(size));
            assert_eq!(chunked, whole, "{} by {size}", recording.path);
        }
        let every_split = 0..=body.len().min(4_096);
        for split in every_split.step_by(if cfg!(debug_assertions) { 13 } else { 1 }) {
            let (head, tail) = body.split_at(split);
            let chunked = judge(&recording, [head, tail]);
            assert_eq!(chunked, whole, "{} at {split}", recording.path);
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
    assert!(ran > 0 || recorded::folder().is_none());
}

#[test]
fn no_recorded_answer_is_whole_when_it_is_cut_before_its_end() {
    let mut ran = 0;
    for recording in recordings() {
        if recording.api.is_none() || recording.status != "complete" {
            continue;
        }
        let body = recorded::read(&recording.path).unwrap();
        // JSON may end with white space, which says nothing; a stream needs its last byte.
        let end = match recording.framing {
            Some(Framing::Json) => body.trim_ascii_end().len() - 1,
            _ => last_needed(&body),
        };
        let cuts = (0..=end).rev().step_by(1 + body.len() / 2_000);
        for cut in cuts {
            let whole = judge(&recording, [&body[..cut]]).is_ok_and(|answer| answer.marked_end);
            assert!(!whole, "{} cut at {cut} of {}", recording.path, body.len());
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
    assert!(ran > 0 || recorded::folder().is_none());
}

/// The offset of the line end that dispatches the last event.
fn last_needed(stream: &[u8]) -> usize {
    let lines = stream.trim_ascii_end();
    let ends = &stream[lines.len()..];
    let blank_line = if ends.starts_with(b"\r\n\r\n") { 3 } else { 2 };
    lines.len() + blank_line - 1
}
