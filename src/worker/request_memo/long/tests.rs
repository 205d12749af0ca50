use super::*;

const PAIRS: &[u8] = b"authorization: Bearer one";
const ONE: Fingerprint = Fingerprint([1, 2]);

fn body(seed: u8, length: usize) -> Vec<u8> {
    let step = usize::from(seed).wrapping_mul(7).wrapping_add(1);
    (0..length)
        .map(|at| u8::try_from(at.wrapping_mul(step) % 251).unwrap())
        .collect()
}

#[test]
fn only_the_very_bytes_have_the_fingerprint() {
    for length in [
        LONG,
        LONG + 1,
        LONG + 7,
        LONG + 8,
        LONG + 63,
        LONG + 64,
        3 * LONG,
    ] {
        let mut long = LongRequests::default();
        let kept = body(1, length);
        long.keep(PAIRS, &kept, ONE);
        assert_eq!(long.fingerprint(PAIRS, &kept), Some(ONE));
        for at in (0..length).step_by(5).chain(length - 70..length) {
            let mut other = kept.clone();
            other[at] ^= 1;
            assert_eq!(long.fingerprint(PAIRS, &other), None, "{at} of {length}");
        }
        assert_eq!(long.fingerprint(PAIRS, &kept[..length - 1]), None);
        assert_eq!(long.fingerprint(PAIRS, &[&kept[..], b"x"].concat()), None);
    }
}

#[test]
fn the_same_body_under_other_headers_is_not_known() {
    let mut long = LongRequests::default();
    let body = body(1, LONG);
    long.keep(PAIRS, &body, ONE);
    for at in 0..PAIRS.len() {
        let mut others = PAIRS.to_vec();
        others[at] ^= 1;
        assert_eq!(long.fingerprint(&others, &body), None, "{at}");
    }
    assert_eq!(long.fingerprint(b"", &body), None);
}

#[test]
fn of_those_that_look_alike_the_last_one_is_kept() {
    let mut long = LongRequests::default();
    let one = body(1, LONG);
    let mut other = one.clone();
    // Between two samples.
    other[1_100] ^= 1;
    assert_eq!(sample(PAIRS, &one), sample(PAIRS, &other));
    long.keep(PAIRS, &one, ONE);
    let two = Fingerprint([2, 2]);
    long.keep(PAIRS, &other, two);
    assert_eq!(long.fingerprint(PAIRS, &one), None);
    assert_eq!(long.fingerprint(PAIRS, &other), Some(two));
    assert_eq!((long.kept.len(), long.bytes()), (1, LONG + PAIRS.len()));
}

#[test]
fn those_that_differ_in_how_they_begin_or_end_are_kept_side_by_side() {
    let mut long = LongRequests::default();
    let one = body(1, 50_000);
    let others = [0, 200, 511, 49_488, 49_900, 49_999].map(|at| {
        let mut other = one.clone();
        other[at] ^= 1;
        other
    });
    for body in others.iter().chain([&one]) {
        long.keep(PAIRS, body, ONE);
    }
    assert!(
        others
            .iter()
            .chain([&one])
            .all(|body| long.fingerprint(PAIRS, body) == Some(ONE))
    );
}

#[test]
fn short_ones_and_very_long_ones_are_not_kept() {
    for (length, is_kept) in [
        (0, false),
        (LONG - 1, false),
        (LONG, true),
        (LONGEST, true),
        (LONGEST + 1, false),
    ] {
        let mut long = LongRequests::default();
        let body = body(1, length);
        long.keep(PAIRS, &body, ONE);
        assert_eq!(
            long.fingerprint(PAIRS, &body).is_some(),
            is_kept,
            "{length}"
        );
    }
    let mut long = LongRequests::default();
    let pairs = vec![b'x'; MAX_BYTES];
    long.keep(&pairs, &body(1, LONG), ONE);
    assert_eq!((long.kept.len(), long.bytes()), (0, 0));
}

#[test]
fn the_oldest_make_room_for_one_in_eight() {
    let mut long = LongRequests::default();
    let all: Vec<_> = (0..250).map(|seed| body(seed, 50_000)).collect();
    let keep_all = |long: &mut LongRequests| {
        for body in &all {
            long.keep(PAIRS, body, ONE);
            assert!(long.bytes() <= MAX_BYTES);
        }
        let kept = |body: &Vec<u8>| long.fingerprint(PAIRS, body).is_some();
        all.iter().map(kept).collect::<Vec<_>>()
    };
    let count = |kept: &[bool]| kept.iter().filter(|kept| **kept).count();
    let first = keep_all(&mut long);
    let room = MAX_BYTES / (50_000 + PAIRS.len());
    assert_eq!(count(&first), room);
    let gone = (all.len() - room) / 8;
    // The first of them are gone, and some of the last are there.
    assert_eq!(
        (count(&first[..gone]), count(&first[gone..room])),
        (0, room - gone)
    );
    assert_eq!(count(&first[room..]), gone);
}
