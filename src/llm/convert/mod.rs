//! What APIs share in giving an answer in another form.

pub(crate) mod carried;
pub(crate) mod documents;
pub(crate) mod events;
pub(crate) mod memory;
pub(crate) mod tree;
pub(crate) mod usage;

/// Why an answer in one form cannot be given in another: it would lose something, or guess it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionError {
    /// The API has no such conversion.
    Unsupported,
    /// It reports no usage, which the other form would have.
    NoUsage,
    /// It has a member that the other form has no known place for.
    UnknownMember,
    /// It has content that only one form has: audio in pieces, say.
    Content,
    /// It is so large that taking it apart would take too much memory.
    TooLarge,
    /// It cannot be taken apart.
    Malformed,
}

impl ConversionError {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "form_unsupported",
            Self::NoUsage => "form_no_usage",
            Self::UnknownMember => "form_unknown_member",
            Self::Content => "form_content",
            Self::TooLarge => "form_too_large",
            Self::Malformed => "form_malformed",
        }
    }
}

/// A longer answer takes a worker too much time at every hit.
const MAX_CONVERTED_BYTES: usize = 4 << 20;

/// What taking an answer apart may take: a VM has 1 GiB.
const MAX_CONVERSION_BYTES: usize = 96 << 20;

/// Whether serde_json can take an answer apart in bounded memory and without loss: an object whose
/// only member has the name by which it keeps the digits of numbers would become a number.
pub(crate) fn can_be_taken_apart(answer: &[u8]) -> Result<(), ConversionError> {
    if answer.len() > MAX_CONVERTED_BYTES || memory::bytes(answer) > MAX_CONVERSION_BYTES {
        return Err(ConversionError::TooLarge);
    }
    match memchr::memmem::find(answer, b"serde_json::private") {
        Some(_) => Err(ConversionError::UnknownMember),
        None => Ok(()),
    }
}
