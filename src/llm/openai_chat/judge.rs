//! Whether a completion is whole: chat completions, and the older text completions, whose choices
//! hold `text` instead of a message.

use crate::json::{Malformed, Read, Reader};
use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::judge::framings::{EventJudge, StreamJudge};
use crate::llm::judge::held::{list_bytes, text_bytes};
use crate::llm::judge::{DONE, arguments};
use crate::llm::scan::{self, Arguments, Content, Said, Text, TextOrParts, read_members};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};
use crate::sse::Event;
use crate::steps;

/// As many choices as OpenAI gives. Each piece is looked up among them, and an upstream chooses
/// how many there are, so that more would cost time and memory without bound.
pub(super) const MAX_CHOICES: usize = 128;

/// As many tools as a request to OpenAI may name, and so more calls in one choice than are made.
pub(super) const MAX_TOOL_CALLS: usize = 128;

/// Of `finish_reason`. Gateways hand on the words of the APIs behind them, in capitals or not. `error`,
/// `abort`, `insufficient_system_resource` and new words are unknown on purpose.
pub(in crate::llm) const FINISH_REASONS: Vocabulary = Vocabulary {
    complete: &[
        "stop",
        "tool_calls",
        "function_call",
        // Together, vLLM.
        "eos",
        // Hugging Face, watsonx.
        "eos_token",
        // Anthropic.
        "stop_sequence",
        "end_turn",
        "tool_use",
        // Cohere.
        "complete",
        "tool_call",
        // Baidu.
        "normal",
    ],
    length: &[
        "length",
        "max_tokens",
        "max_output_tokens",
        "model_context_window_exceeded",
        // Mistral.
        "model_length",
        // watsonx.
        "token_limit",
    ],
    filtered: &[
        "content_filter",
        // Anthropic.
        "refusal",
        // Gemini.
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        // Zhipu.
        "sensitive",
        // Bedrock.
        "content_filtered",
        "guardrail_intervened",
    ],
    in_any_case: true,
    ..Vocabulary::EMPTY
};

/// A completion and a chunk of one, as far as the judge looks.
#[derive(Default)]
struct Completion<'a> {
    error: Said,
    errors: Said,
    /// `error`, or `chat.completion.done` in the last chunk of a stream of Perplexity's.
    object: Text<'a>,
    choices: Option<Vec<Choice<'a>>>,
    usage: Reported,
    /// Of what frameworks and gateways say in place of a completion.
    detail: Said,
    message: Said,
    code: Said,
}

read_members!(Completion<'a>: error, errors, object, choices, usage, detail, message, code);

#[derive(Default)]
pub(in crate::llm) struct Choice<'a> {
    index: Option<u64>,
    finish_reason: Reason<'a>,
    /// In chunks.
    delta: Delta<'a>,
    /// In whole completions. Perplexity's chunks have one as well, of all that came so far.
    message: Message<'a>,
    /// In text completions and their chunks.
    text: Text<'a>,
    error: Said,
}

read_members!(Choice<'a>: index, finish_reason, delta, message, text, error);

/// Azure leaves it out of chunks of its filters; OpenAI's clients raise on null.
#[derive(Default)]
struct Delta<'a>(Message<'a>);

impl<'a> Read<'a> for Delta<'a> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'{') => self.0.read(json),
            _ => Err(Malformed),
        }
    }
}

#[derive(Default)]
struct Message<'a> {
    content: TextOrParts<'a>,
    refusal: Text<'a>,
    reasoning_content: TextOrParts<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    function_call: Option<Function<'a>>,
    audio: Said,
    images: Said,
}

read_members!(Message<'a>:
    content, refusal, reasoning_content, tool_calls, function_call, audio, images
);

/// A tool call or a piece of one. A custom tool's input is free text, which nothing checks.
#[derive(Default)]
pub(in crate::llm) struct ToolCall<'a> {
    index: Option<u64>,
    id: Content<'a>,
    function: Function<'a>,
}

read_members!(ToolCall<'a>: index, id, function);

#[derive(Default)]
struct Function<'a> {
    name: Text<'a>,
    arguments: Arguments<'a>,
}

read_members!(Function<'a>: name, arguments);

/// Whether usage is reported: an object with something in it.
#[derive(Clone, Copy, Default)]
struct Reported(bool);

impl<'a> Read<'a> for Reported {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.peek() != Some(b'{') {
            return json.skip();
        }
        json.each_member(&mut |_, json| {
            self.0 = true;
            json.skip()
        })
    }
}

impl<'a> Completion<'a> {
    /// # Errors
    /// If it holds an error in any of the places where providers put one.
    fn parse(json: &'a [u8]) -> Result<Self, NotWhole> {
        let completion: Self = scan::parse_object(json)?;
        let errs = completion.error.0
            || completion.errors.0
            || completion.object.is("error")
            || completion.choices().iter().any(Choice::errs);
        if errs {
            return Err(NotWhole::Error);
        }
        if completion.choices().is_empty() && !completion.usage.0 {
            if completion.detail.0 || completion.message.0 || completion.code.0 {
                return Err(NotWhole::Error);
            }
            if completion.choices.is_none() {
                return Err(NotWhole::Malformed);
            }
        }
        Ok(completion)
    }

    fn choices(&self) -> &[Choice<'a>] {
        self.choices.as_deref().unwrap_or_default()
    }
}

/// The tool calls of one choice, whose arguments come in pieces: at most as much as was fed.
#[derive(Debug, Default)]
pub(in crate::llm) struct ToolCalls {
    calls: Vec<CallState>,
    held: usize,
}

#[derive(Debug)]
struct CallState {
    index: Option<u64>,
    id: String,
    arguments: String,
}

impl ToolCalls {
    /// Adds a piece. It belongs to the call of its index; where it has none, to the one of its id;
    /// where it has neither, to the last. Gemini gives all calls index 0, so that another id is
    /// another call.
    pub(in crate::llm) fn take(&mut self, piece: &ToolCall<'_>) -> Result<(), NotWhole> {
        let id = piece.id.as_str().unwrap_or_default();
        let same_id = |call: &CallState| id.is_empty() || call.id.is_empty() || call.id == id;
        let position = match piece.index {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.index == piece.index && same_id(call)),
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().rposition(|call| call.id == id),
        };
        let listed = list_bytes(&self.calls);
        let call = match position {
            Some(position) => self
                .calls
                .get_mut(position)
                .ok_or(NotWhole::ToolArguments)?,
            None if self.calls.len() >= MAX_TOOL_CALLS => return Err(NotWhole::ToolArguments),
            None => self.calls.push_mut(CallState {
                index: piece.index,
                id: String::new(),
                arguments: String::new(),
            }),
        };
        let held = call.held_bytes();
        if call.id.is_empty() {
            call.id.push_str(id);
        }
        // Arguments that are not text have been parsed already.
        call.arguments
            .push_str(piece.function.arguments.as_str().unwrap_or_default());
        let grown = call.held_bytes().saturating_sub(held);
        let listed = list_bytes(&self.calls).saturating_sub(listed);
        self.held = self.held.saturating_add(grown).saturating_add(listed);
        Ok(())
    }

    pub(in crate::llm) fn held_bytes(&self) -> usize {
        self.held
    }

    /// Whether the arguments of every call parse.
    pub(in crate::llm) fn check(&self) -> Result<(), NotWhole> {
        self.calls
            .iter()
            .try_for_each(|call| check_arguments(&call.arguments))
    }
}

impl CallState {
    fn held_bytes(&self) -> usize {
        text_bytes(&self.id).saturating_add(text_bytes(&self.arguments))
    }
}

impl ToolCall<'_> {
    /// Checks the arguments of a call that is not a piece of one.
    pub(in crate::llm) fn check_whole(&self) -> Result<(), NotWhole> {
        check_arguments(self.function.arguments.as_str().unwrap_or_default())
    }
}

/// Some servers write white space for a call without arguments.
fn check_arguments(arguments: &str) -> Result<(), NotWhole> {
    match arguments.trim_ascii().is_empty() {
        true => Ok(()),
        false => arguments::check(arguments),
    }
}

/// What is known of one choice so far.
#[derive(Debug, Default)]
struct ChoiceState {
    index: u64,
    finish: Option<Finish>,
    refused: bool,
    said: bool,
    tool_calls: ToolCalls,
    /// The arguments of `function_call`, which came before tools.
    arguments: String,
}

impl ChoiceState {
    fn held_bytes(&self) -> usize {
        self.tool_calls
            .held_bytes()
            .saturating_add(text_bytes(&self.arguments))
    }
}

/// The choices seen so far.
#[derive(Debug, Default)]
pub(in crate::llm) struct Choices {
    choices: Vec<ChoiceState>,
    /// What the choices hold.
    held: usize,
    words: FinishWords,
}

impl Choices {
    pub(in crate::llm) fn new(words: FinishWords) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    /// Takes a choice of a chunk.
    pub(in crate::llm) fn take_piece(&mut self, choice: &Choice<'_>) -> Result<(), NotWhole> {
        let delta = &choice.delta.0;
        let state = self.take(choice, delta)?;
        let held = state.held_bytes();
        for call in &delta.tool_calls {
            state.tool_calls.take(call)?;
        }
        if let Some(arguments) = function_arguments(delta) {
            state.arguments.push_str(arguments);
        }
        let grown = state.held_bytes().saturating_sub(held);
        self.held = self.held.saturating_add(grown);
        Ok(())
    }

    /// See [`Judge::held_bytes`](crate::llm::Judge::held_bytes).
    pub(in crate::llm) fn held_bytes(&self) -> usize {
        list_bytes(&self.choices).saturating_add(self.held)
    }

    /// Takes a choice of a whole completion.
    pub(in crate::llm) fn take_whole(&mut self, choice: &Choice<'_>) -> Result<(), NotWhole> {
        self.take(choice, &choice.message)?;
        let calls = &choice.message.tool_calls;
        calls.iter().try_for_each(ToolCall::check_whole)?;
        function_arguments(&choice.message).map_or(Ok(()), check_arguments)
    }

    fn take(
        &mut self,
        choice: &Choice<'_>,
        message: &Message<'_>,
    ) -> Result<&mut ChoiceState, NotWhole> {
        let index = choice.index.unwrap_or(0);
        steps::take(self.choices.len());
        let state = match self.choices.iter().position(|state| state.index == index) {
            Some(position) => self.choices.get_mut(position).ok_or(NotWhole::Choices)?,
            None if self.choices.len() >= MAX_CHOICES => return Err(NotWhole::Choices),
            None => self.choices.push_mut(ChoiceState {
                index,
                ..ChoiceState::default()
            }),
        };
        state.refused |= message.refusal.is_said();
        state.said |= message.content.is_said()
            || choice.text.is_said()
            || message.refusal.is_said()
            || !message.tool_calls.is_empty()
            || message.function_call.is_some()
            || message.audio.0
            || message.images.0;
        // OpenRouter sends a null after the finish, with the usage: it takes nothing back.
        if let Some(finish) = choice.finish_reason.finish(&FINISH_REASONS, &self.words)? {
            state.finish = Some(finish.worst(state.finish));
        }
        Ok(state)
    }

    /// `marked` is whether the API's end marker was there.
    pub(in crate::llm) fn answer(&self, expected: u32, marked: bool) -> Result<Verdict, NotWhole> {
        if self.choices.is_empty() || !self.are_all_there(expected) {
            return Err(NotWhole::Choices);
        }
        for state in &self.choices {
            state.tool_calls.check()?;
            check_arguments(&state.arguments)?;
        }
        let finish = |state: &ChoiceState| {
            let finish = state.finish.unwrap_or(Finish::Complete);
            if state.refused {
                finish.worse(Finish::Filtered)
            } else {
                finish
            }
        };
        Ok(Verdict {
            finish: self
                .choices
                .iter()
                .map(finish)
                .fold(Finish::Complete, Finish::worse),
            empty: self.choices.iter().any(|state| !state.said),
            marked_end: marked && self.choices.iter().all(|state| state.finish.is_some()),
        })
    }

    pub(in crate::llm) fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    fn are_all_there(&self, expected: u32) -> bool {
        let has = |index| self.choices.iter().any(|state| state.index == index);
        (0..u64::from(expected)).all(has)
    }

    /// Whether there are as many as expected, and all are finished.
    fn are_finished(&self, expected: u32) -> bool {
        let mut choices = self.choices.iter();
        !self.choices.is_empty()
            && choices.all(|state| state.finish.is_some())
            && self.are_all_there(expected)
    }

    /// Of a document that reports usage: what says something is finished, even where it does not
    /// say why (Snowflake). A document cannot be cut without anybody seeing it.
    fn settle(&mut self) {
        for state in self.choices.iter_mut().filter(|state| state.said) {
            state.finish = state.finish.or(Some(Finish::Complete));
        }
    }
}

fn function_arguments<'m>(message: &'m Message<'_>) -> Option<&'m str> {
    message.function_call.as_ref()?.arguments.as_str()
}

impl Choice<'_> {
    pub(in crate::llm) fn errs(&self) -> bool {
        self.error.0
    }

    /// Tells the text that this piece adds.
    pub(in crate::llm) fn tell(&self, listener: Listener<'_>) {
        let texts = [self.delta.0.content.as_str(), self.text.as_str()];
        for text in texts.into_iter().flatten() {
            listener(self.index.unwrap_or(0), text);
        }
    }
}

/// Judges a whole completion. White space around it is fine: DeepSeek sends blank lines first, to
/// keep the connection alive.
pub(super) fn judge(
    json: &[u8],
    expected_choices: u32,
    words: &FinishWords,
) -> Result<Verdict, NotWhole> {
    let completion = Completion::parse(json)?;
    let mut choices = Choices::new(words.clone());
    for choice in completion.choices() {
        choices.take_whole(choice)?;
    }
    if completion.usage.0 {
        choices.settle();
    }
    choices.answer(expected_choices, true)
}

/// Judges a stream of chunks.
#[derive(Debug)]
pub(super) struct Stream {
    expected: Expected,
    choices: Choices,
    end: End,
}

/// How many choices there will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Exactly(u32),
    /// The request could not be read, so that more may be to come.
    AtLeast(u32),
}

/// How far a stream is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Something is missing.
    ToCome,
    /// Every choice has finished, and the usage came with the last finish or after it: whole, also
    /// for those that never send the end marker (Perplexity, GPUStack). Other chunks may follow.
    Finished,
    /// The end marker has come: `[DONE]`, or the last chunk of Perplexity's.
    Marked,
}

impl Stream {
    pub(super) fn new(expected: Expected, words: FinishWords) -> Self {
        Self {
            expected,
            choices: Choices::new(words),
            end: End::ToCome,
        }
    }

    fn take(&mut self, chunk: &Completion<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        for choice in chunk.choices() {
            self.choices.take_piece(choice)?;
            choice.tell(listener);
        }
        let is_finished = || match self.expected {
            Expected::Exactly(count) => self.choices.are_finished(count),
            Expected::AtLeast(_) => false,
        };
        if chunk.object.is("chat.completion.done") {
            self.end = End::Marked;
        } else if chunk.usage.0 && is_finished() {
            self.end = End::Finished;
        } else if !chunk.choices().is_empty() {
            self.end = End::ToCome;
        }
        Ok(())
    }
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.event == b"error" {
            return Err(NotWhole::Error);
        }
        if event.data == DONE {
            self.end = End::Marked;
            return Ok(());
        }
        let chunk = Completion::parse(event.data)?;
        match self.end {
            End::ToCome | End::Finished => self.take(&chunk, listener),
            // Usage, and nothing else: clients that stop at the end marker do not need it.
            End::Marked if chunk.choices().is_empty() && chunk.usage.0 => Ok(()),
            End::Marked => Err(NotWhole::AfterEnd),
        }
    }
}

impl StreamJudge for Stream {
    fn is_over(&self) -> bool {
        self.end == End::Marked
    }

    fn held_bytes(&self) -> usize {
        self.choices.held_bytes()
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        let (Expected::Exactly(count) | Expected::AtLeast(count)) = self.expected;
        self.choices.answer(count, self.end != End::ToCome)
    }
}
