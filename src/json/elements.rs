//! A JSON array of objects, split into its elements as its bytes come, whatever the chunking.

use memchr::memchr2;

use super::MAX_DEPTH;

/// A push splitter for one array of objects.
///
/// It checks what lies between the elements. Inside them it only follows strings and nesting, so
/// that an element may still prove not to be JSON; but a JSON object is never cut in two, nor two
/// taken for one. It holds the unfinished element, so at most the largest one; it sets no bound of
/// its own, the caller bounds what it feeds. Its work is linear in the bytes fed.
#[derive(Debug, Default)]
pub struct Elements {
    state: State,
    /// The start of an element whose end has not come yet.
    element: Vec<u8>,
}

/// ```text
/// Start --[--> First --{--> Inside --}--> After --,--> Next --{--> Inside
///                \--]--> Ended              \--]--> Ended
/// ```
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Nothing but white space has come.
    #[default]
    Start,
    /// After the array's `[`.
    First,
    Inside(Inside),
    /// After an element.
    After,
    /// After a comma.
    Next,
    /// After the array's `]`.
    Ended,
}

/// A place inside an element.
#[derive(Clone, Copy, Debug)]
struct Inside {
    /// How many arrays and objects are open, the element included.
    levels: usize,
    text: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    String,
    /// After a backslash in a string.
    Escape,
}

/// Why bytes are no JSON array of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotElements {
    /// Something else where `[`, `]`, `,` or an object must be.
    Syntax,
    /// An element nests deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Something other than white space after the array.
    AfterEnd,
}

impl Elements {
    /// A splitter at the first byte of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the text and calls `on_element` for each element they complete, in
    /// order. An element that lies inside `chunk` is lent from it.
    ///
    /// # Errors
    /// As soon as the text cannot be an array of objects any more; nothing may be fed after that.
    pub fn feed(
        &mut self,
        chunk: &[u8],
        mut on_element: impl FnMut(&[u8]),
    ) -> Result<(), NotElements> {
        let mut rest = chunk;
        loop {
            if let State::Inside(inside) = &mut self.state {
                let Some(length) = inside.end(rest)? else {
                    self.element.extend_from_slice(rest);
                    return Ok(());
                };
                let (head, tail) = rest.split_at_checked(length).unwrap_or((rest, b""));
                if self.element.is_empty() {
                    on_element(head);
                } else {
                    self.element.extend_from_slice(head);
                    on_element(&self.element);
                    self.element.clear();
                }
                rest = tail;
                self.state = State::After;
            }
            // Not `trim_ascii_start`, which takes a form feed for white space as well.
            while let [b' ' | b'\t' | b'\n' | b'\r', tail @ ..] = rest {
                rest = tail;
            }
            let Some((byte, tail)) = rest.split_first() else {
                return Ok(());
            };
            self.state = match (self.state, byte) {
                (State::Start, b'[') => State::First,
                (State::First | State::Next, b'{') => State::Inside(Inside::FIRST_BYTE),
                (State::After, b',') => State::Next,
                (State::First | State::After, b']') => State::Ended,
                (State::Ended, _) => return Err(NotElements::AfterEnd),
                _ => return Err(NotElements::Syntax),
            };
            if !matches!(self.state, State::Inside(_)) {
                rest = tail;
            }
        }
    }

    /// How many bytes it has allocated.
    pub fn held_bytes(&self) -> usize {
        self.element.capacity()
    }

    /// Whether the array is closed.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

impl Inside {
    const FIRST_BYTE: Self = Self {
        levels: 0,
        text: Text::Outside,
    };

    /// How many of the next bytes belong to the element, if it ends in them.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, NotElements> {
        let mut rest = bytes;
        loop {
            let next = match self.text {
                Text::Outside => rest
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']')),
                Text::String => memchr2(b'"', b'\\', rest),
                Text::Escape => Some(0),
            };
            let Some(([byte, ..], tail)) =
                next.and_then(|at| Some((rest.get(at..)?, rest.get(at.saturating_add(1)..)?)))
            else {
                return Ok(None);
            };
            rest = tail;
            match (self.text, byte) {
                (Text::Escape, _) => self.text = Text::String,
                (Text::String, b'\\') => self.text = Text::Escape,
                (Text::String, _) => self.text = Text::Outside,
                (Text::Outside, b'"') => self.text = Text::String,
                (Text::Outside, b'{' | b'[') => {
                    self.levels = self.levels.saturating_add(1);
                    if self.levels > MAX_DEPTH {
                        return Err(NotElements::TooDeep);
                    }
                }
                (Text::Outside, _) => {
                    self.levels = self.levels.saturating_sub(1);
                    if self.levels == 0 {
                        return Ok(Some(bytes.len().saturating_sub(rest.len())));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Split = (Vec<String>, Result<bool, NotElements>);

    fn split<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> Split {
        let mut elements = Elements::new();
        let mut seen = Vec::new();
        for chunk in chunks {
            let fed = elements.feed(chunk, |element| {
                seen.push(String::from_utf8_lossy(element).into_owned());
            });
            if let Err(not) = fed {
                return (seen, Err(not));
            }
        }
        (seen, Ok(elements.is_ended()))
    }

    /// Splits `text` whole, at every two-way split and byte by byte.
    fn split_every_way(text: &str) -> Split {
        let bytes = text.as_bytes();
        let whole = split([bytes]);
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(split([head, tail]), whole, "{text} at {at}");
        }
        for size in 1..4 {
            assert_eq!(split(bytes.chunks(size)), whole, "{text} by {size}");
        }
        whole
    }

    #[test]
    fn each_element_is_given_once_as_it_was_written() {
        for (text, elements) in [
            ("[]", &[][..]),
            (" [ ] \r\n", &[]),
            ("[{}]", &["{}"]),
            (
                "[{\"a\": [1,{}]}\n,\r\n{\"é\":\"]}\"} ]\n",
                &["{\"a\": [1,{}]}", "{\"é\":\"]}\"}"],
            ),
            (
                r#"[{"a":"\"}\\"},{"b":"\\\"{"}]"#,
                &[r#"{"a":"\"}\\"}"#, r#"{"b":"\\\"{"}"#],
            ),
        ] {
            let (seen, ended) = split_every_way(text);
            assert_eq!(seen, elements, "{text}");
            assert_eq!(ended, Ok(true), "{text}");
        }
    }

    #[test]
    fn an_array_is_ended_by_its_bracket_and_nothing_else() {
        let text = r#"[{"a":"]"},{"b":[]}]"#;
        for length in 0..text.len() {
            let (_, ended) = split([&text.as_bytes()[..length]]);
            assert_eq!(ended, Ok(false), "{length}");
        }
    }

    #[test]
    fn what_is_no_array_of_objects_is_refused() {
        use NotElements::{AfterEnd, Syntax};
        for (text, not) in [
            ("{}", Syntax),
            ("null", Syntax),
            ("[,{}]", Syntax),
            ("[{},]", Syntax),
            ("[{}{}]", Syntax),
            ("[1]", Syntax),
            ("[[{}]]", Syntax),
            ("[{}} ]", Syntax),
            ("[{}\u{c}]", Syntax),
            ("[{}]]", AfterEnd),
            ("[{}]\n{}", AfterEnd),
        ] {
            assert_eq!(split_every_way(text).1, Err(not), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested =
            |levels: usize| format!("[{}{}]", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(split([nested(MAX_DEPTH).as_bytes()]).1, Ok(true));
        let deeper = nested(MAX_DEPTH + 1);
        assert_eq!(split([deeper.as_bytes()]).1, Err(NotElements::TooDeep));
    }
}
