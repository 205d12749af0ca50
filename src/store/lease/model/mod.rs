//! Every interleaving of a few workers, at each host call: the code itself is run, not a model of
//! it. An operation is run again from its start for each of its host calls, with the answers that
//! it has had so far; so it can be stopped between any two of them, and a state is a value: it can
//! be compared, and one that was reached before is not explored again. That is why this is not
//! loom, which cannot merge states and knows no clock and no worker that vanishes; all that the
//! workers share is behind the host's mutex, so there are no weaker memory orders to explore.
//!
//! A request looks its entry up, joins, and then leads (second look, upstream, insert, release,
//! messages), waits or goes alone, as the filter's do. Requests of one worker take turns where the
//! filter's would: between callbacks.

mod host;
mod scenarios;
mod world;

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

pub(super) use host::Values;
use world::{End, World};

/// What an exploration found.
struct Explored {
    states: usize,
    /// How the requests may end, in their order.
    outcomes: BTreeSet<Vec<End>>,
}

/// Visits every state that can be reached; states are told apart by 64 bits of hash.
fn explore(start: World) -> Explored {
    let hasher = RandomState::new();
    let mut seen = HashSet::from([hasher.hash_one(&start)]);
    let mut open = vec![start];
    let mut outcomes = BTreeSet::new();
    while let Some(world) = open.pop() {
        let steps = world.steps();
        if world.has_ended() {
            outcomes.insert(world.ends());
            continue;
        }
        assert!(!steps.is_empty(), "a request that never ends: {world:?}");
        for step in steps {
            let mut next = world.clone();
            next.take(step);
            next.assert_kept(&world, step);
            next.assert_sound();
            next.renumber();
            if seen.insert(hasher.hash_one(&next)) {
                open.push(next);
            }
        }
    }
    Explored {
        states: seen.len(),
        outcomes,
    }
}
