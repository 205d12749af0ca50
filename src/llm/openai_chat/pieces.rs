//! Members of a whole message that are put together from the pieces of a stream.

use serde_json::Value;

use crate::llm::ConversionError;
use crate::llm::convert::tree::{Object, is_blank};

/// Keeps a member that has one value, or the last of several.
pub(super) fn keep(
    members: &mut Object,
    name: String,
    value: Value,
    last_counts: bool,
) -> Result<(), ConversionError> {
    // Azure's first chunk was made at 0.
    let blank = is_blank(&value) || (name == "created" && value.as_u64() == Some(0));
    let kept = members.entry(name).or_insert(Value::Null);
    if kept.is_null() || (!blank && (last_counts || is_blank(kept))) {
        *kept = value;
        Ok(())
    } else if blank || *kept == value {
        Ok(())
    } else {
        Err(ConversionError::UnknownMember)
    }
}

/// Keeps the last value that says anything.
pub(super) fn keep_last(kept: &mut Value, value: Value) {
    if kept.is_null() || !is_blank(&value) {
        *kept = value;
    }
}

pub(super) fn append_member(
    members: &mut Object,
    name: String,
    piece: Value,
) -> Result<(), ConversionError> {
    match (members.entry(name).or_insert(Value::Null), piece) {
        (_, Value::Null) => Ok(()),
        (none @ Value::Null, piece @ Value::String(_)) => {
            *none = piece;
            Ok(())
        }
        (Value::String(text), piece) => append(text, &piece),
        _ => Err(ConversionError::Malformed),
    }
}

pub(super) fn append_items(
    members: &mut Object,
    name: String,
    mut items: Vec<Value>,
) -> Result<(), ConversionError> {
    let kept = members.entry(name).or_insert(Value::Null);
    if kept.is_null() {
        *kept = Value::Array(Vec::new());
    }
    kept.as_array_mut()
        .ok_or(ConversionError::Malformed)?
        .append(&mut items);
    Ok(())
}

pub(super) fn append(text: &mut String, piece: &Value) -> Result<(), ConversionError> {
    match piece {
        Value::Null => Ok(()),
        Value::String(piece) => {
            text.push_str(piece);
            Ok(())
        }
        _ => Err(ConversionError::Malformed),
    }
}
