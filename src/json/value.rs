//! Reading whole JSON texts as values.

use std::fmt;

use serde_json::{Map, Value};

use super::MAX_DEPTH;
use super::reader::{Malformed, Read, Reader};

/// Where a text ceases to be JSON, or nests deeper than [`MAX_DEPTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson {
    line: usize,
    column: usize,
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column } = self;
        write!(f, "it is no JSON at line {line}, column {column}")
    }
}

/// The value that a JSON text is. Of a name that occurs twice in an object, the last counts; a
/// number stays as it is written.
///
/// # Errors
/// If it is not JSON, holds a string that no UTF-8 can, or nests deeper than [`MAX_DEPTH`].
pub fn parse(text: &[u8]) -> Result<Value, NotJson> {
    let mut json = Reader::new(text);
    let value = value(&mut json, MAX_DEPTH);
    value
        .and_then(|value| json.end().map(|()| value))
        .map_err(|Malformed| {
            let read = text.len().saturating_sub(json.rest().len());
            let mut lines = text.get(..read).unwrap_or_default().split(|b| *b == b'\n');
            let last = lines.next_back().unwrap_or_default();
            NotJson {
                line: lines.count().saturating_add(1),
                column: last.len().saturating_add(1),
            }
        })
}

fn value(json: &mut Reader<'_>, depth: usize) -> Result<Value, Malformed> {
    Ok(match json.peek() {
        Some(b'"') => Value::String(json.string()?.into_owned()),
        Some(b'{') => {
            let depth = depth.checked_sub(1).ok_or(Malformed)?;
            let mut members = Map::new();
            json.each_member(&mut |name, json| {
                let value = value(json, depth)?;
                members.insert(name.to_owned(), value);
                Ok(())
            })?;
            Value::Object(members)
        }
        Some(b'[') => {
            let depth = depth.checked_sub(1).ok_or(Malformed)?;
            let mut elements = Vec::new();
            json.each_element(&mut |json| {
                elements.push(value(json, depth)?);
                Ok(())
            })?;
            Value::Array(elements)
        }
        Some(b't' | b'f') => {
            let mut flag = false;
            flag.read(json)?;
            Value::Bool(flag)
        }
        Some(b'n') => {
            json.null()?;
            Value::Null
        }
        _ => Value::Number(json.number()?.parse().map_err(|_| Malformed)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_serde_json_reads() {
        for json in [
            " null ",
            "[true,false]",
            r#"{"b":[1,-0.50,1e5,2E-3,12345678901234567890123],"a":{},"b":[[],"\u00e9\n😀"]}"#,
            "\"\"",
            "-0",
            "{\"a\":1,}",
            "[1,]",
            "[1}",
            "01",
            "tru",
            "{} {}",
            r#""\ud800""#,
            "\"\n\"",
            "",
        ] {
            let expected = serde_json::from_str(json).ok();
            assert_eq!(parse(json.as_bytes()).ok(), expected, "{json}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(parse("{\"a\":".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn an_error_says_where() {
        let place = |json: &str| parse(json.as_bytes()).unwrap_err();
        let (line, column) = (1, 6);
        assert_eq!(place("{\"a\" 1}"), NotJson { line, column });
        let (line, column) = (3, 3);
        assert_eq!(place("{\n\"a\":\n  x}"), NotJson { line, column });
        let (line, column) = (2, 1);
        assert_eq!(place("{}\n{}"), NotJson { line, column });
    }
}
