//! How answers end, in the words of their APIs and in those that a configuration adds.

use std::borrow::Cow;
use std::rc::Rc;

use super::not_whole::NotWhole;
use crate::json::{Malformed, Read, Reader};

/// How an answer came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Complete,
    /// A limit on tokens cut it off.
    Length,
    /// A filter or a refusal replaced it.
    Filtered,
}

impl Finish {
    /// The worse of this one and an earlier one.
    pub(crate) fn worst(self, earlier: Option<Self>) -> Self {
        earlier.map_or(self, |earlier| earlier.worse(self))
    }

    /// The one that says less for an answer.
    pub(crate) fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Filtered, _) | (_, Self::Filtered) => Self::Filtered,
            (Self::Length, _) | (_, Self::Length) => Self::Length,
            (Self::Complete, Self::Complete) => Self::Complete,
        }
    }
}

/// The meaning of finish words that the API's own judge does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishWords {
    /// These, as they are written, and no others.
    Listed(Rc<[(Box<str>, Finish)]>),
    /// Any word is a complete answer: of one that is stored, and so was judged.
    Any,
}

impl Default for FinishWords {
    fn default() -> Self {
        Self::Listed(Rc::default())
    }
}

impl FinishWords {
    fn finish(&self, word: &str) -> Option<Finish> {
        match self {
            Self::Listed(words) => words
                .iter()
                .find(|(listed, _)| **listed == *word)
                .map(|(_, finish)| *finish),
            Self::Any => Some(Finish::Complete),
        }
    }
}

/// The finish words of an API, by their meaning.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) complete: &'static [&'static str],
    pub(crate) length: &'static [&'static str],
    pub(crate) filtered: &'static [&'static str],
    /// Something failed.
    pub(crate) error: &'static [&'static str],
    /// The rest is still to come.
    pub(crate) unfinished: &'static [&'static str],
    /// Whether words are compared without regard to case.
    pub(crate) in_any_case: bool,
}

impl Vocabulary {
    /// Without any word.
    pub(crate) const EMPTY: Self = Self {
        complete: &[],
        length: &[],
        filtered: &[],
        error: &[],
        unfinished: &[],
        in_any_case: false,
    };

    fn meaning(&self, word: &str) -> Result<Finish, NotWhole> {
        let is = |listed: &&str| match self.in_any_case {
            true => word.eq_ignore_ascii_case(listed),
            false => word == *listed,
        };
        for (words, meaning) in [
            (self.complete, Ok(Finish::Complete)),
            (self.length, Ok(Finish::Length)),
            (self.filtered, Ok(Finish::Filtered)),
            (self.error, Err(NotWhole::Error)),
            (self.unfinished, Err(NotWhole::Unfinished)),
        ] {
            if words.iter().any(is) {
                return meaning;
            }
        }
        Err(NotWhole::UnknownFinish)
    }
}

/// Why an answer ended, as it says itself. Absent, null and `""` say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reason<'a>(Option<Cow<'a, str>>);

impl<'a> Reason<'a> {
    /// This word; `""` says nothing.
    pub(crate) fn of_word(word: impl Into<Cow<'a, str>>) -> Self {
        Self(Some(word.into()).filter(|word| !word.is_empty()))
    }

    /// Whether it says anything.
    pub(crate) fn is_said(&self) -> bool {
        self.0.is_some()
    }

    /// What it means, in the API's own words or else in those of a configuration.
    pub(crate) fn finish(
        &self,
        vocabulary: &Vocabulary,
        words: &FinishWords,
    ) -> Result<Option<Finish>, NotWhole> {
        let Some(word) = &self.0 else {
            return Ok(None);
        };
        match vocabulary.meaning(word) {
            Err(NotWhole::UnknownFinish) => words.finish(word).ok_or(NotWhole::UnknownFinish),
            meaning => meaning,
        }
        .map(Some)
    }
}

impl<'a> Read<'a> for Reason<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        *self = match json.null()? {
            true => Self(None),
            false => Self::of_word(json.string()?),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: Vocabulary = Vocabulary {
        complete: &["stop"],
        unfinished: &["paused"],
        ..Vocabulary::EMPTY
    };

    fn finish(json: &str, words: &FinishWords) -> Result<Option<Finish>, NotWhole> {
        let mut reason = Reason::default();
        Reader::whole(json.as_bytes(), &mut reason).map_err(|Malformed| NotWhole::Malformed)?;
        reason.finish(&VOCABULARY, words)
    }

    #[test]
    fn a_word_means_what_its_api_says_and_otherwise_what_is_listed() {
        let none = FinishWords::default();
        let listed = [("stop", Finish::Length), ("fin", Finish::Filtered)];
        let listed = listed.map(|(word, finish)| (word.into(), finish));
        let listed = FinishWords::Listed(listed.into());
        for (json, words, expected) in [
            ("null", &none, Ok(None)),
            (r#""""#, &FinishWords::Any, Ok(None)),
            (r#""stop""#, &listed, Ok(Some(Finish::Complete))),
            (r#""fin""#, &listed, Ok(Some(Finish::Filtered))),
            (r#""Fin""#, &listed, Err(NotWhole::UnknownFinish)),
            (r#""fin""#, &none, Err(NotWhole::UnknownFinish)),
            (r#""fin""#, &FinishWords::Any, Ok(Some(Finish::Complete))),
            (r#""paused""#, &FinishWords::Any, Err(NotWhole::Unfinished)),
            ("1", &FinishWords::Any, Err(NotWhole::Malformed)),
        ] {
            assert_eq!(finish(json, words), expected, "{json} by {words:?}");
        }
    }
}
