//! The memory store over shared data that holds anything at all: what is found is what was put, and
//! nothing panics.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;

use envoy_llm_cache::clock::UnixMillis;
use envoy_llm_cache::store::{HostFault, MemoryStore, SetFault, SharedData, Version, Versioned};
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
    let [names, value @ ..] = data else {
        return;
    };
    let shared = Map::default();
    let key = [3; 32];
    let (now, expires) = (
        UnixMillis::from_millis(1_000),
        UnixMillis::from_millis(2_000),
    );
    let store = MemoryStore::open(&shared, 2 << 20, 1 << 20);
    store
        .insert(&shared, &key, b"entry", now, expires)
        .expect("room for one entry");
    let all: Vec<_> = shared.0.borrow().keys().cloned().collect();
    if let Some(name) = all.get(usize::from(*names) % all.len()) {
        shared
            .set(name, value, None)
            .expect("the map takes anything");
    }
    let _found = store.look_up(&shared, &key, now).expect("the map answers");
    store
        .insert(&shared, &key, b"again", now, expires)
        .expect("room for one entry");
    let found = store.look_up(&shared, &key, now).expect("the map answers");
    let found = found.map(|stored| stored.bytes);
    assert_eq!(found.as_deref(), Some(&b"again"[..]));
});
