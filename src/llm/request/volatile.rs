//! What differs from request to request although no answer depends on it: who asks, and the ids of
//! calls. Configuration may leave it out of keys, see [`KeySettings`](crate::config).
//!
//! A change to one of these lists changes the format of keys.

use std::sync::LazyLock;

use crate::json::{Change, Edit, IdPlace, Mask, Pointer, Role, Scope};
use crate::llm::{APIS, Api};

/// A part of a request that only says who asks, for whom, or in which session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribution {
    /// A member of the body.
    Member(&'static str),
    /// The rest of a line that begins with these words: a pointer to the texts, and the words.
    Line(&'static str, &'static str),
}

/// A place where a request has the id of a call: a pointer, what the id does there, and the `type`s
/// beside it with which it is one.
pub(crate) type CallId = (&'static str, Role, &'static [&'static str]);

/// OpenAI and its dialects: `request_id` is Zhipu's and vLLM's, `trace` OpenRouter's. Not `user_id` and
/// `session_id`: there are servers that keep memories by them.
pub(crate) const OPENAI_ATTRIBUTION: &[Attribution] = &[
    Attribution::Member("/user"),
    Attribution::Member("/safety_identifier"),
    Attribution::Member("/prompt_cache_key"),
    Attribution::Member("/metadata"),
    Attribution::Member("/client_metadata"),
    Attribution::Member("/trace"),
    Attribution::Member("/request_id"),
];

/// Chat completions, and the APIs that took their messages over.
pub(crate) const CHAT_CALL_IDS: &[CallId] = &[
    ("/messages/*/tool_calls/*/id", Role::Names, &[]),
    ("/messages/*/tool_call_id", Role::Refers, &[]),
];

struct Lists {
    attribution: Vec<Edit>,
    call_ids: Vec<Edit>,
}

/// In the order of [`APIS`].
static LISTS: LazyLock<Vec<Lists>> = LazyLock::new(|| {
    let lists = APIS.iter().map(|api| api.facts()).map(|facts| Lists {
        attribution: facts.attribution.iter().filter_map(attribution).collect(),
        call_ids: facts.call_ids.iter().filter_map(call_id).collect(),
    });
    lists.collect()
});

fn attribution(attribution: &Attribution) -> Option<Edit> {
    let (at, change) = match attribution {
        Attribution::Member(at) => (at, Change::Remove),
        Attribution::Line(at, words) => {
            let pattern = format!("{words}*");
            (at, Change::Mask(Mask::parse(Scope::Line, &pattern).ok()?))
        }
    };
    let at = Pointer::parse(at).ok()?;
    Some(Edit { at, change })
}

fn call_id((at, role, types): &CallId) -> Option<Edit> {
    let id = IdPlace { role: *role, types };
    Some(Edit {
        at: Pointer::parse(at).ok()?,
        change: Change::Number(id),
    })
}

impl Api {
    fn lists(self) -> Option<&'static Lists> {
        let at = Self::all().position(|api| api == self)?;
        LISTS.get(at)
    }

    /// Leaves out what only says who asks.
    pub fn attribution(self) -> &'static [Edit] {
        self.lists().map_or(&[], |lists| &lists.attribution)
    }

    /// Numbers the ids of calls.
    pub fn call_ids(self) -> &'static [Edit] {
        self.lists().map_or(&[], |lists| &lists.call_ids)
    }
}

#[cfg(test)]
mod tests;
