//! A whole answer is handed to the stores: to the memory first, and then, in the background, to the
//! store behind HTTP.

use crate::cache::Seal;
use crate::recording::StorableResponse;
use crate::report::{AnswerResult, NotStored, Report};
use crate::store::StoreFault;

use super::Cx;
use super::http::Write;

impl Cx<'_> {
    /// Hands an answer to the stores, and ends its permit.
    pub(crate) fn store(&self, response: StorableResponse) {
        let StorableResponse {
            request,
            draft,
            expires,
            ..
        } = response;
        if let (Some(models), Some(model)) = (&self.worker.models, &request.model) {
            models.add(model, self.host.shared_data());
        }
        let (permit, tenant, subject) = (request.permit(), request.tenant, self.subject(&request));
        let (inserted, for_http) = if self.worker.memory.is_some() {
            let for_http = self.worker.http.as_ref().map(|_| draft.clone());
            let entry = draft.seal(&Seal::Checksum);
            (self.insert(&permit.key, &entry, expires), for_http)
        } else {
            (Err(StoreFault::Unavailable), Some(draft))
        };
        // Those who wait are answered once the answer can be found: in the memory at once, in the
        // store behind HTTP when it has been written.
        let permit_of_write = inserted.is_err().then_some(permit);
        let accepted = for_http.map(|draft| {
            self.http_write(Write {
                key: permit.key,
                tenant,
                draft,
                expires,
                permit: permit_of_write,
            })
        });
        match (inserted, accepted) {
            (Ok(()), _) => permit.stored(&subject, self),
            (Err(_), Some(Ok(()))) => {
                self.report_of(&subject, Report::Answer(AnswerResult::Stored));
            }
            // Why the one store that there is did not take it.
            (Err(_), Some(Err(fault))) if self.worker.memory.is_none() => {
                permit.not_stored(&subject, NotStored::Store(fault), self);
            }
            (Err(fault), _) => permit.not_stored(&subject, NotStored::Store(fault), self),
        }
    }
}
