mod interrupted;
mod sizes;
mod usage;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::set::{SetHead, WAYS};
use super::*;
use crate::store::{SetFault, Versioned};

const EPOCH: UnixMillis = UnixMillis::from_millis(0);
const NOW: UnixMillis = UnixMillis::from_millis(1_000_000);
const LATER: UnixMillis = UnixMillis::from_millis(2_000_000);
const MIB: u64 = 1 << 20;

/// Shared data as proxy-wasm-cpp-host has it (`shared_data.cc`): one counter for all versions.
#[derive(Default)]
struct FakeSharedData {
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    last_version: Cell<u32>,
    calls: Cell<usize>,
    /// What another worker does before the call with this number.
    interruption: RefCell<Option<(usize, Interruption)>>,
    refuses: Cell<bool>,
}

type Interruption = Box<dyn FnOnce(&FakeSharedData)>;

impl FakeSharedData {
    fn interrupt(&self) {
        let call = self.calls.get();
        self.calls.set(call + 1);
        let due = self
            .interruption
            .borrow_mut()
            .take_if(|(at, _)| *at == call)
            .map(|(_, interruption)| interruption);
        if let Some(interruption) = due {
            interruption(self);
        }
    }

    fn put(&self, name: &str, value: &[u8]) {
        self.set(name, value, None).unwrap();
    }

    /// What the slots of a store of one set hold.
    fn slot_bytes(&self) -> u64 {
        self.bytes_under("llm-cache/1/0/")
    }

    fn bytes_under(&self, prefix: &str) -> u64 {
        let values = self.values.borrow();
        let found = values.iter().filter(|(name, _)| name.starts_with(prefix));
        found.map(|(_, (value, _))| value.len() as u64).sum()
    }

    fn bytes(&self) -> u64 {
        self.bytes_under("")
    }
}

impl SharedData for FakeSharedData {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        self.interrupt();
        if self.refuses.get() {
            return Err(HostFault);
        }
        let values = self.values.borrow();
        Ok(values.get(name).map(|(value, version)| Versioned {
            value: value.clone().into(),
            version: Version(*version),
        }))
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        self.interrupt();
        if self.refuses.get() {
            return Err(SetFault::Host);
        }
        let mut values = self.values.borrow_mut();
        if let (Some((_, current)), Some(Version(expected))) = (values.get(name), version)
            && *current != expected
        {
            return Err(SetFault::VersionMismatch);
        }
        let next = self.last_version.get() + 1;
        self.last_version.set(next);
        values.insert(name.to_owned(), (value.to_owned(), next));
        Ok(())
    }
}

fn key(number: u64) -> [u8; 32] {
    let mut key = [0; 32];
    // Spread as a digest would be.
    let mut state = number.wrapping_add(1);
    for byte in &mut key {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 24) as u8;
    }
    key
}

/// An entry whose bytes tell its number.
fn entry(number: u64, length: usize) -> Vec<u8> {
    number
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(length)
        .collect()
}

fn open(shared: &FakeSharedData, max_bytes: u64) -> MemoryStore {
    MemoryStore::open(shared, max_bytes, 64 << 20)
}

fn insert(
    store: &MemoryStore,
    shared: &FakeSharedData,
    number: u64,
    length: usize,
) -> Result<u32, StoreFault> {
    store.insert(shared, &key(number), &entry(number, length), NOW, LATER)
}

#[test]
fn an_entry_of_any_length_comes_back_as_it_was() {
    let shared = FakeSharedData::default();
    let store = open(&shared, 8 * MIB);
    let segment = SEGMENT_BYTES;
    for length in [
        1,
        100,
        segment - 1,
        segment,
        segment + 1,
        3 * segment,
        4_000_000,
    ] {
        insert(&store, &shared, 1, length).unwrap();
        let found = store.look_up(&shared, &key(1), EPOCH).unwrap();
        assert_eq!(
            found.map(|found| found.bytes),
            Some(entry(1, length).into()),
            "{length}"
        );
    }
    assert_eq!(store.look_up(&shared, &key(2), EPOCH), Ok(None));
}

#[test]
fn the_segments_of_an_entry_do_not_evict_each_other_but_what_was_found() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    for number in 0..3 {
        insert(&store, &shared, number, 250_000).unwrap();
        assert!(
            store
                .look_up(&shared, &key(number), EPOCH)
                .unwrap()
                .is_some()
        );
    }
    insert(&store, &shared, 9, 3 * SEGMENT_BYTES).unwrap();
    assert!(store.look_up(&shared, &key(9), EPOCH).unwrap().is_some());
}

#[test]
fn whatever_arrives_the_bytes_stay_within_the_bound() {
    for mib in [1, 3] {
        let shared = FakeSharedData::default();
        let store = open(&shared, mib * MIB);
        let mut random = 7_u64;
        for number in 0..3_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let length = match random >> 60 {
                0 => (random >> 40) % 900_000,
                _ => (random >> 40) % 9_000,
            };
            let _refused = insert(&store, &shared, number, length as usize + 1);
            assert!(shared.bytes() <= mib * MIB, "after {number}");
        }
    }
}

#[test]
fn names_are_as_many_as_the_store_has_slots() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    for number in 0..5_000 {
        insert(&store, &shared, number, 10).unwrap();
    }
    assert_eq!(shared.values.borrow().len(), 1 + 1 + WAYS);
}

#[test]
fn an_entry_in_use_outlives_many_that_are_not() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    insert(&store, &shared, 0, 2_000).unwrap();
    for number in 1..5_000 {
        insert(&store, &shared, number, 2_000).unwrap();
        let found = store.look_up(&shared, &key(0), EPOCH).unwrap();
        assert!(found.is_some(), "lost after {number}");
    }
    assert_eq!(store.look_up(&shared, &key(1), EPOCH), Ok(None));
    assert!(
        store
            .look_up(&shared, &key(4_999), EPOCH)
            .unwrap()
            .is_some()
    );
}

#[test]
fn an_entry_too_large_for_the_store_is_refused_and_nothing_is_lost() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    insert(&store, &shared, 1, 1_000).unwrap();
    assert_eq!(
        insert(&store, &shared, 2, 2_000_000),
        Err(StoreFault::TooLarge)
    );
    let small = MemoryStore::open(&shared, MIB, 100);
    assert_eq!(insert(&small, &shared, 2, 101), Err(StoreFault::TooLarge));
    assert!(store.look_up(&shared, &key(1), EPOCH).unwrap().is_some());
}

#[test]
fn an_entry_with_a_missing_or_foreign_segment_is_a_miss() {
    let shared = FakeSharedData::default();
    let store = open(&shared, 4 * MIB);
    insert(&store, &shared, 1, 3 * SEGMENT_BYTES).unwrap();
    let slots: Vec<_> = shared
        .values
        .borrow()
        .iter()
        .filter(|(name, (value, _))| name.matches('/').count() == 3 && !value.is_empty())
        .map(|(name, (value, _))| (name.clone(), value.clone()))
        .collect();
    assert_eq!(slots.len(), 3);
    for (name, whole) in &slots {
        for damaged in [&[][..], &whole[1..], &slots[0].1, &slots[1].1, b"garbage"] {
            if damaged == whole {
                continue;
            }
            shared.put(name, damaged);
            assert_eq!(store.look_up(&shared, &key(1), EPOCH), Ok(None), "{name}");
        }
        shared.put(name, whole);
        assert!(store.look_up(&shared, &key(1), EPOCH).unwrap().is_some());
    }
}

#[test]
fn the_full_key_is_compared_when_only_its_tag_is_the_same() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    insert(&store, &shared, 1, 100).unwrap();
    let mut other = key(1);
    other[31] ^= 1;
    assert_eq!(store.look_up(&shared, &other, EPOCH), Ok(None));
}

#[test]
fn a_head_that_is_no_head_is_an_empty_set_whose_slots_are_freed() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    for number in 0..100 {
        insert(&store, &shared, number, 9_000).unwrap();
    }
    shared.put("llm-cache/1/0", b"SH\x03 from another version");
    assert_eq!(store.look_up(&shared, &key(99), EPOCH), Ok(None));
    insert(&store, &shared, 200, 100).unwrap();
    assert!(store.look_up(&shared, &key(200), EPOCH).unwrap().is_some());
    assert!(shared.slot_bytes() < 200, "{}", shared.slot_bytes());
}

#[test]
fn a_host_that_refuses_is_a_fault_and_no_panic() {
    let shared = FakeSharedData::default();
    shared.refuses.set(true);
    let store = open(&shared, MIB);
    assert_eq!(
        store.look_up(&shared, &key(1), EPOCH),
        Err(StoreFault::Unavailable)
    );
    assert_eq!(
        insert(&store, &shared, 1, 100),
        Err(StoreFault::Unavailable)
    );
}

#[test]
fn an_entry_is_found_where_it_was_seen_until_its_slot_is_another_s() {
    let shared = FakeSharedData::default();
    let store = open(&shared, MIB);
    insert(&store, &shared, 1, 500).unwrap();
    let found = UnixMillis::from_millis(5_000);
    let first = store.look_up(&shared, &key(1), found).unwrap().unwrap();
    let seen = first.seen.unwrap();
    let reads = |now, reads| {
        let before = shared.calls.get();
        let again = store.look_again(&shared, &key(1), seen, now).unwrap();
        assert_eq!(shared.calls.get(), before + reads);
        again
    };
    let again = reads(found, 1).unwrap();
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.seen.unwrap(), seen);
    assert_eq!(
        reads(UnixMillis::from_millis(4_999), 2).unwrap().bytes,
        entry(1, 500),
        "a clock set back"
    );
    let late = reads(found + SEEN_FOR, 2).unwrap();
    assert_ne!(late.seen.unwrap(), seen, "its checksum is computed again");
    // A new value has a new version.
    insert(&store, &shared, 1, 500).unwrap();
    let written = reads(found, 1).unwrap();
    assert_eq!(written.bytes, entry(1, 500));
    assert_ne!(written.seen.unwrap(), seen);
    let slot = seen.set.slot_name(seen.way);
    shared.put(&slot, &[]);
    assert_eq!(reads(found, 3), None);
    let mut foreign = entry(1, 500);
    let trailer = Trailer {
        key: key(2),
        index: 0,
        segments: 1,
        entry_bytes: 500,
    };
    trailer.encode(&mut foreign);
    shared.put(&slot, &foreign);
    assert_eq!(reads(found, 3), None);
}
