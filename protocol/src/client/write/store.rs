//! Step 3 of a write: "write". Paper: §4.1 write.

use std::time::Duration;

use super::{Step, Write, Written};
use crate::client::ask::Ask;
use crate::client::{Action, Fault, RETRY_CHANGING};
use crate::planted::{self, Bug};
use crate::{Answer, CertifiedEntry, NodeId, Outcome, Progress, Refusal, Request, Verify};

impl Write {
    /// Paper: §4.1 write, "write", to the clique and to the store group.
    ///
    /// Differs: the text stores outside the cliques only; signers would then not know who owns x.
    pub(super) fn store(&mut self, now: Duration, certified: Box<CertifiedEntry>) {
        self.next_round(now);
        let request = Request::Store { entry: (*certified).clone() };
        self.step = Step::Storing(certified, Ask::new(self.round));
        self.send(self.everyone(), request);
    }

    pub(super) fn take_acknowledgement(
        &mut self,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let Step::Storing(certified, ask) = &mut self.step else { return };
        match outcome {
            Some(Ok(Answer::Done)) => ask.answers.note(from.clone(), ()),
            Some(Ok(_)) => {
                ask.lose(from);
                self.blame(from, Fault::BadAnswer);
                return;
            }
            Some(Err(refusal)) => {
                ask.lose(from);
                if refusal == Refusal::Changing {
                    self.step_ends = self.step_ends.min(self.asked.saturating_add(RETRY_CHANGING));
                }
                self.heed(from, refusal, keys);
                return;
            }
            None => {
                ask.lose(from);
                return;
            }
        }
        let groups = self.configuration.cliques().iter().chain([self.configuration.store()]);
        let few = planted::is(Bug::FewAcknowledgements) && ask.answers.len() > 1;
        if few || ask.progress(groups) == Progress::Reached {
            let entry = (**certified).clone();
            self.actions.push_back(Action::Settle(entry.signed.id()));
            let culprits = std::mem::take(&mut self.culprits);
            let written = Written { timestamp: entry.timestamp(), entry, culprits };
            self.step = Step::Finished;
            self.result = Some(Ok(written));
        }
    }

    /// Asks those again who have not acknowledged, until the deadline.
    pub(super) fn store_again(&mut self, now: Duration) {
        let everyone = self.everyone();
        let Step::Storing(certified, ask) = &mut self.step else { return };
        ask.lost.clear();
        let good = ask.answers.nodes();
        let request = Request::Store { entry: (**certified).clone() };
        self.asked = now;
        self.step_ends = now.saturating_add(self.options.round_timeout);
        self.send(everyone.difference(&good).cloned().collect(), request);
    }
}
