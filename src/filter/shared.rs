//! What the contexts of one configuration on one worker share, and what they do alike.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::cache::CacheKey;
use crate::config::Config;
use crate::exchange::{Input, LeaseKind, Output, Worker};
use crate::store::{
    Joined, Lease, Leases, MemoryStore, Peeked, SharedData, StoreFault, Stored, Version,
};

use super::host::{self, HostSharedData};
use super::http_context::Stream;
use super::metrics::Metrics;

/// How often the root context looks after those who wait, in milliseconds. They are told when there
/// is news; this is for deadlines, and for news that got lost.
const TICK: u32 = 20;

/// What the contexts of one configuration on one worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    memory: Option<MemoryStore>,
    leases: Leases,
    pub(super) metrics: Metrics,
    /// Takes messages to the root context, from this worker and from others.
    queue: Option<u32>,
    /// The streams that wait for the root context to release them.
    waiting: RefCell<BTreeMap<u32, Rc<RefCell<Stream>>>>,
    ticks: Cell<bool>,
    /// Lists that are empty now, for what contexts say next.
    spare: RefCell<Vec<Vec<Output>>>,
}

/// What became of an output.
pub(super) enum Performed {
    Done,
    /// It is answered at once.
    Answered(Input<'static>),
    /// It is not one that all contexts do alike.
    Left(Output),
}

impl Shared {
    pub(super) fn new(config: Config) -> Self {
        let seed = host::random();
        let memory = config.memory.map(|memory| {
            MemoryStore::open(&HostSharedData, memory.max_bytes, memory.max_entry_bytes)
        });
        // Queues cannot be given back: none for a configuration that never needs one.
        let queue = needs_root(&config)
            .then(|| host::register_queue(&format!("llm-cache/worker/{seed:016x}")).ok())
            .flatten();
        let explaining = explaining(&config);
        let metrics = Metrics::new(config.http.as_ref().map(|http| http.cluster.clone()));
        let mut worker = Worker::new(config, seed, host::secret());
        worker.explaining = explaining;
        Self {
            memory,
            leases: Leases::new(seed, queue),
            metrics,
            worker: Rc::new(worker),
            queue,
            waiting: RefCell::default(),
            ticks: Cell::new(false),
            spare: RefCell::default(),
        }
    }

    /// An empty list, with room left from its last use: one is needed at every step of a request.
    pub(super) fn take_list(&self) -> Vec<Output> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a list back that is empty again.
    pub(super) fn give_list_back(&self, list: Vec<Output>) {
        self.spare.borrow_mut().push(list);
    }

    /// Carries out what an exchange or a task says, as far as both are done alike.
    pub(super) fn perform(&self, output: Output) -> Performed {
        match output {
            Output::LookUp(key) => {
                let now = host::now();
                let found = self.look_up(&key, now);
                Performed::Answered(Input::LookedUp { found, now })
            }
            Output::LookAgain(key, seen) => {
                let now = host::now();
                let memory = self.memory.as_ref();
                let found = memory.map_or(Ok(None), |memory| {
                    memory.look_again(&HostSharedData, key.as_bytes(), seen, now)
                });
                Performed::Answered(Input::LookedUp { found, now })
            }
            Output::Insert {
                key,
                entry,
                expires,
                now,
            } => Performed::Answered(Input::Inserted(self.insert(&key, &entry, expires, now))),
            Output::Lease {
                key,
                kind,
                max_age,
                waits,
            } => {
                let now = host::now();
                let shared = &HostSharedData;
                let name = lease_name(&key, kind);
                let joined = self.leases.join(shared, &name, now, max_age, waits);
                let found = match joined {
                    Joined::Leads(_) => self.look_up(&key, now),
                    _ => Ok(None),
                };
                Performed::Answered(Input::Leased { joined, found, now })
            }
            Output::GiveBack {
                key,
                kind,
                lease,
                unstorable_for,
            } => {
                self.give_back(&key, kind, lease, unstorable_for);
                Performed::Done
            }
            Output::Peek(key) => {
                let name = lease_name(&key, LeaseKind::Collapse);
                let peeked = self.leases.peek(&HostSharedData, &name, host::now());
                let held = peeked != Peeked::Free;
                Performed::Answered(Input::Peeked { held })
            }
            Output::Wake => {
                self.wake();
                Performed::Done
            }
            Output::Report(report) => {
                self.metrics.report(report);
                Performed::Done
            }
            left => Performed::Left(left),
        }
    }

    fn look_up(&self, key: &CacheKey, now: u64) -> Result<Option<Stored>, StoreFault> {
        match &self.memory {
            Some(memory) => memory.look_up(&HostSharedData, key.as_bytes(), now),
            None => Ok(None),
        }
    }

    fn insert(
        &self,
        key: &CacheKey,
        entry: &[u8],
        expires: u64,
        now: u64,
    ) -> Result<u32, StoreFault> {
        let memory = self.memory.as_ref().ok_or(StoreFault::Unavailable)?;
        let (now, expires) = (seconds(now), seconds(expires));
        memory.insert(&HostSharedData, key.as_bytes(), entry, now, expires)
    }

    fn give_back(&self, key: &CacheKey, kind: LeaseKind, lease: Lease, unstorable_for: u64) {
        let now = host::now();
        let until = (unstorable_for > 0).then(|| now.saturating_add(unstorable_for));
        let shared = &HostSharedData;
        let name = lease_name(key, kind);
        let waiting = self.leases.release(shared, &name, lease, until, now);
        for queue in waiting {
            // A worker that is not told finds out at its next tick.
            let _untold = host::enqueue(queue, key.as_bytes());
        }
    }

    /// Has the root context called once the current callback is over.
    pub(super) fn wake(&self) {
        let woken = self
            .queue
            .is_some_and(|queue| host::enqueue(queue, &[]).is_ok());
        if !woken {
            let mut outputs = Vec::new();
            self.worker.cannot_wake(host::now(), &mut outputs);
            for output in outputs {
                // What a task says that is given up has no answer.
                let _done = self.perform(output);
            }
        }
    }

    /// A stream waits for the root context to release it.
    pub(super) fn wait(
        &self,
        id: u32,
        stream: Rc<RefCell<Stream>>,
        key: &CacheKey,
        (since, deadline): (u64, u64),
    ) {
        self.waiting.borrow_mut().insert(id, stream);
        let mut outputs = Vec::new();
        self.worker.wait(key, id, since, deadline, &mut outputs);
        for output in outputs {
            let _done = self.perform(output);
        }
        self.set_ticks();
    }

    /// A stream waits no more.
    pub(super) fn leave(&self, id: u32, key: &CacheKey) {
        self.waiting.borrow_mut().remove(&id);
        self.worker.leave(key, id);
    }

    /// A stream that waited.
    pub(super) fn take_waiting(&self, id: u32) -> Option<Rc<RefCell<Stream>>> {
        self.waiting.borrow_mut().remove(&id)
    }

    /// Ticks come only while somebody waits.
    pub(super) fn set_ticks(&self) {
        let wanted = self.worker.wants_ticks();
        if self.ticks.replace(wanted) != wanted {
            let period = if wanted { TICK } else { 0 };
            let _unset = host::set_tick_period(period);
        }
    }
}

/// The name of the key that explanations are made with.
const EXPLAINING: &str = "llm-cache/explain";

/// The key that explanations are made with, which all workers of the process share: whoever comes
/// first draws it.
fn explaining(config: &Config) -> Option<[u64; 4]> {
    if !config
        .all_settings()
        .any(|settings| settings.respond.explain)
    {
        return None;
    }
    let drawn = host::secret()?.map(u64::to_le_bytes);
    // Creates the name, and changes no value that is there: that has another version.
    let _there_already =
        HostSharedData.set(EXPLAINING, drawn.as_flattened(), Some(Version(u32::MAX)));
    let shared = HostSharedData.get(EXPLAINING).ok()??;
    let words = shared.value.as_chunks::<8>().0;
    Some(
        <[[u8; 8]; 4]>::try_from(words)
            .ok()?
            .map(u64::from_le_bytes),
    )
}

/// Under what name the lease on a key goes: another one for each kind.
fn lease_name(key: &CacheKey, kind: LeaseKind) -> [u8; 32] {
    match kind {
        LeaseKind::Collapse => *key.as_bytes(),
        LeaseKind::Refresh => key.as_bytes().map(|byte| !byte),
    }
}

/// Whether requests may be held beyond their own callbacks, or anything be done outside of them.
pub(super) fn needs_root(config: &Config) -> bool {
    config.http.is_some()
        || config.all_settings().any(|settings| {
            !settings.collapse.max_wait.is_zero() || !settings.stale_while_revalidate.is_zero()
        })
}

/// Seconds since 1970 in the 32 bits of the store, which last until 2106.
fn seconds(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds / 1_000).unwrap_or(u32::MAX)
}
