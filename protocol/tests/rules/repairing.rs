//! How vouches are collected: the machine alone, within a read, and against members that follow the
//! real rules, in every case. docs/adr/0015.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Action, Lost, ReadOptions, Repair, RepairOptions, Repaired, Round};
use bftkv_protocol::server::{Admitted, Reply, Server, ServerAction};
use bftkv_protocol::{
    Answer, Backing, CertifiedEntry, Configurations, Group, NodeId, Outcome, Purpose, Refusal,
    Request, Response, SignatureShare, SignedEntry, verify_certified,
};

use crate::desk::{DEADLINE, ROUND, names, tell_action, tell_error, tell_faults};
use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, certified_by, entry, forged, node, nodes, share, sign, two_groups,
};
use crate::member::{Member, State};
use crate::reader::{Reader, read_options};
use crate::repair::{NOW, ask, member, old_entry, replaced, vouch, vouched_by, vouches};

// ----- how vouches are collected -----

/// A desk for one repair: the test answers for the nodes.
struct Desk {
    repair: Repair,
    known: Arc<Configurations>,
    now: Duration,
    round: Round,
}

impl Desk {
    fn new(known: &Arc<Configurations>, entry: CertifiedEntry, cut: &[u8]) -> Self {
        let cut = nodes(cut.iter().copied());
        let options = RepairOptions { cut, deadline: DEADLINE, round_timeout: ROUND };
        let known = Arc::clone(known);
        let repair = Repair::start(Duration::ZERO, 7, Arc::clone(&known), entry, options);
        Self { repair, known, now: Duration::ZERO, round: 0 }
    }

    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(action) = self.repair.poll() {
            if let Action::Send { round, .. } = &action {
                self.round = *round;
            }
            told.push(tell_action(&action));
        }
        told
    }

    fn answer(&mut self, from: u8, outcome: Outcome) {
        let configuration = self.known.newest().digest();
        let response = Ok(Response { configuration, outcome });
        self.repair.handle_response(self.round, &node(from), response, &Keys::default());
    }

    fn vouch(&mut self, by: &[u8]) {
        for from in by {
            let vouch = vouch(&self.repair.entry().signed, *from, &self.known);
            self.answer(*from, Ok(Answer::Vouch(vouch)));
        }
    }

    fn lapsed(&mut self, by: &[u8]) {
        by.iter().for_each(|from| self.answer(*from, Err(Refusal::Lapsed)));
    }

    fn done(&mut self, by: &[u8]) {
        by.iter().for_each(|from| self.answer(*from, Ok(Answer::Done)));
    }

    fn wake(&mut self) -> Vec<String> {
        self.now = self.repair.wake_at().unwrap();
        self.repair.handle_timeout(self.now);
        self.told()
    }

    fn result(&self) -> String {
        let result = match self.repair.result() {
            None => "going on".into(),
            Some(Ok(Repaired::Again(entry))) => {
                assert_eq!(verify_certified(entry, &self.known, &Keys::default()), Ok(()));
                let signers = entry.collective.shares().iter().map(|vouch| &vouch.signer);
                format!("again by{}", names(signers))
            }
            Some(Ok(Repaired::Nowhere)) => "nowhere".into(),
            Some(Err(error)) => return tell_error(error),
            Some(other) => panic!("{other:?}"),
        };
        result + &tell_faults(self.repair.culprits())
    }
}

#[test]
fn a_quorum_that_stores_an_entry_certifies_it_again() {
    let mut desk = Desk::new(&replaced(), old_entry(), &[0xa1, 0xa2]);
    assert_eq!(desk.told(), ["vouch 5 with 0 a3 a4 a5 a6"]);
    desk.vouch(&[0xa3, 0xa4]);
    assert!(desk.told().is_empty());
    desk.vouch(&[0xa5]);
    assert_eq!(desk.told(), ["store 5 a3 a4 a5 a6"]);
    desk.done(&[0xa3, 0xa4]);
    assert_eq!(desk.result(), "going on");
    desk.done(&[0xa6]);
    assert_eq!(desk.result(), "again by a3 a4 a5");
}

#[test]
fn who_lacks_the_entry_is_shown_the_vouches_of_b_plus_1_others() {
    let mut desk = Desk::new(&replaced(), old_entry(), &[0xa1, 0xa2]);
    desk.told();
    desk.vouch(&[0xa3]);
    desk.lapsed(&[0xa5, 0xa6]);
    assert!(desk.told().is_empty(), "one is not enough");
    desk.vouch(&[0xa4]);
    assert_eq!(desk.told(), ["vouch 5 with 2 a5 a6"]);
    // Once a round, whoever refuses again.
    desk.lapsed(&[0xa6]);
    assert!(desk.told().is_empty());
    assert_eq!(desk.wake(), ["vouch 5 with 2 a5 a6"]);
    desk.vouch(&[0xa6]);
    assert_eq!(desk.told(), ["store 5 a3 a4 a5 a6"]);
}

#[test]
fn an_entry_that_a_quorum_lacks_was_never_complete() {
    let mut desk = Desk::new(&replaced(), old_entry(), &[0xa1, 0xa2]);
    desk.told();
    desk.vouch(&[0xa3]);
    desk.lapsed(&[0xa4, 0xa5]);
    assert_eq!(desk.result(), "going on");
    desk.lapsed(&[0xa6]);
    assert_eq!(desk.result(), "nowhere");
}

#[test]
fn liars_give_no_vouch() {
    let mut desk = Desk::new(&replaced(), old_entry(), &[0xa1, 0xa2, 0xa6]);
    assert_eq!(desk.told(), ["vouch 5 with 0 a3 a4 a5"], "who was cut out is not asked");
    let signed = desk.repair.entry().signed.clone();
    let known = replaced();
    // A share, somebody else's vouch, a forgery, an answer to something else, one who was cut out.
    desk.answer(0xa3, Ok(Answer::Vouch(share(&signed, 0xa3, known.newest()))));
    desk.answer(0xa4, Ok(Answer::Vouch(vouch(&signed, 0xa5, &known))));
    desk.answer(0xa5, Ok(Answer::Done));
    desk.vouch(&[0xa6]);
    assert!(desk.told().is_empty());
    assert_eq!(desk.result(), "going on; a3 BadShare; a4 BadShare; a5 BadAnswer");
    desk.answer(
        0xa3,
        Ok(Answer::Vouch(SignatureShare { signer: node(0xa3), signature: forged() })),
    );
    desk.now = DEADLINE;
    desk.repair.handle_timeout(DEADLINE);
    let expected = "cannot certify again what has lost its signers: 0 of 3, without a3 a4 a5 a6; \
                    a3 BadShare; a4 BadShare; a5 BadAnswer";
    assert_eq!(desk.result(), expected);
}

/// With a store group of its own, a quorum of each must vouch; the new S has the clique's alone.
#[test]
fn store_nodes_vouch_too_but_do_not_certify() {
    let known = Arc::new(Configurations::starting_with((*two_groups()).clone()));
    let entry = certified_by(entry(ALICE, 5, "v"), &CLIQUE[..3], &two_groups());
    let mut desk = Desk::new(&known, entry, &[]);
    assert_eq!(desk.told(), ["vouch 5 with 0 a1 a2 a3 a4 c1 c2 c3 c4"]);
    desk.vouch(&[0xa1, 0xa2, 0xa3, 0xa4, 0xc1, 0xc2]);
    assert!(desk.told().is_empty());
    desk.vouch(&[0xc4]);
    assert_eq!(desk.told(), ["store 5 a1 a2 a3 a4 c1 c2 c3 c4"]);
    desk.done(&[0xa1, 0xa2, 0xa3, 0xc1, 0xc2, 0xc3]);
    assert_eq!(desk.result(), "again by a1 a2 a3 a4");
}

// ----- reading -----

/// A reader of today, who knows of the changes.
fn reader() -> Reader {
    let options = ReadOptions { cut: nodes([0xa1, 0xa2]), ..read_options() };
    Reader::among(replaced(), options)
}

fn vouches_of(reader: &mut Reader, by: &[u8]) {
    for from in by {
        let vouch = vouch(&old_entry().signed, *from, &replaced());
        reader.answer(*from, Ok(Answer::Vouch(vouch)));
    }
}

#[test]
fn a_write_back_that_is_refused_as_lapsed_certifies_again() {
    let mut reader = reader();
    reader.shown(&[0xa3, 0xa4], &old_entry());
    reader.absent(&[0xa5]);
    assert_eq!(reader.told(), ["store 5 a5 a6"]);
    reader.refuse(0xa5, Refusal::Lapsed);
    assert_eq!(reader.told(), ["vouch 5 with 0 a3 a4 a5 a6"]);
    vouches_of(&mut reader, &[0xa3, 0xa4]);
    reader.refuse(0xa5, Refusal::Lapsed);
    assert_eq!(reader.told(), ["vouch 5 with 2 a5"]);
    vouches_of(&mut reader, &[0xa5]);
    assert_eq!(reader.told(), ["store 5 a3 a4 a5 a6"]);
    reader.done(&[0xa3, 0xa5, 0xa6]);
    assert_eq!(reader.result(), "5");
    let entry = reader.read.result().unwrap().as_ref().unwrap().entry.clone().unwrap();
    assert_eq!(entry.collective.configuration(), replaced().newest().vouched());
}

/// What nobody else has was never complete. Whoever shows it counts as silent: an older entry that is
/// complete may be hidden behind it, so the same answers do not do.
#[test]
fn an_entry_that_nobody_takes_stops_no_reader() {
    let mut reader = reader();
    reader.shown(&[0xa3], &old_entry());
    reader.absent(&[0xa4, 0xa5]);
    assert_eq!(reader.told(), ["store 5 a4 a5 a6"]);
    reader.refuse(0xa4, Refusal::Lapsed);
    reader.told();
    vouches_of(&mut reader, &[0xa3]);
    [0xa4, 0xa5, 0xa6].into_iter().for_each(|id| reader.refuse(id, Refusal::Lapsed));
    assert_eq!(reader.told(), ["read a3 a4 a5 a6"]);
    reader.shown(&[0xa3], &old_entry());
    reader.absent(&[0xa4, 0xa5]);
    assert_eq!(reader.result(), "going on");
    reader.absent(&[0xa6]);
    assert_eq!(reader.result(), "absent", "and nobody is blamed");
}

#[test]
fn a_read_that_cannot_certify_again_ends_at_its_deadline() {
    let mut reader = reader();
    reader.shown(&[0xa3, 0xa4], &old_entry());
    reader.absent(&[0xa5]);
    reader.told();
    reader.refuse(0xa5, Refusal::Lapsed);
    reader.told();
    assert_eq!(reader.wake(), ["vouch 5 with 0 a3 a4 a5 a6"]);
    let expected = "cannot certify again what has lost its signers: 0 of 3, without a3 a4 a5 a6";
    assert_eq!(reader.expire(), expected);
}

// ----- every case -----

/// What the faulty member does.
#[derive(Debug, Clone, Copy)]
enum Faulty {
    Silent,
    /// Vouches for what it has not got.
    Vouches,
    /// Denies what it has.
    Denies,
}

/// The members of today by the real rules, one of them faulty.
struct World {
    members: BTreeMap<NodeId, (Member, State)>,
    faulty: (NodeId, Faulty),
    known: Arc<Configurations>,
}

impl World {
    fn new(holders: &[u8], faulty: (u8, Faulty)) -> Self {
        let state = |id: u8| match holders.contains(&id) {
            true => State::empty().holds(&old_entry()),
            false => State::empty(),
        };
        let members = NOW.iter().map(|id| (node(*id), (member(*id), state(*id)))).collect();
        Self { members, faulty: (node(faulty.0), faulty.1), known: replaced() }
    }

    fn answer(&mut self, to: &NodeId, request: &Request) -> Result<Outcome, Lost> {
        if *to != self.faulty.0 {
            let (member, state) = self.members.get_mut(to).unwrap();
            return Ok(serve(member, state, request.clone(), &self.known));
        }
        let own = |entry: &SignedEntry| vouch(entry, to.as_bytes()[0], &self.known);
        match (self.faulty.1, request) {
            (Faulty::Silent, _) => Err(Lost::Silent),
            (Faulty::Vouches, Request::Vouch { entry, .. }) => {
                Ok(Ok(Answer::Vouch(own(&entry.signed))))
            }
            (Faulty::Vouches, _) => Ok(Ok(Answer::Done)),
            (Faulty::Denies, _) => Ok(Err(Refusal::Lapsed)),
        }
    }

    /// The honest members that store the entry.
    fn honest_holders(&self) -> usize {
        let honest = self.members.iter().filter(|(id, _)| **id != self.faulty.0);
        honest.filter(|(_, (_, state))| !state.entries.is_empty()).count()
    }

    fn run(&mut self) -> Option<Repaired> {
        let options =
            RepairOptions { cut: nodes([0xa1, 0xa2]), deadline: ROUND * 3, round_timeout: ROUND };
        let known = Arc::clone(&self.known);
        let mut repair = Repair::start(Duration::ZERO, 0, known, old_entry(), options);
        loop {
            while let Some(action) = repair.poll() {
                let Action::Send { round, to, request } = action else { panic!("{action:?}") };
                for node in to {
                    let configuration = self.known.newest().digest();
                    let outcome = self.answer(&node, &request);
                    let response = outcome.map(|outcome| Response { configuration, outcome });
                    repair.handle_response(round, &node, response, &Keys::default());
                }
            }
            match repair.wake_at() {
                Some(wake) => repair.handle_timeout(wake),
                None => return repair.result().unwrap().clone().ok(),
            }
        }
    }
}

/// One request by the rules of a member, which signs what it decides to state.
fn serve(member: &Member, state: &mut State, request: Request, known: &Configurations) -> Outcome {
    let admitted: Admitted = member.admit(BOB, request)?;
    let mut server = Server::new(Arc::clone(&member.configurations));
    server.handle_request(1, admitted);
    loop {
        match server.poll().unwrap() {
            ServerAction::Load { ticket, version, .. } => {
                server.handle_loaded(ticket, Ok(state.load(version)), &member.keys);
            }
            ServerAction::Persist { ticket, batch } => {
                for entry in batch.entries {
                    state.entries.retain(|old| old.timestamp() != entry.timestamp());
                    state.entries.push(entry);
                }
                server.handle_persisted(ticket, Ok(()));
            }
            ServerAction::Reply { reply: Reply::Vouch(statement), .. } => {
                let signature = sign(&member.me, Purpose::Vouch, &statement.signed_bytes());
                assert_eq!(statement.configuration, known.newest().digest());
                let vouch = SignatureShare { signer: member.me.clone(), signature };
                return Ok(Answer::Vouch(vouch));
            }
            ServerAction::Reply { reply: Reply::Plain(outcome), .. } => return outcome,
            other => panic!("{other:?}"),
        }
    }
}

/// Every set of members that store the lapsed entry, every faulty one, whatever it does. If a quorum
/// has the entry, whatever one of them does, it is certified again, and all honest ones have it
/// in a form that is full. If no honest member has it, nothing makes one take it.
#[test]
fn what_is_complete_is_certified_again_and_what_no_honest_member_has_never_is() {
    let mut certified = 0;
    for set in 0..16_u8 {
        let holders: Vec<u8> =
            NOW.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, id)| *id).collect();
        for faulty in NOW {
            for how in [Faulty::Silent, Faulty::Vouches, Faulty::Denies] {
                let mut world = World::new(&holders, (faulty, how));
                let before = world.honest_holders();
                let result = world.run();
                let again = matches!(result, Some(Repaired::Again(_)));
                let case = format!("{holders:x?}, {faulty:x} {how:?}: {result:?}");
                assert!(again || holders.len() < 3, "complete, but not certified again: {case}");
                if before == 0 {
                    assert!(!again && world.honest_holders() == 0, "made up: {case}");
                }
                if again {
                    certified += 1;
                    let full = |state: &State| {
                        let kept = state.entries.iter().find(|kept| kept.timestamp().get() == 5);
                        let cut = nodes([0xa1, 0xa2]);
                        kept.is_some_and(|k| Backing::of(k, &world.known, &cut) == Backing::Full)
                    };
                    let honest = world.members.iter().filter(|(id, _)| **id != world.faulty.0);
                    assert!(honest.clone().all(|(_, (_, state))| full(state)), "{case}");
                }
            }
        }
    }
    assert!(certified > 60, "{certified}");
}

/// A member that counts itself among the others of a larger group: b+1 and q in numbers.
#[test]
fn so_many_vouches_are_enough_in_every_size() {
    for n in 4_u8..=13 {
        let all: Vec<u8> = (1..=n).collect();
        let group = crate::fixtures::configuration(&[&all], &all);
        let known = Arc::new(Configurations::starting_with((*group).clone()));
        let thresholds = Group::new(nodes(all.clone())).thresholds();
        let entry = certified_by(entry(ALICE, 5, "v"), &all, &group);
        for (have, expected) in [(thresholds.q() - 1, false), (thresholds.q(), true)] {
            let again = vouched_by(&entry.signed, &all[..have], &known);
            let verdict = verify_certified(&again, &known, &Keys::default());
            assert_eq!(verdict.is_ok(), expected, "n = {n}, {have} vouches");
        }
        // The smallest set that an honest member believes has one of the n-b honest in it.
        for (have, expected) in [(thresholds.b(), "refused 502"), (thresholds.b() + 1, "vouch 5")] {
            let mut lacking = Member::new(n, Arc::clone(&group));
            // Nearly all signers were cut out; those who vouch were not.
            let vouching: BTreeSet<u8> = all[..have].iter().copied().collect();
            lacking.cut = nodes(all.iter().copied().filter(|id| !vouching.contains(id)));
            let few = certified_by(entry_of(&entry), &all[all.len() - thresholds.q()..], &group);
            let uncut = Backing::of(&few, &known, &lacking.cut);
            if uncut != Backing::Lapsed {
                continue;
            }
            let request = ask(few, vouches(&entry.signed, &all[..have], &known));
            let told = lacking.ask(&State::empty(), BOB, request);
            assert!(told.ends_with(expected), "n = {n}, {have} vouches: {told}");
        }
    }
}

fn entry_of(certified: &CertifiedEntry) -> bftkv_protocol::Entry {
    certified.entry().clone()
}
