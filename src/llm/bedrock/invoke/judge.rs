//! Whether an answer of `InvokeModel` is whole, in the terms of the model that gave it.
//!
//! Source: the Bedrock user guide, "Inference request parameters and response fields for foundation
//! models", and "Using the Invoke API" of Amazon Nova. The name in the path may be that of an
//! inference profile or of a deployment, so that the members of an answer tell which model gave it. These
//! are known:
//! - Anthropic's messages,
//! - Nova's, which are those of `Converse`; in a stream, each in an object with the event's name,
//! - texts that say why they ended: Titan's (`results`, `completionReason`), those of Cohere's Command
//!   (`generations`, `finish_reason`), Meta's (`generation`, `stop_reason`), Mistral's (`outputs`),
//! - the chats of Cohere's Command R, which are those of Cohere's version 1,
//! - embeddings of Titan, Cohere and Nova.
//!
//! Whether another model's answer is whole cannot be told.

use super::super::converse::judge as converse;
use super::super::{BEDROCK_PREFIX, CHUNK, native};
use crate::json::{Malformed, Read, Reader, canonicalize};
use crate::llm::anthropic_messages::judge::{self as anthropic, Guardrail, with_guardrail};
use crate::llm::cohere::judge::{self as cohere, Embeddings};
use crate::llm::cohere::v1;
use crate::llm::judge::finish::{Reason, Vocabulary};
use crate::llm::judge::framings::{DocumentJudge, MessageJudge, StreamJudge};
use crate::llm::openai_embeddings::judge::Vector;
use crate::llm::scan::{self, Content, Said, read_members};
use crate::llm::{Finish, FinishWords, Listener, NotWhole, Verdict};

/// More samples in one answer than any model gives.
const MAX_SAMPLES: usize = 64;

const WHOLE: Verdict = Verdict::complete(false);

/// An answer, or an event of a stream, as far as it tells which model gave it.
#[derive(Default)]
struct Native<'a> {
    /// Anthropic's.
    r#type: Said,
    /// Nova's.
    output: Said,
    message_start: Said,
    /// Cohere's chat.
    event_type: Said,
    /// Titan's, Cohere's and Mistral's samples.
    results: Vec<Text<'a>>,
    generations: Vec<Text<'a>>,
    outputs: Vec<Text<'a>>,
    embedding: Option<Vector>,
    /// Of the same vector, in the types that were asked for.
    embeddings_by_type: Said,
    embeddings: Option<Embeddings>,
    guardrail: Guardrail,
    /// What went wrong with an embedding of Titan's.
    message: Said,
}

read_members!(Native<'a>:
    r#type as "type", output, message_start as "messageStart", event_type, results, generations,
    outputs, embedding, embeddings_by_type as "embeddingsByType", embeddings,
    guardrail as "amazon-bedrock-guardrailAction", message
);

impl<'a> Native<'a> {
    fn samples(&self) -> impl Iterator<Item = &Text<'a>> {
        (self.results.iter())
            .chain(&self.generations)
            .chain(&self.outputs)
    }
}

/// A text or a piece of one, and why it ended.
#[derive(Default)]
struct Text<'a> {
    text: Content<'a>,
    output_text: Content<'a>,
    generation: Content<'a>,
    index: Index,
    finish_reason: Reason<'a>,
    completion_reason: Reason<'a>,
    stop_reason: Reason<'a>,
}

read_members!(Text<'a>:
    text, output_text as "outputText", generation, index, finish_reason,
    completion_reason as "completionReason", stop_reason
);

impl Text<'_> {
    fn text(&self) -> Option<&str> {
        [&self.text, &self.output_text, &self.generation]
            .into_iter()
            .find_map(Content::as_str)
    }

    fn says(&self) -> bool {
        self.text().is_some_and(|text| !text.is_empty())
    }

    fn finish(&self, words: &FinishWords) -> Result<Option<Finish>, NotWhole> {
        let reasons = [
            &self.finish_reason,
            &self.completion_reason,
            &self.stop_reason,
        ];
        let said = reasons.into_iter().find(|reason| reason.is_said());
        said.map_or(Ok(None), |reason| reason.finish(&REASONS, words))
    }
}

/// Which sample a piece belongs to; with a guardrail, Titan's is written as `0.0`.
#[derive(Clone, Copy, Debug, Default)]
struct Index(Option<u64>);

impl<'a> Read<'a> for Index {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        if json.null()? {
            return Ok(());
        }
        let number = json.number()?;
        let number = number.strip_suffix(".0").unwrap_or(number);
        self.0 = Some(number.parse().map_err(|_| Malformed)?);
        Ok(())
    }
}

/// Of the reasons of texts.
const REASONS: Vocabulary = Vocabulary {
    complete: &[
        "FINISH",
        "FINISHED",
        "STOP_CRITERIA_MET",
        "COMPLETE",
        "stop",
    ],
    length: &["LENGTH", "MAX_TOKENS", "length"],
    filtered: &["CONTENT_FILTERED", "ERROR_TOXIC"],
    error: &["ERROR", "ERROR_LIMIT"],
    ..Vocabulary::EMPTY
};

/// Judges the answer of `InvokeModel`.
pub(in crate::llm::bedrock) fn judge(
    json: &[u8],
    expected: u32,
    words: &FinishWords,
) -> Result<Verdict, NotWhole> {
    let native: Native<'_> = scan::parse_object(json)?;
    if native.r#type.0 {
        return anthropic::judge(json, words);
    }
    let answer = if native.output.0 {
        converse::judge(json, words)?
    } else if native.samples().next().is_some() {
        judge_samples(&native, expected, words)?
    } else if let Some(embeddings) = &native.embeddings {
        embeddings.judge(expected)?
    } else if native.embedding.is_some() || native.embeddings_by_type.0 {
        if native.message.0 {
            return Err(NotWhole::Error);
        }
        WHOLE
    } else {
        judge_text(json, words)?
    };
    Ok(Verdict {
        finish: with_guardrail(Some(answer.finish), native.guardrail),
        ..answer
    })
}

fn judge_samples(
    native: &Native<'_>,
    expected: u32,
    words: &FinishWords,
) -> Result<Verdict, NotWhole> {
    let count = native.samples().count();
    if count > MAX_SAMPLES || u32::try_from(count).is_ok_and(|count| count < expected) {
        return Err(NotWhole::Choices);
    }
    let mut answer = WHOLE;
    for sample in native.samples() {
        let finish = sample.finish(words)?;
        answer.finish = answer.finish.worse(finish.unwrap_or(Finish::Complete));
        answer.empty |= !sample.says();
        answer.marked_end &= finish.is_some();
    }
    Ok(answer)
}

/// Of a text that is the whole document, or a chat of Cohere's.
fn judge_text(json: &[u8], words: &FinishWords) -> Result<Verdict, NotWhole> {
    let text: Text<'_> = scan::parse_object(json)?;
    match (&text.generation, &text.text) {
        (Content::Text(_), _) => text
            .finish(words)
            .map(|finish| Verdict::ended_by(finish, !text.says())),
        (_, Content::Text(_)) => cohere::judge(json, 1, words),
        _ => Err(NotWhole::UnknownFinish),
    }
}

/// Judges a stream of `InvokeModelWithResponseStream`.
#[derive(Debug)]
pub(in crate::llm::bedrock) struct Stream {
    expected: u32,
    words: FinishWords,
    guardrail: Guardrail,
    model: Option<Model>,
}

/// The judge for the model that streams.
#[derive(Debug)]
enum Model {
    Anthropic(anthropic::Stream),
    Nova(converse::Stream),
    Cohere(v1::judge::Stream),
    Texts(Texts),
}

impl Stream {
    pub(in crate::llm::bedrock) fn new(expected: u32, words: FinishWords) -> Self {
        Self {
            expected,
            words,
            guardrail: Guardrail::Passed,
            model: None,
        }
    }
}

impl Model {
    /// By the first event of the stream.
    fn of(first: &Native<'_>, json: &[u8], words: &FinishWords) -> Result<Self, NotWhole> {
        if first.r#type.0 {
            Ok(Self::Anthropic(anthropic::Stream::new(words.clone())))
        } else if first.message_start.0 {
            Ok(Self::Nova(converse::Stream::new(words.clone())))
        } else if first.event_type.0 {
            Ok(Self::Cohere(v1::judge::Stream::new(words.clone())))
        } else if first.samples().next().is_some()
            || scan::parse_object::<Text<'_>>(json)?.text().is_some()
        {
            Ok(Self::Texts(Texts::new(words.clone())))
        } else {
            Err(NotWhole::UnknownFinish)
        }
    }
}

impl MessageJudge for Stream {
    fn message(
        &mut self,
        event: &str,
        payload: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        if event != CHUNK {
            return Err(NotWhole::Malformed);
        }
        let json = native(payload).ok_or(NotWhole::Malformed)?;
        std::str::from_utf8(&json).map_err(|_| NotWhole::Malformed)?;
        let native: Native<'_> = scan::parse_object(&json)?;
        if native.guardrail != Guardrail::Passed {
            self.guardrail = native.guardrail;
        }
        let model = match &mut self.model {
            Some(model) => model,
            none => none.insert(Model::of(&native, &json, &self.words)?),
        };
        match model {
            Model::Anthropic(stream) => stream.take(&json, listener),
            Model::Nova(stream) => nova_event(stream, &json, listener),
            Model::Cohere(stream) => stream.document(&json, listener),
            Model::Texts(texts) => texts.take(&native, &json, listener),
        }
    }
}

impl StreamJudge for Stream {
    /// Bedrock's metrics may come in an event of their own, but behind Anthropic's last one.
    fn is_over(&self) -> bool {
        matches!(&self.model, Some(Model::Anthropic(stream)) if stream.is_over())
    }

    fn held_bytes(&self) -> usize {
        match &self.model {
            Some(Model::Anthropic(stream)) => stream.held_bytes(),
            Some(Model::Nova(stream)) => stream.held_bytes(),
            // At most MAX_SAMPLES numbers.
            Some(Model::Cohere(_) | Model::Texts(_)) | None => 0,
        }
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        let answer = match self.model.as_ref().ok_or(NotWhole::Choices)? {
            Model::Anthropic(stream) => stream.finish(),
            Model::Nova(stream) => stream.finish(),
            Model::Cohere(stream) => stream.finish(),
            Model::Texts(texts) => texts.answer(self.expected),
        }?;
        Ok(Verdict {
            finish: with_guardrail(Some(answer.finish), self.guardrail),
            ..answer
        })
    }
}

/// An event of Nova's: an object with its payload under its name, and perhaps what is Bedrock's.
fn nova_event(
    stream: &mut converse::Stream,
    json: &[u8],
    listener: Listener<'_>,
) -> Result<(), NotWhole> {
    let object = canonicalize(json, &[]).map_err(|_| NotWhole::Malformed)?;
    let mut events = object.members().filter_map(|(name, payload)| {
        let name = std::str::from_utf8(name).ok()?.trim_matches('"');
        (!name.starts_with(BEDROCK_PREFIX)).then_some((name, payload))
    });
    match (events.next(), events.next()) {
        (None, _) => Ok(()),
        (Some((name, payload)), None) => stream.message(name, payload, listener),
        (Some(_), Some(_)) => Err(NotWhole::Malformed),
    }
}

/// Texts that come in pieces, the last of which says why it ended.
#[derive(Debug)]
struct Texts {
    texts: Vec<TextState>,
    words: FinishWords,
}

#[derive(Debug)]
struct TextState {
    index: u64,
    said: bool,
    finish: Option<Finish>,
}

impl Texts {
    fn new(words: FinishWords) -> Self {
        let texts = Vec::new();
        Self { texts, words }
    }

    fn take(
        &mut self,
        native: &Native<'_>,
        json: &[u8],
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        if native.samples().next().is_none() {
            let piece: Text<'_> = scan::parse_object(json)?;
            return self.piece(0, &piece, listener);
        }
        let mut samples = (0..).zip(native.samples());
        samples.try_for_each(|(position, piece)| self.piece(position, piece, listener))
    }

    fn piece(
        &mut self,
        position: u64,
        piece: &Text<'_>,
        listener: Listener<'_>,
    ) -> Result<(), NotWhole> {
        let index = piece.index.0.unwrap_or(position);
        let finish = piece.finish(&self.words)?;
        if piece.text().is_none() && finish.is_none() {
            // Bedrock's metrics alone, or something that is no piece of a text.
            let done = self.texts.iter().all(|text| text.finish.is_some());
            return done.then_some(()).ok_or(NotWhole::Malformed);
        }
        let text = match self.texts.iter().position(|text| text.index == index) {
            Some(position) => self.texts.get_mut(position).ok_or(NotWhole::Choices)?,
            None if self.texts.len() >= MAX_SAMPLES => return Err(NotWhole::Choices),
            None => self.texts.push_mut(TextState {
                index,
                said: false,
                finish: None,
            }),
        };
        if text.finish.is_some() {
            return Err(NotWhole::AfterEnd);
        }
        text.said |= piece.says();
        text.finish = finish;
        if let Some(said) = piece.text() {
            listener(index, said);
        }
        Ok(())
    }

    fn answer(&self, expected: u32) -> Result<Verdict, NotWhole> {
        if u32::try_from(self.texts.len()).is_ok_and(|count| count < expected) {
            return Err(NotWhole::Choices);
        }
        let finishes = self.texts.iter().filter_map(|text| text.finish);
        Ok(Verdict {
            finish: finishes.fold(Finish::Complete, Finish::worse),
            empty: self.texts.iter().any(|text| !text.said),
            marked_end: self.texts.iter().all(|text| text.finish.is_some()),
        })
    }
}
