//! What holds for the judges of every API in a framing.

use std::fmt;

use super::{DONE, Judge, Listener, NotWhole, Verdict};
use crate::json::{Elements, NotElements};
use crate::{eventstream, ndjson, sse};

/// `Debug` is no supertrait, because that would add code for each judge to the wasm binary.
macro_rules! debug_as {
    ($($judge:ident),*) => {$(
        impl fmt::Debug for dyn $judge {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($judge))
            }
        }
    )*};
}

debug_as!(Judge, EventJudge, MessageJudge, DocumentJudge);

/// A JSON document, judged at its end by a function.
pub(crate) struct Document<F>(pub(crate) F);

impl<F: FnOnce(&[u8]) -> Result<Verdict, NotWhole>> Judge for Document<F> {
    fn feed(&mut self, _chunk: &[u8], _listener: Listener<'_>) -> Result<(), NotWhole> {
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn finish(self: Box<Self>, whole: &[u8]) -> Result<Verdict, NotWhole> {
        // The JSON reader does not check that strings which it skips are UTF-8.
        std::str::from_utf8(whole).map_err(|_| NotWhole::Malformed)?;
        (self.0)(whole)
    }
}

/// What every judge of a stream tells, whatever the framing.
pub(crate) trait StreamJudge {
    /// Whether the end marker, or the last document, has come.
    fn is_over(&self) -> bool;

    /// See [`Judge::held_bytes`].
    fn held_bytes(&self) -> usize;

    /// Gives the verdict after all that came.
    fn finish(&self) -> Result<Verdict, NotWhole>;
}

/// What an API makes of the events of an event stream.
pub(crate) trait EventJudge: StreamJudge {
    /// Takes the next event.
    fn event(&mut self, event: &sse::Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole>;

    /// Takes the name, which may be empty, of lines that have no data. OpenAI's clients parse what
    /// is not there, and raise; none of them reads on after the end marker.
    fn no_data(&self, name: &[u8]) -> Result<(), NotWhole> {
        match name {
            b"error" => Err(NotWhole::Error),
            _ if self.is_over() => Ok(()),
            _ => Err(NotWhole::NoData),
        }
    }

    /// Whether the API's clients know nothing of event streams but lines that begin with `data: `,
    /// and fail on any other.
    fn needs_plain_data(&self) -> bool {
        false
    }
}

/// An event stream on its way to an [`EventJudge`].
#[derive(Debug)]
pub(crate) struct Events {
    parser: sse::Parser,
    judge: Box<dyn EventJudge>,
}

impl Events {
    pub(crate) fn new(judge: impl EventJudge + 'static) -> Self {
        Self {
            parser: sse::Parser::new(),
            judge: Box::new(judge),
        }
    }
}

impl Judge for Events {
    fn feed(&mut self, chunk: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        let judge = &mut self.judge;
        let needs_plain_data = judge.needs_plain_data();
        let mut verdict = Ok(());
        self.parser.feed_blocks(chunk, |block| {
            if verdict.is_ok() {
                verdict = match block {
                    sse::Block::Event(event) if !needs_plain_data && is_keep_alive(&event) => {
                        Ok(())
                    }
                    sse::Block::Event(event) => judge.event(&event, listener),
                    sse::Block::NoData(name) => judge.no_data(name),
                };
            }
        });
        verdict?;
        // The standard strips it. OpenAI's client loses the first event instead, Anthropic's and
        // Google's raise.
        if self.parser.has_bom() {
            return Err(NotWhole::Malformed);
        }
        let stray_lines = match needs_plain_data {
            true => self.parser.other_lines(),
            false => self.parser.stray_lines(),
        };
        only_events(stray_lines, self.parser.invalid_utf8_lines())
    }

    fn is_over(&self) -> bool {
        self.judge.is_over()
    }

    fn held_bytes(&self) -> usize {
        let parser = self.parser.held_bytes();
        parser.saturating_add(self.judge.held_bytes())
    }

    fn finish(mut self: Box<Self>, _whole: &[u8]) -> Result<Verdict, NotWhole> {
        let ending = self.parser.finish();
        let stray_lines = match self.judge.needs_plain_data() {
            true => ending.other_lines,
            false => ending.stray_lines,
        };
        only_events(stray_lines, ending.invalid_utf8_lines)?;
        match ending.pending {
            None => {}
            // Its text alone proves that nothing is missing. Clients lose no more than a marker
            // behind which the stream ends anyway.
            Some(pending) if pending.is(DONE) => {
                let event = sse::Event {
                    event: b"",
                    data: DONE,
                };
                self.judge.event(&event, &mut |_, _| {})?;
            }
            Some(_) => return Err(NotWhole::Pending),
        }
        self.judge.finish()
    }
}

/// Whether an event says nothing: some servers keep connections alive with `data:` alone. OpenAI's
/// clients do not like it, and others do not mind.
fn is_keep_alive(event: &sse::Event<'_>) -> bool {
    event.data.trim_ascii().is_empty() && matches!(event.event, b"" | b"ping")
}

fn only_events(stray_lines: u64, invalid_utf8_lines: u64) -> Result<(), NotWhole> {
    match (stray_lines, invalid_utf8_lines) {
        (0, 0) => Ok(()),
        (0, _) => Err(NotWhole::Malformed),
        _ => Err(NotWhole::StrayLines),
    }
}

/// What an API makes of the events of a stream of AWS event stream messages.
pub(crate) trait MessageJudge: StreamJudge {
    /// Takes the next event: its name, and its payload, which is UTF-8.
    fn message(
        &mut self,
        event: &str,
        payload: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), NotWhole>;
}

/// A stream of AWS event stream messages on its way to a [`MessageJudge`].
#[derive(Debug)]
pub(crate) struct Messages {
    parser: eventstream::Parser,
    judge: Box<dyn MessageJudge>,
}

impl Messages {
    pub(crate) fn new(judge: impl MessageJudge + 'static) -> Self {
        Self {
            parser: eventstream::Parser::new(),
            judge: Box::new(judge),
        }
    }
}

impl Judge for Messages {
    fn feed(&mut self, chunk: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        let judge = &mut self.judge;
        let mut verdict = Ok(());
        let fed = self.parser.feed(chunk, |message| {
            if verdict.is_ok() {
                verdict = match message.kind() {
                    eventstream::Kind::Event(_) if str::from_utf8(message.payload()).is_err() => {
                        Err(NotWhole::Malformed)
                    }
                    eventstream::Kind::Event(event) => {
                        judge.message(event, message.payload(), listener)
                    }
                    eventstream::Kind::Exception(_) | eventstream::Kind::Error(_) => {
                        Err(NotWhole::Error)
                    }
                    eventstream::Kind::Unknown => Err(NotWhole::Malformed),
                };
            }
        });
        verdict?;
        fed.map_err(|_| NotWhole::Malformed)
    }

    fn is_over(&self) -> bool {
        self.judge.is_over()
    }

    fn held_bytes(&self) -> usize {
        let parser = self.parser.held_bytes();
        parser.saturating_add(self.judge.held_bytes())
    }

    fn finish(self: Box<Self>, _whole: &[u8]) -> Result<Verdict, NotWhole> {
        if self.parser.is_pending() {
            return Err(NotWhole::Pending);
        }
        self.judge.finish()
    }
}

/// What an API makes of the JSON documents of a stream that has no framing of events: the lines of
/// NDJSON, the elements of an array.
pub(crate) trait DocumentJudge: StreamJudge {
    /// Takes the next document, which is UTF-8 but may still not be JSON.
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), NotWhole>;
}

/// A JSON document per line on its way to a [`DocumentJudge`].
#[derive(Debug)]
pub(crate) struct Lines {
    parser: ndjson::Parser,
    judge: Box<dyn DocumentJudge>,
}

impl Lines {
    pub(crate) fn new(judge: impl DocumentJudge + 'static) -> Self {
        Self {
            parser: ndjson::Parser::new(),
            judge: Box::new(judge),
        }
    }
}

impl Judge for Lines {
    fn feed(&mut self, chunk: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        let judge = &mut self.judge;
        let mut verdict = Ok(());
        self.parser.feed(chunk, |line| {
            if verdict.is_ok() {
                verdict = judge.document(line, listener);
            }
        });
        verdict?;
        only_events(0, self.parser.invalid_utf8_lines())
    }

    fn held_bytes(&self) -> usize {
        let parser = self.parser.held_bytes();
        parser.saturating_add(self.judge.held_bytes())
    }

    fn is_over(&self) -> bool {
        self.judge.is_over()
    }

    fn finish(self: Box<Self>, _whole: &[u8]) -> Result<Verdict, NotWhole> {
        let ending = self.parser.finish();
        only_events(0, ending.invalid_utf8_lines)?;
        if ending.pending {
            return Err(NotWhole::Pending);
        }
        self.judge.finish()
    }
}

/// The elements of one JSON array on their way to a [`DocumentJudge`].
#[derive(Debug)]
pub(crate) struct ArrayElements {
    elements: Elements,
    judge: Box<dyn DocumentJudge>,
}

impl ArrayElements {
    pub(crate) fn new(judge: impl DocumentJudge + 'static) -> Self {
        Self {
            elements: Elements::new(),
            judge: Box::new(judge),
        }
    }
}

impl Judge for ArrayElements {
    fn feed(&mut self, chunk: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        let judge = &mut self.judge;
        let mut verdict = Ok(());
        let fed = self.elements.feed(chunk, |element| {
            if verdict.is_ok() {
                // The JSON reader does not check that strings which it skips are UTF-8.
                verdict = match std::str::from_utf8(element) {
                    Ok(_) => judge.document(element, listener),
                    Err(_) => Err(NotWhole::Malformed),
                };
            }
        });
        verdict?;
        fed.map_err(|not| match not {
            NotElements::AfterEnd => NotWhole::AfterEnd,
            NotElements::Syntax | NotElements::TooDeep => NotWhole::Malformed,
        })
    }

    fn held_bytes(&self) -> usize {
        let elements = self.elements.held_bytes();
        elements.saturating_add(self.judge.held_bytes())
    }

    fn is_over(&self) -> bool {
        self.elements.is_ended()
    }

    fn finish(self: Box<Self>, _whole: &[u8]) -> Result<Verdict, NotWhole> {
        if !self.elements.is_ended() {
            return Err(NotWhole::Pending);
        }
        self.judge.finish()
    }
}
