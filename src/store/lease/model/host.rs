//! The host as the model has it: shared data that is a value, and an operation that can be stopped
//! between any two of its calls.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::super::{Bucket, LeaseRecord};
use crate::store::{HostFault, SetFault, SharedData, Version, Versioned};

/// Values and versions by name, as proxy-wasm-cpp-host has them (`shared_data.cc`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(in super::super) struct Values(pub(super) BTreeMap<String, (Vec<u8>, u32)>);

impl Values {
    pub(in super::super) fn get(&self, name: &str) -> Option<Versioned> {
        let (value, version) = self.0.get(name)?;
        Some(Versioned {
            value: value.clone().into(),
            version: Version(*version),
        })
    }

    pub(in super::super) fn set(
        &mut self,
        name: &str,
        value: &[u8],
        version: Option<Version>,
    ) -> Result<(), SetFault> {
        if let (Some((_, current)), Some(Version(expected))) = (self.0.get(name), version)
            && *current != expected
        {
            return Err(SetFault::VersionMismatch);
        }
        let last = self.0.values().map(|(_, version)| *version).max();
        self.0.insert(
            name.to_owned(),
            (value.to_owned(), last.unwrap_or_default() + 1),
        );
        Ok(())
    }

    pub(in super::super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What the buckets say, which must be buckets.
    pub(in super::super) fn records(&self) -> Vec<LeaseRecord> {
        let buckets = self.0.values().filter(|(value, _)| !value.is_empty());
        buckets
            .flat_map(|(value, _)| {
                let bucket = Bucket::decode(value).expect("a bucket within its bounds");
                bucket.records
            })
            .collect()
    }
}

/// What the host answered to one call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Got(Result<Option<(Vec<u8>, u32)>, ()>),
    Set(Result<(), bool>),
}

/// Answers an operation's calls from its log, then makes one more, and stops it there.
pub(super) struct OneCall<'a> {
    pub(super) values: RefCell<&'a mut Values>,
    pub(super) log: RefCell<&'a mut Vec<Reply>>,
    pub(super) at: Cell<usize>,
    /// Calls that have been answered in earlier steps.
    pub(super) before: usize,
    /// Whether the call of this step fails.
    pub(super) fails: bool,
    pub(super) stopped: Cell<bool>,
}

impl OneCall<'_> {
    fn answer(&self, call: impl FnOnce(&mut Values) -> Reply, fault: Reply) -> Option<Reply> {
        let at = self.at.replace(self.at.get() + 1);
        let mut log = self.log.borrow_mut();
        if at > self.before {
            self.stopped.set(true);
            return None;
        }
        if at == self.before {
            let reply = if self.fails {
                fault
            } else {
                call(&mut self.values.borrow_mut())
            };
            log.push(reply);
        }
        log.get(at).cloned()
    }
}

impl SharedData for OneCall<'_> {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        let call = |values: &mut Values| {
            let found = values.get(name);
            Reply::Got(Ok(
                found.map(|found| (found.value.to_vec(), found.version.0))
            ))
        };
        match self.answer(call, Reply::Got(Err(()))) {
            Some(Reply::Got(Ok(found))) => Ok(found.map(|(value, version)| Versioned {
                value: value.into(),
                version: Version(version),
            })),
            Some(Reply::Set(_)) => panic!("an operation that runs differently when run again"),
            Some(Reply::Got(Err(()))) | None => Err(HostFault),
        }
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        let call = |values: &mut Values| {
            let set = values.set(name, value, version);
            Reply::Set(set.map_err(|fault| fault == SetFault::VersionMismatch))
        };
        match self.answer(call, Reply::Set(Err(false))) {
            Some(Reply::Set(Ok(()))) => Ok(()),
            Some(Reply::Set(Err(true))) => Err(SetFault::VersionMismatch),
            Some(Reply::Got(_)) => panic!("an operation that runs differently when run again"),
            Some(Reply::Set(Err(false))) | None => Err(SetFault::Host),
        }
    }
}
