//! The stream that a response could have come in.

use crate::llm::convert::tree::{self, push_json};
use crate::llm::{ConversionError, Framing};

/// # Errors
/// If it is no JSON object.
pub(super) fn split(json: &[u8], framing: Framing) -> Result<Vec<u8>, ConversionError> {
    let response = tree::parse(json)?;
    let (before, after): (&[u8], &[u8]) = match framing {
        Framing::Sse => (b"data: ", b"\r\n\r\n"),
        Framing::JsonArray => (b"[", b"\n]"),
        Framing::Json | Framing::Ndjson | Framing::EventStream => {
            return Err(ConversionError::Unsupported);
        }
    };
    let mut stream = before.to_vec();
    push_json(&mut stream, &response)?;
    stream.extend_from_slice(after);
    Ok(stream)
}
