//! Reads a JSON object key by key and gathers every problem with its path.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::units;

/// One thing that is wrong with the configuration, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where: `store.memory.max_bytes`, `rules[2].match.path`; empty for the whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}", self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

/// Every problem found so far, in the order of finding.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<ConfigError>>);

impl Problems {
    pub(super) fn add(&self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.borrow_mut().push(ConfigError {
            path: path.into(),
            problem: problem.into(),
        });
    }

    pub(super) fn into_result(self) -> Result<(), Vec<ConfigError>> {
        let problems = self.0.into_inner();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }
}

/// One JSON object of the configuration. Keys are taken out one by one; what is left at the end
/// is unknown, and so an error.
pub(super) struct Section<'a> {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// A value that is not an object is a problem, and reads as an empty section.
    pub(super) fn new(path: String, value: Value, problems: &'a Problems) -> Self {
        let members = match value {
            Value::Object(members) => members,
            other => {
                problems.add(
                    path.clone(),
                    format!("must be an object, got {}", describe(&other)),
                );
                Map::new()
            }
        };
        Self {
            path,
            members,
            known: Vec::new(),
            problems,
        }
    }

    /// The path of a key in this section.
    pub(super) fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(super) fn problem(&self, key: &str, problem: impl Into<String>) {
        self.problems.add(self.path_of(key), problem);
    }

    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Whether a key is there that was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// A key that has no default is missing.
    pub(super) fn require(&self, key: &str, meaning: &str) {
        if !self.has(key) {
            self.problem(key, format!("is missing; {meaning}"));
        }
    }

    /// Takes a key's value as it is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.members.remove(key)
    }

    /// Takes a key whose value `read` understands; otherwise the problem is `must be {expected}`.
    pub(super) fn take_as<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let read = read(&value);
        if read.is_none() {
            self.problem(key, format!("must be {expected}, got {}", describe(&value)));
        }
        read
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.take_as(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.take_as(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<f64> {
        let (start, end) = range.into_inner();
        let expected = format!("a number from {start} to {end}");
        let range = f64::from(start)..=f64::from(end);
        self.take_as(key, &expected, |value| {
            value.as_f64().filter(|number| range.contains(number))
        })
    }

    /// A whole number, which a Struct delivers as a double.
    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.take_as(key, &expected, |value| {
            let number = u32::try_from(whole_number(value)?).ok()?;
            range.contains(&number).then_some(number)
        })
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let expected = format!(
            "a duration from {:?} to {:?}, such as \"250ms\", \"30s\", \"1h\" or \"7d\"",
            range.start(),
            range.end()
        );
        self.take_as(key, &expected, |value| {
            units::parse_duration(value.as_str()?).filter(|duration| range.contains(duration))
        })
    }

    /// A size in bytes: a string with a unit, or a whole number (which a Struct delivers as a
    /// double).
    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = format!(
            "a size from {} to {} bytes, such as \"64KiB\", \"10MiB\" or a number of bytes",
            range.start(),
            range.end()
        );
        self.take_as(key, &expected, |value| {
            let bytes = match value {
                Value::String(text) => units::parse_size(text),
                value => whole_number(value),
            };
            bytes.filter(|bytes| range.contains(bytes))
        })
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        self.take_as(key, &one_of(words), |value| word(value, words))
    }

    /// A list whose elements `read` understands.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let Value::Array(elements) = value else {
            self.problem(key, format!("must be a list, got {}", describe(&value)));
            return None;
        };
        let mut list = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            match read(element) {
                Some(element) => list.push(element),
                None => self.problems.add(
                    format!("{}[{index}]", self.path_of(key)),
                    format!("must be {expected}, got {}", describe(element)),
                ),
            }
        }
        Some(list)
    }

    /// The elements of a list of at most `most`, each with its path.
    pub(super) fn elements(
        &mut self,
        key: &'static str,
        most: usize,
    ) -> Option<Vec<(String, Value)>> {
        let expected = format!("a list of at most {most}");
        let elements = self.take_as(key, &expected, |value| {
            value.as_array().filter(|list| list.len() <= most).cloned()
        })?;
        let path = self.path_of(key);
        let numbered = elements.into_iter().enumerate();
        Some(
            numbered
                .map(|(at, element)| (format!("{path}[{at}]"), element))
                .collect(),
        )
    }

    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.take(key)?;
        Some(self.inner(key, value))
    }

    /// A key's value, taken before, as a section.
    pub(super) fn inner(&self, key: &str, value: Value) -> Section<'a> {
        Section::new(self.path_of(key), value, self.problems)
    }

    /// Every key that was not taken is unknown.
    pub(super) fn finish(self) {
        for key in self.members.keys() {
            let known = self.known.join(", ");
            self.problem(key, format!("unknown key; known here are {known}"));
        }
    }
}

/// A value's word, if it is one of these.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Option<T> {
    let text = value.as_str()?;
    words
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, meaning)| *meaning)
}

pub(super) fn one_of<T>(words: &[(&str, T)]) -> String {
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    format!("one of {}", names.join(", "))
}

/// What a value is, for a message. Strings are shown, so that a typo is seen. It is not
/// called for keys that hold credentials.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A field name (RFC 9110, section 5.1), made lower-case as Envoy delivers it.
pub(super) fn header_name(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_token)).then(|| name.to_ascii_lowercase())
}

/// A size as a `usize`. The ranges of these keys end below 2^32.
pub(super) fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The largest integer up to which doubles hold every integer (2^53).
const MAX_EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range and the zero fraction are checked first"
)]
fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..=MAX_EXACT_DOUBLE).contains(number))
            .map(|number| number as u64)
    })
}
