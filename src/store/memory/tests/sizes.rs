//! What becomes of the entries and their bytes when `max_bytes` changes.

use super::super::names::SIZES;
use super::*;

fn fill(store: &MemoryStore, shared: &FakeSharedData) {
    for number in 0..2_000 {
        insert(store, shared, number, 4_000).unwrap();
    }
}

#[test]
fn a_store_of_another_size_is_empty_and_leaves_no_bytes_of_the_one_before() {
    let shared = FakeSharedData::default();
    for mib in [8, 2, 8, 3, 1] {
        let store = open(&shared, mib * MIB);
        assert!((0..2_000).all(|number| store.look_up(&shared, &key(number), EPOCH) == Ok(None)));
        fill(&store, &shared);
        assert!(shared.bytes() <= mib * MIB, "{mib}");
        assert!(shared.bytes() > mib * MIB * 3 / 4, "{mib}");
    }
}

#[test]
fn a_worker_that_is_not_updated_yet_uses_its_own_store_until_the_next_one_opens() {
    let shared = FakeSharedData::default();
    let old = open(&shared, 8 * MIB);
    fill(&old, &shared);
    let new = open(&shared, 2 * MIB);
    insert(&old, &shared, 1, 100).unwrap();
    assert!(old.look_up(&shared, &key(1), EPOCH).unwrap().is_some());
    assert_eq!(new.look_up(&shared, &key(1), EPOCH), Ok(None));
    assert!(shared.bytes_under("llm-cache/8/") > 0);
    insert(&new, &shared, 2, 100).unwrap();
    let next = open(&shared, 2 * MIB);
    let heads = 8 * SetHead::default().encode().len() as u64;
    assert!(shared.bytes_under("llm-cache/8/") <= heads);
    assert!(next.look_up(&shared, &key(2), EPOCH).unwrap().is_some());
}

#[test]
fn however_many_sizes_there_were_the_last_four_are_remembered_and_none_holds_bytes() {
    let shared = FakeSharedData::default();
    for mib in 1..20 {
        insert(&open(&shared, mib * MIB), &shared, 1, 5_000).unwrap();
    }
    assert!(shared.bytes() < 6_000, "{}", shared.bytes());
    let sizes = shared.get(SIZES).unwrap().unwrap().value;
    let expected: Vec<_> = [19_u32, 18, 17, 16].map(u32::to_le_bytes).concat();
    assert_eq!(sizes, expected);
}

#[test]
fn sizes_that_no_configuration_gives_are_not_believed() {
    let shared = FakeSharedData::default();
    for odd in [
        &u32::MAX.to_le_bytes()[..],
        &[0; 4],
        b"",
        b"12345",
        &[9; 999],
    ] {
        shared.put(SIZES, odd);
        let store = open(&shared, 2 * MIB);
        insert(&store, &shared, 1, 100).unwrap();
        assert!(store.look_up(&shared, &key(1), EPOCH).unwrap().is_some());
    }
}

#[test]
fn opening_the_store_again_keeps_what_is_in_it() {
    let shared = FakeSharedData::default();
    insert(&open(&shared, 8 * MIB), &shared, 1, 100).unwrap();
    let again = open(&shared, 8 * MIB);
    assert!(again.look_up(&shared, &key(1), EPOCH).unwrap().is_some());
}
