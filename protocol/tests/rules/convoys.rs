//! Who goes together, and when.

use bftkv_protocol::client::{Convoys, Due};

fn wait<T>(convoys: &mut Convoys<T>, item: T) -> Due {
    convoys.wait(item).1
}

fn depart(convoys: &mut Convoys<u32>) -> (u64, Vec<u32>) {
    convoys.depart(|_| true).unwrap()
}

#[test]
fn what_is_alone_goes_at_once_and_what_comes_meanwhile_goes_together() {
    let mut convoys = Convoys::default();
    for _ in 0..3 {
        let alone = convoys.go_alone().unwrap();
        assert_eq!(convoys.go_alone(), None);
        assert_eq!(convoys.done(alone), Due::No);
    }
    let alone = convoys.go_alone().unwrap();
    let (ticket, due) = convoys.wait(0);
    assert_eq!(due, Due::No);
    (1..16).for_each(|n| assert_eq!(wait(&mut convoys, n), Due::No));
    assert!(convoys.is_waiting(ticket));
    assert_eq!(convoys.done(alone), Due::Soon(alone), "it may come back");
    assert_eq!(convoys.go_alone(), None, "nobody overtakes those who wait");
    assert_eq!(wait(&mut convoys, 16), Due::Now, "it does");
    let (number, group) = depart(&mut convoys);
    assert_eq!(group, (0..17).collect::<Vec<_>>());
    assert!(!convoys.is_waiting(ticket) && convoys.is_newest(number));
    assert_eq!(convoys.done(alone), Due::No, "that is over");
}

#[test]
fn those_who_come_back_go_together_again() {
    let mut convoys = Convoys::default();
    let _ = (0..4).map(|n| wait(&mut convoys, n)).collect::<Vec<_>>();
    let (mut number, _) = depart(&mut convoys);
    for _ in 0..3 {
        (0..4).for_each(|_| assert_eq!(convoys.done(number), Due::No, "nobody waits"));
        assert_eq!(convoys.go_alone(), None, "others will come");
        assert_eq!(wait(&mut convoys, 0), Due::Soon(number));
        assert_eq!(wait(&mut convoys, 1), Due::No, "once");
        assert_eq!(wait(&mut convoys, 2), Due::No);
        assert_eq!(wait(&mut convoys, 3), Due::Now);
        let (next, group) = depart(&mut convoys);
        assert_eq!(group, [0, 1, 2, 3]);
        assert!(!convoys.is_newest(number), "whoever was to call need not");
        number = next;
    }
    // One is left: it waits a moment once.
    (0..4).for_each(|_| assert_eq!(convoys.done(number), Due::No));
    assert_eq!(wait(&mut convoys, 0), Due::Soon(number));
    let (number, _) = depart(&mut convoys);
    assert_eq!(convoys.done(number), Due::No);
    assert!(convoys.go_alone().is_some());
}

#[test]
fn a_few_may_be_late() {
    let mut convoys = Convoys::default();
    let _ = (0..17).map(|n| wait(&mut convoys, n)).collect::<Vec<_>>();
    let (number, _) = depart(&mut convoys);
    assert_eq!(wait(&mut convoys, 17), Due::No);
    (0..14).for_each(|_| assert_eq!(convoys.done(number), Due::No));
    assert_eq!(convoys.done(number), Due::Soon(number), "two are late");
    let (next, group) = depart(&mut convoys);
    assert_eq!(group, [17]);
    assert_eq!(convoys.done(number), Due::No, "they are not waited for");
    assert_eq!(convoys.done(next), Due::No);
}

#[test]
fn what_does_not_fit_waits_for_the_next() {
    let mut convoys = Convoys::default();
    let _ = [1, 2, 3, 2].map(|n| wait(&mut convoys, n));
    let (number, group) = convoys.depart(|n| *n < 3).unwrap();
    assert_eq!(group, [1, 2]);
    assert_eq!(convoys.done(number), Due::No);
    assert_eq!(convoys.done(number), Due::Soon(number), "some are left");
    assert_eq!(depart(&mut convoys).1, [3, 2]);
    assert_eq!(convoys.depart(|_| true), None);
}
