//! Judging an answer as it passes.

pub(crate) mod arguments;
pub(crate) mod finish;
pub(crate) mod framings;
pub(crate) mod held;
pub(crate) mod model;
pub(crate) mod not_whole;
pub(crate) mod stutter;

use finish::Finish;
pub use not_whole::NotWhole;

/// The end marker of OpenAI and its like, as an event's data.
pub(crate) const DONE: &[u8] = b"[DONE]";

/// What a judge says of a whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The worst finish of its choices.
    pub finish: Finish,
    /// Whether it says anything at all.
    pub empty: bool,
    /// Whether the API's end marker and every finish reason were there.
    pub marked_end: bool,
}

impl Verdict {
    /// The verdict on a complete answer whose end is marked.
    pub(crate) const fn complete(empty: bool) -> Self {
        Self {
            finish: Finish::Complete,
            empty,
            marked_end: true,
        }
    }

    /// The verdict on an answer whose finish alone marks its end.
    pub(crate) fn ended_by(finish: Option<Finish>, empty: bool) -> Self {
        Self {
            finish: finish.unwrap_or(Finish::Complete),
            empty,
            marked_end: finish.is_some(),
        }
    }
}

/// Hears each piece of text that a stream adds to a choice: the choice's index and the text, as
/// the client would append it. Reasoning, tool calls and whole documents are not heard.
pub type Listener<'l> = &'l mut dyn FnMut(u64, &str);

/// Judges one answer as it passes.
pub trait Judge {
    /// Takes the next bytes of the answer, in order and cut anywhere.
    ///
    /// # Errors
    /// As soon as the answer cannot be whole any more. Later bytes do not change that.
    fn feed(&mut self, chunk: &[u8], listener: Listener<'_>) -> Result<(), NotWhole>;

    /// Whether the API's end marker has come, after which nothing belongs to the answer any more.
    fn is_over(&self) -> bool {
        false
    }

    /// How many bytes it has allocated for what it was fed. Takes constant time.
    fn held_bytes(&self) -> usize;

    /// Gives the verdict at the answer's end. `whole` is all that was fed.
    ///
    /// # Errors
    /// Why the answer is not whole.
    fn finish(self: Box<Self>, whole: &[u8]) -> Result<Verdict, NotWhole>;
}
