//! Entries that are to be certified again: what a member vouches for (docs/adr/0015).

use std::collections::BTreeSet;

use super::admit::{Context, Task, check_certified};
use super::decide::{Decision, Loaded, Reply};
use super::store_rule::{Relation, conflict, keep_better, keep_new, relation};
use crate::vouch::is_believed;
use crate::{
    Backing, CertifiedEntry, CollectiveSignature, Configurations, NodeId, Refusal, Verify,
    VouchStatement,
};

/// Checks a request for a vouch. Anybody may bring one: the entry proves itself.
pub(super) fn admit(
    entry: CertifiedEntry,
    vouches: &CollectiveSignature,
    context: &Context<'_>,
) -> Result<Task, Refusal> {
    if !context.configuration().has_member(context.me) {
        return Err(Refusal::NotMember);
    }
    let backing = check_certified(&entry, context)?;
    let storable = backing != Backing::Lapsed || is_vouched_for(&entry, vouches, context);
    Ok(Task::Vouch { entry, cut: context.cut.clone(), storable })
}

/// Whether b+1 members of one group of the configuration in force vouch for the entry, none of them
/// cut out: one of them is honest, and has it on disk because it was certified.
///
/// Stops at the first vouch that is not valid: whoever collected them has checked them.
fn is_vouched_for(
    entry: &CertifiedEntry,
    vouches: &CollectiveSignature,
    context: &Context<'_>,
) -> bool {
    let configuration = context.configuration();
    if vouches.configuration() != configuration.vouched() {
        return false;
    }
    let counts = |id: &NodeId| configuration.has_member(id) && !context.cut.contains(id);
    let uncut = || vouches.shares().iter().filter(|vouch| counts(&vouch.signer));
    // Counted before they are checked: a list that is too short costs no verification.
    if !is_believed(&uncut().map(|vouch| vouch.signer.clone()).collect(), configuration) {
        return false;
    }
    let statement = VouchStatement::about(&entry.signed, configuration);
    uncut().all(|vouch| statement.verify(vouch, context.keys).is_ok())
}

/// Vouches for what is on disk, and for nothing else: the entry is stored first, if it may be.
pub(super) fn vouch(
    entry: CertifiedEntry,
    mut loaded: Loaded,
    cut: &BTreeSet<NodeId>,
    storable: bool,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    let statement = VouchStatement::about(&entry.signed, known.newest());
    let mut decision = Decision::reply(Reply::Vouch(statement));
    match relation(&entry, &loaded) {
        Relation::Same(stored) => keep_better(entry, &stored, cut, known, &mut decision),
        Relation::New if storable => keep_new(entry, &mut loaded, &mut decision),
        Relation::New => return Decision::refuse(Refusal::Lapsed),
        Relation::Conflict(stored) => return conflict(&stored, &entry, known, keys),
    }
    decision
}
