//! Cloudflare Workers AI by its own REST API.
//!
//! Source: developers.cloudflare.com/workers-ai and the provider in github.com/cloudflare/ai.
//! `POST /client/v4/accounts/{account}/ai/run/{model}` answers
//! `{result: {response, tool_calls?, usage}, success, errors, messages}`, and streams
//! `data: {"response":"piece","p":"padding"}`, at last with the usage, then `data: [DONE]`. Newer
//! models put a chat completion in `result` and stream its chunks as they are.
//!
//! Most models name no finish, in either form. A JSON answer ends with its last brace; a stream
//! without a finish may have been given up before `[DONE]`, so that its end is not marked.

mod convert;

use super::anew::{Attribution, CHAT_CALL_IDS, CallId, OPENAI_ATTRIBUTION};
use super::fields::{self, Content, Said, read_members};
use super::finish::Reason;
use super::judge::{Document, EventJudge, Events};
use super::openai_chat::whole::{Choice, Choices, ToolCall, ToolCalls, known};
use super::semantics::{OPENAI_TOKENS, Says, Semantics};
use super::usage;
use super::{
    ConversionError, Finish, FinishWords, Form, Framing, Judge, Listener, NotWhole, Protocol,
    RequestTraits, Unfit, Verdict,
};
use super::{events, json_or_sse, memory, number_member, openai_chat};
use crate::json::Canonical;
use crate::sse::Event;

/// `POST .../ai/run/{model}`, and the same behind Cloudflare's AI Gateway.
pub(super) struct WorkersAi;

impl Protocol for WorkersAi {
    fn name(&self) -> &'static str {
        "workers_ai"
    }

    fn owns(&self, path: &[u8]) -> bool {
        [&b"/ai/run/"[..], b"/workers-ai/@"]
            .iter()
            .any(|part| memchr::memmem::find(path, part).is_some())
    }

    fn chooses_form(&self, _path: &[u8], name: &str, value: &[u8]) -> bool {
        openai_chat::chooses_form(name, value)
    }

    fn attribution(&self) -> &'static [Attribution] {
        OPENAI_ATTRIBUTION
    }

    fn call_ids(&self) -> &'static [CallId] {
        CHAT_CALL_IDS
    }

    fn read(&self, _path: &[u8], body: Option<&Canonical>) -> Result<RequestTraits, Unfit> {
        let Some(body) = body else {
            return Ok(RequestTraits::unreadable());
        };
        Ok(RequestTraits {
            form: Some(openai_chat::form(body)?),
            choices: 1,
            temperature: number_member(body, "temperature"),
            server_tools: false,
        })
    }

    fn framing(&self, _ask: &RequestTraits, media_type: &str) -> Option<Framing> {
        json_or_sse(media_type)
    }

    fn judge_by(
        &self,
        _ask: &RequestTraits,
        framing: Framing,
        words: &FinishWords,
    ) -> Box<dyn Judge> {
        let words = words.clone();
        match framing {
            Framing::Json => Box::new(Document(move |json: &[u8]| judge(json, &words))),
            _ => Box::new(Events::new(Stream {
                choices: Choices::new(&words),
                words,
                ..Stream::default()
            })),
        }
    }

    fn join(&self, stream: &[u8], _form: &Form) -> Result<Vec<u8>, ConversionError> {
        convert::join(stream)
    }

    fn split(&self, json: &[u8], wanted: &Form) -> Result<Vec<u8>, ConversionError> {
        let max_bytes = memory::max_stream(json.len(), self.max_growth());
        convert::split(json, wanted, max_bytes)
    }

    /// Workers AI sends its usage unasked: all of its streams are of one form.
    fn restream(
        &self,
        stream: &[u8],
        _stored: &Form,
        wanted: &Form,
    ) -> Result<Vec<u8>, ConversionError> {
        match wanted.options.is_empty() || convert::has_usage(stream)? {
            true => Ok(stream.to_vec()),
            false => Err(ConversionError::NoUsage),
        }
    }

    fn zero_usage(&self, answer: &[u8], form: &Form) -> Result<Vec<u8>, ConversionError> {
        if form.framing != Framing::Json {
            return openai_chat::zero_usage(answer, form);
        }
        let of_result = openai_chat::USAGES.map(|usage| format!("/result{usage}"));
        usage::zero_document(answer, &of_result.each_ref().map(String::as_str))
    }

    fn semantics(&self) -> &'static Semantics {
        &SEMANTICS
    }
}

/// A JSON answer, as far as the judge looks.
#[derive(Default)]
struct Envelope<'a> {
    result: Option<Piece<'a>>,
    success: bool,
    errors: Said,
    error: Said,
}

read_members!(Envelope<'a>: result, success, errors, error);

/// What a model says, whole or in part.
#[derive(Default)]
struct Piece<'a> {
    response: Content<'a>,
    tool_calls: Vec<ToolCall<'a>>,
    finish_reason: Reason<'a>,
    /// The chat completions of newer models, and their chunks.
    choices: Vec<Choice<'a>>,
    /// Embeddings.
    data: Said,
    /// Transcripts.
    text: Said,
    translated_text: Said,
    summary: Said,
    usage: Said,
    error: Said,
    errors: Said,
    detail: Said,
    message: Said,
    code: Said,
}

read_members!(Piece<'a>:
    response, tool_calls, finish_reason, choices, data, text, translated_text, summary, usage,
    error, errors, detail, message, code
);

impl Piece<'_> {
    fn errs(&self) -> bool {
        let in_its_place = self.detail.0 || self.message.0 || self.code.0;
        self.error.0
            || self.errors.0
            || self.choices.iter().any(Choice::errs)
            || in_its_place && !self.says() && self.choices.is_empty() && !self.usage.0
    }

    fn says(&self) -> bool {
        self.response.is_said()
            || !self.tool_calls.is_empty()
            || [&self.data, &self.text, &self.translated_text, &self.summary]
                .iter()
                .any(|member| member.0)
    }
}

/// Judges a JSON answer.
fn judge(json: &[u8], words: &FinishWords) -> Result<Verdict, NotWhole> {
    let envelope: Envelope<'_> = fields::parse_object(json)?;
    if !envelope.success || envelope.errors.0 || envelope.error.0 {
        return Err(NotWhole::Error);
    }
    let result = envelope.result.ok_or(NotWhole::Choices)?;
    if result.errs() {
        return Err(NotWhole::Error);
    }
    if !result.choices.is_empty() {
        let mut choices = Choices::new(words);
        for choice in &result.choices {
            choices.take_whole(choice)?;
        }
        return choices.answer(1, true);
    }
    result
        .tool_calls
        .iter()
        .try_for_each(ToolCall::check_whole)?;
    Ok(Verdict {
        finish: (result.finish_reason.finish(known, words)?).unwrap_or(Finish::Complete),
        empty: !result.says(),
        marked_end: true,
    })
}

/// Judges a stream: of pieces, or of chunks of a chat completion.
#[derive(Debug, Default)]
struct Stream {
    words: FinishWords,
    choices: Choices,
    tool_calls: ToolCalls,
    finish: Option<Finish>,
    said: bool,
    done: bool,
}

impl EventJudge for Stream {
    fn event(&mut self, event: &Event<'_>, listener: Listener<'_>) -> Result<(), NotWhole> {
        if event.event == b"error" {
            return Err(NotWhole::Error);
        }
        if event.data == events::DONE {
            self.done = true;
            return Ok(());
        }
        let piece: Piece<'_> = fields::parse_object(event.data)?;
        if piece.errs() {
            return Err(NotWhole::Error);
        }
        if self.done {
            return Err(NotWhole::AfterEnd);
        }
        for choice in &piece.choices {
            self.choices.take_piece(choice)?;
            choice.tell(listener);
        }
        for call in &piece.tool_calls {
            self.tool_calls.take(call)?;
        }
        if let Some(finish) = piece.finish_reason.finish(known, &self.words)? {
            self.finish = Some(self.finish.map_or(finish, |old| old.worse(finish)));
        }
        self.said |= piece.says();
        if let Some(text) = piece.response.as_str() {
            listener(0, text);
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.done
    }

    fn held_bytes(&self) -> usize {
        let calls = self.tool_calls.held_bytes();
        calls.saturating_add(self.choices.held_bytes())
    }

    fn finish(&self) -> Result<Verdict, NotWhole> {
        if !self.choices.is_empty() {
            // Not both.
            if self.said {
                return Err(NotWhole::Malformed);
            }
            return self.choices.answer(1, self.done);
        }
        self.tool_calls.check()?;
        Ok(Verdict {
            finish: self.finish.unwrap_or(Finish::Complete),
            empty: !self.said,
            marked_end: self.done && self.finish.is_some(),
        })
    }
}

static SEMANTICS: Semantics = Semantics {
    said: &[
        ("/result/choices/*", openai_chat::CHOICE),
        (
            "/result",
            &[
                // An object where the request names a schema.
                Says::Value("/response"),
                Says::Calls("/tool_calls/*", "/name", &["/arguments"]),
                Says::Calls("/tool_calls/*", "/function/name", &["/function/arguments"]),
                Says::Value("/finish_reason"),
                Says::Value("/data"),
                Says::Value("/text"),
                Says::Value("/translated_text"),
                Says::Value("/summary"),
            ],
        ),
    ],
    usage: &["/usage", "/result/usage"],
    tokens: OPENAI_TOKENS,
    usage_event: openai_chat::USAGE_EVENT,
};

#[cfg(test)]
mod tests;
