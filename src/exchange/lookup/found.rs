//! What a store has under a key: verified, brought into the form that a request asks for, and fresh or
//! stale.

use std::borrow::Cow;

use crate::budget::Reservation;
use crate::bytes::Bytes;
use crate::cache::{Entry, Freshness, Seal, Tier};
use crate::coding;
use crate::config::Usage;
use crate::exchange::reply::{Addressee, Served};
use crate::exchange::response::Fallback;
use crate::http;
use crate::llm::{ConversionError, Form};
use crate::report::{Miss, RequestResult};
use crate::step::Cx;
use crate::store::StoreFault;

use super::{Found, Search, Stale, Usable, Validity, Verified};

/// The longest options of a stored form that a new answer is compared with.
const MAX_RIVAL_BYTES: usize = 512;

impl Search {
    /// What a store has under the key, if it can serve this request, or could if it were fresh.
    pub(super) fn examine(
        &mut self,
        found: Result<Option<Bytes>, StoreFault>,
        tier: Tier,
        cx: &Cx<'_>,
    ) -> Result<Found, Miss> {
        let bytes = found.map_err(Miss::Store)?.ok_or(Miss::Absent)?;
        let seal = match (tier, &cx.worker.http) {
            (Tier::Http, Some(http)) => &http.seal,
            _ => &Seal::Checksum,
        };
        let entry = Entry::decode(&self.request.key, bytes, seal).map_err(|_| Miss::Unusable)?;
        let found = self.verify(entry, tier, cx)?;
        if tier == Tier::Http && !cx.is_genuine(&found.entry, &self.request) {
            return Err(Miss::Unusable);
        }
        self.convert(found, cx)
    }

    /// The entry, if it is not too old, and may be read where it is asked for.
    pub(super) fn verify(&self, entry: Entry, tier: Tier, cx: &Cx<'_>) -> Result<Verified, Miss> {
        let window = self.request.settings.stale_window();
        let (validity, age) = match cx.worker.freshness(&entry.head, cx.now()) {
            Freshness::FromTheFuture => return Err(Miss::Unusable),
            Freshness::Expired { expired_for, .. } if expired_for >= window => {
                return Err(Miss::Expired);
            }
            Freshness::Expired { expired_for, age } => (Validity::Expired { expired_for }, age),
            Freshness::Fresh { ttl, age } => (Validity::Fresh { ttl }, age),
        };
        // A request with max-age wants nothing that has expired either (RFC 9111, section 5.2.1.1).
        let expired = matches!(validity, Validity::Expired { .. });
        if self
            .directives
            .max_age
            .is_some_and(|max_age| expired || age > max_age)
        {
            return Err(Miss::MaxAge);
        }
        if !self.request.origin.may_read(&entry.head.headers) {
            return Err(Miss::Origin);
        }
        Ok(Verified {
            entry,
            age,
            tier,
            validity,
        })
    }

    /// Gives what was found the form that the request asks for, and has it held if it has expired.
    pub(super) fn convert(&mut self, found: Verified, cx: &Cx<'_>) -> Result<Found, Miss> {
        let validity = found.validity;
        let usable = self.usable(found, cx)?;
        Ok(match validity {
            Validity::Fresh { ttl } => Found::Fresh(usable, ttl),
            Validity::Expired { expired_for } => {
                // It may be held for as long as the upstream takes.
                let budget = cx.worker.budget.of(self.request.tenant);
                let reservation = Reservation::take(&budget, usable.bytes());
                Found::Stale(Stale {
                    usable,
                    expired_for,
                    reservation: reservation.ok_or(Miss::CaptureLimit)?,
                })
            }
        })
    }

    /// Gives what was found the form that the request asks for.
    pub(super) fn usable(&mut self, found: Verified, cx: &Cx<'_>) -> Result<Usable, Miss> {
        let Verified {
            entry,
            age,
            tier,
            validity,
        } = found;
        let expired = matches!(validity, Validity::Expired { .. });
        let converted = self.converted(&entry, cx).inspect_err(|miss| {
            let asked = self.request.traits.form.as_ref();
            let rival = Some(&entry.head.form).filter(|form| !expired && Some(*form) != asked);
            // A writer to the store chooses how long its options are.
            let rival = rival.filter(|form| form.options.len() <= MAX_RIVAL_BYTES);
            self.request.rival = rival.filter(|_| matches!(miss, Miss::Form(_))).cloned();
        })?;
        Ok(Usable {
            entry,
            converted,
            age,
            tier,
            hit_headers: None,
        })
    }

    /// Whether an entry's answer is what this request wants, byte for byte.
    pub(super) fn serves_as_it_is(&self, entry: &Entry) -> bool {
        let accepted = entry
            .head
            .headers
            .get("content-encoding")
            .is_none_or(|coding| {
                http::accepts_coding(self.headers.get_all("accept-encoding"), coding)
            });
        accepted && *self.form(entry) == entry.head.form && !self.zero_usage()
    }

    /// The form that the request asks for.
    pub(super) fn form<'a>(&'a self, entry: &'a Entry) -> &'a Form {
        self.request
            .traits
            .form
            .as_ref()
            .unwrap_or(&entry.head.form)
    }

    pub(super) fn zero_usage(&self) -> bool {
        self.request.settings.respond.usage == Usage::Zero
    }

    /// The entry's answer as this request wants it: its form and its body, uncompressed, or `None`
    /// if that is the entry as it is.
    fn converted(&self, entry: &Entry, cx: &Cx<'_>) -> Result<Option<(Form, Vec<u8>)>, Miss> {
        if self.serves_as_it_is(entry) {
            return Ok(None);
        }
        let (api, form) = (self.request.api, self.form(entry));
        let max_bytes = cx.worker.config.limits.max_response_bytes;
        let mut body = match entry.head.headers.get("content-encoding") {
            None => Cow::Borrowed(entry.body()),
            Some(coding) => Cow::Owned(
                coding::decode(coding, entry.body(), max_bytes)
                    .map_err(|_| Miss::Form(ConversionError::Malformed))?,
            ),
        };
        let _room = Reservation::take(&cx.worker.budget, api.conversion_bytes(&body))
            .ok_or(Miss::ConversionLimit)?;
        if *form != entry.head.form {
            let converted = api.convert(&body, &entry.head.form, form);
            body = Cow::Owned(converted.map_err(Miss::Form)?);
        }
        if self.zero_usage() {
            body = Cow::Owned(api.zero_usage(&body, form).map_err(Miss::Form)?);
        }
        Ok(Some((form.clone(), body.into_owned())))
    }
}

impl Usable {
    /// What it takes, in bytes.
    fn bytes(&self) -> usize {
        let converted = self.converted.as_ref().map_or(0, |(_, body)| body.len());
        self.entry.len().saturating_add(converted)
    }
}

impl Stale {
    /// Has it stand in should the upstream fail; `otherwise` is how the request goes if not.
    pub(super) fn into_fallback(self, otherwise: RequestResult, to: Addressee) -> Fallback {
        let Self {
            usable,
            expired_for,
            reservation,
        } = self;
        Fallback {
            age: usable.age,
            expired_for,
            served: Served::new(usable.entry, usable.converted, to),
            otherwise,
            _reservation: reservation,
        }
    }
}
