//! `Accept-Encoding`: the content codings that a client takes (RFC 9110, section 12.5.3).

use super::Headers;

/// The content codings that a client may be offered, because they can be decoded here.
const OFFERED: [&[u8]; 5] = [b"gzip", b"deflate", b"zstd", b"x-gzip", b"identity"];

/// Whether a client takes an answer with this `content-encoding`, which is one coding, or empty for
/// none. `accept_encoding` are the lines of that name in its request (RFC 9110, section 12.5.3).
///
/// Stricter than the RFC in four ways, because an answer that a client cannot read is worse than one
/// from the upstream, or one without a coding:
///
/// - A request without such a line gets no coding. The RFC allows any, but clients that cannot decode
///   send no line either.
/// - A coding whose weight cannot be read, or that is both refused and accepted, counts as refused.
/// - `*` stands for gzip and deflate, which every client that sends it decodes.
/// - `x-gzip` is not `gzip`: httpx does not know it.
pub fn accepts_coding<'a>(
    accept_encoding: impl Iterator<Item = &'a [u8]>,
    content_encoding: &[u8],
) -> bool {
    let wanted = plain_coding(content_encoding);
    let is_usual = [&b"gzip"[..], b"deflate", b"identity"]
        .iter()
        .any(|usual| wanted.eq_ignore_ascii_case(usual));
    let mut named = None;
    let mut any = None;
    for (coding, weight) in accept_encoding.flat_map(weighted_codings) {
        let verdict = if coding == b"*" {
            &mut any
        } else if coding.eq_ignore_ascii_case(wanted) {
            &mut named
        } else {
            continue;
        };
        *verdict = Some(accepted(weight) && verdict.unwrap_or(true));
    }
    // An answer without a coding is accepted unless the client refuses it.
    let unsaid = wanted == b"identity";
    let any = any.filter(|accepted| is_usual || !accepted);
    named.or(any).unwrap_or(unsaid)
}

/// A request's `accept-encoding` with only the codings that are [`OFFERED`]: an answer in another one
/// cannot be judged. `*` becomes gzip, unless that is named as well.
///
/// `None` if nothing has to be removed, or if the client accepts nothing of what is left.
pub fn narrowed_codings(headers: &Headers) -> Option<String> {
    let codings = || {
        let lines = headers.get_all("accept-encoding");
        lines.flat_map(weighted_codings)
    };
    // A coding that is refused, or whose weight cannot be read, is never used.
    let stays = |(coding, weight): (&[u8], &[u8])| {
        !accepted(weight) || OFFERED.iter().any(|one| coding.eq_ignore_ascii_case(one))
    };
    if codings().all(stays) {
        return None;
    }
    let names_gzip = codings().any(|(coding, _)| coding.eq_ignore_ascii_case(b"gzip"));
    let left: Vec<Vec<u8>> = codings()
        .filter_map(|(coding, weight)| match coding {
            _ if stays((coding, weight)) => Some([coding, weight].concat()),
            b"*" if !names_gzip => Some([b"gzip", weight].concat()),
            _ => None,
        })
        .collect();
    if left.is_empty() {
        return Some("identity".to_owned());
    }
    let left = left.join(&b", "[..]);
    let takes = |coding: &&[u8]| accepts_coding([&left[..]].into_iter(), coding);
    let takes_some = OFFERED.iter().any(takes);
    String::from_utf8(left).ok().filter(|_| takes_some)
}

/// The codings that a line of `accept-encoding` names, each with its parameters.
fn weighted_codings(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let elements = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements
        .filter(|element| !element.is_empty())
        .map(|element| {
            let end = element.iter().position(|byte| *byte == b';');
            let (coding, weight) = element
                .split_at_checked(end.unwrap_or(element.len()))
                .unwrap_or((element, b""));
            (coding.trim_ascii_end(), weight)
        })
}

/// A coding's name without white space, where none is `identity`.
fn plain_coding(coding: &[u8]) -> &[u8] {
    match coding.trim_ascii() {
        b"" => b"identity",
        alias if alias.eq_ignore_ascii_case(b"identity") => b"identity",
        coding => coding,
    }
}

/// Whether a weight, with the semicolon before it, is there and above zero, or is not there.
fn accepted(weight: &[u8]) -> bool {
    let Some(weight) = weight.strip_prefix(b";") else {
        return weight.is_empty();
    };
    let weight = weight.trim_ascii();
    let value = weight
        .strip_prefix(b"q=")
        .or_else(|| weight.strip_prefix(b"Q="));
    let (whole, decimals) = match value.and_then(<[u8]>::split_first) {
        Some((whole, [])) => (whole, &b""[..]),
        Some((whole, [b'.', decimals @ ..])) => (whole, decimals),
        _ => return false,
    };
    let zeros = decimals.iter().all(|digit| *digit == b'0');
    decimals.len() <= 3
        && decimals.iter().all(u8::is_ascii_digit)
        && match whole {
            b'0' => !zeros,
            b'1' => zeros,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coding_is_accepted_where_it_or_any_is_named_with_weight() {
        let takes = |lines: &[&str], coding: &str| {
            accepts_coding(lines.iter().map(|l| l.as_bytes()), coding.as_bytes())
        };
        for lines in [
            &["gzip"][..],
            &["br, GZip;q=0.001 , deflate"],
            &["br", "gzip"],
            &["gzip; Q=1.000"],
            &["*"],
            &["gzip, *;q=0"],
            &["deflate;q=0, *;q=0.5"],
            &[",,gzip,"],
        ] {
            assert!(takes(lines, "gzip"), "{lines:?}");
            assert!(takes(lines, "Gzip"), "{lines:?}");
            assert!(!takes(lines, "x-gzip"), "{lines:?}");
        }
        for lines in [
            &[][..],
            &[""],
            &["identity"],
            &["br, deflate"],
            &["gzipx"],
            &["gzip;q=0"],
            &["gzip;q=0.000, *"],
            &["gzip, gzip;q=0"],
            &["*;q=0"],
            &["gzip;q=2"],
            &["gzip;q=1.001"],
            &["gzip;q=0.0001"],
            &["gzip;q=0.5x"],
            &["gzip;q="],
            &["gzip;"],
            &["gzip;level=9"],
            &["gzip;q=1;q=0"],
            &["x-gzip"],
        ] {
            assert!(!takes(lines, "gzip"), "{lines:?}");
        }
        assert!(takes(&["gzip, X-Gzip"], "x-gzip"));
        for lines in [&["gzip, zstd"][..], &["*;q=0, zstd"], &["*", "ZSTD;q=0.1"]] {
            assert!(takes(lines, "zstd"), "{lines:?}");
        }
        assert!(!takes(&["*"], "zstd"), "not everybody decodes it");
    }

    #[test]
    fn codings_that_cannot_be_decoded_go_and_all_else_stays() {
        let narrowed = |lines: &[&str]| {
            let lines = lines.iter().map(|line| ("accept-encoding", line));
            narrowed_codings(&lines.collect())
        };
        for (lines, left) in [
            // Chromium, Node over https, httpx with extras.
            (&["gzip, deflate, br, zstd"][..], "gzip, deflate, zstd"),
            (&["br, gzip, deflate"], "gzip, deflate"),
            (&["gzip;q=0.8, br;q=1.0, *;q=0.1"], "gzip;q=0.8"),
            (&["br"], "identity"),
            (&["br", "compress, dcz"], "identity"),
            (&["gzip", "BR , zstd ;q=0.5"], "gzip, zstd;q=0.5"),
            (&["*"], "gzip"),
            (&["*;q=0.5, identity;q=0.1"], "gzip;q=0.5, identity;q=0.1"),
            (&["br, *;q=0, identity"], "*;q=0, identity"),
            (&["br, gzip, identity;q=0"], "gzip, identity;q=0"),
            (
                &["br;q=0.9, deflate;q=0, gzip;q=0"],
                "deflate;q=0, gzip;q=0",
            ),
            (&["br, x-gzip, identity;q=0"], "x-gzip, identity;q=0"),
        ] {
            assert_eq!(narrowed(lines).as_deref(), Some(left), "{lines:?}");
        }
        for lines in [
            // Nothing has to go.
            &[][..],
            &[""],
            &["gzip, deflate"],
            &["identity"],
            &["gzip", "deflate, zstd;q=0.2"],
            &["gzip, br;q=0, *;q=0"],
            &["gzip, br;q=x"],
            // Nothing would be left that the client takes.
            &["br, identity;q=0"],
            &["br, *;q=0"],
            &["br;q=1, gzip;q=0, identity;q=0.0"],
        ] {
            assert_eq!(narrowed(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn an_answer_without_a_coding_is_accepted_unless_it_is_refused() {
        let takes = |lines: &[&str]| {
            let lines = || lines.iter().map(|line| line.as_bytes());
            let taken = accepts_coding(lines(), b"");
            assert_eq!(accepts_coding(lines(), b"Identity"), taken);
            taken
        };
        for lines in [
            &[][..],
            &[""],
            &["gzip"],
            &["*"],
            &["identity;q=0.1, *;q=0"],
        ] {
            assert!(takes(lines), "{lines:?}");
        }
        for lines in [&["identity;q=0"][..], &["*;q=0"], &["gzip, *;q=0"]] {
            assert!(!takes(lines), "{lines:?}");
        }
    }
}
