//! The memory is asked first.

use std::rc::Rc;

use crate::cache::{Entry, Seal, Tier};
use crate::exchange::reply::bypassed;
use crate::report::{Bypass, Miss, Report, RequestResult};
use crate::step::Cx;
use crate::store::{StoreFault, Stored};
use crate::worker::MemoEntry;

use super::{Found, Search, Searched, Usable, Validity};

impl Search {
    /// Looks for an answer, unless the configuration or the client wants a new one.
    pub(in crate::exchange) fn begin(self, cx: &Cx<'_>) -> Searched {
        if !self.request.settings.mode.reads() {
            let result = RequestResult::Bypass(Bypass::WriteOnly);
            let subject = cx.subject(&self.request);
            cx.report_of(&subject, Report::Request(result));
            return self.forward(subject, bypassed(Bypass::WriteOnly), None, None, cx);
        }
        if self.directives.no_cache {
            return self.forward_miss(Miss::NoCache, None, None, cx);
        }
        let key = &self.request.key;
        let found = match &self.memo_entry {
            Some(memo_entry) => cx.look_again(key, memo_entry.slot),
            None => cx.look_up(key),
        };
        self.looked_up(found, cx)
    }

    fn looked_up(mut self, found: Result<Option<Stored>, StoreFault>, cx: &Cx<'_>) -> Searched {
        let (entry, memo_entry) = match self.recognize(found) {
            Ok(recognized) => recognized,
            Err(miss) => return self.fetch(miss, None, cx),
        };
        let found = match self.verify(entry, Tier::Memory, cx) {
            Ok(found) => found,
            Err(miss) => return self.fetch(miss, None, cx),
        };
        let hit_headers = memo_entry.as_ref().map(|memo| Rc::clone(&memo.hit_headers));
        self.remember(memo_entry, cx);
        if let Validity::Fresh { ttl } = found.validity
            && !self.serves_as_it_is(&found.entry)
        {
            return self.serve_copy(found, ttl, cx);
        }
        match self.convert(found, cx) {
            Ok(Found::Fresh(usable, ttl)) => {
                let usable = Usable {
                    hit_headers,
                    ..usable
                };
                self.hit(usable, ttl, cx)
            }
            Ok(Found::Stale(stale)) if self.may_revalidate(&stale) => self.revalidate(stale, cx),
            // Another gateway may have a newer one.
            Ok(Found::Stale(stale)) => self.fetch(Miss::Expired, Some(stale), cx),
            Err(miss) => self.fetch(miss, None, cx),
        }
    }

    /// The entry that the memory has. What was decoded before, from the same bytes, is not decoded
    /// again.
    fn recognize(
        &mut self,
        found: Result<Option<Stored>, StoreFault>,
    ) -> Result<(Entry, Option<MemoEntry>), Miss> {
        let Stored { bytes, seen } = found.map_err(Miss::Store)?.ok_or(Miss::Absent)?;
        let before = self.memo_entry.take();
        let before = before.zip(seen).filter(|(memo, slot)| memo.slot == *slot);
        if let Some((memo, slot)) = before {
            let entry = Entry::again(Rc::clone(&memo.head), bytes).ok_or(Miss::Unusable)?;
            return Ok((entry, Some(MemoEntry { slot, ..memo })));
        }
        let entry = Entry::decode(&self.request.key, bytes, &Seal::Checksum);
        let entry = entry.map_err(|_| Miss::Unusable)?;
        let memo = seen.map(|slot| MemoEntry {
            slot,
            head: Rc::clone(&entry.head),
            hit_headers: Rc::default(),
        });
        Ok((entry, memo))
    }

    /// A store has an answer to the request: `memo_entry`, if it is the memory.
    pub(super) fn remember(&self, memo_entry: Option<MemoEntry>, cx: &Cx<'_>) {
        if let (Some(fingerprint), Some(memo)) = (self.fingerprint, &cx.worker.memo) {
            memo.remember(fingerprint, memo_entry, &self.request.resolved);
        }
    }
}
