//! The whole of an entry that most have only named: who is asked for it, and what an answer is worth.
//! docs/adr/0020.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Read, Step};
use crate::client::ask::Ask;
use crate::client::candidates::{Candidate, Held, Shown};
use crate::client::{Action, Fault, Round};
use crate::planted::{self, Bug};
use crate::{Answer, EntryHash, NodeId, Outcome, Request, Timestamp, Verify};

/// An entry that somebody has named and nobody has shown.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) timestamp: Timestamp,
    pub(super) hash: EntryHash,
    pub(super) holders: BTreeSet<NodeId>,
    /// So many hold it that it exists: without it there is no result.
    pub(super) exists: bool,
}

impl Wanted {
    pub(super) fn new(candidate: &Candidate<'_>, exists: bool) -> Self {
        let Candidate { timestamp, hash, ref holders, .. } = *candidate;
        Self { timestamp, hash, holders: holders.clone(), exists }
    }
}

/// Who was asked for whole entries, and how long they have before others are asked.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    /// Who may answer with a digest.
    digests: BTreeSet<NodeId>,
    /// Who was asked for whatever it holds, and is waited for.
    awaited: BTreeSet<NodeId>,
    /// Questions for what somebody named that are not answered yet.
    questions: BTreeMap<Round, (NodeId, Timestamp, EntryHash)>,
    /// Who was asked for what since everybody was asked last.
    asked: BTreeSet<(NodeId, EntryHash)>,
    /// Until then nobody else is asked.
    due: Option<Duration>,
}

impl Wholes {
    pub(super) fn allow_digests(&mut self, nodes: &BTreeSet<NodeId>) {
        self.digests.extend(nodes.iter().cloned());
    }

    /// Whether the node was asked for a digest.
    pub(super) fn may_name(&self, node: &NodeId) -> bool {
        self.digests.contains(node)
    }

    pub(super) fn wait_for(&mut self, nodes: &BTreeSet<NodeId>, until: Duration) {
        self.awaited = nodes.clone();
        self.due = Some(until);
    }

    /// Whether somebody who was asked for a whole entry may still answer in good time.
    pub(super) fn comes(&self, ask: &Ask<Held>, now: Duration) -> bool {
        self.is_patient(now) && (self.is_awaited(ask) || !self.questions.is_empty())
    }

    /// Whether this is an answer to a question for the whole of something.
    pub(super) fn has_asked(&self, round: Round, node: &NodeId) -> bool {
        self.questions.get(&round).is_some_and(|(asked, ..)| asked == node)
    }

    /// Everybody may be asked once more; late answers are still welcome.
    pub(super) fn begin_again(&mut self) {
        self.awaited.clear();
        self.asked.clear();
        self.due = None;
    }

    fn is_patient(&self, now: Duration) -> bool {
        self.due.is_some_and(|due| now < due)
    }

    /// Whether an answer that is awaited in good time may bring this entry.
    fn may_bring(&self, hash: EntryHash, ask: &Ask<Held>, now: Duration) -> bool {
        let asked = || self.questions.values().any(|(_, _, wanted)| *wanted == hash);
        self.is_patient(now) && (self.is_awaited(ask) || asked())
    }

    /// Whether somebody was asked for whatever it holds, and has said nothing.
    fn is_awaited(&self, ask: &Ask<Held>) -> bool {
        self.awaited.iter().any(|node| !ask.answers.has(node) && !ask.lost.contains(node))
    }
}

impl Read {
    /// How long whoever was asked for a whole entry has; `None` if everybody is.
    pub(super) fn whole_patience(&self) -> Option<Duration> {
        self.options.whole.patience(self.options.round_timeout)
    }

    /// Whom of these to ask for the whole entry: the quickest, and who is to be tried again.
    pub(super) fn senders(&self, to: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let store = self.configuration.store();
        let slow = |node: &&NodeId| self.options.hedge.slow.contains_key(*node);
        let quick: BTreeSet<NodeId> = to.iter().filter(|node| !slow(node)).cloned().collect();
        let whole = &self.options.whole;
        let first = whole.quickest(store, &quick).or_else(|| whole.quickest(store, to));
        let tried = to.intersection(&whole.also).cloned();
        first.into_iter().chain(tried).collect()
    }

    /// When somebody else is to be asked.
    pub(super) fn whole_due(&self) -> Option<Duration> {
        matches!(self.step, Step::Asking(_)).then_some(self.wholes.due).flatten()
    }

    /// Whoever was asked for a whole entry has had its time.
    pub(super) fn ask_another(&mut self, now: Duration, keys: &dyn Verify) {
        self.wholes.due = None;
        self.evaluate(now, keys);
    }

    /// Asks a holder for the whole entry, unless it may come anyhow. Gives back those whose word is
    /// worth nothing any more: all of them were asked, and none has shown it in good time.
    pub(super) fn want_whole(
        &mut self,
        now: Duration,
        wanted: &Wanted,
        ask: &Ask<Held>,
    ) -> Option<BTreeSet<NodeId>> {
        if self.wholes.may_bring(wanted.hash, ask, now) {
            return None;
        }
        let is_new = |node: &&NodeId| !self.wholes.asked.contains(&((*node).clone(), wanted.hash));
        let left: BTreeSet<NodeId> = wanted.holders.iter().filter(is_new).cloned().collect();
        match self.options.whole.quickest(self.configuration.store(), &left) {
            Some(node) => {
                self.ask_whole(now, node, wanted);
                None
            }
            // It will come, or everybody is asked again.
            None if wanted.exists => None,
            None => Some(wanted.holders.clone()),
        }
    }

    fn ask_whole(&mut self, now: Duration, node: NodeId, wanted: &Wanted) {
        let (timestamp, hash) = (wanted.timestamp, wanted.hash);
        let round = self.next_round();
        self.wholes.asked.insert((node.clone(), hash));
        self.wholes.questions.insert(round, (node.clone(), timestamp, hash));
        let patience = self.whole_patience().unwrap_or_default();
        self.wholes.due = Some(now.saturating_add(patience));
        // Exactly this version: an honest node may have got a newer one since it named this one, and
        // keeps this one too.
        let request = Request::Read { variable: self.variable.clone(), at: Some(timestamp) };
        let (to, request) = (BTreeSet::from([node]), Box::new(request));
        self.actions.push_back(Action::Send { round, to, request });
    }

    /// Takes what a node shows of the entry that it named. A node whose word was not believed any more
    /// because it took too long counts again.
    pub(super) fn take_whole(
        &mut self,
        now: Duration,
        round: Round,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let Some((from, timestamp, hash)) = self.wholes.questions.remove(&round) else { return };
        let (shown, fault) = match outcome {
            Some(Ok(Answer::Entry(Some(entry)))) => {
                let is_it = entry.hash() == hash || planted::is(Bug::DigestUnchecked);
                let fits = *entry.variable() == self.variable && entry.timestamp() == timestamp;
                match is_it && fits {
                    true => (Some(Shown::Whole(hash, entry)), None),
                    false => (None, Some(Fault::BadEntry)),
                }
            }
            // No proof of a lie: it may have lost its memory in between.
            Some(Ok(Answer::Entry(None))) => (None, None),
            Some(Ok(_)) => (None, Some(Fault::BadAnswer)),
            // It may be busy. What it named stays.
            Some(Err(_)) | None => return self.evaluate(now, keys),
        };
        if let Some(fault) = fault {
            self.blame(&from, fault);
        }
        if let Step::Asking(ask) | Step::Fetching(ask) = &mut self.step {
            ask.withdraw(&from);
            if let Some(shown) = shown {
                ask.lost.remove(&from);
                ask.answers.note(from, Some(shown));
            }
        }
        self.evaluate(now, keys);
    }
}
