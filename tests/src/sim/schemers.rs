//! Liars who take part in changes of members: they propose whatever could find votes, vote for everything,
//! and tell of changes that have too few votes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bftkv_protocol::client::Lost;
use bftkv_protocol::{
    Answer, Change, ChangeKind, ChangeStatement, CollectiveSignature, Configuration, Group, NodeId,
    Outcome, Purpose, Request, Response, Sign, SignatureShare, SignedChange, Verify,
};

use super::cluster::Cluster;
use super::fake_keys::FakeSigner;
use super::ground::{Caller, Event, Ground};
use super::operator::places;

/// How often they scheme.
const SCHEMES: usize = 8;

/// Changes that liars want, and the votes that they have.
#[derive(Debug, Default)]
pub(super) struct Schemers {
    plots: Vec<Plot>,
}

#[derive(Debug)]
struct Plot {
    predecessor: Arc<Configuration>,
    change: Change,
    statement: Vec<u8>,
    votes: BTreeMap<NodeId, SignatureShare>,
}

impl Plot {
    fn has_enough(&self) -> bool {
        let enough = |clique: &Group| clique.count(self.votes.keys()) >= clique.thresholds().q();
        self.predecessor.cliques().iter().all(enough)
    }

    fn request(&self) -> Request {
        let votes = self.votes.values().cloned().collect();
        let votes = CollectiveSignature::new(self.predecessor.digest(), votes);
        Request::Change(Box::new(SignedChange { change: self.change.clone(), votes }))
    }
}

impl Schemers {
    /// A member has answered a liar's proposal.
    pub(super) fn take(
        &mut self,
        ground: &mut Ground,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        let Ok(Response { outcome: Ok(Answer::Vote(Some(vote))), .. }) = response else { return };
        let (mut told, everybody) = (Vec::new(), ground.watch.facts().nodes.clone());
        for plot in &mut self.plots {
            let signed =
                ground.keys.verify(from, Purpose::Change, &plot.statement, &vote.signature);
            if vote.signer == *from && signed.is_ok() {
                plot.votes.insert(from.clone(), vote.clone());
                if plot.has_enough() {
                    told.push(plot.request());
                }
            }
        }
        for request in told {
            for node in &everybody {
                ground.request(from, node, Caller::Nobody, &request);
            }
        }
    }
}

/// A liar votes for whatever it is asked.
pub(super) fn vote(signer: &FakeSigner, known: &Configuration, change: &Change) -> Option<Outcome> {
    let share = vote_share(signer, known, change)?;
    Some(Ok(Answer::Vote(Some(share))))
}

fn vote_share(
    signer: &FakeSigner,
    known: &Configuration,
    change: &Change,
) -> Option<SignatureShare> {
    let successor = change.apply(known, true).ok()?;
    let bytes = ChangeStatement::of(known, &successor).signed_bytes();
    let signature = signer.sign(Purpose::Change, &bytes).ok()?;
    Some(SignatureShare { signer: signer.id().clone(), signature })
}

impl Cluster {
    pub(super) fn plan_schemes(&mut self) {
        let ground = &mut self.ground;
        if ground.faults.compete() && !self.liars.is_empty() {
            for _ in 0..SCHEMES {
                let at = ground.rng.millis(1, 6_000);
                ground.clock.at(at, Event::Scheme);
            }
        }
    }

    /// A liar asks some members to vote for something, or tells of a change as if it had votes.
    pub(super) fn scheme(&mut self) {
        let ground = &mut self.ground;
        let newest = Arc::clone(&ground.configuration);
        let guests = self.nodes.keys().filter(|id| !newest.has_member(id));
        let adds = guests.flat_map(|id| places(&newest, ChangeKind::Add, id));
        let members = newest.everyone();
        let removes = members.iter().flat_map(|id| places(&newest, ChangeKind::Remove, id));
        let all: Vec<Change> = adds.chain(removes).collect();
        let liars: Vec<NodeId> =
            self.liars.keys().filter(|id| newest.has_member(id)).cloned().collect();
        let (Some(liar), Some(change)) = (ground.rng.pick(&liars).cloned(), ground.rng.pick(&all))
        else {
            return;
        };
        let Some(plot) = plot(&mut self.schemers, &newest, change, &self.helpers) else { return };
        let (predecessor, change) = (newest.digest(), change.clone());
        let tells = ground.rng.percent(30).then(|| plot.request());
        let binding = ground.rng.percent(90);
        let request = tells.unwrap_or(Request::Propose { predecessor, change, binding });
        let authority: Vec<NodeId> = newest.authority().into_iter().collect();
        let count = ground.rng.index(authority.len()).saturating_add(1);
        for node in ground.rng.sample(&authority, count) {
            ground.request(&liar, &node, Caller::Schemer, &request);
        }
    }
}

/// The plot for this change, with the votes of all liars.
fn plot<'a>(
    schemers: &'a mut Schemers,
    predecessor: &Arc<Configuration>,
    change: &Change,
    helpers: &[FakeSigner],
) -> Option<&'a Plot> {
    let is_it =
        |plot: &Plot| plot.predecessor.digest() == predecessor.digest() && plot.change == *change;
    if let Some(found) = schemers.plots.iter().position(is_it) {
        return schemers.plots.get(found);
    }
    let successor = change.apply(predecessor, true).ok()?;
    let statement = ChangeStatement::of(predecessor, &successor).signed_bytes();
    let voters = helpers.iter().filter(|helper| predecessor.clique_of(helper.id()).is_some());
    let votes = voters
        .filter_map(|helper| Some((helper.id().clone(), vote_share(helper, predecessor, change)?)));
    let votes = votes.collect();
    let (predecessor, change) = (Arc::clone(predecessor), change.clone());
    schemers.plots.push(Plot { predecessor, change, statement, votes });
    schemers.plots.last()
}
