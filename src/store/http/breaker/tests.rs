use super::*;
use std::time::Duration;

const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);

/// This many milliseconds.
const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The instant this many milliseconds before [`NOW`].
const fn before(milliseconds: u64) -> UnixMillis {
    UnixMillis::from_millis(NOW.as_millis() - milliseconds)
}

fn breaker(seed: u64) -> Breaker {
    let settings = config::Breaker {
        failures: 3,
        min_open: Duration::from_secs(1),
        max_open: Duration::from_secs(10),
    };
    Breaker::new(settings, PROBE_TIMEOUT, seed)
}

/// A breaker that has just opened, and for how long.
fn open(seed: u64) -> (Breaker, Duration) {
    let mut breaker = breaker(seed);
    let probes = [0, 1, 2].map(|_| breaker.failed(NOW));
    assert_eq!(probes, [false, false, true]);
    let turn = breaker.probed(false, NOW).unwrap();
    assert_eq!(
        (turn.from, turn.to),
        (BreakerState::Closed, BreakerState::Open)
    );
    (breaker, turn.open_for.unwrap())
}

#[test]
fn so_many_failures_in_a_row_and_a_probe_that_fails_too_open_it() {
    let mut breaker = breaker(1);
    for _ in 0..10 {
        assert!(!breaker.failed(NOW) && !breaker.failed(NOW));
        breaker.succeeded();
    }
    assert_eq!(breaker.admit(NOW), (Admission::Closed, None));
    let (mut breaker, _) = open(1);
    assert_eq!(breaker.admit(NOW), (Admission::Refused, None));
}

#[test]
fn entries_that_are_too_large_for_their_time_never_open_it_while_probes_are_answered() {
    let mut breaker = breaker(1);
    for round in 0..1_000 {
        let now = NOW + PROBE_TIMEOUT * round;
        let probes = [0, 1, 2, 3, 4].map(|_| breaker.failed(now));
        assert_eq!(
            probes,
            [false, false, true, false, false],
            "one probe at a time"
        );
        assert_eq!(
            breaker.admit(now),
            (Admission::Closed, None),
            "others go on"
        );
        assert_eq!(breaker.probed(true, now + ms(1)), None);
        assert_eq!(breaker.admit(now + ms(1)), (Admission::Closed, None));
    }
}

#[test]
fn whatever_succeeds_while_it_is_suspected_clears_the_store() {
    let mut breaker = breaker(1);
    let suspect = |breaker: &mut Breaker| [0, 1, 2].map(|_| breaker.failed(NOW));
    suspect(&mut breaker);
    breaker.succeeded();
    assert_eq!(breaker.probed(false, NOW), None, "the probe comes too late");
    assert_eq!(
        suspect(&mut breaker),
        [false, false, true],
        "and the next is due"
    );
}

#[test]
fn a_suspicion_whose_probe_never_comes_back_opens_it() {
    for late in [NOW + PROBE_TIMEOUT + ms(1), before(1)] {
        let mut breaker = breaker(1);
        let _probes = [0, 1, 2].map(|_| breaker.failed(NOW));
        assert_eq!(
            breaker.admit(NOW + PROBE_TIMEOUT),
            (Admission::Closed, None)
        );
        let (admission, turn) = breaker.admit(late);
        assert_eq!(admission, Admission::Refused);
        assert_eq!(turn.unwrap().to, BreakerState::Open, "{late:?}");
    }
}

#[test]
fn once_the_time_is_up_one_probe_is_due_and_no_second() {
    let (mut breaker, open_for) = open(1);
    assert_eq!(
        breaker.admit(NOW + (open_for - ms(1))),
        (Admission::Refused, None)
    );
    let now = NOW + open_for;
    let (admission, turn) = breaker.admit(now);
    assert_eq!(admission, Admission::Probe);
    assert_eq!(turn.unwrap().to, BreakerState::HalfOpen);
    assert_eq!(breaker.admit(now), (Admission::Refused, None));
    assert_eq!(
        breaker.admit(now + PROBE_TIMEOUT),
        (Admission::Refused, None)
    );
}

#[test]
fn the_probe_closes_it_or_opens_it_for_longer() {
    let (mut breaker, open_for) = open(1);
    let mut now = NOW + open_for;
    breaker.admit(now);
    let turn = breaker.probed(false, now).unwrap();
    assert_eq!(
        (turn.from, turn.to),
        (BreakerState::HalfOpen, BreakerState::Open)
    );
    now = now + turn.open_for.unwrap();
    breaker.admit(now);
    let turn = breaker.probed(true, now).unwrap();
    assert_eq!((turn.to, turn.open_for), (BreakerState::Closed, None));
    assert_eq!(breaker.admit(now), (Admission::Closed, None));
    assert!(!breaker.failed(now));
}

#[test]
fn the_time_is_drawn_between_the_least_and_a_ceiling_that_doubles() {
    for (failed_probes, ceiling) in [2_000, 4_000, 8_000, 10_000, 10_000]
        .map(ms)
        .into_iter()
        .enumerate()
    {
        let drawn: Vec<_> = (0..200)
            .map(|seed| {
                let (mut breaker, mut open_for) = open(seed);
                let mut now = NOW;
                for _ in 0..failed_probes {
                    now = now + open_for;
                    breaker.admit(now);
                    open_for = breaker.probed(false, now).unwrap().open_for.unwrap();
                }
                open_for
            })
            .collect();
        let (min, max) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(*min >= ms(1_000) && *max <= ceiling, "{min:?} {max:?}");
        // 200 draws leave no tenth of the range at its ends untouched, with these seeds.
        let tenth = (ceiling - ms(1_000)) / 10;
        assert!(
            *min < ms(1_000) + tenth && *max > ceiling - tenth,
            "{min:?} {max:?}"
        );
    }
}

#[test]
fn a_probe_that_never_comes_back_has_failed() {
    let (mut breaker, open_for) = open(1);
    let now = NOW + open_for;
    breaker.admit(now);
    let (admission, turn) = breaker.admit(now + PROBE_TIMEOUT + ms(1));
    assert_eq!(admission, Admission::Refused);
    assert_eq!(turn.unwrap().to, BreakerState::Open);
}

#[test]
fn what_was_sent_before_it_opened_changes_nothing_afterwards() {
    let (mut breaker, open_for) = open(1);
    breaker.succeeded();
    assert!(!breaker.failed(NOW));
    assert_eq!(breaker.probed(true, NOW), None);
    assert_eq!(breaker.state.name(), BreakerState::Open);
    breaker.admit(NOW + open_for);
    breaker.succeeded();
    assert!(!breaker.failed(NOW));
    assert_eq!(breaker.state.name(), BreakerState::HalfOpen);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_it_open() {
    let (mut breaker, _) = open(1);
    assert_eq!(breaker.admit(before(1)).0, Admission::Probe);
    assert_eq!(
        breaker.admit(before(3_600_000)).1.unwrap().to,
        BreakerState::Open
    );
    let (mut ahead, _) = open(1);
    assert_eq!(
        ahead.admit(UnixMillis::from_millis(u64::MAX)).0,
        Admission::Probe
    );
}
