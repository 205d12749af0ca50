use super::*;

const NOW: u32 = 1_000;
const LATER: u32 = 2_000;

fn place(head: &mut SetHead, tag: u64, bytes: u32) -> Placement {
    head.place(tag, bytes, LATER, NOW).unwrap()
}

fn held(head: &SetHead) -> u64 {
    head.records().map(SlotRecord::charge).sum()
}

/// So many bytes that four values fill a set.
fn quarter() -> u32 {
    u32::try_from(SET_SLOT_BYTES / 4 - SLOT_OVERHEAD_BYTES).unwrap()
}

fn present(head: &SetHead, tags: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    tags.filter(|tag| head.find(*tag).is_some()).collect()
}

#[test]
fn a_head_survives_a_round_trip() {
    let mut head = SetHead::default();
    for tag in 0..900 {
        assert_eq!(SetHead::decode(&head.encode()), Some(head.clone()));
        place(&mut head, tag, 100);
        if tag % 2 == 0 {
            head.touch(tag);
        }
    }
    assert!(!head.evicted_new.is_empty() && !head.evicted_found.is_empty());
    assert_eq!(
        head.encode().len(),
        HEADER_BYTES + WAYS * RECORD_BYTES + GHOSTS * GHOST_BYTES
    );
}

#[test]
fn bytes_that_are_no_head_of_this_version_are_refused() {
    let mut head = SetHead::default();
    place(&mut head, 1, 10);
    place(&mut head, 2, 10);
    let bytes = head.encode();
    for length in 0..bytes.len() {
        assert_eq!(SetHead::decode(&bytes[..length]), None, "{length}");
    }
    for more in 1..=3 {
        let longer = [&bytes[..], &[0; 3][..more]].concat();
        assert_eq!(SetHead::decode(&longer), None, "{more}");
    }
    for number in 0..3 {
        let mut odd = bytes.clone();
        odd[5 + 2 * number + 1] = 0xff;
        assert_eq!(SetHead::decode(&odd), None, "{number}");
    }
    let mut newer = bytes;
    newer[2] += 1;
    assert_eq!(SetHead::decode(&newer), None);
}

#[test]
fn what_was_never_found_makes_room_for_what_is_new() {
    let mut head = SetHead::default();
    for tag in 1..=4 {
        assert_eq!(place(&mut head, tag, quarter()).evicted, 0);
    }
    assert!(head.touch(1));
    assert_eq!(place(&mut head, 5, quarter()).evicted, 1);
    assert_eq!(present(&head, 1..=5), [1, 3, 4, 5]);
    for tag in 6..100 {
        place(&mut head, tag, quarter());
    }
    assert_eq!(present(&head, 1..=99), [1, 97, 98, 99]);
}

#[test]
fn of_what_was_found_the_least_recently_found_goes_first() {
    let mut head = SetHead::default();
    for tag in 1..=4 {
        place(&mut head, tag, quarter());
        assert!(head.touch(tag));
    }
    assert!(head.touch(1));
    place(&mut head, 5, quarter());
    assert_eq!(present(&head, 1..=5), [1, 3, 4, 5]);
}

#[test]
fn an_entry_that_comes_again_after_it_was_evicted_counts_as_found() {
    let mut head = SetHead::default();
    for tag in 1..=5 {
        place(&mut head, tag, quarter());
    }
    assert_eq!(head.find(1), None);
    let share = head.new_share;
    place(&mut head, 1, quarter());
    assert!(head.new_share > share, "new entries were evicted too early");
    for tag in 6..100 {
        place(&mut head, tag, quarter());
    }
    assert!(head.find(1).is_some());
}

#[test]
fn a_found_entry_that_comes_again_after_it_was_evicted_takes_share_from_new_ones() {
    let mut head = SetHead::default();
    for tag in 1..=5 {
        place(&mut head, tag, quarter());
        head.touch(tag);
    }
    assert_eq!(head.find(1), None);
    let share = head.new_share;
    place(&mut head, 1, quarter());
    assert!(head.new_share < share);
}

#[test]
fn what_is_in_steady_use_costs_no_writes_and_stays() {
    let mut head = SetHead::default();
    for tag in 0..100 {
        place(&mut head, tag, 1_000);
    }
    assert!(head.touch(0));
    assert!(!head.touch(0), "it is in front already");
    for tag in 100..10_000 {
        place(&mut head, tag, 20_000);
        head.touch(0);
        assert!(head.find(0).is_some(), "lost after {tag}");
    }
    assert!(!head.touch(77_777), "what is not there cannot be touched");
}

#[test]
fn a_value_that_was_found_and_is_replaced_still_counts_as_found() {
    let mut head = SetHead::default();
    place(&mut head, 1, 10);
    head.touch(1);
    place(&mut head, 1, 20);
    assert_eq!((head.new.len(), head.found.len()), (0, 1));
}

#[test]
fn what_has_expired_goes_before_anything_else() {
    let mut head = SetHead::default();
    head.place(1, 1_000, NOW + 1, NOW).unwrap();
    head.place(2, 1_000, LATER, NOW).unwrap();
    let placement = head.place(3, 10, LATER, NOW + 1).unwrap();
    assert_eq!((head.find(1), placement.evicted), (None, 0));
    assert!(head.find(2).is_some());
}

#[test]
fn a_value_takes_the_slot_of_the_one_that_it_replaces() {
    let mut head = SetHead::default();
    let first = place(&mut head, 1, 10);
    place(&mut head, 2, 10);
    let again = place(&mut head, 1, 20);
    assert_eq!(again.way, first.way);
    assert_eq!((again.evicted, again.emptied.len()), (0, 0));
    assert_eq!(head.records().count(), 2);
}

#[test]
fn no_slot_is_used_twice_and_the_bytes_stay_within_the_set() {
    let mut head = SetHead::default();
    let mut random = 1_u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let bytes = u32::try_from((random >> 33) % 300_000).unwrap();
        let before: Vec<_> = head.ways().collect();
        let placement = place(&mut head, random >> 40, bytes);
        let mut after: Vec<_> = head.ways().collect();
        assert!(held(&head) <= SET_SLOT_BYTES);
        for way in before {
            let accounted = after.contains(&way) || placement.emptied.contains(&way);
            assert!(accounted, "slot {way} is in use and nobody knows");
        }
        assert!(!placement.emptied.contains(&placement.way));
        after.sort_unstable();
        after.dedup();
        assert_eq!(after.len(), head.records().count());
    }
}

#[test]
fn a_set_holds_as_many_values_as_it_has_slots() {
    let mut head = SetHead::default();
    for tag in 0..1_000 {
        place(&mut head, tag, 1);
    }
    assert_eq!(head.records().count(), WAYS);
    assert!(head.find(999).is_some() && head.find(743).is_none());
}

#[test]
fn a_value_larger_than_a_set_has_no_place() {
    let mut head = SetHead::default();
    place(&mut head, 1, 10);
    let before = head.clone();
    let too_large = u32::try_from(SET_SLOT_BYTES).unwrap();
    assert_eq!(head.place(2, too_large, LATER, NOW), None);
    assert_eq!(head, before, "and makes no room");
}
