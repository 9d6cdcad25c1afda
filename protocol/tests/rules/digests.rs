//! One member is asked for the whole entry and the others for which it is: rule R5 stays what it is.
//! docs/adr/0020.

use std::time::Duration;

use bftkv_protocol::client::{Hedge, Lost, ReadOptions};
use bftkv_protocol::{Answer, CertifiedEntry, Entry, Refusal, Response};

use crate::fixtures::{ALICE, BOB, CLIQUE, certified, certified_by, entry, nodes, one_group, t};
use crate::reader::{Reader, read_options};

const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(50);

fn with(options: ReadOptions) -> Reader {
    let hedge = Hedge { after: Some(SOON), ..Hedge::default() };
    let whole = Hedge { after: Some(LATER), ..Hedge::default() };
    Reader::with(one_group(), ReadOptions { hedge, whole, ..options })
}

fn reader() -> Reader {
    let reader = with(read_options());
    assert_eq!(reader.asked, "read a1, digest a2 a3");
    reader
}

fn of(t: u64) -> CertifiedEntry {
    certified(entry(ALICE, t, "v"), &one_group())
}

/// The same signed entry, with an S of two: nobody honest stores that.
fn weak(entry: Entry) -> CertifiedEntry {
    certified_by(entry, &CLIQUE[..2], &one_group())
}

const NOTHING: [&str; 0] = [];

/// One shows it, b+1 say that it is so: no signature need be checked. Here nobody could.
#[test]
fn one_shows_what_the_others_name() {
    let mut reader = reader();
    reader.keys.0.insert(ALICE.id());
    reader.shown(&[0xa1], &of(5));
    reader.named(&[0xa2], &of(5));
    assert_eq!(reader.result(), "going on", "two of three");
    reader.named(&[0xa3], &of(5));
    assert_eq!(reader.result(), "5");
    assert_eq!(reader.told(), NOTHING);
}

/// Whoever has a small value shows it, and everything is as if all had been asked for it.
#[test]
fn small_values_come_at_once() {
    let mut reader = reader();
    reader.absent(&[0xa1]);
    reader.shown(&[0xa2], &of(5));
    reader.absent(&[0xa3]);
    assert_eq!(reader.told(), ["store 5 a1 a3 a4"]);
}

#[test]
fn who_names_an_entry_holds_it() {
    let mut reader = reader();
    reader.shown(&[0xa1], &of(5));
    reader.named(&[0xa2], &of(5));
    reader.absent(&[0xa3]);
    assert_eq!(reader.told(), ["store 5 a3 a4"]);
    reader.done(&[0xa4]);
    assert_eq!(reader.result(), "5");
}

/// The one that was asked is behind: the newest is asked for where it was named.
#[test]
fn the_newest_is_asked_for_where_it_was_named() {
    let mut reader = reader();
    reader.shown(&[0xa1], &of(5));
    reader.named(&[0xa2], &of(5));
    reader.named(&[0xa3], &of(6));
    assert_eq!(reader.told(), ["read 6 a3"]);
    reader.shown(&[0xa3], &of(6));
    assert_eq!(reader.told(), ["store 6 a1 a2 a4"]);
    reader.done(&[0xa1, 0xa2]);
    assert_eq!(reader.result(), "6");
}

/// The others are asked in its place when it is time, and one of them for the whole.
#[test]
fn who_is_dead_is_replaced_like_any_other() {
    let mut reader = reader();
    reader.named(&[0xa2, 0xa3], &of(5));
    assert_eq!(reader.wake(), ["digest a4"], "it may only need its time");
    reader.named(&[0xa4], &of(5));
    assert_eq!(reader.told(), NOTHING, "a1 has a little time left");
    assert_eq!(reader.wake(), ["read 5 a2"]);
    assert_eq!(reader.wake(), ["read 5 a3"], "a2 takes as long");
    reader.shown(&[0xa3], &of(5));
    assert_eq!(reader.result(), "5");
}

#[test]
fn who_fails_is_replaced_at_once() {
    let mut reader = reader();
    reader.named(&[0xa2, 0xa3], &of(5));
    reader.silence(0xa1);
    assert_eq!(reader.told(), ["read a4"], "nobody else was asked for the whole");
    reader.shown(&[0xa4], &of(5));
    assert_eq!(reader.result(), "5");

    let mut reader = self::reader();
    reader.named(&[0xa2, 0xa3], &of(5));
    reader.absent(&[0xa1]);
    assert_eq!(reader.told(), ["read 5 a2"]);
    reader.refuse(0xa2, Refusal::Busy);
    assert_eq!(reader.told(), ["read 5 a3"]);
    reader.shown(&[0xa3], &of(5));
    assert_eq!(reader.told(), ["store 5 a1 a4"], "a2 is busy, and holds it");
}

#[test]
fn what_comes_late_is_as_good() {
    let mut reader = reader();
    reader.named(&[0xa2, 0xa3], &of(5));
    reader.wake();
    reader.named(&[0xa4], &of(5));
    assert_eq!(reader.wake(), ["read 5 a2"]);
    reader.shown(&[0xa1], &of(5));
    assert_eq!(reader.result(), "5");
}

/// A name of nothing keeps nobody for longer than a silent member would, and who cannot show it is
/// named only for what proves a lie.
#[test]
fn a_name_of_nothing_is_not_believed() {
    let lie = || certified(entry(ALICE, 99, "nothing"), &one_group());
    let asked = || {
        let mut reader = reader();
        reader.shown(&[0xa1], &of(5));
        reader.named(&[0xa2], &of(5));
        reader.named(&[0xa3], &lie());
        assert_eq!(reader.told(), ["read 99 a3"]);
        reader
    };
    let mut silent = asked();
    assert_eq!(silent.wake(), ["digest a4"]);
    silent.named(&[0xa4], &of(5));
    assert_eq!(silent.result(), "going on", "it may be a good one");
    assert_eq!(silent.wake(), NOTHING);
    assert_eq!(silent.result(), "5");

    let mut absent = asked();
    absent.absent(&[0xa3]);
    assert_eq!(absent.told(), ["digest a4"], "it may have lost its memory");
    absent.named(&[0xa4], &of(5));
    assert_eq!(absent.result(), "5");

    let mut other = asked();
    other.shown(&[0xa3], &of(5));
    assert_eq!(other.told(), ["digest a4"]);
    other.named(&[0xa4], &of(5));
    assert_eq!(other.result(), "5; a3 BadEntry");

    let mut bad = asked();
    bad.shown(&[0xa3], &weak(entry(ALICE, 99, "nothing")));
    assert_eq!(bad.told(), ["store 5 a3 a4"], "it counts as one that has nothing");
    bad.done(&[0xa4]);
    assert_eq!(bad.result(), "5; a3 BadEntry");

    let mut other = asked();
    other.done(&[0xa3]);
    assert_eq!(other.told(), ["digest a4"]);
    other.named(&[0xa4], &of(5));
    assert_eq!(other.result(), "5; a3 BadAnswer");
}

/// An honest one that was slow has the newest entry: what it named is not lost.
#[test]
fn who_was_not_believed_any_more_is_believed_when_it_shows_it() {
    let mut reader = reader();
    reader.shown(&[0xa1], &of(5));
    reader.named(&[0xa2], &of(5));
    reader.named(&[0xa3], &of(6));
    assert_eq!(reader.told(), ["read 6 a3"]);
    assert_eq!(reader.wake(), ["digest a4"]);
    assert_eq!(reader.wake(), NOTHING, "it does not count, and a4 is silent");
    assert_eq!(reader.result(), "going on");
    reader.shown(&[0xa3], &of(6));
    assert_eq!(reader.told(), ["store 6 a1 a2 a4"]);
}

/// The right name and a wrong value: the others, who named the same, are asked.
#[test]
fn a_wrong_value_is_not_what_was_named() {
    let mut reader = reader();
    reader.absent(&[0xa1]);
    reader.named(&[0xa2, 0xa3], &of(5));
    assert_eq!(reader.told(), ["read 5 a2"]);
    let mut wrong = of(5);
    wrong.signed.entry = entry(ALICE, 5, "wrong");
    reader.shown(&[0xa2], &wrong);
    assert_eq!(reader.told(), ["read a4"], "two are left, and have not shown it");
    reader.absent(&[0xa4]);
    assert_eq!(reader.told(), ["read 5 a3"]);
    reader.shown(&[0xa3], &of(5));
    assert_eq!(reader.told(), ["store 5 a1 a2 a4"]);
    reader.done(&[0xa1, 0xa4]);
    assert_eq!(reader.result(), "5; a2 BadEntry");
}

/// A copy whose S is bad is the lie of who showed it. Others named the entry because they hold it.
#[test]
fn who_named_an_entry_does_not_answer_for_the_copy_of_another() {
    for proof in [false, true] {
        let mut reader = with(ReadOptions { proof, ..read_options() });
        reader.shown(&[0xa1], &weak(entry(ALICE, 5, "v")));
        reader.named(&[0xa2], &of(5));
        reader.absent(&[0xa3]);
        assert_eq!(reader.told(), ["read 5 a2"], "too few hold it: its S is looked at");
        reader.shown(&[0xa2], &of(5));
        assert_eq!(reader.told(), ["store 5 a1 a3 a4"]);
        reader.done(&[0xa3, 0xa4]);
        assert_eq!(reader.result(), "5; a1 BadEntry");
    }
}

#[test]
fn a_proof_is_verified_whoever_names_the_entry() {
    let mut reader = with(ReadOptions { proof: true, ..read_options() });
    reader.shown(&[0xa1], &weak(entry(ALICE, 5, "v")));
    reader.named(&[0xa2, 0xa3], &of(5));
    assert_eq!(reader.told(), ["read 5 a2"]);
    reader.shown(&[0xa2], &of(5));
    assert_eq!(reader.told(), ["store 5 a1 a4"], "a1 does not hold it as far as one knows");
    let entry = |reader: &Reader| reader.read.result().unwrap().as_ref().unwrap().entry.clone();
    reader.done(&[0xa4]);
    assert_eq!(entry(&reader).unwrap().collective.shares().len(), 3, "the copy that is valid");
}

/// Two entries with one timestamp are both looked at, also if one was only named.
#[test]
fn equivocation_is_found_by_names() {
    let one = certified_by(entry(ALICE, 5, "one"), &[0xa1, 0xa2, 0xa3], &one_group());
    let two = certified_by(entry(BOB, 5, "two"), &[0xa2, 0xa3, 0xa4], &one_group());
    for (one, two) in [(&one, &two), (&two, &one)] {
        let mut reader = reader();
        reader.shown(&[0xa1], one);
        reader.named(&[0xa2], one);
        reader.named(&[0xa3], two);
        assert_eq!(reader.told(), ["read 5 a3"]);
        reader.shown(&[0xa3], two);
        assert_eq!(reader.told()[..2], ["accuse a2", "accuse a3"]);
    }
}

#[test]
fn a_version_is_read_the_same_way() {
    let mut reader = with(ReadOptions { at: Some(t(5)), ..read_options() });
    assert_eq!(reader.asked, "read 5 a1, digest 5 a2 a3");
    reader.shown(&[0xa1], &of(5));
    reader.named(&[0xa2], &of(6));
    assert_eq!(reader.told(), ["digest 5 a4"]);
    reader.absent(&[0xa3]);
    reader.named(&[0xa4], &of(5));
    assert_eq!(reader.result(), "5; a2 BadEntry", "another version was asked for");
}

#[test]
fn a_name_is_no_answer_where_the_whole_was_asked_for() {
    let mut reader = reader();
    reader.named(&[0xa1], &of(5));
    assert_eq!(reader.told(), ["read a4"]);
    reader.named(&[0xa2, 0xa3], &of(5));
    reader.shown(&[0xa4], &of(5));
    assert_eq!(reader.result(), "5; a1 BadAnswer");
}

/// A certificate is missing: only who has shown the entry must have it, since the S that it needs is
/// in that copy.
#[test]
fn who_only_named_an_entry_may_lack_a_certificate() {
    let mut reader = reader();
    reader.keys.0.insert(ALICE.id());
    reader.shown(&[0xa1], &of(5));
    reader.named(&[0xa2], &of(5));
    reader.absent(&[0xa3]);
    assert_eq!(reader.told(), ["fetch 01"]);
    assert_eq!(reader.fetched(&CLIQUE)[0], "read a4", "nobody has shown it who is believed");
    reader.absent(&[0xa4]);
    reader.told();
    assert!(!reader.expire().contains("a2 Bad"), "{}", reader.result());
    assert!(reader.result().contains("a1 BadEntry"), "{}", reader.result());
}

/// Those who were silent are asked again, and so is a holder that did not show it in time.
#[test]
fn everybody_is_asked_again() {
    let mut reader = reader();
    reader.named(&[0xa2, 0xa3], &of(5));
    reader.silence(0xa1);
    assert_eq!(reader.told(), ["read a4"]);
    reader.refuse(0xa4, Refusal::Busy);
    assert_eq!(next(&mut reader), "read a1, digest a4");
    reader.named(&[0xa4], &of(5));
    for holder in ["a2", "a3", "a4"] {
        assert_eq!(next(&mut reader), format!("read 5 {holder}"));
    }
    assert_eq!(next(&mut reader), "read a1");
    assert_eq!(next(&mut reader), "read 5 a2", "once more");
    reader.shown(&[0xa1], &of(5));
    assert_eq!(reader.result(), "5");
}

/// What it does next, whenever that is.
fn next(reader: &mut Reader) -> String {
    loop {
        assert_eq!(reader.result(), "going on");
        let told = reader.wake();
        if !told.is_empty() {
            return told.join(", ");
        }
    }
}

/// An answer to a question for the whole is none to what is asked meanwhile: nobody is framed.
#[test]
fn a_late_whole_entry_acknowledges_nothing() {
    let mut reader = reader();
    reader.named(&[0xa2], &of(6));
    reader.named(&[0xa3], &of(6));
    reader.absent(&[0xa1]);
    assert_eq!(reader.told(), ["read 6 a2"]);
    assert_eq!(reader.wake(), ["digest a4"]);
    assert_eq!(reader.wake(), ["read 6 a3"]);
    reader.shown(&[0xa3], &of(6));
    assert_eq!(reader.told(), ["store 6 a1 a4"]);
    // In which round a2 was asked, counted from the first.
    let whole = Answer::Entry(Some(Box::new(of(6))));
    for round in 0..6 {
        let response = Response { configuration: one_group().digest(), outcome: Ok(whole.clone()) };
        if round != reader.round_of(0xa4) {
            reader.late(0xa2, round, Ok(response));
        }
    }
    reader.late(0xa2, 2, Err(Lost::Silent));
    assert_eq!(reader.result(), "going on");
    reader.done(&[0xa4]);
    assert_eq!(reader.result(), "6");
}

/// The turn and the table say who is asked for the whole; who was slow is tried again in addition.
#[test]
fn the_quickest_is_asked_for_the_whole() {
    let asked = |turn, slow: &[u8], also: &[u8], late: &[u8]| {
        let table = |ids: &[u8]| nodes(ids.iter().copied()).into_iter().map(|id| (id, 1)).collect();
        let hedge = Hedge { after: Some(SOON), turn, slow: table(late), ..Hedge::default() };
        let also = nodes(also.iter().copied());
        let whole = Hedge { after: Some(LATER), turn, slow: table(slow), also };
        Reader::with(one_group(), ReadOptions { hedge, whole, ..read_options() }).asked
    };
    assert_eq!(asked(0, &[], &[], &[]), "read a1, digest a2 a3");
    assert_eq!(asked(1, &[], &[], &[]), "read a2, digest a3 a4");
    assert_eq!(asked(0, &[0xa1], &[], &[]), "read a2, digest a1 a3");
    assert_eq!(asked(0, &[0xa1, 0xa2, 0xa3], &[], &[]), "read a1, digest a2 a3");
    assert_eq!(asked(0, &[0xa1], &[0xa1], &[]), "read a1 a2, digest a3");
    assert_eq!(asked(0, &[], &[], &[0xa1, 0xa2]), "read a3, digest a1 a4");
    assert_eq!(asked(0, &[], &[0xa4], &[]), "read a1, digest a2 a3", "a4 is not asked at all");
}
