//! The `response` object and its output items, as far as the judge looks.
//!
//! The lists in it are summed up element by element as they are parsed, so that the many empty
//! elements of a hostile answer take no more memory than one.

use crate::json::{Malformed, Read, Reader};
use crate::llm::fields::{Content, Said, each_object, read_members, read_word};
use crate::llm::{Answer, Fault, Finish};

/// A `response`, as far as the judge looks.
#[derive(Default)]
pub(super) struct Response {
    r#type: Object,
    object: Object,
    error: Said,
    status: Status,
    incomplete_details: IncompleteDetails,
    pub(super) output: Option<Output>,
    /// Azure.
    content_filters: ContentFilters,
}

read_members!(Response:
    r#type as "type", object, error, status, incomplete_details, output, content_filters
);

#[derive(Default)]
struct IncompleteDetails {
    reason: Reason,
}

read_members!(IncompleteDetails: reason);

impl Response {
    pub(super) fn errs(&self) -> bool {
        self.error.0 || self.object == Object::Error || self.r#type == Object::Error
    }

    /// `cut` is whether the event that holds it says that it is incomplete.
    pub(super) fn answer(&self, cut: bool) -> Result<Answer, Fault> {
        if self.errs() {
            return Err(Fault::Error);
        }
        let status = match self.status {
            Status::Completed | Status::None
                if cut || self.incomplete_details.reason != Reason::None =>
            {
                Status::Incomplete
            }
            status => status,
        };
        let finish = match status {
            Status::None | Status::Completed => Finish::Complete,
            Status::Incomplete => match self.incomplete_details.reason {
                Reason::Known(finish) => finish,
                Reason::None | Reason::Unknown => return Err(Fault::UnknownFinish),
            },
            Status::Running => return Err(Fault::Unfinished),
            Status::Failed => return Err(Fault::Error),
            Status::Unknown => return Err(Fault::UnknownFinish),
        };
        let output = self.output.unwrap_or_default();
        let filtered = match self.content_filters.blocked {
            true => Finish::Filtered,
            false => Finish::Complete,
        };
        Ok(Answer {
            finish: finish.worse(output.finish()?).worse(filtered),
            empty: !output.said,
            marked_end: status != Status::None,
        })
    }
}

/// What a response is, and what may stand in its place.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Object {
    #[default]
    Other,
    Error,
}

read_word!(Object, Object::Other, |word| match word {
    "error" => Object::Error,
    _ => Object::Other,
});

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

/// The `reason` in `incomplete_details`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reason {
    #[default]
    None,
    Known(Finish),
    Unknown,
}

read_word!(Reason, Reason::None, |word| match word {
    "" => Reason::None,
    "max_output_tokens" => Reason::Known(Finish::Length),
    "content_filter" => Reason::Known(Finish::Filtered),
    _ => Reason::Unknown,
});

/// What the output items come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Output {
    pub(super) said: bool,
    refused: bool,
    cut: bool,
    fault: Option<Fault>,
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
            && !item.has_whole_arguments()
        {
            self.fault = self.fault.or(Some(Fault::ToolArguments));
        }
        if matches!(
            item.r#type,
            ItemType::Message | ItemType::FunctionCall | ItemType::CustomToolCall
        ) {
            match item.status {
                Status::None | Status::Completed => {}
                Status::Incomplete => self.cut = true,
                Status::Running => self.fault = self.fault.or(Some(Fault::Unfinished)),
                Status::Failed => self.fault = self.fault.or(Some(Fault::Error)),
                Status::Unknown => self.fault = self.fault.or(Some(Fault::UnknownFinish)),
            }
        }
    }

    pub(super) fn finish(&self) -> Result<Finish, Fault> {
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
    pub(super) arguments: Content<'a>,
}

read_members!(Item<'a>: r#type as "type", status, content, arguments);

impl Item<'_> {
    /// Arguments are JSON, or nothing where the function has none.
    fn has_whole_arguments(&self) -> bool {
        match self.arguments.as_str() {
            None | Some("") => true,
            Some(arguments) => Reader::is_json(arguments.as_bytes()),
        }
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
    said: bool,
    refused: bool,
}

#[derive(Default)]
struct Part {
    r#type: PartType,
    text: Said,
}

read_members!(Part: r#type as "type", text);

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
            self.take(&item);
            Ok(())
        })
    }
}

impl<'a> Read<'a> for Parts {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        each_object(json, &mut |json| {
            let mut part = Part::default();
            part.read(json)?;
            self.refused |= part.r#type == PartType::Refusal;
            self.said |= part.r#type != PartType::Text || part.text.0;
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
