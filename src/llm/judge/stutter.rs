//! Stuttering: a fault of some providers that send again what they already sent.
//!
//! The pieces of a healthy stream follow one another: `The`, ` cat`, ` sat`. Those of a stuttering
//! one hold the ones before them, as if the whole answer so far were sent again each time: `The`,
//! `The cat`, `The cat sat`. A client that appends them shows the answer many times over, and so
//! would every hit on what was stored.
//!
//! # The score
//!
//! An episode is a run of pieces that repeat the piece before them, or all the text before them,
//! and go on from there. Its score is
//!
//! ```text
//! certainty * (0.25 + 0.35 * growth + 0.30 * similarity + 0.10 * haste)      in 0..=1
//! ```
//!
//! - *certainty* (prefix repetition): how much was repeated. A piece that repeats 16 letters or
//!   digits is worth 1, shorter ones less in proportion: `a`, ` an`, `| --` repeat by chance. One
//!   that repeats 128 is worth 3. Worth 3 in all is certain; less, in proportion. Each piece that
//!   repeats nothing halves what the episode is worth.
//! - *growth* (length progression): the share of the episode's pieces that repeat and are longer.
//! - *similarity*: the share of the episode's bytes that had been sent before.
//! - *haste* (timing): 1 where a repeating piece comes within a second of the one before, falling
//!   to 0 at five seconds, as the mean over the episode.
//!
//! So where all of what is sent repeats and grows, two or three lines of text are enough, or about
//! five pieces of a word each; without haste, one or two more. Of less it cannot be told.
//!
//! Text that repeats itself is no stuttering: `ha`, ` ha ha`, equal rows of a table, equal elements
//! of an array. There, what follows the repeated part begins like that part again, so that nothing
//! is gained; such pieces are worth nothing. What cannot be told from stuttering is a text that
//! itself says one line after another, each longer than the last and beginning like it, and that
//! the provider happens to cut exactly before each; or one of a great many equal elements that is sent
//! in a few large pieces cut at just such places. Such an answer is not stored, but the client gets it unchanged.
//!
//! # After it
//!
//! The score of a stream is the highest that any episode of any choice came to. A stream that goes
//! back to normal is not forgiven: what it said twice stays in the answer. An episode that never
//! came to the threshold counts for nothing, however many such follow.
//!
//! An answer that starts over in small pieces is not detected, because no single piece shows it.

use std::mem;
use std::time::Duration;

use crc32fast::Hasher;

use super::held::{PER_ALLOCATION, list_bytes};
use crate::clock::UnixMillis;
use crate::steps;

/// Watches the pieces of text of one stream.
///
/// It holds at most 8 choices and about 1 KiB for each; further choices are not watched.
#[derive(Debug, Default)]
pub struct Stutter {
    choices: Vec<Choice>,
}

impl Stutter {
    /// The score from which on a stream counts as stuttering. All streams that were recorded
    /// from providers come to 0.
    pub const THRESHOLD: f64 = 0.6;

    /// A detector at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of a choice's text, as a [`Listener`](crate::llm::Listener) hears it.
    /// Empty pieces (a chunk with the role only) are nothing.
    pub fn piece(&mut self, choice: u64, text: &str, now: UnixMillis) {
        if text.is_empty() {
            return;
        }
        steps::take(self.choices.len());
        let found = self.choices.iter().position(|heard| heard.index == choice);
        let position = found.unwrap_or(self.choices.len());
        if position >= MAX_CHOICES {
            return;
        }
        if found.is_none() {
            self.choices.push(Choice {
                index: choice,
                state: State::Initial,
            });
        }
        if let Some(choice) = self.choices.get_mut(position) {
            choice.state = mem::take(&mut choice.state).piece(text.as_bytes(), now);
        }
    }

    /// How many bytes it has allocated.
    pub fn held_bytes(&self) -> usize {
        let heard = self.choices.iter().map(|choice| choice.state.held_bytes());
        heard.fold(list_bytes(&self.choices), usize::saturating_add)
    }

    /// How sure it is that the stream stutters, in `0.0..=1.0`.
    pub fn score(&self) -> f64 {
        let scores = self.choices.iter().map(|choice| choice.state.score());
        scores.fold(0.0, f64::max)
    }

    /// Whether the score has come to [`Stutter::THRESHOLD`]. Once true, it stays so.
    pub fn is_stuttering(&self) -> bool {
        self.score() >= Self::THRESHOLD
    }
}

#[derive(Debug)]
struct Choice {
    index: u64,
    state: State,
}

/// How one choice flows.
///
/// ```text
/// Initial --first piece--> NormalFlow --a piece repeats--> Stuttering --threshold--> Terminating
///                              ^                           |      ^                       ^
///                a fourth in   |             repeats none  |      |  a piece              |
///                a row that    |                           v      |  repeats              |
///                repeats none  +------------------------ Recovering -------threshold------+
/// ```
#[derive(Debug, Default)]
enum State {
    /// Nothing was said yet.
    #[default]
    Initial,
    /// The last pieces followed one another.
    NormalFlow(Box<Heard>),
    /// The last piece belongs to an episode.
    Stuttering(Box<Heard>, Episode),
    /// The number of last pieces that repeated nothing; too few to end the episode.
    Recovering(Box<Heard>, Episode, u32),
    /// The choice certainly stutters: what follows is not looked at, and nothing is held.
    Terminating {
        /// The score that ended it.
        score: f64,
    },
}

impl State {
    fn piece(self, piece: &[u8], now: UnixMillis) -> Self {
        let (mut heard, episode, plain) = match self {
            Self::Initial => return Self::NormalFlow(Box::new(Heard::new(piece, now))),
            Self::NormalFlow(heard) => (heard, None, 0),
            Self::Stuttering(heard, episode) => (heard, Some(episode), 0),
            Self::Recovering(heard, episode, plain) => (heard, Some(episode), plain),
            Self::Terminating { .. } => return self,
        };
        let step = heard.compare(piece);
        let gap = heard.take(piece, now);
        match (step, episode) {
            (Step::Repeats { bytes, worth }, episode) => {
                let mut episode = episode.unwrap_or_default();
                episode.repeat(piece.len(), bytes, worth, gap);
                let score = episode.score();
                heard.highest = heard.highest.max(score);
                if score >= Stutter::THRESHOLD {
                    Self::Terminating { score }
                } else {
                    Self::Stuttering(heard, episode)
                }
            }
            (_, None) => Self::NormalFlow(heard),
            (Step::Periodic { bytes }, Some(mut episode)) => {
                episode.stand_still(piece.len(), bytes);
                match plain {
                    0 => Self::Stuttering(heard, episode),
                    plain => Self::Recovering(heard, episode, plain),
                }
            }
            (Step::Follows, Some(_)) if plain >= PATIENCE => Self::NormalFlow(heard),
            (Step::Follows, Some(mut episode)) => {
                episode.doubt(piece.len());
                Self::Recovering(heard, episode, plain.saturating_add(1))
            }
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Self::Initial | Self::Terminating { .. } => 0,
            Self::NormalFlow(heard)
            | Self::Stuttering(heard, _)
            | Self::Recovering(heard, _, _) => heard.held_bytes(),
        }
    }

    fn score(&self) -> f64 {
        match self {
            Self::Initial => 0.0,
            Self::NormalFlow(heard)
            | Self::Stuttering(heard, _)
            | Self::Recovering(heard, _, _) => heard.highest,
            Self::Terminating { score } => *score,
        }
    }
}

/// What a piece is to the text before it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// It does not begin like what was said.
    Follows,
    /// It begins like what was said, but so does what it adds, if it adds anything: text that
    /// repeats itself, or a piece that was sent twice.
    Periodic { bytes: usize },
    /// It says again what was said, in this many bytes, and goes on.
    Repeats { bytes: usize, worth: f64 },
}

/// What is remembered of the text of a choice.
#[derive(Debug)]
struct Heard {
    /// The last piece.
    last: TextPrefix,
    /// All pieces, one after another.
    whole: TextPrefix,
    /// When the last piece came.
    at: UnixMillis,
    /// The highest score of any episode.
    highest: f64,
}

impl Heard {
    fn new(piece: &[u8], now: UnixMillis) -> Self {
        let mut last = TextPrefix::default();
        last.append(piece);
        Self {
            whole: last.clone(),
            last,
            at: now,
            highest: 0.0,
        }
    }

    /// With what it is itself, as it is in a box.
    fn held_bytes(&self) -> usize {
        let heads = [&self.last, &self.whole].map(|piece| piece.head.capacity());
        let own = size_of::<Self>().saturating_add(3 * PER_ALLOCATION);
        heads.into_iter().fold(own, usize::saturating_add)
    }

    fn compare(&self, piece: &[u8]) -> Step {
        let (bytes, self_similar) = if self.whole.begins(piece) {
            // A text that comes back to its own beginning does so without any fault.
            let comes_back = self.last.length < self.whole.length && self.last.begins(piece);
            (self.whole.length, comes_back)
        } else if self.last.begins(piece) {
            (self.last.length, false)
        } else {
            return Step::Follows;
        };
        let Some((said, new)) = piece.split_at_checked(bytes) else {
            return Step::Follows;
        };
        let alike = said.iter().zip(new).take_while(|(a, b)| a == b).count();
        let shorter = said.len().min(new.len());
        // The very last element of an array differs from the others in its last byte.
        let goes_on_alike = alike.saturating_mul(2) > shorter;
        let nothing_new = piece.len() <= self.last.length;
        if self_similar || goes_on_alike || nothing_new {
            return Step::Periodic { bytes };
        }
        Step::Repeats {
            bytes,
            worth: worth(said),
        }
    }

    /// Remembers a piece and tells how long after the last one it came.
    fn take(&mut self, piece: &[u8], now: UnixMillis) -> Duration {
        self.whole.append(piece);
        self.last.clear();
        self.last.append(piece);
        let before = mem::replace(&mut self.at, now);
        now.since(before)
    }
}

/// What a repetition of these bytes is worth as a sign of stuttering.
fn worth(said: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(said.get(..HEAD_BYTES).unwrap_or(said));
    let letters = text.chars().filter(|char| char.is_alphanumeric()).count();
    match u32::try_from(letters) {
        Ok(letters) if letters < LONG => f64::from(letters.min(SHORT)) / f64::from(SHORT),
        _ => CERTAIN,
    }
}

/// A text of which only the beginning is held.
#[derive(Clone, Debug, Default)]
struct TextPrefix {
    head: Vec<u8>,
    length: usize,
    checksum: Hasher,
}

impl TextPrefix {
    fn append(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        let kept = bytes.get(..room).unwrap_or(bytes);
        self.head.extend_from_slice(kept);
        self.length = self.length.saturating_add(bytes.len());
        self.checksum.update(bytes);
    }

    fn clear(&mut self) {
        self.head.clear();
        self.length = 0;
        self.checksum.reset();
    }

    /// Whether `piece` begins with this text. In a healthy stream the first bytes tell that it
    /// does not.
    fn begins(&self, piece: &[u8]) -> bool {
        piece.starts_with(&self.head)
            && piece.get(..self.length).is_some_and(|start| {
                self.length == self.head.len()
                    || crc32fast::hash(start) == self.checksum.clone().finalize()
            })
    }
}

/// A run of pieces that repeat, with few between them that do not.
#[derive(Clone, Copy, Debug, Default)]
struct Episode {
    /// What the repetitions are worth.
    worth: f64,
    /// How many pieces repeated and grew.
    repeats: u32,
    /// How many pieces there were.
    pieces: u32,
    /// How many of their bytes had been sent before.
    bytes_again: u64,
    /// How many bytes they had.
    bytes: u64,
    /// The haste of every repeating piece, added up.
    haste: f64,
}

impl Episode {
    fn repeat(&mut self, length: usize, again: usize, worth: f64, gap: Duration) {
        self.add(length, again);
        self.worth += worth;
        self.repeats = self.repeats.saturating_add(1);
        let too_slow = gap.saturating_sub(HASTY).min(UNHURRIED);
        self.haste += 1.0 - too_slow.div_duration_f64(UNHURRIED);
    }

    fn stand_still(&mut self, length: usize, again: usize) {
        self.add(length, again);
    }

    fn doubt(&mut self, length: usize) {
        self.add(length, 0);
        self.worth /= 2.0;
    }

    fn add(&mut self, length: usize, again: usize) {
        self.pieces = self.pieces.saturating_add(1);
        self.bytes = self.bytes.saturating_add(length as u64);
        self.bytes_again = self.bytes_again.saturating_add(again as u64);
    }

    fn score(&self) -> f64 {
        let certainty = (self.worth / CERTAIN).min(1.0);
        let growth = share(self.repeats.into(), self.pieces.into());
        let similarity = share(self.bytes_again, self.bytes);
        let haste = self.haste / f64::from(self.repeats.max(1));
        certainty
            * (REPETITION_WEIGHT
                + GROWTH_WEIGHT * growth
                + SIMILARITY_WEIGHT * similarity
                + HASTE_WEIGHT * haste)
    }
}

/// A share in `0.0..=1.0`.
fn share(part: u64, whole: u64) -> f64 {
    (part as f64 / whole.max(1) as f64).min(1.0)
}

const REPETITION_WEIGHT: f64 = 0.25;
const GROWTH_WEIGHT: f64 = 0.35;
const SIMILARITY_WEIGHT: f64 = 0.30;
const HASTE_WEIGHT: f64 = 0.10;

/// The number of repeated letters and digits that is worth 1.
const SHORT: u32 = 16;
/// The number that is worth [`CERTAIN`] at once.
const LONG: u32 = 128;
/// The worth of repetitions that leaves no doubt.
const CERTAIN: f64 = 3.0;

/// More pieces in a row that repeat nothing end an episode.
const PATIENCE: u32 = 3;

/// Pieces in quick succession come within a second. After five seconds there is no haste.
const HASTY: Duration = Duration::from_secs(1);
const UNHURRIED: Duration = Duration::from_secs(4);

/// More choices than requests ask for.
const MAX_CHOICES: usize = 8;
/// How much is held of a text: [`LONG`] letters of most scripts, and most pieces whole.
const HEAD_BYTES: usize = 512;

#[cfg(test)]
mod tests;
