//! docs/configuration.md against `Config::parse`, which names all keys that it knows where it meets one that
//! it does not.

use envoy_llm_cache::config::{Config, ConfigError, parse_duration, parse_size};
use serde_json::{Map, Value, json};

use crate::pages::{self, Table, assert_same, spans};

const PAGE: &str = "docs/configuration.md";
const UNKNOWN: &str = "?";
/// What a store behind HTTP must have.
const REQUIRED: [(&str, &str); 2] = [("cluster", "c"), ("protocol", "rest")];

/// A configuration with this value at a path such as `rules[].match.host`.
fn with(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, name| {
        let (name, value) = match name.strip_suffix("[]") {
            Some(name) => (name, json!([value])),
            None => (name, value),
        };
        json!({ name: value })
    })
}

fn problems(config: &Value) -> Vec<ConfigError> {
    Config::parse(config.to_string().as_bytes())
        .err()
        .unwrap_or_default()
}

/// The keys of the section at a path; `None` if it is no section.
fn keys(path: &str) -> Option<Vec<String>> {
    let (config, at) = match path {
        "" => (json!({ UNKNOWN: 0 }), UNKNOWN.to_owned()),
        path => (
            with(path, json!({ UNKNOWN: 0 })),
            format!("{path}.{UNKNOWN}").replace("[]", "[0]"),
        ),
    };
    let found = problems(&config)
        .into_iter()
        .find(|problem| problem.path == at)?;
    let known = found.problem.split_once("known here are ")?.1;
    Some(known.split(", ").map(str::to_owned).collect())
}

/// Every key below a path, and whether it has keys of its own. What a rule shares with the top stands there.
fn all_keys(path: &str, found: &mut Vec<(String, bool)>) {
    for key in keys(path).unwrap() {
        let is_rule_s = path != "rules[]" || keys("").unwrap().iter().all(|top| *top != key);
        if is_rule_s {
            let key = [path, &key].join(".").trim_start_matches('.').to_owned();
            let sections = [key.clone(), format!("{key}[]")];
            let section = sections.iter().find(|section| keys(section).is_some());
            found.push((key.clone(), section.is_some()));
            if let Some(section) = section {
                all_keys(section, found);
            }
        }
    }
}

fn rows() -> (Table, Table) {
    let mut tables = pages::tables_of(PAGE, "key").into_iter();
    let pair = (tables.next().unwrap(), tables.next().unwrap());
    assert!(tables.next().is_none());
    pair
}

#[test]
fn every_key_is_documented_and_no_other() {
    let mut known = Vec::new();
    all_keys("", &mut known);
    let (settings, others) = rows();
    let documented = pages::first_column(&[settings, others]);
    // A section needs no row, but may have one.
    let is_needed =
        |key: &str, is_section: bool| !is_section || documented.iter().any(|k| k == key);
    let known = known.into_iter();
    let known = known
        .filter(|(key, is_section)| is_needed(key, *is_section))
        .map(|(key, _)| key);
    assert_same(PAGE, documented.clone(), known.collect());
}

#[test]
fn a_rule_takes_the_settings_of_the_first_table_and_no_other() {
    let sections = |table: Table| {
        let mut sections: Vec<String> = pages::first_column(&[table])
            .iter()
            .map(|key| key.split(['.', '[']).next().unwrap().to_owned())
            .collect();
        sections.dedup();
        sections
    };
    let (settings, others) = rows();
    let (of_rule, top) = (keys("rules[]").unwrap(), keys("").unwrap());
    let both = of_rule
        .iter()
        .filter(|key| top.contains(key))
        .cloned()
        .collect();
    let top = top
        .into_iter()
        .filter(|key| !of_rule.contains(key))
        .collect();
    assert_same("settings of rules", sections(settings), both);
    assert_same("settings of the plugin", sections(others), top);
}

/// What a cell says, in JSON: `1h` is a string, `[complete]` a list of one.
fn read(cell: &str) -> Value {
    let words = |list: &str| list.split(", ").map(|word| json!(word)).collect();
    serde_json::from_str(cell).unwrap_or_else(|_| {
        let list = cell
            .strip_prefix('[')
            .and_then(|cell| cell.strip_suffix(']'));
        list.map_or_else(|| json!(cell), words)
    })
}

/// The same with what a store behind HTTP must have.
fn completed(mut config: Value) -> Value {
    if let Some(http) = config
        .pointer_mut("/store/http")
        .and_then(Value::as_object_mut)
    {
        complete(http);
    }
    config
}

fn complete(http: &mut Map<String, Value>) {
    for (name, value) in REQUIRED {
        http.entry(name).or_insert_with(|| json!(value));
    }
}

#[test]
fn every_default_is_the_one_that_an_empty_configuration_has() {
    let (settings, others) = rows();
    for row in settings.rows.iter().chain(&others.rows) {
        for (key, default) in spans(&row[0]).zip(spans(&row[2])) {
            let config = completed(with(key, read(default)));
            let mut without = config.clone();
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let section = format!("/{}", section.replace('.', "/"));
            let section = without.pointer_mut(section.trim_end_matches('/')).unwrap();
            section.as_object_mut().unwrap().remove(name);
            let parse = |config: &Value| Config::parse(config.to_string().as_bytes());
            let parsed = parse(&config).unwrap_or_else(|why| panic!("{key}: {default}: {why:?}"));
            assert_eq!(parsed, parse(&without).unwrap(), "{key}: {default}");
        }
    }
}

/// What is said of a value that cannot be right.
fn expected(key: &str) -> String {
    let wrong = [json!(-1), json!([-1])].map(|value| problems(&with(key, value)));
    let said: Vec<_> = wrong.iter().flatten().map(ToString::to_string).collect();
    said.join("\n")
}

#[test]
fn every_type_and_range_is_the_one_that_is_enforced() {
    let (settings, others) = rows();
    for row in settings.rows.iter().chain(&others.rows) {
        let [key, kind, _, range, _] = row.as_slice() else {
            panic!("{row:?}");
        };
        let key = spans(key).next().unwrap();
        let said = expected(key);
        let by_kind = match kind.as_str() {
            "boolean" => "must be true or false",
            "duration" => "must be a duration",
            "size" => "must be a size",
            "whole number" => "must be a whole number",
            "percentage" => "must be a percentage",
            _ => "",
        };
        assert!(said.contains(by_kind), "{key}, {kind}: {said}");
        let words: Vec<_> = spans(range).collect();
        let wanted = match (words.as_slice(), range.contains(" to ")) {
            ([], _) => continue,
            ([from, to], true) => match kind.as_str() {
                "duration" => {
                    let [from, to] = [from, to].map(|end| parse_duration(end).unwrap());
                    format!("from {from:?} to {to:?}")
                }
                "size" => {
                    let [from, to] = [from, to].map(|end| parse_size(end).unwrap());
                    format!("from {from} to {to} bytes")
                }
                "percentage" => format!("from {from:?} to {to:?}"),
                _ => format!("from {from} to {to}"),
            },
            (words, _) => format!("one of {}", words.join(", ")),
        };
        assert!(said.contains(&wanted), "{key}, {range}: {said}");
    }
}

#[test]
fn a_key_that_a_page_names_is_known() {
    let mut known = Vec::new();
    all_keys("", &mut known);
    let sections = keys("").unwrap();
    for page in pages::all() {
        let text = pages::read(page.to_str().unwrap());
        let named = pages::prose(&text).flat_map(spans);
        for key in named.map(|span| span.split([':', '[']).next().unwrap()) {
            let section = key.split_once('.').map(|(section, _)| section);
            if section.is_some_and(|section| sections.iter().any(|known| known == section)) {
                let is_known = known.iter().any(|(known, _)| known == key);
                assert!(is_known, "{}: {key}", page.display());
            }
        }
    }
}
