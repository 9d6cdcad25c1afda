//! The real server rules as a function: a member's memory and a request in, an answer and the new
//! memory out. Names are small numbers, so that states are small; entries are made from them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
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

/// The largest timestamp in any search.
pub(crate) const MOST_T: u8 = 3;

/// An attempt: whose it is and its timestamp. A writer signs one value at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attempt {
    pub(crate) t: u8,
    pub(crate) writer: u8,
}

/// A set of attempts: a bit for each that there can be, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Attempts(u8);

impl Attempts {
    fn bit(attempt: Attempt) -> u8 {
        assert!((1..=MOST_T).contains(&attempt.t) && attempt.writer < 2);
        1 << (2 * (attempt.t - 1) + attempt.writer)
    }

    pub(crate) fn contains(self, attempt: Attempt) -> bool {
        self.0 & Self::bit(attempt) != 0
    }

    pub(crate) fn insert(&mut self, attempt: Attempt) {
        self.0 |= Self::bit(attempt);
    }

    pub(crate) fn remove(&mut self, attempt: Attempt) {
        self.0 &= !Self::bit(attempt);
    }

    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = Attempt> {
        let all = (1..=MOST_T).flat_map(|t| [0, 1].map(|writer| Attempt { t, writer }));
        all.filter(move |attempt| self.contains(*attempt))
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The one with the largest timestamp.
    pub(crate) fn newest(self) -> Option<Attempt> {
        self.iter().next_back()
    }

    /// The same if the writers had each other's names.
    pub(crate) fn swapped(self) -> Self {
        Self((self.0 & 0b01_0101) << 1 | (self.0 & 0b10_1010) >> 1)
    }
}

impl FromIterator<Attempt> for Attempts {
    fn from_iter<I: IntoIterator<Item = Attempt>>(all: I) -> Self {
        let mut set = Self::default();
        all.into_iter().for_each(|attempt| set.insert(attempt));
        set
    }
}

/// What an honest member remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Memory {
    pub(crate) seen: u8,
    pub(crate) slots: Attempts,
    pub(crate) abandons: Attempts,
    /// One at most for each timestamp.
    pub(crate) stored: Attempts,
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
pub(crate) fn apply(owners: Owners, memory: Memory, asked: Asked) -> (bool, Memory) {
    let key = (owners, memory, asked);
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).copied()) {
        return known;
    }
    let result = World::new(owners).run(memory, asked);
    KNOWN.with_borrow_mut(|known| known.insert(key, result));
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
            timestamp: Timestamp::new(attempt.t.into()),
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

    fn state(&self, memory: Memory) -> VariableState {
        let mut state = VariableState {
            latest: memory.stored.newest().map(|attempt| self.certified(attempt)),
            ..VariableState::default()
        };
        state.marks.seen = Timestamp::new(memory.seen.into());
        state.marks.slots = memory.slots.iter().map(|a| Slot::of(&self.signed(a))).collect();
        state.marks.abandons = memory.abandons.iter().map(|a| self.abandon(a)).collect();
        state
    }

    fn run(&self, mut memory: Memory, asked: Asked) -> (bool, Memory) {
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
        while let Some(action) = server.poll() {
            match action {
                ServerAction::Load { ticket, version, .. } => {
                    let at =
                        |t: Timestamp| memory.stored.iter().find(|a| u64::from(a.t) == t.get());
                    let version = version.and_then(at).map(|attempt| self.certified(attempt));
                    let loaded = Loaded { state: self.state(memory), version };
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

fn attempt_of(writer: &NodeId, t: Timestamp) -> Attempt {
    Attempt { writer: writer.as_bytes()[0] - 100, t: t.get().try_into().unwrap() }
}

fn remember(mut memory: Memory, batch: &bftkv_protocol::Batch) -> Memory {
    for entry in &batch.entries {
        let attempt = attempt_of(&entry.entry().writer, entry.timestamp());
        let replaced = memory.stored.iter().find(|other| other.t == attempt.t);
        assert!(replaced.is_none_or(|other| other == attempt), "an entry is replaced");
        memory.stored.insert(attempt);
    }
    for (_, marks) in &batch.marks {
        memory.seen = marks.seen.get().try_into().unwrap();
        memory.slots = marks.slots.iter().map(|s| attempt_of(&s.writer, s.timestamp)).collect();
        let abandons = marks.abandons.iter();
        memory.abandons = abandons.map(|a| attempt_of(&a.writer, a.attempt.timestamp)).collect();
    }
    memory
}
