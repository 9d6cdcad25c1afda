//! Certifying an entry again whose signers were cut out: collects vouches of those who store it.
//! docs/adr/0015.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, Elsewhere, check_proofs, convict, open_response, shortfall};
use super::{Action, ClientError, Fault, Lost, Phase, Problem, Round};
use crate::vouch::is_believed;
use crate::{
    Answer, CertifiedEntry, CollectiveSignature, Configuration, Configurations, Group, NodeId,
    Outcome, Progress, Refusal, Request, Response, SignatureShare, Verify, VerifyError,
    VouchStatement,
};

/// How patiently to certify again.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct RepairOptions {
    /// Nodes that were cut out: they are not asked, and their vouches do not count.
    pub cut: BTreeSet<NodeId>,
    /// When to give up, on the driver's clock.
    pub deadline: Duration,
    /// How long one round of questions may take before those who are silent are asked again.
    pub round_timeout: Duration,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repaired {
    /// The entry with the vouches of a quorum of every clique; a quorum of every group stores it.
    Again(Box<CertifiedEntry>),
    /// A quorum of the store group lacks the entry and does not take it: it was never complete, so
    /// nobody was ever told that it was written, and nobody has read it.
    Nowhere,
}

/// One entry that is certified again.
#[derive(Debug)]
pub struct Repair {
    configurations: Arc<Configurations>,
    configuration: Arc<Configuration>,
    entry: CertifiedEntry,
    options: RepairOptions,
    step: Step,
    step_ends: Duration,
    round: Round,
    elsewhere: Elsewhere,
    culprits: BTreeMap<NodeId, Fault>,
    actions: VecDeque<Action>,
    result: Option<Result<Repaired, ClientError>>,
}

#[derive(Debug)]
enum Step {
    /// Collects vouches.
    Collecting(Collecting),
    /// Brings the entry with its new S to everybody.
    Storing(Box<CertifiedEntry>, Ask<()>),
    /// It is over.
    Finished,
}

#[derive(Debug)]
struct Collecting {
    ask: Ask<SignatureShare>,
    /// Who lacks the entry, and takes it only if it is shown the vouches of others.
    lapsed: BTreeSet<NodeId>,
    /// Who was shown those in this round.
    shown: BTreeSet<NodeId>,
}

impl Repair {
    /// Begins to have a valid entry certified again by the members of the newest configuration.
    /// Rounds are numbered from `round` on.
    #[must_use]
    pub fn start(
        now: Duration,
        round: Round,
        configurations: Arc<Configurations>,
        entry: CertifiedEntry,
        options: RepairOptions,
    ) -> Self {
        let (lapsed, shown) = (BTreeSet::new(), BTreeSet::new());
        let mut repair = Self {
            configuration: Arc::clone(configurations.newest()),
            configurations,
            entry,
            step_ends: now.saturating_add(options.round_timeout),
            options,
            step: Step::Collecting(Collecting { ask: Ask::new(round), lapsed, shown }),
            round,
            elsewhere: Elsewhere::default(),
            culprits: BTreeMap::new(),
            actions: VecDeque::new(),
            result: None,
        };
        repair.ask_vouches(repair.everyone());
        repair
    }

    /// The next thing to do. Drain it after every call.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Repair::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.result.is_none().then(|| self.step_ends.min(self.options.deadline))
    }

    /// The result, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Repaired, ClientError>> {
        self.result.as_ref()
    }

    /// Who lied on the way, and how.
    #[must_use]
    pub fn culprits(&self) -> &BTreeMap<NodeId, Fault> {
        &self.culprits
    }

    /// The entry that is certified again.
    #[must_use]
    pub fn entry(&self) -> &CertifiedEntry {
        &self.entry
    }

    /// The round that is going on.
    pub(super) fn round(&self) -> Round {
        self.round
    }

    /// Takes an answer to [`Action::Send`].
    pub fn handle_response(
        &mut self,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        let counts = self.configuration.has_member(from) && !self.options.cut.contains(from);
        if round != self.round || !counts {
            return;
        }
        let (elsewhere, culprits) = (&mut self.elsewhere, &mut self.culprits);
        let outcome = open_response(&self.configuration, from, response, elsewhere, culprits);
        if self.elsewhere.wants_refresh() {
            self.actions.push_back(Action::Refresh);
        }
        match &self.step {
            Step::Collecting(_) => self.take_vouch(from, outcome, keys),
            Step::Storing(..) => self.take_acknowledgement(from, outcome, keys),
            Step::Finished => {}
        }
    }

    /// To be called when the time of [`Repair::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if now >= self.options.deadline {
            self.expire();
        } else if now >= self.step_ends {
            self.step_ends = now.saturating_add(self.options.round_timeout);
            self.ask_again();
        }
    }

    // ----- collecting vouches -----

    fn ask_vouches(&mut self, to: BTreeSet<NodeId>) {
        let Step::Collecting(collecting) = &mut self.step else { return };
        let vouches = collecting.ask.answers.iter().map(|(_, vouch)| vouch.clone()).collect();
        let request = Request::Vouch {
            entry: Box::new(self.entry.clone()),
            vouches: CollectiveSignature::new(self.configuration.vouched(), vouches),
        };
        self.actions.push_back(Action::Send { round: self.round, to, request: Box::new(request) });
    }

    fn take_vouch(&mut self, from: &NodeId, outcome: Option<Outcome>, keys: &dyn Verify) {
        let vouch = match outcome {
            Some(Ok(Answer::Vouch(vouch))) => self.check_vouch(from, vouch, keys),
            Some(Err(Refusal::Lapsed)) => {
                let Step::Collecting(collecting) = &mut self.step else { return };
                collecting.lapsed.insert(from.clone());
                return self.go_on();
            }
            other => {
                self.heed(from, other, keys);
                None
            }
        };
        let Step::Collecting(collecting) = &mut self.step else { return };
        match vouch {
            Some(vouch) => collecting.ask.answers.note(from.clone(), vouch),
            None => collecting.ask.lose(from),
        }
        self.go_on();
    }

    fn check_vouch(
        &mut self,
        from: &NodeId,
        vouch: SignatureShare,
        keys: &dyn Verify,
    ) -> Option<SignatureShare> {
        let statement = VouchStatement::about(&self.entry.signed, &self.configuration);
        let verdict = if vouch.signer == *from {
            statement.verify(&vouch, keys)
        } else {
            let reason = "a vouch of somebody else".to_owned();
            Err(VerifyError::Bad { signer: from.clone(), reason })
        };
        match verdict {
            Ok(()) => return Some(vouch),
            // Our certificates are at fault, not the member.
            Err(VerifyError::UnknownCertificate(_)) => {}
            Err(_) => self.blame(from, Fault::BadShare),
        }
        None
    }

    /// What an answer without a vouch says, besides that there is none.
    fn heed(&mut self, from: &NodeId, outcome: Option<Outcome>, keys: &dyn Verify) {
        match outcome {
            Some(Err(Refusal::Equivocation(proofs))) => {
                let (known, culprits) = (&self.configurations, &mut self.culprits);
                let proofs = check_proofs(from, proofs, known, keys, culprits);
                convict(proofs, culprits, &mut self.actions);
            }
            Some(Ok(_)) => self.blame(from, Fault::BadAnswer),
            Some(Err(_)) | None => {}
        }
    }

    fn go_on(&mut self) {
        let Step::Collecting(collecting) = &mut self.step else { return };
        if collecting.ask.progress(groups(&self.configuration)) == Progress::Reached {
            return self.store();
        }
        if is_believed(&collecting.ask.answers.nodes(), &self.configuration) {
            let new: BTreeSet<NodeId> =
                collecting.lapsed.difference(&collecting.shown).cloned().collect();
            collecting.shown.extend(new.iter().cloned());
            if !new.is_empty() {
                self.ask_vouches(new);
            }
        } else {
            let store = self.configuration.store();
            if store.count(&collecting.lapsed) >= store.thresholds().q() {
                self.finish(Ok(Repaired::Nowhere));
            }
        }
    }

    // ----- storing -----

    /// A quorum of every group has it on disk and says so: the vouches of the cliques are the new S.
    fn store(&mut self) {
        let Step::Collecting(Collecting { ask, .. }) = &self.step else { return };
        let of_cliques = ask
            .answers
            .iter()
            .filter(|(id, _)| self.configuration.clique_of(id).is_some())
            .map(|(_, vouch)| vouch.clone());
        let collective =
            CollectiveSignature::new(self.configuration.vouched(), of_cliques.collect());
        let again = CertifiedEntry { signed: self.entry.signed.clone(), collective };
        self.round = self.round.saturating_add(1);
        self.step = Step::Storing(Box::new(again), Ask::new(self.round));
        self.ask_to_store(self.everyone());
    }

    fn ask_to_store(&mut self, to: BTreeSet<NodeId>) {
        let Step::Storing(entry, _) = &self.step else { return };
        let request = Box::new(Request::Store { entry: (**entry).clone() });
        self.actions.push_back(Action::Send { round: self.round, to, request });
    }

    fn take_acknowledgement(&mut self, from: &NodeId, outcome: Option<Outcome>, keys: &dyn Verify) {
        let is_done = matches!(outcome, Some(Ok(Answer::Done)));
        if !is_done {
            self.heed(from, outcome, keys);
        }
        let Step::Storing(entry, ask) = &mut self.step else { return };
        if is_done {
            ask.answers.note(from.clone(), ());
        } else {
            ask.lose(from);
        }
        if ask.progress(groups(&self.configuration)) == Progress::Reached {
            let entry = entry.clone();
            self.finish(Ok(Repaired::Again(entry)));
        }
    }

    // ----- time -----

    /// Those who have not done what they were asked are asked again.
    fn ask_again(&mut self) {
        let everyone = self.everyone();
        match &mut self.step {
            Step::Collecting(collecting) => {
                collecting.ask.lost.clear();
                collecting.lapsed.clear();
                collecting.shown.clear();
                let heard = collecting.ask.answers.nodes();
                self.ask_vouches(everyone.difference(&heard).cloned().collect());
            }
            Step::Storing(_, ask) => {
                ask.lost.clear();
                let heard = ask.answers.nodes();
                self.ask_to_store(everyone.difference(&heard).cloned().collect());
            }
            Step::Finished => {}
        }
    }

    fn expire(&mut self) {
        let good = match &self.step {
            Step::Finished => return,
            Step::Collecting(collecting) => collecting.ask.answers.nodes(),
            Step::Storing(_, ask) => ask.answers.nodes(),
        };
        let (have, need, missing) = shortfall(&good, groups(&self.configuration));
        let problem = Problem::Unreachable { phase: Phase::Certify, have, need, missing };
        let culprits = std::mem::take(&mut self.culprits);
        self.finish(Err(ClientError { problem, culprits }));
    }

    fn finish(&mut self, result: Result<Repaired, ClientError>) {
        self.step = Step::Finished;
        self.result = Some(result);
    }

    fn everyone(&self) -> BTreeSet<NodeId> {
        self.configuration.everyone().difference(&self.options.cut).cloned().collect()
    }

    fn blame(&mut self, node: &NodeId, fault: Fault) {
        self.culprits.entry(node.clone()).or_insert(fault);
    }
}

/// All of them: what is certified again is stored by a quorum of each, as after a write.
fn groups(configuration: &Configuration) -> impl Iterator<Item = &Group> {
    configuration.cliques().iter().chain([configuration.store()])
}
