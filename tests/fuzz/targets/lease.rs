//! Leases over shared data that holds anything at all: nothing panics, a bucket stays within its
//! bounds, and a leader can give its lease back.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::store::{
    HostFault, Joined, Leases, Peeked, SetFault, SharedData, Version, Versioned,
};
use libfuzzer_sys::fuzz_target;

#[derive(Default)]
struct Map(RefCell<BTreeMap<String, Vec<u8>>>);

impl SharedData for Map {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        let value = self.0.borrow().get(name).cloned();
        let version = Version(1);
        Ok(value.map(|value| Versioned {
            value: value.into(),
            version,
        }))
    }

    fn set(&self, name: &str, value: &[u8], _version: Option<Version>) -> Result<(), SetFault> {
        self.0
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((now, value)) = data.split_first_chunk() else {
        return;
    };
    let now = UnixMillis::from_millis(u64::from_le_bytes(*now));
    let max_age = Duration::from_secs(1);
    let shared = Map::default();
    let key = [3; 32];
    shared
        .set("llm-cache/leases/3", value, None)
        .expect("the map takes anything");
    let leader = Leases::new(1, Some(1));
    let waiter = Leases::new(2, Some(2));
    if let Joined::Leads(lease) = leader.join(&shared, &key, now, max_age, true) {
        let until = now + max_age;
        let other = waiter.join(&shared, &key, now, max_age, true);
        if until > now {
            assert_eq!(other, Joined::Waits { until });
            assert_eq!(waiter.peek(&shared, &key, now), Peeked::Held { until });
            assert_eq!(leader.release(&shared, &key, lease, None, now), [2]);
            assert_eq!(waiter.peek(&shared, &key, now), Peeked::Free);
        }
    }
    let values = shared.0.borrow();
    assert_eq!(values.len(), 1);
    let longest = 3 + 16 * (32 + 8 + 4 + 1 + 8 + 4 + 1 + 64 * 4);
    assert!(
        values
            .values()
            .all(|held| held == value || held.len() <= longest)
    );
});
