//! Reads of the real state machine in simulated time: whom a client asks and waits for when a member
//! is slow, recovers, or lies. It counts, so how busy the machine is does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv_protocol::client::{Action, Consistency, Fault, Lost, Read, ReadOptions, Round};
use bftkv_protocol::{
    Answer, Configuration, Configurations, Group, NodeId, Purpose, Realm, Response, SignatureBytes,
    Variable, Verify, VerifyError,
};

use super::member::AGAIN_AT_MOST;
use super::{Pace, Work};

/// Nothing that is signed is read here.
struct NoKeys;

impl Verify for NoKeys {
    fn verify_packet(
        &self,
        _: &NodeId,
        _: Purpose,
        _: &[u8],
        _: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        unreachable!("nothing was ever written")
    }
}

/// One client and its members.
struct World {
    pace: Pace,
    known: Arc<Configurations>,
    began: Instant,
    now: Duration,
    /// How long each takes to answer; who takes for ever is silent.
    takes: BTreeMap<NodeId, Duration>,
    liars: BTreeSet<NodeId>,
    /// Answers on their way, by the time when they arrive, with the time that they took.
    coming: BTreeMap<(Duration, usize), (Round, NodeId, Work, Duration)>,
    sent: usize,
}

/// What came of a read.
struct Got {
    took: Duration,
    first: BTreeSet<NodeId>,
    asked: BTreeSet<NodeId>,
    culprits: BTreeMap<NodeId, Fault>,
}

const MS: Duration = Duration::from_millis(1);
const QUICK: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(1_000_000);

fn id(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).unwrap()
}

impl World {
    /// `n` members that are quick.
    fn new(n: u8) -> Self {
        let group = || Group::new((0..n).map(id));
        let realm = Realm::new("pace").unwrap();
        let made = Configuration::new(realm, 1, vec![group()], group(), false).unwrap();
        Self {
            pace: Pace::default(),
            known: Arc::new(Configurations::starting_with(made)),
            began: Instant::now(),
            now: Duration::ZERO,
            takes: (0..n).map(|number| (id(number), QUICK)).collect(),
            liars: BTreeSet::new(),
            coming: BTreeMap::new(),
            sent: 0,
        }
    }

    fn at(&self) -> Instant {
        self.began + self.now
    }

    fn set(&mut self, number: u8, takes: Duration) {
        self.takes.insert(id(number), takes);
    }

    fn send(&mut self, round: Round, to: &BTreeSet<NodeId>, work: Work) {
        for node in to {
            self.sent += 1;
            // Up to a fifth more, never twice the same.
            let usual = self.takes[node];
            let takes = usual + usual / 100 * u32::try_from(self.sent * 7 % 20).unwrap();
            self.coming.insert((self.now + takes, self.sent), (round, node.clone(), work, takes));
        }
    }

    fn read(&mut self) -> Got {
        let [hedge, whole] = self.pace.of_read(self.at());
        let options = ReadOptions {
            at: None,
            consistency: Consistency::Linearizable,
            proof: false,
            cut: BTreeSet::new(),
            hedge,
            whole,
            deadline: self.now + Duration::from_secs(30),
            round_timeout: Duration::from_secs(5),
        };
        let x = Variable::new(*b"x").unwrap();
        let began = self.now;
        let mut read = Read::start(self.now, Arc::clone(&self.known), x, options);
        let (mut first, mut asked) = (BTreeSet::new(), BTreeSet::new());
        while read.result().is_none() {
            while let Some(action) = read.poll() {
                let Action::Send { round, to, request } = action else {
                    unreachable!("{action:?}")
                };
                if self.now == began {
                    first.extend(to.iter().cloned());
                }
                asked.extend(to.iter().cloned());
                self.send(round, &to, Work::of(&request));
            }
            let wake = read.wake_at().unwrap();
            let next = self.coming.first_entry().filter(|next| next.key().0 <= wake);
            let Some(next) = next else {
                self.now = wake;
                read.handle_timeout(wake, &NoKeys);
                continue;
            };
            self.now = next.key().0;
            let (round, node, work, took) = next.remove();
            self.pace.answered(&node, work, took, self.at());
            read.handle_response(self.now, round, &node, self.answer(&node), &NoKeys);
        }
        self.forget(began);
        let culprits = read.into_result().unwrap().culprits;
        Got { took: self.now - began, first, asked, culprits }
    }

    /// Nobody waits for these any more. As the driver does it: whoever let somebody wait is noted at
    /// once, and listened to for a little longer.
    fn forget(&mut self, began: Duration) {
        let waited = Some(self.now - began);
        for ((arrives, _), (_, node, work, took)) in std::mem::take(&mut self.coming) {
            let hears_until = self.now + self.pace.curiosity(work);
            self.pace.failed(&node, work, waited, self.at());
            if arrives <= hears_until {
                self.pace.answered(&node, work, took, self.at());
            }
        }
    }

    fn answer(&self, node: &NodeId) -> Result<Response, Lost> {
        let answer = if self.liars.contains(node) { Answer::Done } else { Answer::Entry(None) };
        Ok(Response { configuration: self.known.newest().digest(), outcome: Ok(answer) })
    }

    /// So many reads, one every millisecond at most.
    fn reads(&mut self, count: usize) -> Vec<Got> {
        let mut got = Vec::new();
        for _ in 0..count {
            self.now += MS;
            got.push(self.read());
        }
        got
    }
}

/// A read that waited for nobody but quick members.
fn is_quick(got: &Got) -> bool {
    got.took <= QUICK * 2
}

/// How many of the reads asked this member at first.
fn asked_first(all: &[Got], number: u8) -> usize {
    all.iter().filter(|got| got.first.contains(&id(number))).count()
}

#[test]
fn a_slow_member_is_waited_for_once_and_is_asked_again_off_the_critical_path() {
    for n in [4, 7, 10] {
        for takes in [QUICK * 3, QUICK * 100, NEVER] {
            let mut world = World::new(n);
            assert!(world.reads(100).iter().all(is_quick));
            world.set(2, takes);
            let all = world.reads(2_000);
            let waited = all.iter().filter(|got| !is_quick(got)).count();
            // At three times the usual the first answers must show that it is so each time.
            assert!((1..=4).contains(&waited), "{waited} waited at n = {n}, {takes:?}");
            assert!(all[20..].iter().all(is_quick), "n = {n}, {takes:?}");
            let again = asked_first(&all[20..], 2);
            assert!((3..60).contains(&again), "asked again {again} times at n = {n}, {takes:?}");
            let whole = all[20..].iter().all(|got| {
                let others = got.first.iter().filter(|node| **node != id(2)).count();
                others >= world.known.newest().store().thresholds().q()
            });
            assert!(whole, "it took the place of another");
        }
    }
}

#[test]
fn a_member_that_has_recovered_is_among_the_first_again() {
    for takes in [QUICK * 3, NEVER] {
        let mut world = World::new(4);
        world.set(2, takes);
        world.reads(1_000);
        world.set(2, QUICK);
        let until = world.now + AGAIN_AT_MOST + QUICK * 2;
        while world.now < until {
            assert!(is_quick(&world.reads(1)[0]), "nobody waits meanwhile");
        }
        let share = asked_first(&world.reads(400), 2);
        assert!((290..=310).contains(&share), "{share} of 400 are three of four");
    }
}

#[test]
fn if_all_are_slow_all_are_asked_in_turn() {
    let mut world = World::new(4);
    world.reads(100);
    (0..4).for_each(|number| world.set(number, QUICK * 20));
    world.reads(50);
    let all = world.reads(400);
    for number in 0..4 {
        let share = asked_first(&all, number);
        assert!((290..=310).contains(&share), "{number}: {share} of 400");
    }
    assert!(all.iter().all(|got| got.asked.len() == 3), "nobody is asked in vain");
}

#[test]
fn a_client_that_begins_knows_nothing_and_asks_in_turn() {
    let mut firsts = BTreeSet::new();
    for turn in 0..4 {
        let mut world = World::new(4);
        world.pace = Pace::beginning_with(turn);
        firsts.insert(world.read().first);
    }
    assert_eq!(firsts.len(), 4);
}

/// By being slow a member gains only to be asked less: who lies in good time is heard, slow before or
/// not.
#[test]
fn a_liar_is_caught_whether_or_not_it_was_slow() {
    for slow_before in [false, true] {
        let mut world = World::new(4);
        world.liars.insert(id(1));
        if slow_before {
            world.set(1, NEVER);
            assert!(world.reads(1_000).iter().all(|got| got.culprits.is_empty()), "it is silent");
            world.set(1, QUICK / 2);
        }
        let until = world.now + AGAIN_AT_MOST + QUICK * 2;
        let mut caught = false;
        while world.now < until && !caught {
            caught = world.reads(1)[0].culprits.contains_key(&id(1));
        }
        assert!(caught, "slow before: {slow_before}");
    }
}
