//! A bench for one server: what it knows, what it is asked, and what follows, as a line of text.
//!
//! The line names what is made durable, then the answer, then who is accused:
//! `keep 5, seen 7 slots [7] | share 7`. Nothing durable means nothing before the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::server::{Admitted, Context, Loaded, Reply, Server, ServerAction, admit};
use bftkv_protocol::{
    Abandon, Answer, Batch, CertifiedEntry, Configuration, Configurations, Marks, NodeId, Outcome,
    Refusal, Request, SignedEntry, Slot, Timestamp, VariableState,
};

use crate::fixtures::{Keys, People, Person, alone, node, t};

/// What a server holds of the variable "x".
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) entries: Vec<CertifiedEntry>,
    pub(crate) marks: Marks,
}

impl State {
    /// Nothing was ever written.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    pub(crate) fn seen(mut self, seen: u64) -> Self {
        self.marks.seen = self.marks.seen.max(t(seen));
        self
    }

    pub(crate) fn holds(mut self, entry: &CertifiedEntry) -> Self {
        self.entries.push(entry.clone());
        self.seen(entry.timestamp().get())
    }

    pub(crate) fn signed(mut self, entry: &SignedEntry) -> Self {
        self.marks.slots.push(slot(entry));
        self.seen(entry.entry.timestamp.get())
    }

    pub(crate) fn abandoned(mut self, abandon: &Abandon) -> Self {
        self.marks.abandons.push(abandon.clone());
        self.seen(abandon.attempt.timestamp.get())
    }

    pub(crate) fn load(&self, version: Option<Timestamp>) -> Loaded {
        let latest = self.entries.iter().max_by_key(|entry| entry.timestamp()).cloned();
        let at = |t| self.entries.iter().find(|entry| entry.timestamp() == t).cloned();
        let state = VariableState { latest, marks: self.marks.clone() };
        Loaded { state, version: version.and_then(at) }
    }
}

/// The slot that signing an entry leaves.
pub(crate) fn slot(entry: &SignedEntry) -> Slot {
    Slot::of(entry)
}

/// One server and what it knows of the others.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) me: NodeId,
    pub(crate) configurations: Arc<Configurations>,
    pub(crate) cut: BTreeSet<NodeId>,
    /// Who was convicted before.
    pub(crate) convicted: BTreeSet<NodeId>,
    pub(crate) keys: Keys,
}

impl Member {
    pub(crate) fn new(me: u8, configuration: Arc<Configuration>) -> Self {
        let (cut, convicted) = (BTreeSet::new(), BTreeSet::new());
        let configurations = alone(&configuration);
        Self { me: node(me), configurations, cut, convicted, keys: Keys::default() }
    }

    pub(crate) fn admit(&self, sender: Person, request: Request) -> Result<Admitted, Refusal> {
        let context = Context {
            me: &self.me,
            configurations: &self.configurations,
            cut: &self.cut,
            keys: &self.keys,
            identities: &People,
        };
        admit(&sender.id(), request, &context)
    }

    /// Runs one request to its end and tells what happened.
    pub(crate) fn ask(&self, state: &State, sender: Person, request: Request) -> String {
        let admitted = match self.admit(sender, request) {
            Ok(admitted) => admitted,
            Err(refusal) => return tell_refusal(&refusal),
        };
        let mut server = Server::new(Arc::clone(&self.configurations));
        server.note_convicted(self.convicted.iter().cloned());
        server.handle_request(1, admitted);
        let mut told = Vec::new();
        while let Some(action) = server.poll() {
            match action {
                ServerAction::Load { ticket, version, .. } => {
                    server.handle_loaded(ticket, Ok(state.load(version)), &self.keys);
                }
                ServerAction::List { ticket, below, limit, .. } => {
                    told.push(format!("list below {below:?} limit {limit}"));
                    server.handle_listed(ticket, Ok(vec![t(2), t(1)]));
                }
                ServerAction::Persist { ticket, batch } => {
                    assert!(server.poll().is_none(), "nothing happens before it is durable");
                    told.push(tell_batch(&batch));
                    server.handle_persisted(ticket, Ok(()));
                }
                ServerAction::Reply { reply, .. } => told.push(tell_reply(&reply)),
                ServerAction::Accuse(proof) => told.push(format!("accuse {:.2}", name(&proof))),
                other => panic!("{other:?}"),
            }
        }
        told.join(" | ")
    }
}

fn name(proof: &bftkv_protocol::EquivocationProof) -> String {
    proof.guilty().to_string().to_lowercase()
}

fn list<'a>(times: impl IntoIterator<Item = &'a Timestamp>) -> String {
    let times: Vec<String> = times.into_iter().map(ToString::to_string).collect();
    format!("[{}]", times.join(" "))
}

fn tell_batch(batch: &Batch) -> String {
    let mut told: Vec<String> =
        batch.entries.iter().map(|entry| format!("keep {}", entry.timestamp())).collect();
    for (_, marks) in &batch.marks {
        let slots = list(marks.slots.iter().map(|slot| &slot.timestamp));
        let abandons = list(marks.abandons.iter().map(|kept| &kept.attempt.timestamp));
        let given_up = if abandons == "[]" { String::new() } else { format!(" gone {abandons}") };
        told.push(format!("seen {} slots {slots}{given_up}", marks.seen));
    }
    if !batch.proofs.is_empty() {
        told.push(format!("proofs {}", batch.proofs.len()));
    }
    told.join(", ")
}

pub(crate) fn tell_reply(reply: &Reply) -> String {
    let with = |entry: &Option<Box<CertifiedEntry>>| match entry {
        Some(entry) => entry.timestamp().to_string(),
        None => "nothing".into(),
    };
    match reply {
        Reply::Plain(outcome) => tell_outcome(outcome),
        Reply::Share(statement) => format!("share {}", statement.timestamp),
        Reply::Vouch(statement) => format!("vouch {}", statement.timestamp),
        Reply::Time(statement, latest) => format!("time {} with {}", statement.seen, with(latest)),
        other => panic!("{other:?}"),
    }
}

fn tell_outcome(outcome: &Outcome) -> String {
    match outcome {
        Ok(Answer::Done) => "done".into(),
        Ok(Answer::Entry(None)) => "absent".into(),
        Ok(Answer::Entry(Some(entry))) => {
            format!("entry {} of {} bytes", entry.timestamp(), entry.entry().value.as_bytes().len())
        }
        Ok(Answer::Digest { timestamp, .. }) => format!("digest {timestamp}"),
        Ok(Answer::Time { seen, latest: None, signature: None }) => format!("time {seen}"),
        Ok(Answer::Versions(times)) => format!("versions {}", list(times)),
        Ok(Answer::Abandons(all)) => {
            format!("abandons {}", list(all.iter().map(|kept| &kept.attempt.timestamp)))
        }
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => tell_refusal(refusal),
    }
}

/// The number of a refusal and the timestamps that it names.
pub(crate) fn tell_refusal(refusal: &Refusal) -> String {
    let named = match refusal {
        Refusal::NotOwner(entry) | Refusal::Sealed(entry) => format!(" {}", entry.timestamp()),
        Refusal::OldTimestamp { seen } => format!(" {seen}"),
        Refusal::TimestampTooFar { limit } => format!(" {limit}"),
        Refusal::Outstanding(slots) | Refusal::TooManySlots(slots) => {
            format!(" {}", list(slots.iter().map(|slot| &slot.timestamp)))
        }
        Refusal::OutstandingFinal(slot) => format!(" {}", slot.timestamp),
        Refusal::Equivocation(proofs) => format!(" {}", proofs.len()),
        _ => String::new(),
    };
    format!("refused {}{named}", refusal.code())
}

/// One line of a step table: what it shows, what the server holds, who asks what, what follows.
pub(crate) type Row = (&'static str, State, Person, Request, &'static str);

/// Checks a step table, and names every line that is wrong.
pub(crate) fn check(member: &Member, rows: Vec<Row>) {
    let count = rows.len();
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(shows, state, sender, request, expected)| {
            let told = member.ask(&state, sender, request);
            (told != expected)
                .then(|| format!("{shows}\n  expected: {expected}\n  was:      {told}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {count} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
