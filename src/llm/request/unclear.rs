//! Bodies of which it is not clear what they ask for: what is not plain JSON, and names that
//! some servers take for others.

use crate::json::{Canonical, is_misspelled};

/// Whether a body that is not plain JSON may ask the provider for tools, state or work in the
/// background. Such a body is not parsed, so a word that looks like it is enough, and so is an
/// escape that could spell one. Servers read UTF-16 and UTF-32 as well (Python's `json.loads`).
pub(crate) fn may_ask_for_more(body: &[u8], words: &[&[u8]]) -> bool {
    const WORDS: [&[u8]; 16] = [
        b"\\u",
        b"tool",
        b"search",
        b"plugin",
        b"mcp",
        b"connector",
        b"background",
        b"conversation",
        b"container",
        b"previous_",
        b"deferred",
        // Azure's data, and models that search.
        b"data_sources",
        b"datasources",
        b"sonar",
        b"compound",
        b":online",
    ];
    let folded = folded(body);
    (WORDS.iter().chain(words)).any(|word| memchr::memmem::find(&folded, word).is_some())
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

/// The members at the top of a request that any of the LLM APIs looks for.
pub(crate) const LOOKED_FOR: [&str; 33] = [
    "additionalModelRequestFields",
    "background",
    "compound_custom",
    "connectors",
    "container",
    "conversation",
    "conversation_id",
    "dataSources",
    "data_sources",
    "deferred",
    "enable_search",
    "generationConfig",
    "generation_config",
    "images",
    "inferenceConfig",
    "input",
    "inputs",
    "mcp_servers",
    "model",
    "n",
    "options",
    "plugins",
    "previous_response_id",
    "prompt",
    "requests",
    "search_parameters",
    "stream",
    "stream_options",
    "temperature",
    "texts",
    "toolConfig",
    "tools",
    "web_search_options",
];

/// Whether a member at the top of a request has a name that some servers take for one of these.
pub(crate) fn has_misspelled_names(body: &Canonical, looked_for: &[&str]) -> bool {
    let is_misspelled = |name: &[u8]| {
        let name = name.strip_prefix(b"\"").unwrap_or(name);
        let name = name.strip_suffix(b"\"").unwrap_or(name);
        std::str::from_utf8(name).is_ok_and(|name| {
            !looked_for.contains(&name) && looked_for.iter().any(|known| is_misspelled(name, known))
        })
    };
    body.members().any(|(name, _)| is_misspelled(name))
}
