//! Notes in the writer's memory, of all operations that run at the same time together: they share
//! its lock, its syncs and a signature (docs/adr/0016).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bftkv_protocol::{Entry, EntryId, MAX_BATCH, Variable};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::drive::Event;
use super::inner::Inner;
use crate::together::Together;

/// What is to be looked up or kept.
pub(super) enum Note {
    /// Attempts on the variable that a crashed process of this home left behind.
    Leftovers(Variable, oneshot::Sender<Vec<EntryId>>),
    Reserve(Entry, UnboundedSender<Event>),
    Assembled(EntryId, UnboundedSender<Event>),
    Settled(EntryId),
}

/// What waits for the writer's memory.
pub(super) struct Notes {
    waiting: Together<Note>,
    /// Whether somebody will look soon.
    is_called: AtomicBool,
}

impl Default for Notes {
    fn default() -> Self {
        Self { waiting: Together::new(MAX_BATCH), is_called: AtomicBool::new(false) }
    }
}

impl Inner {
    /// Takes a note soon; what comes of it is sent to whoever asked.
    pub(super) fn note(self: &Arc<Self>, note: Note) {
        let nobody_is_at_it = self.notes.waiting.add(note);
        if !nobody_is_at_it || self.notes.is_called.swap(true, Ordering::AcqRel) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            // Operations that were woken by the same answer all have their say before.
            yield_now().await;
            inner.notes.is_called.store(false, Ordering::Release);
            tokio::task::spawn_blocking(move || {
                while inner.notes.waiting.turn(|notes| inner.take_notes(notes)).is_some() {}
            });
        });
    }

    /// Looks for attempts on the variable that a crashed process of this home left behind.
    pub(super) async fn leftovers(self: &Arc<Self>, variable: &Variable) -> Vec<EntryId> {
        let (reply_to, reply) = oneshot::channel();
        self.note(Note::Leftovers(variable.clone(), reply_to));
        reply.await.unwrap_or_default()
    }

    /// An attempt is reserved before it is assembled, and assembled before it is settled, and each
    /// is heard of before the next is asked for: so the order within one turn is free.
    fn take_notes(&self, notes: Vec<Note>) {
        let (mut asked, mut reserved, mut assembled) = (Vec::new(), Vec::new(), Vec::new());
        let mut settled = Vec::new();
        for note in notes {
            match note {
                Note::Leftovers(variable, reply_to) => asked.push((variable, reply_to)),
                Note::Reserve(entry, events) => reserved.push((entry, events)),
                Note::Assembled(attempt, events) => assembled.push((attempt, events)),
                Note::Settled(attempt) => settled.push(attempt),
            }
        }
        self.answer_leftovers(asked);
        if !settled.is_empty() {
            self.settle_all(&settled);
        }
        if !reserved.is_empty() {
            let (entries, events): (Vec<_>, Vec<UnboundedSender<Event>>) =
                reserved.into_iter().unzip();
            let outcomes = self
                .reserve_many(entries)
                .unwrap_or_else(|error| events.iter().map(|_| Err(error.clone())).collect());
            for (events, outcome) in events.into_iter().zip(outcomes) {
                let _ = events.send(Event::Reserved(outcome));
            }
        }
        if !assembled.is_empty() {
            let (attempts, events): (Vec<EntryId>, Vec<UnboundedSender<Event>>) =
                assembled.into_iter().unzip();
            let outcomes = self.record_all_assembled(&attempts);
            for (events, outcome) in events.into_iter().zip(outcomes) {
                let _ = events.send(Event::Recorded(outcome));
            }
        }
    }

    fn answer_leftovers(&self, asked: Vec<(Variable, oneshot::Sender<Vec<EntryId>>)>) {
        if asked.is_empty() {
            return;
        }
        let variables: BTreeSet<Variable> = asked.iter().map(|(name, _)| name.clone()).collect();
        let found = self.leftovers_of(&variables);
        for (variable, reply_to) in asked {
            let of_it = found.iter().filter(|attempt| attempt.variable == variable);
            let _ = reply_to.send(of_it.cloned().collect());
        }
    }
}
