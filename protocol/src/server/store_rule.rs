//! Rule R4: what a server stores.

use super::decide::{Decision, Loaded};
use crate::planted::{self, Bug};
use crate::{Answer, CertifiedEntry, Configurations, EquivocationProof, Marks, Refusal, Verify};

/// How a valid certified entry relates to what is stored.
pub(super) enum Relation {
    /// It is stored already.
    Same,
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
        Some(_) if planted::is(Bug::EquivocationIgnored) => Relation::Same,
        Some(stored) if stored.hash() == entry.hash() => Relation::Same,
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
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    match relation(&entry, &loaded) {
        Relation::Same => Decision::answer(Answer::Done),
        Relation::Conflict(stored) => conflict(&stored, &entry, known, keys),
        Relation::New => {
            take_in(&entry, &mut loaded);
            let mut decision = Decision::answer(Answer::Done);
            decision.batch.marks.push((entry.variable().clone(), loaded.state.marks));
            decision.batch.entries.push(entry);
            decision
        }
    }
}

/// An entry that is not certified is not stored. But a member that signed it although it signed
/// what is stored at that timestamp is a traitor, whether or not others helped it.
pub(super) fn suspect(
    entry: &CertifiedEntry,
    refusal: Refusal,
    loaded: &Loaded,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    let Relation::Conflict(stored) = relation(entry, loaded) else {
        return Decision::refuse(refusal);
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
