//! Why a coded body cannot be decoded.

/// Why an answer cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingFault {
    /// Not a valid stream of this coding.
    Malformed,
    /// Its checksum or its length does not match.
    Checksum,
    /// It is cut off.
    Truncated,
    /// More bytes follow its end.
    AfterEnd,
    /// It decodes to more than was allowed.
    TooLarge,
    /// It takes too much work, or memory, for what it decodes to.
    Laborious,
}

impl CodingFault {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "coding_malformed",
            Self::Checksum => "coding_checksum",
            Self::Truncated => "coding_truncated",
            Self::AfterEnd => "coding_after_end",
            Self::TooLarge => "coding_too_large",
            Self::Laborious => "coding_laborious",
        }
    }
}
