//! What a worker does outside of streams: it runs tasks, and releases streams that wait.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::background::{self, Pending, Sending};
use crate::cache::CacheKey;
use crate::callout::CalloutResult;
use crate::clock::UnixMillis;
use crate::config::Config;
use crate::exchange::Wait;
use crate::host::Host;
use crate::report::{CollapseFault, Gauges, LogRecord};
use crate::step::Cx;
use crate::store::{MemoryUsage, UsageSurvey};
use crate::worker::{Due, Release, Task, Worker};

/// The interval of ticks while streams wait. A message announces the end of most waits; ticks find
/// deadlines, and ends whose message was lost.
const TICK: Duration = Duration::from_millis(20);

/// How often the host is told what the worker holds and what was saved, while there is traffic.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// After so many steps of streams it is seen whether that is due: a VM may be denied ticks.
const LOOK_EVERY_STEPS: u32 = 32;

/// How often the memory store is looked at, while there is traffic.
const SURVEY_EVERY: Duration = Duration::from_secs(10);

/// A stream that may wait.
pub(super) trait WaitingStream {
    /// It need wait no longer.
    fn release(self: Rc<Self>, release: Release);
}

/// A worker under one configuration, and the host that it runs in.
pub struct WorkerContext {
    host: Rc<dyn Host>,
    worker: Worker,
    /// The streams that wait to be released.
    waiters: RefCell<BTreeMap<u32, Rc<dyn WaitingStream>>>,
    /// The tasks that wait for the result of a callout, by its token.
    calling: RefCell<BTreeMap<u32, Box<Calling>>>,
    /// The interval of ticks; zero is never.
    tick_period: Cell<Duration>,
    /// How many steps the streams have made.
    steps: Cell<u32>,
    /// How many streams have a request that is held, and not answered yet.
    held: Cell<u64>,
    /// Something has happened that the host was not told of.
    is_unflushed: Cell<bool>,
    flushed_at: Cell<UnixMillis>,
    survey: Cell<UsageSurvey>,
    surveyed_at: Cell<UnixMillis>,
}

/// A task that waits for the result of a callout.
#[derive(Debug)]
struct Calling {
    pending: Pending,
    max_reply_bytes: usize,
}

impl WorkerContext {
    /// Begins with a configuration. Streams that it begins end under it.
    ///
    /// Where [`needs_background`](crate::worker::needs_background) says so, requests are held beyond their
    /// own callbacks: the host then has to deliver messages and ticks, and to let requests go on that it
    /// held back.
    pub fn new(config: Config, host: Rc<dyn Host>) -> Rc<Self> {
        Rc::new(Self {
            worker: Worker::open(config, &*host),
            host,
            waiters: RefCell::default(),
            calling: RefCell::default(),
            tick_period: Cell::default(),
            steps: Cell::default(),
            held: Cell::default(),
            is_unflushed: Cell::default(),
            flushed_at: Cell::default(),
            survey: Cell::default(),
            surveyed_at: Cell::default(),
        })
    }

    /// What the worker knows.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// A message has come through the worker's queue: empty from itself, a key from a worker that has
    /// ended asking the upstream for it.
    pub fn message(&self, message: &[u8]) {
        // An earlier one may have ended, and the message was late.
        if let Ok(key) = <[u8; 32]>::try_from(message) {
            let key = CacheKey::from_bytes(key);
            if self.worker.flights.follows(&key) {
                self.worker.tasks.push(Task::Peek(key));
            }
        }
        self.run();
    }

    /// A tick: releases streams whose deadline has passed, checks the leases of leaders in other
    /// workers that have sent no message, and tells the host what was not told at once.
    pub fn tick(&self) {
        self.flush_if_due(|now| self.survey_memory(now));
        let Due { overdue, unheard } = self.worker.flights.due(self.cx().now());
        if !overdue.is_empty() {
            let task = Task::Free(overdue, CollapseFault::Timeout);
            self.worker.tasks.push(task);
        }
        let peeks = unheard.into_iter().map(Task::Peek);
        self.worker.tasks.extend(peeks);
        self.run();
    }

    /// A callout of the worker has come to an end; `read` is given the length of the longest body that
    /// is of use.
    pub fn called(&self, token: u32, read: impl FnOnce(usize) -> CalloutResult) {
        let calling = self.calling.borrow_mut().remove(&token);
        if let Some(calling) = calling {
            let result = read(calling.max_reply_bytes);
            let cx = self.cx();
            self.send(calling.pending.called(result, &cx), &cx);
            self.run();
        }
    }

    /// The host begins nothing more under this configuration, and forgets the callouts of the worker. Other
    /// workers would wait for their leases.
    pub fn close(&self) {
        let cx = self.cx();
        for calling in self.calling.take().into_values() {
            calling.pending.abandon(&cx);
        }
        for task in self.worker.tasks.take() {
            background::abandon_task(task, &cx);
        }
    }

    fn cx(&self) -> Cx<'_> {
        Cx::new(&*self.host, &self.worker)
    }

    pub(super) fn cx_of_exchange<'a>(&'a self, log_record: &'a RefCell<LogRecord>) -> Cx<'a> {
        Cx::of_exchange(&*self.host, &self.worker, log_record)
    }

    /// A stream waits from now on.
    pub(super) fn wait(&self, stream: u32, waiter: Rc<dyn WaitingStream>, wait: Wait) {
        let Wait {
            key,
            since,
            deadline,
        } = wait;
        self.waiters.borrow_mut().insert(stream, waiter);
        if !self.worker.flights.wait(&key, stream, since, deadline) {
            let task = Task::Free(vec![stream], CollapseFault::LeaderFailed);
            self.worker.tasks.push(task);
        }
        self.set_ticks();
    }

    /// A stream waits no more.
    pub(super) fn leave(&self, stream: u32, key: &CacheKey) {
        self.waiters.borrow_mut().remove(&stream);
        self.worker.flights.leave(key, stream);
    }

    /// A stream's callback is over: what it left to be done is begun soon.
    pub(super) fn settle(&self) {
        if self.worker.tasks.must_wake() {
            self.wake();
        }
        self.is_unflushed.set(true);
        if self.tick_period.get().is_zero() {
            self.set_ticks();
        }
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        if steps.is_multiple_of(LOOK_EVERY_STEPS) {
            // No request waits for the memory store to be looked at.
            self.flush_if_due(|_| None);
        }
    }

    /// A stream's request is held from now on, or is not any more.
    pub(super) fn count_held(&self, is_held: bool) {
        let held = self.held.get();
        self.held.set(match is_held {
            true => held.saturating_add(1),
            false => held.saturating_sub(1),
        });
    }

    /// Tells the host what the worker holds and what was saved, if the last time is long ago.
    fn flush_if_due(&self, survey: impl FnOnce(UnixMillis) -> Option<MemoryUsage>) {
        let now = self.host.now();
        if !self.is_unflushed.get() || now.since(self.flushed_at.get()) < FLUSH_EVERY {
            return;
        }
        self.flushed_at.set(now);
        let budget = &self.worker.budget;
        let capture_bytes = self
            .worker
            .config
            .limits
            .max_capture_bytes
            .saturating_sub(budget.left());
        let gauges = Gauges {
            capture_bytes: u64::try_from(capture_bytes).unwrap_or(u64::MAX),
            held_requests: self.held.get(),
            waiting_requests: u64::try_from(self.waiters.borrow().len()).unwrap_or(u64::MAX),
            memory: survey(now),
        };
        self.host.flush_reports(&gauges);
        let is_quiet = gauges.capture_bytes == 0 && gauges.held_requests == 0;
        self.is_unflushed
            .set(!is_quiet || self.survey.get().is_under_way());
    }

    /// Looks at the memory store, or at a part of it; `None` if it has not been looked at in full.
    fn survey_memory(&self, now: UnixMillis) -> Option<MemoryUsage> {
        let memory = self.worker.memory.as_ref()?;
        let mut survey = self.survey.take();
        let is_due = now.since(self.surveyed_at.get()) >= SURVEY_EVERY;
        let usage = (survey.is_under_way() || is_due)
            .then(|| memory.survey(&mut survey, self.host.shared_data()))
            .flatten();
        self.survey.set(survey);
        if usage.is_some() {
            self.surveyed_at.set(now);
        }
        usage
    }

    /// Runs all that is to be done, until nothing is, and releases some of those who wait.
    fn run(&self) {
        loop {
            let tasks = self.worker.tasks.take();
            if tasks.is_empty() {
                break;
            }
            for task in tasks {
                let cx = self.cx();
                self.send(background::begin(task, &cx), &cx);
            }
        }
        for (stream, release) in self.worker.released.take() {
            let waiter = self.waiters.borrow_mut().remove(&stream);
            // A stream that is gone has left those who wait.
            if let Some(waiter) = waiter
                && self.host.enter_stream(stream).is_ok()
            {
                waiter.release(release);
            }
        }
        // The last stream is still entered: a callout from here on would be its own.
        if self.worker.tasks.must_wake() || !self.worker.released.is_empty() {
            self.wake();
        }
        self.set_ticks();
    }

    /// Sends what a task waits for, until it does or is over.
    fn send(&self, mut sending: Option<Sending>, cx: &Cx<'_>) {
        while let Some(Sending { callout, pending }) = sending {
            sending = match self.host.call(&callout) {
                Ok(token) => {
                    let calling = Box::new(Calling {
                        pending,
                        max_reply_bytes: callout.max_reply_bytes,
                    });
                    self.calling.borrow_mut().insert(token, calling);
                    None
                }
                Err(fault) => pending.called(Err(fault), cx),
            };
        }
    }

    /// Has [`WorkerContext::message`] called once the current callback is over.
    fn wake(&self) {
        let queue = self.worker.queue();
        if queue.is_some_and(|queue| self.host.enqueue(queue, &[]).is_ok()) {
            return;
        }
        // Without messages, only ticks call the worker. Callouts are given up at once, because a write or
        // a refresh that waits for a tick keeps its permit; the rest is done at the next tick.
        let cx = self.cx();
        loop {
            let tasks = self.worker.tasks.take().into_iter();
            let (calling, rest): (Vec<_>, Vec<_>) = tasks.partition(background::needs_callout);
            self.worker.tasks.extend(rest);
            if calling.is_empty() {
                break;
            }
            for task in calling {
                background::give_up(task, &cx);
            }
        }
        self.worker.tasks.not_woken();
        self.set_ticks();
    }

    /// Ticks come only while there is a need for them.
    fn set_ticks(&self) {
        let Worker {
            flights,
            released,
            tasks,
            ..
        } = &self.worker;
        let is_needed = flights.are_waited_for() || !released.is_empty() || !tasks.is_empty();
        let period = match (is_needed, self.is_unflushed.get()) {
            (true, _) => TICK,
            (false, true) => FLUSH_EVERY,
            (false, false) => Duration::ZERO,
        };
        if self.tick_period.replace(period) != period {
            self.host.set_tick_period(period);
        }
    }
}

impl Drop for WorkerContext {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext")
            .field("worker", &self.worker)
            .field("calling", &self.calling)
            .finish_non_exhaustive()
    }
}
