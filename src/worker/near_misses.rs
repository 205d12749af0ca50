//! Requests that were not found, and differ from an earlier one in one member of their bodies.
//!
//! Such a member is often one that should not have taken part in the key: an id made up for each call,
//! a date, a setting that one of several programs leaves out. A worker remembers digests of the last
//! requests whose keys it made; nothing of the requests can be read from them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem;

use highway::{HighwayHash, HighwayHasher, Key};

use crate::cache::{KeyParts, known_member};

/// How many requests are remembered.
const MAX_REQUESTS: usize = 64;

/// Requests with more members at their top are not remembered: no API knows more.
const MAX_MEMBERS: usize = 32;

/// The word for members that no API knows.
const OTHER: &str = "other";

/// Members that hold what is asked. Requests of one program differ in them as a matter of course, so
/// any other difference is of more interest.
const PROMPTS: [&str; 6] = [
    "contents",
    "input",
    "inputText",
    "messages",
    "prompt",
    "texts",
];

/// The last requests of a worker whose keys it made.
#[derive(Debug)]
pub(crate) struct NearMisses {
    key: [u64; 4],
    /// The latest first.
    requests: RefCell<VecDeque<RequestDigests>>,
}

/// Keyed digests of a request.
#[derive(Debug, PartialEq, Eq)]
struct RequestDigests {
    /// Of all that takes part in the key beside the body.
    context: u64,
    /// Sorted by their names' digests.
    members: Vec<Member>,
}

#[derive(Debug, PartialEq, Eq)]
struct Member {
    name: u64,
    value: u64,
    /// The name, if an API knows it.
    word: &'static str,
}

impl NearMisses {
    /// `key` is of the digests. If a client knew it, it could have its own requests miscounted.
    pub(crate) fn new(key: [u64; 4]) -> Self {
        Self {
            key,
            requests: RefCell::default(),
        }
    }

    /// Remembers a request, and names the one member in which it differs from one before: if there are
    /// several of those, one that is no prompt. One that came before as it is misses for another reason.
    pub(crate) fn compare(&self, parts: &KeyParts<'_>) -> Option<&'static str> {
        let request = self.digest(parts)?;
        let mut requests = self.requests.borrow_mut();
        if let Some(index) = requests.iter().position(|before| *before == request) {
            // It is the latest again, so that newer ones do not push it out.
            requests.remove(index);
            requests.push_front(request);
            return None;
        }
        let mut of_prompt = None;
        let mut differences = requests.iter().filter_map(|before| {
            let same_context = before.context == request.context;
            same_context.then(|| only_difference(&before.members, &request.members))?
        });
        let other = differences.find(|word| {
            let is_prompt = PROMPTS.contains(word);
            if is_prompt {
                of_prompt = of_prompt.or(Some(*word));
            }
            !is_prompt
        });
        let found = other.or(of_prompt);
        requests.truncate(MAX_REQUESTS.saturating_sub(1));
        requests.push_front(request);
        found
    }

    /// `None` if the body is no object, or has too many members.
    fn digest(&self, parts: &KeyParts<'_>) -> Option<RequestDigests> {
        let digest = |bytes: &[u8]| HighwayHasher::new(Key(self.key)).hash64(bytes);
        let mut members = Vec::new();
        for (name, value) in parts.members()? {
            if members.len() >= MAX_MEMBERS {
                return None;
            }
            members.push(Member {
                name: digest(name),
                value: digest(value),
                word: known_member(name).unwrap_or(OTHER),
            });
        }
        members.sort_unstable_by_key(|member| member.name);
        let mut context = Vec::new();
        parts.headers.write_pairs(&mut context);
        parts.attributes.write(&mut context);
        Some(RequestDigests {
            context: digest(&context),
            members,
        })
    }
}

/// The one member in which two requests differ: one that has another value, or that only one of them
/// has.
fn only_difference(mut one: &[Member], mut other: &[Member]) -> Option<&'static str> {
    let mut found = None;
    loop {
        let difference = match (one, other) {
            ([], []) => return found,
            ([a, ones @ ..], [b, others @ ..]) if a.name == b.name => {
                (one, other) = (ones, others);
                (a.value != b.value).then_some(a.word)
            }
            ([a, ones @ ..], [b, ..]) if a.name < b.name => {
                one = ones;
                Some(a.word)
            }
            ([a, ones @ ..], []) => {
                one = ones;
                Some(a.word)
            }
            (_, [b, others @ ..]) => {
                other = others;
                Some(b.word)
            }
        };
        if difference.is_some() && mem::replace(&mut found, difference).is_some() {
            return None;
        }
    }
}
