//! Asking a quorum first and the others if need be changes who is asked when, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Hedge, Options, ReadOptions};
use bftkv_protocol::{Configuration, Refusal};

use crate::desk::{Desk, options};
use crate::fixtures::{ALICE, certified, entry, nodes, one_group, two_cliques, two_groups};
use crate::reader::{Reader, read_options};

const AFTER: Duration = Duration::from_millis(20);

fn hedge(slow: &[u8]) -> Hedge {
    let slow = nodes(slow.iter().copied()).into_iter().map(|id| (id, 1)).collect();
    Hedge { after: Some(AFTER), slow, ..Hedge::default() }
}

fn desk(configuration: Arc<Configuration>, slow: &[u8]) -> Desk {
    Desk::with(configuration, false, Options { hedge: hedge(slow), ..options() })
}

fn reader(slow: &[u8]) -> Reader {
    Reader::with(one_group(), ReadOptions { hedge: hedge(slow), ..read_options() })
}

#[test]
fn a_quorum_is_asked_and_a_store_phase_goes_to_all() {
    let mut desk = desk(two_groups(), &[]);
    assert_eq!(desk.told(), ["time a1 a2 a3"]);
    [0xa1, 0xa2, 0xa3].into_iter().for_each(|id| desk.time(id, 4));
    assert_eq!(desk.reserve(), ["reserve 5", "sign 5 a1 a2 a3"]);
    [0xa1, 0xa2, 0xa3].into_iter().for_each(|id| desk.share(id));
    assert_eq!(desk.recorded(), ["store 5 a1 a2 a3 a4 c1 c2 c3 c4"]);
}

#[test]
fn a_quorum_of_every_clique_is_asked() {
    assert_eq!(desk(two_cliques(), &[]).told(), ["time a1 a2 a3 b1 b2 b3"]);
    assert_eq!(desk(two_cliques(), &[0xa1, 0xb2]).told(), ["time a2 a3 a4 b1 b3 b4"]);
}

#[test]
fn the_others_are_asked_when_their_time_has_come_and_count_as_much() {
    let mut desk = desk(one_group(), &[0xa2]);
    assert_eq!(desk.told(), ["time a1 a3 a4"]);
    desk.time(0xa1, 0);
    desk.time(0xa3, 0);
    assert_eq!(desk.write.wake_at(), Some(AFTER));
    assert_eq!(desk.wake(), ["time a2"]);
    desk.time(0xa2, 0);
    assert_eq!(desk.reserve(), ["reserve 1", "sign 1 a1 a3 a4"]);
    desk.share(0xa1);
    assert_eq!(desk.wake(), ["sign 1 a2"]);
    desk.share(0xa2);
    desk.share(0xa4);
    assert_eq!(desk.told(), ["record 1"]);
}

#[test]
fn the_others_are_asked_at_once_when_those_who_were_cannot_make_it() {
    let mut desk = desk(one_group(), &[]);
    desk.told();
    desk.silence(0xa2);
    assert_eq!(desk.told(), ["time a4"]);
    [0xa1, 0xa3, 0xa4].into_iter().for_each(|id| desk.time(id, 0));
    assert_eq!(desk.reserve(), ["reserve 1", "sign 1 a1 a2 a3"]);
    desk.refuse(0xa1, Refusal::Changing);
    assert_eq!(desk.told(), ["sign 1 a4"]);
    desk.silence(0xa3);
    assert_eq!(desk.told()[0], "abandon 1 a1 a2 a3 a4", "two of four are too many");
}

#[test]
fn a_second_attempt_asks_everybody() {
    let mut desk = desk(one_group(), &[]);
    desk.told();
    [0xa1, 0xa2].into_iter().for_each(|id| desk.silence(id));
    desk.told();
    assert_eq!(desk.wake(), ["time with evidence a1 a2 a3 a4"]);
    [0xa1, 0xa2, 0xa4].into_iter().for_each(|id| desk.time(id, 0));
    assert_eq!(desk.reserve(), ["reserve 1", "sign 1 a1 a2 a3 a4"]);
}

#[test]
fn a_read_asks_a_quorum_and_the_others_if_it_must() {
    let known = certified(entry(ALICE, 3, "v"), &one_group());
    let mut quick = reader(&[]);
    assert_eq!(quick.asked, "read a1 a2 a3");
    quick.shown(&[0xa1, 0xa2, 0xa3], &known);
    assert_eq!(quick.result(), "3");

    let mut late = reader(&[0xa1]);
    assert_eq!(late.asked, "read a2 a3 a4");
    late.shown(&[0xa2, 0xa3], &known);
    assert_eq!(late.wake(), ["read a1"]);
    late.shown(&[0xa1], &known);
    assert_eq!(late.result(), "3");
}

/// A slow member is asked too, and the operation ends without it; what it says counts, if it says it in time.
#[test]
fn who_is_asked_too_is_not_waited_for_and_counts() {
    let known = certified(entry(ALICE, 3, "v"), &one_group());
    let also = Hedge { also: nodes([0xa1]), ..hedge(&[0xa1]) };
    let asked = || {
        let reader =
            Reader::with(one_group(), ReadOptions { hedge: also.clone(), ..read_options() });
        assert_eq!(reader.asked, "read a1 a2 a3 a4");
        reader
    };
    let mut without = asked();
    without.shown(&[0xa2, 0xa3, 0xa4], &known);
    assert_eq!(without.result(), "3");
    let mut with = asked();
    with.shown(&[0xa1, 0xa2, 0xa4], &known);
    assert_eq!(with.result(), "3");

    let mut desk = Desk::with(one_group(), false, Options { hedge: also, ..options() });
    assert_eq!(desk.told(), ["time a1 a2 a3 a4"]);
    [0xa2, 0xa3, 0xa4].into_iter().for_each(|id| desk.time(id, 0));
    assert_eq!(desk.reserve(), ["reserve 1", "sign 1 a1 a2 a3 a4"]);
    [0xa2, 0xa3, 0xa4].into_iter().for_each(|id| desk.share(id));
    assert_eq!(desk.told(), ["record 1"]);
}

#[test]
fn a_read_asks_the_others_at_once_when_one_who_was_asked_lies() {
    let known = certified(entry(ALICE, 3, "v"), &one_group());
    let mut reader = reader(&[]);
    reader.shown(&[0xa1, 0xa2], &known);
    reader.refuse(0xa3, Refusal::Changing);
    assert_eq!(reader.told(), ["read a4"]);
    reader.shown(&[0xa4], &known);
    assert_eq!(reader.result(), "3");
}
