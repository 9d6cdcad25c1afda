//! Announcements: what follows what, and who can make a node believe that it forgot.

use bftkv_protocol::client::{Announcing, Fault, Lost, Standing};
use bftkv_protocol::{Announcement, Answer, NodeId, Outcome, Refusal, Response, StoreAge};

use crate::fixtures::{CLIQUE, Keys, announced, forged, node, one_group, two_groups};

const ME: u8 = CLIQUE[0];

fn mine(epoch: u64, store: u8, generation: u64, commits: u64, session: u8) -> Announcement {
    announced(ME, epoch, StoreAge { identity: [store; 16], generation, commits }, session)
}

#[test]
fn only_a_memory_that_forgot_nothing_follows() {
    let known = mine(1, 7, 5, 100, 1);
    let cases = [
        ("the same", mine(1, 7, 5, 100, 1), true),
        ("further on", mine(1, 7, 5, 101, 1), true),
        ("opened again", mine(1, 7, 6, 100, 2), true),
        ("a later memory", mine(2, 8, 1, 0, 2), true),
        ("another store", mine(1, 8, 9, 900, 2), false),
        ("an old copy", mine(1, 7, 4, 90, 2), false),
        ("a copy that was opened as often", mine(1, 7, 5, 100, 2), false),
        ("a copy that lacks commits", mine(1, 7, 6, 99, 2), false),
        ("an earlier memory", mine(0, 7, 9, 900, 2), false),
    ];
    for (shows, next, follows) in cases {
        assert_eq!(next.follows(&known), follows, "{shows}");
    }
}

fn hear(announcing: &mut Announcing, from: u8, outcome: Outcome) {
    let response = Response { configuration: one_group().digest(), outcome };
    announcing.handle_response(&node(from), Ok(response), &Keys::default());
}

fn outdated(by: Announcement) -> Outcome {
    Err(Refusal::Outdated(Box::new(by)))
}

#[test]
fn it_speaks_when_one_honest_other_accepted() {
    let mut announcing = Announcing::new(one_group(), mine(0, 7, 1, 0, 1));
    hear(&mut announcing, CLIQUE[1], Ok(Answer::Done));
    hear(&mut announcing, CLIQUE[1], Ok(Answer::Done));
    announcing.handle_response(&node(CLIQUE[2]), Err(Lost::Silent), &Keys::default());
    assert_eq!(announcing.standing(), Standing::Waiting, "one of b+1 = 2");
    hear(&mut announcing, CLIQUE[3], Ok(Answer::Done));
    assert_eq!(announcing.standing(), Standing::Accepted);
    let missing: Vec<NodeId> = announcing.missing().into_iter().collect();
    assert_eq!(missing, [node(CLIQUE[2])], "who was silent is told later");
}

#[test]
fn more_than_b_of_one_group_are_enough_and_fewer_of_each_are_not() {
    let mut announcing = Announcing::new(two_groups(), mine(0, 7, 1, 0, 1));
    hear(&mut announcing, CLIQUE[1], Ok(Answer::Done));
    hear(&mut announcing, 0xc1, Ok(Answer::Done));
    assert_eq!(announcing.standing(), Standing::Waiting, "each may be the one that lies");
    hear(&mut announcing, 0xc2, Ok(Answer::Done));
    assert_eq!(announcing.standing(), Standing::Accepted);
}

#[test]
fn one_member_with_the_proof_is_enough_to_know_that_it_forgot() {
    let mut announcing = Announcing::new(one_group(), mine(0, 8, 1, 0, 2));
    hear(&mut announcing, CLIQUE[1], Ok(Answer::Done));
    hear(&mut announcing, CLIQUE[2], Ok(Answer::Done));
    hear(&mut announcing, CLIQUE[3], outdated(mine(3, 7, 5, 100, 1)));
    let shown = Box::new(mine(3, 7, 5, 100, 1));
    assert_eq!(announcing.standing(), Standing::Outdated(shown));
    assert!(announcing.culprits().is_empty());
}

/// "A liar's forged Outdated is ignored."
#[test]
fn a_liar_cannot_make_a_node_believe_that_it_forgot() {
    let ahead = || mine(3, 7, 5, 100, 1);
    let cases = [
        ("not signed", Announcement { signature: forged(), ..ahead() }),
        ("changed", Announcement { epoch: 4, ..ahead() }),
        ("of another node", announced(CLIQUE[3], 3, ahead().age, 1)),
        ("an old one of its own", mine(0, 8, 1, 0, 2)),
    ];
    for (shows, lie) in cases {
        let mut announcing = Announcing::new(one_group(), mine(0, 8, 2, 0, 3));
        hear(&mut announcing, CLIQUE[3], outdated(lie));
        assert_eq!(announcing.culprits().get(&node(CLIQUE[3])), Some(&Fault::BadAnswer), "{shows}");
        hear(&mut announcing, CLIQUE[1], Ok(Answer::Done));
        hear(&mut announcing, CLIQUE[2], Ok(Answer::Done));
        assert_eq!(announcing.standing(), Standing::Accepted, "{shows}");
    }
}
