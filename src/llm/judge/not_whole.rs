//! Why an answer is not stored as a whole one.

/// Why an answer is not whole, or not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWhole {
    /// An error object, event or message.
    Error,
    /// Not what the API sends: unparsable JSON, wrong types, invalid UTF-8, a wrong checksum.
    Malformed,
    /// Lines in an event stream that belong to no event, or that the API's clients do not skip.
    StrayLines,
    /// An event without data. Clients make an event of it that is not JSON.
    NoData,
    /// The stream ended inside an event, a line or a message.
    Pending,
    /// Something after the end marker.
    AfterEnd,
    /// A finish reason that is not known to mean a whole answer.
    UnknownFinish,
    /// Fewer choices than asked for, or far more.
    Choices,
    /// Not finished: queued, in progress, paused.
    Unfinished,
    /// The arguments of a tool call do not parse.
    ToolArguments,
}

impl NotWhole {
    /// The word for header, metric and log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error_in_answer",
            Self::Malformed => "malformed",
            Self::StrayLines => "stray_lines",
            Self::NoData => "no_data",
            Self::Pending => "pending_event",
            Self::AfterEnd => "after_end",
            Self::UnknownFinish => "unknown_finish",
            Self::Choices => "choices",
            Self::Unfinished => "unfinished",
            Self::ToolArguments => "tool_arguments",
        }
    }
}
