//! Taking JSON objects apart member by member, so that what is left over is known, and building
//! them.

use serde_json::{Map, Value};

use super::Lossy;

/// An object of these members.
pub(super) fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let named = |(name, value): (&str, Value)| (name.to_owned(), value);
    members.into_iter().map(named).collect()
}

/// Takes a member that must be a string.
pub(super) fn take_string(members: &mut Map<String, Value>, name: &str) -> Result<String, Lossy> {
    match members.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Lossy::Malformed),
    }
}

/// Takes a member that must be an object.
pub(super) fn take_object(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<Map<String, Value>, Lossy> {
    match members.remove(name) {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(Lossy::Malformed),
    }
}

/// Takes a member that must be a count.
pub(super) fn take_count(members: &mut Map<String, Value>, name: &str) -> Result<u64, Lossy> {
    let count = members.remove(name);
    count
        .as_ref()
        .and_then(Value::as_u64)
        .ok_or(Lossy::Malformed)
}

/// Nothing is left that would be lost.
pub(super) fn nothing_else(members: &Map<String, Value>) -> Result<(), Lossy> {
    if members.is_empty() {
        Ok(())
    } else {
        Err(Lossy::UnknownMember)
    }
}
