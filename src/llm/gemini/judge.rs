//! Whether a response is whole: a document, an array of chunks, or an event stream of them.

use crate::json::{Malformed, Read, Reader};
use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::judge::framings::{DocumentJudge, EventJudge, StreamJudge};
use crate::llm::judge::held::list_bytes;
use crate::llm::scan::{self, ArgumentsObject, Said, Text, read_members};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};
use crate::sse::Event;
use crate::steps;

/// More candidates than the API gives. An answer that claims more is refused, to bound memory.
pub(super) const MAX_CANDIDATES: usize = 128;

/// Of `finishReason`. `MALFORMED_FUNCTION_CALL`, `UNEXPECTED_TOOL_CALL`, `OTHER` and new words are
/// unknown on purpose.
const FINISH_REASONS: Vocabulary = Vocabulary {
    complete: &["STOP"],
    length: &["MAX_TOKENS"],
    filtered: &[
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    ],
    ..Vocabulary::EMPTY
};

/// Why a candidate ended: a word, or with `enum-encoding=int` its number.
#[derive(Clone, Debug, Default)]
struct CandidateReason<'a>(Reason<'a>);

impl<'a> Read<'a> for CandidateReason<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'n' | b'"') => self.0.read(json),
            _ => {
                self.0 = Reason::of_word(word_of(json.number()?));
                Ok(())
            }
        }
    }
}

/// The numbers are those of `FinishReason` in the protocol buffers of the Gemini API and of Vertex AI, as
/// far as they mean the same in both.
fn word_of(number: &str) -> &str {
    match number {
        "0" => "",
        "1" => "STOP",
        "2" => "MAX_TOKENS",
        "3" => "SAFETY",
        "4" => "RECITATION",
        // Language or a block list; a block list or prohibited content; prohibited content or personal
        // data.
        "6" | "7" | "8" => "BLOCKLIST",
        unknown => unknown,
    }
}

/// A `GenerateContentResponse`, whole or a chunk, as far as the judge looks.
#[derive(Default)]
struct Chunk<'a> {
    error: Said,
    errors: Said,
    candidates: Option<Vec<Candidate<'a>>>,
    prompt_feedback: Option<PromptFeedback>,
    usage: Said,
    /// Of `embedContent`.
    embedding: Option<Embedding>,
    /// Of `batchEmbedContents`.
    embeddings: Option<Vec<Embedding>>,
}

read_members!(Chunk<'a>:
    error, errors, candidates, prompt_feedback as "promptFeedback", usage as "usageMetadata",
    embedding, embeddings
);

#[derive(Default)]
struct PromptFeedback {
    block_reason: Said,
    block_reason_message: Said,
}

read_members!(PromptFeedback:
    block_reason as "blockReason", block_reason_message as "blockReasonMessage"
);

#[derive(Default)]
struct Embedding {
    values: Said,
}

read_members!(Embedding: values);

#[derive(Default)]
struct Candidate<'a> {
    /// Left out where it is 0.
    index: Option<u64>,
    finish_reason: CandidateReason<'a>,
    content: Parts<'a>,
}

read_members!(Candidate<'a>: index, finish_reason as "finishReason", content);

#[derive(Default)]
struct Parts<'a> {
    parts: Vec<Part<'a>>,
}

read_members!(Parts<'a>: parts);

#[derive(Default)]
struct Part<'a> {
    text: Text<'a>,
    thought: Said,
    function_call: Option<FunctionCall<'a>>,
    inline_data: Said,
    file_data: Said,
    executable_code: Said,
    code_execution_result: Said,
}

read_members!(Part<'a>:
    text, thought, function_call as "functionCall", inline_data as "inlineData",
    file_data as "fileData", executable_code as "executableCode",
    code_execution_result as "codeExecutionResult"
);

/// Its arguments are an object, or come in pieces: then all but the last say that more will come.
#[derive(Default)]
struct FunctionCall<'a> {
    name: Text<'a>,
    args: ArgumentsObject,
    will_continue: Said,
}

read_members!(FunctionCall<'a>: name, args, will_continue as "willContinue");

impl<'a> Chunk<'a> {
    fn parse(json: &'a [u8]) -> Result<Self, NotWhole> {
        let chunk: Self = scan::parse_object(json)?;
        if chunk.error.0 || chunk.errors.0 {
            return Err(NotWhole::Error);
        }
        // Not a chunk: `{"detail": ...}`, for example.
        let is_none = chunk.candidates.is_none()
            && chunk.prompt_feedback.is_none()
            && !chunk.usage.0
            && chunk.embedding.is_none()
            && chunk.embeddings.is_none();
        match is_none {
            true => Err(NotWhole::Malformed),
            false => Ok(chunk),
        }
    }
}

/// What is known of one candidate so far.
#[derive(Debug, Default)]
struct CandidateState {
    index: u64,
    /// How many chunks of content came before its finish.
    before_finish: u64,
    finish: Option<Finish>,
    /// It went on after its finish, so that no finish of it tells the end: older models say `STOP`
    /// in every chunk.
    went_on: bool,
    said: bool,
    /// The arguments of its last function call are still to come.
    open_call: bool,
    /// It ran code whose result is still to come. Until then a finish does not count.
    open_code: bool,
}

impl CandidateState {
    fn take(&mut self, candidate: &Candidate<'_>, words: &FinishWords) -> Result<(), NotWhole> {
        self.went_on |= self.finish.is_some() && !candidate.content.parts.is_empty();
        for part in &candidate.content.parts {
            let text = part.text.is_said() && !part.thought.0;
            self.said |= text
                || part.function_call.is_some()
                || part.inline_data.0
                || part.file_data.0
                || part.executable_code.0
                || part.code_execution_result.0;
            if let Some(call) = &part.function_call {
                self.open_call = call.will_continue.0;
            }
            self.open_code |= part.executable_code.0;
            self.open_code &= !part.code_execution_result.0;
        }
        match candidate.finish_reason.0.finish(&FINISH_REASONS, words)? {
            Some(Finish::Complete) if self.open_code => {}
            Some(finish) => {
                self.finish = Some(finish.worst(self.finish));
            }
            None => {
                let has_content = !candidate.content.parts.is_empty();
                self.before_finish = (self.before_finish).saturating_add(u64::from(has_content));
            }
        }
        Ok(())
    }
}

/// The answer so far.
#[derive(Debug)]
pub(super) struct Stream {
    expected: u32,
    words: FinishWords,
    candidates: Vec<CandidateState>,
    /// The prompt was refused: there may be no candidate at all.
    blocked: bool,
    /// The last chunk reported usage.
    has_usage: bool,
}

impl Stream {
    pub(super) fn new(expected: u32, words: FinishWords) -> Self {
        Self {
            expected,
            words,
            candidates: Vec::new(),
            blocked: false,
            has_usage: false,
        }
    }

    fn are_all_there(&self) -> bool {
        let has = |index| self.candidates.iter().any(|c| c.index == index);
        !self.candidates.is_empty() && (0..u64::from(self.expected)).all(has)
    }

    fn take(&mut self, chunk: &Chunk<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if let Some(feedback) = &chunk.prompt_feedback {
            self.blocked |= feedback.block_reason.0 || feedback.block_reason_message.0;
        }
        self.has_usage = chunk.usage.0;
        let words = self.words.clone();
        for candidate in chunk.candidates.iter().flatten() {
            let index = candidate.index.unwrap_or(0);
            self.state(index)?.take(candidate, &words)?;
            for part in &candidate.content.parts {
                if let (Some(text), false) = (part.text.as_str(), part.thought.0) {
                    listener(index, text);
                }
            }
        }
        Ok(())
    }

    fn state(&mut self, index: u64) -> Result<&mut CandidateState, NotWhole> {
        steps::take(self.candidates.len());
        match self.candidates.iter().position(|c| c.index == index) {
            Some(position) => self.candidates.get_mut(position).ok_or(NotWhole::Choices),
            None if self.candidates.len() >= MAX_CANDIDATES => Err(NotWhole::Choices),
            None => Ok(self.candidates.push_mut(CandidateState {
                index,
                ..CandidateState::default()
            })),
        }
    }
}

impl DocumentJudge for Stream {
    fn document(&mut self, json: &[u8], listener: Listener<'_>) -> Result<(), NotWhole> {
        self.take(&Chunk::parse(json)?, listener)
    }
}

impl StreamJudge for Stream {
    /// Whether nothing follows. No marker says so, and older models say `STOP` in every chunk, from
    /// the first one on: a finish tells the end where chunks came before it that had none, and
    /// with it the usage, which others send in a chunk of its own.
    fn is_over(&self) -> bool {
        let is_over = |c: &CandidateState| {
            c.finish.is_some() && !c.went_on && c.before_finish > 0 && !c.open_call
        };
        self.has_usage && self.are_all_there() && self.candidates.iter().all(is_over)
    }

    fn held_bytes(&self) -> usize {
        list_bytes(&self.candidates)
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if self.candidates.is_empty() && self.blocked {
            return Ok(Verdict {
                finish: Finish::Filtered,
                empty: true,
                marked_end: true,
            });
        }
        if !self.are_all_there() {
            return Err(NotWhole::Choices);
        }
        if self.candidates.iter().any(|c| c.open_code) {
            return Err(NotWhole::Unfinished);
        }
        if self.candidates.iter().any(|c| c.open_call) {
            return Err(NotWhole::ToolArguments);
        }
        let blocked = if self.blocked {
            Finish::Filtered
        } else {
            Finish::Complete
        };
        Ok(Verdict {
            finish: self
                .candidates
                .iter()
                .filter_map(|c| c.finish)
                .fold(blocked, Finish::worse),
            empty: self.candidates.iter().any(|c| !c.said),
            marked_end: (self.candidates.iter()).all(|c| c.finish.is_some() && !c.went_on),
        })
    }
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.event == b"error" {
            return Err(NotWhole::Error);
        }
        self.document(event.data, listener)
    }

    /// Google's client takes any other line for a piece of an error, which is no JSON then.
    fn needs_plain_data(&self) -> bool {
        true
    }
}

/// Judges a `GenerateContentResponse`, or the answer to a request for embeddings: one for each
/// content.
pub(super) fn judge(json: &[u8], mut stream: Stream) -> Result<Verdict, NotWhole> {
    let chunk = Chunk::parse(json)?;
    if chunk.embedding.is_none() && chunk.embeddings.is_none() {
        stream.take(&chunk, &mut |_, _| {})?;
        return stream.finish();
    }
    let batch = chunk.embeddings.unwrap_or_default();
    let embeddings = || batch.iter().chain(&chunk.embedding);
    if u32::try_from(embeddings().count()) != Ok(stream.expected) {
        return Err(NotWhole::Choices);
    }
    Ok(Verdict::complete(
        embeddings().any(|embedding| !embedding.values.0),
    ))
}
