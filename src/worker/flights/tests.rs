use super::*;

const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);
const UNTIL: UnixMillis = UnixMillis::from_millis(1_700_000_001_000);

/// The instant this many milliseconds after [`NOW`].
fn at(milliseconds: i64) -> UnixMillis {
    UnixMillis::from_millis(NOW.as_millis().saturating_add_signed(milliseconds))
}

fn key(n: u8) -> CacheKey {
    CacheKey::from_bytes([n; 32])
}

#[test]
fn who_waits_is_let_go_when_the_leader_ends() {
    let flights = Flights::new(7);
    flights.lead(key(1), NOW, UNTIL);
    assert!(flights.has(&key(1), NOW) && !flights.has(&key(2), NOW));
    assert!(!flights.are_waited_for());
    for exchange in [10, 11, 12] {
        assert!(flights.wait(&key(1), exchange, NOW, at(100)));
    }
    assert!(flights.are_waited_for());
    flights.leave(&key(1), 11);
    assert_eq!(flights.end(&key(1)), [10, 12]);
    assert!(!flights.has(&key(1), NOW) && !flights.are_waited_for());
    assert!(!flights.wait(&key(1), 13, NOW, at(100)), "too late");
}

#[test]
fn a_leader_that_takes_too_long_is_waited_for_by_nobody_new_and_replaced() {
    let flights = Flights::new(7);
    let old = flights.lead(key(1), NOW, UNTIL);
    assert!(flights.has(&key(1), at(999)));
    assert!(!flights.has(&key(1), UNTIL));
    assert!(!flights.has(&key(1), at(-1)), "the clock was set back");
    assert!(flights.is_led_by(&key(1), old));
    let new = flights.lead(key(1), UNTIL, at(2000));
    assert!(flights.has(&key(1), UNTIL));
    assert!(flights.is_led_by(&key(1), new) && !flights.is_led_by(&key(1), old));
}

#[test]
fn a_flight_lands_once_and_requests_that_come_meanwhile_wait_with_the_others() {
    let flights = Flights::new(7);
    flights.lead(key(1), NOW, UNTIL);
    flights.wait(&key(1), 10, NOW, at(100));
    assert!(flights.land(&key(1)));
    assert!(
        !flights.land(&key(1)),
        "its answer is being fetched already"
    );
    assert!(flights.wait(&key(1), 11, NOW, at(100)));
    assert_eq!(flights.end(&key(1)), [10, 11]);
}

#[test]
fn a_flight_that_nobody_waits_for_is_over_when_it_lands() {
    let flights = Flights::new(7);
    flights.lead(key(1), NOW, UNTIL);
    assert!(!flights.land(&key(1)));
    assert!(!flights.has(&key(1), NOW));
    assert!(!flights.land(&key(2)), "there is none");
}

#[test]
fn a_leader_elsewhere_is_forgotten_with_the_last_who_waits_and_one_here_is_not() {
    for here in [true, false] {
        let flights = Flights::new(7);
        if here {
            flights.lead(key(1), NOW, UNTIL);
        } else {
            flights.follow(key(1), NOW);
        }
        flights.wait(&key(1), 10, NOW, at(100));
        flights.leave(&key(1), 10);
        assert_eq!(flights.has(&key(1), NOW), here);
    }
}

#[test]
fn what_is_due_are_waiters_past_their_deadline_and_leaders_unheard_of() {
    let flights = Flights::new(7);
    flights.lead(key(1), NOW, UNTIL);
    flights.follow(key(2), NOW);
    flights.follow(key(3), NOW);
    for (n, exchange, deadline) in [(1, 10, 100), (1, 11, 600), (2, 12, 100), (3, 13, 600)] {
        flights.wait(&key(n), exchange, NOW, at(deadline));
    }
    assert_eq!(flights.due(at(99)), Due::default());
    let due = |now| {
        let Due {
            mut overdue,
            unheard,
        } = flights.due(now);
        overdue.sort_unstable();
        (overdue, unheard)
    };
    assert_eq!(due(at(100)), (vec![10, 12], vec![]));
    assert!(flights.has(&key(1), NOW) && !flights.has(&key(2), NOW));
    assert_eq!(flights.due(at(250)).unheard, [key(3)]);
    assert_eq!(flights.due(at(499)).unheard, []);
    assert_eq!(flights.due(at(500)).unheard, [key(3)]);
    assert_eq!(due(at(600)), (vec![11, 13], vec![]));
    assert!(flights.has(&key(1), NOW), "its leader will say how it ends");
}

#[test]
fn a_clock_that_is_set_back_lets_everybody_go() {
    let flights = Flights::new(7);
    flights.lead(key(1), NOW, UNTIL);
    flights.wait(&key(1), 10, NOW, at(100));
    assert_eq!(flights.due(at(-3_600_000)).overdue, [10]);
}

#[test]
fn so_many_may_wait_and_no_more() {
    let flights = Flights::new(7);
    flights.lead(key(1), NOW, UNTIL);
    for exchange in 0..u32::try_from(MAX_WAITING).unwrap() {
        assert!(flights.have_room());
        flights.wait(&key(1), exchange, NOW, at(100));
    }
    assert!(!flights.have_room());
}

#[test]
fn an_exchange_that_waits_no_more_makes_room_for_another_however_it_ended() {
    let flights = Flights::new(7);
    let sum = || {
        let flights = flights.flights.borrow();
        let waiting = flights.values().map(|flight| flight.waiting.len());
        waiting.sum::<usize>()
    };
    let count = |expected: usize| {
        assert_eq!((flights.waiting.get(), sum()), (expected, expected));
        assert_eq!(flights.are_waited_for(), expected > 0);
    };
    for n in 1..=3 {
        flights.lead(key(n), NOW, UNTIL);
        for exchange in 0..4 {
            flights.wait(&key(n), u32::from(n) * 10 + exchange, NOW, at(100));
        }
    }
    count(12);
    flights.leave(&key(1), 10);
    flights.leave(&key(1), 10);
    flights.leave(&key(2), 10);
    count(11);
    assert_eq!(flights.end(&key(1)).len(), 3);
    assert_eq!(flights.end(&key(1)).len(), 0);
    count(8);
    flights.wait(&key(2), 24, NOW, at(600));
    assert!(!flights.wait(&key(1), 11, NOW, at(100)), "it is over");
    count(9);
    assert_eq!(flights.due(at(100)).overdue.len(), 8);
    count(1);
    flights.land(&key(2));
    flights.leave(&key(2), 24);
    count(0);
}
