//! What the worst answers and prompts cost, natively, as multiples of plain ones of the same size:
//! whoever sends them chooses every byte. The size of a compressed answer is what it comes to, or what
//! it takes, whichever is more; that of a compressed prompt is what it takes.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "what is measured reads no clock, but this does"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod shapes;

use std::hint::black_box;
use std::time::Instant;

use envoy_llm_cache::attributes::Attributes;
use envoy_llm_cache::cache::{Body, CacheKey, KeyParts};
use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::coding::{self, Decoder, FREE_PROMPT_BYTES, MAX_PROMPT_RATIO};
use envoy_llm_cache::config::{Config, KeySettings};
use envoy_llm_cache::http::Headers;
use envoy_llm_cache::json;
use envoy_llm_cache::llm::{Api, ConversionError, Form, RequestTraits, Stutter};
use shapes::{Answer, CodedPrompt, Conversion, SIZE};

/// No shape may cost more.
const BOUND: f64 = 10.0;

/// No byte of a compressed prompt may cost more: [`MAX_PROMPT_RATIO`] bytes may come out of each.
const CODED_BOUND: f64 = BOUND * MAX_PROMPT_RATIO as f64;

fn main() {
    println!("shapes of {SIZE} bytes, as multiples of a plain one (bound: {BOUND})");
    let mut worst: f64 = 0.0;
    for (plain, shapes) in shapes::answers() {
        println!("\n{}", plain.name);
        for shape in shapes {
            let (base, cost) = per_byte(|| answer(&plain), || answer(&shape));
            worst = worst.max(row(base, cost, shape.name, BOUND));
        }
    }
    for (name, plain, shapes) in shapes::prompts() {
        println!("\n{name}");
        for (name, body) in shapes {
            let (base, cost) = per_byte(|| prompt(&plain), || prompt(&body));
            worst = worst.max(row(base, cost, name, BOUND));
        }
        println!("\n{name}, of which the key leaves out what agents write anew");
        let settings = Config::parse(shapes::EDITS.as_bytes()).unwrap().settings;
        for (name, body) in shapes::edited_prompts() {
            let edited = || prompt_of(shapes::RESPONSES, &settings.key, &body);
            let (base, cost) = per_byte(|| prompt(&plain), edited);
            worst = worst.max(row(base, cost, name, BOUND));
        }
        println!("\n{name}, compressed, per byte on the wire (bound: {CODED_BOUND})");
        for CodedPrompt { name, coding, body } in shapes::coded_prompts() {
            let (base, cost) = per_byte(|| prompt(&plain), || coded_prompt(coding, &body));
            worst = worst.max(row(base, cost, name, CODED_BOUND) / CODED_BOUND * BOUND);
        }
    }
    for (plain, shapes) in shapes::conversions() {
        println!("\n{}", plain.name);
        converted(&plain).unwrap();
        for shape in shapes {
            let (base, cost) = per_byte(|| conversion(&plain), || conversion(&shape));
            worst = worst.max(row(base, cost, shape.name, BOUND));
        }
    }
    println!("\n{worst:8.2} x  the worst of all");
}

fn row(base: f64, cost: f64, name: &str, bound: f64) -> f64 {
    let ratio = cost / base;
    let over = if ratio > bound {
        "  over the bound"
    } else {
        ""
    };
    println!("{ratio:8.2} x {cost:8.2} ns/B  {name}{over}");
    ratio
}

/// Nanoseconds for each byte of the sizes that these tell: the least of several times, in turns.
fn per_byte(plain: impl Fn() -> usize, shape: impl Fn() -> usize) -> (f64, f64) {
    let time = |run: &dyn Fn() -> usize| {
        let start = Instant::now();
        let size = black_box(run());
        start.elapsed().as_nanos() as f64 / size.max(1) as f64
    };
    let times = (0..9).map(|_| (time(&plain), time(&shape)));
    times.fold((f64::INFINITY, f64::INFINITY), |least, times| {
        (least.0.min(times.0), least.1.min(times.1))
    })
}

/// Decodes, judges and watches an answer, until it is refused or over. Gives its size.
fn answer(shape: &Answer) -> usize {
    let api = Api::from_path(shape.path.as_bytes()).unwrap();
    let ask = RequestTraits {
        form: Some(Form::new(shape.framing, b"")),
        choices: 1,
        temperature: None,
        server_tools: false,
    };
    let mut judge = api.judge(&ask, shape.framing);
    let (mut stutter, now) = (Stutter::new(), UnixMillis::from_millis(1));
    let mut decoder = Decoder::new(shape.coding.as_bytes(), 10 << 20).unwrap();
    let mut whole = Vec::new();
    for chunk in shape.body.chunks(shape.chunk) {
        let from = whole.len();
        let decoded = decoder.decode(chunk, &mut whole);
        let (_, fresh) = whole.split_at_checked(from).unwrap();
        let fed = judge.feed(fresh, &mut |choice, text| stutter.piece(choice, text, now));
        if decoded.is_err() || fed.is_err() {
            return shape.body.len().max(whole.len());
        }
    }
    let _verdict = black_box(judge.finish(&whole));
    shape.body.len().max(whole.len())
}

fn prompt(body: &[u8]) -> usize {
    prompt_of(shapes::CHAT, &KeySettings::default(), body)
}

/// Reads a prompt and makes its key, as an exchange does. Gives its size.
fn prompt_of(path: &str, settings: &KeySettings, body: &[u8]) -> usize {
    let api = Api::from_path(path.as_bytes()).unwrap();
    let canonical = json::canonicalize(body, &[]).ok();
    if let Ok(ask) = api.read(path.as_bytes(), body, canonical.as_ref()) {
        let headers: Headers = [(":path", path), ("authorization", "Bearer k")]
            .into_iter()
            .collect();
        let keyed = match settings.edits(api).as_slice() {
            [] => canonical,
            edits => json::canonicalize(body, edits).ok(),
        };
        let parts = KeyParts {
            settings,
            headers: &headers,
            api,
            body: keyed.as_ref().map_or(Body::Raw(body), Body::Canonical),
            traits: &ask,
            attributes: &Attributes::default(),
        };
        let _key = black_box(CacheKey::new(&parts));
    }
    body.len()
}

/// Decodes a prompt and makes its key. Gives the size of what came; what is let pass however short it
/// is counts as what may become as much.
fn coded_prompt(coding: &str, body: &[u8]) -> usize {
    if let Ok(plain) = coding::decode_prompt(coding.as_bytes(), body, 16 << 20) {
        prompt(&plain);
    }
    body.len().max(FREE_PROMPT_BYTES / MAX_PROMPT_RATIO)
}

/// Turns an answer into its other form, or finds out that it cannot be. Gives its size.
fn conversion(shape: &Conversion) -> usize {
    let _converted = black_box(converted(shape));
    shape.body.len()
}

fn converted(shape: &Conversion) -> Result<Vec<u8>, ConversionError> {
    let api = Api::from_path(shape.path.as_bytes()).unwrap();
    api.convert(&shape.body, &shape.stored, &shape.wanted)
}
