//! How much memory it takes to take an answer apart.
//!
//! The memory of a JSON tree depends on the number of values, not on the length of the text: the seven
//! bytes `{"":0},` take fifty times as many. This file counts the bytes that may begin values,
//! also those in strings: arguments of tool calls are JSON in strings, and are parsed as well.

use serde_json::Value;

/// What the smallest piece of memory takes of an allocator.
const PIECE: usize = 4 * size_of::<usize>();

/// A node of a map, which has room for eleven members.
const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + PIECE;

/// Its name, its value, and its share of the further nodes of a map, which are half full at worst.
const MEMBER: usize = NODE / 5 + 2 * PIECE;

/// A list begins with room for four, and has three times what it needs while it grows.
const LIST: usize = 4 * size_of::<Value>() + PIECE;
const ELEMENT: usize = 3 * size_of::<Value>() + PIECE;

/// An escape such as `\u007b` in arguments may be what begins an object.
const ESCAPE: usize = NODE / 6;

/// The texts in an answer, as many times as they are held at one time: in pieces, joined, and
/// written.
const TEXTS: usize = 8;

/// The most bytes that taking an answer apart, and writing it as it is, holds at one time beside
/// the answer.
pub(crate) fn bytes(answer: &[u8]) -> usize {
    let values = answer.iter().fold(0_usize, |bytes, byte| {
        bytes.saturating_add(match byte {
            b'{' => NODE,
            b':' => MEMBER,
            b'[' => LIST,
            b',' => ELEMENT,
            b'\\' => ESCAPE,
            _ => 0,
        })
    });
    values.saturating_add(answer.len().saturating_mul(TEXTS))
}

/// What every conversion may add to the length of an answer: names and ids that short pieces repeat.
const SHORT: usize = 64 << 10;

/// The longest stream that an answer of that length may become, where it repeats what it says at
/// most `times` times. One that is longer costs more at every hit than the answer is worth.
pub(crate) fn max_stream(answer: usize, times: usize) -> usize {
    answer.saturating_mul(times).saturating_add(SHORT)
}
