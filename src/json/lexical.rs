//! The smallest parts of a JSON text, each split off its beginning.

/// What comes after white space.
pub(super) fn split_space(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t' | b'\n' | b'\r', tail @ ..] = rest {
        rest = tail;
    }
    rest
}

/// A number and what comes after it.
pub(super) fn split_number(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes.strip_prefix(b"-").unwrap_or(bytes);
    rest = match rest.strip_prefix(b"0") {
        // Leading zeros are refused one step later: after `0` no digit can follow.
        Some(after) => after,
        None => skip_digits(rest)?,
    };
    if let Some(fraction) = rest.strip_prefix(b".") {
        rest = skip_digits(fraction)?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = match exponent {
            [b'+' | b'-', digits @ ..] => skip_digits(digits)?,
            digits => skip_digits(digits)?,
        };
    }
    bytes.split_at_checked(bytes.len().saturating_sub(rest.len()))
}

/// One digit or more.
fn skip_digits(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    bytes.get(len..).filter(|_| len > 0)
}

/// What an escape in a string stands for, and what comes after it: `bytes` begin after the
/// backslash. The two halves of a surrogate pair are joined; one that stands alone is an `Err`.
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
