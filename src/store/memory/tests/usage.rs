//! How full the store is.

use super::super::usage::{MemoryUsage, UsageSurvey};
use super::*;

fn survey(store: &MemoryStore, shared: &FakeSharedData) -> (MemoryUsage, usize) {
    let mut survey = UsageSurvey::default();
    let mut calls = 1;
    loop {
        match store.survey(&mut survey, shared) {
            Some(usage) => break (usage, calls),
            None => calls += 1,
        }
    }
}

#[test]
fn what_is_stored_is_accounted_for() {
    let shared = FakeSharedData::default();
    let store = MemoryStore::open(&shared, 8 << 20, 1 << 20);
    assert_eq!(survey(&store, &shared), (MemoryUsage::default(), 1));
    store
        .insert(&shared, &[1; 32], &[0; 1_000], NOW, LATER)
        .unwrap();
    let (one, _) = survey(&store, &shared);
    assert_eq!(one.entries, 1);
    assert!((1_000..1_200).contains(&one.bytes), "{}", one.bytes);
    // In three segments.
    let long = vec![0; 600 << 10];
    store.insert(&shared, &[2; 32], &long, NOW, LATER).unwrap();
    let (both, _) = survey(&store, &shared);
    assert_eq!(both.entries, 4);
    let added = both.bytes - one.bytes;
    assert!((600 << 10..601 << 10).contains(&added), "{added}");
}

#[test]
fn a_large_store_is_looked_at_in_parts() {
    let shared = FakeSharedData::default();
    let store = MemoryStore::open(&shared, 1_000 << 20, 1 << 20);
    assert_eq!(survey(&store, &shared).1, 4);
}

#[test]
fn a_head_that_is_none_counts_nothing() {
    let shared = FakeSharedData::default();
    let store = MemoryStore::open(&shared, 1 << 20, 1 << 20);
    shared.put("llm-cache/1/0", b"anything");
    assert_eq!(survey(&store, &shared).0, MemoryUsage::default());
}
