//! A server and its store, driven by bytes: requests of many people, in any order, with disk errors
//! and crashes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bftkv_protocol::server::{Context, Loaded, Reply, Server, ServerAction, Ticket, admit};
use bftkv_protocol::{
    Answer, CertifiedEntry, Configuration, Configurations, EntryHash, Evidence, NodeId, Request,
    SignedEntry, Store, StoreError, Timestamp, Variable, decode,
};
use bftkv_storage::{MemoryBackend, RecordStore};

use super::input::Input;
use crate::fixtures::{
    ALICE, ALICE2, BOB, CLIQUE, Keys, MALLORY, People, Person, abandon, alone, certified_by, entry,
    final_entry, node, one_group, signed, signed_time, t, two_groups, variable,
};

/// Timestamps that the rules tell apart.
const TIMES: [u64; 8] = [1, 2, 3, 7, 1 << 20, (1 << 20) + 9, u64::MAX - 1, u64::MAX];

struct Desk {
    configuration: Arc<Configuration>,
    known: Arc<Configurations>,
    me: NodeId,
    keys: Keys,
    server: Server,
    store: RecordStore,
    /// What the server asked its driver to do.
    todo: Vec<ServerAction>,
    asked: BTreeSet<Ticket>,
    next: Ticket,
    /// The only value that this server may sign for a timestamp.
    shares: BTreeMap<(Variable, Timestamp), EntryHash>,
    seen: Timestamp,
}

/// No server signs two values, forgets what it has seen, signs before the disk knows, or leaves a
/// request without an answer.
pub(super) fn server(data: &[u8]) {
    let mut input = Input::new(data);
    let configuration = if input.flag() { one_group() } else { two_groups() };
    let mut desk = Desk {
        server: Server::new(alone(&configuration)),
        known: alone(&configuration),
        configuration,
        me: node(CLIQUE[0]),
        keys: Keys::default(),
        store: RecordStore::over(MemoryBackend::default(), 1 << 16).unwrap(),
        todo: Vec::new(),
        asked: BTreeSet::new(),
        next: 0,
        shares: BTreeMap::new(),
        seen: Timestamp::ZERO,
    };
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        desk.step(&mut input);
    }
    while let Some(action) = desk.todo.pop() {
        desk.act(action, false);
    }
    assert!(desk.asked.is_empty(), "never answered: {:?}", desk.asked);
}

impl Desk {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(16) {
            0..8 => self.request(input),
            15 if input.below(8) == 0 => self.crash(),
            step if !self.todo.is_empty() => {
                let action = self.todo.remove(input.below(self.todo.len()));
                self.act(action, step == 14 && input.flag());
            }
            _ => {}
        }
    }

    /// What waits is lost; what was made durable is not.
    fn crash(&mut self) {
        self.server = Server::new(Arc::clone(&self.known));
        self.todo.clear();
        self.asked.clear();
    }

    fn request(&mut self, input: &mut Input<'_>) {
        let sender = [ALICE, ALICE2, BOB, MALLORY][input.below(4)];
        let Some(request) = self.made_up(sender, input) else { return };
        let identities = &People;
        let cut =
            if input.below(8) == 7 { BTreeSet::from([node(CLIQUE[1])]) } else { BTreeSet::new() };
        let context = Context {
            me: &self.me,
            configurations: &self.known,
            cut: &cut,
            keys: &self.keys,
            identities,
        };
        if let Ok(admitted) = admit(&sender.id(), request, &context) {
            self.next += 1;
            self.asked.insert(self.next);
            self.server.handle_request(self.next, admitted);
            self.drain();
        }
    }

    fn made_up(&self, sender: Person, input: &mut Input<'_>) -> Option<Request> {
        let kind = input.below(8);
        if kind == 7 {
            return decode(input.bytes()).ok();
        }
        let attempt = attempt(sender, input);
        let variable = variable("x");
        Some(match kind {
            0 => Request::Time { variable, evidence: input.flag() },
            1 | 2 => Request::Sign { evidence: self.evidence(input), entry: attempt },
            3 => Request::Store { entry: self.certified(attempt, input) },
            4 => Request::Read { variable, at: input.flag().then(|| time(input)) },
            5 => {
                let abandon = abandon(sender, attempt.id());
                Request::Abandon { abandon, evidence: self.evidence(input) }
            }
            _ if input.flag() => Request::Abandoned { variable },
            _ => Request::Versions { variable, below: None, limit: u16::from(input.byte()) },
        })
    }

    fn certified(&self, attempt: SignedEntry, input: &mut Input<'_>) -> CertifiedEntry {
        let mask = input.byte();
        let signers = CLIQUE.iter().enumerate().filter(|(n, _)| mask & (1 << n) == 0);
        // This server signs nothing but what it answers with.
        let signs = |id: &u8| {
            *id != CLIQUE[0]
                || self.shares.get(&(attempt.entry.variable.clone(), attempt.entry.timestamp))
                    == Some(&attempt.hash())
        };
        let signers: Vec<u8> = signers.map(|(_, id)| *id).filter(signs).collect();
        certified_by(attempt.entry, &signers, &self.configuration)
    }

    fn evidence(&self, input: &mut Input<'_>) -> Evidence {
        let latest = input.flag().then(|| {
            let attempt = attempt([ALICE, BOB][input.below(2)], input);
            Box::new(self.certified(attempt, input))
        });
        let seen = |n: usize, input: &mut Input<'_>| {
            signed_time(CLIQUE[n], time(input).get(), &self.configuration)
        };
        let times = (0..input.below(4)).map(|n| seen(n, input)).collect();
        Evidence { latest, times }
    }

    fn drain(&mut self) {
        while let Some(action) = self.server.poll() {
            match action {
                ServerAction::Reply { ticket, reply } => self.check_reply(ticket, reply),
                ServerAction::Accuse(proof) => {
                    proof.verify(&self.known, &self.keys).unwrap();
                    assert_ne!(*proof.guilty(), self.me, "an honest server is accused");
                }
                other => self.todo.push(other),
            }
        }
    }

    fn act(&mut self, action: ServerAction, fails: bool) {
        let failed = StoreError::Io("on purpose".to_owned());
        match action {
            ServerAction::Load { ticket, variable, version } => {
                let loaded = if fails { Err(failed) } else { self.load(&variable, version) };
                self.server.handle_loaded(ticket, loaded, &self.keys);
            }
            ServerAction::List { ticket, variable, below, limit } => {
                let listed = self.store.versions(&variable, below, usize::from(limit));
                self.server.handle_listed(ticket, if fails { Err(failed) } else { listed });
            }
            ServerAction::Persist { ticket, batch } => {
                let persisted = if fails { Err(failed) } else { self.store.commit(batch) };
                self.server.handle_persisted(ticket, persisted);
            }
            other => panic!("{other:?}"),
        }
        self.drain();
        let seen = self.store.load(&variable("x")).unwrap().marks.seen;
        assert!(seen >= self.seen, "seen went from {:?} to {seen:?}", self.seen);
        self.seen = seen;
    }

    fn load(&self, variable: &Variable, version: Option<Timestamp>) -> Result<Loaded, StoreError> {
        let state = self.store.load(variable)?;
        let version = match version {
            Some(timestamp) => self.store.version(variable, timestamp)?,
            None => None,
        };
        Ok(Loaded { state, version })
    }

    fn check_reply(&mut self, ticket: Ticket, reply: Reply) {
        assert!(self.asked.remove(&ticket), "two answers to one request");
        match reply {
            Reply::Share(statement) => {
                let key = (statement.variable.clone(), statement.timestamp);
                let state = self.store.load(&statement.variable).unwrap();
                let is_kept = state.marks.seen >= statement.timestamp;
                assert!(is_kept, "a share leaves before the disk knows");
                let signed = *self.shares.entry(key).or_insert(statement.entry);
                assert_eq!(signed, statement.entry, "an honest server signed two values");
            }
            Reply::Plain(Ok(Answer::Entry(Some(found)))) => {
                assert!(found.timestamp() <= self.store_latest(found.variable()));
            }
            _ => {}
        }
    }

    fn store_latest(&self, variable: &Variable) -> Timestamp {
        let state = self.store.load(variable).unwrap();
        state.latest.map_or(Timestamp::ZERO, |latest| latest.timestamp())
    }
}

fn time(input: &mut Input<'_>) -> Timestamp {
    t(TIMES[input.below(TIMES.len())])
}

fn attempt(writer: Person, input: &mut Input<'_>) -> SignedEntry {
    let (timestamp, value) = (time(input).get(), ["one", "two"][input.below(2)]);
    let make = if input.below(8) == 7 { final_entry } else { entry };
    signed(make(writer, timestamp, value))
}
