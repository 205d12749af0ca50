//! The paths of requests: their parts, and spellings that mean the same.

use std::borrow::Cow;

use memchr::memmem;

/// A path in its two parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'p> {
    /// Without the query.
    pub(crate) bare: &'p [u8],
    /// Begins with `?` where there is one.
    pub(crate) query: &'p [u8],
}

impl<'p> Path<'p> {
    pub(crate) fn of(path: &'p [u8]) -> Self {
        let end = memchr::memchr(b'?', path).unwrap_or(path.len());
        let (bare, query) = path.split_at_checked(end).unwrap_or((path, b""));
        Self { bare, query }
    }
}

/// The last segment of a path without its query.
pub(crate) fn last_segment(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The spelling of a path (without its query) that stands for all that servers take for it: without
/// a slash at its end, and Azure's in lower case. A server that does not know one of them
/// answers with an error, and never with another answer.
pub(crate) fn normal(path: &[u8]) -> Cow<'_, [u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    of_azure(path).map_or(Cow::Borrowed(path), Cow::Owned)
}

/// The ends of Azure's paths. What else stands in a path may be a name in which the case matters.
const OPERATIONS_OF_AZURE: [&[u8]; 4] = [
    b"chat/completions",
    b"completions",
    b"embeddings",
    b"responses",
];

/// Azure's path in lower case, except the deployment's name: no document says that its case does
/// not matter. `None` if it is not Azure's, or in lower case.
fn of_azure(path: &[u8]) -> Option<Vec<u8>> {
    const DEPLOYMENTS: &[u8] = b"/openai/deployments/";
    const V1: &[u8] = b"/openai/v1/";
    if !path.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut normal = path.to_ascii_lowercase();
    let (start, name) = match memmem::find(&normal, DEPLOYMENTS) {
        Some(start) => {
            let name = start.saturating_add(DEPLOYMENTS.len());
            let rest = path.get(name..)?;
            let length = memchr::memchr(b'/', rest).unwrap_or(rest.len());
            (start, name..name.saturating_add(length))
        }
        None => {
            let start = memmem::find(&normal, V1)?;
            let end = start.saturating_add(V1.len()).saturating_sub(1);
            (start, end..end)
        }
    };
    let operation = normal.get(name.end..)?.strip_prefix(b"/")?;
    if !OPERATIONS_OF_AZURE.contains(&operation) {
        return None;
    }
    for kept in [0..start, name] {
        normal
            .get_mut(kept.clone())?
            .copy_from_slice(path.get(kept)?);
    }
    Some(normal)
}

/// The parameters of a query, each as its name and the whole of it.
pub(crate) fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let parameters = query.split(|byte| *byte == b'&');
    let named = parameters.map(|parameter| {
        let name = parameter.split(|byte| *byte == b'=').next();
        (name.unwrap_or_default(), parameter)
    });
    named.filter(|(_, parameter)| !parameter.is_empty())
}

/// A name or a value in a query without percent-encoding (RFC 3986, section 2.1). `None` if a `%` has
/// no two digits behind it.
pub(crate) fn decoded(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'%', text).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        (decoded, rest) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                let byte = digit(high)? * 16 + digit(low)?;
                decoded.push(u8::try_from(byte).ok()?);
                (decoded, tail)
            }
            (b'%', _) => return None,
            _ => {
                decoded.push(*first);
                (decoded, tail)
            }
        };
    }
    Some(Cow::Owned(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_and_the_case_of_azure_s_paths_make_no_difference() {
        for (spelled, normal_one) in [
            ("/v1/messages", "/v1/messages"),
            ("/v1/messages/", "/v1/messages"),
            ("/v1/messages//", "/v1/messages/"),
            ("/V1/Messages", "/V1/Messages"),
            (
                "/Az/OpenAI/Deployments/GPT-4o/Chat/Completions/",
                "/Az/openai/deployments/GPT-4o/chat/completions",
            ),
            ("/openai/deployments/GPT", "/openai/deployments/GPT"),
            (
                "/openai/deployments/GPT/Proj/chat/completions",
                "/openai/deployments/GPT/Proj/chat/completions",
            ),
            (
                "/openai/v1/ProjA/chat/completions",
                "/openai/v1/ProjA/chat/completions",
            ),
            ("/OPENAI/V1/Responses", "/openai/v1/responses"),
            ("/OpenAI/Team/embeddings", "/OpenAI/Team/embeddings"),
            ("", ""),
            ("/", ""),
        ] {
            let normal = normal(spelled.as_bytes());
            assert_eq!(str::from_utf8(&normal), Ok(normal_one), "{spelled}");
        }
    }

    #[test]
    fn what_is_percent_encoded_is_decoded_once() {
        let of = |text: &'static str| decoded(text.as_bytes());
        assert_eq!(of("alt").as_deref(), Some(&b"alt"[..]));
        assert_eq!(of("%24al%74").as_deref(), Some(&b"$alt"[..]));
        assert_eq!(of("json%3benum%3D").as_deref(), Some(&b"json;enum="[..]));
        assert_eq!(of("%2524").as_deref(), Some(&b"%24"[..]));
        for bad in ["%", "a%2", "%g0", "%2\u{b2}"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_query_falls_into_parameters() {
        let Path { bare, query } = Path::of(b"/m?a=1&&b&c=d=e?f");
        assert_eq!(bare, b"/m");
        let found: Vec<_> = parameters(query).collect();
        let expected: [(&[u8], &[u8]); 3] = [(b"a", b"a=1"), (b"b", b"b"), (b"c", b"c=d=e?f")];
        assert_eq!(found, expected);
        assert!(Path::of(b"/m").query.is_empty());
    }
}
