//! What judges hold on the heap: counted as it grows, so that it can be told after each chunk without
//! walking through it.

/// What an allocator takes beside what it gives, about.
pub(crate) const PER_ALLOCATION: usize = 16;

/// The allocated bytes of a list, but for what its elements hold.
pub(crate) fn list_bytes<T>(list: &Vec<T>) -> usize {
    allocated(list.capacity().saturating_mul(size_of::<T>()))
}

/// The allocated bytes of a text.
pub(crate) fn text_bytes(text: &String) -> usize {
    allocated(text.capacity())
}

fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => bytes.saturating_add(PER_ALLOCATION),
    }
}
