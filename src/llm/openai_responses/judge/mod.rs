//! Whether a response is whole: the object, and the stream that ends with it.

mod response;

use crate::llm::judge::DONE;
use crate::llm::judge::framings::{EventJudge, StreamJudge};
use crate::llm::judge::held::{list_bytes, text_bytes};
use crate::llm::scan::{self, Content, Said, read_members, read_word};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};
use crate::sse::Event;
use crate::steps;
use response::{Item, MAX_ITEMS, Output, Response};

/// Judges a response that came as JSON.
pub(super) fn judge(json: &[u8], words: &FinishWords) -> Result<Verdict, NotWhole> {
    let response: Response<'_> = scan::parse_object(json)?;
    if response.output.is_none() && !response.errs() {
        return Err(NotWhole::Malformed);
    }
    response.answer(false, words)
}

/// Judges a stream of response events.
#[derive(Debug, Default)]
pub(super) struct Stream {
    words: FinishWords,
    /// The id of the response, which the first event has. OpenAI's client raises where another
    /// event comes first, or the last one has another response.
    created: Option<String>,
    /// The output items that were added.
    added: Vec<AddedItem>,
    /// What the items that are done come to.
    done: Output,
    /// The verdict on the response in the last event.
    end: Option<Verdict>,
    /// `[DONE]` has come, after which OpenAI's client reads nothing.
    marked: bool,
}

#[derive(Debug)]
struct AddedItem {
    output_index: u64,
    is_done: bool,
    /// A part of its content has begun.
    has_part: bool,
    /// The sum of the pieces of arguments that came for it.
    argument_bytes: usize,
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.data == DONE {
            self.marked = true;
            return Ok(());
        }
        let data: Data<'_> = scan::parse_object(event.data)?;
        let kind = data.r#type;
        if event.event == b"error" || kind == Kind::Error || data.errs() {
            return Err(NotWhole::Error);
        }
        if self.end.is_some() || self.marked {
            return Err(NotWhole::AfterEnd);
        }
        match kind {
            Kind::Created => {
                let response = data.response.ok_or(NotWhole::Malformed)?;
                self.is_of(&response).or_else(|fault| match self.created {
                    Some(_) => Err(fault),
                    None => {
                        self.created = Some(response.id().to_owned());
                        Ok(())
                    }
                })
            }
            _ if self.created.is_none() => Err(NotWhole::Malformed),
            Kind::ItemAdded => self.add(data.output_index, data.item),
            Kind::ItemDone => self.close(data.output_index, data.item),
            Kind::PartAdded => {
                self.added(data.output_index)?.has_part = true;
                Ok(())
            }
            Kind::Text | Kind::WholeText => {
                let item = self.added(data.output_index)?;
                // The client adds the text to a part; Bedrock counts them from 1.
                if !item.has_part {
                    return Err(NotWhole::Malformed);
                }
                if kind == Kind::Text {
                    let text = data.delta.as_str().ok_or(NotWhole::Malformed)?;
                    listener(item.output_index, text);
                }
                Ok(())
            }
            Kind::Arguments => {
                let piece = data.delta.as_str().ok_or(NotWhole::Malformed)?;
                let item = self.added(data.output_index)?;
                item.argument_bytes = item.argument_bytes.saturating_add(piece.len());
                Ok(())
            }
            Kind::Completed | Kind::Incomplete => {
                let response = data.response.ok_or(NotWhole::Malformed)?;
                let answer = response.answer(kind == Kind::Incomplete, &self.words)?;
                self.is_of(&response)?;
                // What the response has finished is done, whether or not an event said so:
                // of several MCP servers, some are left open.
                let is_done =
                    |item: &AddedItem| item.is_done || response.has_finished(item.output_index);
                if answer.finish == Finish::Complete && !self.added.iter().all(is_done) {
                    return Err(NotWhole::Unfinished);
                }
                self.end = Some(answer);
                Ok(())
            }
            // `{"detail": ...}`, say.
            Kind::None => Err(NotWhole::Malformed),
            Kind::Error | Kind::Other => Ok(()),
        }
    }
}

impl StreamJudge for Stream {
    /// `[DONE]` may follow, which says nothing.
    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn held_bytes(&self) -> usize {
        let id = self.created.as_ref().map_or(0, text_bytes);
        list_bytes(&self.added).saturating_add(id)
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        // Without the last event the response is in progress: that is what the first one says.
        let end = self.end.ok_or(NotWhole::Unfinished)?;
        Ok(Verdict {
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

    fn is_of(&self, response: &Response<'_>) -> Result<(), NotWhole> {
        match self.created.as_deref() == Some(response.id()) {
            true => Ok(()),
            false => Err(NotWhole::Malformed),
        }
    }

    fn add(&mut self, output_index: Option<u64>, item: Option<Item<'_>>) -> Result<(), NotWhole> {
        let (output_index, item) = output_index.zip(item).ok_or(NotWhole::Malformed)?;
        if self.added.len() >= MAX_ITEMS {
            return Err(NotWhole::Choices);
        }
        if self.position(output_index).is_some() {
            return Err(NotWhole::Malformed);
        }
        self.added.push(AddedItem {
            output_index,
            is_done: false,
            has_part: item.has_parts(),
            argument_bytes: 0,
        });
        Ok(())
    }

    /// The item that an event adds to.
    fn added(&mut self, output_index: Option<u64>) -> Result<&mut AddedItem, NotWhole> {
        let position = output_index.and_then(|index| self.position(index));
        let item = position.and_then(|position| self.added.get_mut(position));
        item.ok_or(NotWhole::Malformed)
    }

    /// Mostly it is one of the last.
    fn position(&self, output_index: u64) -> Option<usize> {
        steps::take(self.added.len());
        let is_it = |item: &AddedItem| item.output_index == output_index;
        self.added.iter().rposition(is_it)
    }

    fn close(&mut self, output_index: Option<u64>, item: Option<Item<'_>>) -> Result<(), NotWhole> {
        let (output_index, item) = output_index.zip(item).ok_or(NotWhole::Malformed)?;
        self.done.take(&item);
        let Some(position) = self.position(output_index) else {
            return Ok(());
        };
        let Some(added) = self.added.get_mut(position) else {
            return Ok(());
        };
        added.is_done = true;
        // A piece of the arguments that was lost or sent twice. Some send no pieces.
        match item.arguments.as_str() {
            Some(arguments) if added.argument_bytes != 0 => {
                if arguments.len() == added.argument_bytes {
                    Ok(())
                } else {
                    Err(NotWhole::ToolArguments)
                }
            }
            _ => Ok(()),
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
    Created,
    ItemAdded,
    ItemDone,
    PartAdded,
    Text,
    WholeText,
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
            "response.created" => Self::Created,
            "response.output_item.added" => Self::ItemAdded,
            "response.output_item.done" => Self::ItemDone,
            "response.content_part.added" => Self::PartAdded,
            "response.output_text.delta" => Self::Text,
            "response.output_text.done" => Self::WholeText,
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
