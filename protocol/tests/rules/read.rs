//! Rule R5, sentence by sentence: which entry a read returns, and what it makes sure of.

use std::sync::Arc;

use bftkv_protocol::client::{Consistency, ReadOptions};
use bftkv_protocol::{
    Answer, CertifiedEntry, ConfigurationDigest, Entry, EquivocationProof, Refusal, Response,
    decode, encode,
};

use crate::fixtures::{
    ALICE, BOB, CLIQUE, Person, STORE, alone, certified, certified_by, configuration, entry,
    final_entry, nodes, one_group, t, two_groups, variable,
};
use crate::reader::{Reader, read_options};
use crate::samples::member_proof;

fn of(writer: Person, t: u64) -> CertifiedEntry {
    certified(entry(writer, t, "v"), &one_group())
}

/// Two signers are no quorum: no honest member stores this.
fn made_up(t: u64) -> CertifiedEntry {
    certified_by(entry(ALICE, t, "made up"), &CLIQUE[..2], &one_group())
}

const NOTHING: [&str; 0] = [];

/// "At least b+1 identical answers: one honest node has verified it, and no signature need be
/// checked." Here nobody could: the writer's certificate is not known.
#[test]
fn equal_answers_of_a_quorum_need_no_signature() {
    let mut reader = Reader::new(one_group());
    reader.keys.0.insert(ALICE.id());
    reader.shown(&CLIQUE[..2], &of(ALICE, 5));
    assert_eq!(reader.result(), "going on", "two of three");
    reader.shown(&CLIQUE[2..3], &of(ALICE, 5));
    assert_eq!(reader.result(), "5");
    assert_eq!(reader.told(), NOTHING);
}

/// Members that agree on the signed entry may bring different signers: that is one entry.
#[test]
fn the_signers_do_not_make_an_entry_another() {
    let mut reader = Reader::new(one_group());
    let with = |signers: &[u8]| certified_by(entry(ALICE, 5, "v"), signers, &one_group());
    reader.shown(&[0xa1], &with(&[0xa1, 0xa2, 0xa3]));
    reader.shown(&[0xa2], &with(&[0xa2, 0xa3, 0xa4]));
    reader.shown(&[0xa3], &with(&CLIQUE));
    assert_eq!(reader.result(), "5");
}

#[test]
fn nothing_is_absent_and_an_empty_value_is_not() {
    let mut reader = Reader::new(one_group());
    reader.absent(&CLIQUE[..3]);
    assert_eq!(reader.result(), "absent");
    let mut reader = Reader::new(one_group());
    let empty = certified(entry(ALICE, 5, ""), &one_group());
    reader.shown(&CLIQUE[..3], &empty);
    assert_eq!(reader.result(), "5");
}

/// "Take the largest t whose entry is valid." "If fewer than q nodes are known to hold it, write
/// it back, and wait for q before returning."
#[test]
fn the_newest_valid_entry_is_written_back() {
    let mut reader = Reader::new(one_group());
    reader.shown(&[0xa1, 0xa2], &of(ALICE, 5));
    reader.shown(&[0xa3], &of(ALICE, 6));
    assert_eq!(reader.told(), ["store 6 a1 a2 a4"], "one member holds it");
    reader.done(&[0xa1]);
    assert_eq!(reader.result(), "going on", "two hold it");
    reader.done(&[0xa4]);
    assert_eq!(reader.result(), "6");
}

#[test]
fn a_write_back_goes_to_both_groups_and_waits_for_both() {
    let mut reader = Reader::new(two_groups());
    let five = certified(entry(ALICE, 5, "v"), &two_groups());
    reader.shown(&[0xc1], &five);
    reader.absent(&[0xc2, 0xc3]);
    assert_eq!(reader.told(), ["store 5 a1 a2 a3 a4 c2 c3 c4"]);
    reader.done(&[0xc2, 0xc3, 0xa1, 0xa2]);
    assert_eq!(reader.result(), "going on");
    assert_eq!(reader.wake(), ["store 5 a3 a4 c4"], "those who are silent are asked again");
    reader.done(&[0xa4]);
    assert_eq!(reader.result(), "5");
}

#[test]
fn regular_reads_do_not_wait_for_the_write_back() {
    let options = ReadOptions { consistency: Consistency::Regular, ..read_options() };
    let mut reader = Reader::with(one_group(), options);
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.result(), "5");
    assert_eq!(reader.told(), ["post store 5 a2 a3 a4"]);
}

/// Signers must know of a Final: who else could let something follow it?
#[test]
fn a_final_is_made_known_to_the_signers() {
    let last = certified(final_entry(ALICE, 5, "v"), &two_groups());
    let mut reader = Reader::new(two_groups());
    reader.shown(&STORE[..3], &last);
    assert_eq!(reader.told(), ["store 5 a1 a2 a3 a4 c4"]);
    reader.done(&CLIQUE[..3]);
    assert_eq!(reader.result(), "5");

    let mut reader = Reader::new(one_group());
    reader.shown(&CLIQUE[..3], &certified(final_entry(ALICE, 5, "v"), &one_group()));
    assert_eq!(reader.result(), "5", "the store group signs itself");
    assert_eq!(reader.told(), NOTHING);
}

/// Whoever holds a Final in both groups has it already: nobody silent is waited for.
#[test]
fn a_final_that_enough_signers_hold_needs_no_write_back() {
    let store = [&CLIQUE[..], &STORE[..3]].concat();
    let overlapping = configuration(&[&CLIQUE], &store);
    let last = certified(final_entry(ALICE, 5, "v"), &overlapping);
    let mut reader = Reader::new(Arc::clone(&overlapping));
    reader.shown(&[0xa1, 0xa2, 0xc1, 0xc2, 0xc3], &last);
    assert_eq!(reader.result(), "going on", "two signers are no quorum");
    let mut reader = Reader::new(overlapping);
    reader.shown(&[0xa1, 0xa2, 0xa3, 0xc1, 0xc2], &last);
    assert_eq!(reader.result(), "5");
}

/// "Wrong answers name their sender; stale ones are no crime."
#[test]
fn a_made_up_newest_entry_is_passed_over_and_named() {
    let mut reader = Reader::new(one_group());
    reader.shown(&[0xa1], &made_up(99));
    reader.shown(&[0xa2, 0xa3], &of(ALICE, 5));
    assert_eq!(reader.told(), ["store 5 a1 a4"]);
    reader.done(&[0xa4]);
    assert_eq!(reader.result(), "5; a1 BadEntry");

    let mut reader = Reader::new(one_group());
    reader.shown(&[0xa1], &made_up(99));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.result(), "absent; a1 BadEntry");
}

#[test]
fn answers_that_do_not_fit_the_question_are_lies() {
    let other = Entry { variable: variable("y"), ..entry(ALICE, 5, "v") };
    let other = certified(other, &one_group());
    let mut reader = Reader::new(one_group());
    reader.shown(&[0xa1], &other);
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.result(), "going on", "it does not count as an answer either");
    reader.absent(&[0xa4]);
    assert_eq!(reader.result(), "absent; a1 BadEntry");

    let mut reader = Reader::new(one_group());
    reader.answer(0xa1, Ok(Answer::Done));
    reader.refuse(0xa2, Refusal::Busy);
    reader.absent(&CLIQUE[2..]);
    assert_eq!(reader.result(), "going on");
    assert_eq!(reader.wake(), ["read a1 a2"], "those without an answer are asked again");
    let expected = "cannot read: 2 of 3, without a1 a2; a1 BadAnswer";
    assert_eq!(reader.expire(), expected);
}

#[test]
fn a_version_is_read_without_writing_it_back() {
    let options = || ReadOptions { at: Some(t(5)), ..read_options() };
    let mut reader = Reader::with(one_group(), options());
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.result(), "5");
    assert_eq!(reader.told(), NOTHING);

    let mut reader = Reader::with(one_group(), options());
    reader.shown(&[0xa1], &of(ALICE, 6));
    reader.absent(&CLIQUE[1..]);
    assert_eq!(reader.result(), "absent; a1 BadEntry", "another version than was asked for");

    let mut reader = Reader::with(one_group(), options());
    reader.shown(&[0xa1], &made_up(5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.result(), "absent; a1 BadEntry", "one member alone is not believed");
}

/// An entry to be shown to others comes with an S that was checked.
#[test]
fn a_proof_is_verified_whoever_agrees() {
    let options = ReadOptions { proof: true, ..read_options() };
    let mut reader = Reader::with(one_group(), options);
    let weak = certified_by(entry(ALICE, 5, "v"), &CLIQUE[..2], &one_group());
    reader.shown(&[0xa1], &weak);
    reader.shown(&[0xa2, 0xa3], &of(ALICE, 5));
    assert_eq!(reader.result(), "5");
    let entry = reader.read.result().unwrap().as_ref().unwrap().entry.clone().unwrap();
    assert_eq!(entry.collective.shares().len(), 3, "the copy whose S is valid");
}

/// Two certified entries with one timestamp: whoever signed both is accused, with proof.
#[test]
fn equivocation_is_found_on_reading() {
    let mut reader = Reader::new(one_group());
    let one = certified_by(entry(ALICE, 5, "one"), &[0xa1, 0xa2, 0xa3], &one_group());
    let two = certified_by(entry(BOB, 5, "two"), &[0xa2, 0xa3, 0xa4], &one_group());
    reader.shown(&[0xa1, 0xa2], &one);
    reader.shown(&[0xa3], &two);
    let told = reader.told();
    assert_eq!(told[..2], ["accuse a2", "accuse a3"]);
    assert!(told[2].starts_with("store 5 "), "{told:?}");
}

/// A member that shows another entry than it signed before gives itself away.
#[test]
fn a_lone_traitor_is_found_on_reading() {
    let mut reader = Reader::new(one_group());
    let true_one = certified_by(entry(ALICE, 5, "one"), &[0xa1, 0xa2, 0xa3], &one_group());
    let few = certified_by(entry(ALICE, 5, "two"), &[0xa3, 0xa4], &one_group());
    reader.shown(&[0xa1, 0xa2], &true_one);
    reader.shown(&[0xa3], &few);
    let told = reader.told();
    assert_eq!(told.iter().filter(|t| t.starts_with("accuse")).count(), 1, "{told:?}");
    assert!(told.contains(&"accuse a3".to_owned()), "{told:?}");
}

#[test]
fn a_refused_write_back_accuses_with_proof_only() {
    let mut reader = Reader::new(one_group());
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    reader.told();
    reader.refuse(0xa2, Refusal::Equivocation(vec![member_proof()]));
    assert_eq!(reader.told(), ["accuse a3"]);
    let mut bytes = encode(&member_proof());
    *bytes.last_mut().unwrap() ^= 1;
    let spoilt: EquivocationProof = decode(&bytes).unwrap();
    reader.refuse(0xa4, Refusal::Equivocation(vec![spoilt]));
    assert_eq!(reader.told(), NOTHING);
    let expected = "cannot confirm what was read: 1 of 3, without a2 a3 a4; \
                    a3 Equivocation; a4 BadAnswer";
    assert_eq!(reader.expire(), expected);
}

#[test]
fn a_missing_certificate_is_fetched_and_the_entry_checked() {
    let mut reader = Reader::new(one_group());
    reader.keys.0.insert(ALICE.id());
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.told(), ["fetch 01"]);
    reader.keys.0.clear();
    assert_eq!(reader.fetched(&CLIQUE), ["store 5 a2 a3 a4"]);
}

/// "One who shows an entry and answers that it has no such certificate made it up; one who was
/// silent may be slow. Neither answer can count."
#[test]
fn an_entry_that_nobody_can_check_does_not_count() {
    for (answered, blame) in [(&CLIQUE[..], "; a1 BadEntry"), (&CLIQUE[1..], "")] {
        let mut reader = Reader::new(one_group());
        reader.keys.0.insert(ALICE.id());
        reader.shown(&[0xa1], &of(ALICE, 99));
        reader.absent(&[0xa2, 0xa3]);
        assert_eq!(reader.told(), ["fetch 01"]);
        assert_eq!(reader.fetched(answered), NOTHING);
        assert_eq!(reader.result(), "going on", "two answers are left");
        reader.absent(&[0xa4]);
        assert_eq!(reader.result(), format!("absent{blame}"));
    }
}

/// The one who holds the certificate was slow: the next round looks for it again.
#[test]
fn a_certificate_that_was_not_found_is_looked_for_again() {
    let mut reader = Reader::new(one_group());
    reader.keys.0.insert(ALICE.id());
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.told(), ["fetch 01"]);
    assert_eq!(reader.fetched(&[]), NOTHING);
    assert_eq!(reader.wake(), ["read a1 a4"]);
    reader.shown(&[0xa1], &of(ALICE, 5));
    assert_eq!(reader.told(), ["fetch 01"]);
    reader.keys.0.clear();
    assert_eq!(reader.fetched(&[0xa1]), ["store 5 a2 a3 a4"]);
}

/// A member that had no such certificate when it was asked, and got it with the entry that it
/// shows later, has told no lie.
#[test]
fn who_showed_nothing_when_certificates_were_asked_for_is_not_blamed() {
    let mut reader = Reader::new(one_group());
    reader.keys.0.insert(ALICE.id());
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.fetched(&[0xa2, 0xa3, 0xa4])[0], "fetch 01");
    reader.shown(&[0xa4], &of(ALICE, 5));
    reader.wake();
    assert_eq!(reader.expire(), "cannot read: 2 of 3, without a1 a4");
}

/// An answer to one search says nothing about another certificate.
#[test]
fn who_answered_another_search_is_not_blamed() {
    let seven = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7];
    let group = configuration(&[&seven], &seven);
    let mut reader = Reader::new(Arc::clone(&group));
    reader.keys.0.extend([ALICE.id(), BOB.id()]);
    let (old, new) = (entry(BOB, 5, "v"), entry(ALICE, 6, "v"));
    reader.shown(&[0xa1], &certified(old.clone(), &group));
    reader.absent(&seven[3..]);
    reader.fetched(&[]);
    reader.shown(&[0xa2], &certified(old, &group));
    reader.shown(&[0xa3], &certified(new, &group));
    reader.fetched(&[0xa2]);
    assert!(
        !reader.expire().contains("a2 BadEntry"),
        "it was asked for the other certificate only"
    );
}

#[test]
fn answers_under_another_configuration_do_not_count() {
    let elsewhere = |reader: &mut Reader, id| {
        let configuration = ConfigurationDigest::from_bytes([7; 32]);
        let outcome = Ok(Answer::Entry(None));
        reader.response(id, Ok(Response { configuration, outcome }));
    };
    let mut reader = Reader::new(one_group());
    elsewhere(&mut reader, 0xa1);
    reader.shown(&CLIQUE[1..], &of(ALICE, 5));
    assert_eq!(reader.result(), "5");

    let mut reader = Reader::new(one_group());
    [0xa1, 0xa2].into_iter().for_each(|id| elsewhere(&mut reader, id));
    reader.absent(&CLIQUE[2..]);
    assert_eq!(reader.told(), ["refresh"]);
    reader.read.handle_configurations(std::time::Duration::ZERO, alone(&one_group()));
    assert_eq!(reader.expire(), "other configuration");
}

#[test]
fn nodes_that_were_cut_out_are_not_asked() {
    let options = ReadOptions { cut: nodes([0xa4]), ..read_options() };
    let mut reader = Reader::with(one_group(), options);
    assert_eq!(reader.wake(), ["read a1 a2 a3"]);
    reader.shown(&[0xa1], &of(ALICE, 5));
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.told(), ["store 5 a2 a3"]);
}
