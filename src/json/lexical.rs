//! The smallest parts of a JSON text, each split off its beginning.

/// What comes after white space.
#[inline]
pub(super) fn split_space(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t' | b'\n' | b'\r', tail @ ..] = rest {
        rest = tail;
    }
    rest
}

/// A number and what comes after it.
#[inline]
pub(super) fn split_number(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let integer = match bytes {
        [b'-', integer @ ..] => integer,
        integer => integer,
    };
    let mut rest = match integer {
        // Leading zeros are refused one step later: after `0` no digit can follow.
        [b'0', rest @ ..] => rest,
        digits => after_digits(digits)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = after_digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = match exponent {
            [b'+' | b'-', digits @ ..] => after_digits(digits)?,
            digits => after_digits(digits)?,
        };
    }
    bytes.split_at_checked(bytes.len().saturating_sub(rest.len()))
}

/// What comes after one digit or more.
#[inline]
fn after_digits(bytes: &[u8]) -> Option<&[u8]> {
    let [b'0'..=b'9', rest @ ..] = bytes else {
        return None;
    };
    let mut rest = rest;
    while let [b'0'..=b'9', tail @ ..] = rest {
        rest = tail;
    }
    Some(rest)
}

/// What stands in a string before its next quote, escape or control character, and the rest.
///
/// Eight bytes at a time: strings are most of what is read.
#[inline]
pub(super) fn split_plain(bytes: &[u8]) -> (&[u8], &[u8]) {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // The high bit of each byte that is less than `limit`, if no byte before it is, and none is
    // 128 or more.
    let below = |word: u64, limit: u8| word.wrapping_sub(all(limit)) & !word & all(0x80);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut plain = 0_usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let found = below(word, b' ') | below(word ^ all(b'"'), 1) | below(word ^ all(b'\\'), 1);
        if found != 0 {
            // The lowest of the bits found is that of the first byte.
            plain = plain.saturating_add(found.trailing_zeros() as usize / 8);
            return bytes.split_at_checked(plain).unwrap_or((bytes, b""));
        }
        plain = plain.saturating_add(8);
    }
    let ends = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    let tail = rest.iter().position(ends).unwrap_or(rest.len());
    bytes
        .split_at_checked(plain.saturating_add(tail))
        .unwrap_or((bytes, b""))
}

/// What an escape in a string stands for, and what comes after it: `bytes` begin after the
/// backslash. The two halves of a surrogate pair are joined; one that stands alone is an `Err`.
#[inline]
pub(super) fn split_escape(bytes: &[u8]) -> Option<(Result<char, u16>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let c = match kind {
        b'"' | b'\\' | b'/' => char::from(*kind),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (unit, rest) = split_unit(rest)?;
            return Some(match char::from_u32(u32::from(unit)) {
                Some(c) => (Ok(c), rest),
                None => join_surrogates(unit, rest),
            });
        }
        _ => return None,
    };
    Some((Ok(c), rest))
}

/// Joins a surrogate with the escape that follows if they are a pair. If not, that escape is left
/// for the next step: it may start a pair itself.
fn join_surrogates(unit: u16, rest: &[u8]) -> (Result<char, u16>, &[u8]) {
    if let Some((next, after)) = rest.strip_prefix(b"\\u").and_then(split_unit)
        && let Some(Ok(c)) = char::decode_utf16([unit, next]).next()
    {
        (Ok(c), after)
    } else {
        (Err(unit), rest)
    }
}

/// Splits the four hexadecimal digits of a `\u` escape off.
fn split_unit(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<4>()?;
    let unit = digits.iter().try_fold(0_u16, |unit, digit| {
        let digit = u16::try_from(char::from(*digit).to_digit(16)?).ok()?;
        Some((unit << 4) | digit)
    })?;
    Some((unit, rest))
}
