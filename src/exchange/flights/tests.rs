use super::*;

const NOW: u64 = 1_700_000_000_000;

fn key(n: u8) -> CacheKey {
    CacheKey::from_bytes([n; 32])
}

#[test]
fn who_waits_is_let_go_when_the_leader_ends() {
    let flights = Flights::default();
    flights.lead(key(1));
    assert!(flights.has(&key(1)) && !flights.has(&key(2)));
    assert!(!flights.are_waited_for());
    for exchange in [10, 11, 12] {
        assert!(flights.wait(&key(1), exchange, NOW + 100));
    }
    assert!(flights.are_waited_for());
    flights.leave(&key(1), 11);
    assert_eq!(flights.end(&key(1)), [10, 12]);
    assert!(!flights.has(&key(1)) && !flights.are_waited_for());
    assert!(!flights.wait(&key(1), 13, NOW + 100), "too late");
}

#[test]
fn a_flight_lands_once_and_whoever_comes_meanwhile_waits_with_the_others() {
    let flights = Flights::default();
    flights.lead(key(1));
    flights.wait(&key(1), 10, NOW + 100);
    assert!(flights.land(&key(1)));
    assert!(
        !flights.land(&key(1)),
        "its answer is being fetched already"
    );
    assert!(flights.wait(&key(1), 11, NOW + 100));
    assert_eq!(flights.end(&key(1)), [10, 11]);
}

#[test]
fn a_flight_that_nobody_waits_for_is_over_when_it_lands() {
    let flights = Flights::default();
    flights.lead(key(1));
    assert!(!flights.land(&key(1)));
    assert!(!flights.has(&key(1)));
    assert!(!flights.land(&key(2)), "there is none");
}

#[test]
fn a_leader_elsewhere_is_forgotten_with_the_last_who_waits_and_one_here_is_not() {
    for here in [true, false] {
        let flights = Flights::default();
        if here {
            flights.lead(key(1));
        } else {
            flights.follow(key(1));
        }
        flights.wait(&key(1), 10, NOW + 100);
        flights.leave(&key(1), 10);
        assert_eq!(flights.has(&key(1)), here);
    }
}

#[test]
fn what_is_due_are_waiters_past_their_deadline_and_leaders_elsewhere() {
    let flights = Flights::default();
    flights.lead(key(1));
    flights.follow(key(2));
    flights.follow(key(3));
    for (n, exchange, deadline) in [(1, 10, 100), (1, 11, 200), (2, 12, 100), (3, 13, 200)] {
        flights.wait(&key(n), exchange, NOW + deadline);
    }
    let due = flights.due(NOW + 99);
    assert_eq!((due.overdue, due.unheard), (vec![], vec![key(2), key(3)]));
    let due = flights.due(NOW + 100);
    assert_eq!((due.overdue, due.unheard), (vec![10, 12], vec![key(3)]));
    assert!(flights.has(&key(1)) && !flights.has(&key(2)));
    let due = flights.due(NOW + 200);
    assert_eq!((due.overdue, due.unheard), (vec![11, 13], vec![]));
    assert!(flights.has(&key(1)), "its leader will say how it ends");
}
