//! `Cache-Control` in requests (RFC 9111, section 5.2.1).

use crate::clock::DeltaSeconds;

/// The `Cache-Control` directives of a request that this cache obeys (RFC 9111, section 5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Neither look up nor store.
    pub no_store: bool,
    /// Do not look up; the new answer replaces the entry.
    pub no_cache: bool,
    /// Only entries at most this old.
    pub max_age: Option<DeltaSeconds>,
    /// 504 instead of asking the upstream.
    pub only_if_cached: bool,
}

impl RequestDirectives {
    /// Reads one more `cache-control` line. Names are case-insensitive, arguments may be tokens or
    /// quoted strings, unknown directives are passed over. A `max-age` that is not a number of
    /// seconds cannot be met by any entry and so reads as 0.
    pub fn add(&mut self, line: &[u8]) {
        for (name, argument) in Elements(line) {
            if name.eq_ignore_ascii_case(b"no-store") {
                self.no_store = true;
            } else if name.eq_ignore_ascii_case(b"no-cache") {
                self.no_cache = true;
            } else if name.eq_ignore_ascii_case(b"only-if-cached") {
                self.only_if_cached = true;
            } else if name.eq_ignore_ascii_case(b"max-age") {
                let seconds = delta_seconds(argument);
                self.max_age = Some(self.max_age.map_or(seconds, |old| old.min(seconds)));
            }
        }
    }
}

/// RFC 9111, section 1.2.2: a value too large to hold is read as 2^31.
fn delta_seconds(argument: &[u8]) -> DeltaSeconds {
    if argument.is_empty() || !argument.iter().all(u8::is_ascii_digit) {
        return DeltaSeconds::default();
    }
    let seconds = std::str::from_utf8(argument)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(1 << 31);
    DeltaSeconds::new(seconds)
}

/// The elements of a comma-separated list of `name[=argument]`, quotes taken off the argument.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut quoted = false;
        let mut escaped = false;
        let end = self
            .0
            .iter()
            .position(|byte| {
                let separates = *byte == b',' && !quoted;
                let quote = *byte == b'"' && !escaped;
                escaped = quoted && *byte == b'\\' && !escaped;
                quoted ^= quote;
                separates
            })
            .unwrap_or(self.0.len());
        let (element, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        let mut parts = element.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let argument = parts.next().unwrap_or_default().trim_ascii();
        let argument = argument
            .strip_prefix(b"\"")
            .and_then(|inner| inner.strip_suffix(b"\""))
            .unwrap_or(argument);
        Some((name, argument))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(lines: &[&str]) -> RequestDirectives {
        let mut directives = RequestDirectives::default();
        for line in lines {
            directives.add(line.as_bytes());
        }
        directives
    }

    #[test]
    fn directives_are_read_without_regard_to_case_lines_and_quotes() {
        assert!(directives(&["No-Store"]).no_store);
        assert!(directives(&["max-age=5", "only-if-cached ,no-CACHE"]).no_cache);
        assert!(directives(&["max-age=5", "only-if-cached"]).only_if_cached);
        assert_eq!(
            directives(&["max-age=\"7\""]).max_age,
            Some(DeltaSeconds::new(7))
        );
        assert!(!directives(&["private=\"x, no-store\""]).no_store);
        assert!(directives(&["ext=\"a\\\"b\", no-store"]).no_store);
        assert!(!directives(&["no-storex, xno-store"]).no_store);
    }

    #[test]
    fn a_max_age_that_cannot_be_read_matches_no_entry() {
        assert_eq!(
            directives(&["max-age=soon"]).max_age,
            Some(DeltaSeconds::new(0))
        );
        assert_eq!(directives(&["max-age"]).max_age, Some(DeltaSeconds::new(0)));
        assert_eq!(
            directives(&["max-age=-1"]).max_age,
            Some(DeltaSeconds::new(0))
        );
        assert_eq!(
            directives(&["max-age=99999999999999999999"]).max_age,
            Some(DeltaSeconds::new(1 << 31))
        );
        assert_eq!(
            directives(&["max-age=9, max-age=3"]).max_age,
            Some(DeltaSeconds::new(3))
        );
    }
}
