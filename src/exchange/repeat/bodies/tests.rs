use super::*;

fn body(seed: u8, length: usize) -> Vec<u8> {
    let step = usize::from(seed).wrapping_mul(7).wrapping_add(1);
    (0..length)
        .map(|at| u8::try_from(at.wrapping_mul(step) % 251).unwrap())
        .collect()
}

#[test]
fn only_the_very_bytes_have_the_digest() {
    for length in [
        LONG,
        LONG + 1,
        LONG + 7,
        LONG + 8,
        LONG + 63,
        LONG + 64,
        3 * LONG,
    ] {
        let mut bodies = Bodies::default();
        let kept = body(1, length);
        bodies.keep(&kept, [1, 2]);
        assert_eq!(bodies.digest_of(&kept), Some([1, 2]));
        for at in (0..length).step_by(5).chain(length - 70..length) {
            let mut other = kept.clone();
            other[at] ^= 1;
            assert_eq!(bodies.digest_of(&other), None, "{at} of {length}");
        }
        assert_eq!(bodies.digest_of(&kept[..length - 1]), None);
        assert_eq!(bodies.digest_of(&[&kept[..], b"x"].concat()), None);
    }
}

#[test]
fn of_those_that_look_alike_the_last_one_is_kept() {
    let mut bodies = Bodies::default();
    let one = body(1, LONG);
    let mut other = one.clone();
    // Between two samples.
    other[100] ^= 1;
    assert_eq!(sample(&one), sample(&other));
    bodies.keep(&one, [1, 1]);
    bodies.keep(&other, [2, 2]);
    assert_eq!(bodies.digest_of(&one), None);
    assert_eq!(bodies.digest_of(&other), Some([2, 2]));
    assert_eq!((bodies.kept.len(), bodies.bytes), (1, LONG));
}

#[test]
fn short_ones_and_very_long_ones_are_not_kept() {
    for (length, kept) in [
        (0, false),
        (LONG - 1, false),
        (LONG, true),
        (LONGEST, true),
        (LONGEST + 1, false),
    ] {
        let mut bodies = Bodies::default();
        let body = body(1, length);
        bodies.keep(&body, [1, 2]);
        assert_eq!(bodies.digest_of(&body).is_some(), kept, "{length}");
    }
}

#[test]
fn the_oldest_make_room() {
    let mut bodies = Bodies::default();
    let all: Vec<_> = (0..200)
        .map(|seed| body(seed, 50_000 + 1_000 * usize::from(seed)))
        .collect();
    for body in &all {
        bodies.keep(body, [1, 2]);
        assert!(bodies.bytes <= MAX_BYTES);
        let sum: usize = bodies.kept.iter().map(|kept| kept.body.len()).sum();
        assert_eq!(sum, bodies.bytes);
    }
    let kept: Vec<_> = all
        .iter()
        .map(|body| bodies.digest_of(body).is_some())
        .collect();
    let first = kept.iter().position(|kept| *kept).unwrap();
    assert!(first > 0 && kept[first..].iter().all(|kept| *kept));
    assert!(bodies.bytes > MAX_BYTES - LONGEST);
}
