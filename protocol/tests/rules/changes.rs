//! Changes of members (rule R1): what is a successor, what old entries are worth under it, what a
//! member signs, and when it may serve.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::server::{Certifications, Judgement, Membership, Proposal, Standing};
use bftkv_protocol::{
    Answer, Change, ChangeError, ChangeKind, Configuration, Configurations, Group, Invalid, NodeId,
    Objection, Refusal, Response, SignedChange, Thresholds, verify_certified,
};

use crate::desk::Desk;
use crate::fixtures::{
    ALICE, CLIQUE, Keys, STORE, alone, certified, certified_by, entry, forged, node, nodes,
    one_group, two_groups, voted,
};
use crate::reader::Reader;

fn change(member: u8, kind: ChangeKind) -> Change {
    Change { member: node(member), kind, clique: Some(0), store: true }
}

fn add(member: u8) -> Change {
    change(member, ChangeKind::Add)
}

fn remove(member: u8) -> Change {
    change(member, ChangeKind::Remove)
}

/// The configurations after these changes, each voted for by all members.
fn after(changes: &[Change]) -> Configurations {
    let mut known = (*alone(&one_group())).clone();
    for change in changes {
        known.extend(by_all(&known, change), &Keys::default()).unwrap();
    }
    known
}

fn by_all(known: &Configurations, change: &Change) -> SignedChange {
    let newest = known.newest();
    let voters: Vec<u8> = newest.authority().iter().map(|id| id.as_bytes()[0]).collect();
    voted(newest, change.clone(), &voters)
}

fn refused(change: SignedChange) -> ChangeError {
    let mut known = (*alone(&one_group())).clone();
    known.extend(change, &Keys::default()).unwrap_err()
}

#[test]
fn a_chain_grows_by_one_member_at_a_time() {
    let known = after(&[add(0xa5), remove(0xa1), add(0xa6)]);
    let newest = known.newest();
    assert_eq!((newest.number(), newest.cliques()[0].len()), (4, 5));
    assert_eq!(newest.cliques()[0], Group::new(nodes([0xa2, 0xa3, 0xa4, 0xa5, 0xa6])));
    assert_eq!(newest.store(), &newest.cliques()[0]);
    assert_eq!(known.all().count(), 4);
    assert_eq!(known.predecessor().unwrap().number(), 3);
    assert_eq!(Configurations::restore(known.lineage()), Ok(known.clone()), "as from disk");
    let page = known.lineage_above(2);
    assert_eq!(page.changes, known.changes()[1..], "what is above configuration 2");
}

#[test]
fn what_is_no_successor_is_refused() {
    let group = one_group();
    let too_few = ChangeError::TooFew { have: 2, need: 3, n: 4 };
    assert_eq!(refused(voted(&group, add(0xa5), &CLIQUE[..2])), too_few);

    let twice = voted(&group, add(0xa5), &[0xa1, 0xa1, 0xa1, 0xa2]);
    assert_eq!(refused(twice), too_few, "a signer counts once");

    let foreign = voted(&group, add(0xa5), &[0xa1, 0xa2, 0xa5]);
    assert_eq!(refused(foreign), ChangeError::Foreign(node(0xa5)));

    // The votes are for a5, not for a6.
    let mut stolen = voted(&group, add(0xa5), &CLIQUE);
    stolen.change = add(0xa6);
    assert!(matches!(refused(stolen), ChangeError::Signature(_)));

    let mut bad = voted(&group, add(0xa5), &CLIQUE[..3]);
    let mut votes = bad.votes.shares().to_vec();
    votes[0].signature = forged();
    bad.votes = bftkv_protocol::CollectiveSignature::new(group.digest(), votes);
    assert!(matches!(refused(bad), ChangeError::Signature(_)));

    let known = after(&[add(0xa5)]);
    let gap = by_all(&known, &add(0xa6));
    assert!(matches!(refused(gap), ChangeError::Predecessor { .. }), "a step is missing");

    let nothing = Change { clique: None, store: false, ..add(0xa5) };
    assert_eq!(nothing.apply(&group, true), Err(ChangeError::Nothing));
    assert_eq!(add(0xa1).apply(&group, true), Err(ChangeError::Membership(node(0xa1))));
    assert_eq!(remove(0xa5).apply(&group, true), Err(ChangeError::Membership(node(0xa5))));
    let elsewhere = Change { clique: Some(1), ..add(0xa5) };
    assert_eq!(elsewhere.apply(&group, true), Err(ChangeError::NoSuchClique));
    assert!(matches!(remove(0xa1).apply(&group, false), Err(ChangeError::Configuration(_))));
}

/// Two successors of one configuration would need a member that signs both.
#[test]
fn there_is_no_second_successor() {
    let mut known = after(&[add(0xa5)]);
    let before = known.clone();
    let other = voted(&one_group(), add(0xa6), &CLIQUE);
    let result = known.extend(other, &Keys::default());
    assert!(matches!(result, Err(ChangeError::Predecessor { .. })));
    let again = voted(&one_group(), add(0xa5), &CLIQUE[1..]);
    assert_eq!(known.extend(again, &Keys::default()), Ok(()), "by other votes: the same step");
    assert_eq!(known, before);
}

/// Rule R4: what was certified stays valid, although none of its signers is a member any more.
#[test]
fn an_entry_outlives_its_signers_membership() {
    let old = certified(entry(ALICE, 1, "v"), &one_group());
    let steps: Vec<Change> = (0..4).flat_map(|i| [add(0xb1 + i), remove(0xa1 + i)]).collect();
    let known = after(&steps);
    assert!(known.newest().authority().is_disjoint(&nodes(CLIQUE)));
    assert_eq!(verify_certified(&old, &known, &Keys::default()), Ok(()));

    let fork = certified_by(entry(ALICE, 1, "v"), &STORE[..3], &two_groups());
    let unknown = Err(Invalid::Configuration(two_groups().digest()));
    assert_eq!(verify_certified(&fork, &known, &Keys::default()), unknown);
    // q is that of the named configuration: three of the first four, not of the later five.
    let five = after(&[add(0xa5)]);
    let few = certified_by(entry(ALICE, 1, "v"), &CLIQUE[..3], five.newest());
    let result = verify_certified(&few, &five, &Keys::default());
    assert_eq!(result, Err(Invalid::TooFew { have: 3, need: 4, n: 5 }));
}

/// Quorums of two views that differ by one member share an honest node, for every size to 100;
/// replacing a member in one step (add and remove at once) can leave none. The sizes of overlaps
/// are exact: the worst case is taken.
#[test]
fn quorums_across_one_step_share_an_honest_node() {
    for n in 1..=100_usize {
        let (old, new) = (Thresholds::of(n), Thresholds::of(n + 1));
        let shared = (old.q() + new.q()).saturating_sub(n + 1);
        let faulty = old.b().min(new.b());
        assert!(shared > faulty, "n = {n}");
    }
    let of = |n| Thresholds::of(n);
    let replaced = 2 * of(4).q() - 5;
    assert_eq!((replaced, of(4).b()), (1, 1), "two views of four that share three: b of them");
    let grown = of(4).q() + of(6).q() - 6;
    assert_eq!((grown, of(4).b()), (1, 1), "from four to six at once");
}

// ----- what a member signs -----

/// Who certifies whom: everybody but these pairs.
struct Trust(Vec<(u8, u8)>);

impl Certifications for Trust {
    fn certifies(&self, from: &NodeId, to: &NodeId) -> bool {
        !self.0.iter().any(|(a, b)| (node(*a), node(*b)) == (from.clone(), to.clone()))
    }
}

fn member(me: u8, configuration: &Configuration) -> Membership {
    Membership::begin(node(me), alone(configuration))
}

struct Vote {
    sender: u8,
    without: Vec<(u8, u8)>,
    cut: BTreeSet<NodeId>,
    small: bool,
}

fn usual() -> Vote {
    Vote { sender: 0xa2, without: Vec::new(), cut: BTreeSet::new(), small: false }
}

fn vote(member: &mut Membership, change: &Change, vote: &Vote) -> Result<(), Objection> {
    let sender = node(vote.sender);
    let predecessor = member.configurations().newest().digest();
    let trust = Trust(vote.without.clone());
    let by = Judgement { trust: &trust, cut: &vote.cut, allow_small: vote.small };
    let proposal = Proposal { sender: &sender, predecessor, change };
    let judged = member.judge(&proposal, &by);
    let voted = member.vote(&proposal, &by);
    assert_eq!(judged, voted, "what it says is what it does");
    voted.map(|_| ())
}

#[test]
fn a_member_signs_one_successor_and_no_other() {
    let mut a1 = member(0xa1, &one_group());
    assert_eq!(vote(&mut a1, &add(0xa5), &usual()), Ok(()));
    let a1 = Membership::restore(node(0xa1), a1.record()).unwrap();
    let mut a1 = a1;
    let refused = vote(&mut a1, &add(0xa6), &usual());
    assert_eq!(refused, Err(Objection::Voted(Box::new(add(0xa5)))), "also after a restart");
    assert_eq!(vote(&mut a1, &add(0xa5), &usual()), Ok(()), "the same again");
}

#[test]
fn a_member_signs_only_what_its_own_web_of_trust_shows() {
    let group = one_group();
    let judge = |change: &Change, with: Vote| vote(&mut member(0xa1, &group), change, &with);
    let not = |from, to| Err(Objection::NotCertified { from: node(from), to: node(to) });
    let without = |pairs: &[(u8, u8)]| Vote { without: pairs.to_vec(), ..usual() };
    assert_eq!(judge(&add(0xa5), without(&[(0xa3, 0xa5)])), not(0xa3, 0xa5));
    assert_eq!(judge(&add(0xa5), without(&[(0xa5, 0xa3)])), not(0xa5, 0xa3));
    let cut = Vote { cut: nodes([0xa3]), ..without(&[(0xa3, 0xa5)]) };
    assert_eq!(judge(&add(0xa5), cut), Ok(()), "who was cut out has no say");
    assert!(judge(&add(0xa5), Vote { cut: nodes([0xa5]), ..usual() }).is_err());

    let stays = Err(Objection::StillCertified(node(0xa4)));
    let small = |with: Vote| Vote { small: true, ..with };
    assert_eq!(judge(&remove(0xa4), small(usual())), stays);
    assert_eq!(judge(&remove(0xa4), small(without(&[(0xa2, 0xa4)]))), stays, "another's edge");
    assert_eq!(judge(&remove(0xa4), small(without(&[(0xa1, 0xa4)]))), Ok(()));
    assert_eq!(judge(&remove(0xa4), small(without(&[(0xa4, 0xa1)]))), Ok(()));
    assert_eq!(judge(&remove(0xa4), small(Vote { cut: nodes([0xa4]), ..usual() })), Ok(()));
    assert_eq!(judge(&remove(0xa4), small(Vote { sender: 0xa4, ..usual() })), Ok(()), "it leaves");
    let mine = judge(&remove(0xa1), small(usual()));
    assert_eq!(mine, Err(Objection::StillCertified(node(0xa1))), "nobody else says that I leave");
    assert!(matches!(judge(&remove(0xa4), without(&[(0xa1, 0xa4)])), Err(Objection::Unfit(_))));

    let stranger = Vote { sender: 0xee, ..usual() };
    assert_eq!(judge(&add(0xa5), stranger), Err(Objection::Stranger));
    assert_eq!(judge(&add(0xa5), Vote { sender: 0xa5, ..usual() }), Ok(()), "it may ask itself");
}

#[test]
fn a_store_node_needs_more_than_b_certifiers() {
    let group = two_groups();
    let new = Change { clique: None, ..add(0xc5) };
    let with = |certifiers: usize| {
        let without = CLIQUE[certifiers..].iter().map(|id| (*id, 0xc5)).collect();
        vote(&mut member(0xa1, &group), &new, &Vote { without, ..usual() })
    };
    assert_eq!(with(1), Err(Objection::TooFewCertifiers { have: 1, need: 2 }));
    assert_eq!(with(2), Ok(()));
}

// ----- when it may serve -----

#[test]
fn a_member_stops_hands_over_takes_over_and_serves() {
    let keys = Keys::default();
    let mut a1 = member(0xa1, &one_group());
    assert_eq!((a1.standing(), a1.may_hand_over()), (Standing::Serving, false));
    let step = by_all(a1.configurations(), &add(0xa5));
    assert_eq!(a1.extend(step.clone(), &keys), Ok(true));
    assert_eq!(a1.extend(step.clone(), &keys), Ok(false), "told twice");
    assert_eq!((a1.standing(), a1.may_hand_over()), (Standing::TakingOver, true));
    assert_eq!(a1.takes_over_from(), Some(&one_group()));
    let mut again = Membership::restore(node(0xa1), a1.record()).unwrap();
    assert_eq!(again, a1, "a restart does not make it serve");
    again.complete(one_group().digest());
    assert_eq!(again.standing(), Standing::TakingOver, "the state of another step does not count");
    let newest = again.configurations().newest().digest();
    again.complete(newest);
    assert_eq!((again.standing(), again.may_hand_over()), (Standing::Serving, true));
    assert_eq!(again.takes_over_from(), None);

    let mut a5 = Membership::arrive(node(0xa5), alone(&one_group()));
    assert_eq!(a5.standing(), Standing::Guest);
    assert_eq!(a5.extend(step, &keys), Ok(true));
    assert_eq!(
        (a5.standing(), a5.may_hand_over()),
        (Standing::TakingOver, false),
        "it was no member of the predecessor"
    );
    let five = a5.configurations().newest().digest();
    a5.complete(five);
    assert_eq!((a5.standing(), a5.may_hand_over()), (Standing::Serving, false));
}

/// A member that has not completed the last change signs no other: so q signatures mean that q
/// members have completed it.
#[test]
fn steps_do_not_overtake() {
    let mut a1 = member(0xa1, &one_group());
    let step = by_all(a1.configurations(), &add(0xa5));
    a1.extend(step, &Keys::default()).unwrap();
    assert_eq!(vote(&mut a1, &add(0xa6), &usual()), Err(Objection::Unconfirmed));
    let newest = a1.configurations().newest().digest();
    a1.complete(newest);
    assert_eq!(vote(&mut a1, &add(0xa6), &usual()), Ok(()));
}

/// One that slept through a step has promised nothing under it: it counts among those who hand over.
#[test]
fn who_slept_hands_over_what_it_has() {
    let mut a1 = member(0xa1, &one_group());
    for change in [add(0xa5), remove(0xa2)] {
        let step = by_all(a1.configurations(), &change);
        a1.extend(step, &Keys::default()).unwrap();
    }
    assert_eq!((a1.standing(), a1.may_hand_over()), (Standing::TakingOver, true));
    assert_eq!(a1.takes_over_from().unwrap().number(), 2);
    let removed = Membership::restore(node(0xa2), a1.record()).unwrap();
    assert_eq!(removed.standing(), Standing::Guest);
}

/// A member that was slow to take over hears of the next change, for which q others have voted; b of
/// those are silent afterwards. The honest ones are a quorum that hands over: nobody is stuck.
#[test]
fn b_silent_voters_and_a_slow_member_do_not_stop_a_change() {
    let keys = Keys::default();
    let (first, second) = (add(0xa5), add(0xa6));
    let known = after(std::slice::from_ref(&first));
    let voters = [0xa1, 0xa2, 0xa3, 0xa4];
    let steps = [voted(&one_group(), first, &CLIQUE), voted(known.newest(), second, &voters)];
    let honest = [0xa1, 0xa2, 0xa3, 0xa5];
    let hand_over = honest.iter().filter(|id| {
        let mut member = match **id {
            0xa5 => Membership::arrive(node(0xa5), alone(&one_group())),
            other => member(other, &one_group()),
        };
        for (number, step) in steps.iter().enumerate() {
            assert_eq!(member.extend(step.clone(), &keys), Ok(true));
            // The slow one does not come to complete the first step.
            if number == 0 && **id != 0xa5 {
                member.complete(member.configurations().newest().digest());
            }
        }
        member.may_hand_over()
    });
    assert!(hand_over.count() >= known.newest().store().thresholds().q());
}

/// Why one that is slow may count: among any q that are heard there is an honest one that had
/// completed the predecessor, which knows everything before it, and for each promise under the
/// predecessor an honest one that gave it.
#[test]
fn among_those_who_hand_over_are_an_honest_voter_and_an_honest_signer() {
    for n in 4..=7u32 {
        let thresholds = Thresholds::of(n as usize);
        let sets = |size: usize| (0..1u32 << n).filter(move |s| s.count_ones() as usize == size);
        for heard in sets(thresholds.q()) {
            for voters_or_signers in sets(thresholds.q()) {
                for liars in sets(thresholds.b()) {
                    assert_ne!(heard & voters_or_signers & !liars, 0, "n = {n}");
                }
            }
        }
    }
}

// ----- clients -----

fn under(configuration: &Configuration, answer: Answer) -> Response {
    Response { configuration: configuration.digest(), outcome: Ok(answer) }
}

#[test]
fn a_write_goes_on_under_the_new_configuration() {
    let known = Arc::new(after(&[add(0xa5)]));
    let five = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5];
    // In the middle of collecting shares: the attempt is given up, and another one is made.
    let mut desk = Desk::signing(one_group(), 4);
    desk.told();
    desk.share(0xa1);
    desk.response(0xa2, Ok(under(known.newest(), Answer::Done)));
    assert_eq!(desk.told(), ["refresh"]);
    desk.write.handle_configurations(desk.now, Arc::clone(&known));
    desk.configuration = Arc::clone(known.newest());
    assert_eq!(desk.told(), ["abandon 5 a1 a2 a3 a4 a5", "time with evidence a1 a2 a3 a4 a5"]);
    desk.time_and_reserve(5);
    five[..4].iter().for_each(|id| desk.share(*id));
    assert_eq!(desk.told(), ["record 6"]);
    assert_eq!(desk.recorded(), ["store 6 a1 a2 a3 a4 a5"]);

    // With all shares: the same entry is stored at the new members.
    let mut desk = Desk::signing(one_group(), 4);
    CLIQUE[..3].iter().for_each(|id| desk.share(*id));
    desk.recorded();
    desk.done(0xa1);
    desk.response(0xa2, Ok(under(known.newest(), Answer::Done)));
    assert_eq!(desk.told(), ["refresh"]);
    desk.write.handle_configurations(desk.now, Arc::clone(&known));
    desk.configuration = Arc::clone(known.newest());
    assert_eq!(desk.told(), ["store 5 a1 a2 a3 a4 a5"], "what it heard before does not count");
    desk.refuse(0xa1, Refusal::Changing);
    five[1..4].iter().for_each(|id| desk.done(*id));
    assert_eq!(desk.result(), "going on");
    assert_eq!(desk.wake(), ["store 5 a1 a5"], "soon again");
    assert!(desk.now < Duration::from_secs(1));
    desk.done(0xa5);
    assert_eq!(desk.result(), "written 5 by a1 a2 a3");
}

#[test]
fn a_read_begins_anew_under_the_new_configuration() {
    let known = Arc::new(after(&[add(0xa5)]));
    let old = certified(entry(ALICE, 5, "v"), &one_group());
    let mut reader = Reader::new(one_group());
    reader.shown(&CLIQUE[..2], &old);
    reader.response(0xa3, Ok(under(known.newest(), Answer::Entry(None))));
    assert_eq!(reader.told(), ["refresh"]);
    reader.read.handle_configurations(Duration::ZERO, Arc::clone(&known));
    reader.configuration = Arc::clone(known.newest());
    assert_eq!(reader.told(), ["read a1 a2 a3 a4 a5"]);
    reader.shown(&[0xa1], &old);
    reader.absent(&[0xa2, 0xa3]);
    assert_eq!(reader.result(), "going on", "four of five");
    reader.absent(&[0xa5]);
    assert_eq!(reader.told(), ["store 5 a2 a3 a4 a5"], "an old entry is written back as it is");
}
