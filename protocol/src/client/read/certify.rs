//! What was read and cannot be written back because its signers were cut out is certified again
//! first. docs/adr/0015.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Read, Step};
use crate::client::repair::{Repair, RepairOptions, Repaired};
use crate::client::{Action, Lost, Round};
use crate::{CertifiedEntry, NodeId, Response, Verify};

impl Read {
    /// A node has refused the write-back as lapsed. If it lied, everybody vouches as he would have
    /// acknowledged, and nothing is lost but a round.
    pub(super) fn certify(&mut self, entry: CertifiedEntry) {
        let options = RepairOptions {
            cut: self.options.cut.clone(),
            deadline: self.options.deadline,
            round_timeout: self.options.round_timeout,
        };
        self.round = self.next_round();
        let known = Arc::clone(&self.configurations);
        let repair = Repair::start(self.asked, self.round, known, entry, options);
        self.step = Step::Certifying(Box::new(repair));
        self.follow();
    }

    pub(super) fn take_certifying(
        &mut self,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        let Step::Certifying(repair) = &mut self.step else { return };
        repair.handle_response(round, from, response, keys);
        self.follow();
    }

    pub(super) fn certify_again(&mut self, now: Duration) {
        let Step::Certifying(repair) = &mut self.step else { return };
        repair.handle_timeout(now);
        self.wait(now);
        self.follow();
    }

    /// Does what the certifying asks for, and what follows from its end.
    fn follow(&mut self) {
        let Step::Certifying(repair) = &mut self.step else { return };
        while let Some(action) = repair.poll() {
            // A refresh is answered to this machine, which then asks anew.
            self.elsewhere.refreshing |= action == Action::Refresh;
            self.actions.push_back(action);
        }
        self.round = repair.round();
        for (node, fault) in repair.culprits() {
            self.culprits.entry(node.clone()).or_insert(*fault);
        }
        let Some(result) = repair.result() else { return };
        match result.clone() {
            Ok(Repaired::Again(entry)) => self.finish(Some(*entry)),
            Ok(Repaired::Nowhere) => {
                self.nowhere.insert(repair.entry().hash());
                self.ask(self.asked);
            }
            Err(error) => {
                self.step = Step::Finished;
                let culprits = std::mem::take(&mut self.culprits);
                self.result = Some(Err(super::ClientError { culprits, ..error }));
            }
        }
    }

    /// Under a new configuration it begins anew, as a write-back.
    pub(super) fn certify_elsewhere(&mut self, now: Duration, entry: CertifiedEntry) {
        self.begin_round(now);
        self.write_back(entry, &BTreeSet::new());
    }
}
