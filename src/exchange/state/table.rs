//! Holds the table of transitions to what happens in the tests.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::State;
use crate::exchange::event::Event;

/// A state, an event, and the state after it.
pub(crate) type Transition = (&'static str, &'static str, &'static str);

thread_local! {
    static HAPPENED: RefCell<BTreeSet<Transition>> = RefCell::default();
}

/// The transitions that have happened in this test.
pub(crate) fn happened() -> BTreeSet<Transition> {
    HAPPENED.take()
}

/// Those that stand in the table.
pub(crate) fn rows() -> BTreeSet<Transition> {
    let table = include_str!("../state.rs").lines();
    let rows = table.filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix('|'));
    let mut transitions = BTreeSet::new();
    for row in rows.filter(|row| !row.starts_with("state ")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let [state, event, nexts, _output] = cells[..] else {
            panic!("{row}")
        };
        transitions.extend(nexts.split(", ").map(|next| (state, event, next)));
    }
    transitions
}

/// A transition happens: it stands in the table, or changes nothing.
pub(crate) fn note(transition: Transition) {
    thread_local! {
        static ROWS: BTreeSet<Transition> = rows();
    }
    let (state, _, next) = transition;
    if ROWS.with(|rows| rows.contains(&transition)) {
        HAPPENED.with_borrow_mut(|happened| happened.insert(transition));
    } else {
        assert_eq!(state, next, "{transition:?} does not stand in the table");
    }
}

impl State {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Collecting(_) => "Collecting",
            Self::Fetching(_) => "Fetching",
            Self::Waiting(_) => "Waiting",
            Self::Replied => "Replied",
            Self::Bypassed(_) => "Bypassed",
            Self::Forwarded(_) => "Forwarded",
            Self::Capturing(_) => "Capturing",
            Self::Over => "Over",
        }
    }
}

impl Event<'_> {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Event::RequestHeaders { .. } => "RequestHeaders",
            Event::RequestBody { .. } => "RequestBody",
            Event::RequestTrailers => "RequestTrailers",
            Event::Called(_) => "Called",
            Event::Released(_) => "Released",
            Event::ResponseHeaders(_) => "ResponseHeaders",
            Event::ResponseBody { .. } => "ResponseBody",
            Event::ResponseTrailers(_) => "ResponseTrailers",
            Event::Closed { .. } => "Closed",
        }
    }
}
