//! `key.exclude` and `key.mask`: what of a request's body takes no part in the key.

use serde_json::Value;

use super::Exclude;
use super::section::{Section, describe};
use crate::json::{Change, Edit, Mask, Pointer, Scope};

/// Every excluded path may cost one pass over the members of a prompt, and every mask one pass over a
/// text.
const MAX_EXCLUDED: usize = 64;
const MAX_MASKS: usize = 16;
const MAX_PATTERN_BYTES: usize = 256;

const WORDS: [Exclude; 2] = [Exclude::Attribution, Exclude::CallIds];

pub(super) fn exclude(section: &mut Section<'_>) -> Option<Vec<Exclude>> {
    let problems = section.problems();
    let elements = section.elements("exclude", MAX_EXCLUDED)?;
    let read = |(path, element): (String, Value)| {
        let excluded = excluded(&element);
        excluded.map_err(|problem| problems.add(path, problem)).ok()
    };
    Some(elements.into_iter().filter_map(read).collect())
}

fn excluded(element: &Value) -> Result<Exclude, String> {
    let words = WORDS.each_ref().map(Exclude::as_str).join(" or ");
    let text = element.as_str().ok_or_else(|| {
        let found = describe(element);
        format!("must be {words}, or a JSON pointer such as \"/metadata\", got {found}")
    })?;
    if let Some(word) = WORDS.into_iter().find(|word| word.as_str() == text) {
        return Ok(word);
    }
    if text.starts_with('/') && text.split('/').skip(1).all(|token| token == "*") {
        return Err(format!(
            "{text:?} would exclude the whole body, name members such as /user"
        ));
    }
    let at = Pointer::parse(text).map_err(|error| match text.starts_with('/') {
        true => format!("{text:?} {error}"),
        false => format!("{text:?} {error}; or write {words}"),
    })?;
    let change = Change::Remove;
    Ok(Exclude::Pointer(Edit { at, change }))
}

pub(super) fn mask(section: &mut Section<'_>) -> Option<Vec<Edit>> {
    let problems = section.problems();
    let elements = section.elements("mask", MAX_MASKS)?;
    let read = |(path, element)| masked(Section::new(path, element, problems));
    Some(elements.into_iter().filter_map(read).collect())
}

fn masked(mut section: Section<'_>) -> Option<Edit> {
    section.require("at", "it leads to the texts, as \"/system/*/text\" does");
    let at = section.text("at");
    let at = at.and_then(|text| {
        let at = Pointer::parse(&text).map_err(|error| format!("{text:?} {error}"));
        at.map_err(|problem| section.problem("at", problem)).ok()
    });
    let scopes = [Scope::Line, Scope::Part];
    let given = scopes.map(|scope| section.has(scope.as_str()));
    match given {
        [false, false] => section.problem("line", "is missing, and so is part: give one of them"),
        [true, true] => section.problem("part", "only one of line and part can be given"),
        _ => {}
    }
    let [line, part] = scopes.map(|scope| pattern(&mut section, scope));
    section.finish();
    Some(Edit {
        at: at?,
        change: Change::Mask(line.or(part)?),
    })
}

fn pattern(section: &mut Section<'_>, scope: Scope) -> Option<Mask> {
    let pattern = section.text(scope.as_str())?;
    let mask = match pattern.len() {
        ..=MAX_PATTERN_BYTES => Mask::parse(scope, &pattern).map_err(|error| error.to_string()),
        _ => Err(format!("must have at most {MAX_PATTERN_BYTES} bytes")),
    };
    mask.map_err(|problem| section.problem(scope.as_str(), problem))
        .ok()
}
