//! Asking a quorum what it holds: one of them for the whole entry, the others for which it is.

use std::collections::BTreeSet;
use std::time::Duration;

use super::whole::Wholes;
use super::{Read, Step};
use crate::client::ask::Ask;
use crate::client::candidates::{Held, Shown, has_copy};
use crate::client::hedge::Spare;
use crate::client::{Action, Fault};
use crate::planted::{self, Bug};
use crate::{Answer, CertifiedEntry, NodeId, Outcome, Progress, Request, Verify};

impl Read {
    pub(super) fn begin_round(&mut self, now: Duration) {
        self.round = self.next_round();
        self.wait(now);
    }

    /// Whoever was just asked has so long to answer.
    pub(super) fn wait(&mut self, now: Duration) {
        self.asked = now;
        self.step_ends = now.saturating_add(self.options.round_timeout);
        self.spare = Spare::default();
    }

    pub(super) fn ask(&mut self, now: Duration) {
        self.begin_round(now);
        self.step = Step::Asking(Ask::new(self.round));
        self.wholes = Wholes::default();
        let (mut to, round) = (self.store_members(), self.options.round_timeout);
        let store = [self.configuration.store()];
        self.spare = Spare::out_of(&mut to, &self.options.hedge, store, now, round);
        self.send_read(now, to, true);
    }

    /// Asks those who were held back.
    pub(super) fn ask_spare(&mut self, now: Duration) {
        let spare = self.spare.take();
        let Step::Asking(ask) = &self.step else { return };
        // Whoever was asked for the whole entry may only need its time for it.
        let wants_whole = !has_copy(&ask.answers) && !self.wholes.comes(ask, now);
        self.send_read(now, spare, wants_whole);
    }

    /// When those who were held back are to be asked. While a certificate is looked for no answer
    /// is taken.
    pub(super) fn spare_due(&self) -> Option<Duration> {
        matches!(self.step, Step::Asking(_)).then(|| self.spare.due()).flatten()
    }

    /// Those who were asked cannot make a quorum by themselves any more.
    pub(super) fn ask_spare_if_needed(&mut self, now: Duration) {
        let Step::Asking(ask) = &self.step else { return };
        if ask.needs(self.spare.nodes(), [self.configuration.store()]) {
            self.ask_spare(now);
        }
    }

    /// Those who were silent are asked again; answers that came stay.
    pub(super) fn ask_again(&mut self, now: Duration, keys: &dyn Verify) {
        let members = self.store_members();
        let Step::Asking(ask) = &mut self.step else { return };
        ask.lost.clear();
        // Whoever has a certificate may have been slow to show it.
        self.fetched.clear();
        let (heard, wants_whole) = (ask.answers.nodes(), !has_copy(&ask.answers));
        self.wait(now);
        self.wholes.begin_again();
        self.send_read(now, members.difference(&heard).cloned().collect(), wants_whole);
        self.evaluate(now, keys);
    }

    /// Asks these what they hold. If the whole entry is wanted, one of them is asked for it.
    fn send_read(&mut self, now: Duration, to: BTreeSet<NodeId>, wants_whole: bool) {
        let (whole, digests) = match self.whole_patience() {
            None => (to, BTreeSet::new()),
            Some(patience) => {
                let whole = if wants_whole { self.senders(&to) } else { BTreeSet::new() };
                if !whole.is_empty() {
                    self.wholes.wait_for(&whole, now.saturating_add(patience));
                }
                let digests: BTreeSet<NodeId> = to.difference(&whole).cloned().collect();
                (whole, digests)
            }
        };
        self.wholes.allow_digests(&digests);
        let (variable, at) = (self.variable.clone(), self.options.at);
        let read = Request::Read { variable: variable.clone(), at };
        for (to, request) in [(whole, read), (digests, Request::Digest { variable, at })] {
            if !to.is_empty() {
                let request = Box::new(request);
                self.actions.push_back(Action::Send { round: self.round, to, request });
            }
        }
    }

    pub(super) fn take_entry(
        &mut self,
        now: Duration,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let held = match outcome {
            Some(Ok(Answer::Entry(entry))) => self.check_fit(from, entry),
            Some(Ok(Answer::Digest { timestamp, hash })) if self.wholes.may_name(from) => {
                let fits = self.options.at.is_none_or(|at| at == timestamp);
                if !fits {
                    self.blame(from, Fault::BadEntry);
                }
                fits.then_some(Some(Shown::Digest(timestamp, hash)))
            }
            Some(Ok(_)) => {
                self.blame(from, Fault::BadAnswer);
                None
            }
            Some(Err(_)) | None => None,
        };
        let Step::Asking(ask) = &mut self.step else { return };
        match held {
            Some(held) => note(ask, from, held),
            None => ask.lose(from),
        }
        let few = planted::is(Bug::FewAnswers) && ask.answers.len() > 1;
        if few || ask.progress([self.configuration.store()]) == Progress::Reached {
            self.evaluate(now, keys);
        }
    }

    /// An answer about another variable or version is a lie.
    fn check_fit(&mut self, from: &NodeId, entry: Option<Box<CertifiedEntry>>) -> Option<Held> {
        let Some(entry) = entry else { return Some(None) };
        let fits = *entry.variable() == self.variable
            && self.options.at.is_none_or(|at| at == entry.timestamp());
        if !fits {
            self.blame(from, Fault::BadEntry);
            return None;
        }
        Some(Some(Shown::whole(entry)))
    }
}

/// The first answer of a node stays, except that a whole entry says more than a digest.
fn note(ask: &mut Ask<Held>, from: &NodeId, held: Held) {
    let is_whole = matches!(held, Some(Shown::Whole(..)));
    if is_whole && matches!(ask.answers.answer_of(from), Some(Some(Shown::Digest(..)))) {
        ask.answers.remove(from);
    }
    ask.answers.note(from.clone(), held);
}
