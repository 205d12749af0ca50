//! Canonical JSON against serde_json, on random values in random spellings and
//! on bytes that are almost JSON.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use envoy_llm_cache::json::{NotPlain, canonicalize, string_value};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

/// A JSON value as the cache sees it: numbers are text, members have no order.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Word(&'static str),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        select(vec!["null", "true", "false"]).prop_map(Json::Word),
        "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,2})?([eE][+-]?[0-9]{1,2})?".prop_map(Json::Number),
        text().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Json::Array),
            proptest::collection::btree_map(name(), inner, 0..6).prop_map(Json::Object),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    vec(
        select(vec![
            'a', 'b', 'Z', '"', '\\', '/', '\n', '\0', '\u{1f}', '\u{7f}', 'é', '€', '😀', 'u',
            '\u{fffd}',
        ]),
        0..6,
    )
    .prop_map(String::from_iter)
}

/// A name that no other name equals when case is ignored.
fn name() -> impl Strategy<Value = String> {
    text().prop_map(|t| t.to_lowercase())
}

/// Spells a value in one of the many ways, chosen by `dice`.
struct Speller<'d> {
    dice: std::iter::Cycle<std::slice::Iter<'d, u8>>,
    out: String,
}

impl Speller<'_> {
    fn spell(value: &Json, dice: &[u8]) -> String {
        let mut speller = Speller {
            dice: dice.iter().cycle(),
            out: String::new(),
        };
        speller.value(value);
        speller.space();
        speller.out
    }

    fn roll(&mut self, sides: u8) -> u8 {
        self.dice.next().unwrap() % sides
    }

    fn space(&mut self) {
        let space = ["", "", " ", "\n", "\t\r\n  "][usize::from(self.roll(5))];
        self.out.push_str(space);
    }

    fn token(&mut self, token: &str) {
        self.space();
        self.out.push_str(token);
    }

    fn value(&mut self, value: &Json) {
        match value {
            Json::Word(word) => self.token(word),
            Json::Number(number) => self.token(number),
            Json::String(text) => self.string(text),
            Json::Array(items) => {
                self.token("[");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        self.token(",");
                    }
                    self.value(item);
                }
                self.token("]");
            }
            Json::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                for i in (1..members.len()).rev() {
                    let other = usize::from(self.roll(255)) % (i + 1);
                    members.swap(i, other);
                }
                self.token("{");
                for (i, (name, value)) in members.into_iter().enumerate() {
                    if i > 0 {
                        self.token(",");
                    }
                    self.string(name);
                    self.token(":");
                    self.value(value);
                }
                self.token("}");
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.token("\"");
        for c in text.chars() {
            let short = match c {
                '"' => "\\\"",
                '\\' => "\\\\",
                '/' => "\\/",
                '\n' => "\\n",
                _ => "",
            };
            match self.roll(3) {
                0 if !matches!(c, '"' | '\\' | '\0'..='\u{1f}') => self.out.push(c),
                1 if !short.is_empty() => self.out.push_str(short),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let upper = self.roll(2) == 0;
                        self.out.push_str(&if upper {
                            format!("\\u{unit:04X}")
                        } else {
                            format!("\\u{unit:04x}")
                        });
                    }
                }
            }
        }
        self.out.push('"');
    }
}

fn canonical(text: &str) -> Vec<u8> {
    canonicalize(text.as_bytes(), &[])
        .unwrap()
        .as_bytes()
        .to_vec()
}

/// Bytes that are often JSON and else almost.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u00",
        "41",
        "\\ud83d",
        "\\ude00",
        "\"a\":",
        "\"A\":1",
        "\"\\u0061\":2",
        "1",
        "-",
        "0",
        ".5",
        "e",
        "+",
        " ",
        "\n",
        "true",
        "null",
        "1e400",
        "\u{feff}",
        "é",
        "\0",
    ]);
    let soup = vec(piece, 0..12).prop_map(|p| p.concat().into_bytes());
    let changed = (
        json(),
        vec(any::<u8>(), 1..20),
        any::<proptest::sample::Index>(),
        any::<u8>(),
        0..4,
    )
        .prop_map(|(value, dice, at, byte, how)| {
            let mut text = Speller::spell(&value, &dice).into_bytes();
            let at = at.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => drop(text.remove(at)),
                2 => text.insert(at, byte % 128),
                _ => text.truncate(at),
            }
            text
        });
    prop_oneof![soup, changed, vec(any::<u8>(), 0..30)]
}

/// Whether canonical bytes hold an escape of a lone surrogate.
fn has_lone_surrogate(canonical: &[u8]) -> bool {
    let text = String::from_utf8(canonical.to_vec())
        .unwrap()
        .replace("\\\\", "");
    text.contains("\\ud")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_spelling_of_a_value_has_one_canonical_form(
        value in json(),
        one in vec(any::<u8>(), 1..40),
        other in vec(any::<u8>(), 1..40),
    ) {
        prop_assert_eq!(canonical(&Speller::spell(&value, &one)), canonical(&Speller::spell(&value, &other)));
    }

    #[test]
    fn values_that_differ_have_canonical_forms_that_differ(
        one in json(),
        other in json(),
        dice in vec(any::<u8>(), 1..40),
    ) {
        let forms_equal = canonical(&Speller::spell(&one, &dice)) == canonical(&Speller::spell(&other, &dice));
        prop_assert_eq!(forms_equal, one == other);
    }

    #[test]
    fn a_canonical_form_is_its_own(value in json(), dice in vec(any::<u8>(), 1..40)) {
        let form = canonicalize(Speller::spell(&value, &dice).as_bytes(), &[]).unwrap();
        let again = canonicalize(form.as_bytes(), &[]).unwrap();
        prop_assert_eq!(form.as_bytes(), again.as_bytes());
        prop_assert!(form.members().eq(again.members()));
    }

    #[test]
    fn the_members_are_what_the_text_is_made_of(value in json(), dice in vec(any::<u8>(), 1..40)) {
        let form = canonicalize(Speller::spell(&value, &dice).as_bytes(), &[]).unwrap();
        if let Json::Object(members) = &value {
            prop_assert_eq!(form.members().count(), members.len());
            for (name, value) in form.members() {
                let name = string_value(name).unwrap();
                let expected = canonical(&Speller::spell(&members[&*name], &dice));
                prop_assert_eq!(value, expected);
            }
            let joined: Vec<Vec<u8>> = form.members().map(|(n, v)| [n, v].join(&b':')).collect();
            prop_assert_eq!([b"{", &*joined.join(&b','), b"}"].concat(), form.as_bytes());
        } else {
            prop_assert_eq!(form.members().count(), 0);
        }
    }

    #[test]
    fn a_canonical_form_means_what_the_text_meant(value in json(), dice in vec(any::<u8>(), 1..40)) {
        let text = Speller::spell(&value, &dice);
        let meant: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(meant, serde_json::from_slice::<Value>(&canonical(&text)).unwrap());
    }

    #[test]
    fn what_is_accepted_is_what_serde_json_accepts(bytes in almost_json()) {
        let theirs = serde_json::from_slice::<Value>(&bytes);
        match (canonicalize(&bytes, &[]), theirs) {
            (Ok(form), Ok(value)) => {
                prop_assert_eq!(serde_json::from_slice::<Value>(form.as_bytes()).unwrap(), value);
            }
            (Ok(form), Err(error)) => prop_assert!(
                has_lone_surrogate(form.as_bytes()) || error.to_string().contains("number out of range"),
                "only serde_json refuses: {}", error
            ),
            (Err(reason), Ok(_)) => prop_assert_eq!(reason, NotPlain::DuplicateName),
            (Err(_), Err(_)) => {}
        }
    }
}
