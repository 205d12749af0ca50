//! A compressed answer that passes, decoded for its judge.

use crate::budget::{CaptureBudget, Reservation};
use crate::coding::Decoder;
use crate::http::Headers;
use crate::llm::Framing;
use crate::report::NotStored;

use super::capture::Capture;

/// A compressed answer on its way to the judge.
#[derive(Debug)]
pub(super) struct DecodedCapture {
    decoder: Decoder,
    /// What the decoder holds.
    reservation: Reservation,
    /// The decoded JSON document, which its judge reads as a whole. Empty for a stream.
    decoded: Capture,
}

impl DecodedCapture {
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
            decoded: Capture::new(budget, max_bytes),
            reservation: Reservation::new(budget),
        }))
    }

    /// Decodes the next chunk. A document is kept here until it is whole.
    pub(super) fn take(&mut self, chunk: &[u8], framing: Framing) -> Result<Vec<u8>, NotStored> {
        let plain = self.decode(chunk)?;
        if !framing.is_stream() {
            self.decoded.push(&plain)?;
        }
        Ok(plain)
    }

    fn decode(&mut self, chunk: &[u8]) -> Result<Vec<u8>, NotStored> {
        let mut plain = Vec::new();
        self.decoder
            .decode(chunk, &mut plain)
            .map_err(NotStored::Coding)?;
        // Its window grows with what was decoded.
        self.reservation.set(self.decoder.held_bytes())?;
        Ok(plain)
    }

    /// Whether the coding's own end has come.
    pub(super) fn is_ended(&self) -> bool {
        self.decoder.is_ended()
    }

    /// What the beginning of a compressed stream decodes to, of which no piece was kept; `None` where
    /// it is not compressed.
    pub(super) fn beginning(
        headers: &Headers,
        body: &[u8],
        max_bytes: usize,
        budget: &CaptureBudget,
    ) -> Result<Option<Capture>, NotStored> {
        let Some(mut coded) = Self::new(headers, max_bytes, budget)? else {
            return Ok(None);
        };
        for chunk in body.chunks(CHUNK_BYTES) {
            let plain = coded.decode(chunk)?;
            coded.decoded.push(&plain)?;
        }
        Ok(Some(coded.decoded))
    }

    /// The decoded document; nothing for a stream, whose judge has seen it.
    pub(super) fn finish(self) -> Result<Capture, NotStored> {
        self.decoder.finish().map_err(NotStored::Coding)?;
        Ok(self.decoded)
    }
}

/// The encoded bytes that are decoded at a time, before the budget is asked for the result.
const CHUNK_BYTES: usize = 4 << 10;
