//! The `response` object and its output items, as far as the judge looks.
//!
//! The lists in it are summed up element by element as they are parsed, so that the many empty
//! elements of a hostile answer take no more memory than one.

use crate::json::{Malformed, Read, Reader};
use crate::llm::judge::arguments;
use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::scan::{Arguments, Said, Text, each_object, read_members, read_word};
use crate::llm::{Finish, FinishWords, NotWhole, Verdict};

/// A `response`, as far as the judge looks.
#[derive(Default)]
pub(super) struct Response<'a> {
    r#type: Text<'a>,
    object: Text<'a>,
    id: Text<'a>,
    error: Said,
    status: Status,
    incomplete_details: IncompleteDetails<'a>,
    pub(super) output: Option<Output>,
    /// Azure.
    content_filters: ContentFilters,
}

read_members!(Response<'a>:
    r#type as "type", object, id, error, status, incomplete_details, output, content_filters
);

#[derive(Default)]
struct IncompleteDetails<'a> {
    reason: Reason<'a>,
}

read_members!(IncompleteDetails<'a>: reason);

impl Response<'_> {
    pub(super) fn errs(&self) -> bool {
        self.error.0 || self.object.is("error") || self.r#type.is("error")
    }

    /// Empty where it has none.
    pub(super) fn id(&self) -> &str {
        self.id.as_str().unwrap_or_default()
    }

    /// Whether the item at this place is there, and at its end.
    pub(super) fn has_finished(&self, output_index: u64) -> bool {
        let position = usize::try_from(output_index).unwrap_or(usize::MAX);
        let finished = self.output.as_ref().map(|output| &output.finished);
        finished.and_then(|finished| finished.get(position)) == Some(&true)
    }

    /// `cut` is whether the event that holds it says that it is incomplete.
    pub(super) fn answer(&self, cut: bool, words: &FinishWords) -> Result<Verdict, NotWhole> {
        if self.errs() {
            return Err(NotWhole::Error);
        }
        let reason = self.incomplete_details.reason.finish(&REASONS, words)?;
        let status = match self.status {
            Status::Completed | Status::None if cut || reason.is_some() => Status::Incomplete,
            status => status,
        };
        let finish = match status {
            Status::None | Status::Completed => Finish::Complete,
            Status::Incomplete => reason.ok_or(NotWhole::UnknownFinish)?,
            Status::Running => return Err(NotWhole::Unfinished),
            Status::Failed => return Err(NotWhole::Error),
            Status::Unknown => return Err(NotWhole::UnknownFinish),
        };
        let nothing = Output::default();
        let output = self.output.as_ref().unwrap_or(&nothing);
        let filtered = match self.content_filters.blocked {
            true => Finish::Filtered,
            false => Finish::Complete,
        };
        Ok(Verdict {
            finish: finish.worse(output.finish()?).worse(filtered),
            empty: !output.said,
            marked_end: status != Status::None,
        })
    }
}

/// The `status` of a response or an item.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    None,
    Completed,
    Incomplete,
    Running,
    Failed,
    Unknown,
}

read_word!(Status, Status::None, |word| match word {
    "" => Status::None,
    "completed" => Status::Completed,
    "incomplete" => Status::Incomplete,
    "queued" | "in_progress" => Status::Running,
    "failed" | "cancelled" => Status::Failed,
    _ => Status::Unknown,
});

/// Of the `reason` in `incomplete_details`.
const REASONS: Vocabulary = Vocabulary {
    length: &["max_output_tokens"],
    filtered: &["content_filter"],
    ..Vocabulary::EMPTY
};

/// More items than any provider has in one response.
pub(super) const MAX_ITEMS: usize = 1_024;

/// What the output items come to.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// Whether each of the first [`MAX_ITEMS`] items has ended, in success or not.
    finished: Vec<bool>,
    pub(super) said: bool,
    refused: bool,
    cut: bool,
    fault: Option<NotWhole>,
}

impl Output {
    pub(super) fn take(&mut self, item: &Item<'_>) {
        match item.r#type {
            ItemType::Message => {
                self.said |= item.content.said;
                self.refused |= item.content.refused;
            }
            ItemType::Reasoning => {}
            ItemType::FunctionCall
            | ItemType::CustomToolCall
            | ItemType::McpCall
            | ItemType::Other => self.said = true,
        }
        if matches!(item.r#type, ItemType::FunctionCall | ItemType::McpCall)
            && let Err(fault) = item.check_arguments()
        {
            self.fault = self.fault.or(Some(fault));
        }
        if matches!(
            item.r#type,
            ItemType::Message | ItemType::FunctionCall | ItemType::CustomToolCall
        ) {
            match item.status {
                Status::None | Status::Completed => {}
                Status::Incomplete => self.cut = true,
                Status::Running => self.fault = self.fault.or(Some(NotWhole::Unfinished)),
                Status::Failed => self.fault = self.fault.or(Some(NotWhole::Error)),
                Status::Unknown => self.fault = self.fault.or(Some(NotWhole::UnknownFinish)),
            }
        }
    }

    /// Takes the next item of a list.
    fn take_next(&mut self, item: &Item<'_>) {
        if self.finished.len() < MAX_ITEMS {
            let is_finished = !matches!(item.status, Status::Running | Status::Unknown);
            self.finished.push(is_finished);
        }
        self.take(item);
    }

    pub(super) fn finish(&self) -> Result<Finish, NotWhole> {
        match self {
            Self {
                fault: Some(fault), ..
            } => Err(*fault),
            Self { refused: true, .. } => Ok(Finish::Filtered),
            Self { cut: true, .. } => Ok(Finish::Length),
            _ => Ok(Finish::Complete),
        }
    }
}

/// An output item. The `status` of those that the provider runs itself is not looked at: the model
/// went on after them.
#[derive(Default)]
pub(super) struct Item<'a> {
    r#type: ItemType,
    status: Status,
    content: Parts,
    pub(super) arguments: Arguments<'a>,
}

read_members!(Item<'a>: r#type as "type", status, content, arguments);

impl Item<'_> {
    pub(super) fn has_parts(&self) -> bool {
        self.content.any
    }

    fn check_arguments(&self) -> Result<(), NotWhole> {
        arguments::check(self.arguments.as_str().unwrap_or_default())
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ItemType {
    Message,
    Reasoning,
    FunctionCall,
    CustomToolCall,
    McpCall,
    #[default]
    Other,
}

read_word!(ItemType, ItemType::Other, |word| match word {
    "message" => ItemType::Message,
    "reasoning" => ItemType::Reasoning,
    "function_call" => ItemType::FunctionCall,
    "custom_tool_call" => ItemType::CustomToolCall,
    "mcp_call" => ItemType::McpCall,
    _ => ItemType::Other,
});

/// What the content parts of an item come to.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    any: bool,
    said: bool,
    refused: bool,
}

#[derive(Default)]
struct Part<'a> {
    r#type: PartType,
    text: Text<'a>,
}

read_members!(Part<'a>: r#type as "type", text);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum PartType {
    #[default]
    Text,
    Refusal,
    Other,
}

read_word!(PartType, PartType::Text, |word| match word {
    "output_text" | "text" => PartType::Text,
    "refusal" => PartType::Refusal,
    _ => PartType::Other,
});

/// What the results of Azure's content filters come to.
#[derive(Clone, Copy, Default)]
struct ContentFilters {
    blocked: bool,
}

#[derive(Default)]
struct ContentFilter {
    blocked: Said,
}

read_members!(ContentFilter: blocked);

impl<'a> Read<'a> for Output {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        each_object(json, &mut |json| {
            let mut item = Item::default();
            item.read(json)?;
            self.take_next(&item);
            Ok(())
        })
    }
}

impl<'a> Read<'a> for Parts {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        each_object(json, &mut |json| {
            let mut part = Part::default();
            part.read(json)?;
            self.any = true;
            self.refused |= part.r#type == PartType::Refusal;
            self.said |= part.r#type != PartType::Text || part.text.is_said();
            Ok(())
        })
    }
}

impl<'a> Read<'a> for ContentFilters {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        each_object(json, &mut |json| {
            let mut filter = ContentFilter::default();
            filter.read(json)?;
            self.blocked |= filter.blocked.0;
            Ok(())
        })
    }
}
