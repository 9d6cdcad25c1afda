//! First contact: which configurations a realm has, for somebody who has adopted none yet.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{
    Answer, Configuration, ConfigurationDigest, Configurations, Group, Lineage, NodeId, Request,
    Response,
};
use bftkv_wot::TrustGraph;

use crate::Certificates;
use crate::peers::{Patience, Peers};

/// How many pages of changes are asked for at most: all that there can be.
const MAX_PAGES: usize = Configurations::MAX_CHANGES / Lineage::MAX_PAGE + 1;

/// Looks for the configurations of the realm.
///
/// `derived` is what the own web of trust gives. If the realm began with it, the signed changes
/// lead from it to the newest configuration. If not (a member was cut out or replaced since), the
/// newest one is believed that q members of each of its cliques answer with, if in the own web of
/// trust q members of each of these cliques certify each other and are within reach.
pub(crate) async fn find(
    peers: &Peers,
    certificates: &Certificates,
    derived: Option<&Configuration>,
    patience: Patience,
) -> Option<Configurations> {
    let answers = ask_all(peers, certificates.nodes(), 0, patience).await;
    let mut tips: BTreeMap<(ConfigurationDigest, ConfigurationDigest), BTreeSet<NodeId>> =
        BTreeMap::new();
    let mut lineages = BTreeMap::new();
    for (node, lineage, newest) in answers {
        let Ok(first) = lineage.first.clone().check() else { continue };
        let tip = (first.digest(), newest);
        tips.entry(tip).or_default().insert(node.clone());
        lineages.entry(tip).or_insert((first, node));
    }
    let mut best: Option<Configurations> = None;
    for (tip, supporters) in &tips {
        let Some((first, node)) = lineages.remove(tip) else { continue };
        let is_ours = derived.is_some_and(|derived| derived.digest() == first.digest());
        let mut known = Configurations::starting_with(first);
        follow(peers, certificates, &mut known, &node, patience).await;
        if known.newest().digest() != tip.1 {
            continue;
        }
        let graph = certificates.keyring().graph();
        let is_good = is_ours || is_vouched_for(known.newest(), supporters, &graph, peers.me());
        let number = |known: &Configurations| known.newest().number();
        if is_good && best.as_ref().is_none_or(|best| number(best) < number(&known)) {
            best = Some(known);
        }
    }
    best
}

/// Extends what is known by the changes that the node shows. Each proves itself by its votes.
pub(crate) async fn follow(
    peers: &Peers,
    certificates: &Certificates,
    known: &mut Configurations,
    node: &NodeId,
    patience: Patience,
) {
    for _ in 0..MAX_PAGES {
        let above = known.newest().number();
        let to = BTreeSet::from([node.clone()]);
        let Some((_, lineage, _)) = ask_all(peers, to, above, patience).await.pop() else { return };
        for change in lineage.changes {
            let mut taken = known.extend(change.clone(), certificates.keys());
            // A vote may be by a member of long ago.
            while let Err(error) = &taken
                && let Some(missing) = error.missing_certificate().cloned()
                && fetch(peers, certificates, node, &missing, patience).await
            {
                taken = known.extend(change.clone(), certificates.keys());
            }
            if let Err(error) = taken {
                tracing::debug!(%node, %error, "a change of members does not count");
                return;
            }
        }
        if known.newest().number() == above {
            return;
        }
    }
}

/// Asks the node for a certificate; tells whether it is known now.
async fn fetch(
    peers: &Peers,
    certificates: &Certificates,
    node: &NodeId,
    id: &NodeId,
    patience: Patience,
) -> bool {
    let request = Request::Certificates { ids: vec![id.clone()] };
    let mut answers = peers.ask(BTreeSet::from([node.clone()]), request, patience);
    if let Some((_, Ok(Response { outcome: Ok(Answer::Certificates(found)), .. }))) =
        answers.recv().await
    {
        found.iter().for_each(|certificate| drop(certificates.add(certificate)));
    }
    certificates.keyring().contains(id)
}

async fn ask_all(
    peers: &Peers,
    nodes: BTreeSet<NodeId>,
    above: u64,
    patience: Patience,
) -> Vec<(NodeId, Lineage, ConfigurationDigest)> {
    let mut answers = peers.ask(nodes, Request::Configurations { above }, patience);
    let mut found = Vec::new();
    while let Some((node, response)) = answers.recv().await {
        if let Ok(Response {
            outcome: Ok(Answer::Configurations { lineage, newest, .. }), ..
        }) = response
        {
            found.push((node, *lineage, newest));
        }
    }
    found
}

/// Whether q members of each clique say that this is the newest configuration, and the own web of
/// trust shows these cliques.
fn is_vouched_for(
    configuration: &Configuration,
    supporters: &BTreeSet<NodeId>,
    graph: &TrustGraph,
    me: &NodeId,
) -> bool {
    let mut trusted: BTreeSet<NodeId> = BTreeSet::from([me.clone()]);
    let mut open: Vec<&Group> = configuration.cliques().iter().collect();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|clique| {
            let core = certifying_each_other(clique, graph);
            let reached = core
                .iter()
                .any(|member| trusted.iter().any(|id| id == member || graph.certifies(id, member)));
            let q = clique.thresholds().q();
            let vouched = reached && core.len() >= q && clique.count(supporters) >= q;
            if vouched {
                trusted.extend(core);
            }
            !vouched
        });
        if open.len() == before {
            return false;
        }
    }
    true
}

/// Members that all certify each other: whoever lacks most certifications is left out first.
fn certifying_each_other(clique: &Group, graph: &TrustGraph) -> BTreeSet<NodeId> {
    let mut core: BTreeSet<NodeId> = clique.members().cloned().collect();
    loop {
        let both = |a: &NodeId, b: &NodeId| graph.certifies(a, b) && graph.certifies(b, a);
        let lacks = |a: &NodeId| core.iter().filter(|b| *b != a && !both(a, b)).count();
        let worst = core.iter().map(|a| (lacks(a), a.clone())).max();
        match worst {
            Some((missing, id)) if missing > 0 => core.remove(&id),
            _ => return core,
        };
    }
}
