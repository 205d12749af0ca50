//! Names that some servers take for one another.

/// Whether `name` is another spelling of `wanted` for those who fold cases, as Go's `encoding/json`
/// does by Unicode's simple folding: two letters beyond ASCII fold into it.
pub fn is_misspelled(name: &str, wanted: &str) -> bool {
    name != wanted
        && match name.is_ascii() {
            true => name.eq_ignore_ascii_case(wanted),
            false => name.chars().map(folded).eq(wanted.chars().map(folded)),
        }
}

fn folded(char: char) -> char {
    match char {
        // LATIN SMALL LETTER LONG S, KELVIN SIGN.
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        char => char.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_other_cases_and_with_letters_that_fold_are_misspelled() {
        for (name, wanted) in [
            ("Tools", "tools"),
            ("TOOLS", "tools"),
            ("tool\u{17f}", "tools"),
            ("bac\u{212a}ground", "background"),
            ("generationconfig", "generationConfig"),
            ("web_\u{17f}earch_Option\u{17f}", "web_search_options"),
        ] {
            assert!(is_misspelled(name, wanted), "{name}");
        }
        for name in ["tools", "tool", "toolss", "tool\u{df}", "töols", ""] {
            assert!(!is_misspelled(name, "tools"), "{name}");
        }
    }
}
