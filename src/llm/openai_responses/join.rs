//! The JSON answer that a stream stands for: the response in its last event.

use serde_json::{Map, Value};

use crate::json;
use crate::llm::Lossy;
use crate::llm::fields::{self, Content, Said, read_members, read_word};
use crate::sse;

/// More output items than a response has.
const MAX_ITEMS: usize = 16_384;

pub(super) fn join(stream: &[u8]) -> Result<Vec<u8>, Lossy> {
    let mut reader = Reader::default();
    let mut parser = sse::Parser::new();
    let mut read = Ok(());
    parser.feed(stream, |event| {
        if read.is_ok() {
            read = reader.event(&event);
        }
    });
    read?;
    let ending = parser.finish();
    if ending.pending.is_some() || ending.stray_lines > 0 || ending.invalid_utf8_lines > 0 {
        return Err(Lossy::Malformed);
    }
    let response = reader.response.ok_or(Lossy::Malformed)?;
    let done = match response.get("status").and_then(Value::as_str) {
        Some("completed" | "incomplete") => reader.done,
        _ => return Err(Lossy::Malformed),
    };
    let Some(Value::Array(output)) = response.get("output") else {
        return Err(Lossy::Content);
    };
    // What was streamed must be in the response. Ids differ (OpenRouter), and logprobs are rounded
    // (OpenAI), as they are in JSON answers.
    for (output_index, kind) in done {
        let item = usize::try_from(output_index)
            .ok()
            .and_then(|index| output.get(index));
        if item.and_then(|item| item.get("type")?.as_str()) != Some(kind.as_str()) {
            return Err(Lossy::Content);
        }
    }
    serde_json::to_vec(&response).map_err(|_| Lossy::Malformed)
}

#[derive(Default)]
struct Reader {
    /// The output index and the type of the items that came.
    done: Vec<(u64, String)>,
    response: Option<Map<String, Value>>,
}

impl Reader {
    fn event(&mut self, event: &sse::Event<'_>) -> Result<(), Lossy> {
        if event.data == b"[DONE]" {
            return Ok(());
        }
        let data: Data<'_> = fields::parse_object(event.data).map_err(|_| Lossy::Malformed)?;
        let kind = match (data.r#type, str::from_utf8(event.event)) {
            (Kind::None, Ok(name)) => Kind::of(name),
            (kind, _) => kind,
        };
        if data.error.0 || self.response.is_some() {
            return Err(Lossy::Malformed);
        }
        let item_type = match &data.item {
            Some(item) => Some(item.r#type.as_str().ok_or(Lossy::Malformed)?),
            None => None,
        };
        match kind {
            Kind::ItemDone => {
                let item_type = item_type.ok_or(Lossy::Malformed)?;
                if self.done.len() >= MAX_ITEMS {
                    return Err(Lossy::Malformed);
                }
                self.done
                    .push((data.output_index.unwrap_or(0), item_type.to_owned()));
                Ok(())
            }
            Kind::End => {
                self.response = Some(response(event.data)?);
                Ok(())
            }
            // Audio comes in pieces only: the response that ends the stream has its transcript.
            Kind::Audio => Err(Lossy::Content),
            Kind::None | Kind::Other => Ok(()),
        }
    }
}

/// The response in the data of the last event.
fn response(data: &[u8]) -> Result<Map<String, Value>, Lossy> {
    let Ok(Value::Object(mut data)) = json::parse(data) else {
        return Err(Lossy::Malformed);
    };
    let response = data.remove("response");
    let is_known = |name: &String| {
        matches!(
            name.as_str(),
            "type" | "sequence_number" | "obfuscation" | "error"
        )
    };
    if !data.keys().all(is_known) {
        return Err(Lossy::UnknownMember);
    }
    match response {
        Some(Value::Object(response)) => Ok(response),
        _ => Err(Lossy::Malformed),
    }
}

#[derive(Default)]
struct Data<'a> {
    r#type: Kind,
    error: Said,
    output_index: Option<u64>,
    item: Option<Item<'a>>,
}

read_members!(Data<'a>: r#type as "type", error, output_index, item);

#[derive(Default)]
struct Item<'a> {
    r#type: Content<'a>,
}

read_members!(Item<'a>: r#type as "type");

#[derive(Clone, Copy, Default)]
enum Kind {
    #[default]
    None,
    ItemDone,
    End,
    Audio,
    Other,
}

impl Kind {
    fn of(word: &str) -> Self {
        match word {
            "" => Self::None,
            "response.output_item.done" => Self::ItemDone,
            "response.completed" | "response.incomplete" => Self::End,
            "response.audio.delta" | "response.output_audio.delta" => Self::Audio,
            _ => Self::Other,
        }
    }
}

read_word!(Kind, Kind::None, Kind::of);
