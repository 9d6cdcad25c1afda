//! Rule R3: what a server signs, and how an attempt is given up.

use super::MAX_TIMESTAMP_STEP;
use super::admit::Shown;
use super::decide::{Decision, Loaded, Reply};
use super::store_rule::{Relation, conflict, relation, take_in};
use crate::planted::{self, Bug};
use crate::{
    Abandon, Answer, CertifiedEntry, Configurations, Entry, EntryId, Marks, Refusal,
    ShareStatement, SignedEntry, Slot, Timestamp, Verify,
};

/// Paper: §4.1 write, step 2, "check TOFU; s_i <- Sign(Priv_qi, <x,t,v,sig>)", and §3.2.
///
/// "The same signed entry again" is signed again only if t >= seen(x), so only while it is the newest
/// that this member knows of. All slots that were read back from others lie below seen(x)
/// ([`crate::client::Recovered::join`]): this member may have signed something else at their
/// timestamps, or never have seen them. They block, and are never repeated.
pub(super) fn sign(
    entry: &SignedEntry,
    attempt: &EntryId,
    shown: &Shown,
    mut loaded: Loaded,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    let statement = ShareStatement::about(&entry.entry, attempt.hash, known.newest().digest());
    let mut decision = Decision::reply(Reply::Share(statement));
    if let Err(found) = store_shown(shown, &mut loaded, &mut decision, known, keys) {
        return *found;
    }
    let before = loaded.state.marks.clone();
    if before.slot(attempt).is_some() && attempt.timestamp >= before.seen {
        return with_marks(decision, &attempt.variable, before);
    }
    make_room(&entry.entry, &mut loaded);
    if let Err(refusal) = may_sign(entry, shown, &loaded) {
        decision.reply = Reply::Plain(Err(refusal));
        return with_marks(decision, &attempt.variable, before);
    }
    let marks = &mut loaded.state.marks;
    marks.seen = attempt.timestamp;
    marks.slots.push(Slot::named(entry, attempt.hash));
    decision.batch.marks = vec![(attempt.variable.clone(), loaded.state.marks)];
    decision
}

/// Forgets slots of the owner that the new one makes superfluous, so that their limit never locks
/// an owner out of its own variable. What was signed at their timestamps stays covered by seen(x).
///
/// * A Final cannot be given up, so each failed try to write once would leave one. The new slot,
///   with the same value and a higher t, stays outstanding at least as long as the old one and
///   allows no more.
/// * A slot that is not Final blocks other owners. Where x has a certified entry of this owner they
///   are refused anyway, so the oldest yields to the limit.
fn make_room(entry: &Entry, loaded: &mut Loaded) {
    let slots = &mut loaded.state.marks.slots;
    if entry.is_final {
        let value = entry.value.digest();
        let is_older_try = |s: &Slot| s.is_final && s.owner == entry.owner && s.value == value;
        slots.retain(|slot| !is_older_try(slot));
    }
    let owns = loaded.state.latest.as_ref().is_some_and(|l| l.entry().owner == entry.owner);
    let own = slots.iter().filter(|slot| slot.owner == entry.owner).count();
    if owns && own >= Slot::MAX_PER_OWNER {
        let is_oldest = |slot: &Slot| slot.owner == entry.owner && !slot.is_final;
        if let Some(oldest) = slots.iter().position(is_oldest) {
            slots.remove(oldest);
        }
    }
}

/// The certified entry that the request carries is stored first.
fn store_shown(
    shown: &Shown,
    loaded: &mut Loaded,
    decision: &mut Decision,
    known: &Configurations,
    keys: &dyn Verify,
) -> Result<(), Box<Decision>> {
    let Some(latest) = &shown.latest else { return Ok(()) };
    match relation(latest, loaded) {
        Relation::Same(_) => Ok(()),
        Relation::Conflict(stored) => Err(Box::new(conflict(&stored, latest, known, keys))),
        Relation::New => {
            take_in(latest, loaded);
            decision.batch.entries.push(latest.clone());
            Ok(())
        }
    }
}

/// If evidence was stored, the marks that it changed are stored with it.
fn with_marks(mut decision: Decision, variable: &crate::Variable, marks: Marks) -> Decision {
    if !decision.batch.entries.is_empty() {
        decision.batch.marks = vec![(variable.clone(), marks)];
    }
    decision
}

/// The sentences of rule R3, in their order.
fn may_sign(entry: &SignedEntry, shown: &Shown, loaded: &Loaded) -> Result<(), Refusal> {
    let entry = &entry.entry;
    if let Some(latest) = &loaded.state.latest {
        check_sealed(entry, latest)?;
        check_tofu(entry, latest)?;
    }
    let marks = &loaded.state.marks;
    if entry.timestamp <= marks.seen && !planted::is(Bug::OldTimestamps) {
        return Err(Refusal::OldTimestamp { seen: marks.seen });
    }
    check_bound(entry.timestamp, shown, marks)?;
    check_slots(entry, marks)
}

/// Nothing follows a certified Final but the same value, again Final.
fn check_sealed(entry: &Entry, latest: &CertifiedEntry) -> Result<(), Refusal> {
    let same = entry.is_final && entry.value == latest.entry().value;
    if latest.entry().is_final && !same && !planted::is(Bug::SealIgnored) {
        return Err(Refusal::Sealed(Box::new(latest.clone())));
    }
    Ok(())
}

/// Trust on first use: the same certificate, or the same address, which [`super::admit()`] has
/// found proven by a quorum certificate.
///
/// Paper: §4.1, "only when the client's identity is the same as the previous one the new value
/// will be accepted to get signed".
fn check_tofu(entry: &Entry, latest: &CertifiedEntry) -> Result<(), Refusal> {
    let last = latest.entry();
    let is_owner = entry.writer == last.writer || entry.owner == last.owner;
    if !is_owner && !planted::is(Bug::NoTofu) {
        return Err(Refusal::NotOwner(Box::new(latest.clone())));
    }
    Ok(())
}

fn check_bound(t: Timestamp, shown: &Shown, marks: &Marks) -> Result<(), Refusal> {
    let limit = marks.seen.max(shown.attested).saturating_add(MAX_TIMESTAMP_STEP);
    if t > limit && !planted::is(Bug::NoBound) {
        Err(Refusal::TimestampTooFar { limit })
    } else {
        Ok(())
    }
}

fn check_slots(entry: &Entry, marks: &Marks) -> Result<(), Refusal> {
    let is_own = |slot: &&Slot| slot.owner == entry.owner || slot.writer == entry.writer;
    let (own, others): (Vec<&Slot>, Vec<&Slot>) = marks.slots.iter().partition(is_own);
    if !others.is_empty() && !planted::is(Bug::SlotsIgnored) {
        return Err(Refusal::Outstanding(others.into_iter().cloned().collect()));
    }
    let value = entry.value.digest();
    let breaks = |slot: &&&Slot| slot.is_final && !(entry.is_final && slot.value == value);
    let broken = own.iter().find(breaks).filter(|_| !planted::is(Bug::FinalForgotten));
    if let Some(slot) = broken {
        return Err(Refusal::OutstandingFinal(Box::new((*slot).clone())));
    }
    if own.len() >= Slot::MAX_PER_OWNER && !planted::is(Bug::EndlessSlots) {
        return Err(Refusal::TooManySlots(own.into_iter().cloned().collect()));
    }
    Ok(())
}

/// An abandon message passes the same checks and bound as a sign request, raises seen(x) durably,
/// and is kept so that others can relay it.
pub(super) fn abandon(
    abandon: Abandon,
    shown: &Shown,
    mut loaded: Loaded,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    let mut decision = Decision::answer(Answer::Done);
    if let Err(found) = store_shown(shown, &mut loaded, &mut decision, known, keys) {
        return *found;
    }
    let variable = abandon.attempt.variable.clone();
    if let Err(refusal) = may_abandon(&abandon, shown, &loaded) {
        decision.reply = Reply::Plain(Err(refusal));
        return with_marks(decision, &variable, loaded.state.marks);
    }
    give_up(abandon, &mut loaded);
    decision.batch.marks = vec![(variable, loaded.state.marks)];
    decision
}

fn may_abandon(abandon: &Abandon, shown: &Shown, loaded: &Loaded) -> Result<(), Refusal> {
    let marks = &loaded.state.marks;
    if let Some(slot) = marks.slot(&abandon.attempt) {
        // A Final stays: its owner could otherwise break its own seal.
        return if slot.is_final && !planted::is(Bug::FinalGivenUp) {
            Err(Refusal::FinalStays)
        } else if slot.writer == abandon.writer {
            Ok(())
        } else {
            Err(Refusal::SenderNotWriter)
        };
    }
    if let Some(latest) = &loaded.state.latest {
        let last = latest.entry();
        if abandon.writer != last.writer && abandon.owner != last.owner {
            return Err(Refusal::NotOwner(Box::new(latest.clone())));
        }
    }
    check_bound(abandon.attempt.timestamp, shown, marks)
}

fn give_up(abandon: Abandon, loaded: &mut Loaded) {
    let marks = &mut loaded.state.marks;
    let attempt = &abandon.attempt;
    if !planted::is(Bug::AbandonForgotten) {
        marks.seen = marks.seen.max(attempt.timestamp);
    }
    marks.slots.retain(|s| !(s.timestamp == attempt.timestamp && s.hash == attempt.hash));
    let certified = loaded.state.latest.as_ref().map_or(Timestamp::ZERO, CertifiedEntry::timestamp);
    // Anybody can name another's attempt as his own; that must not keep the true message out.
    let same = |kept: &Abandon| kept.attempt == *attempt && kept.writer == abandon.writer;
    let known = marks.abandons.iter().any(same);
    if !known && attempt.timestamp > certified {
        marks.abandons.push(abandon);
        marks.abandons.sort_by_key(|kept| kept.attempt.timestamp);
        let extra = marks.abandons.len().saturating_sub(Marks::MAX_ABANDONS);
        marks.abandons.drain(..extra);
    }
}
