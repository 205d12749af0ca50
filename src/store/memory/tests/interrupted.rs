//! Other workers that come in between two host calls.

use super::*;

/// Two workers write; the second does all its work between two host calls of the first, at every
/// such place. Whichever wins, no reader gets what it did not ask for, and the set never holds
/// more than its bytes.
#[test]
fn writers_that_interrupt_each_other_never_mix_and_never_hold_too_much() {
    // Each needs more than half of a set, so that they fight for room as well.
    let large = 200_000;
    for (mine, other) in [(1, 1), (1, 2)] {
        for before in [0, 4] {
            for at in 0..40 {
                let shared = FakeSharedData::default();
                let store = open(&shared, MIB);
                for number in 10..10 + before {
                    insert(&store, &shared, number, large).unwrap();
                }
                shared.calls.set(0);
                *shared.interruption.borrow_mut() = Some((
                    at,
                    Box::new(move |shared: &FakeSharedData| {
                        let store = open(shared, MIB);
                        for number in [other, 3, 4, 5] {
                            let _lost = insert(&store, shared, number, large);
                        }
                        assert!(shared.slot_bytes() <= SET_SLOT_BYTES);
                    }),
                ));
                let _lost = insert(&store, &shared, mine, large);
                assert!(shared.slot_bytes() <= SET_SLOT_BYTES, "at call {at}");
                for number in 1..20 {
                    let found = store.look_up(&shared, &key(number), EPOCH).unwrap();
                    let expected = entry(number, large);
                    assert!(
                        found.is_none_or(|found| found.bytes == expected),
                        "at call {at}"
                    );
                }
            }
        }
    }
}

/// A host on which somebody else has always just changed the head of the set.
struct AlwaysLate(FakeSharedData);

impl SharedData for AlwaysLate {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        self.0.get(name)
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        if name == "llm-cache/1/0" && version.is_some() {
            return Err(SetFault::VersionMismatch);
        }
        self.0.set(name, value, version)
    }
}

#[test]
fn a_writer_who_is_always_late_gives_up_and_writes_no_slot() {
    let shared = AlwaysLate(FakeSharedData::default());
    shared.0.put("llm-cache/1/0", b"");
    let store = MemoryStore::open(&shared, MIB, 64 << 20);
    let late = store.insert(&shared, &key(1), &entry(1, 100), NOW, LATER);
    assert_eq!(late, Err(StoreFault::Contended));
    assert_eq!(shared.0.slot_bytes(), 0);
}

/// Another worker opens a store of another size between two host calls of a writer, at every such
/// place.
#[test]
fn a_set_that_is_emptied_while_somebody_writes_holds_what_its_head_accounts_for() {
    for before in [0, 4] {
        for at in 0..20 {
            let shared = FakeSharedData::default();
            let store = open(&shared, MIB);
            for number in 10..10 + before {
                insert(&store, &shared, number, 200_000).unwrap();
            }
            shared.calls.set(0);
            *shared.interruption.borrow_mut() = Some((
                at,
                Box::new(|shared: &FakeSharedData| {
                    open(shared, 2 * MIB);
                }),
            ));
            let written = insert(&store, &shared, 1, 200_000);
            let held = 200_000 + TRAILER_BYTES as u64;
            let found = store.look_up(&shared, &key(1), EPOCH).unwrap();
            if found.is_some() {
                assert!(written.is_ok(), "at call {at}");
            }
            if shared.interruption.borrow().is_none() {
                let expected = if found.is_some() { held } else { 0 };
                assert_eq!(shared.slot_bytes(), expected, "at call {at}");
            }
        }
    }
}
