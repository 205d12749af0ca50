//! Rules: which requests get settings of their own.

use std::rc::Rc;

use crate::http::{Headers, authority};
use crate::llm::{self, Api};

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
    /// The authority without its port, compared without case and without a dot at its end.
    pub host: Option<Pattern>,
    /// The path without its query.
    pub path: Option<PathMatch>,
    /// The request body's `model`.
    pub model: Option<Pattern>,
    /// Request headers, all of which must match.
    pub headers: Vec<HeaderMatch>,
}

impl Match {
    /// Whether everything but the model matches.
    pub fn matches_without_model(&self, headers: &Headers, path: &[u8]) -> bool {
        let host_holds = self.host.as_ref().is_none_or(|pattern| {
            let authority = headers.get(":authority").unwrap_or_default();
            pattern.holds(&authority::host(authority))
        });
        host_holds
            && self.path.as_ref().is_none_or(|match_| {
                // However a path that tells its API is spelled, the same rules hold.
                match_.holds(path) || match_.holds(&llm::normal_path(path))
            })
            && self.headers.iter().all(|match_| match_.holds(headers))
    }

    /// The request headers that it looks at, beside `:authority` and `:path`.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|match_| match_.name.as_str())
    }

    /// Whether the model holds.
    pub fn matches_model(&self, model: Option<&str>) -> bool {
        self.model
            .as_ref()
            .is_none_or(|pattern| model.is_some_and(|model| pattern.holds(model.as_bytes())))
    }
}

/// How a path is compared: byte by byte, without the query, nothing decoded; as it came, or in the
/// spelling that stands for all of it.
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

/// A header that is there with a value that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower-case.
    pub name: String,
    /// Compared with each of its values.
    pub value: Pattern,
}

impl HeaderMatch {
    /// Whether one of the headers matches.
    pub fn holds(&self, headers: &Headers) -> bool {
        headers
            .get_all(&self.name)
            .any(|value| self.value.holds(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_for_every_spelling_of_the_same_request() {
        let rule = Match {
            host: Pattern::parse("api.openai.com"),
            path: Some(PathMatch::Exact("/v1/chat/completions".to_owned())),
            ..Match::default()
        };
        let holds = |authority: &str, path: &str| {
            rule.matches_without_model(
                &[(":authority", authority)].into_iter().collect(),
                path.as_bytes(),
            )
        };
        for authority in ["api.openai.com", "API.openai.com:443", "api.openai.com."] {
            assert!(holds(authority, "/v1/chat/completions"), "{authority}");
        }
        assert!(holds("api.openai.com", "/v1/chat/completions/"));
        assert!(!holds("api.openai.com", "/v1/chat/completions//"));
        assert!(!holds("api.openai.com", "/V1/chat/completions"));
        // Where the path tells no API, its slash may tell something.
        let ask = PathMatch::Exact("/ask".to_owned());
        let rule = Match {
            path: Some(ask),
            ..Match::default()
        };
        assert!(rule.matches_without_model(&Headers::new(), b"/ask"));
        assert!(!rule.matches_without_model(&Headers::new(), b"/ask/"));
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
