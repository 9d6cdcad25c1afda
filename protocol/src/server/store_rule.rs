//! Rule R4: what a server stores.

use std::collections::BTreeSet;

use super::decide::{Decision, Loaded};
use crate::planted::{self, Bug};
use crate::{
    Answer, Backing, CertifiedEntry, Configurations, EquivocationProof, Marks, NodeId, Refusal,
    Verify,
};

/// How a valid certified entry relates to what is stored.
pub(super) enum Relation {
    /// It is stored already, with this S.
    Same(Box<CertifiedEntry>),
    /// It is new, or a version that was not here.
    New,
    /// Another entry is stored at its timestamp.
    Conflict(Box<CertifiedEntry>),
}

/// Compares with the newest entry and with the history, never with slots.
pub(super) fn relation(entry: &CertifiedEntry, loaded: &Loaded) -> Relation {
    let stored = [&loaded.state.latest, &loaded.version]
        .into_iter()
        .flatten()
        .find(|stored| stored.timestamp() == entry.timestamp());
    match stored {
        None => Relation::New,
        Some(stored) if stored.hash() == entry.hash() => Relation::Same(Box::new(stored.clone())),
        Some(stored) if planted::is(Bug::EquivocationIgnored) => {
            Relation::Same(Box::new(stored.clone()))
        }
        Some(stored) => Relation::Conflict(Box::new(stored.clone())),
    }
}

/// Notes a new certified entry in the state: seen(x) rises, and every attempt that it settles is
/// forgotten.
pub(super) fn take_in(entry: &CertifiedEntry, loaded: &mut Loaded) {
    let t = entry.timestamp();
    settle(&mut loaded.state.marks, t);
    if planted::is(Bug::StrangersSlotFalls) {
        let owner = &entry.entry().owner;
        loaded.state.marks.slots.retain(|slot| slot.owner == *owner || slot.is_final);
    }
    if loaded.state.latest.as_ref().is_none_or(|latest| latest.timestamp() < t) {
        loaded.state.latest = Some(entry.clone());
    }
}

fn settle(marks: &mut Marks, certified: crate::Timestamp) {
    marks.seen = marks.seen.max(certified);
    marks.slots.retain(|slot| slot.timestamp > certified);
    marks.abandons.retain(|abandon| abandon.attempt.timestamp > certified);
}

/// Paper: §4.1 write, step 3, and write back: "same as write".
pub(super) fn store(
    entry: CertifiedEntry,
    mut loaded: Loaded,
    cut: &BTreeSet<NodeId>,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    match relation(&entry, &loaded) {
        Relation::Same(stored) => {
            let mut decision = Decision::answer(Answer::Done);
            keep_better(entry, &stored, cut, known, &mut decision);
            decision
        }
        Relation::Conflict(stored) => conflict(&stored, &entry, known, keys),
        Relation::New => {
            let mut decision = Decision::answer(Answer::Done);
            keep_new(entry, &mut loaded, &mut decision);
            decision
        }
    }
}

/// Keeps an entry that was not here.
pub(super) fn keep_new(entry: CertifiedEntry, loaded: &mut Loaded, decision: &mut Decision) {
    take_in(&entry, loaded);
    decision.batch.marks.push((entry.variable().clone(), loaded.state.marks.clone()));
    decision.batch.entries.push(entry);
}

/// Of two copies of one entry, the one with the better backing is kept. Only a better class
/// replaces: so a copy never gets worse, and nobody can cause more than two writes.
pub(super) fn keep_better(
    entry: CertifiedEntry,
    stored: &CertifiedEntry,
    cut: &BTreeSet<NodeId>,
    known: &Configurations,
    decision: &mut Decision,
) {
    if entry.hash() == stored.hash()
        && Backing::of(&entry, known, cut) > Backing::of(stored, known, cut)
    {
        decision.batch.entries.push(entry);
    }
}

/// An entry that is not certified is not stored. But a member that signed it although it signed
/// what is stored at that timestamp is a traitor, whether or not others helped it.
///
/// A lapsed entry that is here is acknowledged: it is on disk.
pub(super) fn suspect(
    entry: &CertifiedEntry,
    refusal: Refusal,
    loaded: &Loaded,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    let stored = match relation(entry, loaded) {
        Relation::Conflict(stored) => stored,
        Relation::Same(_) if refusal == Refusal::Lapsed => return Decision::answer(Answer::Done),
        Relation::Same(_) | Relation::New => return Decision::refuse(refusal),
    };
    let found = conflict(&stored, entry, known, keys);
    if found.accused.is_empty() { Decision::refuse(refusal) } else { found }
}

/// Two certified entries with one (x,t): whoever signed both is guilty.
///
/// Paper: §5, "the node will not only reject the message but revoke all signers including the
/// issuer who have signed on both".
pub(super) fn conflict(
    stored: &CertifiedEntry,
    entry: &CertifiedEntry,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    let proofs = EquivocationProof::of_certified(stored, entry, known, keys);
    let mut decision = Decision::refuse(Refusal::Equivocation(proofs.clone()));
    decision.batch.proofs.clone_from(&proofs);
    decision.accused = proofs;
    decision
}
