//! Anthropic's and Bedrock's answers as recorded: judged at many chunkings, and turned into the
//! other form and back.

use envoy_llm_cache::llm::{
    Api, ConversionError, Finish, Form, Framing, NotWhole, RequestTraits, Verdict,
};
use serde_json::Value;

use crate::index::{Recorded, recorded};

struct Recording {
    path: String,
    api: Api,
    status: String,
    /// What the request asked for.
    ask: RequestTraits,
    body: Vec<u8>,
}

impl Recording {
    fn form(&self) -> &Form {
        self.ask.form.as_ref().unwrap()
    }

    /// The form of the other wire.
    fn other_form(&self) -> Form {
        let framing = match (self.form().framing, self.api.name()) {
            (Framing::Json, "bedrock") => Framing::EventStream,
            (Framing::Json, _) => Framing::Sse,
            _ => Framing::Json,
        };
        Form::new(framing, &self.form().options)
    }

    fn judge<'c>(&self, chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Verdict, NotWhole> {
        judge(self.api, &self.ask, self.form(), chunks)
    }

    /// Whether it is whole, and how it ended, by the index, where that knows.
    fn expected(&self) -> Result<(Finish, bool), ()> {
        match (self.path.as_str(), self.status.as_str()) {
            // The index tells complete by the stop reason.
            ("derived/anthropic_missing_message_stop.sse", _) => Ok((Finish::Complete, false)),
            // Two answers in one: the index does not see the first.
            ("anthropic-messages/vercel_spliced_message_start.sse", _) => Err(()),
            // Titan's, which ends without a reason where a guardrail answers in its place.
            ("bedrock-invoke-stream/guardrail_invoke_stream.bin", _) => {
                Ok((Finish::Filtered, false))
            }
            (_, "complete") => Ok((Finish::Complete, true)),
            (_, "complete-length") => Ok((Finish::Length, true)),
            (_, "complete-filtered") => Ok((Finish::Filtered, true)),
            (_, "complete-nofinish") => Ok((Finish::Complete, false)),
            _ => Err(()),
        }
    }
}

fn judge<'c>(
    api: Api,
    ask: &RequestTraits,
    form: &Form,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Result<Verdict, NotWhole> {
    let ask = RequestTraits {
        form: Some(form.clone()),
        ..ask.clone()
    };
    let mut judge = api.judge(&ask, form.framing);
    let mut whole = Vec::new();
    for chunk in chunks {
        judge.feed(chunk, &mut |_, _| {})?;
        whole.extend_from_slice(chunk);
    }
    judge.finish(&whole)
}

fn recordings() -> Vec<Recording> {
    recorded().filter_map(recording).collect()
}

/// Everything that is whole, whatever its finish.
fn whole_recordings() -> impl Iterator<Item = Recording> {
    recordings()
        .into_iter()
        .filter(|recording| recording.expected().is_ok_and(|(_, marked)| marked))
}

fn recording(recorded: Recorded) -> Option<Recording> {
    let path = &recorded.path;
    let (api, url_path) = match recorded.folder.as_str() {
        "anthropic-messages" => ("anthropic_messages", "/v1/messages"),
        "derived" if path.starts_with("derived/anthropic_") => {
            ("anthropic_messages", "/v1/messages")
        }
        "bedrock-converse" => ("bedrock", "/model/m/converse"),
        "bedrock-converse-stream" => ("bedrock", "/model/m/converse-stream"),
        "bedrock-invoke" => ("bedrock", "/model/m/invoke"),
        "bedrock-invoke-stream" => ("bedrock", "/model/m/invoke-with-response-stream"),
        _ => return None,
    };
    if path.ends_with(".gz") {
        println!("skipped, compressed: {path}");
        return None;
    }
    if recorded.http_status != "200" {
        println!("skipped, HTTP status {}: {path}", recorded.http_status);
        return None;
    }
    let api = Api::from_name(api).unwrap();
    let mut ask = api.read(url_path.as_bytes(), b"", None).unwrap();
    if ask.form.is_none() {
        ask.form = Some(match recorded.is_stream {
            true => Form::new(Framing::Sse, b""),
            false => Form::json(),
        });
    }
    Some(Recording {
        api,
        ask,
        body: recorded.body(),
        path: recorded.path,
        status: recorded.status,
    })
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_is_judged_as_the_index_says_at_every_chunking() {
    let mut ran = 0;
    for recording in recordings() {
        let body = &recording.body;
        let whole = recording.judge([&body[..]]);
        let seen = whole.map(|answer| (answer.finish, answer.marked_end));
        assert_eq!(
            seen.map_err(|_| ()),
            recording.expected(),
            "{}: {whole:?}",
            recording.path
        );
        if recording.status == "unterminated-tail" {
            assert_eq!(whole, Err(NotWhole::Pending), "{}", recording.path);
        }
        for size in [1, 7, 64, 4_096] {
            let chunked = recording.judge(body.chunks(size));
            assert_eq!(chunked, whole, "{} by {size}", recording.path);
        }
        for split in 0..=body.len().min(6_000) {
            let (head, tail) = body.split_at(split);
            let chunked = recording.judge([head, tail]);
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
    for recording in whole_recordings() {
        let body = &recording.body;
        // White space after JSON and a line end after a blank line say nothing.
        let end = match recording.form().framing {
            Framing::Json => body.trim_ascii_end().len(),
            Framing::Sse => body.trim_ascii_end().len() + 2,
            _ => body.len(),
        };
        for cut in (0..end).rev().step_by(1 + body.len() / 2_000) {
            let whole = recording.judge([&body[..cut]]);
            let whole = whole.is_ok_and(|answer| answer.marked_end);
            assert!(!whole, "{} cut at {cut} of {}", recording.path, body.len());
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn recorded_answers_survive_the_way_to_the_other_form_and_back() {
    let mut ran = 0;
    let mut converted = 0;
    let mut declined: Vec<(String, &str, ConversionError)> = Vec::new();
    for recording in whole_recordings() {
        ran += 1;
        let (api, stored, other) = (recording.api, recording.form(), recording.other_form());
        let there = match api.convert(&recording.body, stored, &other) {
            Ok(there) => there,
            Err(lossy) => {
                declined.push((recording.path, "", lossy));
                continue;
            }
        };
        let answer = recording.judge([&recording.body[..]]);
        let seen = judge(api, &recording.ask, &other, [&there[..]]);
        assert_eq!(seen, answer, "{}", recording.path);
        let back = match api.convert(&there, &other, stored) {
            Ok(back) => back,
            Err(lossy) => {
                declined.push((recording.path, " on the way back", lossy));
                continue;
            }
        };
        let (first, second) = match stored.framing {
            Framing::Json => (recording.body.clone(), back),
            _ => (there, api.convert(&back, stored, &other).unwrap()),
        };
        let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
        assert_eq!(value(&first), value(&second), "{}", recording.path);
        converted += 1;
    }
    println!("converted {converted} of {ran} whole recorded answers");
    for (path, way, lossy) in declined {
        println!("declined{way}, {}: {path}", lossy.as_str());
    }
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn recorded_answers_stay_whole_and_say_the_same_without_usage() {
    let mut ran = 0;
    for recording in whole_recordings() {
        let zeroed = recording
            .api
            .zero_usage(&recording.body, recording.form())
            .unwrap();
        assert_ne!(zeroed, recording.body, "{}", recording.path);
        let answer = recording.judge([&recording.body[..]]);
        assert_eq!(recording.judge([&zeroed[..]]), answer, "{}", recording.path);
        let again = recording.api.zero_usage(&zeroed, recording.form()).unwrap();
        assert_eq!(again, zeroed, "{}", recording.path);
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}
