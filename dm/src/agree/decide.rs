//! What views have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{Delegation, Hash};
use super::council::{Council, Dm};
use super::view::{Changes, Link, View};

/// What follows from the views that a manifest cites. Whoever has the same views comes to the same.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Decision {
    /// A quorum sees all the same.
    Whole(Hash),
    /// It does not: then for each delegation what a quorum sees, and the rest keeps its last value.
    Parts {
        /// What changes.
        changes: Changes,
        /// What was seen differently.
        dissent: Vec<Dissent>,
    },
}

/// A delegation that changed for some, but not in the same way for a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Dissent {
    /// Which.
    pub delegation: Delegation,
    /// Who saw it change, and how; whoever is not named here saw no change.
    pub seen: BTreeMap<Dm, Changes>,
}

/// Decides by these views, for a zone whose apex has so many labels.
///
/// A quorum q of n has at most b liars in it, so at least b+1 honest DMs see what is decided. Two
/// different decisions for one delegation cannot both have a quorum.
#[must_use]
pub fn decide(council: Council, apex: usize, prev: Link, views: &BTreeMap<Dm, View>) -> Decision {
    let roots = views.values().map(|view| view.root).collect::<BTreeSet<_>>();
    let whole = roots
        .into_iter()
        .find(|root| views.values().filter(|view| view.root == *root).count() >= council.quorum());
    if let Some(root) = whole {
        return Decision::Whole(root);
    }
    let seen = seen_by_delegation(apex, prev, views);
    let (mut changes, mut dissent) = (Changes::new(), Vec::new());
    for (delegation, seen) in seen {
        match shared(council, &seen) {
            Some(agreed) => changes.extend(agreed),
            None => dissent.push(Dissent { delegation, seen }),
        }
    }
    Decision::Parts { changes, dissent }
}

/// Who sees something change in another way than was agreed on, by delegation. Who sees no change is
/// not named: its source may be late.
pub(super) fn differing(
    apex: usize,
    prev: Link,
    views: &BTreeMap<Dm, View>,
    agreed: &Changes,
) -> Vec<Dissent> {
    let mut by_delegation: BTreeMap<Delegation, Changes> = BTreeMap::new();
    for (key, hash) in agreed {
        by_delegation.entry(key.delegation(apex)).or_default().insert(key.clone(), *hash);
    }
    let seen = seen_by_delegation(apex, prev, views).into_iter();
    let others = seen.map(|(delegation, mut seen)| {
        seen.retain(|_, changes| by_delegation.get(&delegation) != Some(changes));
        Dissent { delegation, seen }
    });
    others.filter(|dissent| !dissent.seen.is_empty()).collect()
}

fn seen_by_delegation(
    apex: usize,
    prev: Link,
    views: &BTreeMap<Dm, View>,
) -> BTreeMap<Delegation, BTreeMap<Dm, Changes>> {
    let mut seen: BTreeMap<Delegation, BTreeMap<Dm, Changes>> = BTreeMap::new();
    for (dm, view) in views.iter().filter(|(_, view)| view.newest == prev) {
        for (key, hash) in view.changes.iter().flatten() {
            let changes = seen.entry(key.delegation(apex)).or_default().entry(*dm).or_default();
            changes.insert(key.clone(), *hash);
        }
    }
    seen
}

fn shared(council: Council, seen: &BTreeMap<Dm, Changes>) -> Option<Changes> {
    let is_shared =
        |one: &&Changes| seen.values().filter(|other| other == one).count() >= council.quorum();
    seen.values().find(is_shared).cloned()
}
