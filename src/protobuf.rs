//! `google.protobuf.Struct` in its binary form, which is how Envoy hands a configuration
//! (`MessageUtil::anyToBytes` in Envoy's `utility.h` unwraps StringValue and BytesValue only) and
//! dynamic metadata to a wasm plugin.
//!
//! Source: protobuf's encoding guide, `struct.proto` and Envoy's `base.proto`.

use serde_json::{Map, Number, Value};

/// Deeper than any configuration of ours and any token, shallower than any stack.
const MAX_DEPTH: usize = 32;

/// Decodes a Struct. `None` if the bytes are not one.
pub(crate) fn decode_struct(bytes: &[u8]) -> Option<Value> {
    structure(bytes, MAX_DEPTH)
}

/// A member of a Struct that is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Member<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
}

/// Appends a member to a Struct in its binary form.
pub(crate) fn push_member(out: &mut Vec<u8>, name: &str, member: Member<'_>) {
    let value_bytes = match member {
        Member::Text(text) => field_bytes(text.len()),
        Member::Number(_) => 1 + size_of::<f64>(),
        Member::Flag(_) => 2,
    };
    let entry_bytes = field_bytes(name.len()).saturating_add(field_bytes(value_bytes));
    push_tag(out, 1, entry_bytes);
    push_field(out, 1, name.as_bytes());
    push_tag(out, 2, value_bytes);
    match member {
        Member::Text(text) => push_field(out, 3, text.as_bytes()),
        Member::Number(number) => {
            out.push(2 << 3 | 1);
            #[expect(clippy::cast_precision_loss, reason = "a Struct has doubles")]
            out.extend_from_slice(&(number as f64).to_le_bytes());
        }
        Member::Flag(flag) => out.extend_from_slice(&[4 << 3, u8::from(flag)]),
    }
}

/// Appends a field of a message: its number, below 16, and bytes.
pub(crate) fn push_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    push_tag(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// What stands before the bytes of a field.
fn push_tag(out: &mut Vec<u8>, number: u8, mut length: usize) {
    out.push(number << 3 | 2);
    while length > 0x7f {
        out.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
}

/// How long a field is that has so many bytes.
fn field_bytes(length: usize) -> usize {
    let digits = usize::BITS.saturating_sub(length.leading_zeros()).max(1);
    let digits = digits.div_ceil(7) as usize;
    length.saturating_add(1).saturating_add(digits)
}

/// What Envoy tells is no message of the type that it should be, or one that nests too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Decodes what `envoy.config.core.v3.Metadata` has under a filter's name, if anything.
///
/// # Errors
/// If the bytes are no such message.
///
/// `message Metadata { map<string, Struct> filter_metadata = 1; map<string, Any>
/// typed_filter_metadata = 2; }`
pub(crate) fn decode_filter_metadata(
    bytes: &[u8],
    filter: &str,
) -> Result<Option<Value>, Unreadable> {
    let mut found = None;
    for field in Fields(bytes) {
        let (1, Payload::Bytes(entry)) = field.ok_or(Unreadable)? else {
            continue;
        };
        let mut name: &[u8] = b"";
        let mut metadata: &[u8] = b"";
        for field in Fields(entry) {
            match field.ok_or(Unreadable)? {
                (1, Payload::Bytes(text)) => name = text,
                (2, Payload::Bytes(bytes)) => metadata = bytes,
                _ => return Err(Unreadable),
            }
        }
        if name == filter.as_bytes() {
            found = Some(metadata);
        }
    }
    let decoded = found.map(|metadata| decode_struct(metadata).ok_or(Unreadable));
    decoded.transpose()
}

/// `message Struct { map<string, Value> fields = 1; }`
fn structure(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut members = Map::new();
    for field in Fields(bytes) {
        let (1, Payload::Bytes(entry)) = field? else {
            return None;
        };
        let mut name = "";
        let mut member = Value::Null;
        for field in Fields(entry) {
            match field? {
                (1, Payload::Bytes(text)) => name = std::str::from_utf8(text).ok()?,
                (2, Payload::Bytes(bytes)) => member = value(bytes, depth)?,
                _ => return None,
            }
        }
        members.insert(name.to_owned(), member);
    }
    Some(Value::Object(members))
}

/// `message Value { oneof kind { NullValue null_value = 1; double number_value = 2;
/// string string_value = 3; bool bool_value = 4; Struct struct_value = 5; ListValue list_value = 6;
/// } }`
fn value(bytes: &[u8], depth: usize) -> Option<Value> {
    let mut value = Value::Null;
    for field in Fields(bytes) {
        value = match field? {
            (1, Payload::Varint(_)) => Value::Null,
            (2, Payload::Fixed64(bits)) => Value::Number(number(f64::from_bits(bits))?),
            (3, Payload::Bytes(text)) => Value::String(String::from_utf8(text.into()).ok()?),
            (4, Payload::Varint(flag)) => Value::Bool(flag != 0),
            (5, Payload::Bytes(bytes)) => structure(bytes, depth)?,
            (6, Payload::Bytes(bytes)) => list(bytes, depth)?,
            _ => return None,
        };
    }
    Some(value)
}

/// `message ListValue { repeated Value values = 1; }`
fn list(bytes: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let elements = Fields(bytes).map(|field| match field? {
        (1, Payload::Bytes(bytes)) => value(bytes, depth),
        _ => None,
    });
    elements.collect::<Option<_>>().map(Value::Array)
}

/// A whole number reads as people wrote it, not as `1.0`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the comparison tells whether the cast kept the number"
)]
fn number(double: f64) -> Option<Number> {
    let whole = double as i64;
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    let same = whole as f64 == double;
    if same {
        Some(whole.into())
    } else {
        Number::from_f64(double)
    }
}

enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; `None` where the bytes are not one.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Payload<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Payload<'a>)> {
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                let (bits, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Payload::Fixed64(u64::from_le_bytes(*bits))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Payload::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, payload))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What Envoy 1.40 passed for `{ttl: 1h, store: {memory: {max_bytes: 64MiB}}}`.
    const FROM_ENVOY: &[u8] = b"\n/\n\x05store\x12&*$\n\"\n\x06memory\x12\x18*\x16\n\x14\n\tmax_bytes\x12\x07\x1a\x0564MiB\n\x0b\n\x03ttl\x12\x04\x1a\x021h";

    #[test]
    fn a_struct_from_envoy_reads_as_its_yaml() {
        assert_eq!(
            decode_struct(FROM_ENVOY),
            Some(json!({"ttl": "1h", "store": {"memory": {"max_bytes": "64MiB"}}}))
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [
            0, 1, 100, 113, 114, 115, 125, 126, 127, 128, 129, 300, 16_383, 20_000,
        ] {
            let text = "x".repeat(length);
            let mut bytes = Vec::new();
            push_member(&mut bytes, "text", Member::Text(&text));
            push_member(&mut bytes, &text, Member::Number(1 << 40));
            push_member(&mut bytes, "flag", Member::Flag(true));
            let decoded = decode_struct(&bytes).unwrap();
            assert_eq!(
                decoded,
                json!({"text": text, text.as_str(): 1_u64 << 40, "flag": true}),
                "{length}"
            );
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let bytes = b"\n\x07\n\x01n\x12\x02\x08\x00\
            \n\x0e\n\x01d\x12\x09\x11\x00\x00\x00\x00\x00\x00\x50\x40\
            \n\x0e\n\x01h\x12\x09\x11\x00\x00\x00\x00\x00\x00\xe0\x3f\
            \n\x07\n\x01b\x12\x02\x20\x01\
            \n\x0b\n\x01l\x12\x062\x04\n\x02\x20\x00";
        assert_eq!(
            decode_struct(bytes),
            Some(json!({"n": null, "d": 64, "h": 0.5, "b": true, "l": [false]}))
        );
    }

    #[test]
    fn what_is_cut_or_too_deep_is_no_struct() {
        for length in 1..FROM_ENVOY.len() {
            let cut = decode_struct(&FROM_ENVOY[..length]);
            // A cut between two members leaves a Struct with fewer.
            assert!(cut.is_none() || length == 49, "{length}");
        }
        let mut deep = Vec::new();
        for _ in 0..100 {
            let mut value = vec![0x2a];
            varint(&mut value, deep.len());
            value.extend_from_slice(&deep);
            let mut entry = vec![0x12];
            varint(&mut entry, value.len());
            entry.extend_from_slice(&value);
            deep = vec![0x0a];
            varint(&mut deep, entry.len());
            deep.extend_from_slice(&entry);
        }
        assert_eq!(decode_struct(&deep), None);
    }

    #[test]
    fn the_metadata_of_one_filter_is_found_among_others() {
        // `jwt: {iss: a}`, `other: {}`, and typed metadata.
        let bytes = b"\n\x13\n\x03jwt\x12\x0c\n\n\n\x03iss\x12\x03\x1a\x01a\
            \n\x09\n\x05other\x12\x00\
            \x12\x08\n\x03jwt\x12\x01x";
        let found = |filter| decode_filter_metadata(bytes, filter);
        assert_eq!(found("jwt"), Ok(Some(json!({"iss": "a"}))));
        assert_eq!(found("other"), Ok(Some(json!({}))));
        assert_eq!(found("absent"), Ok(None));
        for length in 1..23 {
            let cut = decode_filter_metadata(&bytes[..length], "jwt");
            assert!(cut == Err(Unreadable) || length == 21, "{length}");
        }
    }

    fn varint(out: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        out.push(u8::try_from(number).unwrap());
    }
}
