//! Logs in: from a password and a record to keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use bftkv_protocol::client::{Fault, Lost};
use bftkv_protocol::{
    Evaluated, LoginPurpose, NodeId, Nonce, Refusal, Request, Response, RoamingAnswer,
    RoamingRefusal, RoamingRequest,
};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use super::{Failure, Heard, Problem, open, request};
use crate::dleq::Dleq;
use crate::oprf::{Blinded, Evaluation};
use crate::record::Record;
use crate::sharing::Index;
use crate::stretch::Keys;
use crate::{Error, Password, login};

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct LoginOptions {
    /// The asker's own certificate.
    pub requester: NodeId,
    /// What the login is for.
    pub purpose: LoginPurpose,
    /// How long to wait for an answer before asking again; the same question is free.
    pub round: Duration,
    /// When to give up.
    pub deadline: Duration,
}

/// What the driver is to do.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "the driver does all of them")]
#[must_use]
pub enum LoginAction {
    /// Send the request to these servers; report each answer with [`Login::handle_response`].
    Send {
        /// To whom.
        to: BTreeSet<NodeId>,
        /// What.
        request: Box<Request>,
    },
    /// Store the certified entry with the record at this server, which does not have it yet; then
    /// call [`Login::handle_shown`].
    Show(NodeId),
    /// Run it, on a thread that may work for a while; then call [`Login::handle_stretched`].
    Stretch(Box<Stretch>),
}

/// Argon2id and what follows.
pub struct Stretch {
    record: Record,
    output: Zeroizing<[u8; 64]>,
}

impl fmt::Debug for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stretch(..)")
    }
}

impl Stretch {
    /// Derives the keys; `None`: the password was wrong.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn run(self) -> Result<Option<Keys>, Error> {
        self.record.keys(&self.output)
    }
}

/// A login that succeeded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoggedIn {
    /// The keys.
    pub keys: Keys,
    /// Servers that hold no share of this record: they are to be dealt one.
    pub lacking: BTreeSet<NodeId>,
    /// Who lied, and how.
    pub culprits: BTreeMap<NodeId, Fault>,
}

#[derive(Debug)]
enum State {
    Evaluating,
    Stretching,
    Proving(Box<Keys>),
    Over,
}

/// A login. The result is there before it is over: it goes on to give the attempts back that it
/// used at the servers.
#[derive(Debug)]
pub struct Login {
    record: Record,
    password: Password,
    options: LoginOptions,
    blinded: Blinded,
    state: State,
    checked: BTreeMap<Index, Evaluation>,
    /// Who has counted an attempt, under which nonce, and how many are left there.
    sessions: BTreeMap<NodeId, (Nonce, u16)>,
    /// Who has not answered yet what it was asked last.
    awaited: BTreeSet<NodeId>,
    /// Who was silent once: it is asked once more.
    silent: BTreeSet<NodeId>,
    /// From whom nothing good will come.
    lost: BTreeSet<NodeId>,
    lacking: BTreeSet<NodeId>,
    exhausted: BTreeMap<NodeId, u64>,
    newer: BTreeSet<NodeId>,
    shown: BTreeSet<NodeId>,
    culprits: BTreeMap<NodeId, Fault>,
    again_at: Duration,
    actions: VecDeque<LoginAction>,
    result: Option<Result<LoggedIn, Failure>>,
}

impl Login {
    /// Begins: asks all servers of the record, which is as it was read from the store.
    ///
    /// # Errors
    /// [`Problem::Local`]: the system gives no randomness. Nobody was asked.
    pub fn start(
        now: Duration,
        record: Record,
        password: Password,
        options: LoginOptions,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, Problem> {
        let blinded = Blinded::new(&password, rng)?;
        let again_at = now.saturating_add(options.round);
        let mut login = Self {
            record,
            password,
            options,
            blinded,
            state: State::Evaluating,
            checked: BTreeMap::new(),
            sessions: BTreeMap::new(),
            awaited: BTreeSet::new(),
            silent: BTreeSet::new(),
            lost: BTreeSet::new(),
            lacking: BTreeSet::new(),
            exhausted: BTreeMap::new(),
            newer: BTreeSet::new(),
            shown: BTreeSet::new(),
            culprits: BTreeMap::new(),
            again_at,
            actions: VecDeque::new(),
            result: None,
        };
        let everyone = login.nodes();
        login.ask(everyone);
        Ok(login)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<LoginAction> {
        self.actions.pop_front()
    }

    /// When to call [`Login::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match self.state {
            State::Over => None,
            State::Evaluating => Some(self.again_at.min(self.options.deadline)),
            State::Stretching | State::Proving(_) => Some(self.options.deadline),
        }
    }

    /// The result, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Result<LoggedIn, Failure>> {
        self.result.as_ref()
    }

    /// Whether there is nothing left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Takes an answer.
    pub fn handle_response(&mut self, from: &NodeId, response: Result<Response, Lost>) {
        let Some(index) = self.record.index_of(from) else { return };
        if self.is_over() {
            return;
        }
        self.awaited.remove(from);
        match open(response) {
            Heard::Answer(RoamingAnswer::Evaluated(evaluated)) => {
                self.take_evaluation(from, index, &evaluated);
            }
            // The attempt was given back.
            Heard::Answer(RoamingAnswer::Done) if self.sessions.contains_key(from) => {}
            Heard::Answer(_) | Heard::Lie => self.blame(from),
            Heard::Refusal(refusal) => self.take_refusal(from, refusal),
            Heard::Nothing => {
                if !self.silent.insert(from.clone()) {
                    self.lost.insert(from.clone());
                }
            }
        }
        self.go_on();
    }

    /// The entry was stored at this server, or could not be.
    pub fn handle_shown(&mut self, at: &NodeId) {
        // Also while the keys are derived: it may turn out to hold no share.
        if matches!(self.state, State::Evaluating | State::Stretching) {
            self.ask([at.clone()].into());
        } else {
            self.awaited.remove(at);
            self.go_on();
        }
    }

    /// Takes what [`Stretch::run`] gave.
    pub fn handle_stretched(&mut self, keys: Result<Option<Keys>, Error>) {
        if !matches!(self.state, State::Stretching) {
            return;
        }
        match keys {
            Ok(Some(keys)) => {
                let (lacking, culprits) = (self.lacking.clone(), self.culprits.clone());
                self.result = Some(Ok(LoggedIn { keys: keys.clone(), lacking, culprits }));
                self.state = State::Proving(Box::new(keys));
                let sessions: Vec<NodeId> = self.sessions.keys().cloned().collect();
                sessions.iter().for_each(|node| self.prove(node));
                self.go_on();
            }
            Ok(None) => self.fail(Problem::WrongPassword { left: self.left() }),
            Err(error) => self.fail(Problem::Local(error)),
        }
    }

    /// To be called when it is time.
    pub fn handle_timeout(&mut self, now: Duration) {
        if now >= self.options.deadline {
            match self.state {
                State::Evaluating => self.give_up(),
                State::Proving(_) => self.state = State::Over,
                State::Stretching | State::Over => {}
            }
        } else if matches!(self.state, State::Evaluating) && now >= self.again_at {
            self.again_at = now.saturating_add(self.options.round);
            let silent = self.waiting();
            self.ask(silent);
        }
    }

    fn nodes(&self) -> BTreeSet<NodeId> {
        self.record.nodes().iter().cloned().collect()
    }

    /// Those who may still answer.
    fn waiting(&self) -> BTreeSet<NodeId> {
        let mut nodes = self.nodes();
        nodes.retain(|node| !self.lost.contains(node) && !self.sessions.contains_key(node));
        nodes
    }

    fn ask(&mut self, to: BTreeSet<NodeId>) {
        if to.is_empty() {
            return;
        }
        self.awaited.extend(to.iter().cloned());
        let variable = self.record.variable().clone();
        let (record, element) = (self.record.id(), self.blinded.element());
        let request = request(RoamingRequest::Evaluate { variable, record, element });
        self.actions.push_back(LoginAction::Send { to, request });
    }

    fn take_evaluation(&mut self, from: &NodeId, index: Index, evaluated: &Evaluated) {
        let proof = Dleq::from_bytes(&evaluated.proof);
        let checked = proof.and_then(|proof| {
            self.blinded.check(self.record.commitments(), index, &evaluated.element, &proof)
        });
        match checked {
            Err(_) => self.blame(from),
            Ok(evaluation) if !self.sessions.contains_key(from) => {
                self.checked.insert(index, evaluation);
                self.sessions.insert(from.clone(), (evaluated.nonce, evaluated.left));
                self.prove(from);
            }
            Ok(_) => {}
        }
    }

    fn take_refusal(&mut self, from: &NodeId, refusal: Refusal) {
        if self.sessions.contains_key(from) {
            // It does not give the attempt back.
            return;
        }
        match refusal {
            Refusal::Roaming(RoamingRefusal::OtherRecord { epoch }) => {
                let is_newer = epoch.is_some_and(|epoch| epoch > self.record.epoch());
                if is_newer {
                    self.newer.insert(from.clone());
                } else if self.shown.insert(from.clone()) {
                    self.awaited.insert(from.clone());
                    self.actions.push_back(LoginAction::Show(from.clone()));
                    return;
                } else {
                    self.lacking.insert(from.clone());
                }
                self.lost.insert(from.clone());
            }
            Refusal::Roaming(RoamingRefusal::NoShare) => {
                self.lacking.insert(from.clone());
                self.lost.insert(from.clone());
            }
            Refusal::Roaming(RoamingRefusal::NoAttempts { seconds }) => {
                self.exhausted.insert(from.clone(), seconds);
                self.lost.insert(from.clone());
            }
            // Asked again at the next round.
            Refusal::Busy | Refusal::CatchingUp | Refusal::Changing => {}
            _ => {
                self.lost.insert(from.clone());
            }
        }
    }

    fn blame(&mut self, node: &NodeId) {
        self.culprits.insert(node.clone(), Fault::BadAnswer);
        self.lost.insert(node.clone());
    }

    /// Shows one server that the password was right, so that it gives the attempt back.
    fn prove(&mut self, node: &NodeId) {
        let State::Proving(keys) = &self.state else { return };
        let Some((nonce, _)) = self.sessions.get(node) else { return };
        let LoginOptions { requester, purpose, .. } = &self.options;
        let proof = login::prove(&self.record, keys, *purpose, requester, node, *nonce);
        self.awaited.insert(node.clone());
        let variable = self.record.variable().clone();
        let request = request(RoamingRequest::Prove { variable, proof });
        self.actions.push_back(LoginAction::Send { to: [node.clone()].into(), request });
    }

    fn go_on(&mut self) {
        match self.state {
            State::Evaluating => self.combine(),
            State::Proving(_) if self.awaited.is_empty() => self.state = State::Over,
            State::Proving(_) | State::Stretching | State::Over => {}
        }
    }

    fn combine(&mut self) {
        let threshold = self.record.threshold();
        if self.checked.len() >= threshold {
            match self.blinded.finish(&self.password, threshold, &self.checked) {
                Ok(output) => {
                    let record = self.record.clone();
                    self.state = State::Stretching;
                    self.actions
                        .push_back(LoginAction::Stretch(Box::new(Stretch { record, output })));
                }
                Err(error) => self.fail(Problem::Local(error)),
            }
            return;
        }
        let possible = self.record.nodes().len().saturating_sub(self.lost.len());
        if possible < threshold || self.newer.len() > self.record.thresholds().b() {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        let (have, need) = (self.checked.len(), self.record.threshold());
        let mut missing = self.nodes();
        missing.retain(|node| !self.sessions.contains_key(node));
        let more_than_b = |count: usize| count > self.record.thresholds().b();
        let problem = if more_than_b(self.newer.len()) {
            Problem::Outdated
        } else if more_than_b(self.exhausted.len()) {
            let mut waits: Vec<u64> = self.exhausted.values().copied().collect();
            waits.sort_unstable();
            // As many must come back as are missing; liars may say too little or too much.
            let missing = need.saturating_sub(have).saturating_sub(1);
            let seconds = waits.get(missing).or(waits.last()).copied().unwrap_or(0);
            Problem::NoAttempts { exhausted: waits.len(), have, need, seconds }
        } else {
            Problem::TooFew { have, need, missing }
        };
        self.fail(problem);
    }

    /// How many further attempts there are: t servers must allow each.
    fn left(&self) -> u16 {
        let mut left: Vec<u16> = self.sessions.values().map(|(_, left)| *left).collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        let last = self.record.threshold().saturating_sub(1);
        left.get(last).copied().unwrap_or(0)
    }

    fn fail(&mut self, problem: Problem) {
        self.state = State::Over;
        self.actions.clear();
        self.result = Some(Err(Failure { problem, culprits: self.culprits.clone() }));
    }
}
