//! Workers and their requests, and what each step does to them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::super::*;
use super::host::{OneCall, Reply, Values};

/// How long leases are taken for, and how far one tick moves the clock.
pub(super) const MAX_AGE: Duration = Duration::from_millis(10);

/// A lease as the model knows it: whose, which, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Taken {
    owner: u64,
    generation: u32,
    ends: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum End {
    FromCache,
    AskedAsLeader,
    AskedAlone,
    Vanished,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    LookUp,
    Join {
        now: UnixMillis,
        log: Vec<Reply>,
    },
    SecondLook(Taken),
    Ask(Taken),
    Insert(Taken),
    Release {
        taken: Taken,
        asked: bool,
        now: UnixMillis,
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
pub(super) struct Request {
    worker: usize,
    key: u8,
    storable: bool,
    wait: bool,
    phase: Phase,
}

impl Request {
    pub(super) fn new(worker: usize, key: u8) -> Self {
        Self {
            worker,
            key,
            storable: true,
            wait: true,
            phase: Phase::LookUp,
        }
    }

    pub(super) fn unstorable(self) -> Self {
        Self {
            storable: false,
            ..self
        }
    }

    pub(super) fn no_wait(self) -> Self {
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
pub(super) struct Worker {
    pub(super) has_queue: bool,
    next_generation: u32,
    vanished: bool,
    /// Keys of messages that have not been read yet.
    queue: BTreeSet<u8>,
}

/// One state: everything there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) values: Values,
    pub(super) stored: BTreeSet<u8>,
    pub(super) workers: Vec<Worker>,
    pub(super) requests: Vec<Request>,
    pub(super) clock: UnixMillis,
    pub(super) ticks_left: u32,
    pub(super) faults_left: u32,
    pub(super) vanishings_left: u32,
    /// Every lease that was ever taken, with its key.
    pub(super) taken: BTreeSet<(u8, u64, u32)>,
    /// Leases that a fault of the host kept from being released.
    pub(super) unreleased: BTreeSet<(u8, u64, u32)>,
}

/// What may happen next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
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

pub(super) fn full_key(key: u8) -> [u8; 32] {
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
    pub(super) fn new(workers: usize, requests: impl IntoIterator<Item = Request>) -> Self {
        let worker = Worker {
            has_queue: true,
            ..Worker::default()
        };
        Self {
            workers: vec![worker; workers],
            requests: requests.into_iter().collect(),
            clock: UnixMillis::from_millis(1_000),
            ..Self::default()
        }
    }

    pub(super) fn steps(&self) -> Vec<Step> {
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

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Tick => {
                self.ticks_left = self.ticks_left.saturating_sub(1);
                self.clock = self.clock + MAX_AGE;
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
                Some(LeaseRecord {
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

    /// When a lease was given back before its end, every worker that waits for it has a message.
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
    pub(super) fn assert_sound(&self) {
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
    pub(super) fn assert_kept(&self, before: &Self, step: Step) {
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
    pub(super) fn renumber(&mut self) {
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

    pub(super) fn has_ended(&self) -> bool {
        let mut requests = self.requests.iter();
        requests.all(|request| matches!(request.phase, Phase::Ended(_)))
    }

    pub(super) fn ends(&self) -> Vec<End> {
        let requests = self.requests.iter();
        requests
            .map(|request| match request.phase {
                Phase::Ended(end) => end,
                _ => panic!("a request that never ends: {request:?}"),
            })
            .collect()
    }
}
