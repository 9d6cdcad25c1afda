//! How many nodes, in which groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::{Configuration, Group, NodeId, Realm};

use super::rng::Rng;

/// The groups of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Shape {
    /// One clique that stores, too.
    Alone(u8),
    /// A clique and a store group of other nodes.
    Separate(u8, u8),
    /// A clique, and a store group of its members and so many others.
    Overlapping(u8, u8),
    /// Two cliques and a store group of other nodes.
    TwoCliques(u8, u8, u8),
}

impl Shape {
    /// The shapes among which a seed chooses.
    pub const ALL: [Self; 8] = [
        Self::Alone(4),
        Self::Alone(5),
        Self::Alone(7),
        Self::Separate(4, 4),
        Self::Separate(5, 4),
        Self::Separate(7, 7),
        Self::Overlapping(4, 3),
        Self::TwoCliques(4, 4, 4),
    ];

    pub(crate) fn configuration(self) -> Arc<Configuration> {
        let (cliques, store) = self.groups();
        let realm = Realm::new("simulation").expect("a plain word is a realm");
        let configuration = Configuration::new(realm, 1, cliques, store, false);
        Arc::new(configuration.expect("every shape is a good configuration"))
    }

    fn groups(self) -> (Vec<Group>, Group) {
        match self {
            Self::Alone(n) => (vec![group(0, n)], group(0, n)),
            Self::Separate(n, m) => (vec![group(0, n)], group(100, m)),
            Self::Overlapping(n, more) => (vec![group(0, n)], group(0, n.saturating_add(more))),
            Self::TwoCliques(n, m, s) => (vec![group(0, n), group(50, m)], group(100, s)),
        }
    }
}

fn group(first: u8, count: u8) -> Group {
    Group::new((0..count).map(|i| node(first.saturating_add(i))))
}

/// The fingerprint of a made-up certificate.
pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).expect("20 bytes are a fingerprint")
}

/// Traitors: b of each group, or none unless `always`, and `more` than that: too many, or fewer where nodes forget.
pub(crate) fn traitors(
    configuration: &Configuration,
    more: isize,
    always: bool,
    rng: &mut Rng,
) -> BTreeSet<NodeId> {
    let mut traitors = BTreeSet::new();
    let groups: Vec<&Group> =
        configuration.cliques().iter().chain([configuration.store()]).collect();
    for group in &groups {
        let most = group.thresholds().b().saturating_add_signed(more);
        let wanted = if rng.percent(12) && !always { 0 } else { most };
        let members: Vec<NodeId> = group.members().cloned().collect();
        for id in rng.sample(&members, members.len()) {
            let fits = |g: &&Group| {
                !g.contains(&id)
                    || g.count(&traitors) < g.thresholds().b().saturating_add_signed(more)
            };
            if group.count(&traitors) < wanted && groups.iter().all(fits) {
                traitors.insert(id);
            }
        }
    }
    traitors
}
