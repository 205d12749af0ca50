//! What a worker does while no request waits for it, or after the request that asked for it is gone.
//! A task takes [`Input`] and gives [`Output`] as an exchange does; the host runs it outside of
//! requests.
//!
//! ```text
//!  Write, Probe, Delete ── begin ──► Writing, Probing, Deleting ── called ──► Over
//!  Refresh ── begin ──► Asking ── called: no newer one in the store ──► Refreshing ── called ──►
//!                          │ a newer one                       Storing ── inserted ──► Over
//!                          └──► Copying ── inserted ──► Over
//!  Peek ── begin ──► Peeking ── the leader is gone ──┐
//!  Find ── begin ──► Finding ◄───────────────────────┘
//!                       │ not in memory        │ in memory
//!                       ▼                      ▼
//!                    Fetching ── called ──► Over: who waits is released
//!  Free ── begin ──► Over: who waited is released
//! ```

use std::rc::Rc;

use crate::cache::{CacheKey, Entry, Freshness, Seal, Tier};
use crate::callout::{Callout, CalloutFault, CalloutResult};
use crate::shares::Share;
use crate::store::{Lookup, StoreFault, Stored, WriteRoom};

use super::budget::{Charged, Reservation};
use super::permit::FetchPermit;
use super::recorder::{EndedBy, ResponseRecorder, is_genuine};
use super::request::Keyed;
use super::storing::{self, Storing};
use super::trailers;
use super::worker::Remote;
use super::{
    CollapseFault, Input, NotStored, Operation, OperationResult, Output, Release, Report, Worker,
};

/// What is to be done in the background.
#[derive(Debug)]
pub struct Task(State);

#[derive(Debug)]
enum State {
    Write {
        key: CacheKey,
        entry: Vec<u8>,
        /// When it is of no more use, in milliseconds since 1970.
        expires: u64,
        permit: Option<FetchPermit>,
        room: WriteRoom,
    },
    Writing {
        permit: Option<FetchPermit>,
        _room: WriteRoom,
    },
    Delete(CacheKey, WriteRoom),
    Deleting(WriteRoom),
    Probe,
    Probing,
    Refresh {
        request: Box<Keyed>,
        callout: Callout,
        /// Until the host has the request's body.
        reservation: Reservation,
    },
    Asking {
        request: Box<Keyed>,
        callout: Callout,
        _reservation: Reservation,
        _room: Share,
    },
    Copying(FetchPermit),
    Refreshing(Box<Keyed>),
    Storing(Storing),
    Find(CacheKey),
    Finding(CacheKey),
    Fetching(CacheKey, Share),
    Peek(CacheKey),
    Peeking(CacheKey),
    Free(Vec<u32>, CollapseFault),
    Over,
}

impl Task {
    /// Writes an entry, for which there is room, to the store behind HTTP. The requests that
    /// wait for it are told by `permit`.
    pub(super) fn write(
        key: CacheKey,
        entry: Vec<u8>,
        expires: u64,
        permit: Option<FetchPermit>,
        room: WriteRoom,
    ) -> Self {
        Self(State::Write {
            key,
            entry,
            expires,
            permit,
            room,
        })
    }

    /// Removes an entry from the store behind HTTP.
    pub(super) fn delete(key: CacheKey, room: WriteRoom) -> Self {
        Self(State::Delete(key, room))
    }

    /// Tries whether the store behind HTTP is well.
    pub(super) fn probe() -> Self {
        Self(State::Probe)
    }

    /// Asks the upstream for a new answer.
    pub(super) fn refresh(request: Keyed, callout: Callout, reservation: Reservation) -> Self {
        Self(State::Refresh {
            request: Box::new(request),
            callout,
            reservation,
        })
    }

    /// Finds the entry that a flight ended with, for those who wait for it.
    pub(super) fn find(key: CacheKey) -> Self {
        Self(State::Find(key))
    }

    /// Finds out whether a flight of another worker has ended.
    pub(super) fn peek(key: CacheKey) -> Self {
        Self(State::Peek(key))
    }

    /// Lets exchanges go that have waited.
    pub(super) fn free(exchanges: Vec<u32>, because: CollapseFault) -> Self {
        Self(State::Free(exchanges, because))
    }

    /// Takes what happened and appends what is to be done, in order. The first input is
    /// [`Input::Begin`].
    pub fn handle(&mut self, input: Input<'_>, worker: &Worker, out: &mut Vec<Output>) {
        let state = std::mem::replace(&mut self.0, State::Over);
        self.0 = state.handle(input, worker, out);
    }

    /// The task ends here, whatever was to come: who relies on it is told.
    pub fn abandon(self, worker: &Worker, out: &mut Vec<Output>) {
        let permit = match self.0 {
            State::Write { permit, .. } | State::Writing { permit, .. } => permit,
            State::Refresh { request, .. }
            | State::Asking { request, .. }
            | State::Refreshing(request) => Some(request.permit()),
            State::Copying(permit) => Some(permit),
            _ => None,
        };
        if let Some(permit) = permit {
            permit.abandoned(worker, out);
        }
    }

    /// No callout can be sent in the background. What needs one is over; anything else is kept.
    pub(super) fn give_up(
        mut self,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> Option<Self> {
        let calls = match self.0 {
            State::Write { .. } | State::Delete(..) | State::Probe => 1,
            // It may ask the store first.
            State::Refresh { .. } => 2,
            _ => return Some(self),
        };
        self.handle(Input::Begin { now }, worker, &mut Vec::new());
        for _ in 0..calls {
            let result = Err(CalloutFault::NotSent);
            self.handle(Input::Called { result, now }, worker, out);
        }
        out.retain(|output| !matches!(output, Output::Call(_)));
        None
    }
}

impl State {
    fn handle(self, input: Input<'_>, worker: &Worker, out: &mut Vec<Output>) -> Self {
        match (self, input) {
            (Self::Free(exchanges, because), Input::Begin { .. }) => {
                worker.release(exchanges, &Release::Go(because));
                Self::Over
            }
            (Self::Find(key), Input::Begin { .. }) => {
                out.push(Output::LookUp(key));
                Self::Finding(key)
            }
            (Self::Finding(key), Input::LookedUp { found, now }) => {
                found_in_memory(key, found, now, worker, out)
            }
            (Self::Fetching(key, _room), Input::Called { result, now }) => {
                let found = worker
                    .http
                    .as_ref()
                    .map(|remote| remote.looked_up(result, now, worker, out));
                end(
                    &key,
                    found.and_then(Result::ok).flatten(),
                    Tier::Http,
                    worker,
                );
                Self::Over
            }
            (Self::Peek(key), Input::Begin { .. }) => {
                out.push(Output::Peek(key));
                Self::Peeking(key)
            }
            (Self::Peeking(key), Input::Peeked { held: false }) if worker.flights.land(&key) => {
                out.push(Output::LookUp(key));
                Self::Finding(key)
            }
            (
                Self::Refresh {
                    request,
                    callout,
                    reservation,
                },
                Input::Begin { now },
            ) => {
                // Another gateway may have refreshed it.
                let remote = worker.http.as_ref();
                let look_up = |remote: &Remote| {
                    remote.look_up(&request.key, request.tenant, now, worker, out)
                };
                match remote.map(look_up) {
                    Some(Lookup::Ask(lookup, room)) => {
                        out.push(Output::Call(lookup));
                        Self::Asking {
                            request,
                            callout,
                            _reservation: reservation,
                            _room: room,
                        }
                    }
                    _ => {
                        out.push(Output::Call(callout));
                        Self::Refreshing(request)
                    }
                }
            }
            (
                Self::Asking {
                    request, callout, ..
                },
                Input::Called { result, now },
            ) => {
                let newer = worker.http.as_ref().and_then(|remote| {
                    let found = remote.looked_up(result, now, worker, out).ok()??;
                    let entry = fresh(&request.key, found, &remote.seal, now, worker)?;
                    if !is_genuine(&entry, &request, worker) {
                        return None;
                    }
                    worker.copy_for_memory(request.key, &entry, &request.settings, now)
                });
                match newer {
                    Some(copy) => {
                        worker.refreshes.ended(&request.key, Ok(200), now);
                        out.push(copy);
                        Self::Copying(request.permit())
                    }
                    None => {
                        out.push(Output::Call(callout));
                        Self::Refreshing(request)
                    }
                }
            }
            (Self::Copying(permit), Input::Inserted(result)) => {
                if let Ok(evicted) = result {
                    out.push(Output::Report(Report::Evictions(evicted)));
                }
                permit.found(worker, out);
                Self::Over
            }
            (Self::Refreshing(request), Input::Called { result, now }) => {
                let status = result.as_ref().map(|reply| reply.status);
                let status = status.map_err(|fault| *fault);
                worker.refreshes.ended(&request.key, status, now);
                refreshed(*request, result, now, worker, out).map_or(Self::Over, Self::Storing)
            }
            (Self::Storing(storing), Input::Inserted(result)) => {
                storing.inserted(result, worker, out);
                Self::Over
            }
            (state, input) => match &worker.http {
                Some(remote) => state.handle_remote(input, remote, worker, out),
                None => Self::Over,
            },
        }
    }

    /// What is done with the store behind HTTP alone.
    fn handle_remote(
        self,
        input: Input<'_>,
        remote: &Remote,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> Self {
        let store = &remote.store;
        match (self, input) {
            (
                Self::Write {
                    key,
                    entry,
                    expires,
                    permit,
                    room,
                },
                Input::Begin { now },
            ) => {
                let seconds = expires.saturating_sub(now).div_ceil(1_000);
                out.push(Output::Call(store.write(&key.to_string(), seconds, entry)));
                Self::Writing {
                    permit,
                    _room: room,
                }
            }
            (Self::Writing { permit, _room }, Input::Called { result, now }) => {
                let (written, suspicion) = store.written(result, now);
                report(Operation::Write, done(written), out);
                worker.try_store(suspicion, out);
                if let Some(permit) = permit {
                    match written {
                        Ok(()) => permit.found(worker, out),
                        Err(_) => permit.abandoned(worker, out),
                    }
                }
                Self::Over
            }
            (Self::Delete(key, room), Input::Begin { .. }) => {
                out.extend(store.delete(&key.to_string()).map(Output::Call));
                Self::Deleting(room)
            }
            (Self::Deleting(_room), Input::Called { result, now }) => {
                let (deleted, suspicion) = store.deleted(result, now);
                report(Operation::Delete, done(deleted), out);
                worker.try_store(suspicion, out);
                Self::Over
            }
            (Self::Probe, Input::Begin { .. }) => {
                out.push(Output::Call(store.probe()));
                Self::Probing
            }
            (Self::Probing, Input::Called { result, now }) => {
                let (found, turn) = store.probed(result, now);
                report(Operation::Probe, OperationResult::of_lookup(&found), out);
                out.extend(turn.map(|turn| Output::Report(Report::Breaker(turn))));
                Self::Over
            }
            // Nothing else happens to a task.
            _ => Self::Over,
        }
    }
}

/// Stands for the worker itself, among its callers.
const OWN: u64 = 0;

fn found_in_memory(
    key: CacheKey,
    found: Result<Option<Stored>, StoreFault>,
    now: u64,
    worker: &Worker,
    out: &mut Vec<Output>,
) -> State {
    // What has expired is what was there before.
    let found = found.ok().flatten().map(|stored| stored.bytes);
    let is_fresh = |bytes: &Vec<u8>| {
        let entry = fresh(&key, bytes.clone(), &Seal::Checksum, now, worker);
        entry.is_some()
    };
    let found = found.filter(is_fresh);
    if found.is_none()
        && let Some(remote) = &worker.http
        && let Lookup::Ask(callout, room) = remote.look_up(&key, OWN, now, worker, out)
    {
        out.push(Output::Call(callout));
        return State::Fetching(key, room);
    }
    end(&key, found, Tier::Memory, worker);
    State::Over
}

/// The entry for a key, unless it has expired or is none.
fn fresh(key: &CacheKey, bytes: Vec<u8>, seal: &Seal, now: u64, worker: &Worker) -> Option<Entry> {
    let entry = Entry::decode(key, bytes, seal).ok()?;
    let freshness = worker.freshness(&entry.head, now);
    matches!(freshness, Freshness::Fresh { .. }).then_some(entry)
}

/// A flight is over: who waits gets its answer, or goes to the upstream.
fn end(key: &CacheKey, entry: Option<Vec<u8>>, tier: Tier, worker: &Worker) {
    // They are released a few at a time.
    let held = entry.map(|entry| {
        let bytes = entry.capacity();
        Charged::new(entry, bytes, &worker.budget)
    });
    let release = match held {
        Some(Some(entry)) => Release::Answer {
            entry: Rc::new(entry),
            tier,
        },
        Some(None) => Release::Go(CollapseFault::CaptureLimit),
        None => Release::Go(CollapseFault::LeaderFailed),
    };
    worker.release(worker.flights.end(key), &release);
}

/// Takes in the answer to a refresh, as if it had passed.
fn refreshed(
    request: Keyed,
    result: CalloutResult,
    now: u64,
    worker: &Worker,
    out: &mut Vec<Output>,
) -> Option<Storing> {
    let permit = request.permit();
    let whole = result.map_err(|_| NotStored::Aborted).and_then(|reply| {
        let mut recorder = ResponseRecorder::begin(request, &reply.headers, true, now, worker)?;
        let body = reply.body.ok_or(NotStored::ResponseTooLarge)?;
        if !trailers::are_harmless(&reply.trailers) {
            return Err(NotStored::Trailers);
        }
        recorder.take(Some(&body), now)?;
        recorder.finish(EndedBy::Upstream, worker)
    });
    match whole {
        Ok(whole) => storing::begin(whole, now, worker, out),
        Err(reason) => {
            permit.not_stored(reason, worker, out);
            None
        }
    }
}

fn report(operation: Operation, result: OperationResult, out: &mut Vec<Output>) {
    out.push(Output::Report(Report::Store(operation, result)));
}

fn done(result: Result<(), StoreFault>) -> OperationResult {
    result.map_or_else(OperationResult::Failed, |()| OperationResult::Done)
}
