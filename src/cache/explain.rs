//! What a key is made of, as short digests that can be held against those of another request.

use std::fmt::Write as _;
use std::mem;

use highway::{HighwayHash, HighwayHasher, Key};

/// A longer explanation ends here.
const MAX_BYTES: usize = 2_048;

/// More parts than these are not told.
const MAX_PARTS: usize = 64;

/// Names of members at the top of requests, which say nothing of a client. Others are its own
/// choice, and told as digests.
const MEMBERS: [&str; 60] = [
    "anthropic_version",
    "cachedContent",
    "contents",
    "conversation",
    "dimensions",
    "documents",
    "encoding_format",
    "format",
    "frequency_penalty",
    "functions",
    "generationConfig",
    "include",
    "inferenceConfig",
    "input",
    "inputText",
    "instructions",
    "keep_alive",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "n",
    "options",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "safetySettings",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "system",
    "systemInstruction",
    "temperature",
    "text",
    "texts",
    "thinking",
    "toolConfig",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "verbosity",
    "web_search_options",
];

/// The word for a member at the top of a request, of its canonical name, if an API knows it.
pub fn known_member(name: &[u8]) -> Option<&'static str> {
    let plain = name.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let known = MEMBERS.iter().find(|known| known.as_bytes() == plain);
    known.copied()
}

/// A part of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// What the configuration says of keys; all of it is one part.
    Settings,
    /// One that every request has.
    Own(&'static str),
    /// A header of one of the lists.
    Header(&'a str),
    /// A member of the body, by its name in JSON.
    Member(&'a [u8]),
}

/// Takes the parts of a key while the key is made of them.
#[derive(Debug)]
pub struct Explanation {
    secret: [u64; 4],
    text: String,
    parts: usize,
    settings: HighwayHasher,
    /// The part that is being fed, if that is not the settings.
    current: Option<HighwayHasher>,
}

impl Explanation {
    /// `secret` keys the digests, so that values cannot be guessed from them. Two explanations can be
    /// compared if they were made with the same secret.
    pub fn new(secret: [u64; 4]) -> Self {
        Self {
            secret,
            text: String::new(),
            parts: 0,
            settings: HighwayHasher::new(Key(secret)),
            current: None,
        }
    }

    /// What is fed from here on is of this part.
    pub(super) fn begin(&mut self, part: Part<'_>) {
        self.end();
        let mut name = match part {
            Part::Settings => return,
            Part::Own(name) => name.to_owned(),
            Part::Header(name) => format!("header.{name}"),
            Part::Member(name) => self.member(name),
        };
        name.push('=');
        self.parts = self.parts.saturating_add(1);
        // Room for the digest, the settings and the sign that there is more.
        let needed = name.len().saturating_add(40);
        if self.parts < MAX_PARTS && self.text.len().saturating_add(needed) <= MAX_BYTES {
            self.text.push_str(&name);
            self.current = Some(HighwayHasher::new(Key(self.secret)));
        } else {
            self.parts = MAX_PARTS;
            // Its bytes go nowhere.
            self.current = Some(HighwayHasher::default());
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.current
            .as_mut()
            .unwrap_or(&mut self.settings)
            .append(bytes);
    }

    fn member(&self, name: &[u8]) -> String {
        match known_member(name) {
            Some(known) => format!("body.{known}"),
            None => {
                let mut hasher = HighwayHasher::new(Key(self.secret));
                hasher.append(name);
                format!("body.~{}", short(hasher))
            }
        }
    }

    fn end(&mut self) {
        if let Some(hasher) = self.current.take()
            && self.parts < MAX_PARTS
        {
            self.text.push_str(&short(hasher));
            self.text.push_str(", ");
        }
    }

    /// `name=digest, name=digest`, with `...` at its end where not all parts are told.
    pub fn finish(mut self) -> String {
        self.end();
        let settings = mem::take(&mut self.settings);
        // Writing to a string does not fail.
        let _ok = write!(self.text, "settings={}", short(settings));
        if self.parts >= MAX_PARTS {
            self.text.push_str(", ...");
        }
        self.text
    }
}

/// Four bytes: enough to tell two values apart, and too few to stand for one.
fn short(hasher: HighwayHasher) -> String {
    let [a, b, c, d, ..] = hasher.finalize64().to_le_bytes();
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}
