//! What a worker does while no request waits for it: a [`Task`] begins, may wait for a callout, and
//! ends.
//!
//! | task | without a callout | while it waits for one | then |
//! |---|---|---|---|
//! | `Write` | | the store behind HTTP is being written to | its permit ends |
//! | `Delete`, `Probe` | | the store behind HTTP is being asked | |
//! | `Refresh` | | the store behind HTTP is asked for a newer entry | copied to memory, or the upstream is asked |
//! | | | the upstream is being asked | stored as if it had passed |
//! | `Find` | in memory: those who wait are released | the store behind HTTP is being asked | those who wait are released |
//! | `Peek` | another worker's leader is gone: goes on as `Find` | | |
//! | `Free` | those who waited are released | | |

use std::rc::Rc;

use crate::budget::{Charged, Reservation};
use crate::bytes::Bytes;
use crate::cache::{CacheKey, Entry, Freshness, Seal, Tier};
use crate::callout::{Callout, CalloutFault, CalloutResult};
use crate::clock::{DeltaSeconds, UnixMillis};
use crate::recording::{EndedBy, ResponseRecorder, StorableResponse, are_harmless};
use crate::report::{CollapseFault, NotStored, StoreOperation};
use crate::request::{FetchPermit, KeyedRequest};
use crate::shares::Share;
use crate::step::Cx;
use crate::store::{Lookup, WriteRoom};
use crate::worker::{Release, Task};

/// Stands for the worker itself, among its callers.
const OWN: u64 = 0;

/// A callout to be sent, and what waits for its result.
pub(crate) struct Sending {
    pub(crate) callout: Callout,
    pub(crate) pending: Pending,
}

/// A task that waits for the result of a callout.
#[derive(Debug)]
pub(crate) enum Pending {
    /// The store behind HTTP is being written to.
    Write {
        permit: Option<FetchPermit>,
        _room: WriteRoom,
    },
    /// An entry is being removed from the store behind HTTP.
    Delete(WriteRoom),
    /// The store behind HTTP is being probed.
    Probe,
    /// The store behind HTTP is being asked for an entry that another gateway has refreshed.
    Newer {
        request: Box<KeyedRequest>,
        /// Asks the upstream, if there is none.
        callout: Callout,
        _reservation: Reservation,
        _room: Share,
    },
    /// The upstream is being asked, since then.
    Refresh(Box<KeyedRequest>, UnixMillis),
    /// The store behind HTTP is being asked for the entry that a flight ended with.
    Find(CacheKey, Share),
}

/// Whether a task cannot be done without a callout.
pub(crate) fn needs_callout(task: &Task) -> bool {
    match task {
        Task::Write { .. } | Task::Delete(..) | Task::Probe | Task::Refresh { .. } => true,
        Task::Find(_) | Task::Peek(_) | Task::Free(..) => false,
    }
}

/// Begins a task; `None` if that is all.
pub(crate) fn begin(task: Task, cx: &Cx<'_>) -> Option<Sending> {
    let http = cx.worker.http.as_ref().map(|http| &http.store);
    match task {
        Task::Write {
            key,
            entry,
            expires,
            permit,
            room,
        } => {
            let Some(http) = http else {
                abandon(permit, cx);
                return None;
            };
            let ttl = DeltaSeconds::ceil(expires.since(cx.now()));
            Some(Sending {
                callout: http.write(&key.to_string(), ttl, entry),
                pending: Pending::Write {
                    permit,
                    _room: room,
                },
            })
        }
        Task::Delete(key, room) => Some(Sending {
            callout: http?.delete(&key.to_string())?,
            pending: Pending::Delete(room),
        }),
        Task::Probe => Some(Sending {
            callout: http?.probe(),
            pending: Pending::Probe,
        }),
        Task::Refresh {
            request,
            callout,
            reservation,
        } => Some(match cx.http_look_up(&request.key, request.tenant) {
            Some(Lookup::Send(lookup, room)) => Sending {
                callout: lookup,
                pending: Pending::Newer {
                    request,
                    callout,
                    _reservation: reservation,
                    _room: room,
                },
            },
            Some(Lookup::Probe | Lookup::Refused(_)) | None => Sending {
                callout,
                pending: Pending::Refresh(request, cx.now()),
            },
        }),
        Task::Find(key) => find(key, cx),
        Task::Peek(key) => {
            let is_gone = !cx.is_leased(&key) && cx.worker.flights.land(&key);
            is_gone.then(|| find(key, cx)).flatten()
        }
        Task::Free(exchanges, because) => {
            cx.worker.released.push(exchanges, &Release::Go(because));
            None
        }
    }
}

/// Looks for the entry that a flight ended with.
fn find(key: CacheKey, cx: &Cx<'_>) -> Option<Sending> {
    let found = cx.look_up(&key).ok().flatten().map(|stored| stored.bytes);
    // What has expired is what was there before.
    let found = found.filter(|bytes| fresh(&key, bytes.clone(), &Seal::Checksum, cx).is_some());
    if found.is_none()
        && let Some(Lookup::Send(callout, room)) = cx.http_look_up(&key, OWN)
    {
        let pending = Pending::Find(key, room);
        return Some(Sending { callout, pending });
    }
    end_flight(&key, found, Tier::Memory, cx);
    None
}

impl Pending {
    /// The callout has come to this; `None` if that is all.
    pub(crate) fn called(self, result: CalloutResult, cx: &Cx<'_>) -> Option<Sending> {
        let http = cx.worker.http.as_ref();
        let now = cx.now();
        match self {
            Self::Write { permit, _room } => {
                let Some(http) = http else {
                    abandon(permit, cx);
                    return None;
                };
                let done = http.store.written(result, now);
                let written = done.0;
                cx.http_done(StoreOperation::Write, done);
                match (permit, written) {
                    (Some(permit), Ok(())) => permit.found(cx),
                    (Some(permit), Err(_)) => permit.abandoned(cx),
                    (None, _) => {}
                }
                None
            }
            Self::Delete(_room) => {
                cx.http_done(StoreOperation::Delete, http?.store.deleted(result, now));
                None
            }
            Self::Probe => {
                cx.http_probed(http?.store.probed(result, now));
                None
            }
            Self::Newer {
                request, callout, ..
            } => {
                let found = cx.http_looked_up(result).ok().flatten();
                if let Some((copy, expires)) = newer(&request, found, cx) {
                    cx.worker.refreshes.ended(&request.key, Ok(200), cx.now());
                    // Without the copy, the next request finds it in the store behind HTTP.
                    let _not_kept = cx.insert(&request.key, &copy, expires);
                    request.permit().found(cx);
                    return None;
                }
                Some(Sending {
                    callout,
                    pending: Self::Refresh(request, now),
                })
            }
            Self::Refresh(request, sent) => {
                let status = result.as_ref().map(|reply| reply.status);
                let status = status.map_err(|fault| *fault);
                cx.worker.refreshes.ended(&request.key, status, cx.now());
                let (permit, subject) = (request.permit(), cx.subject(&request));
                match recorded(*request, result, sent, cx) {
                    Ok(response) => cx.store(response),
                    Err(reason) => permit.not_stored(&subject, reason, cx),
                }
                None
            }
            Self::Find(key, _room) => {
                let found = cx.http_looked_up(result).ok().flatten();
                end_flight(&key, found, Tier::Http, cx);
                None
            }
        }
    }

    /// The result will not come: those who rely on it are told.
    pub(crate) fn abandon(self, cx: &Cx<'_>) {
        match self {
            Self::Write { permit, .. } => abandon(permit, cx),
            Self::Newer { request, .. } | Self::Refresh(request, _) => {
                abandon(Some(request.permit()), cx);
            }
            Self::Delete(_) | Self::Probe | Self::Find(..) => {}
        }
    }
}

/// A task will not begin: those who rely on it are told.
pub(crate) fn abandon_task(task: Task, cx: &Cx<'_>) {
    match task {
        Task::Write { permit, .. } => abandon(permit, cx),
        Task::Refresh { request, .. } => abandon(Some(request.permit()), cx),
        Task::Delete(..) | Task::Probe | Task::Find(_) | Task::Peek(_) | Task::Free(..) => {}
    }
}

fn abandon(permit: Option<FetchPermit>, cx: &Cx<'_>) {
    if let Some(permit) = permit {
        permit.abandoned(cx);
    }
}

/// Does without the callouts that a task needs and that cannot be sent.
pub(crate) fn give_up(task: Task, cx: &Cx<'_>) {
    let mut sending = begin(task, cx);
    while let Some(Sending { pending, .. }) = sending {
        sending = pending.called(Err(CalloutFault::NotSent), cx);
    }
}

/// An entry that another gateway has refreshed, as the memory would keep it, and when it is of no more
/// use; `None` if it is none, or does not fit.
fn newer(
    request: &KeyedRequest,
    found: Option<Bytes>,
    cx: &Cx<'_>,
) -> Option<(Vec<u8>, UnixMillis)> {
    let seal = &cx.worker.http.as_ref()?.seal;
    let entry = fresh(&request.key, found?, seal, cx)?;
    if !cx.is_genuine(&entry, request) {
        return None;
    }
    cx.draft_for_memory(&entry, &request.settings)
}

/// The entry for a key, unless it has expired or is none.
fn fresh(key: &CacheKey, bytes: Bytes, seal: &Seal, cx: &Cx<'_>) -> Option<Entry> {
    let entry = Entry::decode(key, bytes, seal).ok()?;
    let freshness = cx.worker.freshness(&entry.head, cx.now());
    matches!(freshness, Freshness::Fresh { .. }).then_some(entry)
}

/// A flight is over: those who wait get its answer, or go to the upstream.
fn end_flight(key: &CacheKey, entry: Option<Bytes>, tier: Tier, cx: &Cx<'_>) {
    // They are released a few at a time.
    let held = entry.map(|entry| {
        let entry = entry.into_shared();
        let bytes = entry.len();
        Charged::new(entry, bytes, &cx.worker.budget)
    });
    let release = match held {
        Some(Some(entry)) => Release::Answer {
            entry: Rc::new(entry),
            tier,
        },
        Some(None) => Release::Go(CollapseFault::CaptureLimit),
        None => Release::Go(CollapseFault::LeaderFailed),
    };
    cx.worker
        .released
        .push(cx.worker.flights.end(key), &release);
}

/// Takes in the answer to a refresh, as if it had passed.
fn recorded(
    request: KeyedRequest,
    result: CalloutResult,
    sent: UnixMillis,
    cx: &Cx<'_>,
) -> Result<StorableResponse, NotStored> {
    let reply = result.map_err(|_| NotStored::Aborted)?;
    let (now, limits) = (cx.now(), cx.recording_limits());
    let times = (sent, now);
    let mut recorder = ResponseRecorder::begin(request, &reply.headers, true, times, limits)?;
    let body = reply.body.ok_or(NotStored::ResponseTooLarge)?;
    if !are_harmless(&reply.trailers) {
        return Err(NotStored::Trailers);
    }
    recorder.take(Some(&body), now)?;
    recorder
        .finish(EndedBy::Upstream, cx.worker.random_bits())
        .1
}
