//! How a write ends when it does not succeed, and how it waits for another attempt.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Step, Write};
use crate::NodeId;
use crate::client::ask::shortfall;
use crate::client::refused::Obstacle;
use crate::client::{ClientError, Phase, Problem};

impl Write {
    /// The deadline has come. What a round that it cut short lacks says little: an obstacle that
    /// an earlier, complete one met is the better explanation.
    pub(super) fn expire(&mut self) {
        let earlier = self.obstacle.clone();
        match &self.step {
            Step::Finished => return,
            Step::Recording(certified) | Step::Storing(certified, _) => {
                let good = match &self.step {
                    Step::Storing(_, ask) => ask.answers.nodes(),
                    _ => BTreeSet::new(),
                };
                let groups = self.groups();
                let (have, need, missing) = shortfall(&good, groups);
                let timestamp = certified.timestamp();
                self.fail(Problem::Unknown { timestamp, have, need, missing });
                return;
            }
            // A question that was just asked tells less than a whole round before it.
            Step::Timestamps(ask) if self.obstacle == Obstacle::None => {
                self.note_silence(Phase::Time, &ask.not_lost(&self.authority()));
            }
            Step::Signing(_) => {
                // There is no time for another round: a refusal with a proof explains most.
                if let Some(problem) = self.drop_attempt().or_else(|| self.forbidden()) {
                    self.fail(problem);
                    return;
                }
            }
            Step::Timestamps(_) | Step::Reserving | Step::BackingOff => {}
        }
        let is_silence = matches!(self.obstacle, Obstacle::Silence(..));
        if is_silence && earlier != Obstacle::None {
            self.obstacle = earlier;
        }
        let problem = match self.other_configuration() {
            Some(problem) => problem,
            None => std::mem::replace(&mut self.obstacle, Obstacle::None).into_problem(),
        };
        self.fail(problem);
    }

    pub(super) fn note_silence(&mut self, phase: Phase, good: &BTreeSet<NodeId>) {
        let (have, need, missing) = shortfall(good, self.configuration.cliques());
        self.obstacle = Obstacle::Silence(phase, have, need, missing);
    }

    pub(super) fn other_configuration(&self) -> Option<Problem> {
        self.elsewhere.problem(self.configuration.cliques())
    }

    pub(super) fn back_off(&mut self, now: Duration) {
        if let Step::Timestamps(ask) = &self.step {
            let good = ask.not_lost(&self.authority());
            self.note_silence(Phase::Time, &good);
        }
        if let Some(problem) = self.other_configuration() {
            self.fail(problem);
            return;
        }
        self.round = self.round.saturating_add(1);
        let wait = self.jitter.backoff(self.options.backoff, self.attempt);
        self.step = Step::BackingOff;
        self.step_ends = now.saturating_add(wait);
    }

    pub(super) fn fail(&mut self, problem: Problem) {
        let culprits = std::mem::take(&mut self.culprits);
        self.step = Step::Finished;
        self.result = Some(Err(ClientError { problem, culprits }));
    }
}
