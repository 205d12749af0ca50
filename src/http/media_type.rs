//! Media types (RFC 9110, section 8.3.1).

/// The essence of a media type (`type/subtype` without parameters, lower-case; WHATWG MIME).
/// Empty when the value is not ASCII.
pub fn media_type(content_type: &[u8]) -> String {
    let essence = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    match std::str::from_utf8(essence) {
        Ok(essence) if essence.is_ascii() => essence.trim().to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// Whether a content type says at most that something may be text: it is empty, no media type, or
/// `text/plain`.
pub fn is_any_text(content_type: &[u8]) -> bool {
    let mut parts = content_type.split(|byte| *byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    essence.is_empty() || !essence.is_ascii() || essence.eq_ignore_ascii_case(b"text/plain")
}

/// Whether a media type's essence says JSON: `application/json` or any `+json` (RFC 6839).
pub fn is_json(essence: &str) -> bool {
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// Whether a content type says JSON in UTF-8, which is what JSON is in (RFC 8259, section 8.1):
/// a server that obeyed another `charset` would read another text from the same bytes. gRPC has a
/// `+json` of its own, whose messages are framed.
pub fn is_plain_json(content_type: &[u8]) -> bool {
    // By far the most frequent value.
    if content_type == b"application/json" {
        return true;
    }
    let essence = media_type(content_type);
    let is_utf8 = |parameter: &[u8]| {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let value = parts.next().unwrap_or_default().trim_ascii();
        let value = value
            .strip_prefix(b"\"")
            .and_then(|inner| inner.strip_suffix(b"\""))
            .unwrap_or(value);
        !name.eq_ignore_ascii_case(b"charset")
            || value.eq_ignore_ascii_case(b"utf-8")
            || value.eq_ignore_ascii_case(b"us-ascii")
    };
    let mut parameters = content_type.split(|byte| *byte == b';').skip(1);
    is_json(&essence) && !essence.starts_with("application/grpc") && parameters.all(is_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_compared_without_case_and_parameters() {
        assert_eq!(
            media_type(b" Text/Event-Stream;charset=UTF-8"),
            "text/event-stream"
        );
        assert_eq!(media_type(b"\xff"), "");
        for any_text in [&b""[..], b" ; q=1", b"\xff", b"Text/Plain;charset=utf-8"] {
            assert!(is_any_text(any_text), "{any_text:?}");
        }
        assert!(!is_any_text(b"text/event-stream"));
        assert!(is_json("application/vnd.api+json"));
        assert!(!is_json("application/jsonp"));
    }

    #[test]
    fn plain_json_is_json_in_utf_8() {
        for plain in [
            &b"application/json"[..],
            b"application/json; charset=UTF-8",
            b"application/json;charset=\"utf-8\"; v=1",
            b"application/ld+json",
        ] {
            assert!(is_plain_json(plain), "{plain:?}");
        }
        for other in [
            &b"application/json; charset=iso-8859-1"[..],
            b"application/json; charset=",
            b"application/grpc+json",
            b"text/plain",
        ] {
            assert!(!is_plain_json(other), "{other:?}");
        }
    }
}
