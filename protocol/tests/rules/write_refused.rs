//! Rule R2: what a writer makes of refusals. What can be mended is tried again; what cannot, needs
//! a proof or more than b members.

use bftkv_protocol::client::{Options, Problem};
use bftkv_protocol::{
    Abandon, Answer, CertifiedEntry, Entry, EquivocationProof, Evidence, Refusal, decode, encode,
};

use crate::desk::{Desk, earlier, options};
use crate::fixtures::{
    ALICE, ALICE2, BOB, CLIQUE, MALLORY, Person, abandon, certified, certified_by, configuration,
    entry, final_entry, forged, nodes, one_group, signed, signed_time, t, variable,
};
use crate::member::slot;
use crate::samples::member_proof;

fn of(writer: Person, t: u64) -> CertifiedEntry {
    certified(entry(writer, t, "his"), &one_group())
}

/// Two refusals: the attempt is given up.
fn refused(first: Refusal, second: Refusal) -> Desk {
    let mut desk = Desk::signing(one_group(), 0);
    desk.told();
    desk.refuse(0xa1, first);
    desk.refuse(0xa2, second);
    desk
}

/// The round with evidence that follows, in which nobody shows an entry.
fn asked_again(mut desk: Desk) -> Desk {
    assert_eq!(desk.result(), "going on");
    if desk.told().last().is_none_or(|told| !told.starts_with("time with evidence")) {
        assert_eq!(desk.wake().pop().unwrap(), "time with evidence a1 a2 a3 a4");
    }
    CLIQUE.into_iter().for_each(|id| desk.time(id, 5));
    desk
}

/// "Not owner and sealed count only with the certified entry that proves them": one member that
/// proves it is enough, any number that do not is not.
#[test]
fn not_owner_needs_a_proof() {
    let desk = asked_again(refused(Refusal::NotOwner(Box::new(of(BOB, 5))), Refusal::Busy));
    assert_eq!(desk.result(), "not owner 5");
    let sealed = certified(final_entry(ALICE, 5, "other"), &one_group());
    let desk = asked_again(refused(Refusal::Sealed(Box::new(sealed)), Refusal::Busy));
    assert_eq!(desk.result(), "sealed 5");

    let too_few = certified_by(entry(BOB, 5, "his"), &CLIQUE[..2], &one_group());
    let lie = || Refusal::NotOwner(Box::new(too_few.clone()));
    let desk = refused(lie(), lie());
    assert_eq!(desk.result(), "going on");
    let mine = || Refusal::NotOwner(Box::new(of(ALICE2, 5)));
    assert_eq!(asked_again(refused(mine(), mine())).result(), "going on", "the contrary is true");
}

/// A member that lags behind proves its refusal with an entry that is no longer the newest. Only
/// a round that asks for evidence can tell, and it is asked at once.
#[test]
fn an_outdated_proof_ends_no_write() {
    let sealed = certified(final_entry(BOB, 5, "his"), &one_group());
    for outdated in [Refusal::NotOwner(Box::new(of(BOB, 5))), Refusal::Sealed(Box::new(sealed))] {
        let mut desk = refused(outdated, Refusal::Busy);
        assert_eq!(desk.told(), ["abandon 1 a1 a2 a3 a4", "time with evidence a1 a2 a3 a4"]);
        let latest = Some(Box::new(of(ALICE2, 6)));
        for id in &CLIQUE[..3] {
            let signature = Some(signed_time(*id, 6, &one_group()).signature);
            desk.answer(*id, Ok(Answer::Time { seen: t(6), latest: latest.clone(), signature }));
        }
        assert_eq!(desk.reserve(), ["reserve 7", "sign 7 a1 a2 a3 a4"]);
        assert_eq!(desk.shown.latest, latest, "the member that lags behind is shown it");
    }
}

/// There is no round left in which to ask: what is known explains most.
#[test]
fn at_the_deadline_a_proof_is_the_explanation() {
    let mut desk = Desk::signing(one_group(), 0);
    desk.told();
    desk.refuse(0xa1, Refusal::NotOwner(Box::new(of(BOB, 5))));
    desk.expire();
    assert_eq!(desk.result(), "not owner 5");
}

/// Attempts that this writer gave up and that still fill a member's slots: the message is sent
/// again, and others are asked for what they know. A slot that the writer did not give up may
/// belong to another write of its own that is under way.
#[test]
fn own_leftovers_that_fill_the_slots_are_abandoned_again() {
    let leftovers = vec![earlier(3)];
    let mut desk = Desk::with(one_group(), false, Options { leftovers, ..options() });
    desk.time_and_reserve(9);
    desk.told();
    let [mut left, mut other] =
        [slot(&signed(entry(ALICE, 3, "earlier"))), slot(&signed(entry(ALICE, 4, "v")))];
    (left.hash, other.timestamp) = (earlier(3).hash, t(4));
    let many = || Refusal::TooManySlots(vec![left.clone(), other.clone()]);
    desk.refuse(0xa1, many());
    desk.refuse(0xa2, many());
    let told = ["abandon 3 a1 a2 a3 a4", "abandon 10 a1 a2 a3 a4", "abandoned a1 a2 a3 a4"];
    assert_eq!(desk.told(), told);
    desk.answer(0xa3, Ok(Answer::Abandons(vec![abandon(ALICE, earlier(2))])));
    assert_eq!(desk.told(), ["post abandon 2 a1 a2 a3 a4"], "sent before by somebody who is gone");
}

#[test]
fn a_false_proof_names_its_sender() {
    let too_few = certified_by(entry(BOB, 5, "his"), &CLIQUE[..2], &one_group());
    let other = certified(Entry { variable: variable("y"), ..entry(BOB, 5, "his") }, &one_group());
    let mut desk = refused(Refusal::NotOwner(Box::new(too_few)), Refusal::Sealed(Box::new(other)));
    desk.expire();
    assert_eq!(desk.result(), "cannot sign: 2 of 3, without a1 a2; a1 BadEntry; a2 BadEntry");
}

/// A proof by a writer whose certificate is not known: it is looked for, and then believed or not.
#[test]
fn a_certificate_that_is_missing_for_a_proof_is_fetched() {
    let mut desk = Desk::signing(one_group(), 0);
    desk.keys.0.insert(BOB.id());
    desk.told();
    desk.refuse(0xa1, Refusal::NotOwner(Box::new(of(BOB, 5))));
    desk.refuse(0xa2, Refusal::Busy);
    assert_eq!(desk.told(), ["fetch 03", "abandon 1 a1 a2 a3 a4"]);
    assert_eq!(desk.result(), "going on");
    desk.keys.0.clear();
    desk.write.handle_fetched(&desk.keys);
    assert_eq!(asked_again(desk).result(), "not owner 5");
}

#[test]
fn the_newest_entry_known_is_passed_by() {
    let mut desk = refused(Refusal::NotOwner(Box::new(of(ALICE2, 70))), Refusal::Busy);
    desk.wake();
    CLIQUE.into_iter().for_each(|id| desk.time(id, 1));
    assert_eq!(desk.reserve(), ["reserve 71", "sign 71 a1 a2 a3 a4"]);
    assert_eq!(desk.shown.latest.map(|entry| entry.timestamp()), Some(t(70)));
}

/// Refusals that no retry mends count if one honest member gives them.
#[test]
fn fatal_refusals_need_more_than_b_members() {
    let none = || Refusal::NoQuorumCertificate { owner: ALICE.owner() };
    assert_eq!(refused(none(), none()).result(), "no quorum certificate a1 a2");
    assert_eq!(refused(none(), Refusal::Busy).result(), "going on");
    assert_eq!(refused(none(), Refusal::WrongRealm).result(), "going on", "two different words");
    let table = [
        (Refusal::BadWriterSignature, "refused 301"),
        (Refusal::SenderNotWriter, "refused 303"),
        (Refusal::WrongRealm, "refused 200"),
        (Refusal::UnusableTimestamp, "refused 402"),
        (Refusal::NotMember, "refused 202"),
        (Refusal::Malformed, "refused 100"),
        (Refusal::Reserved(BOB.id()), "refused 306"),
        (Refusal::Busy, "going on"),
        (Refusal::StorageUnavailable, "going on"),
        (Refusal::OldTimestamp { seen: t(3) }, "going on"),
        (Refusal::TimestampTooFar { limit: t(3) }, "going on"),
    ];
    for (refusal, expected) in table {
        let desk = refused(refusal.clone(), refusal.clone());
        assert_eq!(desk.result(), expected, "{refusal}");
    }
}

/// Each refused attempt is given up, then tried again until the deadline; then the error says what
/// stood in the way.
#[test]
fn the_error_names_the_obstacle() {
    let his = || slot(&signed(entry(BOB, 6, "his")));
    let mine = || slot(&signed(final_entry(ALICE, 6, "other")));
    let table = [
        (Refusal::Outstanding(vec![his()]), "blocked by bob@example.org"),
        (Refusal::OutstandingFinal(Box::new(mine())), "outstanding final 6"),
        (Refusal::OldTimestamp { seen: t(3) }, "contention"),
        (Refusal::TimestampTooFar { limit: t(3) }, "contention"),
        (Refusal::TooManySlots(vec![mine()]), "contention"),
        (Refusal::Busy, "contention"),
        (Refusal::StorageUnavailable, "cannot sign: 2 of 3, without a1 a2"),
        (Refusal::Outstanding(vec![]), "cannot sign: 2 of 3, without a1 a2"),
    ];
    for (refusal, expected) in table {
        let mut waiting = refused(refusal.clone(), refusal.clone());
        waiting.expire();
        assert_eq!(waiting.result(), expected, "{refusal}");
        let mut asking = refused(refusal.clone(), refusal.clone());
        assert_eq!(asking.wake().pop().unwrap(), "time with evidence a1 a2 a3 a4");
        asking.expire();
        assert_eq!(asking.result(), expected, "{refusal}: the next attempt had just begun");
    }
}

/// What the writer can finish itself comes first. The other owner may still have given up: that
/// is asked for all the same.
#[test]
fn an_own_final_explains_more_than_another_owner() {
    let his = slot(&signed(entry(BOB, 6, "his")));
    let mine = slot(&signed(final_entry(ALICE, 6, "other")));
    let (his, mine) = (Refusal::Outstanding(vec![his]), Refusal::OutstandingFinal(Box::new(mine)));
    let mut desk = refused(his, mine);
    assert!(desk.told().iter().any(|told| told.contains("abandoned")), "the others are asked");
    desk.expire();
    assert_eq!(desk.result(), "outstanding final 6");
}

/// As many as may lie name another owner, and one names the own Final: then that may be all that is
/// in the way, and to write its value again may succeed. With one more, no quorum is left for it.
#[test]
fn an_own_final_is_named_as_long_as_a_quorum_is_left_for_it() {
    let his = || Refusal::Outstanding(vec![slot(&signed(entry(BOB, 6, "his")))]);
    let mine =
        || Refusal::OutstandingFinal(Box::new(slot(&signed(final_entry(ALICE, 6, "other")))));
    let seven = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7];
    for (strangers, expected) in
        [(1, "outstanding final 6"), (2, "outstanding final 6"), (3, "blocked by bob@example.org")]
    {
        let mut desk = Desk::signing(configuration(&[&seven], &seven), 5);
        desk.refuse(0xa1, mine());
        seven[1..3].iter().take(strangers).for_each(|id| desk.refuse(*id, his()));
        if strangers == 3 {
            // Three refusals end an attempt: the third stranger is met in the next one.
            desk.wake();
            seven.iter().for_each(|id| desk.time(*id, 5));
            desk.reserve();
            seven[1..4].iter().for_each(|id| desk.refuse(*id, his()));
        }
        desk.expire();
        assert_eq!(desk.result(), expected, "{strangers} name another owner");
    }
}

/// Of two write-once values the one that most members name is told: a liar can show an old one.
#[test]
fn the_final_that_most_members_hold_is_named() {
    let shown =
        |t, value| Refusal::OutstandingFinal(Box::new(slot(&signed(final_entry(ALICE, t, value)))));
    let seven = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7];
    let mut desk = Desk::signing(configuration(&[&seven], &seven), 5);
    desk.refuse(0xa1, shown(3, "true"));
    desk.refuse(0xa2, shown(4, "true"));
    desk.refuse(0xa7, shown(9, "old"));
    desk.expire();
    assert_eq!(desk.result(), "outstanding final 4");
}

/// An attempt is over with the first refusals, which may be lies. What the honest said in earlier
/// attempts still counts, until they say something else.
#[test]
fn liars_who_are_quick_do_not_choose_the_words() {
    let his = || Refusal::Outstanding(vec![slot(&signed(entry(BOB, 6, "his")))]);
    let mine =
        || Refusal::OutstandingFinal(Box::new(slot(&signed(final_entry(ALICE, 6, "other")))));
    let mut desk = refused(mine(), mine());
    for (liar, other, expected) in [
        (his(), Refusal::Busy, "outstanding final 6"),
        (his(), his(), "blocked by bob@example.org"),
    ] {
        desk.wake();
        CLIQUE.into_iter().for_each(|id| desk.time(id, 5));
        desk.reserve();
        desk.refuse(0xa4, liar);
        desk.refuse(0xa3, other);
        let mut now = desk;
        now.expire();
        assert_eq!(now.result(), expected);
        desk = refused(mine(), his());
    }
}

/// "A refusal that can be mended is retried with a fresh t", and with what a lagging member needs.
#[test]
fn the_next_attempt_shows_evidence() {
    let mut desk = refused(Refusal::TimestampTooFar { limit: t(9) }, Refusal::Busy);
    assert_eq!(desk.wake(), ["abandon 1 a1 a2 a3 a4", "time with evidence a1 a2 a3 a4"]);
    let configuration = one_group();
    let latest = Some(Box::new(of(ALICE, 8)));
    for (id, seen) in CLIQUE.into_iter().zip([9, 8, 7]) {
        let signature = Some(signed_time(id, seen, &configuration).signature);
        desk.answer(id, Ok(Answer::Time { seen: t(seen), latest: latest.clone(), signature }));
    }
    assert_eq!(desk.reserve(), ["reserve 9", "sign 9 a1 a2 a3 a4"]);
    let times = vec![signed_time(0xa1, 9, &configuration), signed_time(0xa2, 8, &configuration)];
    assert_eq!(desk.shown, Evidence { latest, times });
}

/// A time answer must be signed when evidence was asked for: b+1 of which one is unsigned would
/// prove nothing to a lagging member.
#[test]
fn an_unsigned_or_badly_signed_time_does_not_count() {
    let mut desk = refused(Refusal::Busy, Refusal::Busy);
    desk.wake();
    desk.answer(0xa1, Ok(Answer::Time { seen: t(9), latest: None, signature: None }));
    desk.time(0xa2, 4);
    desk.time(0xa3, 4);
    assert!(desk.told().is_empty(), "two are no quorum");
    desk.time(0xa4, 4);
    assert_eq!(desk.reserve()[0], "reserve 5");
    assert_eq!(desk.shown.times.len(), 2);
    desk.expire();
    assert!(desk.result().ends_with("; a1 BadTime"), "{}", desk.result());

    let mut desk = Desk::new(one_group());
    desk.told();
    desk.answer(0xa1, Ok(Answer::Time { seen: t(9), latest: None, signature: Some(forged()) }));
    CLIQUE[1..].iter().for_each(|id| desk.time(*id, 0));
    assert_eq!(desk.told(), ["reserve 1"]);
}

fn blocked() -> Desk {
    let his = || Refusal::Outstanding(vec![slot(&signed(entry(BOB, 6, "his")))]);
    let mut desk = refused(his(), his());
    let told = desk.told();
    assert_eq!(told, ["abandon 1 a1 a2 a3 a4", "abandoned a1 a2 a3 a4"]);
    desk
}

fn given_up() -> Abandon {
    abandon(BOB, signed(entry(BOB, 6, "his")).id())
}

/// "Whoever was refused may relay it", once.
#[test]
fn abandons_of_others_are_relayed_once() {
    let mut desk = blocked();
    desk.answer(0xa3, Ok(Answer::Abandons(vec![given_up()])));
    assert_eq!(desk.told(), ["post abandon 6 a1 a2 a3 a4"]);
    desk.answer(0xa4, Ok(Answer::Abandons(vec![given_up(), given_up()])));
    assert!(desk.told().is_empty(), "everyone was told already");
}

#[test]
fn forged_abandons_are_not_relayed() {
    let mut desk = blocked();
    let forged = Abandon { signature: forged(), ..given_up() };
    desk.answer(0xa3, Ok(Answer::Abandons(vec![forged])));
    let mut elsewhere = given_up();
    elsewhere.attempt.variable = variable("y");
    desk.answer(0xa4, Ok(Answer::Abandons(vec![elsewhere])));
    assert!(desk.told().is_empty());
    desk.answer(0xa1, Ok(Answer::Abandons(vec![given_up()])));
    assert_eq!(desk.told(), ["post abandon 6 a1 a2 a3 a4"], "the true one is");
    desk.expire();
    assert_eq!(desk.result(), "blocked by bob@example.org; a3 BadAnswer");
}

#[test]
fn what_cannot_be_checked_is_relayed_all_the_same() {
    let mut desk = blocked();
    desk.keys.0.insert(BOB.id());
    desk.answer(0xa3, Ok(Answer::Abandons(vec![given_up()])));
    assert_eq!(desk.told(), ["post abandon 6 a1 a2 a3 a4"]);
    desk.expire();
    assert_eq!(desk.result(), "blocked by bob@example.org");
}

/// Proofs that arrive with a refusal are checked before anyone is accused.
#[test]
fn equivocation_is_reported_with_proof_only() {
    let mut desk = Desk::signing(one_group(), 0);
    desk.told();
    let mut bytes = encode(&member_proof());
    *bytes.last_mut().unwrap() ^= 1;
    let spoilt: EquivocationProof = decode(&bytes).unwrap();
    desk.refuse(0xa1, Refusal::Equivocation(vec![member_proof()]));
    assert_eq!(desk.told(), ["accuse a3"]);
    desk.refuse(0xa2, Refusal::Equivocation(vec![spoilt]));
    let told = desk.told();
    assert!(!told.contains(&"accuse a3".to_owned()), "{told:?}");
    desk.expire();
    assert!(desk.result().ends_with("; a2 BadAnswer; a3 Equivocation"), "{}", desk.result());
}

/// A write-once attempt may be finished by writing the same value once more.
#[test]
fn an_own_final_is_finished_by_the_same_value() {
    let same = certified(final_entry(ALICE, 5, "v"), &one_group());
    let mut desk = Desk::with(one_group(), true, options());
    desk.time_and_reserve(0);
    desk.told();
    let sealed = || Refusal::Sealed(Box::new(same.clone()));
    desk.refuse(0xa1, sealed());
    desk.refuse(0xa2, sealed());
    assert_eq!(desk.result(), "going on", "the same value, write-once: no contradiction");
    let desk = asked_again(refused(sealed(), sealed()));
    assert_eq!(desk.result(), "sealed 5", "the same value, not write-once");
}

/// A person who reads the error knows what to do.
#[test]
fn errors_speak() {
    let none = || Refusal::NoQuorumCertificate { owner: MALLORY.owner() };
    let Problem::NoQuorumCertificate { owner, by } = refused(none(), none()).problem() else {
        panic!("another problem");
    };
    assert_eq!((owner, by), (MALLORY.owner(), nodes([0xa1, 0xa2])));
    let words = refused(none(), none()).problem().to_string();
    assert!(words.contains("mallory@example.org must be certified by more than b"), "{words}");
    let desk = asked_again(refused(Refusal::NotOwner(Box::new(of(BOB, 5))), Refusal::Busy));
    let words = desk.problem();
    assert_eq!(words.to_string(), "not the owner: the variable belongs to bob@example.org");
}
