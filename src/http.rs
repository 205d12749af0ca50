//! HTTP field lists, media types, `Accept-Encoding` and `Cache-Control`: only what the cache uses of
//! RFC 9110 and 9111.

pub mod authority;

use std::rc::Rc;

/// A list of header fields in the order received. Names are lower-case, as Envoy delivers them;
/// values are arbitrary bytes. `:method`, `:path`, `:authority` and `:status` are among them.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// Names and values, each followed by a NUL, as the ABI has them; perhaps more before and
    /// between them.
    bytes: Rc<Vec<u8>>,
    fields: Vec<Field>,
}

/// Where a field is in [`Headers::bytes`]: its name and a NUL, its value and a NUL.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    name_length: usize,
    value_length: usize,
}

impl Headers {
    /// A list without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the serialized pairs of the proxy-wasm ABI: a little-endian `u32` count, then a
    /// `u32` name length and a `u32` value length per pair, then each name and value, each
    /// followed by a NUL. `None` if the bytes are not of that shape.
    pub fn from_pairs(serialized: Vec<u8>) -> Option<Self> {
        if serialized.is_empty() {
            return Some(Self::new());
        }
        let (count, lengths) = take_u32(&serialized)?;
        let count = usize::try_from(count).ok()?;
        let (mut lengths, mut data) = lengths.split_at_checked(count.checked_mul(8)?)?;
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let (name_length, rest) = take_u32(lengths)?;
            let (value_length, rest) = take_u32(rest)?;
            lengths = rest;
            let start = serialized.len().checked_sub(data.len())?;
            data = skip_terminated(skip_terminated(data, name_length)?, value_length)?;
            fields.push(Field {
                start,
                name_length: usize::try_from(name_length).ok()?,
                value_length: usize::try_from(value_length).ok()?,
            });
        }
        Some(Self {
            bytes: Rc::new(serialized),
            fields,
        })
    }

    /// The pairs in the form that [`Headers::from_pairs`] reads.
    pub fn to_pairs(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_pairs(&mut out);
        out
    }

    /// Appends the pairs to `out` in that form.
    pub fn write_pairs(&self, out: &mut Vec<u8>) {
        let spelled = |field: &Field| {
            let length = field.name_length + field.value_length + 2;
            let bytes = self.bytes.get(field.start..).unwrap_or_default();
            bytes.get(..length).unwrap_or_default()
        };
        let data: usize = self.fields.iter().map(|field| spelled(field).len()).sum();
        out.reserve(4 + 8 * self.fields.len() + data);
        out.extend_from_slice(&length_prefix(self.fields.len()));
        for field in &self.fields {
            let lengths = [field.name_length, field.value_length].map(length_prefix);
            out.extend_from_slice(lengths.as_flattened());
        }
        for field in &self.fields {
            out.extend_from_slice(spelled(field));
        }
    }

    /// The fields with names to be kept, in order. Bytes are shared, not copied.
    pub fn filtered(&self, keep: impl Fn(&[u8]) -> bool) -> Self {
        let mut fields = Vec::with_capacity(self.fields.len());
        fields.extend(
            self.fields
                .iter()
                .filter(|field| keep(self.field(**field).0)),
        );
        Self {
            bytes: Rc::clone(&self.bytes),
            fields,
        }
    }

    /// The same with bytes of its own, and none that it does not need.
    pub fn copied(&self) -> Self {
        let length = |field: &Field| field.name_length + field.value_length + 2;
        let mut copy = Self {
            bytes: Rc::new(Vec::with_capacity(self.fields.iter().map(length).sum())),
            fields: Vec::with_capacity(self.fields.len()),
        };
        for (name, value) in self.iter() {
            copy.push(name, value);
        }
        copy
    }

    /// How many bytes it has allocated, those that it may share among them.
    pub fn held_bytes(&self) -> usize {
        self.list_bytes().saturating_add(self.bytes.capacity())
    }

    /// How many of these are never shared: the list of the fields.
    pub fn list_bytes(&self) -> usize {
        self.fields.capacity().saturating_mul(size_of::<Field>())
    }

    /// Appends a field.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let bytes = Rc::make_mut(&mut self.bytes);
        self.fields.push(Field {
            start: bytes.len(),
            name_length: name.len(),
            value_length: value.len(),
        });
        for part in [name, value] {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
    }

    /// The first value of a field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// All values of a field, in order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name_length == name.len())
            .map(|field| self.field(*field))
            .filter(move |(field, _)| *field == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Whether a field is there at all.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| self.field(*field))
    }

    /// A field's name and its value.
    fn field(&self, field: Field) -> (&[u8], &[u8]) {
        let both = self.bytes.get(field.start..).unwrap_or_default();
        let (name, rest) = both.split_at_checked(field.name_length).unwrap_or_default();
        let value = rest
            .get(1..)
            .and_then(|rest| rest.get(..field.value_length));
        (name, value.unwrap_or_default())
    }

    /// The field's value as a decimal number, when it is there exactly once and is one.
    pub fn number(&self, name: &str) -> Option<u64> {
        let mut values = self.get_all(name);
        let value = values.next()?;
        values.next().is_none().then_some(())?;
        number(value)
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in fields {
            headers.push(name, value);
        }
        headers
    }
}

/// A decimal number: digits and nothing else.
pub fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

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

/// Whether a content type tells no more than that something may be text: it is absent, no media type,
/// or `text/plain`.
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
    // What nearly everybody sends.
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

/// The content codings that a client may be offered, because they can be decoded here.
const OFFERED: [&[u8]; 5] = [b"gzip", b"deflate", b"zstd", b"x-gzip", b"identity"];

/// Whether a client takes an answer with this `content-encoding`, which is one coding, or empty for
/// none. `accept_encoding` are the lines of that name in its request (RFC 9110, section 12.5.3).
///
/// Stricter than the RFC in four ways, because a client that cannot read an answer is worse off than
/// one whose request goes on to the upstream, or gets the same uncompressed. A request without such a
/// line may be answered in any coding, says the RFC; but clients that cannot decode send none either,
/// and they get what is not coded. A coding whose weight cannot be read, or that is both refused and
/// accepted, counts as refused. `*` stands for what everybody decodes, gzip and deflate. And `x-gzip`
/// is another name than `gzip`, which httpx does not know.
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
    // What is not coded is fine for everyone who does not say otherwise.
    let unsaid = wanted == b"identity";
    let any = any.filter(|accepted| is_usual || !accepted);
    named.or(any).unwrap_or(unsaid)
}

/// What a request's `accept-encoding` comes to without the codings that are not [`OFFERED`]: what is
/// answered in another cannot be judged. `*` becomes gzip, unless that is named beside it.
///
/// `None` if nothing has to go, or if what is left is nothing that the client takes.
pub fn narrowed_codings(headers: &Headers) -> Option<String> {
    let codings = || {
        let lines = headers.get_all("accept-encoding");
        lines.flat_map(weighted_codings)
    };
    // What is refused, or cannot be read, brings nothing.
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

/// The codings that a line of `accept-encoding` names, each with what stands behind its name.
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

/// The `Cache-Control` directives of a request that this cache obeys (RFC 9111, section 5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Neither look up nor store.
    pub no_store: bool,
    /// Do not look up; the new answer replaces the entry.
    pub no_cache: bool,
    /// Only entries at most this many seconds old.
    pub max_age: Option<u64>,
    /// 504 instead of asking the upstream.
    pub only_if_cached: bool,
}

impl RequestDirectives {
    /// Reads one more `cache-control` line. Names are case-insensitive, arguments may be tokens or
    /// quoted strings, unknown directives are passed over. A `max-age` that is not a number of
    /// seconds cannot be met by any entry and so reads as 0.
    pub fn add(&mut self, line: &[u8]) {
        for (name, argument) in Elements(line) {
            if name.eq_ignore_ascii_case(b"no-store") {
                self.no_store = true;
            } else if name.eq_ignore_ascii_case(b"no-cache") {
                self.no_cache = true;
            } else if name.eq_ignore_ascii_case(b"only-if-cached") {
                self.only_if_cached = true;
            } else if name.eq_ignore_ascii_case(b"max-age") {
                let seconds = delta_seconds(argument);
                self.max_age = Some(self.max_age.map_or(seconds, |old| old.min(seconds)));
            }
        }
    }
}

/// RFC 9111, section 1.2.2: a value too large to hold is read as 2^31.
fn delta_seconds(argument: &[u8]) -> u64 {
    if argument.is_empty() || !argument.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    std::str::from_utf8(argument)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(1 << 31)
}

/// The elements of a comma-separated list of `name[=argument]`, quotes taken off the argument.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut quoted = false;
        let mut escaped = false;
        let end = self
            .0
            .iter()
            .position(|byte| {
                let separates = *byte == b',' && !quoted;
                let quote = *byte == b'"' && !escaped;
                escaped = quoted && *byte == b'\\' && !escaped;
                quoted ^= quote;
                separates
            })
            .unwrap_or(self.0.len());
        let (element, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..).unwrap_or_default();
        let mut parts = element.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let argument = parts.next().unwrap_or_default().trim_ascii();
        let argument = argument
            .strip_prefix(b"\"")
            .and_then(|inner| inner.strip_suffix(b"\""))
            .unwrap_or(argument);
        Some((name, argument))
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// What follows a name or a value of this length and its NUL.
fn skip_terminated(bytes: &[u8], length: u32) -> Option<&[u8]> {
    bytes.get(usize::try_from(length).ok()?..)?.get(1..)
}

/// The ABI's lengths are 32 bits, like every address of the module that passes them.
fn length_prefix(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(lines: &[&str]) -> RequestDirectives {
        let mut directives = RequestDirectives::default();
        for line in lines {
            directives.add(line.as_bytes());
        }
        directives
    }

    #[test]
    fn pairs_survive_a_round_trip_with_any_bytes() {
        let headers: Headers = [(&b"a"[..], &b"\xff\x00"[..]), (b"", b""), (b"a", b"2")]
            .into_iter()
            .collect();
        assert_eq!(Headers::from_pairs(headers.to_pairs()), Some(headers));
    }

    #[test]
    fn cut_pairs_are_refused_at_every_length() {
        let whole: Headers = [("content-type", "application/json"), ("x", "y")]
            .into_iter()
            .collect();
        let bytes = whole.to_pairs();
        for length in 1..bytes.len() {
            assert_eq!(
                Headers::from_pairs(bytes[..length].to_vec()),
                None,
                "{length}"
            );
        }
        assert_eq!(Headers::from_pairs(Vec::new()), Some(Headers::new()));
    }

    #[test]
    fn a_huge_count_of_pairs_is_refused_without_allocating() {
        assert_eq!(Headers::from_pairs(u32::MAX.to_le_bytes().to_vec()), None);
    }

    #[test]
    fn a_number_is_read_only_from_one_plain_field() {
        let headers =
            |values: &[&str]| -> Headers { values.iter().map(|v| ("content-length", v)).collect() };
        assert_eq!(headers(&["17"]).number("content-length"), Some(17));
        for odd in [&["17", "17"][..], &["+17"], &[""], &["17 "], &["0x1"], &[]] {
            assert_eq!(headers(odd).number("content-length"), None, "{odd:?}");
        }
    }

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

    #[test]
    fn directives_are_read_without_regard_to_case_lines_and_quotes() {
        assert!(directives(&["No-Store"]).no_store);
        assert!(directives(&["max-age=5", "only-if-cached ,no-CACHE"]).no_cache);
        assert!(directives(&["max-age=5", "only-if-cached"]).only_if_cached);
        assert_eq!(directives(&["max-age=\"7\""]).max_age, Some(7));
        assert!(!directives(&["private=\"x, no-store\""]).no_store);
        assert!(directives(&["ext=\"a\\\"b\", no-store"]).no_store);
        assert!(!directives(&["no-storex, xno-store"]).no_store);
    }

    #[test]
    fn a_max_age_that_cannot_be_read_matches_no_entry() {
        assert_eq!(directives(&["max-age=soon"]).max_age, Some(0));
        assert_eq!(directives(&["max-age"]).max_age, Some(0));
        assert_eq!(directives(&["max-age=-1"]).max_age, Some(0));
        assert_eq!(
            directives(&["max-age=99999999999999999999"]).max_age,
            Some(1 << 31)
        );
        assert_eq!(directives(&["max-age=9, max-age=3"]).max_age, Some(3));
    }
}
