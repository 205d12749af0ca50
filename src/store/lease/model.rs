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

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use super::*;
use crate::store::{HostFault, Version};

/// How long leases are taken for, and how far one tick moves the clock.
const MAX_AGE: u64 = 10;

/// Values and versions by name, as proxy-wasm-cpp-host has them (`shared_data.cc`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Values(BTreeMap<String, (Vec<u8>, u32)>);

impl Values {
    pub(super) fn get(&self, name: &str) -> Option<Versioned> {
        let (value, version) = self.0.get(name)?;
        Some(Versioned {
            value: value.clone(),
            version: Version(*version),
        })
    }

    pub(super) fn set(
        &mut self,
        name: &str,
        value: &[u8],
        version: Option<Version>,
    ) -> Result<(), SetFault> {
        if let (Some((_, current)), Some(Version(expected))) = (self.0.get(name), version)
            && *current != expected
        {
            return Err(SetFault::VersionMismatch);
        }
        let last = self.0.values().map(|(_, version)| *version).max();
        self.0.insert(
            name.to_owned(),
            (value.to_owned(), last.unwrap_or_default() + 1),
        );
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What the buckets say, which must be buckets.
    pub(super) fn records(&self) -> Vec<Record> {
        let buckets = self.0.values().filter(|(value, _)| !value.is_empty());
        buckets
            .flat_map(|(value, _)| {
                let bucket = Bucket::decode(value).expect("a bucket within its bounds");
                bucket.records
            })
            .collect()
    }
}

/// What the host answered to one call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Reply {
    Got(Result<Option<(Vec<u8>, u32)>, ()>),
    Set(Result<(), bool>),
}

/// Answers an operation's calls from its log, then makes one more, and stops it there.
struct OneCall<'a> {
    values: RefCell<&'a mut Values>,
    log: RefCell<&'a mut Vec<Reply>>,
    at: Cell<usize>,
    /// Calls that have been answered in earlier steps.
    before: usize,
    /// Whether the call of this step fails.
    fails: bool,
    stopped: Cell<bool>,
}

impl OneCall<'_> {
    fn answer(&self, call: impl FnOnce(&mut Values) -> Reply, fault: Reply) -> Option<Reply> {
        let at = self.at.replace(self.at.get() + 1);
        let mut log = self.log.borrow_mut();
        if at > self.before {
            self.stopped.set(true);
            return None;
        }
        if at == self.before {
            let reply = if self.fails {
                fault
            } else {
                call(&mut self.values.borrow_mut())
            };
            log.push(reply);
        }
        log.get(at).cloned()
    }
}

impl SharedData for OneCall<'_> {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        let call = |values: &mut Values| {
            let found = values.get(name);
            Reply::Got(Ok(found.map(|found| (found.value, found.version.0))))
        };
        match self.answer(call, Reply::Got(Err(()))) {
            Some(Reply::Got(Ok(found))) => Ok(found.map(|(value, version)| Versioned {
                value,
                version: Version(version),
            })),
            Some(Reply::Set(_)) => panic!("an operation that runs differently when run again"),
            Some(Reply::Got(Err(()))) | None => Err(HostFault),
        }
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        let call = |values: &mut Values| {
            let set = values.set(name, value, version);
            Reply::Set(set.map_err(|fault| fault == SetFault::VersionMismatch))
        };
        match self.answer(call, Reply::Set(Err(false))) {
            Some(Reply::Set(Ok(()))) => Ok(()),
            Some(Reply::Set(Err(true))) => Err(SetFault::VersionMismatch),
            Some(Reply::Got(_)) => panic!("an operation that runs differently when run again"),
            Some(Reply::Set(Err(false))) | None => Err(SetFault::Host),
        }
    }
}

/// A lease as the model knows it: whose, which, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Taken {
    owner: u64,
    generation: u32,
    ends: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum End {
    FromCache,
    AskedAsLeader,
    AskedAlone,
    Vanished,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    LookUp,
    Join {
        now: u64,
        log: Vec<Reply>,
    },
    SecondLook(Taken),
    Ask(Taken),
    Insert(Taken),
    Release {
        taken: Taken,
        asked: bool,
        now: u64,
        log: Vec<Reply>,
    },
    Tell {
        taken: Taken,
        asked: bool,
        queues: Vec<u32>,
    },
    Waits {
        taken: Taken,
    },
    LookAgain,
    Ended(End),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Request {
    worker: usize,
    key: u8,
    storable: bool,
    wait: bool,
    phase: Phase,
}

impl Request {
    fn new(worker: usize, key: u8) -> Self {
        Self {
            worker,
            key,
            storable: true,
            wait: true,
            phase: Phase::LookUp,
        }
    }

    fn unstorable(self) -> Self {
        Self {
            storable: false,
            ..self
        }
    }

    fn no_wait(self) -> Self {
        Self {
            wait: false,
            ..self
        }
    }

    /// In the midst of a callback.
    fn is_busy(&self) -> bool {
        matches!(
            self.phase,
            Phase::Join { .. } | Phase::SecondLook(_) | Phase::Release { .. } | Phase::Tell { .. }
        )
    }

    fn leads(&self) -> Option<Taken> {
        match self.phase {
            Phase::SecondLook(taken) | Phase::Ask(taken) | Phase::Insert(taken) => Some(taken),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Worker {
    has_queue: bool,
    next_generation: u32,
    vanished: bool,
    /// Keys of messages that have not been read yet.
    queue: BTreeSet<u8>,
}

/// One state: everything there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    values: Values,
    stored: BTreeSet<u8>,
    workers: Vec<Worker>,
    requests: Vec<Request>,
    clock: u64,
    ticks_left: u32,
    faults_left: u32,
    vanishings_left: u32,
    /// Every lease that was ever taken, with its key.
    taken: BTreeSet<(u8, u64, u32)>,
    /// Leases that a fault of the host kept from being released.
    unreleased: BTreeSet<(u8, u64, u32)>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request goes on, to its next host call; which may fail.
    Goes {
        request: usize,
        fails: bool,
    },
    /// A request that waits gives up: the lease must have ended by now.
    TimesOut(usize),
    /// A worker reads its queue.
    Reads(usize),
    Vanishes(usize),
    Tick,
}

fn full_key(key: u8) -> [u8; 32] {
    let mut full = [0; 32];
    full[0] = key;
    // All in one bucket.
    full[31] = 7;
    full
}

fn owner_of(worker: usize) -> u64 {
    worker as u64 + 100
}

fn queue_of(worker: usize) -> u32 {
    worker as u32 + 200
}

impl World {
    fn new(workers: usize, requests: impl IntoIterator<Item = Request>) -> Self {
        let worker = Worker {
            has_queue: true,
            ..Worker::default()
        };
        Self {
            workers: vec![worker; workers],
            requests: requests.into_iter().collect(),
            clock: 1_000,
            ..Self::default()
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let busy = |worker: usize| {
            let mut requests = self.requests.iter();
            requests.any(|request| request.worker == worker && request.is_busy())
        };
        for (index, request) in self.requests.iter().enumerate() {
            match &request.phase {
                Phase::Ended(_) => continue,
                _ if busy(request.worker) && !request.is_busy() => continue,
                Phase::Waits { taken } => {
                    if self.clock >= taken.ends {
                        steps.push(Step::TimesOut(index));
                    }
                    continue;
                }
                _ => {}
            }
            steps.push(Step::Goes {
                request: index,
                fails: false,
            });
            let calls = matches!(request.phase, Phase::Join { .. } | Phase::Release { .. });
            if calls && self.faults_left > 0 {
                steps.push(Step::Goes {
                    request: index,
                    fails: true,
                });
            }
        }
        for (index, worker) in self.workers.iter().enumerate() {
            if worker.vanished {
                continue;
            }
            if !worker.queue.is_empty() && !busy(index) {
                steps.push(Step::Reads(index));
            }
            if self.vanishings_left > 0 {
                steps.push(Step::Vanishes(index));
            }
        }
        // A callback that began before one tick ends before the next.
        let late = self.requests.iter().any(|request| match request.phase {
            Phase::Join { now, .. } | Phase::Release { now, .. } => now < self.clock,
            _ => false,
        });
        // Where somebody vanished or the host failed, a waiter may have to sit a lease out.
        let sits_out = steps.iter().all(|step| matches!(step, Step::Vanishes(_)))
            && (self.workers.iter().any(|worker| worker.vanished) || !self.unreleased.is_empty())
            && !self.has_ended();
        if (self.ticks_left > 0 && !late) || sits_out {
            steps.push(Step::Tick);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Tick => {
                self.ticks_left = self.ticks_left.saturating_sub(1);
                self.clock += MAX_AGE;
            }
            Step::TimesOut(request) => self.requests[request].phase = Phase::LookAgain,
            Step::Reads(worker) => {
                let keys = std::mem::take(&mut self.workers[worker].queue);
                for request in &mut self.requests {
                    if request.worker == worker
                        && keys.contains(&request.key)
                        && matches!(request.phase, Phase::Waits { .. })
                    {
                        request.phase = Phase::LookAgain;
                    }
                }
            }
            Step::Vanishes(worker) => {
                self.vanishings_left -= 1;
                self.workers[worker].vanished = true;
                self.workers[worker].queue.clear();
                for request in &mut self.requests {
                    if request.worker == worker && !matches!(request.phase, Phase::Ended(_)) {
                        request.phase = Phase::Ended(End::Vanished);
                    }
                }
            }
            Step::Goes { request, fails } => {
                if fails {
                    self.faults_left -= 1;
                }
                let mut going = self.requests[request].clone();
                going.phase = self.go(&going, fails);
                self.requests[request] = going;
            }
        }
    }

    fn go(&mut self, request: &Request, fails: bool) -> Phase {
        let stored = self.stored.contains(&request.key);
        let release = |taken, asked, now| Phase::Release {
            taken,
            asked,
            now,
            log: Vec::new(),
        };
        match request.phase.clone() {
            Phase::LookUp if stored => Phase::Ended(End::FromCache),
            Phase::LookUp => Phase::Join {
                now: self.clock,
                log: Vec::new(),
            },
            Phase::Join { now, mut log } => {
                let joined = self.call(request, fails, &mut log, |leases, shared| {
                    let key = full_key(request.key);
                    leases.join(shared, &key, now, MAX_AGE, request.wait)
                });
                match joined {
                    None => Phase::Join { now, log },
                    Some(joined) => self.joined(request, joined),
                }
            }
            // Within one callback: no time passes between a second look that finds and the release.
            Phase::SecondLook(taken) if stored => release(taken, false, self.clock),
            Phase::SecondLook(taken) => Phase::Ask(taken),
            Phase::Ask(taken) => Phase::Insert(taken),
            Phase::Insert(taken) => {
                if request.storable {
                    self.stored.insert(request.key);
                }
                release(taken, true, self.clock)
            }
            Phase::Release {
                taken,
                asked,
                now,
                mut log,
            } => {
                let until = (asked && !request.storable).then_some(now + MAX_AGE);
                let queues = self.call(request, fails, &mut log, |leases, shared| {
                    let key = full_key(request.key);
                    let lease = Lease {
                        generation: taken.generation,
                    };
                    leases.release(shared, &key, lease, until, now)
                });
                if fails {
                    let lease = (request.key, taken.owner, taken.generation);
                    self.unreleased.insert(lease);
                }
                match queues {
                    None => Phase::Release {
                        taken,
                        asked,
                        now,
                        log,
                    },
                    Some(queues) => {
                        assert!(!queues.contains(&queue_of(request.worker)), "told itself");
                        Phase::Tell {
                            taken,
                            asked,
                            queues,
                        }
                    }
                }
            }
            Phase::Tell {
                taken,
                asked,
                mut queues,
            } => match queues.pop() {
                Some(queue) => {
                    let told = (0..self.workers.len()).find(|worker| queue_of(*worker) == queue);
                    let worker = &mut self.workers[told.expect("a queue of a worker")];
                    if !worker.vanished {
                        worker.queue.insert(request.key);
                    }
                    Phase::Tell {
                        taken,
                        asked,
                        queues,
                    }
                }
                None => {
                    self.assert_nobody_is_forgotten(request.key, taken);
                    Phase::Ended(if asked {
                        End::AskedAsLeader
                    } else {
                        End::FromCache
                    })
                }
            },
            Phase::LookAgain if stored => Phase::Ended(End::FromCache),
            Phase::LookAgain => Phase::Ended(End::AskedAlone),
            Phase::Waits { .. } | Phase::Ended(_) => panic!("takes no step of its own"),
        }
    }

    fn joined(&mut self, request: &Request, joined: Joined) -> Phase {
        let holder = || {
            let mut records = self.values.records().into_iter();
            let record = records.find(|record| record.key == full_key(request.key));
            match record {
                Some(Record {
                    term,
                    kind: Kind::Held(holder),
                    ..
                }) => {
                    let taken = Taken {
                        owner: holder.owner,
                        generation: holder.generation,
                        ends: term.ends,
                    };
                    (taken, holder.waiting)
                }
                _ => panic!("nobody holds the lease"),
            }
        };
        match joined {
            Joined::Leads(lease) => {
                let (taken, waiting) = holder();
                assert_eq!(taken.owner, owner_of(request.worker));
                assert_eq!(taken.generation, lease.generation);
                assert!(waiting.is_empty(), "waits for a lease just taken");
                let is_new = self
                    .taken
                    .insert((request.key, taken.owner, taken.generation));
                assert!(is_new, "a generation was led twice");
                Phase::SecondLook(taken)
            }
            Joined::Waits { until } => {
                let (taken, waiting) = holder();
                assert!(waiting.contains(&queue_of(request.worker)), "left no word");
                assert_ne!(taken.owner, owner_of(request.worker));
                assert_eq!(taken.ends, until);
                Phase::Waits { taken }
            }
            Joined::Held { .. } | Joined::Unstorable | Joined::Unavailable => {
                Phase::Ended(End::AskedAlone)
            }
        }
    }

    /// Runs an operation up to and with its next host call; what it gave, if it was the last.
    fn call<T>(
        &mut self,
        request: &Request,
        fails: bool,
        log: &mut Vec<Reply>,
        operation: impl FnOnce(&Leases, &OneCall<'_>) -> T,
    ) -> Option<T> {
        let worker = &mut self.workers[request.worker];
        let leases = Leases {
            owner: owner_of(request.worker),
            queue: worker.has_queue.then_some(queue_of(request.worker)),
            next_generation: Cell::new(worker.next_generation),
        };
        let host = OneCall {
            values: RefCell::new(&mut self.values),
            before: log.len(),
            log: RefCell::new(log),
            at: Cell::new(0),
            fails,
            stopped: Cell::new(false),
        };
        let given = operation(&leases, &host);
        if host.stopped.get() {
            return None;
        }
        worker.next_generation = leases.next_generation.get();
        Some(given)
    }

    /// When a lease was given back before its end, whoever waits for it has a message.
    fn assert_nobody_is_forgotten(&self, key: u8, taken: Taken) {
        let lease = (key, taken.owner, taken.generation);
        if self.clock >= taken.ends || self.unreleased.contains(&lease) {
            return;
        }
        for request in &self.requests {
            if request.key == key && request.phase == (Phase::Waits { taken }) {
                let queue = &self.workers[request.worker].queue;
                assert!(queue.contains(&key), "a waiter was forgotten");
            }
        }
    }

    /// What holds in every state.
    fn assert_sound(&self) {
        assert_eq!(self.values.names().count().max(1), 1, "too many names");
        // Decoding has checked their number, and that no two are of one key.
        self.values.records();
        let live = self.requests.iter().filter_map(|request| {
            let taken = request.leads()?;
            (self.clock < taken.ends).then_some(request.key)
        });
        let mut led = BTreeSet::new();
        for key in live {
            assert!(led.insert(key), "two lead at once");
        }
    }

    /// What a step must not do: remove a live record that is not the actor's own.
    fn assert_kept(&self, before: &Self, step: Step) {
        let actor = match step {
            Step::Goes { request, .. } => owner_of(self.requests[request].worker),
            _ => u64::MAX,
        };
        let after = self.values.records();
        for old in before.values.records() {
            let Kind::Held(holder) = &old.kind else {
                continue;
            };
            if old.term.ends <= self.clock || holder.owner == actor {
                continue;
            }
            let kept = after.iter().find(|new| new.key == old.key);
            assert!(
                kept.is_some_and(|new| matches!(&new.kind, Kind::Held(now)
                    if now.owner == holder.owner
                        && now.generation == holder.generation
                        && now.waiting.starts_with(&holder.waiting))),
                "somebody else's lease was removed"
            );
        }
    }

    /// Versions are only compared with each other: states that differ in nothing else are one.
    fn renumber(&mut self) {
        let mut used: BTreeSet<u32> = self
            .values
            .0
            .values()
            .map(|(_, version)| *version)
            .collect();
        let mut versions: Vec<&mut u32> = Vec::new();
        for request in &mut self.requests {
            if let Phase::Join { log, .. } | Phase::Release { log, .. } = &mut request.phase {
                for reply in log {
                    if let Reply::Got(Ok(Some((_, version)))) = reply {
                        used.insert(*version);
                        versions.push(version);
                    }
                }
            }
        }
        versions.extend(self.values.0.values_mut().map(|(_, version)| version));
        for version in versions {
            *version = used.range(..*version).count() as u32 + 1;
        }
    }

    fn has_ended(&self) -> bool {
        let mut requests = self.requests.iter();
        requests.all(|request| matches!(request.phase, Phase::Ended(_)))
    }

    fn ends(&self) -> Vec<End> {
        let requests = self.requests.iter();
        requests
            .map(|request| match request.phase {
                Phase::Ended(end) => end,
                _ => panic!("a request that never ends: {request:?}"),
            })
            .collect()
    }
}

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

#[test]
fn the_upstream_is_asked_once_when_nobody_vanishes_and_nothing_ends() {
    for workers in [2, 3] {
        let explored = explore(World::new(
            workers,
            (0..workers).map(|it| Request::new(it, 1)),
        ));
        assert_all(&explored, |ends| {
            asked(ends) == 1 && count(ends, End::AskedAsLeader) == 1
        });
        assert_eq!(
            explored.outcomes.len(),
            workers,
            "each may be the one that leads"
        );
    }
}

#[test]
fn two_keys_in_one_bucket_are_asked_for_once_each() {
    let requests = [(0, 1), (0, 2), (1, 1), (1, 2)].map(|(worker, key)| Request::new(worker, key));
    let explored = explore(World::new(2, requests));
    assert_all(&explored, |ends| {
        let [a, b, c, d] = ends else { return false };
        asked(&[*a, *c]) == 1 && asked(&[*b, *d]) == 1
    });
    let requests = [(0, 1), (1, 2), (2, 1)].map(|(worker, key)| Request::new(worker, key));
    assert_all(&explore(World::new(3, requests)), |ends| asked(ends) == 2);
}

#[test]
fn a_worker_that_vanishes_costs_the_others_at_most_its_lease() {
    let explored = explore(crowded(
        World {
            vanishings_left: 1,
            ticks_left: 1,
            ..World::new(3, (0..3).map(|it| Request::new(it, 1)))
        },
        0,
        0,
    ));
    assert_all(&explored, |ends| count(ends, End::Vanished) <= 1);
    let nobody_did = explored
        .outcomes
        .iter()
        .any(|ends| count(ends, End::Vanished) == 0);
    assert!(nobody_did);
}

#[test]
fn a_lease_that_ends_is_taken_over_and_its_old_leader_does_no_harm() {
    let explored = explore(crowded(
        World {
            ticks_left: 2,
            ..World::new(3, (0..3).map(|it| Request::new(it, 1)))
        },
        0,
        0,
    ));
    let led = |ends: &Vec<End>| count(ends, End::AskedAsLeader);
    assert_all(&explored, |ends| asked(ends) >= 1);
    assert_eq!(explored.outcomes.iter().map(led).max(), Some(3));
}

#[test]
fn a_worker_that_takes_over_from_itself_releases_each_generation_on_its_own() {
    let explored = explore(World {
        ticks_left: 2,
        ..World::new(
            2,
            [(0, 1), (0, 1), (1, 1)].map(|(it, key)| Request::new(it, key)),
        )
    });
    let led = |ends: &Vec<End>| count(ends, End::AskedAsLeader);
    assert_all(&explored, |ends| asked(ends) >= 1);
    assert_eq!(explored.outcomes.iter().map(led).max(), Some(3));
}

#[test]
fn after_an_unstorable_answer_nobody_leads_or_waits() {
    let unstorable = |it| Request::new(it, 1).unstorable();
    let explored = explore(World::new(3, (0..3).map(unstorable)));
    assert_all(&explored, |ends| {
        asked(ends) == 3 && count(ends, End::AskedAsLeader) == 1
    });
    let explored = explore(crowded(
        World {
            ticks_left: 1,
            vanishings_left: 1,
            ..World::new(3, (0..3).map(unstorable))
        },
        0,
        0,
    ));
    assert_all(&explored, |ends| count(ends, End::FromCache) == 0);
}

#[test]
fn whoever_does_not_wait_or_has_no_queue_is_in_nobodys_way() {
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

/// The bucket exists from the start, with this many records of other keys. Who creates it is
/// explored where nothing else goes wrong.
fn crowded(mut world: World, held: usize, unstorable: usize) -> World {
    let mut bucket = Bucket::default();
    for number in 0..held + unstorable {
        bucket.records.push(Record {
            key: full_key(100 + number as u8),
            term: Term::new(world.clock, 100 * MAX_AGE),
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

#[test]
fn a_full_bucket_gives_no_lease_and_loses_none() {
    let requests = [(0, 1), (1, 2), (2, 1)].map(|(worker, key)| Request::new(worker, key));
    let world = World::new(3, requests.clone());
    let explored = explore(crowded(world.clone(), MAX_RECORDS, 0));
    assert_all(&explored, |ends| count(ends, End::AskedAlone) == 3);
    // Room for one of two keys.
    for unstorable in [0, 1] {
        let explored = explore(crowded(world.clone(), MAX_RECORDS - 1, unstorable));
        assert_all(&explored, |ends| {
            asked(ends) <= 3 && count(ends, End::AskedAsLeader) >= 1
        });
    }
}

#[test]
fn a_host_that_fails_once_forgets_nobody_for_longer_than_a_lease() {
    for world in [World::new(2, []), crowded(World::new(3, []), 0, 0)] {
        let requests = (0..world.workers.len()).map(|it| Request::new(it, 1));
        let explored = explore(World {
            faults_left: 1,
            ticks_left: 1,
            requests: requests.collect(),
            ..world
        });
        assert_all(&explored, |ends| asked(ends) >= 1);
    }
}
