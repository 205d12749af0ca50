//! The stutter detector against streams recorded from providers, as they are and made to stutter.

use std::time::Duration;

use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::llm::{Api, Framing, RequestTraits, Stutter};
use envoy_llm_cache::sse;
use serde_json::Value;

use crate::index::{Recorded, recorded};

/// A piece of text: which choice's, and what.
type Piece = (u64, String);

/// A recorded stream.
struct Stream {
    path: String,
    pieces: Vec<Piece>,
}

const GAPS_MS: [u64; 3] = [0, 5, 50];
const ENOUGH_LETTERS: usize = 36;

fn score(pieces: &[Piece], gap_ms: u64) -> f64 {
    let mut stutter = Stutter::new();
    let mut now = UnixMillis::from_millis(1_700_000_000_000);
    for (choice, text) in pieces {
        stutter.piece(*choice, text, now);
        now = now + Duration::from_millis(gap_ms);
    }
    assert_eq!(
        stutter.is_stuttering(),
        stutter.score() >= Stutter::THRESHOLD
    );
    stutter.score()
}

/// The same stream, where each piece of `choice` from its `from`th on holds all those before.
fn stuttered(pieces: &[Piece], choice: u64, from: usize) -> Vec<Piece> {
    let mut said = String::new();
    let mut place = 0;
    let stutter = |(index, text): &Piece| {
        if *index != choice {
            return (*index, text.clone());
        }
        said += text;
        place += 1;
        let text = if place > from { &said } else { text };
        (*index, text.clone())
    };
    pieces.iter().map(stutter).collect()
}

/// The letters and digits that would be repeated if the stream stuttered from its `from`th piece
/// on, no more than 16 counted in each. Fewer than 36 are too few to tell. A piece that begins
/// like the whole text (`text1`, `text2`) does not count: it may be a text that repeats itself.
fn repeated_letters(pieces: &[Piece], from: usize) -> usize {
    let mut said = String::new();
    let mut repeated = 0;
    for (place, (_, text)) in pieces.iter().enumerate() {
        let alike = said.bytes().zip(text.bytes()).take_while(|(a, b)| a == b);
        if place >= from.max(1) && alike.count() * 2 <= text.len().min(said.len()) {
            let letters = said.chars().filter(|char| char.is_alphanumeric()).count();
            repeated += if letters >= 128 { 48 } else { letters.min(16) };
        }
        said += text;
    }
    repeated
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn no_recorded_stream_trips_it() {
    let streams = streams();
    let mut highest = (0.0, "none");
    for Stream { path, pieces } in &streams {
        for gap_ms in GAPS_MS {
            let score = score(pieces, gap_ms);
            assert!(score < Stutter::THRESHOLD, "{path}: {score}");
            if score > highest.0 {
                highest = (score, path);
            }
        }
    }
    println!(
        "ran {} recorded streams, the highest score is {:.3} of {}",
        streams.len(),
        highest.0,
        highest.1
    );
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn every_recorded_stream_trips_it_once_it_stutters() {
    let (mut from_the_start, mut midway, mut short) = (0, 0, Vec::new());
    for Stream { path, pieces } in streams() {
        let one: Vec<_> = pieces.iter().map(|(_, text)| (0, text.clone())).collect();
        for (from, ran) in [(0, &mut from_the_start), (one.len() / 2, &mut midway)] {
            if repeated_letters(&one, from) < ENOUGH_LETTERS {
                short.push(format!("{path} from piece {from} of {}", one.len()));
                continue;
            }
            for gap_ms in GAPS_MS {
                let score = score(&stuttered(&one, 0, from), gap_ms);
                assert!(score >= Stutter::THRESHOLD, "{path} from {from}: {score}");
            }
            *ran += 1;
        }
        // A healthy first choice beside a stuttering second one.
        if repeated_letters(&one, 0) >= ENOUGH_LETTERS {
            let second = one.iter().map(|(_, text)| (1, text.clone()));
            let both: Vec<_> = one.iter().cloned().zip(second).collect();
            let both: Vec<_> = both.into_iter().flat_map(|(a, b)| [a, b]).collect();
            assert!(score(&both, 5) < Stutter::THRESHOLD, "{path}");
            let both = stuttered(&both, 1, 0);
            assert!(score(&both, 5) >= Stutter::THRESHOLD, "{path}");
        }
    }
    println!("ran {from_the_start} streams stuttering from the start, {midway} from the middle");
    println!("too short to tell: {short:#?}");
}

#[test]
#[cfg_attr(not(recorded), ignore = "no folder of recorded answers")]
fn no_recorded_stream_trips_it_when_its_pieces_are_cut_elsewhere() {
    let mut ran = 0;
    for Stream { path, pieces } in streams() {
        let text: Vec<_> = pieces.iter().flat_map(|(_, text)| text.chars()).collect();
        for size in [1, 2, 3, 4, 5, 8, 13, 30, 100, 400] {
            let pieces: Vec<_> = text.chunks(size).map(|c| (0, c.iter().collect())).collect();
            let score = score(&pieces, 0);
            assert!(score < Stutter::THRESHOLD, "{path} by {size}: {score}");
        }
        ran += 1;
    }
    println!("ran {ran} recorded streams");
}

/// Every recorded stream with at least two pieces of text.
fn streams() -> Vec<Stream> {
    let stream = |recorded: Recorded| {
        let (body, path) = (recorded.body(), recorded.path);
        let pieces: Vec<_> = documents(&path, &body).iter().flat_map(pieces).collect();
        if let Some(heard) = heard_by_judge(&path, &body) {
            assert_eq!(heard, pieces, "{path}");
        }
        (pieces.len() > 1).then_some(Stream { path, pieces })
    };
    let streams = recorded().filter(|recorded| recorded.is_stream);
    streams.filter_map(stream).collect()
}

/// What the judge of chat completions tells its listener, if it can judge the stream.
fn heard_by_judge(path: &str, body: &[u8]) -> Option<Vec<Piece>> {
    let ask = RequestTraits {
        form: None,
        choices: 1,
        temperature: None,
        server_tools: false,
    };
    let folder = path.split('/').next()?;
    if !folder.ends_with("-chat") || !path.ends_with(".sse") || folder.starts_with("cohere") {
        return None;
    }
    let mut judge = Api::from_name("openai_chat")?.judge(&ask, Framing::Sse);
    let mut heard = Vec::new();
    judge
        .feed(body, &mut |choice, text| {
            heard.push((choice, text.to_owned()));
        })
        .ok()?;
    heard.retain(|(_, text)| !text.is_empty());
    Some(heard)
}

/// The JSON documents of a stream.
fn documents(path: &str, body: &[u8]) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut add = |json: &[u8]| documents.extend(serde_json::from_slice::<Value>(json));
    match path.rsplit('.').next().unwrap() {
        "sse" => sse::Parser::new().feed(body, |event| add(event.data)),
        "ndjson" => body.split(|byte| *byte == b'\n').for_each(add),
        // AWS event stream: two lengths and a checksum, headers, the payload, a checksum.
        "bin" => {
            let mut rest = body;
            while !rest.is_empty() {
                let length = |at| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
                let (message, tail) = rest.split_at(length(0));
                add(&message[12 + length(4)..message.len() - 4]);
                rest = tail;
            }
        }
        other => panic!("{path}: {other}"),
    }
    documents
}

/// The text that a document adds, in any API. The shapes do not overlap.
fn pieces(document: &Value) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut add = |choice: &Value, text: &Value| {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            pieces.push((choice.as_u64().unwrap_or(0), text.to_owned()));
        }
    };
    for choice in list(&document["choices"]) {
        // Chat completions, and the older completions.
        add(&choice["index"], &choice["delta"]["content"]);
        add(&choice["index"], &choice["text"]);
    }
    for candidate in list(&document["candidates"]) {
        for part in list(&candidate["content"]["parts"]) {
            if part["thought"] != true {
                add(&candidate["index"], &part["text"]);
            }
        }
    }
    let none = &Value::Null;
    match document["type"].as_str() {
        Some("content_block_delta") => add(none, &document["delta"]["text"]),
        Some("response.output_text.delta") => add(none, &document["delta"]),
        Some("content-delta") => add(none, &document["delta"]["message"]["content"]["text"]),
        Some(_) => {}
        // Bedrock Converse; Cohere v1; Ollama's chat; Ollama's generate and Workers AI.
        None => {
            add(none, &document["delta"]["text"]);
            if document["event_type"] == "text-generation" {
                add(none, &document["text"]);
            }
            add(none, &document["message"]["content"]);
            add(none, &document["response"]);
        }
    }
    pieces
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
