//! Whether a response is whole: the object, and the stream that ends with it.

use super::super::fields;
use super::response::{Item, MAX_OPEN_ITEMS, Output, Response};
use crate::llm::fields::{Content, Said, read_members, read_word};
use crate::llm::held::list_bytes;
use crate::llm::judge::EventJudge;
use crate::llm::{Answer, Fault, Finish, FinishWords, Listener};
use crate::sse::Event;
use crate::steps;

/// Judges a response that came as JSON.
pub(super) fn judge(json: &[u8], words: &FinishWords) -> Result<Answer, Fault> {
    let response: Response<'_> = fields::parse_object(json)?;
    if response.output.is_none() && !response.errs() {
        return Err(Fault::Malformed);
    }
    response.answer(false, words)
}

/// Judges a stream of response events.
#[derive(Debug, Default)]
pub(super) struct Stream {
    words: FinishWords,
    /// The output items that were added and are not done.
    open: Vec<OpenItem>,
    /// What the items that are done come to.
    done: Output,
    /// The verdict on the response in the last event.
    end: Option<Answer>,
}

#[derive(Debug)]
struct OpenItem {
    output_index: u64,
    /// The sum of the pieces of arguments that came for it.
    argument_bytes: usize,
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), Fault> {
        if event.data == b"[DONE]" {
            return Ok(());
        }
        let data: Data<'_> = fields::parse_object(event.data)?;
        let named = str::from_utf8(event.event).map_or(Kind::Other, Kind::of);
        let kind = match data.r#type {
            Kind::None => named,
            kind => kind,
        };
        if named == Kind::Error || kind == Kind::Error || data.errs() {
            return Err(Fault::Error);
        }
        if self.end.is_some() {
            return Err(Fault::AfterEnd);
        }
        let output_index = data.output_index.unwrap_or(0);
        match kind {
            Kind::ItemAdded => self.open(output_index),
            Kind::ItemDone => self.close(output_index, &data.item.ok_or(Fault::Malformed)?),
            Kind::Text => {
                listener(output_index, data.delta.as_str().ok_or(Fault::Malformed)?);
                Ok(())
            }
            Kind::Arguments => {
                let piece = data.delta.as_str().ok_or(Fault::Malformed)?;
                self.count_arguments(output_index, piece);
                Ok(())
            }
            Kind::Completed | Kind::Incomplete => {
                let response = data.response.ok_or(Fault::Malformed)?;
                let answer = response.answer(kind == Kind::Incomplete, &self.words)?;
                // What the response has finished is done, whether or not an event said so:
                // of several MCP servers, some are left open.
                let is_done = |open: &OpenItem| response.has_finished(open.output_index);
                if answer.finish == Finish::Complete && !self.open.iter().all(is_done) {
                    return Err(Fault::Unfinished);
                }
                self.end = Some(answer);
                Ok(())
            }
            // `{"detail": ...}`, say.
            Kind::None => Err(Fault::Malformed),
            Kind::Error | Kind::Other => Ok(()),
        }
    }

    fn held_bytes(&self) -> usize {
        list_bytes(&self.open)
    }

    /// `[DONE]` may follow, which says nothing.
    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn finish(&self) -> Result<Answer, Fault> {
        // Without the last event the response is in progress: that is what the first one says.
        let end = self.end.ok_or(Fault::Unfinished)?;
        Ok(Answer {
            finish: end.finish.worse(self.done.finish()?),
            // Some proxies of subscriptions leave `output` empty in the last event.
            empty: end.empty && !self.done.said,
            ..end
        })
    }
}

impl Stream {
    pub(super) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    fn open(&mut self, output_index: u64) -> Result<(), Fault> {
        if self.open.len() >= MAX_OPEN_ITEMS {
            return Err(Fault::Choices);
        }
        self.open.push(OpenItem {
            output_index,
            argument_bytes: 0,
        });
        Ok(())
    }

    fn close(&mut self, output_index: u64, item: &Item<'_>) -> Result<(), Fault> {
        self.done.take(item);
        let place = |open: &OpenItem| open.output_index == output_index;
        steps::take(self.open.len());
        let Some(place) = self.open.iter().position(place) else {
            return Ok(());
        };
        let open = self.open.swap_remove(place);
        // A piece of the arguments that was lost or sent twice. Some send no pieces.
        match item.arguments.as_str() {
            Some(arguments) if open.argument_bytes != 0 => {
                if arguments.len() == open.argument_bytes {
                    Ok(())
                } else {
                    Err(Fault::ToolArguments)
                }
            }
            _ => Ok(()),
        }
    }

    fn count_arguments(&mut self, output_index: u64, piece: &str) {
        let place = |open: &&mut OpenItem| open.output_index == output_index;
        steps::take(self.open.len());
        if let Some(open) = self.open.iter_mut().find(place) {
            open.argument_bytes = open.argument_bytes.saturating_add(piece.len());
        }
    }
}

/// The data of an event, as far as the judge looks.
#[derive(Default)]
struct Data<'a> {
    r#type: Kind,
    error: Said,
    output_index: Option<u64>,
    delta: Content<'a>,
    item: Option<Item<'a>>,
    response: Option<Response<'a>>,
}

read_members!(Data<'a>: r#type as "type", error, output_index, delta, item, response);

impl Data<'_> {
    fn errs(&self) -> bool {
        self.error.0 || self.response.as_ref().is_some_and(Response::errs)
    }
}

/// The `type` of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    ItemAdded,
    ItemDone,
    Text,
    Arguments,
    Completed,
    Incomplete,
    Error,
    Other,
}

impl Kind {
    fn of(word: &str) -> Self {
        match word {
            "" => Self::None,
            "response.output_item.added" => Self::ItemAdded,
            "response.output_item.done" => Self::ItemDone,
            "response.output_text.delta" => Self::Text,
            "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta" => {
                Self::Arguments
            }
            "response.completed" => Self::Completed,
            "response.incomplete" => Self::Incomplete,
            "error" | "response.error" | "response.failed" | "response.cancelled" => Self::Error,
            _ => Self::Other,
        }
    }
}

read_word!(Kind, Kind::None, Kind::of);
