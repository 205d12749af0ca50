//! The authority of a request (RFC 9110, section 7.2): its host and the port.

use std::borrow::Cow;

/// The host: in lower case, without the port and the dot of an absolute name. An IPv6 literal keeps
/// its brackets (RFC 3986, section 3.2.2).
pub fn host(authority: &[u8]) -> Cow<'_, [u8]> {
    let (host, _) = split_port(authority);
    lower(without_dot(host))
}

/// The spelling that stands for all authorities that name the same server (RFC 9110, section 4.2.3):
/// the host in lower case, without the dot of an absolute name, and no port where it is the one of
/// the scheme.
pub fn normal<'a>(authority: &'a [u8], scheme: &[u8]) -> Cow<'a, [u8]> {
    // An authority with a user in it is not one that HTTP knows (RFC 9110, section 4.2.4).
    if memchr::memchr(b'@', authority).is_some() {
        return Cow::Borrowed(authority);
    }
    let default: &[u8] = match scheme {
        b"https" => b":443",
        b"http" => b":80",
        _ => b"",
    };
    let (host, port) = split_port(authority);
    let bare = without_dot(host);
    if port.is_empty() || port == b":" || port == default {
        lower(bare)
    } else if bare.len() == host.len() {
        lower(authority)
    } else {
        Cow::Owned([bare, port].concat().to_ascii_lowercase())
    }
}

/// The host and the port with its colon, which is empty where there is none.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let digits = authority
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let before = authority.len().saturating_sub(digits);
    match authority.get(..before).and_then(|b| b.strip_suffix(b":")) {
        Some(host) => authority
            .split_at_checked(host.len())
            .unwrap_or((authority, b"")),
        None => (authority, b""),
    }
}

/// A dot alone is no name.
fn without_dot(host: &[u8]) -> &[u8] {
    match host.strip_suffix(b".") {
        Some(name) if !name.is_empty() && !name.ends_with(b".") => name,
        _ => host,
    }
}

fn lower(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_port_nor_the_case_nor_the_last_dot_takes_part_in_the_host() {
        for (authority, expected) in [
            ("api.openai.com:443", "api.openai.com"),
            ("API.OpenAI.com", "api.openai.com"),
            ("api.openai.com.", "api.openai.com"),
            ("api.openai.com.:8080", "api.openai.com"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("host123", "host123"),
            ("host:", "host"),
            ("", ""),
            (".", "."),
            ("a..", "a.."),
        ] {
            assert_eq!(
                *host(authority.as_bytes()),
                *expected.as_bytes(),
                "{authority}"
            );
        }
    }

    #[test]
    fn authorities_of_one_server_have_one_spelling_and_others_their_own() {
        for (scheme, authority, expected) in [
            ("https", "api.example", "api.example"),
            ("https", "API.Example.:443", "api.example"),
            ("https", "api.example:", "api.example"),
            ("http", "api.example:80", "api.example"),
            ("https", "[::A]:443", "[::a]"),
            // The port of the other scheme, and any other, is another server.
            ("https", "api.example:80", "api.example:80"),
            ("http", "api.example:443", "api.example:443"),
            ("http", "api.example:8080", "api.example:8080"),
            ("http", "Api.example.:8080", "api.example:8080"),
            ("", "api.example:80", "api.example:80"),
            // These have no defined meaning.
            ("http", "User@api.example:80", "User@api.example:80"),
            ("http", "api.example..:80", "api.example.."),
            ("http", "", ""),
            ("http", ":80", ""),
        ] {
            let normal = normal(authority.as_bytes(), scheme.as_bytes());
            assert_eq!(*normal, *expected.as_bytes(), "{scheme} {authority}");
        }
    }
}
