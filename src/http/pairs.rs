//! The serialized form of [`Headers`]: the pairs of the proxy-wasm ABI.
//!
//! A list keeps the bytes as the host gave them, so that reading them copies nothing. The form is
//! unambiguous, and so fingerprints of requests are made of it, too.

use std::rc::Rc;

use super::Headers;
use super::headers::Field;

impl Headers {
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
}
