//! Who may read an answer in a browser (WHATWG Fetch, "CORS protocol"): an upstream that answers one
//! origin may not have answered another in the same way, and most add nothing for a request without
//! `origin`. So an answer that allows all origins serves all requests. Any other serves only
//! requests that the upstream answered, or would have answered, with the same headers.

use std::borrow::Cow;
use std::rc::Rc;

use crate::http::Headers;

/// The response headers that tell browsers which origins may read which parts of an answer. Unless they
/// name all origins, they hold only for the origin that the answer was given to.
const SHARING: [&str; 4] = [
    ALLOW_CREDENTIALS,
    ALLOW_ORIGIN,
    "access-control-expose-headers",
    TIMING,
];

/// The name under which the origin of the request that got an answer is stored with it.
const ORIGIN: &str = "origin";

/// No page's origin is longer. There is a bound because clients choose the origin and it is stored.
const MAX_ORIGIN_BYTES: usize = 256;

/// The `origin` of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// There is none, or it makes no difference: headers for browsers are not looked at.
    Absent,
    /// A page's.
    Page(Rc<[u8]>),
    /// Of no page: several, a star, or a text that is longer than any.
    Unclear,
}

impl Origin {
    pub(crate) fn of(request: &Headers) -> Self {
        let mut origins = request.get_all(ORIGIN);
        match (origins.next(), origins.next()) {
            (None, _) => Self::Absent,
            (Some(origin), None) if origin.len() <= MAX_ORIGIN_BYTES && origin != b"*" => {
                Self::Page(origin.into())
            }
            _ => Self::Unclear,
        }
    }

    /// Whether an answer that is stored with these headers can be given to this origin as the upstream
    /// would: a request without one takes any.
    pub(crate) fn may_read(&self, stored: &Headers) -> bool {
        match self {
            Self::Absent => true,
            Self::Unclear => is_for_all(stored),
            Self::Page(origin) => {
                let same = |name| stored.get(name) == Some(&**origin);
                is_for_all(stored) || same(ALLOW_ORIGIN) || same(ORIGIN)
            }
        }
    }

    /// Whether a stored header is part of a reply to this origin.
    pub(crate) fn is_sent(&self, name: &[u8], stored: &Headers) -> bool {
        let shares = SHARING.iter().any(|known| known.as_bytes() == name);
        name != ORIGIN.as_bytes() && (!shares || *self != Self::Absent || is_for_all(stored))
    }

    /// What is stored under this name of an answer with these headers, if the name is one of those
    /// that concern browsers.
    pub(crate) fn stored<'a>(&'a self, name: &str, response: &'a Headers) -> Option<Cow<'a, [u8]>> {
        match (name, self) {
            (ORIGIN, Self::Page(origin)) if !is_for_all(response) => Some(Cow::Borrowed(origin)),
            (ORIGIN, _) => None,
            // What else an answer varies by is in the key.
            ("vary", _) => lists_origin(response).then_some(Cow::Borrowed(&b"origin"[..])),
            // Browsers refuse an answer that names two, whatever they are.
            _ if response.get_all(ALLOW_ORIGIN).nth(1).is_some() => None,
            _ => {
                let lines: Vec<_> = response.get_all(name).collect();
                (!lines.is_empty()).then(|| Cow::Owned(lines.join(&b", "[..])))
            }
        }
    }
}

/// Whether the name is of a header that concerns browsers, so that [`Origin::stored`] tells what is
/// stored of it.
pub(crate) fn is_for_browsers(name: &str) -> bool {
    SHARING.contains(&name) || [ORIGIN, "vary", "cross-origin-resource-policy"].contains(&name)
}

/// Whether an answer says that all origins may read it, without credentials.
fn is_for_all(answer: &Headers) -> bool {
    let is_star = |name| {
        let mut values = answer.get_all(name);
        values.next() == Some(b"*") && values.next().is_none()
    };
    is_star(ALLOW_ORIGIN)
        && !answer.contains(ALLOW_CREDENTIALS)
        && (!answer.contains(TIMING) || is_star(TIMING))
}

fn lists_origin(response: &Headers) -> bool {
    let mut names = (response.get_all("vary")).flat_map(|line| line.split(|byte| *byte == b','));
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(ORIGIN.as_bytes()))
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const TIMING: &str = "timing-allow-origin";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        fields.iter().copied().collect()
    }

    fn page(origin: &str) -> Origin {
        Origin::of(&headers(&[(ORIGIN, origin)]))
    }

    /// What is stored of an answer to this origin, in the order of the names.
    fn stored(origin: &Origin, response: &[(&str, &str)]) -> Headers {
        let response = headers(response);
        let names = [
            ALLOW_CREDENTIALS,
            ALLOW_ORIGIN,
            "access-control-expose-headers",
            "cross-origin-resource-policy",
            ORIGIN,
            TIMING,
            "vary",
        ];
        let of = |name| origin.stored(name, &response).map(|value| (name, value));
        names.into_iter().filter_map(of).collect()
    }

    const A: &str = "https://a.example";
    const B: &str = "https://b.example";

    #[test]
    fn an_answer_for_all_serves_every_origin() {
        let answer = [
            (ALLOW_ORIGIN, "*"),
            ("access-control-expose-headers", "x-a"),
            ("access-control-expose-headers", "x-b"),
            (TIMING, "*"),
            ("vary", "Accept-Encoding, Origin"),
        ];
        let kept = stored(&page(A), &answer);
        let expected = [
            (ALLOW_ORIGIN, "*"),
            ("access-control-expose-headers", "x-a, x-b"),
            (TIMING, "*"),
            ("vary", "origin"),
        ];
        assert_eq!(kept, headers(&expected));
        for origin in [
            Origin::Absent,
            page(A),
            page(B),
            page("null"),
            Origin::Unclear,
        ] {
            assert!(origin.may_read(&kept), "{origin:?}");
            assert!(kept.iter().all(|(name, _)| origin.is_sent(name, &kept)));
        }
    }

    #[test]
    fn an_answer_to_one_origin_serves_that_one_and_who_has_none() {
        for answer in [
            &[(ALLOW_ORIGIN, A), ("vary", "origin")][..],
            &[(ALLOW_ORIGIN, A), (ALLOW_CREDENTIALS, "true")],
            &[(ALLOW_ORIGIN, "*"), (ALLOW_CREDENTIALS, "true")],
            &[(ALLOW_ORIGIN, "*"), (TIMING, A)],
            &[(ALLOW_ORIGIN, "*"), (ALLOW_ORIGIN, "*")],
            // Envoy's cors filter, or nobody, tells the browser.
            &[],
        ] {
            let kept = stored(&page(A), answer);
            assert!(page(A).may_read(&kept), "{answer:?}");
            assert!(Origin::Absent.may_read(&kept), "{answer:?}");
            for other in [page(B), page("null"), page("*"), Origin::Unclear] {
                assert!(!other.may_read(&kept), "{other:?} {answer:?}");
            }
            assert!(!page(A).is_sent(ORIGIN.as_bytes(), &kept));
            for name in SHARING {
                assert!(page(A).is_sent(name.as_bytes(), &kept));
                assert!(!Origin::Absent.is_sent(name.as_bytes(), &kept));
            }
            assert!(Origin::Absent.is_sent(b"content-type", &kept));
        }
    }

    #[test]
    fn an_answer_to_no_origin_serves_only_those_that_it_names() {
        let silent = stored(&Origin::Absent, &[]);
        assert!(Origin::Absent.may_read(&silent));
        assert!(!page(A).may_read(&silent));
        let fixed = stored(&Origin::Absent, &[(ALLOW_ORIGIN, A)]);
        assert!(page(A).may_read(&fixed));
        assert!(!page(B).may_read(&fixed));
    }

    #[test]
    fn an_origin_that_is_no_page_s_is_not_stored() {
        let long = "a".repeat(MAX_ORIGIN_BYTES + 1);
        let two = Origin::of(&headers(&[(ORIGIN, A), (ORIGIN, B)]));
        for odd in [page(&long), page("*"), two] {
            assert_eq!(odd, Origin::Unclear);
            let kept = stored(&odd, &[(ALLOW_ORIGIN, A)]);
            assert_eq!(kept, headers(&[(ALLOW_ORIGIN, A)]));
        }
        assert_eq!(Origin::of(&headers(&[])), Origin::Absent);
    }
}
