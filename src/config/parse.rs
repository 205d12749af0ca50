//! JSON to [`Config`]: every key, its type, its range and its default.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::exclude::{exclude, mask};
use super::section::{Problems, Section, header_name, in_memory, one_of, word};
use super::store::store;
use super::tenant::tenant;
use super::units;
use super::{
    Client, Collapse, Config, ConfigError, Cors, HeaderMatch, Jitter, KeySettings, LONGEST_TTL,
    Limits, Match, Metrics, Mode, PathMatch, Pattern, Respond, Rule, Sample, Settings, StoreIf,
    Usage,
};
use crate::json::{self, NotPlain, canonicalize};
use crate::llm::{Api, Finish, FinishWords};
use crate::protobuf::decode_struct;

const MODES: [(&str, Mode); 5] = [
    ("read_write", Mode::ReadWrite),
    ("read_only", Mode::ReadOnly),
    ("write_only", Mode::WriteOnly),
    ("shadow", Mode::Shadow),
    ("disabled", Mode::Disabled),
];

const FINISHES: [(&str, Finish); 3] = [
    ("complete", Finish::Complete),
    ("length", Finish::Length),
    ("filtered", Finish::Filtered),
];

const CORS: [(&str, Cors); 2] = [("upstream", Cors::Upstream), ("envoy", Cors::Envoy)];

const USAGES: [(&str, Usage); 2] = [("replay", Usage::Replay), ("zero", Usage::Zero)];

const TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=LONGEST_TTL;
const STALE: RangeInclusive<Duration> = Duration::ZERO..=LONGEST_TTL;

/// Envoy ends a stream that is idle for longer (`stream_idle_timeout`), so that a longer
/// wait would be in vain.
const MAX_WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
const MAX_TTL: RangeInclusive<Duration> = Duration::ZERO..=LONGEST_TTL;

/// A VM has 1 GiB of memory (proxy-wasm-cpp-host, `limits.h`). A prompt takes up to eleven times its length:
/// as the host's copy, and in a canonical spelling that may be three times as long and is sorted
/// through a second buffer, both of which double as they grow.
const REQUEST_BYTES: RangeInclusive<u64> = 1..=32 << 20;

/// An answer is in it as the capture, as the entry made of it, and as the event being parsed.
const RESPONSE_BYTES: RangeInclusive<u64> = 1..=64 << 20;
const CAPTURE_BYTES: RangeInclusive<u64> = 0..=128 << 20;

/// Each model adds some 20 series for each API that it is asked by.
const MAX_MODELS: RangeInclusive<u32> = 1..=1_000;

pub(super) fn parse(bytes: &[u8]) -> Result<Config, Vec<ConfigError>> {
    let problems = Problems::default();
    let value = read(bytes).map_err(|problem| {
        let path = String::new();
        vec![ConfigError { path, problem }]
    })?;
    let config = config(Section::new(String::new(), value, &problems));
    problems.into_result().map(|()| config)
}

/// JSON text, a Struct in its binary form, or nothing.
fn read(bytes: &[u8]) -> Result<Value, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    // A Struct begins with the tag of its first field, which JSON takes for a line feed: no text
    // that is JSON is a Struct as well.
    match json::parse(bytes) {
        // If a key occurs twice, the parser would silently take the last value.
        Ok(_) if canonicalize(bytes, &[]).err() == Some(NotPlain::DuplicateName) => {
            Err("has an object in which a key occurs twice; keep one of them".to_owned())
        }
        Ok(value) => Ok(value),
        Err(error) => decode_struct(bytes).ok_or_else(|| format!("must be a JSON object: {error}")),
    }
}

fn config(mut section: Section<'_>) -> Config {
    let settings = settings(&mut section, &Settings::default());
    let (memory, http) = store(&mut section);
    let hold_headers = section.flag("hold_headers").unwrap_or(false);
    let config = Config {
        hold_headers,
        limits: limits(&mut section, hold_headers),
        memory,
        http,
        metrics: metrics(&mut section),
        rules: rules(&mut section, &settings),
        settings: Rc::new(settings),
    };
    section.finish();
    config
}

/// The keys that stand both at the top and in a rule, where `base` is what the top says.
fn settings(section: &mut Section<'_>, base: &Settings) -> Settings {
    let sample = section.number("sample", 0..=100);
    Settings {
        mode: section.word("mode", &MODES).unwrap_or(base.mode),
        sample: sample.and_then(Sample::new).unwrap_or(base.sample),
        ttl: section.duration("ttl", TTL).unwrap_or(base.ttl),
        ttl_jitter: section
            .take_as(
                "ttl_jitter",
                "a percentage from \"0%\" to \"50%\"",
                |value| Jitter::new(units::parse_percent(value.as_str()?)?),
            )
            .unwrap_or(base.ttl_jitter),
        stale_while_revalidate: section
            .duration("stale_while_revalidate", STALE)
            .unwrap_or(base.stale_while_revalidate),
        stale_if_error: section
            .duration("stale_if_error", STALE)
            .unwrap_or(base.stale_if_error),
        collapse: collapse(section, base.collapse),
        key: key(section, &base.key),
        store_if: store_if(section, &base.store_if),
        client: client(section, base.client),
        respond: respond(section, base.respond),
    }
}

fn collapse(parent: &mut Section<'_>, base: Collapse) -> Collapse {
    let Some(mut section) = parent.section("collapse") else {
        return base;
    };
    let collapse = Collapse {
        max_wait: section
            .duration("max_wait", MAX_WAIT)
            .unwrap_or(base.max_wait),
        streams: section.flag("streams").unwrap_or(base.streams),
    };
    section.finish();
    collapse
}

fn key(parent: &mut Section<'_>, base: &KeySettings) -> KeySettings {
    let Some(mut section) = parent.section("key") else {
        return base.clone();
    };
    let key = KeySettings {
        tenant: tenant(&mut section, &base.tenant),
        headers: section
            .list("headers", "a header name", header_name)
            .unwrap_or_else(|| base.headers.clone()),
        exclude: exclude(&mut section).unwrap_or_else(|| base.exclude.clone()),
        mask: mask(&mut section).unwrap_or_else(|| base.mask.clone()),
        namespace: section
            .text("namespace")
            .unwrap_or_else(|| base.namespace.clone()),
    };
    section.finish();
    key
}

fn store_if(parent: &mut Section<'_>, base: &StoreIf) -> StoreIf {
    let Some(mut section) = parent.section("store_if") else {
        return base.clone();
    };
    let store_if = StoreIf {
        finish: section
            .list("finish", &one_of(&FINISHES), |value| word(value, &FINISHES))
            .unwrap_or_else(|| base.finish.clone()),
        finish_words: finish_words(&mut section).unwrap_or_else(|| base.finish_words.clone()),
        streams: section.flag("streams").unwrap_or(base.streams),
        empty: section.flag("empty").unwrap_or(base.empty),
        unmarked_end: section.flag("unmarked_end").unwrap_or(base.unmarked_end),
        stuttering: section.flag("stuttering").unwrap_or(base.stuttering),
        server_tools: section.flag("server_tools").unwrap_or(base.server_tools),
        max_temperature: max_temperature(&mut section, base.max_temperature),
        same_model: section.flag("same_model").unwrap_or(base.same_model),
        unless_headers: header_matches(&mut section, "unless_header")
            .unwrap_or_else(|| base.unless_headers.clone()),
    };
    section.finish();
    store_if
}

fn finish_words(parent: &mut Section<'_>) -> Option<FinishWords> {
    let mut section = parent.section("finish_words")?;
    let mut words = Vec::new();
    for (name, finish) in FINISHES {
        let listed = section.list(name, "a word, such as \"eos\"", |value| {
            value
                .as_str()
                .filter(|word| !word.is_empty())
                .map(Box::from)
        });
        words.extend(listed.into_iter().flatten().map(|word| (word, finish)));
    }
    section.finish();
    Some(FinishWords::Listed(words.into()))
}

fn max_temperature(section: &mut Section<'_>, base: Option<f64>) -> Option<f64> {
    let expected = "null or a number of at least 0";
    let read = section.take_as("max_temperature", expected, |value| match value {
        Value::Null => Some(None),
        value => value
            .as_f64()
            .filter(|number| *number >= 0.0 && number.is_finite())
            .map(Some),
    });
    read.unwrap_or(base)
}

fn respond(parent: &mut Section<'_>, base: Respond) -> Respond {
    let Some(mut section) = parent.section("respond") else {
        return base;
    };
    let respond = Respond {
        expose_key: section.flag("expose_key").unwrap_or(base.expose_key),
        explain: section.flag("explain").unwrap_or(base.explain),
        usage: section.word("usage", &USAGES).unwrap_or(base.usage),
        anti_buffering: section
            .flag("anti_buffering")
            .unwrap_or(base.anti_buffering),
        cors: section.word("cors", &CORS).unwrap_or(base.cors),
    };
    section.finish();
    respond
}

fn limits(parent: &mut Section<'_>, hold_headers: bool) -> Limits {
    let base = match hold_headers {
        true => Limits::WITH_HEADERS_HELD,
        false => Limits::default(),
    };
    let Some(mut section) = parent.section("limits") else {
        return base;
    };
    let mut bytes = |key, range, default| section.size(key, range).map_or(default, in_memory);
    let limits = Limits {
        max_request_bytes: bytes("max_request_bytes", REQUEST_BYTES, base.max_request_bytes),
        max_response_bytes: bytes(
            "max_response_bytes",
            RESPONSE_BYTES,
            base.max_response_bytes,
        ),
        max_capture_bytes: bytes("max_capture_bytes", CAPTURE_BYTES, base.max_capture_bytes),
    };
    section.finish();
    limits
}

fn metrics(parent: &mut Section<'_>) -> Metrics {
    let base = Metrics::default();
    let Some(mut section) = parent.section("metrics") else {
        return base;
    };
    let max_models = section.count("max_models", MAX_MODELS);
    let metrics = Metrics {
        model: section.flag("model").unwrap_or(base.model),
        max_models: max_models.map_or(base.max_models, |max| in_memory(max.into())),
        filter_state: section.flag("filter_state").unwrap_or(base.filter_state),
    };
    section.finish();
    metrics
}

fn client(parent: &mut Section<'_>, base: Client) -> Client {
    let Some(mut section) = parent.section("client") else {
        return base;
    };
    let client = Client {
        honor_cache_control: section
            .word("cache_control", &[("honor", true), ("ignore", false)])
            .unwrap_or(base.honor_cache_control),
        max_ttl: section.duration("max_ttl", MAX_TTL).unwrap_or(base.max_ttl),
    };
    section.finish();
    client
}

fn rules(parent: &mut Section<'_>, base: &Settings) -> Vec<Rule> {
    let Some(list) = parent.list("rules", "an object", |value| {
        value.is_object().then(|| value.clone())
    }) else {
        return Vec::new();
    };
    let path = parent.path_of("rules");
    let rule = |(index, value)| {
        let mut section = Section::new(format!("{path}[{index}]"), value, parent.problems());
        let apis: Vec<_> = Api::all().map(|api| (api.name(), api)).collect();
        let rule = Rule {
            when: when(&mut section),
            api: section.word("api", &apis),
            settings: Rc::new(settings(&mut section, base)),
        };
        section.finish();
        rule
    };
    list.into_iter().enumerate().map(rule).collect()
}

fn when(parent: &mut Section<'_>) -> Match {
    let Some(mut section) = parent.section("match") else {
        parent.problem("match", "is missing; {} matches every request");
        return Match::default();
    };
    let pattern = "a string with at most one *, at its beginning or end";
    let read_pattern = |value: &Value| Pattern::parse(value.as_str()?);
    let when = Match {
        host: section.take_as("host", pattern, |value| {
            Pattern::parse(&value.as_str()?.to_ascii_lowercase())
        }),
        path: path(&mut section),
        model: section.take_as("model", pattern, read_pattern),
        headers: header_matches(&mut section, "header").unwrap_or_default(),
    };
    section.finish();
    when
}

fn path(section: &mut Section<'_>) -> Option<PathMatch> {
    let matches = [
        ("path", section.text("path").map(PathMatch::Exact)),
        (
            "path_prefix",
            section.text("path_prefix").map(PathMatch::Prefix),
        ),
        (
            "path_suffix",
            section.text("path_suffix").map(PathMatch::Suffix),
        ),
    ];
    let mut given = matches
        .into_iter()
        .filter_map(|(name, path)| Some((name, path?)));
    let first = given.next();
    for (name, _) in given {
        section.problem(
            name,
            "only one of path, path_prefix and path_suffix can be given",
        );
    }
    first.map(|(_, path)| path)
}

fn header_matches(section: &mut Section<'_>, key: &'static str) -> Option<Vec<HeaderMatch>> {
    let Value::Object(members) = section.take(key)? else {
        section.problem(key, "must be an object of header names and values");
        return None;
    };
    let mut matches = Vec::with_capacity(members.len());
    for (name, value) in members {
        let pattern = value.as_str().and_then(Pattern::parse);
        match (header_name(&Value::String(name.clone())), pattern) {
            (Some(name), Some(value)) => matches.push(HeaderMatch { name, value }),
            (None, _) => section.problem(key, format!("{name:?} is not a header name")),
            (_, None) => section.problem(
                key,
                format!("{name:?} must have a string with at most one *, at its beginning or end"),
            ),
        }
    }
    Some(matches)
}
