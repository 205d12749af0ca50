//! A compressed answer that passes, decoded for its judge.

use crate::coding::Decoder;
use crate::http::Headers;
use crate::llm::Framing;

use super::NotStored;
use super::capture::{Capture, CaptureBudget};

/// A compressed answer on its way to the judge.
#[derive(Debug)]
pub(super) struct Coded {
    decoder: Decoder,
    /// What was charged for the decoder.
    charged: usize,
    /// What a judge wants to see whole: a JSON document. The pieces of a stream are not kept.
    decoded: Capture,
}

impl Coded {
    /// `None` where the answer is not compressed.
    pub(super) fn new(
        headers: &Headers,
        max_bytes: usize,
        budget: &CaptureBudget,
    ) -> Result<Option<Self>, NotStored> {
        let mut codings = headers.get_all("content-encoding");
        let coding = match (codings.next(), codings.next()) {
            (None, _) => return Ok(None),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"identity") => return Ok(None),
            (Some(coding), None) => coding,
            (Some(_), Some(_)) => return Err(NotStored::ContentEncoding),
        };
        Ok(Some(Self {
            decoder: Decoder::new(coding, max_bytes).ok_or(NotStored::ContentEncoding)?,
            charged: 0,
            decoded: Capture::new(budget, max_bytes),
        }))
    }

    /// Decodes the next chunk. A document is kept here until it is whole.
    pub(super) fn take(&mut self, chunk: &[u8], framing: Framing) -> Result<Vec<u8>, NotStored> {
        let mut plain = Vec::new();
        self.decoder
            .decode(chunk, &mut plain)
            .map_err(NotStored::Coding)?;
        // Its window grows with what was decoded.
        let more = self.decoder.held().saturating_sub(self.charged);
        self.decoded.charge(more)?;
        self.charged = self.charged.saturating_add(more);
        if framing.is_stream() {
            // The judge may hold all of it: one event can be as long as the stream.
            self.decoded.charge(plain.len())?;
        } else {
            self.decoded.push(&plain)?;
        }
        Ok(plain)
    }

    /// The decoded document; nothing for a stream, whose judge has seen it.
    pub(super) fn finish(self) -> Result<Vec<u8>, NotStored> {
        self.decoder.finish().map_err(NotStored::Coding)?;
        Ok(self.decoded.bytes().to_vec())
    }
}
