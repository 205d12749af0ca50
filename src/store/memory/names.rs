//! The names in shared data: those of heads and slots, and that of the sizes.

use super::set::WAYS;

/// Under this name are the sizes that the store has had.
pub(super) const SIZES: &str = "llm-cache/sizes";

/// One set of a store, and how many sets that has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetId {
    pub(super) sets: u32,
    pub(super) set: u32,
}

impl SetId {
    /// `llm-cache/<sets>/<set>`.
    pub(super) fn head_name(self) -> String {
        let mut name = String::with_capacity(32);
        name.push_str("llm-cache/");
        push_number(&mut name, self.sets);
        name.push('/');
        push_number(&mut name, self.set);
        name
    }

    /// `llm-cache/<sets>/<set>/<way>`.
    pub(super) fn slot_name(self, way: u8) -> String {
        const { assert!(WAYS == 256, "a way is one byte") };
        let mut name = self.head_name();
        name.push('/');
        push_number(&mut name, way.into());
        name
    }
}

/// As `write!` would, in a fraction of its time: every lookup spells names.
fn push_number(name: &mut String, number: u32) {
    if number > 9 {
        push_number(name, number / 10);
    }
    name.extend(char::from_digit(number % 10, 10));
}
