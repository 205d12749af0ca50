//! The names in shared data: that of the number of sets, and those of heads and slots.

use super::set::WAYS;

/// Under this name is the number of sets that the latest configuration gave the store.
pub(super) const GEOMETRY: &str = "llm-cache/sets";

/// `llm-cache/<set>`.
pub(super) fn head_name(set: u32) -> String {
    let mut name = String::with_capacity(32);
    name.push_str("llm-cache/");
    push_number(&mut name, set);
    name
}

/// `llm-cache/<set>/<way>`.
pub(super) fn slot_name(set: u32, way: u8) -> String {
    const { assert!(WAYS == 256, "a way is one byte") };
    let mut name = head_name(set);
    name.push('/');
    push_number(&mut name, way.into());
    name
}

/// As `write!` would, in a fraction of its time: every lookup spells names.
fn push_number(name: &mut String, number: u32) {
    if number > 9 {
        push_number(name, number / 10);
    }
    name.extend(char::from_digit(number % 10, 10));
}
