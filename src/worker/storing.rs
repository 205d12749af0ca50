//! A whole answer is handed to the stores: to the memory first, and then, in the background, to the
//! store behind HTTP.

use crate::cache::{Draft, Seal};
use crate::store::StoreFault;

use super::permit::FetchPermit;
use super::recorder::StorableResponse;
use super::worker::Write;
use super::{NotStored, Output, Report, Worker};

/// An answer that the memory is being given.
#[derive(Debug)]
pub(crate) struct Storing {
    permit: FetchPermit,
    /// On behalf of whom.
    tenant: u64,
    /// For the store behind HTTP.
    draft: Option<Draft>,
    /// When it is of no more use, in milliseconds since 1970.
    expires: u64,
    /// When it was whole.
    now: u64,
}

/// Hands an answer to the memory, and [`Storing::inserted`] is told what came of it; `None` if there
/// is no memory to wait for.
pub(crate) fn begin(
    response: StorableResponse,
    now: u64,
    worker: &Worker,
    out: &mut Vec<Output>,
) -> Option<Storing> {
    let StorableResponse {
        permit,
        tenant,
        draft,
        expires,
        ..
    } = response;
    if worker.config.memory.is_none() {
        let draft = Some(draft);
        let storing = Storing {
            permit,
            tenant,
            draft,
            expires,
            now,
        };
        storing.inserted(Err(StoreFault::Unavailable), worker, out);
        return None;
    }
    let for_http = worker.http.as_ref().map(|_| draft.clone());
    out.push(Output::Insert {
        key: permit.key(),
        entry: draft.seal(&Seal::Checksum),
        expires,
        now,
    });
    Some(Storing {
        permit,
        tenant,
        draft: for_http,
        expires,
        now,
    })
}

impl Storing {
    /// The memory has it, or has not.
    pub(crate) fn inserted(
        self,
        result: Result<u32, StoreFault>,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) {
        let Self {
            permit,
            tenant,
            draft,
            expires,
            now,
        } = self;
        if let Ok(evicted) = result {
            out.push(Output::Report(Report::Evictions(evicted)));
        }
        // Who waits is answered once the answer can be found: in the memory at once, in the store
        // behind HTTP when it has been written.
        let fate_of_write = result.is_err().then_some(permit);
        let taken = draft.map(|draft| {
            let write = Write {
                key: permit.key(),
                tenant,
                draft,
                expires,
                permit: fate_of_write,
            };
            worker.write(write, now, out)
        });
        match (result, taken) {
            (Ok(_), _) => permit.stored(worker, out),
            (Err(_), Some(Ok(()))) => out.push(Output::Report(Report::stored())),
            // Why the one store that there is did not take it.
            (Err(_), Some(Err(fault))) if worker.config.memory.is_none() => {
                permit.not_stored(NotStored::Store(fault), worker, out);
            }
            (Err(fault), _) => permit.not_stored(NotStored::Store(fault), worker, out),
        }
    }
}
