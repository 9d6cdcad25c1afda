//! What was read is stored at a quorum before it is returned. Paper: §4.1 read, "write back".

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Read, Step};
use crate::client::ask::{Ask, check_proofs, convict};
use crate::client::{Action, Consistency, Fault};
use crate::{Answer, CertifiedEntry, NodeId, Progress, Refusal, Request, Verify};

impl Read {
    /// Paper: §4.1 read, "write back". Differs: it is waited for, so that reads are linearizable.
    pub(super) fn write_back(&mut self, entry: CertifiedEntry, holders: &BTreeSet<NodeId>) {
        let everyone: BTreeSet<NodeId> =
            self.configuration.everyone().difference(&self.options.cut).cloned().collect();
        let to: BTreeSet<NodeId> = everyone.difference(holders).cloned().collect();
        let request = Box::new(Request::Store { entry: entry.clone() });
        if self.options.consistency == Consistency::Regular {
            self.actions.push_back(Action::Post { to, request });
            self.finish(Some(entry));
            return;
        }
        self.round = self.next_round();
        let mut ask = Ask::new(self.round);
        holders.iter().for_each(|id| ask.answers.note(id.clone(), ()));
        self.step = Step::WritingBack(Box::new(entry), ask);
        self.actions.push_back(Action::Send { round: self.round, to, request });
        // The holders may be enough already: a Final that a quorum of signers is known to have.
        self.finish_if_written_back();
    }

    fn finish_if_written_back(&mut self) {
        let Step::WritingBack(entry, ask) = &self.step else { return };
        let groups = self.configuration.cliques().iter().chain([self.configuration.store()]);
        if ask.progress(groups) == Progress::Reached {
            let entry = (**entry).clone();
            self.finish(Some(entry));
        }
    }

    pub(super) fn take_acknowledgement(
        &mut self,
        from: &NodeId,
        outcome: Option<crate::Outcome>,
        keys: &dyn Verify,
    ) {
        let Step::WritingBack(entry, ask) = &mut self.step else { return };
        match outcome {
            Some(Err(Refusal::Lapsed)) => {
                let entry = (**entry).clone();
                return self.certify(entry);
            }
            Some(Ok(Answer::Done)) => ask.answers.note(from.clone(), ()),
            Some(Err(Refusal::Equivocation(proofs))) => {
                ask.lose(from);
                let culprits = &mut self.culprits;
                let proofs = check_proofs(from, proofs, &self.configurations, keys, culprits);
                convict(proofs, culprits, &mut self.actions);
                return;
            }
            Some(Ok(_)) => {
                ask.lose(from);
                self.blame(from, Fault::BadAnswer);
                return;
            }
            Some(Err(_)) | None => {
                ask.lose(from);
                return;
            }
        }
        self.finish_if_written_back();
    }

    pub(super) fn write_back_again(&mut self, now: Duration) {
        let Step::WritingBack(entry, ask) = &mut self.step else { return };
        ask.lost.clear();
        let good = ask.answers.nodes();
        let everyone = self.configuration.everyone();
        let to = everyone
            .difference(&self.options.cut)
            .filter(|id| !good.contains(*id))
            .cloned()
            .collect();
        let request = Box::new(Request::Store { entry: (**entry).clone() });
        self.wait(now);
        self.actions.push_back(Action::Send { round: self.round, to, request });
    }
}
