//! A list of header fields.

use std::rc::Rc;

/// A list of header fields in the order received. Names are lower-case, as Envoy delivers them;
/// values are arbitrary bytes. `:method`, `:path`, `:authority` and `:status` are among them.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// Names and values, each followed by a NUL, as the ABI has them; perhaps more before and
    /// between them.
    pub(super) bytes: Rc<Vec<u8>>,
    pub(super) fields: Vec<Field>,
}

/// Where a field is in [`Headers::bytes`]: its name and a NUL, its value and a NUL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) start: usize,
    pub(super) name_length: usize,
    pub(super) value_length: usize,
}

impl Headers {
    /// A list without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields whose names `keep` accepts, in order. Bytes are shared, not copied.
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

    /// A copy with bytes of its own, and no spare capacity.
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

    /// The allocated bytes, including those that other lists may share.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_only_from_one_plain_field() {
        let headers =
            |values: &[&str]| -> Headers { values.iter().map(|v| ("content-length", v)).collect() };
        assert_eq!(headers(&["17"]).number("content-length"), Some(17));
        for odd in [&["17", "17"][..], &["+17"], &[""], &["17 "], &["0x1"], &[]] {
            assert_eq!(headers(odd).number("content-length"), None, "{odd:?}");
        }
    }
}
