//! What must hold however the steps of a few requests interleave.

use super::super::{Bucket, Holder, Kind, LeaseRecord, MAX_RECORDS, Term, bucket_name};
use super::world::{End, MAX_AGE, Request, World, full_key};
use super::{Explored, explore};

#[track_caller]
fn assert_all(explored: &Explored, holds: impl Fn(&[End]) -> bool) {
    println!("{} states, {:?}", explored.states, explored.outcomes);
    for ends in &explored.outcomes {
        assert!(holds(ends), "{ends:?}");
    }
}

fn count(ends: &[End], end: End) -> usize {
    ends.iter().filter(|other| **other == end).count()
}

fn asked(ends: &[End]) -> usize {
    count(ends, End::AskedAlone) + count(ends, End::AskedAsLeader)
}

fn most_leaders(explored: &Explored) -> Option<usize> {
    let led = |ends: &Vec<End>| count(ends, End::AskedAsLeader);
    explored.outcomes.iter().map(led).max()
}

/// Requests for key 1, one on each worker.
fn one_each(workers: usize) -> impl Iterator<Item = Request> {
    (0..workers).map(|worker| Request::new(worker, 1))
}

fn requests(of: &[(usize, u8)]) -> impl Iterator<Item = Request> {
    of.iter().map(|(worker, key)| Request::new(*worker, *key))
}

/// The bucket exists from the start, with this many records of other keys. Workers that create it
/// at the same time are explored where nothing else goes wrong.
fn crowded(mut world: World, held: usize, unstorable: usize) -> World {
    let mut bucket = Bucket::default();
    for number in 0..held + unstorable {
        bucket.records.push(LeaseRecord {
            key: full_key(100 + number as u8),
            term: Term::new(world.clock, MAX_AGE * 100),
            kind: if number < held {
                Kind::Held(Holder {
                    owner: 1,
                    generation: 0,
                    waiting: Vec::new(),
                })
            } else {
                Kind::Unstorable
            },
        });
    }
    let name = bucket_name(&full_key(1));
    world.values.set(&name, &bucket.encode(), None).unwrap();
    world
}

fn assert_one_asks(workers: usize) {
    let explored = explore(World::new(workers, one_each(workers)));
    assert_all(&explored, |ends| {
        asked(ends) == 1 && count(ends, End::AskedAsLeader) == 1
    });
    assert_eq!(explored.outcomes.len(), workers, "each may be the leader");
}

#[test]
fn of_two_workers_one_asks_when_nobody_vanishes_and_nothing_ends() {
    assert_one_asks(2);
}

#[test]
fn of_three_workers_one_asks_when_nobody_vanishes_and_nothing_ends() {
    assert_one_asks(3);
}

#[test]
fn two_keys_in_one_bucket_are_asked_for_once_each_by_two_workers() {
    let requests = requests(&[(0, 1), (0, 2), (1, 1), (1, 2)]);
    assert_all(&explore(World::new(2, requests)), |ends| {
        let [a, b, c, d] = ends else { return false };
        asked(&[*a, *c]) == 1 && asked(&[*b, *d]) == 1
    });
}

#[test]
fn two_keys_in_one_bucket_are_asked_for_once_each_by_three_workers() {
    let requests = requests(&[(0, 1), (1, 2), (2, 1)]);
    assert_all(&explore(World::new(3, requests)), |ends| asked(ends) == 2);
}

#[test]
fn a_worker_that_vanishes_costs_the_others_at_most_its_lease() {
    let world = World {
        vanishings_left: 1,
        ticks_left: 1,
        ..World::new(3, one_each(3))
    };
    let explored = explore(crowded(world, 0, 0));
    assert_all(&explored, |ends| count(ends, End::Vanished) <= 1);
    let nobody_did = |ends: &Vec<End>| count(ends, End::Vanished) == 0;
    assert!(explored.outcomes.iter().any(nobody_did));
}

#[test]
fn a_lease_that_ends_is_taken_over_and_its_old_leader_does_no_harm() {
    let world = World {
        ticks_left: 2,
        ..World::new(3, one_each(3))
    };
    let explored = explore(crowded(world, 0, 0));
    assert_all(&explored, |ends| asked(ends) >= 1);
    assert_eq!(most_leaders(&explored), Some(3));
}

#[test]
fn a_worker_that_takes_over_from_itself_releases_each_generation_on_its_own() {
    let explored = explore(World {
        ticks_left: 2,
        ..World::new(2, requests(&[(0, 1), (0, 1), (1, 1)]))
    });
    assert_all(&explored, |ends| asked(ends) >= 1);
    assert_eq!(most_leaders(&explored), Some(3));
}

#[test]
fn after_an_unstorable_answer_nobody_leads_or_waits() {
    let requests = one_each(3).map(Request::unstorable);
    assert_all(&explore(World::new(3, requests)), |ends| {
        asked(ends) == 3 && count(ends, End::AskedAsLeader) == 1
    });
}

#[test]
fn an_unstorable_answer_is_never_a_hit_though_a_worker_vanishes_and_a_lease_ends() {
    let world = World {
        ticks_left: 1,
        vanishings_left: 1,
        ..World::new(3, one_each(3).map(Request::unstorable))
    };
    let explored = explore(crowded(world, 0, 0));
    assert_all(&explored, |ends| count(ends, End::FromCache) == 0);
}

#[test]
fn a_worker_that_does_not_wait_or_has_no_queue_hinders_no_other() {
    let mut world = World::new(
        3,
        [
            Request::new(0, 1),
            Request::new(1, 1).no_wait(),
            Request::new(2, 1),
        ],
    );
    world.workers[2].has_queue = false;
    world.ticks_left = 1;
    assert_all(&explore(world), |ends| asked(ends) >= 1);
}

/// Three workers, two of which ask for key 1, before a bucket that has room for this many records.
fn in_a_crowd(held: usize, unstorable: usize) -> Explored {
    let world = World::new(3, requests(&[(0, 1), (1, 2), (2, 1)]));
    explore(crowded(world, held, unstorable))
}

#[test]
fn a_full_bucket_gives_no_lease_and_loses_none() {
    let explored = in_a_crowd(MAX_RECORDS, 0);
    assert_all(&explored, |ends| count(ends, End::AskedAlone) == 3);
}

#[test]
fn a_bucket_with_room_for_one_of_two_keys_gives_a_lease_to_one_at_least() {
    let explored = in_a_crowd(MAX_RECORDS - 1, 0);
    assert_all(&explored, |ends| {
        asked(ends) <= 3 && count(ends, End::AskedAsLeader) >= 1
    });
}

#[test]
fn a_full_bucket_gives_a_lease_in_the_place_of_what_is_not_storable() {
    let explored = in_a_crowd(MAX_RECORDS - 1, 1);
    assert_all(&explored, |ends| {
        asked(ends) <= 3 && count(ends, End::AskedAsLeader) >= 1
    });
}

fn assert_a_fault_forgets_nobody(world: World) {
    let explored = explore(World {
        faults_left: 1,
        ticks_left: 1,
        ..world
    });
    assert_all(&explored, |ends| asked(ends) >= 1);
}

#[test]
fn a_host_that_fails_once_before_two_workers_forgets_nobody_for_longer_than_a_lease() {
    assert_a_fault_forgets_nobody(World::new(2, one_each(2)));
}

#[test]
fn a_host_that_fails_once_before_three_workers_forgets_nobody_for_longer_than_a_lease() {
    assert_a_fault_forgets_nobody(crowded(World::new(3, one_each(3)), 0, 0));
}
