//! Requests that go to one node together: each is sent once, and hears its own answer.

use std::collections::BTreeMap;

use bftkv_protocol::client::{Lanes, Lost};
use bftkv_protocol::{
    Answer, ConfigurationDigest, Entry, MAX_PARTS, NodeId, Outcome, Part, Refusal, Request,
    Response, Value, answer_many,
};
use proptest::prelude::*;

use crate::fixtures::{ALICE, alone, certified, entry, node, one_group, variable};

fn read(name: &str) -> Part {
    Part::Read { variable: variable(name), at: None }
}

fn store(value: Value) -> Part {
    let entry = Entry { value, ..entry(ALICE, 1, "v") };
    Part::Store { entry: certified(entry, &one_group()) }
}

fn digest() -> ConfigurationDigest {
    alone(&one_group()).newest().digest()
}

fn says(outcome: Outcome) -> Result<Response, Lost> {
    Ok(Response { configuration: digest(), outcome })
}

/// The messages that leave now, and how many requests each has.
fn leave<K>(lanes: &mut Lanes<K>) -> Vec<(u64, NodeId, usize)> {
    let mut left = Vec::new();
    while let Some(message) = lanes.poll() {
        let Some(departure) = lanes.depart(message) else { continue };
        let count = match departure.request {
            Request::Many(parts) => {
                assert!(parts.len() > 1, "what is alone goes as it is");
                parts.len()
            }
            _ => 1,
        };
        left.push((message, departure.to, count));
    }
    left
}

fn counts<K>(lanes: &mut Lanes<K>) -> Vec<usize> {
    leave(lanes).into_iter().map(|(_, _, count)| count).collect()
}

#[test]
fn what_is_alone_goes_at_once_and_what_comes_meanwhile_goes_together() {
    let mut lanes = Lanes::default();
    lanes.add(0, &node(1), read("a"));
    let [(first, _, 1)] = leave(&mut lanes)[..] else { panic!("alone, at once") };
    (1..=5).for_each(|n| lanes.add(n, &node(1), read("b")));
    assert_eq!(counts(&mut lanes), [0_usize; 0]);
    lanes.add(6, &node(2), read("a"));
    assert_eq!(counts(&mut lanes), [1], "another node is another lane");
    assert_eq!(lanes.handle_response(first, says(Ok(Answer::Entry(None)))).len(), 1);
    assert_eq!(counts(&mut lanes), [5]);
}

#[test]
fn who_reads_never_waits_for_a_disk() {
    let mut lanes = Lanes::default();
    lanes.add(0, &node(1), store(Value::new(b"v".to_vec()).unwrap()));
    assert_eq!(counts(&mut lanes), [1]);
    lanes.add(1, &node(1), read("a"));
    assert_eq!(counts(&mut lanes), [1]);
}

#[test]
fn nobody_waits_for_what_is_late_or_large() {
    let mut lanes = Lanes::default();
    lanes.add(0, &node(1), read("a"));
    let [(first, ..)] = leave(&mut lanes)[..] else { panic!("one") };
    lanes.add(1, &node(1), read("b"));
    lanes.add(2, &node(1), read("c"));
    lanes.handle_late(first);
    assert_eq!(counts(&mut lanes), [2]);
    assert_eq!(lanes.handle_response(first, Err(Lost::Silent)), [(0, Err(Lost::Silent))]);
    assert_eq!(counts(&mut lanes), [0_usize; 0], "the second one is waited for now");

    let large = || store(Value::new(vec![0; 100_000]).unwrap());
    (3..6).for_each(|n| lanes.add(n, &node(2), large()));
    assert_eq!(counts(&mut lanes), [1, 1, 1]);
}

#[test]
fn no_message_has_too_many_requests_and_the_rest_does_not_wait() {
    let mut lanes = Lanes::default();
    (0..MAX_PARTS * 2 + 3).for_each(|n| lanes.add(n, &node(1), read("a")));
    assert_eq!(counts(&mut lanes), [MAX_PARTS, MAX_PARTS, 3]);
}

/// What a node that cannot judge says of one part must not be the end of it: alone it can be
/// introduced to the writer.
#[test]
fn what_lacks_a_certificate_is_asked_again_by_itself() {
    let mut lanes = Lanes::default();
    (0..3).for_each(|n| lanes.add(n, &node(1), read("a")));
    let [(message, _, 3)] = leave(&mut lanes)[..] else { panic!("together") };
    let outcomes =
        [Ok(Answer::Entry(None)), Err(Refusal::UnknownWriter(node(9))), Err(Refusal::Busy)];
    let answered = lanes.handle_response(message, says(Ok(answer_many(outcomes))));
    let whose: Vec<i32> = answered.into_iter().map(|(whose, _)| whose).collect();
    assert_eq!(whose, [0, 2]);
    let [(again, _, 1)] = leave(&mut lanes)[..] else { panic!("by itself") };
    let refusal = says(Err(Refusal::UnknownWriter(node(9))));
    assert_eq!(lanes.handle_response(again, refusal.clone()), [(1, refusal)], "but once only");
}

#[test]
fn an_answer_that_is_none_is_a_lie_to_each() {
    let too_many = answer_many((0..4).map(|_| Ok(Answer::Done)));
    for lie in [Answer::Done, Answer::Many(Vec::new()), too_many] {
        let mut lanes = Lanes::default();
        (0..3).for_each(|n| lanes.add(n, &node(1), read("a")));
        let [(message, ..)] = leave(&mut lanes)[..] else { panic!("together") };
        let answered = lanes.handle_response(message, says(Ok(lie)));
        assert_eq!(answered.len(), 3);
        assert!(answered.iter().all(|(_, response)| *response == Err(Lost::Lied)));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, bool),
    Leave,
    /// The n-th message under way is answered: this many of its requests, if so many.
    Answer(usize, usize),
    Lose(usize),
    Late(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..4, any::<bool>()).prop_map(|(to, is_read)| Step::Add(to, is_read)),
        3 => Just(Step::Leave),
        3 => (0_usize..8, 1_usize..8).prop_map(|(n, count)| Step::Answer(n, count)),
        1 => (0_usize..8).prop_map(Step::Lose),
        1 => (0_usize..8).prop_map(Step::Late),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is lost, late or cut short: each request hears exactly one answer, its own.
    #[test]
    fn each_request_hears_its_own_answer_once(steps in steps()) {
        let mut lanes = Lanes::default();
        let mut wanted: BTreeMap<usize, NodeId> = BTreeMap::new();
        let mut under_way: Vec<(u64, NodeId, Vec<Part>)> = Vec::new();
        let mut heard: BTreeMap<usize, usize> = BTreeMap::new();
        let drained = std::iter::repeat_n([Step::Leave, Step::Answer(0, MAX_PARTS)], 300);
        for step in steps.into_iter().chain(drained.flatten()) {
            let answered = match step {
                Step::Add(to, is_read) => {
                    let (number, to) = (wanted.len(), node(to));
                    let name = variable(&format!("n{number}"));
                    let part = match is_read {
                        true => Part::Read { variable: name, at: None },
                        false => Part::Time { variable: name, evidence: false },
                    };
                    lanes.add(number, &to, part);
                    wanted.insert(number, to);
                    continue;
                }
                Step::Leave => {
                    while let Some(message) = lanes.poll() {
                        let Some(departure) = lanes.depart(message) else { continue };
                        let parts = match departure.request {
                            Request::Many(parts) => parts,
                            one => vec![Part::try_from(one).unwrap()],
                        };
                        under_way.push((message, departure.to, parts));
                    }
                    continue;
                }
                Step::Late(n) => {
                    under_way.get(n).into_iter().for_each(|(m, ..)| lanes.handle_late(*m));
                    continue;
                }
                Step::Lose(n) if n < under_way.len() => {
                    let (message, _, parts) = under_way.remove(n);
                    let answered = lanes.handle_response(message, Err(Lost::Silent));
                    prop_assert_eq!(answered.len(), parts.len());
                    answered
                }
                Step::Answer(n, count) if n < under_way.len() => {
                    let (message, from, parts) = under_way.remove(n);
                    // Each part is answered by its own name.
                    let echo = |part: &Part| match part {
                        Part::Read { variable, .. } | Part::Time { variable, .. } => {
                            prop_assert_eq!(&wanted[&number(variable)], &from);
                            Ok(Err(Refusal::Declined(variable.to_string())))
                        }
                        _ => unreachable!(),
                    };
                    let mut outcomes = Vec::new();
                    for part in parts.iter().take(count) {
                        outcomes.push(echo(part)?);
                    }
                    let outcome = match parts.len() {
                        1 => outcomes.remove(0),
                        _ => Ok(answer_many(outcomes)),
                    };
                    lanes.handle_response(message, says(outcome))
                }
                Step::Lose(_) | Step::Answer(..) => continue,
            };
            for (whose, response) in answered {
                *heard.entry(whose).or_default() += 1;
                if let Ok(Response { outcome: Err(Refusal::Declined(name)), .. }) = response {
                    prop_assert_eq!(name, format!("n{whose}"));
                } else {
                    prop_assert_eq!(response, Err(Lost::Silent));
                }
            }
        }
        prop_assert_eq!(heard.len(), wanted.len());
        prop_assert!(heard.values().all(|times| *times == 1));
    }
}

fn number(name: &bftkv_protocol::Variable) -> usize {
    name.to_string().trim_start_matches('n').parse().unwrap()
}
