//! The forms that one answer may have.

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// How it is framed.
    pub framing: Framing,
    /// What a request says of the form beyond the framing, for streams: in the API's own terms,
    /// compared byte by byte, short. The canonical JSON of `stream_options`, say.
    pub options: Box<[u8]>,
}

impl Form {
    /// One JSON document.
    pub fn json() -> Self {
        Self::new(Framing::Json, b"")
    }

    /// In a framing, with the options of a stream.
    pub fn new(framing: Framing, options: &[u8]) -> Self {
        Self {
            framing,
            options: options.into(),
        }
    }
}

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One JSON document.
    Json,
    /// A WHATWG event stream.
    Sse,
    /// A JSON document per line.
    Ndjson,
    /// A JSON array whose elements come one by one (Gemini without `alt=sse`).
    JsonArray,
    /// AWS event stream messages (Bedrock).
    EventStream,
}

impl Framing {
    /// Every framing.
    pub const ALL: [Self; 5] = [
        Self::Json,
        Self::Sse,
        Self::Ndjson,
        Self::JsonArray,
        Self::EventStream,
    ];

    /// Whether answers in this framing are streams.
    pub fn is_stream(self) -> bool {
        self != Self::Json
    }

    /// The content type of an answer that the cache itself puts into this framing.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::JsonArray => "application/json",
            Self::Sse => "text/event-stream; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }
}
