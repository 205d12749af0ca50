//! Stored bytes, which a host hands over or shares.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a value in shared data or of a reply. A host that copies them hands them over, one that
/// has them in this process shares them: an entry is then served without a copy.
#[derive(Clone)]
pub struct Bytes {
    data: Data,
    length: usize,
}

#[derive(Clone)]
enum Data {
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Bytes {
    /// Leaves the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// The same, so that clones share them. What is owned is copied, once.
    #[must_use]
    pub fn into_shared(self) -> Self {
        match self.data {
            Data::Owned(_) => Arc::<[u8]>::from(&*self).into(),
            Data::Shared(_) => self,
        }
    }

    /// Adds bytes behind. What is shared is copied.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        let mut owned = match &mut self.data {
            Data::Owned(bytes) => std::mem::take(bytes),
            Data::Shared(_) => self.to_vec(),
        };
        owned.truncate(self.length);
        owned.extend_from_slice(more);
        *self = owned.into();
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        let data = Data::Owned(bytes);
        Self { data, length }
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Self {
        let length = bytes.len();
        let data = Data::Shared(bytes);
        Self { data, length }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes: &[u8] = match &self.data {
            Data::Owned(bytes) => bytes,
            Data::Shared(bytes) => bytes,
        };
        bytes.get(..self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl<T: AsRef<[u8]>> PartialEq<T> for Bytes {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_and_shared_bytes_are_cut_and_lengthened_alike() {
        let shared: Arc<[u8]> = Arc::from(&b"entry, trailer"[..]);
        for mut bytes in [Bytes::from(shared.to_vec()), Arc::clone(&shared).into()] {
            bytes.truncate(99);
            assert_eq!(*bytes, *shared);
            bytes.truncate(5);
            assert_eq!(*bytes, *b"entry");
            bytes.truncate(6);
            assert_eq!(*bytes, *b"entry");
            bytes.extend_from_slice(b" and more");
            assert_eq!(bytes, b"entry and more");
            let shared = bytes.into_shared();
            assert_eq!(shared, b"entry and more");
            assert!(std::ptr::eq(shared.as_ptr(), shared.clone().as_ptr()));
        }
        assert_eq!(*shared, *b"entry, trailer");
    }

    #[test]
    fn shared_bytes_are_served_without_a_copy() {
        let shared: Arc<[u8]> = Arc::from(&b"entry, trailer"[..]);
        let mut bytes = Bytes::from(Arc::clone(&shared));
        bytes.truncate(5);
        assert!(std::ptr::eq(bytes.as_ptr(), shared.as_ptr()));
    }
}
