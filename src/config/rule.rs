//! Rules: which requests get settings of their own.

use std::rc::Rc;

use crate::http::Headers;
use crate::llm::Api;

use super::Settings;

/// Settings for the requests that match.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which requests.
    pub when: Match,
    /// The API of a path that does not tell; `None` lets the path tell.
    pub api: Option<Api>,
    /// The base settings with what the rule changes.
    pub settings: Rc<Settings>,
}

/// Everything named must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The authority without its port, compared without case.
    pub host: Option<Pattern>,
    /// The path without its query.
    pub path: Option<PathMatch>,
    /// The request body's `model`.
    pub model: Option<Pattern>,
    /// Request headers, all of which must match.
    pub headers: Vec<HeaderMatch>,
}

impl Match {
    /// Whether all but the model holds.
    pub fn head(&self, headers: &Headers, path: &[u8]) -> bool {
        let host_holds = self.host.as_ref().is_none_or(|pattern| {
            let authority = headers.get(":authority").unwrap_or_default();
            pattern.holds(&host_of(authority).to_ascii_lowercase())
        });
        host_holds
            && self.path.as_ref().is_none_or(|match_| match_.holds(path))
            && self.headers.iter().all(|match_| match_.holds(headers))
    }

    /// The request headers that it looks at, beside `:authority` and `:path`.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|match_| match_.name.as_str())
    }

    /// Whether the model holds.
    pub fn model(&self, model: Option<&str>) -> bool {
        self.model
            .as_ref()
            .is_none_or(|pattern| model.is_some_and(|model| pattern.holds(model.as_bytes())))
    }
}

/// How a path is compared: byte by byte, without the query, nothing decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
}

impl PathMatch {
    fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => path == whole.as_bytes(),
            Self::Prefix(start) => path.starts_with(start.as_bytes()),
            Self::Suffix(end) => path.ends_with(end.as_bytes()),
        }
    }
}

/// A text with at most one `*`, at its beginning or its end, that stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// No `*`.
    Exact(String),
    /// `text*`.
    Prefix(String),
    /// `*text`.
    Suffix(String),
}

impl Pattern {
    /// `None` if the text is empty or has a `*` elsewhere.
    pub fn parse(text: &str) -> Option<Self> {
        let (pattern, fixed) = match (text.strip_suffix('*'), text.strip_prefix('*')) {
            (Some(start), _) => (Self::Prefix(start.to_owned()), start),
            (None, Some(end)) => (Self::Suffix(end.to_owned()), end),
            (None, None) => (Self::Exact(text.to_owned()), text),
        };
        (!text.is_empty() && !fixed.contains('*')).then_some(pattern)
    }

    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => value == whole.as_bytes(),
            Self::Prefix(start) => value.starts_with(start.as_bytes()),
            Self::Suffix(end) => value.ends_with(end.as_bytes()),
        }
    }
}

/// A header that must be there with a value that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower-case.
    pub name: String,
    /// Compared with each of its values.
    pub value: Pattern,
}

impl HeaderMatch {
    fn holds(&self, headers: &Headers) -> bool {
        headers
            .get_all(&self.name)
            .any(|value| self.value.holds(value))
    }
}

/// The authority without its port. An IPv6 literal keeps its brackets (RFC 3986, section 3.2.2).
fn host_of(authority: &[u8]) -> &[u8] {
    let digits = authority
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let before = authority.len().saturating_sub(digits);
    match authority.get(..before).and_then(|b| b.strip_suffix(b":")) {
        Some(host) => host,
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_takes_no_part_in_the_host() {
        assert_eq!(host_of(b"api.openai.com:443"), b"api.openai.com");
        assert_eq!(host_of(b"api.openai.com"), b"api.openai.com");
        assert_eq!(host_of(b"[::1]:8080"), b"[::1]");
        assert_eq!(host_of(b"[::1]"), b"[::1]");
        assert_eq!(host_of(b"host123"), b"host123");
        assert_eq!(host_of(b""), b"");
    }

    #[test]
    fn a_pattern_has_one_star_at_one_end() {
        let holds = |pattern: &str, value: &str| {
            Pattern::parse(pattern).is_some_and(|p| p.holds(value.as_bytes()))
        };
        assert!(holds("gpt-4o", "gpt-4o"));
        assert!(!holds("gpt-4o", "gpt-4o-mini"));
        assert!(holds("gpt-4o*", "gpt-4o-mini"));
        assert!(holds("*.example.com", "a.example.com"));
        assert!(!holds("*.example.com", "example.com"));
        assert!(holds("*", ""));
        for odd in ["", "a*b", "**", "*a*"] {
            assert_eq!(Pattern::parse(odd), None, "{odd}");
        }
    }
}
