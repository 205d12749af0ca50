//! Gemini, Ollama and Cohere against answers recorded from them, at many chunkings, and from one
//! form into the other.

use std::collections::HashMap;

use envoy_llm_cache::json::canonicalize;
use envoy_llm_cache::llm::{
    Api, ConversionError, Finish, Form, Framing, NotWhole, RequestTraits, Verdict,
};
use serde_json::Value;

use crate::index::{Recorded, read, recorded};

struct Recording {
    path: String,
    api: Api,
    status: String,
    ask: RequestTraits,
    form: Form,
    body: Vec<u8>,
}

/// The folders, and what the index calls JSON but is an array that came as a stream.
const APIS: [(&str, &str); 10] = [
    ("gemini/", "gemini"),
    ("gemini-embeddings/", "gemini"),
    ("derived/gemini_array_", "gemini"),
    ("ollama-chat/", "ollama"),
    ("ollama-generate/", "ollama"),
    ("ollama-embeddings/", "ollama"),
    ("derived/ollama_", "ollama"),
    ("cohere-v1-chat/", "cohere"),
    ("cohere-v2-chat/", "cohere"),
    ("cohere-v2-embed/", "cohere"),
];

fn recordings() -> Vec<Recording> {
    let requests = requests();
    let recording = |recorded: Recorded| {
        let path = &recorded.path;
        let (folder, api) = APIS.iter().find(|(start, _)| path.starts_with(start))?;
        // The request, which is not recorded, asked for numbers in place of words, and not for the
        // event stream that the index calls it.
        if recorded.http_status != "200" || path == "gemini/testgoogleaitoolcallresponse_1.sse" {
            return None;
        }
        let api = Api::from_name(api).unwrap();
        let form = match (*folder, recorded.extension()) {
            ("derived/gemini_array_", _) => Form::new(Framing::JsonArray, b""),
            (_, "sse") => Form::new(Framing::Sse, b""),
            (_, "ndjson") => Form::new(Framing::Ndjson, b""),
            _ => Form::json(),
        };
        let unknown = RequestTraits {
            form: Some(form.clone()),
            choices: 1,
            temperature: None,
            server_tools: false,
        };
        let ask = requests.get(path).map_or(unknown, |(url, body)| {
            let target = url.splitn(4, '/').last().unwrap();
            let body = canonicalize(body.as_bytes(), &[]).unwrap();
            api.read(format!("/{target}").as_bytes(), b"", Some(&body))
                .unwrap()
        });
        assert_eq!(ask.form.as_ref(), Some(&form), "{path}");
        if !recorded.content_type.is_empty() {
            let framing = api.framing(&ask, recorded.content_type.as_bytes());
            assert_eq!(framing, Some(form.framing), "{path}");
        }
        Some(Recording {
            api,
            ask,
            form,
            body: recorded.body(),
            path: recorded.path,
            status: recorded.status,
        })
    };
    recorded().filter_map(recording).collect()
}

/// The URL and the body of the requests, by the path of the answer.
fn requests() -> HashMap<String, (String, String)> {
    let requests = read("REQUESTS.jsonl");
    let request = |line: &str| {
        let request: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        (
            text("fixture"),
            (text("url"), request["request"].to_string()),
        )
    };
    String::from_utf8(requests)
        .unwrap()
        .lines()
        .map(request)
        .collect()
}

impl Recording {
    fn judge<'c>(&self, chunks: impl IntoIterator<Item = &'c [u8]>) -> Result<Verdict, NotWhole> {
        let mut judge = self.api.judge(&self.ask, self.form.framing);
        let mut whole = Vec::new();
        for chunk in chunks {
            judge.feed(chunk, &mut |_, _| {})?;
            whole.extend_from_slice(chunk);
        }
        judge.finish(&whole)
    }

    /// What the index says of it.
    fn expected(&self) -> Result<(Finish, bool), Option<NotWhole>> {
        // Its prompt was refused, with a message instead of a reason.
        if self
            .path
            .ends_with("unary_failure_only_prompt_feedback.json")
        {
            return Ok((Finish::Filtered, true));
        }
        if self.path == STOP_IN_EVERY_CHUNK {
            return Ok((Finish::Complete, false));
        }
        match self.status.as_str() {
            "complete" => Ok((Finish::Complete, true)),
            "complete-length" => Ok((Finish::Length, true)),
            "complete-filtered" => Ok((Finish::Filtered, true)),
            "complete-nofinish" => Ok((Finish::Complete, false)),
            "unknown-finish" => Err(Some(NotWhole::UnknownFinish)),
            "unterminated-tail" => Err(Some(NotWhole::Pending)),
            "aborted" => Err(Some(NotWhole::Unfinished)),
            "error" => Err(Some(NotWhole::Error)),
            // The recorded bytes end where an event does: nothing says more than a missing end.
            "truncated" => Ok((Finish::Complete, false)),
            _ => Err(None),
        }
    }

    fn is_complete(&self) -> bool {
        self.status.starts_with("complete") && self.path != STOP_IN_EVERY_CHUNK
    }

    /// The stream's form of the same API and request.
    fn stream_forms(&self) -> Vec<Form> {
        let framings = match (self.api.name(), self.path.split('/').next().unwrap()) {
            (_, "gemini-embeddings" | "ollama-embeddings" | "cohere-v2-embed") => &[][..],
            ("gemini", _) => &[Framing::Sse, Framing::JsonArray],
            ("ollama", _) | (_, "cohere-v1-chat") => &[Framing::Ndjson],
            _ => &[Framing::Sse],
        };
        framings
            .iter()
            .map(|framing| Form::new(*framing, b""))
            .collect()
    }

    /// Converts, and wants the same verdict on what comes out.
    fn convert(
        &self,
        answer: &[u8],
        stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        let converted = self.api.convert(answer, stored, wanted)?;
        let mut judge = self.api.judge(&self.ask, wanted.framing);
        let fed = judge.feed(&converted, &mut |_, _| {});
        let whole = fed.and_then(|()| judge.finish(&converted));
        let before = self.judge([&self.body[..]]);
        assert_eq!(whole, before, "{} as {wanted:?}", self.path);
        Ok(converted)
    }
}

/// A mock of a model that said `STOP` in every chunk: what goes on after its finish has no end that
/// could be told.
const STOP_IN_EVERY_CHUNK: &str = "gemini/fb_vertexai_streaming_success_citations.sse";

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_answer_is_judged_as_the_index_says_at_every_chunking() {
    let mut ran = 0;
    for recording in recordings() {
        let (path, body) = (&recording.path, &recording.body);
        let whole = recording.judge([&body[..]]);
        match (recording.expected(), whole) {
            (Ok(expected), Ok(answer)) => {
                assert_eq!((answer.finish, answer.marked_end), expected, "{path}");
            }
            (Err(expected), Err(fault)) => assert_eq!(expected.unwrap_or(fault), fault, "{path}"),
            (expected, whole) => panic!("{path}: {whole:?} instead of {expected:?}"),
        }
        for size in [1, 7, 64, 4_096] {
            assert_eq!(
                recording.judge(body.chunks(size)),
                whole,
                "{path} by {size}"
            );
        }
        let step = if body.len() <= 8_192 {
            1
        } else {
            body.len() / 4_096
        };
        for split in (0..=body.len()).step_by(step) {
            let (head, tail) = body.split_at(split);
            assert_eq!(recording.judge([head, tail]), whole, "{path} at {split}");
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn no_recorded_answer_is_whole_when_it_is_cut_before_its_end() {
    let mut ran = 0;
    for recording in recordings() {
        let (path, body) = (&recording.path, &recording.body);
        if !recording.is_complete() {
            continue;
        }
        let end = match recording.form.framing {
            Framing::Json | Framing::JsonArray => body.trim_ascii_end().len(),
            // The CR of the last line end is enough.
            Framing::Sse if body.ends_with(b"\r\n") => last_event(body) + 3,
            // Nothing that Cohere sends after `message-end` says anything.
            Framing::Sse if recording.api.name() == "cohere" => {
                let content = body.trim_ascii_end();
                let content = content.strip_suffix(b"data: [DONE]").unwrap_or(content);
                last_event(content) + 2
            }
            Framing::Sse => last_event(body) + 2,
            _ => last_event(body) + 1,
        };
        for cut in (0..end).rev().step_by(1 + body.len() / 4_000) {
            let whole = recording
                .judge([&body[..cut]])
                .is_ok_and(|answer| answer.marked_end);
            assert!(!whole, "{path} cut at {cut} of {}", body.len());
        }
        assert!(recording.judge([&body[..end]]).is_ok(), "{path} at {end}");
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}

/// The offset after the last byte that is no line end.
fn last_event(stream: &[u8]) -> usize {
    stream.trim_ascii_end().len()
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn recorded_answers_keep_all_they_say_in_their_other_forms() {
    let (mut ran, mut converted) = (0, 0);
    let value = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
    for recording in recordings() {
        let forms = recording.stream_forms();
        if !recording.is_complete() || forms.is_empty() {
            continue;
        }
        ran += 1;
        let json = if recording.form.framing == Framing::Json {
            recording.body.clone()
        } else {
            match recording.convert(&recording.body, &recording.form, &Form::json()) {
                Ok(json) => json,
                Err(lossy) => {
                    println!("{}: {}", recording.path, lossy.as_str());
                    continue;
                }
            }
        };
        for form in &forms {
            let stream = recording.convert(&json, &Form::json(), form);
            let stream = stream.unwrap_or_else(|e| panic!("{}: {e:?}", recording.path));
            let again = recording.convert(&stream, form, &Form::json()).unwrap();
            assert_eq!(
                value(&again),
                value(&json),
                "{} by {form:?}",
                recording.path
            );
        }
        converted += 1;
    }
    println!("ran {ran} recorded answers, of which {converted} convert");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn recorded_answers_without_usage_are_the_same_otherwise() {
    let mut ran = 0;
    for recording in recordings()
        .iter()
        .filter(|recording| recording.is_complete())
    {
        let Recording {
            path,
            api,
            body,
            form,
            ..
        } = recording;
        let zeroed = api.zero_usage(body, form).unwrap();
        let (before, after) = (recording.judge([&body[..]]), recording.judge([&zeroed[..]]));
        assert_eq!(before, after, "{path}");
        assert_eq!(
            api.zero_usage(&zeroed, form).as_ref(),
            Ok(&zeroed),
            "{path}"
        );
        if let Ok(joined) = api.convert(&zeroed, form, &Form::json()) {
            let whole = api.convert(body, form, &Form::json()).unwrap();
            let zeroed = api.zero_usage(&whole, &Form::json());
            assert_eq!(zeroed, Ok(joined), "{path}");
        }
        ran += 1;
    }
    println!("ran {ran} recorded answers");
}
