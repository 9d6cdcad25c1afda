//! Which entry the answers come to.

use std::collections::BTreeSet;
use std::time::Duration;

use super::whole::Wanted;
use super::{Read, Step};
use crate::client::ask::{Ask, convict};
use crate::client::candidates::{Candidate, Held, newest_first};
use crate::client::{Action, Fault};
use crate::planted::{self, Bug};
use crate::{CertifiedEntry, EquivocationProof, NodeId, Progress, Tally, Verify, verify_certified};

impl Read {
    /// Paper: §4.1 read, "discard pairs that do not have sufficient number of valid signatures;
    /// choose a pair with maximum timestamp".
    pub(super) fn evaluate(&mut self, now: Duration, keys: &dyn Verify) {
        let step = std::mem::replace(&mut self.step, Step::Finished);
        let Step::Asking(mut ask) = step else {
            self.step = step;
            return;
        };
        let few = |ask: &Ask<Held>| planted::is(Bug::FewAnswers) && ask.answers.len() > 1;
        while few(&ask) || ask.progress([self.configuration.store()]) == Progress::Reached {
            match self.pick(&ask.answers, keys) {
                Pick::Entry(entry, holders) => return self.conclude(*entry, &holders),
                Pick::Absent => return self.finish(None),
                Pick::Fetch(ids, shown_by) => {
                    self.actions.push_back(Action::Fetch(ids.clone()));
                    self.fetching = Some(Fetching { ids, shown_by });
                    self.step = Step::Fetching(ask);
                    return;
                }
                Pick::Withdraw(holders) => holders.iter().for_each(|node| ask.withdraw(node)),
                Pick::Discount(liars) => liars.iter().for_each(|node| discount(&mut ask, node)),
                Pick::Whole(wanted) => match self.want_whole(now, &wanted, &ask) {
                    Some(unbelieved) => unbelieved.iter().for_each(|node| ask.withdraw(node)),
                    None => break,
                },
            }
        }
        self.step = Step::Asking(ask);
    }

    fn pick(&mut self, answers: &Tally<Held>, keys: &dyn Verify) -> Pick {
        let candidates = newest_first(answers);
        let enough = self.configuration.store().thresholds().one_honest();
        for candidate in &candidates {
            // One of b+1 is honest, and has verified what it stores.
            let vouched = candidate.holders.len() >= enough;
            if !vouched && self.nowhere.contains(&candidate.hash) {
                return Pick::Withdraw(candidate.holders.clone());
            }
            let Some((_, first)) = candidate.copies.first() else {
                if planted::is(Bug::DigestSkipped) {
                    continue;
                }
                return Pick::Whole(Wanted::new(candidate, vouched));
            };
            let checked = if vouched && !self.needs_proof(first, candidate) {
                Checked::Valid((*first).clone())
            } else {
                self.check(candidate, keys)
            };
            match checked {
                Checked::Valid(entry) => {
                    return self.decide_on(entry, candidate, &candidates, keys);
                }
                Checked::Missing(ids) => return Pick::Fetch(ids, candidate.showers()),
                Checked::Unbacked(ids) => {
                    let showers = candidate.showers();
                    self.blame_unbacked(&showers, &ids);
                    return Pick::Withdraw(showers);
                }
                Checked::Bad => {
                    if let Some(pick) = self.pass_over(candidate) {
                        return pick;
                    }
                }
            }
        }
        Pick::Absent
    }

    /// A rival at its timestamp must be seen first: if both are valid, somebody has signed both.
    fn decide_on(
        &mut self,
        entry: CertifiedEntry,
        chosen: &Candidate<'_>,
        candidates: &[Candidate<'_>],
        keys: &dyn Verify,
    ) -> Pick {
        let unseen = |c: &&Candidate<'_>| {
            c.timestamp == chosen.timestamp && c.hash != chosen.hash && c.copies.is_empty()
        };
        match candidates.iter().find(unseen) {
            Some(rival) if !planted::is(Bug::DigestSkipped) => {
                Pick::Whole(Wanted::new(rival, false))
            }
            _ => {
                self.report_equivocation(candidates, &entry, keys);
                Pick::Entry(Box::new(entry), chosen.holders.clone())
            }
        }
    }

    /// Every copy that was shown is bad. Who only named the entry may have a good one.
    fn pass_over(&mut self, candidate: &Candidate<'_>) -> Option<Pick> {
        if planted::is(Bug::DigestOfBadCopyIsLie) {
            self.blame_all(&candidate.holders, Fault::BadEntry);
            return None;
        }
        let liars = candidate.showers();
        self.blame_all(&liars, Fault::BadEntry);
        let has_namers = liars.len() < candidate.holders.len();
        has_namers.then_some(Pick::Discount(liars))
    }

    /// Whoever stores an entry has checked it and keeps its writer's certificate. One who shows
    /// an entry and answers that it has no such certificate made it up; one who was silent may
    /// be slow. Neither answer can count.
    fn blame_unbacked(&mut self, showers: &BTreeSet<NodeId>, ids: &BTreeSet<NodeId>) {
        let without = ids.iter().filter_map(|id| self.fetched.get(id)).flatten();
        let liars: BTreeSet<NodeId> = without.filter(|id| showers.contains(*id)).cloned().collect();
        self.blame_all(&liars, Fault::BadEntry);
    }

    /// Whether a valid S is needed, and not only the certainty that there is one: members that
    /// agree on <x,t,v,s_C> each bring an S of their own.
    fn needs_proof(&self, first: &CertifiedEntry, candidate: &Candidate<'_>) -> bool {
        self.options.proof || !self.is_settled(first, &candidate.holders)
    }

    /// Whether a quorum holds the entry already, so that nothing needs to be written back.
    fn is_settled(&self, entry: &CertifiedEntry, holders: &BTreeSet<NodeId>) -> bool {
        let store = self.configuration.store();
        let held = store.count(holders) >= store.thresholds().q();
        // A Final must also be known to the signers, who else could let something follow it.
        let sealed_here = entry.entry().is_final && !self.configuration.store_is_authority();
        self.options.at.is_some() || (held && !sealed_here)
    }

    /// Looks for a copy with a valid S.
    fn check(&self, candidate: &Candidate<'_>, keys: &dyn Verify) -> Checked {
        let mut missing = BTreeSet::new();
        for (_, copy) in &candidate.copies {
            match verify_certified(copy, &self.configurations, keys) {
                _ if planted::is(Bug::ReadUnverified) => return Checked::Valid((*copy).clone()),
                Ok(()) => return Checked::Valid((*copy).clone()),
                Err(invalid) => missing.extend(invalid.missing_certificate().cloned()),
            }
        }
        if missing.is_empty() {
            return Checked::Bad;
        }
        let is_new = missing.iter().all(|id| !self.fetched.contains_key(id));
        if is_new && self.fetching.is_none() {
            Checked::Missing(missing)
        } else {
            Checked::Unbacked(missing)
        }
    }

    /// Paper: §4.1 read, "revoke all signers who have signed <t,v> and <t,v'>".
    fn report_equivocation(
        &mut self,
        candidates: &[Candidate<'_>],
        chosen: &CertifiedEntry,
        keys: &dyn Verify,
    ) {
        let hash = chosen.hash();
        let rivals = candidates
            .iter()
            .filter(|c| c.timestamp == chosen.timestamp() && c.hash != hash)
            .flat_map(|c| &c.copies)
            .map(|(_, copy)| copy);
        for rival in rivals {
            let proofs = EquivocationProof::of_certified(chosen, rival, &self.configurations, keys);
            convict(proofs, &mut self.culprits, &mut self.actions);
        }
    }

    fn conclude(&mut self, entry: CertifiedEntry, holders: &BTreeSet<NodeId>) {
        if self.is_settled(&entry, holders) {
            self.finish(Some(entry));
        } else {
            self.write_back(entry, holders);
        }
    }
}

/// Whoever was caught lying counts as one that has nothing: that is the worst that it could have said.
fn discount(ask: &mut Ask<Held>, liar: &NodeId) {
    ask.answers.remove(liar);
    ask.answers.note(liar.clone(), None);
}

/// A search for certificates.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) ids: BTreeSet<NodeId>,
    /// Who had shown an entry that needs them when the search began: an honest one has them.
    pub(super) shown_by: BTreeSet<NodeId>,
}

enum Checked {
    Valid(CertifiedEntry),
    /// A certificate is missing that was not looked for yet.
    Missing(BTreeSet<NodeId>),
    /// A certificate is missing that could not be found.
    Unbacked(BTreeSet<NodeId>),
    Bad,
}

/// What the answers come to.
enum Pick {
    Entry(Box<CertifiedEntry>, BTreeSet<NodeId>),
    Absent,
    /// Which certificates to look for, and who showed an entry that needs them.
    Fetch(BTreeSet<NodeId>, BTreeSet<NodeId>),
    /// Whose answers do not count.
    Withdraw(BTreeSet<NodeId>),
    /// Who has lied, about an entry that others have only named.
    Discount(BTreeSet<NodeId>),
    /// What somebody has to show.
    Whole(Wanted),
}
