//! The real server rules as a function: a member's memory and a request in, an answer and the new
//! memory out. Names are small numbers, so that states are small; entries are made from them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bftkv_protocol::server::{Context, Loaded, Reply, Server, ServerAction, admit};
use bftkv_protocol::{
    Abandon, Address, Answer, CertifiedEntry, CollectiveSignature, Configuration, Configurations,
    Entry, Evidence, Group, Identities, NodeId, Purpose, Realm, Refusal, Request, SignatureBytes,
    SignatureShare, SignedEntry, Slot, Timestamp, Value, Variable, VariableState, Verify,
    VerifyError, WriterSignature,
};

/// How many members the one clique has; the last one is Byzantine.
pub(crate) const N: u8 = 4;

/// An attempt: whose it is and its timestamp. A writer signs one value at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attempt {
    pub(crate) writer: u8,
    pub(crate) t: u64,
}

/// What an honest member remembers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Memory {
    pub(crate) seen: u64,
    pub(crate) slots: Vec<Attempt>,
    pub(crate) abandons: BTreeSet<Attempt>,
    pub(crate) stored: BTreeMap<u64, Attempt>,
}

/// What can be asked of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Asked {
    Sign(Attempt),
    Store(Attempt),
    Abandon(Attempt),
}

/// The owner of each writer: 0 and 1.
pub(crate) type Owners = [u8; 2];

/// Answers that were worked out before.
type Known = HashMap<(Owners, Memory, Asked), (bool, Memory)>;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// Whether the member did what it was asked, and what it remembers then.
pub(crate) fn apply(owners: Owners, memory: &Memory, asked: Asked) -> (bool, Memory) {
    let key = (owners, memory.clone(), asked);
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).cloned()) {
        return known;
    }
    let result = World::new(owners).run(memory, asked);
    KNOWN.with_borrow_mut(|known| known.insert(key, result.clone()));
    result
}

struct World {
    owners: Owners,
    known: Arc<Configurations>,
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).unwrap()
}

fn writer(number: u8) -> NodeId {
    node(100 + number)
}

fn signature() -> SignatureBytes {
    SignatureBytes::new([1; 8]).unwrap()
}

/// Nobody forges in this model, so every signature is good.
struct Honest;

impl Verify for Honest {
    fn verify_packet(
        &self,
        _: &NodeId,
        _: Purpose,
        _: &[u8],
        _: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        Ok(())
    }
}

impl Identities for Honest {
    fn has_quorum_certificate(&self, _: &NodeId, _: &Address) -> bool {
        true
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}

impl World {
    fn new(owners: Owners) -> Self {
        let group = || Group::new((0..N).map(node));
        let realm = Realm::new("model").unwrap();
        let made = Configuration::new(realm, 1, vec![group()], group(), false).unwrap();
        Self { owners, known: Arc::new(Configurations::starting_with(made)) }
    }

    fn signed(&self, attempt: Attempt) -> SignedEntry {
        let entry = Entry {
            realm: self.known.realm().clone(),
            variable: Variable::new(*b"x").unwrap(),
            timestamp: Timestamp::new(attempt.t),
            value: Value::new([attempt.writer]).unwrap(),
            is_final: false,
            writer: writer(attempt.writer),
            owner: self.owner(attempt),
        };
        SignedEntry { entry, signature: WriterSignature::new(signature()) }
    }

    fn owner(&self, attempt: Attempt) -> Address {
        let owner = self.owners[usize::from(attempt.writer)];
        Address::new(format!("o{owner}@example.org")).unwrap()
    }

    fn certified(&self, attempt: Attempt) -> CertifiedEntry {
        let share = |i| SignatureShare { signer: node(i), signature: signature() };
        let digest = self.known.newest().digest();
        let collective = CollectiveSignature::new(digest, (0..N).map(share).collect());
        CertifiedEntry { signed: self.signed(attempt), collective }
    }

    fn abandon(&self, attempt: Attempt) -> Abandon {
        Abandon {
            realm: self.known.realm().clone(),
            attempt: self.signed(attempt).id(),
            writer: writer(attempt.writer),
            owner: self.owner(attempt),
            signature: signature(),
        }
    }

    fn request(&self, asked: Asked) -> Request {
        let evidence = Evidence::default();
        match asked {
            Asked::Sign(attempt) => Request::Sign { entry: self.signed(attempt), evidence },
            Asked::Store(attempt) => Request::Store { entry: self.certified(attempt) },
            Asked::Abandon(attempt) => {
                Request::Abandon { abandon: self.abandon(attempt), evidence }
            }
        }
    }

    fn state(&self, memory: &Memory) -> VariableState {
        let mut state = VariableState {
            latest: memory.stored.values().next_back().map(|attempt| self.certified(*attempt)),
            ..VariableState::default()
        };
        state.marks.seen = Timestamp::new(memory.seen);
        state.marks.slots = memory.slots.iter().map(|a| Slot::of(&self.signed(*a))).collect();
        state.marks.abandons = memory.abandons.iter().map(|a| self.abandon(*a)).collect();
        state
    }

    fn run(&self, memory: &Memory, asked: Asked) -> (bool, Memory) {
        let (Asked::Sign(of) | Asked::Store(of) | Asked::Abandon(of)) = asked;
        let (me, sender, cut) = (node(0), writer(of.writer), BTreeSet::new());
        let context = Context {
            me: &me,
            configurations: &self.known,
            cut: &cut,
            keys: &Honest,
            identities: &Honest,
        };
        let admitted = admit(&sender, self.request(asked), &context).unwrap();
        let mut server = Server::new(Arc::clone(&self.known));
        server.handle_request(1, admitted);
        let mut memory = memory.clone();
        while let Some(action) = server.poll() {
            match action {
                ServerAction::Load { ticket, version, .. } => {
                    let version = version.and_then(|t| memory.stored.get(&t.get()));
                    let version = version.map(|attempt| self.certified(*attempt));
                    let loaded = Loaded { state: self.state(&memory), version };
                    server.handle_loaded(ticket, Ok(loaded), &Honest);
                }
                ServerAction::Persist { ticket, batch } => {
                    memory = remember(memory, &batch);
                    server.handle_persisted(ticket, Ok(()));
                }
                ServerAction::Reply { reply, .. } => return (is_done(&reply), memory),
                ServerAction::Accuse(proof) => panic!("an honest key is convicted: {proof:?}"),
                other => panic!("{other:?}"),
            }
        }
        panic!("no answer to {asked:?}");
    }
}

fn is_done(reply: &Reply) -> bool {
    match reply {
        Reply::Share(_) | Reply::Plain(Ok(Answer::Done)) => true,
        Reply::Plain(Err(Refusal::Equivocation(_))) => panic!("two entries at one timestamp"),
        Reply::Plain(Err(_)) => false,
        other => panic!("{other:?}"),
    }
}

fn name_of(writer: &NodeId) -> u8 {
    writer.as_bytes()[0] - 100
}

fn remember(mut memory: Memory, batch: &bftkv_protocol::Batch) -> Memory {
    for entry in &batch.entries {
        let (writer, t) = (name_of(&entry.entry().writer), entry.timestamp().get());
        memory.stored.insert(t, Attempt { writer, t });
    }
    for (_, marks) in &batch.marks {
        memory.seen = marks.seen.get();
        let attempt =
            |writer: &NodeId, t: Timestamp| Attempt { writer: name_of(writer), t: t.get() };
        memory.slots = marks.slots.iter().map(|s| attempt(&s.writer, s.timestamp)).collect();
        let abandons = marks.abandons.iter();
        memory.abandons = abandons.map(|a| attempt(&a.writer, a.attempt.timestamp)).collect();
    }
    memory
}
