//! The JSON answer that a stream stands for: the response in its last event. Where that has no
//! output (the backend of ChatGPT, which Codex uses), the items are those that came before.

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::tree::{self, Object, in_order, positions_in_order, set};
use crate::llm::judge::DONE;
use crate::llm::scan::{self, Content, Said, read_members, read_word};
use crate::sse;

/// More output items than a response has.
const MAX_ITEMS: usize = 16_384;

pub(super) fn join(stream: &[u8]) -> Result<Vec<u8>, ConversionError> {
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
        return Err(ConversionError::Malformed);
    }
    let mut response = reader.response.take().ok_or(ConversionError::Malformed)?;
    if !matches!(
        response.get("status").and_then(Value::as_str),
        Some("completed" | "incomplete")
    ) {
        return Err(ConversionError::Malformed);
    }
    match response.get("output") {
        Some(Value::Array(output)) if !output.is_empty() || reader.done.is_empty() => {
            reader.check(output)?;
        }
        None | Some(Value::Null | Value::Array(_)) if !reader.done.is_empty() => {
            let output = reader.items(stream)?;
            set(&mut response, "output", output.into());
        }
        _ => return Err(ConversionError::Content),
    }
    tree::to_json(&response)
}

#[derive(Default)]
struct Reader {
    /// The items that came.
    done: Vec<Done>,
    /// The output indexes that events named, those that follow one another once.
    named: Vec<u64>,
    response: Option<Object>,
}

struct Done {
    output_index: u64,
    kind: String,
    id: Option<String>,
}

impl Reader {
    fn event(&mut self, event: &sse::Event<'_>) -> Result<(), ConversionError> {
        if event.data == DONE {
            return Ok(());
        }
        let data: Data<'_> =
            scan::parse_object(event.data).map_err(|_| ConversionError::Malformed)?;
        if data.error.0 || self.response.is_some() {
            return Err(ConversionError::Malformed);
        }
        if let Some(index) = data.output_index
            && self.named.last() != Some(&index)
        {
            self.named.push(index);
        }
        match data.kind(event) {
            Kind::ItemDone => {
                let item = data.item.ok_or(ConversionError::Malformed)?;
                let kind = item
                    .r#type
                    .as_str()
                    .ok_or(ConversionError::Malformed)?
                    .to_owned();
                if self.done.len() >= MAX_ITEMS {
                    return Err(ConversionError::Malformed);
                }
                self.done.push(Done {
                    output_index: data.output_index.unwrap_or(0),
                    kind,
                    id: item.id.as_str().map(str::to_owned),
                });
                Ok(())
            }
            Kind::End => {
                self.response = Some(response(event.data)?);
                Ok(())
            }
            // Audio comes in pieces only: the response that ends the stream has its transcript.
            Kind::Audio => Err(ConversionError::Content),
            Kind::None | Kind::Other => Ok(()),
        }
    }

    /// What was streamed must be in the response. Ids may differ (OpenRouter), and logprobs are
    /// rounded (OpenAI), as they are in JSON answers.
    fn check(&self, output: &[Value]) -> Result<(), ConversionError> {
        let is_in_place = |done: &Done| {
            let position = usize::try_from(done.output_index).ok();
            let item = position.and_then(|index| output.get(index));
            item.and_then(|item| item.get("type")?.as_str()) == Some(&done.kind)
        };
        if self.done.iter().all(is_in_place) || self.are_all(output) {
            Ok(())
        } else {
            Err(ConversionError::Content)
        }
    }

    /// Whether the items are those that came, by their ids: OpenAI's indexes may have gaps.
    fn are_all(&self, output: &[Value]) -> bool {
        let mut came = self.in_order().into_iter();
        let is_next = |item: &Value| {
            let done = came.next();
            let text = |name| item.get(name).and_then(Value::as_str);
            done.is_some_and(|done| {
                done.id.is_some()
                    && done.id.as_deref() == text("id")
                    && text("type") == Some(&done.kind)
            })
        };
        output.len() == self.done.len() && output.iter().all(is_next)
    }

    fn in_order(&self) -> Vec<&Done> {
        let mut indexes = self.done.iter().map(|done| Some(done.output_index));
        let positions = positions_in_order(&mut indexes);
        positions
            .into_iter()
            .filter_map(|position| self.done.get(position))
            .collect()
    }

    /// The items that came, in their order, where they are all of the output: each index that any
    /// event names has one.
    fn items(&self, stream: &[u8]) -> Result<Vec<Value>, ConversionError> {
        let done = self.in_order();
        let twice = done
            .iter()
            .zip(done.iter().skip(1))
            .any(|(a, b)| a.output_index == b.output_index);
        let is_done = |index: &u64| {
            done.binary_search_by_key(index, |done| done.output_index)
                .is_ok()
        };
        if twice || !self.named.iter().all(is_done) {
            return Err(ConversionError::Content);
        }
        let mut items = Vec::new();
        let mut parser = sse::Parser::new();
        let mut read = Ok(());
        parser.feed(stream, |event| {
            if read.is_ok() {
                read = done_item(&event).map(|item| items.extend(item));
            }
        });
        read?;
        Ok(in_order(items))
    }
}

/// The item of an event that has a whole one, and its place.
fn done_item(event: &sse::Event<'_>) -> Result<Option<(u64, Value)>, ConversionError> {
    if event.data == DONE {
        return Ok(None);
    }
    let data: Data<'_> = scan::parse_object(event.data).map_err(|_| ConversionError::Malformed)?;
    if !matches!(data.kind(event), Kind::ItemDone) {
        return Ok(None);
    }
    let item = tree::parse(event.data)?.remove("item");
    Ok(Some((
        data.output_index.unwrap_or(0),
        item.ok_or(ConversionError::Malformed)?,
    )))
}

/// The response in the data of the last event.
fn response(data: &[u8]) -> Result<Object, ConversionError> {
    let mut data = tree::parse(data)?;
    let response = data.remove("response");
    let is_known = |name: &String| {
        matches!(
            name.as_str(),
            "type" | "sequence_number" | "obfuscation" | "error"
        )
    };
    if !data.keys().all(is_known) {
        return Err(ConversionError::UnknownMember);
    }
    match response {
        Some(Value::Object(response)) => Ok(response),
        _ => Err(ConversionError::Malformed),
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

impl Data<'_> {
    fn kind(&self, event: &sse::Event<'_>) -> Kind {
        match (self.r#type, str::from_utf8(event.event)) {
            (Kind::None, Ok(name)) => Kind::of(name),
            (kind, _) => kind,
        }
    }
}

#[derive(Default)]
struct Item<'a> {
    r#type: Content<'a>,
    id: Content<'a>,
}

read_members!(Item<'a>: r#type as "type", id);

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
