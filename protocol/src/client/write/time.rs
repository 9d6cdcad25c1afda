//! Step 1 of a write: "get time". Paper: §4.1 write.

use std::time::Duration;

use super::{Step, Write};
use crate::client::ask::Ask;
use crate::client::timestamp_choice::{TimeAnswer, base, proof};
use crate::client::{Fault, Problem};
use crate::{
    Answer, CertifiedEntry, Evidence, NodeId, Outcome, Progress, Purpose, Request, SignedTime,
    TimeStatement, Timestamp, Verify, VerifyError,
};

impl Write {
    /// Paper: §4.1 write, "get time", to a quorum of QS_A.
    pub(super) fn ask_time(&mut self, now: Duration) {
        self.attempt = self.attempt.saturating_add(1);
        self.next_round(now);
        self.step = Step::Timestamps(Ask::new(self.round));
        self.ask_signers(now, self.time_request());
    }

    /// Step 1 is left out by who knows its outcome.
    ///
    /// Differs: the paper asks each time. A writer whose own entry at `last` is stored by a quorum
    /// asks for shares above it. Whatever was acknowledged since has a later timestamp at a quorum,
    /// and so at an honest member of every quorum that could sign, which then refuses (R3).
    pub(super) fn skip_time(&mut self, last: Timestamp) {
        self.attempt = self.attempt.saturating_add(1);
        self.base = last;
        self.reserve();
    }

    pub(super) fn time_request(&self) -> Request {
        Request::Time { variable: self.variable.clone(), evidence: self.asks_evidence() }
    }

    /// The first attempt saves the members a signature; a later one needs the evidence.
    pub(super) fn asks_evidence(&self) -> bool {
        self.attempt > 1
    }

    pub(super) fn take_time(
        &mut self,
        now: Duration,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let answer = match outcome {
            Some(Ok(Answer::Time { seen, latest, signature })) => {
                self.check_time(from, seen, latest, signature, keys)
            }
            Some(Ok(_)) => {
                self.blame(from, Fault::BadAnswer);
                None
            }
            Some(Err(_)) | None => None,
        };
        let Step::Timestamps(ask) = &mut self.step else { return };
        match answer {
            Some(answer) => ask.answers.note(from.clone(), answer),
            None => ask.lose(from),
        }
        match ask.progress(self.configuration.cliques()) {
            Progress::Reached => self.choose_timestamp(),
            Progress::Unreachable => self.back_off(now),
            Progress::Pending => self.ask_spare_if_needed(),
        }
    }

    pub(super) fn check_time(
        &mut self,
        from: &NodeId,
        seen: Timestamp,
        latest: Option<Box<CertifiedEntry>>,
        signature: Option<crate::SignatureBytes>,
        keys: &dyn Verify,
    ) -> Option<TimeAnswer> {
        if let Some(latest) = latest {
            self.learn(from, *latest, keys);
        }
        let Some(signature) = signature else {
            // b+1 answers of which one is not signed prove nothing to a lagging member.
            if self.asks_evidence() {
                self.blame(from, Fault::BadTime);
                return None;
            }
            return Some(TimeAnswer { seen, signed: None });
        };
        let statement = TimeStatement {
            realm: self.configuration.realm().clone(),
            configuration: self.configuration.digest(),
            variable: self.variable.clone(),
            seen,
        };
        match keys.verify(from, Purpose::Time, &statement.signed_bytes(), &signature) {
            Ok(()) => {}
            // Our certificates are at fault, not the member.
            Err(VerifyError::UnknownCertificate(_)) => return None,
            Err(_) => {
                self.blame(from, Fault::BadTime);
                return None;
            }
        }
        Some(TimeAnswer {
            seen,
            signed: Some(SignedTime { signer: from.clone(), seen, signature }),
        })
    }

    /// Paper: §4.1 write, "t <- max(t_i) + 1".
    pub(super) fn choose_timestamp(&mut self) {
        let Step::Timestamps(ask) = &self.step else { return };
        self.base = base(&ask.answers, self.configuration.cliques());
        let times = proof(&ask.answers, self.configuration.cliques());
        self.evidence = Evidence { latest: self.known.clone().map(Box::new), times };
        match self.surely_forbidden() {
            Some(problem) => self.fail(problem),
            None => self.reserve(),
        }
    }

    /// Whether the newest certified entry forbids this write, as far as a round can tell that
    /// asked for evidence. A member that lags behind proves its refusal with an entry that is
    /// certified but no longer the newest; the evidence of a quorum is what corrects it.
    pub(super) fn surely_forbidden(&self) -> Option<Problem> {
        if self.asks_evidence() { self.forbidden() } else { None }
    }

    /// Whether the newest certified entry that this writer knows forbids this write.
    pub(super) fn forbidden(&self) -> Option<Problem> {
        let known = self.known.as_ref()?;
        let last = known.entry();
        if last.writer != self.options.me && last.owner != self.options.owner {
            return Some(Problem::NotOwner(Box::new(known.clone())));
        }
        let same = self.is_final && last.value == self.value;
        (last.is_final && !same).then(|| Problem::Sealed(Box::new(known.clone())))
    }
}
