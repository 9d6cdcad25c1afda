//! How many guesses there are: for strangers, for known keys, with an old backup, at once.

use bftkv_protocol::{LoginPurpose, Refusal, RoamingAnswer, RoamingRefusal, RoamingRequest};
use bftkv_roaming::server::{ATTEMPTS, MAX_QUEUE, MAX_SESSIONS};
use bftkv_roaming::{Enrolled, Record};

use crate::support::{
    ALICE, ALICES_PHONE, Answered, DAY, Host, MALLORY, STRANGER, element, enrolled, evaluate,
    no_attempts, password,
};

fn scene() -> (Host, Enrolled) {
    let enrolled = enrolled(4, &password("right"));
    let mut host = Host::new(1);
    host.enrol(&enrolled, 1);
    (host, enrolled)
}

/// Guesses until it is refused; how many were answered.
fn guess_all(host: &mut Host, who: u8, record: &Record, from: u64) -> u64 {
    (from..from + 100).take_while(|number| host.guess(who, record, *number).is_ok()).count() as u64
}

fn reset(host: &mut Host, who: u8, record: &Record) -> Answered {
    host.ask(who, RoamingRequest::Reset { variable: record.variable().clone() })
}

const L: u64 = ATTEMPTS as u64;

#[test]
fn strangers_cannot_lock_out_a_known_device() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    // All strangers together have one budget: more keys, certified elsewhere or not, are no more guesses.
    assert_eq!(guess_all(&mut host, MALLORY, record, 0), L);
    assert!(no_attempts(&host.guess(STRANGER, record, 200)));
    assert!(no_attempts(&host.guess(MALLORY, record, 201)));
    // Both of Alice's certificates have all of theirs, and use them together.
    assert_eq!(host.guess(ALICES_PHONE, record, 300), Ok(9));
    assert_eq!(host.guess(ALICE, record, 301), Ok(8));
    let nonce = host.evaluate(ALICE, record, element(301)).unwrap().nonce;
    let proven = host.prove(ALICE, record, &enrolled.keys, LoginPurpose::Open, nonce);
    assert_eq!(proven, Ok(RoamingAnswer::Done));
    assert_eq!(host.guess(ALICE, record, 302), Ok(8));
    assert!(no_attempts(&host.guess(MALLORY, record, 400)), "her success is nothing to him");
}

#[test]
fn attempts_come_back_one_a_day_and_a_clock_that_is_set_back_brings_none() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    assert_eq!(guess_all(&mut host, MALLORY, record, 0), L);
    host.now += DAY - 1;
    let refused = host.guess(MALLORY, record, 100);
    assert_eq!(
        refused,
        Err(Refusal::Roaming(RoamingRefusal::NoAttempts { seconds: 1 })),
        "it says when"
    );
    host.now += 1;
    assert_eq!(guess_all(&mut host, MALLORY, record, 101), 1);
    host.now -= 30 * DAY;
    assert_eq!(guess_all(&mut host, MALLORY, record, 200), 0);
    host.now += 33 * DAY;
    assert_eq!(guess_all(&mut host, MALLORY, record, 300), 3, "three days after the first");
    host.now += 1000 * DAY;
    assert_eq!(guess_all(&mut host, MALLORY, record, 400), L, "never more than L at once");
}

#[test]
fn the_owner_gives_all_back_once_a_day_and_nobody_else_does() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    assert_eq!(guess_all(&mut host, ALICE, record, 0), L);
    assert_eq!(guess_all(&mut host, MALLORY, record, 50), L);
    for who in [MALLORY, STRANGER] {
        let refused = reset(&mut host, who, record);
        assert_eq!(refused, Err(Refusal::Roaming(RoamingRefusal::NotOwner)));
    }
    assert!(no_attempts(&host.guess(ALICE, record, 100)));
    assert_eq!(reset(&mut host, ALICES_PHONE, record), Ok(RoamingAnswer::Done));
    assert_eq!(guess_all(&mut host, ALICE, record, 101), L);
    assert_eq!(guess_all(&mut host, MALLORY, record, 151), L);
    // A thief of the owner's key gets L guesses a day out of this, and no more.
    host.now += DAY - 1;
    let refused = reset(&mut host, ALICE, record);
    assert_eq!(refused, Err(Refusal::Roaming(RoamingRefusal::NoAttempts { seconds: 1 })));
    host.restart();
    host.now += 1;
    assert_eq!(reset(&mut host, ALICE, record), Ok(RoamingAnswer::Done));
}

/// The generation number of the node's memory says that it may be old: the backup has more
/// attempts left than were left last, and they do not count.
#[test]
fn an_old_backup_has_no_attempts_left_until_they_come_back() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    host.guess(MALLORY, record, 0).unwrap();
    let backup = host.disk.clone();
    assert_eq!(guess_all(&mut host, MALLORY, record, 1), L - 1);
    for _ in 0..3 {
        // Restored again and again.
        host.disk = backup.clone();
        host.memory += 1;
        host.restart();
        for who in [MALLORY, STRANGER, ALICE] {
            assert!(no_attempts(&host.guess(who, record, 50)), "{who}");
        }
        // Nor is what was asked before the backup free, or provable.
        assert!(no_attempts(&host.guess(MALLORY, record, 0)));
    }
    host.now += DAY;
    assert_eq!(guess_all(&mut host, MALLORY, record, 51), 1);
    host.now += 2 * DAY;
    assert_eq!(guess_all(&mut host, MALLORY, record, 61), 2);
    assert_eq!(reset(&mut host, ALICE, record), Ok(RoamingAnswer::Done), "the owner need not wait");
    assert_eq!(host.guess(ALICE, record, 100), Ok(9));
}

/// An ordinary restart has the same memory, and changes nothing in either direction.
#[test]
fn a_restart_keeps_attempts_and_sessions() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    let first = host.evaluate(MALLORY, record, element(1)).unwrap();
    host.restart();
    let again = host.evaluate(MALLORY, record, element(1)).unwrap();
    assert_eq!((again.nonce, again.left, again.element), (first.nonce, 9, first.element));
    assert_eq!(guess_all(&mut host, MALLORY, record, 2), L - 1);
    host.restart();
    assert!(no_attempts(&host.guess(MALLORY, record, 50)));
}

#[test]
fn the_same_question_is_free_for_the_same_asker_only() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    for _ in 0..50 {
        assert_eq!(host.guess(MALLORY, record, 1), Ok(9));
    }
    assert_eq!(host.guess(STRANGER, record, 1), Ok(8), "another asker, another attempt");
    assert_eq!(host.guess(ALICE, record, 1), Ok(9), "of the budget of those who are known");
    // Free also when nothing is left.
    guess_all(&mut host, MALLORY, record, 2);
    assert_eq!(host.guess(MALLORY, record, 1), Ok(0));
    assert!(no_attempts(&host.guess(MALLORY, record, 99)));
}

/// Many sessions push old ones out, which stay counted: no number of them makes a guess free.
#[test]
fn sessions_that_are_forgotten_stay_counted() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    host.guess(MALLORY, record, 0).unwrap();
    for number in 1..=MAX_SESSIONS as u64 {
        // Alice logs in, and each login gives its attempt back.
        let nonce = host.evaluate(ALICE, record, element(number)).unwrap().nonce;
        let proven = host.prove(ALICE, record, &enrolled.keys, LoginPurpose::Open, nonce);
        assert_eq!(proven, Ok(RoamingAnswer::Done));
    }
    assert_eq!(host.guess(MALLORY, record, 0), Ok(8), "forgotten, so counted anew");
    assert_eq!(guess_all(&mut host, MALLORY, record, 100), L - 2);
}

/// A thousand at once: whatever their order, one at a time is decided, on what is on disk.
#[test]
fn a_thousand_guesses_at_once_get_no_more_than_one_after_the_other() {
    let (mut host, enrolled) = scene();
    let record = &enrolled.record;
    let tickets: Vec<u64> =
        (0..1000).map(|number| host.submit(MALLORY, evaluate(record, element(number)))).collect();
    let mut answers = host.work();
    let answers: Vec<Answered> =
        tickets.iter().map(|ticket| answers.remove(ticket).unwrap()).collect();
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(answered, usize::from(ATTEMPTS));
    let busy = answers.iter().filter(|answer| **answer == Err(Refusal::Busy)).count();
    assert_eq!(busy, 1000 - MAX_QUEUE - 1, "a queue has its limit");
}
