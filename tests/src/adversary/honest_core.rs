//! A true server inside a traitor: it follows the rules at once and in memory, and the traitor
//! decides what becomes of its answers and of its memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::server::{Context, Reply, Server, ServerAction, admit};
use bftkv_protocol::{
    Answer, Configurations, NodeId, Outcome, Purpose, Refusal, Request, ShareStatement, Sign,
    SignatureShare, Store, TimeStatement,
};

use super::{Disk, Lair};

/// The real rules over a disk that never fails.
#[derive(Debug, Default)]
pub(super) struct HonestCore {
    server: Option<Server>,
    disk: Disk,
    tickets: u64,
}

impl HonestCore {
    /// What an honest server with this memory answers.
    pub(super) fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Sign { entry, .. } => lair.loot.note_signed(entry),
            Request::Store { entry } => lair.loot.note_certified(entry),
            _ => {}
        }
        let nobody: BTreeSet<NodeId> = BTreeSet::new();
        let known = Arc::new(Configurations::starting_with(lair.configuration.clone()));
        let context = Context {
            me: lair.signer.id(),
            configurations: &known,
            cut: &nobody,
            keys: lair.keys,
            identities: lair.keys,
        };
        let admitted = match admit(lair.sender, request.clone(), &context) {
            Ok(admitted) => admitted,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.tickets = self.tickets.saturating_add(1);
        let server = self.server.get_or_insert_with(|| Server::new(Arc::clone(&known)));
        server.handle_request(self.tickets, admitted);
        self.run(lair)
    }

    fn run(&mut self, lair: &Lair<'_>) -> Option<Outcome> {
        let server = self.server.as_mut()?;
        let mut outcome = None;
        while let Some(action) = server.poll() {
            match action {
                ServerAction::Load { ticket, variable, version } => {
                    let loaded = self.disk.loaded(&variable, version);
                    server.handle_loaded(ticket, loaded, lair.keys);
                }
                ServerAction::List { ticket, variable, below, limit } => {
                    let listed = self.disk.versions(&variable, below, usize::from(limit));
                    server.handle_listed(ticket, listed);
                }
                ServerAction::Persist { ticket, batch } => {
                    let persisted = self.disk.commit(batch);
                    server.handle_persisted(ticket, persisted);
                }
                ServerAction::Reply { reply, .. } => outcome = Some(signed(lair, reply)),
                _ => {}
            }
        }
        outcome
    }
}

fn signed(lair: &Lair<'_>, reply: Reply) -> Outcome {
    match reply {
        Reply::Plain(outcome) => outcome,
        Reply::Share(statement) => share(lair, &statement).ok_or(Refusal::Busy),
        Reply::Time(statement, latest) => time(lair, &statement, latest).ok_or(Refusal::Busy),
        Reply::Vouch(statement) => {
            let signature = lair.signer.sign(Purpose::Vouch, &statement.signed_bytes());
            let signature = signature.map_err(|_| Refusal::Busy)?;
            Ok(Answer::Vouch(SignatureShare { signer: lair.signer.id().clone(), signature }))
        }
        _ => Err(Refusal::Busy),
    }
}

fn share(lair: &Lair<'_>, statement: &ShareStatement) -> Option<Answer> {
    let signature = lair.signer.sign(Purpose::Share, &statement.signed_bytes()).ok()?;
    Some(Answer::Share(SignatureShare { signer: lair.signer.id().clone(), signature }))
}

fn time(
    lair: &Lair<'_>,
    statement: &TimeStatement,
    latest: Option<Box<bftkv_protocol::CertifiedEntry>>,
) -> Option<Answer> {
    let signature = lair.signer.sign(Purpose::Time, &statement.signed_bytes()).ok();
    Some(Answer::Time { seen: statement.seen, latest, signature })
}
