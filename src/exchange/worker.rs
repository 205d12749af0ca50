//! What the exchanges of one worker share, and what it does in the background on their behalf.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use crate::attributes::Attributes;
use crate::cache::{
    CacheKey, Draft, Entry, EntryHead, Freshness, NeededAttributes, Seal, freshness,
};
use crate::callout::CalloutResult;
use crate::config::{Config, Settings};
use crate::http::Headers;
use crate::random::Random;
use crate::store::{HttpStore, Lookup, StoreFault, Suspicion, WriteBegun, WriteRoom};

use super::flights::{Due, Flights};
use super::near_misses::NearMisses;
use super::permit::FetchPermit;
use super::refresh::Refreshes;
use super::request_memo::{KeyHeaderFilter, RequestMemo};
use super::route::RouteObserver;
use super::task::Task;
use super::{
    CaptureBudget, CollapseFault, Operation, OperationResult, Output, Release, Report, milliseconds,
};

/// What the exchanges of one worker share.
#[derive(Debug)]
pub struct Worker {
    /// The configuration that holds for exchanges begun under it.
    pub config: Config,
    /// What requests that are held and answers that are captured may take together.
    pub budget: CaptureBudget,
    /// How long an answer may live that is stored under this configuration, in milliseconds.
    longest_ttl: u64,
    pub(super) http: Option<Remote>,
    pub(super) flights: Flights,
    pub(super) refreshes: Refreshes,
    pub(super) routes: RouteObserver,
    pub(super) deciding: KeyHeaderFilter,
    pub(super) needed: NeededAttributes,
    /// Some requests may be sent once more, to refresh what has expired.
    pub(super) resends: bool,
    /// Keys what explains keys to clients; `None` explains nothing.
    pub explaining: Option<[u64; 4]>,
    /// `None` without a random key.
    pub(super) memo: Option<RequestMemo>,
    pub(super) near_misses: NearMisses,
    /// To be run as soon as the host has woken the worker up.
    tasks: RefCell<Vec<Task>>,
    /// The host has been told to wake the worker up.
    woken: Cell<bool>,
    /// To be released, in order.
    released: RefCell<VecDeque<(u32, Release)>>,
    random: RefCell<Random>,
}

/// The number of exchanges that are released in one go. Envoy sends local replies one from within another (each
/// runs the response's callbacks of its stream, at whose end the next is sent), on one stack.
const RELEASED_AT_ONCE: usize = 16;

/// An entry to be written to the store behind HTTP.
pub(super) struct Write {
    pub(super) key: CacheKey,
    /// On behalf of whom: [`Keyed::tenant`](super::request::Keyed::tenant).
    pub(super) tenant: u64,
    pub(super) draft: Draft,
    /// When it is of no more use, in milliseconds since 1970.
    pub(super) expires: u64,
    /// Of those who wait for it, if they are to be told when it is written.
    pub(super) permit: Option<FetchPermit>,
}

/// The store behind HTTP, and what proves that an entry in it is ours.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) store: HttpStore,
    pub(super) seal: Seal,
}

impl Worker {
    /// A worker without exchanges. `seed` makes its randomness, and is best different in each.
    /// `secret` is a key that nobody else knows: with it, requests that come again are answered
    /// faster.
    pub fn new(config: Config, seed: u64, secret: Option<[u64; 4]>) -> Self {
        let mut random = Random::new(seed);
        let resends = config
            .all_settings()
            .any(|settings| !settings.stale_while_revalidate.is_zero());
        let http = config.http.clone().map(|settings| {
            let key = settings.integrity_key.as_ref();
            Remote {
                seal: Seal::new(key.map(|key| key.expose().as_bytes())),
                store: HttpStore::new(settings, random.bits()),
            }
        });
        let ttls = config
            .all_settings()
            .flat_map(|settings| [settings.ttl, settings.client.max_ttl]);
        let longest_ttl = ttls.max().unwrap_or_default();
        Self {
            budget: CaptureBudget::new(config.limits.max_capture_bytes),
            longest_ttl: milliseconds(longest_ttl),
            http,
            deciding: KeyHeaderFilter::new(&config),
            needed: NeededAttributes::new(config.all_settings()),
            resends,
            explaining: None,
            memo: secret.map(RequestMemo::new),
            near_misses: NearMisses::new(secret.unwrap_or_default()),
            config,
            flights: Flights::new(random.bits()),
            refreshes: Refreshes::new(),
            routes: RouteObserver::default(),
            tasks: RefCell::default(),
            woken: Cell::new(false),
            released: RefCell::default(),
            random: RefCell::new(random),
        }
    }

    /// What is to be run now; answers [`Output::Wake`]. Each takes [`Input::Begin`](super::Input)
    /// first.
    pub fn take_tasks(&self) -> Vec<Task> {
        self.woken.set(false);
        self.tasks.take()
    }

    /// Which exchanges are to be told [`Input::Released`](super::Input::Released) now, and how. There
    /// may be more for the next time: see [`Worker::has_more`].
    pub fn take_released(&self) -> Vec<(u32, Release)> {
        let mut released = self.released.borrow_mut();
        let now = released.len().min(RELEASED_AT_ONCE);
        released.drain(..now).collect()
    }

    /// Whether the host is to wake the worker up once more.
    pub fn has_more(&self) -> bool {
        !self.released.borrow().is_empty()
    }

    /// The host cannot wake the worker up: callouts in the background will not be sent. What else
    /// was to be done waits for the next tick.
    pub fn cannot_wake(&self, now: u64, out: &mut Vec<Output>) {
        for task in self.take_tasks() {
            let kept = task.give_up(now, self, out);
            self.tasks.borrow_mut().extend(kept);
        }
        // What was added meanwhile has woken nobody.
        self.woken.set(false);
    }

    /// Another worker, which asked the upstream for this key, has ended; or an earlier one has, and
    /// the message was late.
    pub fn told(&self, key: &CacheKey) {
        if self.flights.follows(key) {
            self.tasks.borrow_mut().push(Task::peek(*key));
        }
    }

    /// Whether [`Worker::tick`] is to be called every now and then: only while somebody waits.
    pub fn wants_ticks(&self) -> bool {
        self.flights.are_waited_for() || self.has_more() || !self.tasks.borrow().is_empty()
    }

    /// Time has passed: who has waited long enough goes, and who is unheard of is looked for.
    pub fn tick(&self, now: u64) {
        let Due { overdue, unheard } = self.flights.due(now);
        let mut tasks = self.tasks.borrow_mut();
        if !overdue.is_empty() {
            tasks.push(Task::free(overdue, CollapseFault::Timeout));
        }
        tasks.extend(unheard.into_iter().map(Task::peek));
    }

    /// A request is over that came with these headers and was sent with those by a route; answers
    /// [`Output::WatchRoute`].
    pub fn observe(&self, came: &Headers, sent: &Headers, by: &Attributes) {
        self.routes.observe(came, sent, by);
    }

    /// Whether a request is known to reach the upstream as it comes.
    pub(super) fn lets_pass(&self, came: &Headers, by: &Attributes) -> bool {
        self.routes.let_pass(came, by)
    }

    /// An exchange waits; answers [`Output::Wait`]. `exchange` is the number by which
    /// [`Worker::take_released`] names it.
    pub fn wait(
        &self,
        key: &CacheKey,
        exchange: u32,
        since: u64,
        deadline: u64,
        out: &mut Vec<Output>,
    ) {
        if !self.flights.wait(key, exchange, since, deadline) {
            let gone = CollapseFault::LeaderFailed;
            self.add(Task::free(vec![exchange], gone), out);
        }
    }

    /// An exchange waits no more; answers [`Output::Leave`].
    pub fn leave(&self, key: &CacheKey, exchange: u32) {
        self.flights.leave(key, exchange);
    }

    /// The one that asked the upstream for a key, here, has ended; with an answer in a store, or
    /// without.
    pub(super) fn landed(&self, key: CacheKey, flight: u32, stored: bool, out: &mut Vec<Output>) {
        if !self.flights.is_led_by(&key, flight) {
            // It took so long that another took over.
            return;
        }
        if stored {
            if self.flights.land(&key) {
                self.add(Task::find(key), out);
            }
        } else {
            let waiting = self.flights.end(&key);
            if !waiting.is_empty() {
                self.add(Task::free(waiting, CollapseFault::LeaderFailed), out);
            }
        }
    }

    /// Lets exchanges go that waited.
    pub(super) fn release(&self, exchanges: Vec<u32>, release: &Release) {
        let released = exchanges.into_iter().map(|id| (id, release.clone()));
        self.released.borrow_mut().extend(released);
    }

    /// Has an entry written to the store behind HTTP, if there is one and room in it.
    pub(super) fn write(
        &self,
        write: Write,
        now: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreFault> {
        let Write {
            key,
            tenant,
            draft,
            expires,
            permit,
        } = write;
        let remote = self.http.as_ref().ok_or(StoreFault::Unavailable)?;
        let entry = draft.seal(&remote.seal);
        let bytes = entry.len();
        let room = remote.begin(Operation::Write, tenant, bytes, now, self, out)?;
        self.add(Task::write(key, entry, expires, permit, room), out);
        Ok(())
    }

    /// Has an entry that is of no more use removed, where the store does not do that by itself. Best
    /// effort: it takes room, no more.
    pub(super) fn delete(&self, key: &CacheKey, tenant: u64, now: u64, out: &mut Vec<Output>) {
        let Some(remote) = &self.http else {
            return;
        };
        if remote.store.keeps_expired()
            && let Ok(room) = remote.begin(Operation::Delete, tenant, 0, now, self, out)
        {
            self.add(Task::delete(*key, room), out);
        }
    }

    /// The freshness of an entry, which lives no longer than what is stored here could: another
    /// gateway may have written it, or an earlier configuration.
    pub(super) fn freshness(&self, head: &EntryHead, now: u64) -> Freshness {
        freshness(now, head.created, head.lifetime.min(self.longest_ttl))
    }

    /// Keeps what the store behind HTTP had in memory as well, if it fits.
    pub(super) fn copy_for_memory(
        &self,
        key: CacheKey,
        entry: &Entry,
        settings: &Settings,
        now: u64,
    ) -> Option<Output> {
        let memory = self.config.memory?;
        let draft = entry.draft_within(memory.max_entry_bytes)?;
        let window = milliseconds(settings.stale_window());
        let expires = entry.head.created.saturating_add(entry.head.lifetime);
        Some(Output::Insert {
            key,
            entry: draft.seal(&Seal::Checksum),
            expires: expires.saturating_add(window),
            now,
        })
    }

    pub(super) fn random_bits(&self) -> u32 {
        let [b0, b1, b2, b3, ..] = self.random.borrow_mut().bits().to_le_bytes();
        u32::from_le_bytes([b0, b1, b2, b3])
    }

    /// Has the store behind HTTP tried, if it may be unwell.
    pub(super) fn try_store(&self, suspicion: Option<Suspicion>, out: &mut Vec<Output>) {
        if let Some(Suspicion) = suspicion {
            self.add(Task::probe(), out);
        }
    }

    pub(super) fn add(&self, task: Task, out: &mut Vec<Output>) {
        self.tasks.borrow_mut().push(task);
        if !self.woken.replace(true) {
            out.push(Output::Wake);
        }
    }
}

impl Remote {
    /// Decides how to look a key up, and has the store tried if that is due.
    pub(super) fn look_up(
        &self,
        key: &CacheKey,
        tenant: u64,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> Lookup {
        let (lookup, turn) = self.store.look_up(&key.to_string(), tenant, now);
        out.extend(turn.map(|turn| Output::Report(Report::Breaker(turn))));
        match lookup {
            Lookup::Probe => worker.add(Task::probe(), out),
            Lookup::Refused(fault @ StoreFault::Busy) => {
                let busy = OperationResult::Failed(fault);
                out.push(Output::Report(Report::Store(Operation::Lookup, busy)));
            }
            Lookup::Refused(_) | Lookup::Ask(..) => {}
        }
        lookup
    }

    /// What a lookup found, counted.
    pub(super) fn looked_up(
        &self,
        result: CalloutResult,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> Result<Option<Vec<u8>>, StoreFault> {
        let (found, suspicion) = self.store.looked_up(result, now);
        let result = OperationResult::of_lookup(&found);
        out.push(Output::Report(Report::Store(Operation::Lookup, result)));
        worker.try_store(suspicion, out);
        found
    }

    fn begin(
        &self,
        operation: Operation,
        tenant: u64,
        bytes: usize,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> Result<WriteRoom, StoreFault> {
        let (begun, turn) = self.store.begin_write(bytes, tenant, now);
        out.extend(turn.map(|turn| Output::Report(Report::Breaker(turn))));
        let fault = match begun {
            WriteBegun::Yes(room) => return Ok(room),
            WriteBegun::Probe => {
                worker.add(Task::probe(), out);
                StoreFault::BreakerOpen
            }
            WriteBegun::No(fault) => fault,
        };
        let failed = OperationResult::Failed(fault);
        out.push(Output::Report(Report::Store(operation, failed)));
        Err(fault)
    }
}
