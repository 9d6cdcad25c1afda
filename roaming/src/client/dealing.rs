//! Hands the shares of a new record to its servers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bftkv_protocol::client::{Fault, Lost};
use bftkv_protocol::{NodeId, Refusal, Request, Response, RoamingAnswer, RoamingRequest};

use super::{Failure, Heard, Problem, open, request};
use crate::record::Enrolled;

/// What the driver is to do: send the request to this one server, and report the answer with
/// [`Dealing::handle_response`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "the driver does all of it")]
#[must_use]
pub struct DealingAction {
    /// To whom.
    pub to: NodeId,
    /// What.
    pub request: Box<Request>,
}

/// Who holds a share now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dealt {
    /// Servers that have theirs on disk.
    pub holding: BTreeSet<NodeId>,
    /// Servers that do not.
    pub missing: BTreeSet<NodeId>,
    /// Whether t+b hold theirs (all, where n = 3b+1): then no b liars among them do harm. If not,
    /// the login is degraded, and shares are to be dealt again at the next one.
    pub is_complete: bool,
    /// Who lied.
    pub culprits: BTreeMap<NodeId, Fault>,
}

/// Hands out shares. Only after it has succeeded may the record be written: it is the point of no
/// return, from which the shares before it are erased.
#[derive(Debug)]
pub struct Dealing {
    nodes: BTreeSet<NodeId>,
    threshold: usize,
    complete_at: usize,
    b: usize,
    holding: BTreeSet<NodeId>,
    /// Who will not hold one, and why.
    lost: BTreeMap<NodeId, Option<Refusal>>,
    culprits: BTreeMap<NodeId, Fault>,
    /// When to go on without those who are silent, if that will do.
    patience: Duration,
    deadline: Duration,
    actions: VecDeque<DealingAction>,
    result: Option<Result<Dealt, Failure>>,
}

impl Dealing {
    /// Begins. Waits for all servers until `patience`, and for enough of them until `deadline`.
    ///
    /// # Errors
    /// [`Problem::Local`]: the record is too long.
    pub fn start(
        enrolled: &Enrolled,
        patience: Duration,
        deadline: Duration,
    ) -> Result<Self, Problem> {
        let record = &enrolled.record;
        let bytes = record.to_bytes()?;
        let deals = record.nodes().iter().zip(&enrolled.shares).map(|(node, share)| {
            let (variable, secret) = (record.variable().clone(), share.secret());
            let deal = RoamingRequest::Deal { variable, record: bytes.clone(), share: secret };
            DealingAction { to: node.clone(), request: request(deal) }
        });
        Ok(Self {
            nodes: record.nodes().iter().cloned().collect(),
            threshold: record.threshold(),
            complete_at: record.complete_at(),
            b: record.thresholds().b(),
            holding: BTreeSet::new(),
            lost: BTreeMap::new(),
            culprits: BTreeMap::new(),
            patience,
            deadline,
            actions: deals.collect(),
            result: None,
        })
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<DealingAction> {
        self.actions.pop_front()
    }

    /// When to call [`Dealing::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let next = if self.is_enough() { self.patience.min(self.deadline) } else { self.deadline };
        self.result.is_none().then_some(next)
    }

    /// The result, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Dealt, Failure>> {
        self.result.as_ref()
    }

    /// Takes an answer.
    pub fn handle_response(
        &mut self,
        now: Duration,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        if self.result.is_some() || !self.nodes.contains(from) || self.holding.contains(from) {
            return;
        }
        match open(response) {
            Heard::Answer(RoamingAnswer::Done) => {
                self.holding.insert(from.clone());
                self.lost.remove(from);
            }
            Heard::Answer(_) | Heard::Lie => {
                self.culprits.insert(from.clone(), Fault::BadAnswer);
                self.lost.insert(from.clone(), None);
            }
            Heard::Refusal(refusal) => {
                self.lost.insert(from.clone(), Some(refusal));
            }
            Heard::Nothing => {
                self.lost.insert(from.clone(), None);
            }
        }
        let heard = self.holding.len().saturating_add(self.lost.len());
        let all = heard >= self.nodes.len();
        if all || (self.is_enough() && now >= self.patience) {
            self.end();
        }
    }

    /// To be called when it is time.
    pub fn handle_timeout(&mut self, now: Duration) {
        let patient = self.is_enough() && now >= self.patience;
        if self.result.is_none() && (now >= self.deadline || patient) {
            self.end();
        }
    }

    /// n-b: nobody can wait for more. With b silent servers that are the faulty ones, t honest ones
    /// hold theirs.
    fn enough(&self) -> usize {
        self.threshold.max(self.nodes.len().saturating_sub(self.b))
    }

    fn is_enough(&self) -> bool {
        self.holding.len() >= self.enough()
    }

    fn end(&mut self) {
        let holding = self.holding.clone();
        let missing: BTreeSet<NodeId> = self.nodes.difference(&holding).cloned().collect();
        let culprits = self.culprits.clone();
        self.result = Some(if self.is_enough() {
            let is_complete = holding.len() >= self.complete_at;
            Ok(Dealt { holding, missing, is_complete, culprits })
        } else {
            let (have, need) = (holding.len(), self.enough());
            let problem = self.refused();
            let problem = problem.unwrap_or(Problem::TooFew { have, need, missing });
            Err(Failure { problem, culprits })
        });
    }

    /// A reason that more than b servers give: an honest one does.
    fn refused(&self) -> Option<Problem> {
        let refusals = self.lost.iter().filter_map(|(node, why)| Some((node, why.clone()?)));
        Problem::agreed(refusals, self.b)
    }
}
