use std::cell::RefCell;

use proptest::prelude::*;

use super::model::Values;
use super::*;
use crate::store::{HostFault, Version};

const KEY: [u8; 32] = [9; 32];
const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);
const MAX_AGE: Duration = Duration::from_secs(30);
const NOBODY: [u32; 0] = [];

/// This many milliseconds.
const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The instant this many milliseconds before [`NOW`].
const fn before(milliseconds: u64) -> UnixMillis {
    UnixMillis::from_millis(NOW.as_millis() - milliseconds)
}

/// Shared data, with what may go wrong in it.
#[derive(Default)]
struct Host {
    values: RefCell<Values>,
    refuses: Cell<bool>,
    /// How often somebody else is first to set a value.
    races: Cell<usize>,
}

impl Host {
    fn bucket(&self) -> Bucket {
        let value = self.values.borrow().get(&bucket_name(&KEY)).unwrap().value;
        Bucket::decode(&value).unwrap()
    }

    fn put(&self, value: &[u8]) {
        let mut values = self.values.borrow_mut();
        values.set(&bucket_name(&KEY), value, None).unwrap();
    }
}

impl SharedData for Host {
    fn get(&self, name: &str) -> Result<Option<Versioned>, HostFault> {
        if self.refuses.get() {
            return Err(HostFault);
        }
        Ok(self.values.borrow().get(name))
    }

    fn set(&self, name: &str, value: &[u8], version: Option<Version>) -> Result<(), SetFault> {
        if self.refuses.get() {
            return Err(SetFault::Host);
        }
        if self.races.get() > 0 {
            self.races.set(self.races.get() - 1);
            return Err(SetFault::VersionMismatch);
        }
        self.values.borrow_mut().set(name, value, version)
    }
}

fn worker(number: u32) -> Leases {
    Leases::new(number.into(), Some(number))
}

fn join(leases: &Leases, host: &Host, now: UnixMillis) -> Joined {
    leases.join(host, &KEY, now, MAX_AGE, true)
}

#[track_caller]
fn lead(leases: &Leases, host: &Host, now: UnixMillis) -> Lease {
    match join(leases, host, now) {
        Joined::Leads(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_leads_and_is_told_who_waits() {
    let host = Host::default();
    let until = NOW + MAX_AGE;
    let lease = lead(&worker(1), &host, NOW);
    assert_eq!(
        join(&worker(2), &host, NOW + ms(5)),
        Joined::Waits { until }
    );
    assert_eq!(
        join(&worker(3), &host, NOW + ms(6)),
        Joined::Waits { until }
    );
    assert_eq!(
        join(&worker(2), &host, NOW + ms(7)),
        Joined::Waits { until }
    );
    let leader = worker(1);
    assert_eq!(leader.peek(&host, &KEY, NOW), Peeked::Held { until });
    let told = leader.release(&host, &KEY, lease, None, NOW + ms(8));
    assert_eq!(told, [2, 3]);
    assert_eq!(leader.peek(&host, &KEY, NOW + ms(8)), Peeked::Free);
    assert_eq!(
        leader.release(&host, &KEY, lease, None, NOW + ms(9)),
        NOBODY
    );
    assert!(matches!(
        join(&worker(3), &host, NOW + ms(10)),
        Joined::Leads(_)
    ));
}

#[test]
fn nobody_is_told_who_did_not_want_to_wait_or_cannot_be() {
    let host = Host::default();
    let leader = worker(1);
    let lease = lead(&leader, &host, NOW);
    let held = Joined::Held {
        until: NOW + MAX_AGE,
    };
    assert_eq!(worker(2).join(&host, &KEY, NOW, MAX_AGE, false), held);
    assert_eq!(join(&Leases::new(3, None), &host, NOW), held);
    assert_eq!(join(&leader, &host, NOW), held, "its own lease");
    assert_eq!(leader.release(&host, &KEY, lease, None, NOW), NOBODY);
}

#[test]
fn as_many_may_wait_as_fit_in_a_lease() {
    let host = Host::default();
    let leader = worker(0);
    let lease = lead(&leader, &host, NOW);
    let until = NOW + MAX_AGE;
    let waiting: Vec<_> = (1..=MAX_WAITING as u32).collect();
    for number in &waiting {
        assert_eq!(join(&worker(*number), &host, NOW), Joined::Waits { until });
    }
    assert_eq!(join(&worker(1_000), &host, NOW), Joined::Held { until });
    assert_eq!(join(&worker(1), &host, NOW), Joined::Waits { until });
    assert_eq!(leader.release(&host, &KEY, lease, None, NOW), waiting);
}

#[test]
fn a_lease_ends_by_its_age_and_its_old_leader_can_only_tell() {
    let host = Host::default();
    let (old, new) = (worker(1), worker(2));
    let first = lead(&old, &host, NOW);
    let ends = NOW + MAX_AGE;
    let before_end = NOW + (MAX_AGE - ms(1));
    assert!(matches!(
        join(&worker(3), &host, before_end),
        Joined::Waits { .. }
    ));
    assert_eq!(new.peek(&host, &KEY, ends), Peeked::Free);
    let second = lead(&new, &host, ends);
    assert!(matches!(
        join(&worker(4), &host, ends),
        Joined::Waits { .. }
    ));
    assert_eq!(
        old.release(
            &host,
            &KEY,
            first,
            Some(UnixMillis::from_millis(u64::MAX)),
            ends
        ),
        NOBODY
    );
    assert_eq!(new.release(&host, &KEY, second, None, ends), [4]);

    let third = lead(&old, &host, ends);
    assert!(matches!(join(&new, &host, ends), Joined::Waits { .. }));
    let late = ends + 10 * MAX_AGE;
    let told = old.release(&host, &KEY, third, None, late);
    assert_eq!(told, [2], "ended, but nobody else has taken it");
}

#[test]
fn a_worker_that_takes_over_from_itself_cannot_release_twice() {
    let host = Host::default();
    let leader = worker(1);
    let first = lead(&leader, &host, NOW);
    let second = lead(&leader, &host, NOW + MAX_AGE);
    assert_ne!(first, second);
    assert!(matches!(
        join(&worker(2), &host, NOW + MAX_AGE),
        Joined::Waits { .. }
    ));
    assert_eq!(
        leader.release(&host, &KEY, first, None, NOW + MAX_AGE),
        NOBODY
    );
    assert_eq!(
        leader.release(&host, &KEY, second, None, NOW + MAX_AGE),
        [2]
    );
}

#[test]
fn what_proved_unstorable_is_not_waited_for_until_it_may_be_again() {
    let host = Host::default();
    let leader = worker(1);
    let lease = lead(&leader, &host, NOW);
    assert!(matches!(join(&worker(2), &host, NOW), Joined::Waits { .. }));
    let until = NOW + ms(500);
    assert_eq!(leader.release(&host, &KEY, lease, Some(until), NOW), [2]);
    for wait in [true, false] {
        let joined = worker(2).join(&host, &KEY, NOW + ms(499), MAX_AGE, wait);
        assert_eq!(joined, Joined::Unstorable);
    }
    assert_eq!(leader.peek(&host, &KEY, NOW), Peeked::Free);
    let lease = lead(&leader, &host, until);
    assert_eq!(
        leader.release(&host, &KEY, lease, Some(until), until),
        NOBODY
    );
    assert_eq!(
        host.bucket().records,
        [],
        "a past that is over says nothing"
    );
}

#[test]
fn a_clock_that_is_set_back_makes_no_lease_live_for_ever() {
    let host = Host::default();
    let _vanished = lead(&worker(1), &host, NOW);
    let before = before(60_000);
    assert!(matches!(join(&worker(2), &host, before), Joined::Leads(_)));
}

#[test]
fn a_worker_whose_now_is_a_little_old_still_finds_the_lease_held() {
    let host = Host::default();
    let _held = lead(&worker(1), &host, NOW);
    let until = NOW + MAX_AGE;
    assert_eq!(join(&worker(2), &host, before(1)), Joined::Waits { until });
    assert_eq!(
        join(&worker(3), &host, before(30_000)),
        Joined::Waits { until }
    );
}

#[test]
fn no_age_is_too_short_or_too_long() {
    for (max_age, length) in [(0, 1), (1, 1), (u64::MAX, u64::from(MAX_LENGTH))] {
        for now in [0, NOW.as_millis(), u64::MAX - 1] {
            let now = UnixMillis::from_millis(now);
            let host = Host::default();
            let leader = worker(1);
            let joined = leader.join(&host, &KEY, now, ms(max_age), true);
            assert!(matches!(joined, Joined::Leads(_)));
            let until = now + ms(length);
            assert_eq!(leader.peek(&host, &KEY, now), Peeked::Held { until });
            assert_eq!(leader.peek(&host, &KEY, until), Peeked::Free);
        }
    }
}

/// A record of another key in the same bucket.
fn record(number: u8, ends: UnixMillis, kind: Kind) -> LeaseRecord {
    let mut key = KEY;
    key[0] = number;
    LeaseRecord {
        key,
        term: Term {
            ends,
            length: MAX_LENGTH,
        },
        kind,
    }
}

fn held() -> Kind {
    Kind::Held(Holder {
        owner: 77,
        generation: 3,
        waiting: vec![5],
    })
}

#[test]
fn a_bucket_full_of_leases_gives_none_until_one_has_ended() {
    let host = Host::default();
    let records: Vec<_> = (100..)
        .take(MAX_RECORDS)
        .map(|number| record(number, NOW + ms(number.into()), held()))
        .collect();
    host.put(&Bucket { records }.encode());
    assert_eq!(join(&worker(1), &host, NOW), Joined::Unavailable);
    assert_eq!(host.bucket().records.len(), MAX_RECORDS);
    assert!(matches!(
        join(&worker(1), &host, NOW + ms(102)),
        Joined::Leads(_)
    ));
    assert_eq!(
        host.bucket().records.len(),
        MAX_RECORDS - 2,
        "three have ended"
    );
}

#[test]
fn what_is_unstorable_makes_room_for_a_lease_the_soonest_to_end_first() {
    let host = Host::default();
    let records: Vec<_> = (100..)
        .take(MAX_RECORDS)
        .map(|number| match number {
            103 => record(number, NOW + ms(20), Kind::Unstorable),
            105 => record(number, NOW + ms(10), Kind::Unstorable),
            _ => record(number, NOW + ms(1_000), held()),
        })
        .collect();
    host.put(&Bucket { records }.encode());
    let leader = worker(1);
    let lease = lead(&leader, &host, NOW);
    let numbers = |host: &Host| -> Vec<u8> {
        let records = host.bucket().records;
        records.iter().map(|record| record.key[0]).collect()
    };
    assert_eq!(numbers(&host).len(), MAX_RECORDS);
    assert!(numbers(&host).contains(&103) && !numbers(&host).contains(&105));
    // What was a lease becomes a memory in the same place: there is always room.
    assert_eq!(
        leader.release(&host, &KEY, lease, Some(NOW + ms(50)), NOW),
        NOBODY
    );
    assert_eq!(join(&worker(2), &host, NOW), Joined::Unstorable);
    assert_eq!(numbers(&host).len(), MAX_RECORDS);
}

#[test]
fn a_host_that_refuses_gives_no_lease_and_no_panic() {
    let host = Host::default();
    let leader = worker(1);
    let lease = lead(&leader, &host, NOW);
    host.refuses.set(true);
    assert_eq!(join(&worker(2), &host, NOW), Joined::Unavailable);
    assert_eq!(leader.peek(&host, &KEY, NOW), Peeked::Free);
    assert_eq!(leader.release(&host, &KEY, lease, None, NOW), NOBODY);
}

#[test]
fn a_worker_that_is_late_tries_again_and_in_the_end_gives_up() {
    let host = Host::default();
    let leader = worker(1);
    host.put(b"");
    host.races.set(MAX_TRIES);
    assert_eq!(join(&leader, &host, NOW), Joined::Unavailable);
    host.races.set(MAX_TRIES - 1);
    let lease = lead(&leader, &host, NOW);
    assert!(matches!(join(&worker(2), &host, NOW), Joined::Waits { .. }));
    host.races.set(MAX_TRIES);
    let told = leader.release(&host, &KEY, lease, None, NOW);
    assert_eq!(told, [2], "told, although the lease has to end by its age");
    assert!(matches!(leader.peek(&host, &KEY, NOW), Peeked::Held { .. }));
    host.races.set(MAX_TRIES - 1);
    assert_eq!(leader.release(&host, &KEY, lease, None, NOW), [2]);
}

#[test]
fn what_is_no_bucket_counts_as_an_empty_one() {
    let two = Bucket {
        records: vec![record(1, NOW, held()), record(2, NOW, Kind::Unstorable)],
    };
    let whole = two.encode();
    assert_eq!(Bucket::decode(&whole), Some(two.clone()));
    let [first, second] = [&two.records[0], &two.records[1]];
    let encode = |records: &[&LeaseRecord]| {
        let records = records.iter().copied().cloned().collect();
        Bucket { records }.encode()
    };
    let mut odd = vec![
        b"garbage".to_vec(),
        b"LB\x02".to_vec(),
        encode(&[first, second, first]),
        [&whole[..], b"x"].concat(),
    ];
    let many: Vec<_> = (0..=MAX_RECORDS as u8)
        .map(|number| record(number, NOW, Kind::Unstorable))
        .collect();
    odd.push(Bucket { records: many }.encode());
    let waits = |waiting| {
        let mut record = record(1, NOW, held());
        if let Kind::Held(holder) = &mut record.kind {
            holder.waiting = waiting;
        }
        encode(&[&record])
    };
    odd.push(waits(vec![1, 2, 1]));
    odd.push(waits((0..=MAX_WAITING as u32).collect()));
    for length in [0, MAX_LENGTH + 1] {
        let mut record = first.clone();
        record.term.length = length;
        odd.push(encode(&[&record]));
    }
    let one = encode(&[first]).len();
    let cuts = (0..whole.len()).filter(|cut| ![MAGIC.len(), one].contains(cut));
    odd.extend(cuts.map(|cut| whole[..cut].to_vec()));
    for value in odd {
        assert_eq!(Bucket::decode(&value), None);
        let host = Host::default();
        host.put(&value);
        let leader = worker(1);
        assert_eq!(leader.peek(&host, &KEY, NOW), Peeked::Free);
        let lease = lead(&leader, &host, NOW);
        host.put(&value);
        assert_eq!(leader.release(&host, &KEY, lease, None, NOW), NOBODY);
    }
}

#[test]
fn all_names_are_as_many_as_there_are_buckets() {
    let host = Host::default();
    let leader = worker(1);
    for number in 0..10_000_u16 {
        let mut key = [0; 32];
        key[30..].copy_from_slice(&number.to_be_bytes());
        let _full = leader.join(&host, &key, NOW, MAX_AGE, true);
    }
    assert_eq!(host.values.borrow().names().count(), BUCKETS);
    assert_eq!(host.values.borrow().records().len(), BUCKETS * MAX_RECORDS);
}

fn some_kind() -> impl Strategy<Value = Kind> {
    let queues = prop::collection::hash_set(any::<u32>(), 0..=MAX_WAITING);
    let holder = (any::<u64>(), any::<u32>(), queues).prop_map(|(owner, generation, queues)| {
        Kind::Held(Holder {
            owner,
            generation,
            waiting: queues.into_iter().collect(),
        })
    });
    prop_oneof![Just(Kind::Unstorable), holder]
}

fn some_bucket() -> impl Strategy<Value = Bucket> {
    let term = (any::<u64>(), 1..=MAX_LENGTH).prop_map(|(ends, length)| Term {
        ends: UnixMillis::from_millis(ends),
        length,
    });
    let records =
        prop::collection::hash_map(any::<[u8; 32]>(), (term, some_kind()), 0..=MAX_RECORDS);
    records.prop_map(|records| Bucket {
        records: records
            .into_iter()
            .map(|(key, (term, kind))| LeaseRecord { key, term, kind })
            .collect(),
    })
}

proptest! {
    #[test]
    fn a_bucket_comes_back_as_it_was(bucket in some_bucket()) {
        prop_assert_eq!(Bucket::decode(&bucket.encode()), Some(bucket));
    }

    /// There is one spelling of a bucket, and no bytes at all make trouble.
    #[test]
    fn whatever_is_a_bucket_is_spelled_as_it_would_be(
        bucket in some_bucket(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = bucket.encode();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(tail);
        for bytes in [&bytes[..], &[&MAGIC[..], &bytes].concat()] {
            if let Some(bucket) = Bucket::decode(bytes) {
                prop_assert_eq!(bucket.encode(), bytes);
                prop_assert!(bucket.records.len() <= MAX_RECORDS);
            }
        }
    }

    #[test]
    fn whatever_the_bucket_held_the_protocol_goes_on(
        value in prop::collection::vec(any::<u8>(), 0..200),
        bucket in some_bucket(),
        is_bucket in any::<bool>(),
        now in any::<u64>(),
    ) {
        let host = Host::default();
        host.put(&if is_bucket { bucket.encode() } else { value });
        let leader = worker(1);
        let now = UnixMillis::from_millis(now);
        if let Joined::Leads(lease) = join(&leader, &host, now) {
            let _told = leader.release(&host, &KEY, lease, None, now);
            prop_assert_eq!(leader.peek(&host, &KEY, now), Peeked::Free);
        }
        prop_assert!(host.bucket().records.iter().all(|record| record.term.runs(now)));
    }
}
