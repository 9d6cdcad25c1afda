//! The operators of a run with changing members: each has nodes join, leave and be replaced, one step at
//! a time, as `bftkv member` does. Mostly there is one; two know nothing of each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::Lost;
use bftkv_protocol::{
    Answer, Change, ChangeKind, ChangeStatement, CollectiveSignature, Configuration, Group, NodeId,
    Purpose, Request, Response, SignatureShare, SignedChange, Verify,
};

use super::cluster::Cluster;
use super::ground::{Caller, Event, Ground, ONE_SUCCESSOR};

/// How long until the operator looks again.
const PAUSE: Duration = Duration::from_millis(250);

/// How long it goes on by itself; what it has begun it finishes when everything is healed.
const SHIFT: Duration = Duration::from_secs(20);

/// How often it looks again after that until members must have settled.
const ROUNDS: usize = 60;

const SETTLED: &str = "after healing, the change that was begun ends and all members serve";

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Join,
    Leave,
}

/// Who has members added and removed.
#[derive(Debug)]
pub(crate) struct Operator {
    wishes: VecDeque<Wish>,
    /// The change under way, in whose name it is proposed, and the votes for it.
    open: Option<Open>,
    /// The last change that had its votes: told to everybody until all serve.
    last: Option<SignedChange>,
}

#[derive(Debug)]
struct Open {
    predecessor: Arc<Configuration>,
    change: Change,
    sender: NodeId,
    votes: BTreeMap<NodeId, SignatureShare>,
}

impl Operator {
    /// Draws what is to happen: mostly a node comes and another one goes.
    pub(crate) fn new(ground: &mut Ground) -> Self {
        let mut wishes = VecDeque::new();
        if ground.faults.change_members() {
            // Only after two members of a group were replaced do entries lapse.
            let (least, most) = if ground.faults.cut_out() { (3, 8) } else { (1, 5) };
            let steps = ground.rng.between(least, most);
            let join_first = ground.rng.percent(80);
            for step in 0..steps {
                let joins = (step % 2 == 0) == join_first;
                wishes.push_back(if joins { Wish::Join } else { Wish::Leave });
            }
        }
        Self { wishes, open: None, last: None }
    }

    /// A member has answered a proposal.
    pub(crate) fn take(
        &mut self,
        ground: &mut Ground,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        let Some(open) = &mut self.open else { return };
        let Ok(Response { outcome: Ok(Answer::Vote(Some(vote))), .. }) = response else { return };
        let old = &open.predecessor;
        let Ok(new) = open.change.apply(old, true) else { return };
        let bytes = ChangeStatement::of(old, &new).signed_bytes();
        let signed = ground.keys.verify(from, Purpose::Change, &bytes, &vote.signature);
        if vote.signer != *from || signed.is_err() {
            return;
        }
        open.votes.insert(from.clone(), vote);
        let enough = |clique: &Group| clique.count(open.votes.keys()) >= clique.thresholds().q();
        if !old.cliques().iter().all(enough) {
            return;
        }
        let shares = open.votes.values().cloned().collect();
        let votes = CollectiveSignature::new(old.digest(), shares);
        let signed = SignedChange { change: open.change.clone(), votes };
        let whom = &old.everyone() | &new.everyone();
        let now = ground.now();
        match ground.succeed(signed.clone()) {
            Ok(()) => {
                let number = ground.configuration.number();
                ground.trace.line(now, || format!("configuration {number} has its votes"));
                condemn_removed(ground, &signed.change);
                self.open = None;
                self.last = Some(signed);
                self.tell(ground, whom);
            }
            // Another successor has its votes, and so has this one.
            Err(error) => ground.watch.fail(now, ONE_SUCCESSOR, format!("{signed:?}: {error}")),
        }
    }

    /// Gives up what another change has overtaken: its votes are worth nothing any more.
    fn look_around(&mut self, ground: &Ground) {
        let newest = ground.configuration.digest();
        if self.open.as_ref().is_some_and(|open| open.predecessor.digest() != newest) {
            self.open = None;
        }
    }

    /// Tells everybody whom it concerns of the last change.
    fn tell(&self, ground: &mut Ground, whom: BTreeSet<NodeId>) {
        let Some(last) = &self.last else { return };
        let request = Request::Change(Box::new(last.clone()));
        let sender = last.change.member.clone();
        for node in whom {
            ground.request(&sender, &node, Caller::Nobody, &request);
        }
    }

    fn propose(&self, ground: &mut Ground, number: usize) {
        let Some(open) = &self.open else { return };
        let (predecessor, change) = (open.predecessor.digest(), open.change.clone());
        let request = Request::Propose { predecessor, change, binding: true };
        for node in open.predecessor.authority() {
            if !open.votes.contains_key(&node) {
                ground.request(&open.sender, &node, Caller::Operator { number }, &request);
            }
        }
    }
}

impl Cluster {
    /// An operator looks at what there is, does the next thing, and comes back later.
    pub(super) fn operate(&mut self, number: usize) {
        self.operate_once(number);
        let idle = |one: &Operator| one.wishes.is_empty() && one.open.is_none();
        let is_idle = self.operators.get(number).is_none_or(idle);
        let ground = &mut self.ground;
        if !is_idle && !ground.healed && ground.now() < SHIFT {
            ground.clock.after(PAUSE, Event::Operate { number });
        }
    }

    fn operate_once(&mut self, number: usize) {
        let a_quorum_serves = self.a_quorum_serves();
        let Some(operator) = self.operators.get_mut(number) else { return };
        operator.look_around(&self.ground);
        if operator.open.is_some() {
            operator.propose(&mut self.ground, number);
        } else if !a_quorum_serves {
            let everybody = self.ground.watch.facts().nodes.clone();
            operator.tell(&mut self.ground, everybody);
        } else if let Some(wish) = operator.wishes.pop_front()
            && let Some(change) = self.choose(wish)
        {
            self.open(number, change);
        }
    }

    /// Puts a change to the vote.
    fn open(&mut self, number: usize, change: Change) {
        let ground = &mut self.ground;
        let member = change.member.clone();
        let honest = ground.configuration.authority().into_iter();
        let honest: Vec<NodeId> =
            honest.filter(|id| self.nodes.contains_key(id) && *id != member).collect();
        // Somebody who is distrusted does not vote for its own removal: enough others must.
        let enough = |clique: &Group| clique.count(&honest) >= clique.thresholds().q();
        let is_asked_to_go = change.kind == ChangeKind::Remove
            && ground.configuration.cliques().iter().all(enough)
            && ground.rng.percent(50);
        let other = ground.rng.pick(&honest).cloned().unwrap_or_else(|| member.clone());
        let sender = if is_asked_to_go {
            ground.distrusted.insert(member);
            other
        } else {
            member
        };
        let now = ground.now();
        ground.trace.line(now, || format!("operator {number} wants {change:?}"));
        let predecessor = Arc::clone(&ground.configuration);
        let open = Open { predecessor, change, sender, votes: BTreeMap::new() };
        if let Some(operator) = self.operators.get_mut(number) {
            operator.open = Some(open);
            operator.propose(&mut self.ground, number);
        }
    }

    /// Whether a quorum of every group serves under the newest configuration; liars say so.
    fn a_quorum_serves(&self) -> bool {
        let newest = &self.ground.configuration;
        let serves = |id: &NodeId| self.nodes.get(id).is_none_or(|n| n.is_settled(&self.ground));
        let enough = |group: &Group| {
            group.members().filter(|id| serves(id)).count() >= group.thresholds().q()
        };
        newest.cliques().iter().chain([newest.store()]).all(enough)
    }

    /// A change that leaves at most b traitors in each group, and everybody the members that
    /// it needs.
    fn choose(&mut self, wish: Wish) -> Option<Change> {
        let newest = self.ground.configuration.clone();
        let members = newest.everyone();
        let (kind, who): (ChangeKind, Vec<NodeId>) = match wish {
            Wish::Join => {
                let (distrusted, condemned) = (&self.ground.distrusted, &self.ground.condemned);
                let is_new = |id: &&NodeId| {
                    !members.contains(*id) && !distrusted.contains(*id) && !condemned.contains(*id)
                };
                (ChangeKind::Add, self.nodes.keys().filter(is_new).cloned().collect())
            }
            Wish::Leave => (ChangeKind::Remove, members.iter().cloned().collect()),
        };
        let changes = who.into_iter().flat_map(|member| places(&newest, kind, &member));
        let good = |change: &Change| self.ground.fits(&newest, change);
        let possible: Vec<Change> = changes.filter(good).collect();
        self.ground.rng.pick(&possible).cloned()
    }

    /// After everything is healed: nodes learn what they missed, the change that was begun ends, and
    /// all honest members serve.
    pub(crate) fn finish_changes(&mut self) {
        if !self.ground.faults.change_members() {
            return;
        }
        self.operators.iter_mut().for_each(|operator| operator.wishes.clear());
        for _ in 0..ROUNDS {
            let settled = self.nodes.values().all(|node| node.is_settled(&self.ground));
            if settled && self.operators.iter().all(|one| self.is_over(one)) {
                return;
            }
            for number in 0..self.operators.len() {
                self.operate_once(number);
            }
            for node in self.nodes.values() {
                node.learn(&mut self.ground);
            }
            self.play();
        }
        let open = self.nodes.iter().filter(|(_, node)| !node.is_settled(&self.ground));
        let open: Vec<String> =
            open.map(|(id, node)| format!("{id} is {:?}", node.standing())).collect();
        let detail = format!("{:?} {}", self.operators, open.join(", "));
        self.ground.watch.fail(self.ground.clock.now(), SETTLED, detail);
    }

    /// Whether an operator has nothing under way, or, where several propose, something that has lost: so
    /// many honest members have voted for another change that no quorum is left for this one. Then the
    /// configuration stays as it is (docs/membership.md, "When votes are split").
    fn is_over(&self, operator: &Operator) -> bool {
        let Some(open) = &operator.open else { return true };
        if !self.ground.faults.compete() {
            return false;
        }
        let is_old = open.predecessor.digest() != self.ground.configuration.digest();
        let would = |id: &&NodeId| {
            let node = self.nodes.get(*id);
            node.is_some_and(|node| node.would_vote(&self.ground, &open.sender, &open.change))
        };
        let has_lost =
            |clique: &Group| clique.members().filter(would).count() < clique.thresholds().q();
        is_old || open.predecessor.cliques().iter().any(has_lost)
    }

    /// Whether some operator's change has lost.
    pub(crate) fn is_split(&self) -> bool {
        self.operators.iter().any(|operator| operator.open.is_some() && self.is_over(operator))
    }
}

/// Who was removed is mostly cut out as well, by each operator when he gets to it
/// (docs/membership.md).
fn condemn_removed(ground: &mut Ground, change: &Change) {
    if ground.faults.cut_out() && change.kind == ChangeKind::Remove && ground.rng.percent(85) {
        ground.condemn(&change.member, 3_000);
    }
}

/// All ways in which the node could come or go.
pub(super) fn places(newest: &Configuration, kind: ChangeKind, member: &NodeId) -> Vec<Change> {
    let change = |clique: Option<u8>, store| Change { member: member.clone(), kind, clique, store };
    let cliques = (0u8..).zip(newest.cliques());
    match kind {
        ChangeKind::Remove => {
            let mut mine = cliques.filter(|(_, clique)| clique.contains(member));
            vec![change(mine.next().map(|(at, _)| at), newest.store().contains(member))]
        }
        ChangeKind::Add if newest.store_is_authority() => vec![change(Some(0), true)],
        ChangeKind::Add => {
            let in_clique = cliques.map(|(at, _)| change(Some(at), false));
            in_clique.chain([change(None, true)]).collect()
        }
    }
}
