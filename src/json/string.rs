//! The canonical form of one JSON string: writing it and reading it.

use std::{borrow::Cow, iter};

/// The decoded value of a canonical string (with its quotes). `None` if it is
/// no string or holds a lone surrogate. Borrowed if it has no escapes.
pub fn string_value(canonical: &[u8]) -> Option<Cow<'_, str>> {
    let [b'"', inner @ .., b'"'] = canonical else {
        return None;
    };
    let inner = str::from_utf8(inner).ok()?;
    if inner.contains('\\') {
        // No escape is shorter than what it stands for.
        let mut text = String::with_capacity(inner.len());
        for c in decoded(inner) {
            text.push(c?);
        }
        Some(Cow::Owned(text))
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The characters of a canonical string (without quotes); `None` stands for a
/// lone surrogate.
pub(super) fn decoded(inner: &str) -> impl Iterator<Item = Option<char>> {
    let mut chars = inner.chars();
    iter::from_fn(move || match chars.next()? {
        '\\' => match chars.next()? {
            'u' => {
                let digits = chars.by_ref().take(4);
                let unit = digits
                    .filter_map(|c| c.to_digit(16))
                    .fold(0, |unit, digit| (unit << 4) | digit);
                Some(char::from_u32(unit))
            }
            c => Some(Some(c)),
        },
        c => Some(Some(c)),
    })
}

/// A canonical string without its quotes.
pub(super) fn unquoted(name: &[u8]) -> &[u8] {
    if let [b'"', inner @ .., b'"'] = name {
        inner
    } else {
        name
    }
}

/// Writes one character of a string, escaped if it must be.
pub(super) fn push_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\0'..'\u{20}' => push_unit(out, u16::try_from(u32::from(c)).unwrap_or_default()),
        c => push_raw(out, c),
    }
}

/// Writes one character as it is.
pub(super) fn push_raw(out: &mut Vec<u8>, c: char) {
    match u8::try_from(c) {
        Ok(ascii) if ascii.is_ascii() => out.push(ascii),
        _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Writes one UTF-16 unit as an escape.
pub(super) fn push_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| match (unit >> shift) as u8 & 0xF {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' - 10 + digit,
    };
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}
