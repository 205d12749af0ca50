//! The request headers that take part in keys.

use crate::cache::{key_headers, steers_by_prefix};
use crate::config::Config;
use crate::http::Headers;

/// The headers that decide what a request asks for and under which key, by the length of their
/// names.
#[derive(Debug)]
pub(crate) struct KeyHeaderFilter {
    by_length: Vec<Vec<Box<[u8]>>>,
}

impl KeyHeaderFilter {
    pub(crate) fn new(config: &Config) -> Self {
        let settings = config.all_settings();
        let names = [":authority", ":scheme", ":path"]
            .into_iter()
            .chain(settings.flat_map(|settings| key_headers(&settings.key)))
            .chain(
                config
                    .rules
                    .iter()
                    .flat_map(|rule| rule.when.header_names()),
            );
        let mut by_length: Vec<Vec<Box<[u8]>>> = Vec::new();
        for name in names.map(str::as_bytes) {
            if by_length.len() <= name.len() {
                by_length.resize_with(name.len().saturating_add(1), Vec::new);
            }
            if let Some(names) = by_length.get_mut(name.len())
                && names.iter().all(|known| **known != *name)
            {
                names.push(name.into());
            }
        }
        Self { by_length }
    }

    /// The key headers of a request.
    pub(crate) fn pick(&self, headers: &Headers) -> Headers {
        headers.filtered(|name| self.has(name))
    }

    /// Whether headers of this name are key headers.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        let names = self.by_length.get(name.len());
        // The last bytes tell most names of one length apart, without a call of `memcmp`.
        let is_name = |known: &[u8]| known.last() == name.last() && known == name;
        let is_listed = names.is_some_and(|names| names.iter().any(|known| is_name(known)));
        is_listed || steers_by_prefix(name)
    }
}
