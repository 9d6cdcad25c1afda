//! Rule R2, step by step: time, sign, store, and how a write ends.

use bftkv_protocol::client::{Lost, MAX_HINT, Options, Reserve};
use bftkv_protocol::{Answer, ConfigurationDigest, Refusal, Response, SignatureShare};

use crate::desk::{Desk, earlier, options};
use crate::fixtures::{
    CLIQUE, SECOND, STORE, alone, forged, node, nodes, one_group, share, t, two_cliques, two_groups,
};

#[test]
fn a_write_asks_the_time_then_the_signatures_then_stores() {
    let mut desk = Desk::new(two_groups());
    assert_eq!(desk.told(), ["time a1 a2 a3 a4"]);
    desk.time(0xa1, 4);
    desk.time(0xa2, 4);
    assert!(desk.told().is_empty(), "two are no quorum");
    desk.time(0xa3, 4);
    assert_eq!(desk.reserve(), ["reserve 5", "sign 5 a1 a2 a3 a4"]);
    desk.share(0xa1);
    desk.share(0xa1);
    desk.share(0xa2);
    assert!(desk.told().is_empty(), "the same share twice is one");
    desk.share(0xa4);
    assert_eq!(desk.told(), ["record 5"], "nothing is stored before S is remembered");
    assert_eq!(desk.recorded(), ["store 5 a1 a2 a3 a4 c1 c2 c3 c4"]);
    for id in [0xa1, 0xa2, 0xa3, 0xc1, 0xc2] {
        desk.done(id);
        assert_eq!(desk.result(), "going on");
    }
    desk.done(0xc4);
    assert_eq!(desk.result(), "written 5 by a1 a2 a4");
    assert_eq!(desk.told(), ["settle 5"]);
    assert_eq!(desk.write.wake_at(), None);
}

/// Who knows its own last entry signs above it at once; where somebody was faster the members say
/// so, and the write asks.
#[test]
fn a_writer_that_knows_its_last_entry_asks_for_no_time() {
    let begin = || Desk::with(one_group(), false, Options { last: Some(t(4)), ..options() });
    let mut desk = begin();
    assert_eq!(desk.reserve(), ["reserve 5", "sign 5 a1 a2 a3 a4"]);
    [0xa1, 0xa2, 0xa3].into_iter().for_each(|id| desk.share(id));
    assert_eq!(desk.told(), ["record 5"]);

    let mut desk = begin();
    desk.reserve();
    [0xa1, 0xa2].into_iter().for_each(|id| desk.refuse(id, Refusal::OldTimestamp { seen: t(8) }));
    assert_eq!(desk.result(), "going on");
    let told = [desk.told(), desk.wake()].concat();
    assert!(told.contains(&"time with evidence a1 a2 a3 a4".to_owned()), "{told:?}");
    CLIQUE[..3].iter().for_each(|id| desk.time(*id, 8));
    assert_eq!(desk.reserve(), ["reserve 9", "sign 9 a1 a2 a3 a4"]);
}

#[test]
fn a_write_needs_a_quorum_of_every_clique_for_each_step() {
    let mut desk = Desk::new(two_cliques());
    desk.told();
    for id in [0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2] {
        desk.time(id, 0);
    }
    assert!(desk.told().is_empty(), "the second clique lacks one");
    desk.time(0xb3, 9);
    assert_eq!(desk.reserve()[0], "reserve 1");
    for id in [0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2] {
        desk.share(id);
    }
    assert!(desk.told().is_empty());
    desk.share(0xb4);
    assert_eq!(desk.told(), ["record 1"]);
    desk.recorded();
    for id in [0xa1, 0xa2, 0xa3, 0xb1, 0xb2] {
        desk.done(id);
    }
    assert_eq!(desk.result(), "going on");
    desk.done(0xb3);
    assert_eq!(desk.result(), "written 1 by a1 a2 a3 b1 b2 b4", "no more shares than needed");
}

/// "The base is the (b+1)-th largest answer, so b liars cannot raise it."
#[test]
fn liars_do_not_choose_the_timestamp() {
    for (answers, expected) in [
        ([u64::MAX, 4, 4], "reserve 5"),
        ([9, 4, 3], "reserve 5"),
        ([0, 4, 4], "reserve 5"),
        ([0, 0, 7], "reserve 1"),
        ([7, 7, 0], "reserve 8"),
    ] {
        let mut desk = Desk::new(one_group());
        desk.told();
        for (id, seen) in CLIQUE.into_iter().zip(answers) {
            desk.time(id, seen);
        }
        assert_eq!(desk.told(), [expected], "{answers:?}");
    }
}

/// "The largest of those over all cliques."
#[test]
fn the_clique_that_saw_most_decides() {
    let mut desk = Desk::new(two_cliques());
    desk.told();
    for (id, seen) in CLIQUE.into_iter().take(3).zip([3, 3, 3]) {
        desk.time(id, seen);
    }
    for (id, seen) in SECOND.into_iter().zip([8, 7, 1]) {
        desk.time(id, seen);
    }
    assert_eq!(desk.told(), ["reserve 8"]);
}

/// "A share is verified on arrival, so that a bad one names its sender."
#[test]
fn a_bad_share_names_the_culprit_and_a_quorum_goes_on() {
    let configuration = one_group();
    let mut desk = Desk::signing(one_group(), 0);
    desk.told();
    let attempt = desk.attempt.clone().unwrap();
    let good = share(&attempt, 0xa2, &configuration);
    desk.answer(
        0xa1,
        Ok(Answer::Share(SignatureShare { signer: node(0xa1), signature: forged() })),
    );
    desk.share(0xa2);
    desk.share(0xa3);
    assert!(desk.told().is_empty());
    desk.share(0xa4);
    assert_eq!(desk.told(), ["record 1"]);
    desk.recorded();
    CLIQUE.into_iter().for_each(|id| desk.done(id));
    assert_eq!(desk.result(), "written 1 by a2 a3 a4; a1 BadShare");

    let mut desk = Desk::signing(one_group(), 0);
    desk.answer(0xa1, Ok(Answer::Share(good)));
    desk.answer(0xa2, Ok(Answer::Done));
    let told = desk.told();
    assert_eq!(told, ["abandon 1 a1 a2 a3 a4"], "two are lost: it is given up");
    desk.expire();
    assert!(desk.result().ends_with("; a1 BadShare; a2 BadAnswer"), "{}", desk.result());
}

/// A member whose certificate this client lacks is not slandered.
#[test]
fn what_cannot_be_checked_is_no_crime() {
    let mut desk = Desk::new(one_group());
    desk.keys.0.insert(node(0xa1));
    desk.told();
    CLIQUE.into_iter().for_each(|id| desk.time(id, 0));
    desk.reserve();
    CLIQUE.into_iter().for_each(|id| desk.share(id));
    assert_eq!(desk.recorded(), ["store 1 a1 a2 a3 a4"]);
    CLIQUE.into_iter().for_each(|id| desk.done(id));
    assert_eq!(desk.result(), "written 1 by a2 a3 a4");
}

#[test]
fn the_homes_mark_moves_the_timestamp_on() {
    let mut desk = Desk::new(one_group());
    desk.told();
    CLIQUE.into_iter().for_each(|id| desk.time(id, 4));
    assert_eq!(desk.told(), ["reserve 5"]);
    assert_eq!(desk.reserve_fails(Reserve::Used { mark: t(11) }), ["reserve 12"]);
    assert_eq!(desk.reserve(), ["sign 12 a1 a2 a3 a4"]);
    assert!(desk.reserve_fails(Reserve::Failed("late".into())).is_empty(), "it was answered");

    let mut desk = Desk::new(one_group());
    desk.told();
    CLIQUE.into_iter().for_each(|id| desk.time(id, 4));
    desk.reserve_fails(Reserve::Failed("the agent is locked".into()));
    assert_eq!(desk.result(), "own: the agent is locked");
}

#[test]
fn what_a_crash_left_behind_is_given_up_first() {
    let leftovers = vec![earlier(3), earlier(4)];
    let mut desk = Desk::with(one_group(), false, Options { leftovers, ..options() });
    let expected = ["abandon 3 a1 a2 a3 a4", "abandon 4 a1 a2 a3 a4", "time a1 a2 a3 a4"];
    assert_eq!(desk.told(), expected);
}

#[test]
fn nodes_that_were_cut_out_are_not_asked_and_stay_in_n() {
    let cut = nodes([0xa4, 0xc4]);
    let mut desk = Desk::with(two_groups(), false, Options { cut, ..options() });
    assert_eq!(desk.told(), ["time a1 a2 a3"]);
    [0xa1, 0xa2].into_iter().for_each(|id| desk.time(id, 0));
    assert!(desk.told().is_empty(), "q is that of four");
    desk.time(0xa3, 0);
    assert_eq!(desk.reserve(), ["reserve 1", "sign 1 a1 a2 a3"]);
    [0xa1, 0xa2, 0xa3].into_iter().for_each(|id| desk.share(id));
    assert_eq!(desk.recorded(), ["store 1 a1 a2 a3 c1 c2 c3"]);
}

/// "An attempt with S is finished or reported unknown, never failed, never abandoned."
#[test]
fn after_s_the_outcome_is_never_failure() {
    let mut desk = Desk::signing(two_groups(), 0);
    CLIQUE.into_iter().for_each(|id| desk.share(id));
    desk.recorded();
    for id in [0xa1, 0xa2, 0xa3, 0xa4, 0xc1] {
        desk.done(id);
    }
    STORE[1..].iter().for_each(|id| desk.silence(*id));
    assert_eq!(desk.result(), "going on", "those who are silent are asked again");
    assert_eq!(desk.wake(), ["store 1 c2 c3 c4"]);
    desk.done(0xc2);
    desk.refuse(0xc3, Refusal::StorageUnavailable);
    assert!(desk.expire().is_empty(), "nothing is abandoned");
    assert_eq!(desk.result(), "unknown 1: 2 of 3, without c3 c4");

    let mut desk = Desk::signing(one_group(), 0);
    CLIQUE.into_iter().for_each(|id| desk.share(id));
    assert_eq!(desk.told().pop().unwrap(), "record 1");
    assert!(desk.expire().is_empty());
    assert_eq!(
        desk.result(),
        "unknown 1: 0 of 3, without a1 a2 a3 a4",
        "S exists, it may be stored"
    );
}

#[test]
fn a_home_that_cannot_remember_s_stores_nothing() {
    let mut desk = Desk::signing(one_group(), 0);
    CLIQUE.into_iter().for_each(|id| desk.share(id));
    desk.told();
    desk.write.handle_recorded(desk.now, Err("disk full".into()));
    assert!(desk.told().is_empty());
    assert_eq!(desk.result(), "own: disk full");
}

/// "An attempt for which the writer never assembled S may be abandoned."
#[test]
fn before_s_an_attempt_is_given_up() {
    let mut desk = Desk::signing(one_group(), 0);
    desk.told();
    desk.share(0xa1);
    desk.share(0xa2);
    assert_eq!(desk.expire(), ["abandon 1 a1 a2 a3 a4"]);
    assert_eq!(desk.result(), "cannot sign: 2 of 3, without a3 a4");
    desk.share(0xa3);
    assert!(desk.told().is_empty(), "its shares are thrown away");
}

#[test]
fn a_silent_round_is_given_up_and_tried_again_with_a_fresh_timestamp() {
    let mut desk = Desk::signing(one_group(), 0);
    desk.told();
    desk.share(0xa1);
    assert_eq!(desk.wake(), ["abandon 1 a1 a2 a3 a4"]);
    assert_eq!(desk.wake(), ["time with evidence a1 a2 a3 a4"]);
    CLIQUE.into_iter().for_each(|id| desk.time(id, 1));
    assert_eq!(desk.reserve(), ["reserve 2", "sign 2 a1 a2 a3 a4"]);
}

#[test]
fn too_few_answers_are_a_clear_error() {
    let mut desk = Desk::new(one_group());
    desk.told();
    desk.time(0xa1, 0);
    desk.time(0xa2, 0);
    assert_eq!(desk.wake(), [] as [&str; 0]);
    assert_eq!(desk.wake(), ["time with evidence a1 a2 a3 a4"]);
    desk.time(0xa1, 0);
    desk.expire();
    let of_the_whole_round = "cannot choose a timestamp: 2 of 3, without a3 a4";
    assert_eq!(desk.result(), of_the_whole_round);
}

#[test]
fn answers_to_an_earlier_round_are_ignored() {
    let mut desk = Desk::new(one_group());
    desk.told();
    let first = desk.round;
    desk.wake();
    desk.wake();
    assert_ne!(desk.round, first);
    desk.round = first;
    CLIQUE.into_iter().for_each(|id| desk.time(id, 0));
    assert!(desk.told().is_empty());
    desk.round = first + 2;
    [0xee, 0xa1, 0xa2, 0xef].into_iter().for_each(|id| desk.time(id, 0));
    assert!(desk.told().is_empty(), "strangers do not count");
}

/// "An answer with another digest does not count and makes the client join again."
#[test]
fn answers_under_another_configuration_do_not_count() {
    let elsewhere = |desk: &mut Desk, id| {
        let outcome = Ok(Answer::Time { seen: t(0), latest: None, signature: None });
        let configuration = ConfigurationDigest::from_bytes([7; 32]);
        desk.response(id, Ok(Response { configuration, outcome }));
    };
    let mut desk = Desk::new(one_group());
    desk.told();
    elsewhere(&mut desk, 0xa1);
    CLIQUE[1..].iter().for_each(|id| desk.time(*id, 0));
    assert_eq!(desk.told(), ["refresh", "reserve 1"], "one may lie about it");

    let mut desk = Desk::new(one_group());
    desk.told();
    elsewhere(&mut desk, 0xa1);
    desk.time(0xa2, 0);
    assert_eq!(desk.told(), ["refresh"], "somebody may know how one gets there");
    elsewhere(&mut desk, 0xa3);
    assert_eq!(desk.result(), "going on");
    let known = alone(&one_group());
    desk.write.handle_configurations(desk.now, known);
    assert_eq!(desk.result(), "other configuration", "nobody knows, and one of b+1 is honest");
}

#[test]
fn who_sends_what_is_no_answer_is_named() {
    let mut desk = Desk::new(one_group());
    desk.told();
    desk.response(0xa1, Err(Lost::Lied));
    CLIQUE[1..].iter().for_each(|id| desk.time(*id, 0));
    desk.reserve();
    CLIQUE[1..].iter().for_each(|id| desk.share(*id));
    desk.recorded();
    desk.answer(0xa2, Ok(Answer::Entry(None)));
    desk.answer(0xa1, Ok(Answer::Done));
    [0xa3, 0xa4].into_iter().for_each(|id| desk.done(id));
    assert_eq!(desk.result(), "written 1 by a2 a3 a4; a1 BadAnswer; a2 BadAnswer");
}

/// "Above a timestamp that a refusal named, clipped to base + 2^16."
#[test]
fn a_hint_moves_the_timestamp_within_limits() {
    for (hint, expected) in [(40, 41), (u64::MAX, 4 + MAX_HINT + 1), (2, 6)] {
        let mut desk = Desk::signing(one_group(), 4);
        desk.told();
        desk.refuse(0xa1, Refusal::OldTimestamp { seen: t(hint) });
        desk.silence(0xa2);
        assert_eq!(desk.told()[0], "abandon 5 a1 a2 a3 a4");
        desk.wake();
        let seen = if hint == 2 { 5 } else { 4 };
        CLIQUE.into_iter().for_each(|id| desk.time(id, seen));
        assert_eq!(desk.told(), [format!("reserve {expected}")], "hint {hint}");
    }
}
