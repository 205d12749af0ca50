//! Whether a stream of version 1 is whole.

use super::super::judge::{FINISH_REASONS, Response};
use crate::llm::judge::finish::Reason;
use crate::llm::judge::framings::{DocumentJudge, StreamJudge};
use crate::llm::scan::{self, Said, Text, read_members, read_word};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    None,
    Text,
    End,
    Other,
}

read_word!(Kind, Kind::None, |word| match word {
    "text-generation" => Kind::Text,
    "stream-end" => Kind::End,
    _ => Kind::Other,
});

#[derive(Default)]
struct Line<'a> {
    event_type: Kind,
    error: Said,
    text: Text<'a>,
    finish_reason: Reason<'a>,
    response: Option<Response<'a>>,
}

read_members!(Line<'a>: event_type, error, text, finish_reason, response);

/// The stream so far.
#[derive(Debug, Default)]
pub(in crate::llm) struct Stream {
    words: FinishWords,
    any: bool,
    said: bool,
    end: Option<Verdict>,
}

impl Stream {
    pub(in crate::llm) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }
}

impl DocumentJudge for Stream {
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        let line: Line<'_> = scan::parse_object(json)?;
        if line.error.0 {
            return Err(NotWhole::Error);
        }
        if self.end.is_some() {
            return Err(NotWhole::AfterEnd);
        }
        self.any = true;
        match line.event_type {
            Kind::None => return Err(NotWhole::Malformed),
            Kind::Other => {}
            Kind::Text => {
                self.said |= line.text.is_said();
                if let Some(text) = line.text.as_str() {
                    listener(0, text);
                }
            }
            Kind::End => {
                let answer = line.response.ok_or(NotWhole::Malformed)?;
                let answer = answer.judge(1, &self.words)?;
                let finish = line.finish_reason.finish(&FINISH_REASONS, &self.words)?;
                self.end = Some(Verdict {
                    finish: answer.finish.worse(finish.unwrap_or(Finish::Complete)),
                    empty: answer.empty,
                    marked_end: answer.marked_end || finish.is_some(),
                });
            }
        }
        Ok(())
    }
}

impl StreamJudge for Stream {
    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        match self.end {
            Some(answer) => Ok(answer),
            None if self.any => Ok(Verdict {
                finish: Finish::Complete,
                empty: !self.said,
                marked_end: false,
            }),
            None => Err(NotWhole::Choices),
        }
    }
}
