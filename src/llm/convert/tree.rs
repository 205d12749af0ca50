//! JSON as a tree: taking objects apart member by member, so that what is left over is known, and
//! building them.

use serde_json::{Map, Value};

use super::ConversionError;
use crate::json;

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// The object that a JSON text is.
///
/// # Errors
/// If it is not an object.
pub(crate) fn parse(json: &[u8]) -> Result<Object, ConversionError> {
    into_object(json::parse(json).map_err(|_| ConversionError::Malformed)?)
}

/// The object that a value is.
///
/// # Errors
/// If it is not an object.
pub(crate) fn into_object(value: Value) -> Result<Object, ConversionError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(ConversionError::Malformed),
    }
}

/// As [`into_object`], of a borrowed value.
pub(crate) fn as_object(value: &Value) -> Result<&Object, ConversionError> {
    value.as_object().ok_or(ConversionError::Malformed)
}

/// The compact text of a JSON value.
pub(crate) fn to_json(
    value: &(impl serde::Serialize + ?Sized),
) -> Result<Vec<u8>, ConversionError> {
    serde_json::to_vec(value).map_err(|_| ConversionError::Malformed)
}

/// The same, as a text.
pub(crate) fn to_text(value: &impl serde::Serialize) -> Result<String, ConversionError> {
    serde_json::to_string(value).map_err(|_| ConversionError::Malformed)
}

/// Appends a JSON value.
pub(crate) fn push_json(
    out: &mut Vec<u8>,
    value: &(impl serde::Serialize + ?Sized),
) -> Result<(), ConversionError> {
    serde_json::to_writer(out, value).map_err(|_| ConversionError::Malformed)
}

/// An object of these members.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in members {
        set(&mut object, name, value);
    }
    object
}

/// An object of those of these members that are there.
pub(crate) fn object_of_some<const N: usize>(
    members: [(&str, Option<Value>); N],
) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in members {
        set_some(&mut object, name, value);
    }
    object
}

/// An object of all these members. Not `collect`, which sorts them with code of its own for each
/// type of iterator.
pub(crate) fn collect(members: &mut dyn Iterator<Item = (String, Value)>) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in members {
        object.insert(name, value);
    }
    object
}

/// Sets a member.
pub(crate) fn set(object: &mut Map<String, Value>, name: &str, value: Value) {
    object.insert(name.to_owned(), value);
}

/// Sets a member, if there is a value.
pub(crate) fn set_some(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        set(object, name, value);
    }
}

/// What stands at these indexes, in their order. Equal ones stay as they are.
pub(crate) fn in_order(mut indexed: Vec<(u64, Value)>) -> Vec<Value> {
    let positions = positions_in_order(&mut indexed.iter().map(|(index, _)| Some(*index)));
    let value = |position: usize| indexed.get_mut(position).map(|(_, value)| value.take());
    positions.into_iter().filter_map(value).collect()
}

/// The places of these indexes, in their order, first of those that have none. Equal ones stay as
/// they are. Of positions and not of values, because each type that is sorted adds code.
pub(crate) fn positions_in_order(indexes: &mut dyn Iterator<Item = Option<u64>>) -> Vec<usize> {
    let mut placed: Vec<_> = indexes.zip(0..).collect();
    placed.sort_unstable();
    placed.into_iter().map(|(_, position)| position).collect()
}

/// Takes a member that must be a string.
pub(crate) fn take_string(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<String, ConversionError> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(ConversionError::Malformed),
    }
}

/// Takes a member that must be an object.
pub(crate) fn take_object(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<Map<String, Value>, ConversionError> {
    into_object(members.remove(name).unwrap_or_default())
}

/// Takes a member that must be a count.
pub(crate) fn take_count(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<u64, ConversionError> {
    let count = members.remove(name);
    count
        .as_ref()
        .and_then(Value::as_u64)
        .ok_or(ConversionError::Malformed)
}

/// Nothing is left that would be lost.
pub(crate) fn nothing_else(members: &Map<String, Value>) -> Result<(), ConversionError> {
    if members.is_empty() {
        Ok(())
    } else {
        Err(ConversionError::UnknownMember)
    }
}

/// Null, `""`, `[]` and `{}` say nothing.
pub(crate) fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether nothing in a value says anything, such as `{"data":"","expires_at":0}`.
pub(crate) fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(items) => items.iter().all(says_nothing),
        Value::Object(members) => members.values().all(says_nothing),
        Value::Null | Value::String(_) => is_blank(value),
    }
}
