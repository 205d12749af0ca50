//! The events of `ConverseStream` that an answer of `Converse` could have come in.

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::tree::{
    self, Object, nothing_else, object, set_some, take_object, take_string,
};

/// Takes an event's name and its payload.
type Emit<'e> = &'e mut dyn FnMut(&str, &Object) -> Result<(), ConversionError>;

/// Calls `emit` with each event of the answer, in order.
///
/// # Errors
/// What would be lost, or guessed, or what `emit` says.
pub(in crate::llm::bedrock) fn split(
    mut answer: Object,
    emit: Emit<'_>,
) -> Result<(), ConversionError> {
    let mut output = take_object(&mut answer, "output")?;
    let mut message = take_object(&mut output, "message")?;
    let role = message.remove("role").ok_or(ConversionError::Malformed)?;
    let Some(Value::Array(content)) = message.remove("content") else {
        return Err(ConversionError::Malformed);
    };
    nothing_else(&message)?;
    nothing_else(&output)?;
    let stop = take_members(
        &mut answer,
        &["stopReason", "additionalModelResponseFields"],
    );
    // Usage, metrics, and unknown members, which come once.
    let end = answer;
    if !stop.get("stopReason").is_some_and(Value::is_string) {
        return Err(ConversionError::Malformed);
    }
    if !end.get("usage").is_some_and(Value::is_object) {
        return Err(ConversionError::NoUsage);
    }
    emit("messageStart", &object([("role", role)]))?;
    for (index, block) in content.into_iter().enumerate() {
        let block = tree::into_object(block)?;
        split_block(index, block, emit)?;
    }
    emit("messageStop", &stop)?;
    emit("metadata", &end)
}

fn take_members(answer: &mut Object, names: &[&str]) -> Object {
    let mut taken = Object::new();
    for name in names {
        set_some(&mut taken, name, answer.remove(*name));
    }
    taken
}

fn split_block(index: usize, mut block: Object, emit: Emit<'_>) -> Result<(), ConversionError> {
    let mut deltas = Vec::new();
    if block.contains_key("text") {
        deltas.push(("text", Value::String(take_string(&mut block, "text")?)));
    } else if let Some(call) = block.remove("toolUse") {
        let mut call = tree::into_object(call)?;
        let input = take_object(&mut call, "input")?;
        let input = tree::to_text(&input)?;
        let start = object([("toolUse", Value::Object(call))]);
        let start = object([
            ("start", Value::Object(start)),
            ("contentBlockIndex", index.into()),
        ]);
        emit("contentBlockStart", &start)?;
        deltas.push(("toolUse", with("input", Value::String(input))));
    } else if let Some(reasoning) = block.remove("reasoningContent") {
        let mut reasoning = tree::into_object(reasoning)?;
        let mut add = |name, text| deltas.push(("reasoningContent", with(name, text)));
        if reasoning.contains_key("redactedContent") {
            let content = take_string(&mut reasoning, "redactedContent")?;
            add("redactedContent", Value::String(content));
        } else {
            let mut spoken = take_object(&mut reasoning, "reasoningText")?;
            add("text", Value::String(take_string(&mut spoken, "text")?));
            if spoken.contains_key("signature") {
                let signature = take_string(&mut spoken, "signature")?;
                add("signature", Value::String(signature));
            }
            nothing_else(&spoken)?;
        }
        nothing_else(&reasoning)?;
    } else if let Some(cited) = block.remove("citationsContent") {
        split_cited(cited, &mut deltas)?;
    } else {
        return Err(ConversionError::Content);
    }
    nothing_else(&block)?;
    for (name, delta) in deltas {
        let delta = object([
            ("contentBlockIndex", index.into()),
            ("delta", with(name, delta)),
        ]);
        emit("contentBlockDelta", &delta)?;
    }
    emit(
        "contentBlockStop",
        &object([("contentBlockIndex", index.into())]),
    )
}

/// A stream has one cited text. Of several, the ends would be lost.
fn split_cited(cited: Value, deltas: &mut Vec<(&str, Value)>) -> Result<(), ConversionError> {
    let mut cited = tree::into_object(cited)?;
    let (Some(Value::Array(mut texts)), Some(Value::Array(citations))) =
        (cited.remove("content"), cited.remove("citations"))
    else {
        return Err(ConversionError::Content);
    };
    nothing_else(&cited)?;
    let (Some(Value::Object(mut text)), true) = (texts.pop(), texts.is_empty()) else {
        return Err(ConversionError::Content);
    };
    // Without a citation it would come back as a text.
    if citations.is_empty() {
        return Err(ConversionError::Content);
    }
    deltas.push(("text", Value::String(take_string(&mut text, "text")?)));
    nothing_else(&text)?;
    deltas.extend(citations.into_iter().map(|citation| ("citation", citation)));
    Ok(())
}

/// A JSON object of one member.
fn with(name: &str, value: Value) -> Value {
    Value::Object(object([(name, value)]))
}
