//! The JSON documents that an answer consists of, in any framing, without a tree of any.

use std::borrow::Cow;

use super::bedrock::native;
use super::{Framing, NotWhole};
use crate::json::Elements;
use crate::{eventstream, ndjson, sse};

/// Calls `look` with each document that an answer consists of, in order: the data of an event, a line,
/// an element, a payload. What is no document is as it came.
///
/// # Errors
/// If the framing is broken; some documents may have been looked at before.
pub(super) fn each(
    answer: &[u8],
    framing: Framing,
    look: &mut dyn FnMut(&[u8]),
) -> Result<(), NotWhole> {
    match framing {
        Framing::Json => look(answer),
        Framing::Sse => sse::Parser::new().feed(answer, |event| look(event.data)),
        Framing::Ndjson => ndjson::Parser::new().feed(answer, look),
        Framing::JsonArray => Elements::new()
            .feed(answer, look)
            .map_err(|_| NotWhole::Malformed)?,
        Framing::EventStream => eventstream::Parser::new()
            .feed(answer, |message| {
                let payload = message.payload();
                look(&native(payload).map_or(Cow::Borrowed(payload), Cow::Owned));
            })
            .map_err(|_| NotWhole::Malformed)?,
    }
    Ok(())
}
