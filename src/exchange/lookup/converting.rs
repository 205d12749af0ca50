//! A fresh entry serves in another form, or uncompressed: the memory is asked for a copy that is as
//! the request wants it. If it has none, the entry is converted, and the memory gets a copy.

use crate::cache::{CacheKey, Entry, EntryHead, Seal, copy_key, encode};
use crate::exchange::reply;
use crate::exchange::state::State;
use crate::exchange::{Output, Worker};
use crate::store::{StoreFault, Stored};

use super::Search;
use super::found::{Usable, Verified};

/// The memory is being asked for a copy of a fresh entry in the form that the request asks for.
#[derive(Debug)]
pub(in crate::exchange) struct Converting {
    search: Search,
    copy: CacheKey,
    found: Verified,
    ttl: u64,
}

impl Search {
    /// Asks for the copy that serves this request.
    pub(super) fn ask_for_copy(self, found: Verified, ttl: u64, out: &mut Vec<Output>) -> State {
        let copy = self.copy_key(&found.entry);
        out.push(Output::LookUp(copy));
        let search = self;
        State::Converting(Box::new(Converting {
            search,
            copy,
            found,
            ttl,
        }))
    }

    /// The key of the entry's copy as this request wants it.
    fn copy_key(&self, entry: &Entry) -> CacheKey {
        copy_key(
            &self.request.key,
            entry,
            self.form(entry),
            self.zero_usage(),
        )
    }
}

impl Converting {
    /// Serves the copy that the memory has; or converts the entry, and gives the memory a copy.
    pub(in crate::exchange) fn looked_up(
        self,
        found: Result<Option<Stored>, StoreFault>,
        now: u64,
        worker: &Worker,
        out: &mut Vec<Output>,
    ) -> State {
        let Self {
            mut search,
            copy: key,
            found: verified,
            ttl,
        } = self;
        let bytes = found.ok().flatten().map(|stored| stored.bytes);
        if let Some(entry) =
            bytes.and_then(|bytes| Entry::decode(&key, bytes, &Seal::Checksum).ok())
        {
            let usable = Usable {
                entry,
                converted: None,
                age: verified.age,
                tier: verified.tier,
                told: None,
            };
            return search.hit(usable, ttl, now, worker, out);
        }
        match search.usable(verified, worker) {
            Ok(usable) => {
                let copy = usable.copy(key, now, worker);
                let state = search.hit(usable, ttl, now, worker, out);
                out.extend(copy);
                state
            }
            // Nor could a copy in the store behind HTTP serve it.
            Err(miss) => search.missed(miss, None, now, worker, out),
        }
    }
}

impl Usable {
    /// Has the memory keep what was converted as an entry of its own, if it fits.
    fn copy(&self, key: CacheKey, now: u64, worker: &Worker) -> Option<Output> {
        let (form, body) = self.converted.as_ref()?;
        let memory = worker.config.memory?;
        if body.len() > memory.max_entry_bytes {
            return None;
        }
        let headers = reply::headers_of(&self.entry, Some(form));
        let EntryHead {
            status,
            created,
            lifetime,
            ..
        } = *self.entry.head;
        let draft = encode(&key, form, status, created, lifetime, &headers, body)?;
        Some(Output::Insert {
            key,
            entry: draft.seal(&Seal::Checksum),
            expires: created.saturating_add(lifetime),
            now,
        })
    }
}
