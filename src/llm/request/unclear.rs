//! Bodies that do not say clearly what they ask for: they are not plain JSON, or have names that some
//! servers take for others.

use std::sync::LazyLock;

use crate::json::{Canonical, is_misspelled};
use crate::llm::APIS;

/// Words of several APIs, as [`Facts::suspicious_words`](crate::llm::Facts::suspicious_words), and
/// the escape that could spell one.
const WORDS: [&[u8]; 5] = [b"\\u", b"tool", b"search", b"plugin", b"mcp"];

/// Whether a body that is not plain JSON may ask the provider for tools, state or work in the
/// background. Such a body is not parsed, so a word that looks like it is enough. Servers read UTF-16
/// and UTF-32 as well (Python's `json.loads`).
pub(crate) fn may_ask_for_more(body: &[u8], suspicious_here: &[&[u8]]) -> bool {
    let folded = folded(body);
    let of_apis = APIS.iter().flat_map(|api| api.facts().suspicious_words);
    let mut words = WORDS.iter().chain(of_apis).chain(suspicious_here);
    words.any(|word| memchr::memmem::find(&folded, word).is_some())
}

/// A body in small letters, without the zeros that UTF-16 and UTF-32 put between those of ASCII,
/// and with `s` and `k` for the letters that fold to them (see [`is_misspelled`]), in any of these
/// encodings.
fn folded(body: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(body.len());
    for byte in body.iter().filter(|byte| **byte != 0) {
        folded.push(byte.to_ascii_lowercase());
        let letter = match folded.as_slice() {
            [.., 0xC5, 0xBF] | [.., 0x7F, 0x01] | [.., 0x01, 0x7F] => Some((2, b's')),
            [.., 0xE2, 0x84, 0xAA] => Some((3, b'k')),
            [.., b'*', b'!'] | [.., b'!', b'*'] => Some((2, b'k')),
            _ => None,
        };
        if let Some((length, letter)) = letter {
            folded.truncate(folded.len().saturating_sub(length));
            folded.push(letter);
        }
    }
    folded
}

/// What any API looks for at the top of a request.
pub(crate) static LOOKED_FOR: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let apis = APIS.iter().map(|api| api.facts());
    let apis = apis.filter(|facts| !facts.has_names_of_its_own);
    let mut names: Vec<_> = apis.flat_map(|facts| facts.looked_for).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
});

/// Whether a member at the top of a request has a name that some servers take for one of these.
pub(crate) fn has_misspelled_names(body: &Canonical, looked_for: &[&str]) -> bool {
    let is_misspelled = |name: &[u8]| {
        let name = name.strip_prefix(b"\"").unwrap_or(name);
        let name = name.strip_suffix(b"\"").unwrap_or(name);
        std::str::from_utf8(name).is_ok_and(|name| {
            !looked_for.contains(&name)
                && looked_for.iter().any(|wanted| is_misspelled(name, wanted))
        })
    };
    body.members().any(|(name, _)| is_misspelled(name))
}
