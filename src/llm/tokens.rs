//! The tokens that answers report, in whatever form: APIs differ in where an answer has its usage
//! ([`Facts::usage`](super::Facts::usage)), and in the names of its counts, which stand here.
//!
//! Some APIs count what came from the provider's own cache of prompts among the input (OpenAI,
//! Gemini, DeepSeek), others beside it (Anthropic, Bedrock). Here it is always beside it.

use memchr::memmem;

use crate::json::{Malformed, Read, Reader};
use crate::llm::{Form, documents};

/// The tokens of one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt, without those that the provider had cached.
    pub input: u64,
    /// Of the prompt, read from the provider's own cache.
    pub cached_input: u64,
    /// Of what was made of it, reasoning included.
    pub output: u64,
}

impl Tokens {
    /// All of them.
    pub fn total(self) -> u64 {
        let input = self.input.saturating_add(self.cached_input);
        input.saturating_add(self.output)
    }
}

/// What a count in a usage stands for.
#[derive(Clone, Copy)]
enum Counted {
    /// The prompt, with what was cached.
    Prompt,
    /// What belongs to the prompt and is counted beside it: images, what tools of the provider added.
    MorePrompt,
    /// The prompt, without what is counted as [`Counted::CacheRead`].
    Input,
    /// What was cached, as a part of the prompt.
    Cached,
    /// What was cached, beside the input.
    CacheRead,
    /// What the provider has put into its cache, beside the input.
    CacheWrite,
    Output,
    /// Reasoning, beside the output.
    Thoughts,
    /// All of them.
    Total,
}

const COUNTS: [(&str, Counted); 32] = [
    ("prompt_tokens", Counted::Prompt),
    ("completion_tokens", Counted::Output),
    ("total_tokens", Counted::Total),
    ("input_tokens", Counted::Input),
    ("output_tokens", Counted::Output),
    ("cached_tokens", Counted::Cached),
    ("prompt_cache_hit_tokens", Counted::Cached),
    ("cache_read_input_tokens", Counted::CacheRead),
    ("cache_creation_input_tokens", Counted::CacheWrite),
    ("image_tokens", Counted::MorePrompt),
    ("promptTokenCount", Counted::Prompt),
    ("toolUsePromptTokenCount", Counted::MorePrompt),
    ("cachedContentTokenCount", Counted::Cached),
    ("candidatesTokenCount", Counted::Output),
    ("thoughtsTokenCount", Counted::Thoughts),
    ("totalTokenCount", Counted::Total),
    ("prompt_eval_count", Counted::Prompt),
    ("eval_count", Counted::Output),
    ("inputTokens", Counted::Input),
    ("outputTokens", Counted::Output),
    ("totalTokens", Counted::Total),
    ("cacheReadInputTokens", Counted::CacheRead),
    ("cacheWriteInputTokens", Counted::CacheWrite),
    ("inputTokenCount", Counted::Input),
    ("outputTokenCount", Counted::Output),
    ("cacheReadInputTokenCount", Counted::CacheRead),
    ("cacheWriteInputTokenCount", Counted::CacheWrite),
    ("inputTextTokenCount", Counted::Prompt),
    ("totalOutputTextTokenCount", Counted::Output),
    ("tokenCount", Counted::Output),
    ("prompt_token_count", Counted::Prompt),
    ("generation_token_count", Counted::Output),
];

/// Objects in a usage, and lists of them, that hold counts as well.
const PARTS: [&str; 4] = [
    "tokens",
    "prompt_tokens_details",
    "input_tokens_details",
    "results",
];

/// The object in Cohere's usage that tells what is billed, which counts where nothing else does.
const BILLED: &str = "billed_units";

/// Part of every name of a count: documents without these are not read.
const HINTS: [&[u8]; 2] = [b"oken", b"eval_count"];

/// The tokens that an answer reports; of what it reports again and again, the last counts. `None` where
/// it reports none, or cannot be read. `usages` leads to the objects that report them, as
/// [`Facts::usage`](super::Facts::usage).
pub(super) fn reported(answer: &[u8], form: &Form, usages: &[&str]) -> Option<Tokens> {
    let mut usage = Usage::default();
    let mut look = |document: &[u8]| {
        let hinted = HINTS
            .iter()
            .any(|hint| memmem::find(document, hint).is_some());
        if hinted {
            // What was read before a fault counts: the judge has seen the answer, or will.
            let _read = Reader::whole(
                document,
                &mut Document {
                    usage: &mut usage,
                    usages,
                },
            );
        }
    };
    // Of a stream that breaks off, what was read before that counts as well.
    let _whole = documents::each(answer, form.framing, &mut look);
    usage.tokens()
}

/// A document of an answer, of which only the counts are kept.
struct Document<'u> {
    usage: &'u mut Usage,
    usages: &'u [&'u str],
}

impl<'a> Read<'a> for Document<'_> {
    fn read(&mut self, json: &mut Reader<'a>) -> Result<(), Malformed> {
        let Self { usage, usages } = self;
        if json.peek() != Some(b'{') {
            return json.skip();
        }
        let is_usage = usages.contains(&"");
        json.each_member(&mut |name, json| {
            let inner: Vec<&str> = usages
                .iter()
                .filter_map(|usage| usage.strip_prefix('/')?.strip_prefix(name))
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
                .collect();
            match inner.is_empty() {
                true if is_usage => usage.member(name, json),
                true => json.skip(),
                false => Document {
                    usage,
                    usages: &inner,
                }
                .read(json),
            }
        })
    }
}

/// The last of each count that was reported.
#[derive(Default)]
struct Usage {
    counts: Counts,
    billed: Counts,
}

#[derive(Default)]
struct Counts([Option<u64>; 9]);

impl Usage {
    fn member(&mut self, name: &str, json: &mut Reader<'_>) -> Result<(), Malformed> {
        match json.peek() {
            Some(b'{') if name == BILLED => {
                json.each_member(&mut |name, json| self.billed.member(name, json))
            }
            Some(b'{') if PARTS.contains(&name) => {
                json.each_member(&mut |name, json| self.counts.member(name, json))
            }
            Some(b'[') if PARTS.contains(&name) => {
                json.each_element(&mut |json| match json.peek() {
                    Some(b'{') => {
                        json.each_member(&mut |name, json| self.counts.member(name, json))
                    }
                    _ => json.skip(),
                })
            }
            _ => self.counts.member(name, json),
        }
    }

    fn tokens(&self) -> Option<Tokens> {
        self.counts.tokens().or_else(|| self.billed.tokens())
    }
}

impl Counts {
    fn member(&mut self, name: &str, json: &mut Reader<'_>) -> Result<(), Malformed> {
        let counted = COUNTS.iter().find(|(known, _)| *known == name);
        let (Some((_, counted)), Some(b'0'..=b'9')) = (counted, json.peek()) else {
            return json.skip();
        };
        let number = json.number()?;
        // Cohere has them with a fraction of zero.
        let whole = number.strip_suffix(".0").unwrap_or(number);
        if let (Ok(count), Some(place)) = (whole.parse(), self.0.get_mut(*counted as usize)) {
            *place = Some(count);
        }
        Ok(())
    }

    fn get(&self, counted: Counted) -> Option<u64> {
        self.0.get(counted as usize).copied().flatten()
    }

    fn tokens(&self) -> Option<Tokens> {
        let or_zero = |counted| self.get(counted).unwrap_or(0);
        let (prompt, input, total) = (
            self.get(Counted::Prompt),
            self.get(Counted::Input),
            self.get(Counted::Total),
        );
        let output = self.get(Counted::Output);
        let more = self.get(Counted::MorePrompt);
        prompt.or(input).or(more).or(total).or(output)?;
        let (included, beside) = (self.get(Counted::Cached), self.get(Counted::CacheRead));
        let new = match (prompt, included) {
            // Gateways that speak OpenAI's language count what Anthropic had cached among the prompt.
            (Some(prompt), _) => {
                let cached = included.or(beside).unwrap_or(0);
                prompt.saturating_sub(cached)
            }
            (None, Some(included)) => input.unwrap_or(0).saturating_sub(included),
            (None, None) => {
                let written = or_zero(Counted::CacheWrite);
                input.unwrap_or(0).saturating_add(written)
            }
        };
        let mut tokens = Tokens {
            input: new.saturating_add(more.unwrap_or(0)),
            cached_input: included.or(beside).unwrap_or(0),
            output: output
                .unwrap_or(0)
                .saturating_add(or_zero(Counted::Thoughts)),
        };
        if let Some(total) = total {
            let rest = total.saturating_sub(tokens.total());
            match (prompt.or(input), output) {
                // Those who rank and embed report nothing else.
                (None, _) => tokens.input = tokens.input.saturating_add(rest),
                (Some(_), None) => tokens.output = tokens.output.saturating_add(rest),
                (Some(_), Some(_)) => {}
            }
        }
        Some(tokens)
    }
}

#[cfg(test)]
mod tests;
