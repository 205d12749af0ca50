//! A fresh entry serves in another form, or uncompressed: the memory is asked for a copy that is as
//! the request wants it. If it has none, the entry is converted, and the memory gets a copy.

use crate::cache::{CacheKey, Entry, EntryHead, NewEntry, Seal, copy_key, encode};
use crate::clock::{DeltaSeconds, UnixMillis};
use crate::exchange::reply;
use crate::step::Cx;

use super::{Search, Searched, Usable, Verified};

impl Search {
    /// Serves the copy that the memory has; or converts the entry, and gives the memory a copy.
    pub(super) fn serve_copy(
        mut self,
        found: Verified,
        ttl: DeltaSeconds,
        cx: &Cx<'_>,
    ) -> Searched {
        let form = self.form(&found.entry);
        let key = copy_key(&self.request.key, &found.entry, form, self.zero_usage());
        let copy = cx.look_up(&key).ok().flatten();
        let copy = copy.and_then(|copy| Entry::decode(&key, copy.bytes, &Seal::Checksum).ok());
        if let Some(entry) = copy {
            let usable = Usable {
                entry,
                converted: None,
                age: found.age,
                tier: found.tier,
                hit_headers: None,
            };
            return self.hit(usable, ttl, cx);
        }
        match self.usable(found, cx) {
            Ok(usable) => {
                let copy = usable.copy(&key, cx);
                let searched = self.hit(usable, ttl, cx);
                if let Some((entry, expires)) = copy {
                    // Without it, the next one is converted again.
                    let _not_kept = cx.insert(&key, &entry, expires);
                }
                searched
            }
            // Nor could a copy in the store behind HTTP serve it.
            Err(miss) => self.missed(miss, None, cx),
        }
    }
}

impl Usable {
    /// What was converted as an entry of its own, if it fits into the memory, and when it is of no more
    /// use.
    fn copy(&self, key: &CacheKey, cx: &Cx<'_>) -> Option<(Vec<u8>, UnixMillis)> {
        let (form, body) = self.converted.as_ref()?;
        let memory = cx.worker.config.memory?;
        if body.len() > memory.max_entry_bytes {
            return None;
        }
        let headers = reply::headers_of(&self.entry, Some(form));
        let EntryHead {
            status,
            created,
            lifetime,
            cost,
            ..
        } = *self.entry.head;
        let entry = NewEntry {
            form,
            status,
            created,
            lifetime,
            cost,
            headers: &headers,
            body,
        };
        let draft = encode(key, &entry)?;
        let expires = created + lifetime;
        Some((draft.seal(&Seal::Checksum), expires))
    }
}
