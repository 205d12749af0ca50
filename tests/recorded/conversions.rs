//! How many of the recorded answers serve requests that want another form.

use std::collections::BTreeMap;

use envoy_llm_cache::llm::{Api, ConversionError, Form, Framing, RequestTraits};
use memchr::memmem;

use crate::index::{Recorded, by_folder};
use crate::semantics;

/// A whole answer, and the form in which it was asked for.
struct Recording {
    path: String,
    folder: String,
    api: Api,
    form: Form,
    answer: Vec<u8>,
}

fn recording(recorded: Recorded) -> Option<Recording> {
    let api = semantics::api(&recorded.folder, recorded.file())?;
    let answer = recorded.body();
    let framing = match recorded.extension() {
        "sse" => Framing::Sse,
        "ndjson" => Framing::Ndjson,
        "bin" => Framing::EventStream,
        _ if recorded.file().starts_with("gemini_array_") => Framing::JsonArray,
        _ => Framing::Json,
    };
    let form = Form::new(framing, options(&recorded.folder, api, framing, &answer));
    let ask = RequestTraits {
        form: Some(form.clone()),
        choices: 1,
        temperature: None,
        server_tools: false,
    };
    let mut judge = api.judge(&ask, framing);
    judge.feed(&answer, &mut |_, _| {}).ok()?;
    let is_whole = judge.finish(&answer).is_ok_and(|answer| answer.marked_end);
    (is_whole && recorded.http_status == "200").then_some(Recording {
        path: recorded.path,
        folder: recorded.folder,
        api,
        form,
        answer,
    })
}

const USAGE: &[u8] = br#"{"include_usage":true}"#;

fn has_stream_options(api: Api) -> bool {
    matches!(api.name(), "openai_chat" | "openai_completions")
}

fn options(folder: &str, api: Api, framing: Framing, answer: &[u8]) -> &'static [u8] {
    let counts = || memmem::find(answer, b"_tokens\":").is_some();
    match folder {
        "bedrock-invoke" | "bedrock-invoke-stream" => b"invoke",
        _ if framing == Framing::Sse && has_stream_options(api) && counts() => USAGE,
        _ => b"",
    }
}

/// The other forms that a request can ask for.
fn others(one: &Recording) -> Vec<Form> {
    let stream = match one.api.name() {
        "openai_embeddings" | "json" => return Vec::new(),
        "bedrock" => Framing::EventStream,
        "ollama" => Framing::Ndjson,
        "cohere" if one.folder == "cohere-v1-chat" => Framing::Ndjson,
        _ => Framing::Sse,
    };
    let options = match one.api.name() {
        "bedrock" => one.form.options.clone(),
        _ => Box::default(),
    };
    let mut forms = vec![Form::json(), Form::new(stream, &options)];
    if has_stream_options(one.api) {
        forms.push(Form::new(stream, USAGE));
    }
    if one.folder.starts_with("bedrock-invoke") {
        forms[0] = Form::new(Framing::Json, b"invoke");
    }
    forms.retain(|form| *form != one.form);
    forms
}

/// Of each kind of conversion, how many succeed of how many, and why the others do not.
#[derive(Default)]
struct Rates {
    kinds: BTreeMap<(String, String), (u32, u32)>,
    declined: Vec<(String, ConversionError)>,
}

fn kind(form: &Form) -> &'static str {
    match (form.framing, &*form.options) {
        (Framing::Json, _) => "JSON",
        (_, USAGE) => "a stream with usage",
        _ => "a stream",
    }
}

fn rates(all: impl Iterator<Item = Recorded>) -> Rates {
    let mut rates = Rates::default();
    for one in all.filter_map(recording) {
        for form in others(&one) {
            let converted = one.api.convert(&one.answer, &one.form, &form);
            let kinds = format!("{} to {}", kind(&one.form), kind(&form));
            let (good, of) = rates
                .kinds
                .entry((one.api.name().to_owned(), kinds.clone()))
                .or_default();
            *of += 1;
            match converted {
                Ok(_) => *good += 1,
                Err(lossy) => rates
                    .declined
                    .push((format!("{} {kinds}", one.path), lossy)),
            }
        }
    }
    rates
}

impl Rates {
    /// Prints them, and gives the number of those that succeed.
    fn print(&self, name: &str) -> u32 {
        let (mut good, mut of) = (0, 0);
        println!("{name}:");
        for ((api, kinds), (some, all)) in &self.kinds {
            println!("  {api} from {kinds}: {some} of {all}");
            good += some;
            of += all;
        }
        for (path, lossy) in &self.declined {
            println!("    {path}: {}", lossy.as_str());
        }
        println!("  all: {good} of {of}");
        good
    }
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn recorded_answers_convert_at_least_as_often_as_they_did() {
    let floors = [("recorded", 157), ("recorded-dialects", 103)];
    for ((name, at_least), all) in floors.into_iter().zip(by_folder()) {
        let converted = rates(all.into_iter()).print(name);
        assert!(converted >= at_least, "{name}: {converted}, not {at_least}");
    }
}
