//! What must hold in every run. One file for each property; each names its source.
//!
//! While a run goes on, everything that matters is shown to each invariant as an
//! `Observation`; at the end each is asked once more with the history of the clients.

mod acknowledged;
mod bounded;
mod certificates;
mod deadline;
mod failed_writes;
mod final_stays;
mod framing;
mod guesses;
mod linearizable;
mod one_owner;
mod one_value;
mod owner_only;
mod signed_again;
mod writer_slots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::Fault;
use bftkv_protocol::{
    Address, CertifiedEntry, Configuration, ConfigurationDigest, ElementBytes, EntryId, Marks,
    NodeId, Nonce, ShareStatement, SignedEntry, VouchStatement,
};

use bftkv_roaming::Record;

use crate::oracle::{History, Operation};

/// What happened.
#[derive(Debug)]
pub(crate) enum Observation<'a> {
    /// An honest node lets a share leave.
    Share {
        node: &'a NodeId,
        subkey: u8,
        statement: &'a ShareStatement,
        durable: bool,
        slots: &'a Marks,
    },
    /// An honest node lets a vouch leave; `stored`: the entry is on its disk.
    Vouched { node: &'a NodeId, statement: &'a VouchStatement, stored: bool },
    /// A certified entry is on the disk of an honest node.
    Stored { node: &'a NodeId, entry: &'a CertifiedEntry },
    /// The home of an honest writer signed an entry.
    WriterSigned { entry: &'a SignedEntry },
    /// An honest writer knows all shares of an attempt.
    Assembled { attempt: &'a EntryId },
    /// An honest writer gives an attempt up; `assembled`: it had all its shares.
    Abandoned { attempt: &'a EntryId, assembled: bool },
    /// An honest node lets an evaluation of a password leave; `known`: to a certificate of the owner.
    Evaluated {
        node: &'a NodeId,
        /// Which of its memories it speaks from.
        memory: u64,
        asker: &'a NodeId,
        record: &'a Record,
        known: bool,
        element: &'a ElementBytes,
        nonce: Nonce,
        /// How many days have passed.
        days: u64,
    },
    /// An honest node has seen that the password of this evaluation was right.
    Proven { node: &'a NodeId, nonce: Nonce },
    /// Somebody honest believes a proof.
    Accused { by: &'a NodeId, guilty: &'a NodeId },
    /// An operation names a culprit.
    Blamed { by: &'a str, who: &'a NodeId, fault: Fault },
    /// An operation has ended, under this configuration.
    Ended { operation: &'a Operation, configuration: &'a Configuration },
}

/// Who is who in a run.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// All configurations that have their votes.
    pub(crate) configurations: BTreeMap<ConfigurationDigest, Arc<Configuration>>,
    /// All nodes, members or guests.
    pub(crate) nodes: BTreeSet<NodeId>,
    /// Byzantine nodes and users.
    pub(crate) traitors: BTreeSet<NodeId>,
    /// The keys of all users, and the address in the user ID of each.
    pub(crate) users: BTreeMap<NodeId, Address>,
    /// More nodes lie than the configuration tolerates: only framing is still forbidden.
    pub(crate) over_budget: bool,
}

impl Facts {
    /// Whether a node or a writer is honest.
    pub(crate) fn is_honest(&self, id: &NodeId) -> bool {
        let is_somebody = self.users.contains_key(id) || self.nodes.contains(id);
        is_somebody && !self.traitors.contains(id)
    }

    pub(crate) fn note_configuration(&mut self, configuration: &Arc<Configuration>) {
        self.configurations.insert(configuration.digest(), Arc::clone(configuration));
    }

    /// Whether the entry was certified again, by vouches.
    pub(crate) fn is_vouched(&self, entry: &CertifiedEntry) -> bool {
        let named = entry.collective.configuration();
        self.configurations.values().any(|configuration| configuration.vouched() == named)
    }

    /// Whether these honest signers and all traitors together make a collective signature under
    /// this configuration.
    pub(crate) fn could_certify(
        &self,
        honest: &BTreeSet<NodeId>,
        configuration: &ConfigurationDigest,
    ) -> bool {
        let Some(configuration) = self.configurations.get(configuration) else { return false };
        configuration.cliques().iter().all(|clique| {
            let signers = clique.count(honest.union(&self.traitors));
            signers >= clique.thresholds().q()
        })
    }
}

/// One property.
pub(crate) trait Invariant: std::fmt::Debug {
    /// The property as a sentence.
    fn name(&self) -> &'static str;

    /// Looks at what happened.
    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        let _ = (facts, observation);
        Ok(())
    }

    /// Looks back at the end.
    fn finish(&mut self, facts: &Facts, history: &History) -> Result<(), String> {
        let _ = (facts, history);
        Ok(())
    }
}

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The property, as a sentence.
    pub invariant: &'static str,
    /// When it was found, in simulated time.
    pub at: Duration,
    /// What was found.
    pub detail: String,
}

/// All who watch.
#[derive(Debug)]
pub(crate) struct Watch {
    facts: Facts,
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    convicted: BTreeSet<NodeId>,
    signed_again: signed_again::SignedAgain,
}

impl Watch {
    pub(crate) fn new(facts: Facts) -> Self {
        let mut invariants: Vec<Box<dyn Invariant>> = vec![Box::new(framing::NoFraming)];
        if !facts.over_budget {
            invariants.extend(within_budget());
        }
        Self {
            facts,
            invariants,
            violations: Vec::new(),
            convicted: BTreeSet::new(),
            signed_again: signed_again::SignedAgain::default(),
        }
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    /// How many keys somebody honest holds a proof against.
    pub(crate) fn convicted(&self) -> u64 {
        u64::try_from(self.convicted.len()).unwrap_or(u64::MAX)
    }

    /// How often a certificate signed a second value for one (x,t) with a fresh subkey, and how
    /// often all writers of them were honest.
    pub(crate) fn signed_again(&self) -> (u64, u64) {
        self.signed_again.counts()
    }

    pub(crate) fn note(&mut self, now: Duration, observation: &Observation<'_>) {
        self.signed_again.note(&self.facts, observation);
        if let Observation::Accused { guilty, .. } = observation {
            self.convicted.insert((*guilty).clone());
        }
        for invariant in &mut self.invariants {
            if let Err(detail) = invariant.note(&self.facts, observation) {
                add(&mut self.violations, invariant.name(), now, detail);
            }
        }
    }

    /// Notes a violation that somebody else found.
    pub(crate) fn fail(&mut self, now: Duration, invariant: &'static str, detail: String) {
        if !self.facts.over_budget {
            add(&mut self.violations, invariant, now, detail);
        }
    }

    /// Asks everybody once more.
    pub(crate) fn finish(mut self, now: Duration, history: &History) -> Vec<Violation> {
        for invariant in &mut self.invariants {
            if let Err(detail) = invariant.finish(&self.facts, history) {
                add(&mut self.violations, invariant.name(), now, detail);
            }
        }
        self.violations
    }
}

/// The first violation of each property is kept.
fn add(violations: &mut Vec<Violation>, invariant: &'static str, at: Duration, detail: String) {
    if violations.iter().all(|known| known.invariant != invariant) {
        violations.push(Violation { invariant, at, detail });
    }
}

fn within_budget() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(acknowledged::Acknowledged::default()),
        Box::new(bounded::Bounded),
        Box::new(certificates::Certificates::default()),
        Box::new(deadline::Deadline),
        Box::new(failed_writes::FailedWrites::default()),
        Box::new(final_stays::FinalStays::default()),
        Box::new(guesses::Guesses::default()),
        Box::new(linearizable::Linearizable),
        Box::new(one_owner::OneOwner::default()),
        Box::new(one_value::OneValue::default()),
        Box::new(owner_only::OwnerOnly::default()),
        Box::new(writer_slots::WriterSlots::default()),
    ]
}
