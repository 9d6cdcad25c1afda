//! Servers with disks that can crash, a client without any network, and a certified record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bftkv_protocol::client::Lost;
use bftkv_protocol::{
    Address, Answer, CertifiedEntry, CollectiveSignature, ConfigurationDigest, ElementBytes, Entry,
    Evaluated, Group, Identities, LoginPurpose, Marks, NodeId, Nonce, Outcome, Realm, Refusal,
    Request, Response, RoamingAnswer, RoamingRefusal, RoamingRequest, SignatureBytes, SignedEntry,
    Timestamp, Value, Variable, VariableState, Vault, WriterSignature,
};
use bftkv_roaming::client::{Login, LoginAction, LoginOptions, Stretch};
use bftkv_roaming::server::{Action, Asked, Asker, Loaded, Reply, Server, Signing};
use bftkv_roaming::{
    Blinded, Enrolled, Keys, Password, Plan, Protected, Record, Rule, Share, Stretching,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) const DAY: u64 = 24 * 60 * 60;
pub(crate) const NOW: u64 = 1_800_000_000;
/// Owns the variable; has two certificates for her user ID.
pub(crate) const ALICE: u8 = 200;
pub(crate) const ALICES_PHONE: u8 = 201;
/// Certified for another user ID.
pub(crate) const MALLORY: u8 = 210;
pub(crate) const STRANGER: u8 = 211;

pub(crate) fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

/// What comes of it differs from what comes of the other.
pub(crate) fn other_rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(8)
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId::from_bytes(&[n; 20]).unwrap()
}

pub(crate) fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

pub(crate) fn realm() -> Realm {
    Realm::new("test").unwrap()
}

pub(crate) fn variable(name: &str) -> Variable {
    Variable::new(name).unwrap()
}

pub(crate) fn plan(n: u8, rule: Rule, epoch: u64) -> Plan {
    Plan {
        realm: realm(),
        variable: variable("x"),
        epoch,
        nodes: (1..=n).map(node).collect(),
        rule,
        stretching: Stretching::LEAST,
    }
}

pub(crate) fn enrolled(n: u8, password: &Password) -> Enrolled {
    Record::enrol(plan(n, Rule::Majority, 1), password, &mut rng()).unwrap()
}

fn address(who: u8) -> Option<Address> {
    match who {
        ALICE | ALICES_PHONE => Some(Address::new("alice@example.org").unwrap()),
        MALLORY => Some(Address::new("mallory@example.org").unwrap()),
        _ => None,
    }
}

/// Who has a quorum certificate: all but strangers.
pub(crate) struct People;

impl Identities for People {
    fn has_quorum_certificate(&self, writer: &NodeId, wanted: &Address) -> bool {
        [ALICE, ALICES_PHONE, MALLORY]
            .iter()
            .any(|who| node(*who) == *writer && address(*who).as_ref() == Some(wanted))
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}

/// A value as it is certified. Signatures are checked before it is stored, not here.
pub(crate) fn certified(variable: Variable, value: Value, timestamp: u64) -> CertifiedEntry {
    let entry = Entry {
        realm: realm(),
        variable,
        timestamp: Timestamp::new(timestamp),
        value,
        is_final: false,
        writer: node(ALICE),
        owner: address(ALICE).unwrap(),
    };
    let signature = WriterSignature::new(SignatureBytes::new([1]).unwrap());
    let signed = SignedEntry { entry, signature };
    CertifiedEntry { signed, collective: CollectiveSignature::new(configuration(), Vec::new()) }
}

fn configuration() -> ConfigurationDigest {
    let clique = Group::new((1..=4).map(node));
    let configuration =
        bftkv_protocol::Configuration::new(realm(), 0, vec![clique.clone()], clique, false);
    configuration.unwrap().digest()
}

pub(crate) fn protected(enrolled: &Enrolled, version: u64) -> Value {
    let sealed = Protected::seal(&enrolled.record, &enrolled.keys, version, b"secret", &mut rng());
    sealed.unwrap().to_value().unwrap()
}

pub(crate) type Answered = Result<RoamingAnswer, Refusal>;

/// What of a server survives a crash, and what may be lost in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) latest: BTreeMap<Variable, CertifiedEntry>,
    pub(crate) marks: BTreeMap<Variable, Marks>,
    pub(crate) vaults: BTreeMap<Variable, Vault>,
}

/// One server with its disk and its clock.
pub(crate) struct Host {
    pub(crate) me: NodeId,
    pub(crate) machine: Server,
    pub(crate) disk: Disk,
    pub(crate) now: u64,
    /// Which of its memories it speaks from.
    pub(crate) memory: u64,
    tickets: u64,
}

impl Host {
    pub(crate) fn new(number: u8) -> Self {
        let me = node(number);
        let machine = Server::new(me.clone());
        Self { me, machine, disk: Disk::default(), now: NOW, memory: 1, tickets: 0 }
    }

    /// The process ends and starts again. What the machine held in memory is gone.
    pub(crate) fn restart(&mut self) {
        self.machine = Server::new(self.me.clone());
    }

    /// Hands a request in, without performing anything yet.
    pub(crate) fn submit(&mut self, who: u8, request: RoamingRequest) -> u64 {
        self.tickets += 1;
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.tickets.to_be_bytes());
        let asker = Asker { id: node(who), address: address(who), is_applicant: false };
        let nonce = Nonce::from_bytes(nonce);
        let asked = Asked { asker, request, now: self.now, memory: self.memory, nonce };
        self.machine.handle_request(self.tickets, asked);
        self.tickets
    }

    /// What the disk has of a variable.
    pub(crate) fn load(&self, variable: &Variable) -> Loaded {
        let latest = self.disk.latest.get(variable).cloned();
        let marks = self.disk.marks.get(variable).cloned().unwrap_or_default();
        Loaded {
            state: VariableState { latest, marks },
            vault: self.disk.vaults.get(variable).cloned(),
        }
    }

    /// Performs all actions on a disk that never fails; the answers, by their tickets.
    pub(crate) fn work(&mut self) -> BTreeMap<u64, Answered> {
        let mut answers = BTreeMap::new();
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Load { ticket, variable } => {
                    let loaded = self.load(&variable);
                    self.machine.handle_loaded(ticket, Ok(loaded), &People);
                }
                Action::Persist { ticket, variable, vault } => {
                    self.disk.vaults.insert(variable, vault);
                    self.machine.handle_persisted(ticket, Ok(()));
                }
                Action::Reply { ticket, reply } => {
                    let answer = match reply {
                        Reply::Plain(answer) => answer,
                        Reply::Evaluate(evaluate) => evaluate.run(&mut rng()),
                    };
                    answers.insert(ticket, answer);
                }
            }
        }
        answers
    }

    pub(crate) fn ask(&mut self, who: u8, request: RoamingRequest) -> Answered {
        let ticket = self.submit(who, request);
        self.work().remove(&ticket).unwrap()
    }

    /// Hands it its share and the certified entry.
    pub(crate) fn enrol(&mut self, enrolled: &Enrolled, timestamp: u64) {
        let index = enrolled.record.index_of(&self.me).unwrap();
        let share = &enrolled.shares[usize::from(index.get()) - 1];
        let dealt = self.ask(ALICE, deal(enrolled, share));
        assert_eq!(dealt, Ok(RoamingAnswer::Done));
        self.certify(enrolled, timestamp);
    }

    /// Tells it that the certified entry of the variable was stored.
    pub(crate) fn settle(&mut self, variable: &Variable) {
        self.tickets += 1;
        self.machine.handle_stored(self.tickets, variable.clone(), self.memory, self.now);
        assert_eq!(self.work().remove(&self.tickets), Some(Ok(RoamingAnswer::Done)));
    }

    /// Asks whether an entry with this record may be signed.
    pub(crate) fn may_sign(&mut self, writer: u8, record: &Record, timestamp: u64) -> bool {
        self.tickets += 1;
        let signing = Signing {
            variable: record.variable().clone(),
            writer: node(writer),
            owner: address(writer).unwrap(),
            timestamp: Timestamp::new(timestamp),
            record: record.clone(),
            memory: self.memory,
            now: self.now,
        };
        self.machine.handle_signing(self.tickets, signing);
        match self.work().remove(&self.tickets) {
            Some(Ok(RoamingAnswer::Done)) => true,
            Some(Err(Refusal::Roaming(RoamingRefusal::NoShare))) => false,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn certify(&mut self, enrolled: &Enrolled, timestamp: u64) {
        let variable = enrolled.record.variable().clone();
        let entry = certified(variable.clone(), protected(enrolled, 1), timestamp);
        self.disk.latest.insert(variable, entry);
    }

    /// One attempt with some password; how many are left after it.
    pub(crate) fn guess(&mut self, who: u8, record: &Record, number: u64) -> Result<u16, Refusal> {
        self.evaluate(who, record, element(number)).map(|evaluated| evaluated.left)
    }

    pub(crate) fn evaluate(
        &mut self,
        who: u8,
        record: &Record,
        element: ElementBytes,
    ) -> Result<Evaluated, Refusal> {
        match self.ask(who, evaluate(record, element))? {
            RoamingAnswer::Evaluated(evaluated) => Ok(evaluated),
            other => panic!("{other:?}"),
        }
    }

    /// Shows that the password is known, for an evaluation of before.
    pub(crate) fn prove(
        &mut self,
        who: u8,
        record: &Record,
        keys: &Keys,
        purpose: LoginPurpose,
        nonce: Nonce,
    ) -> Answered {
        let proof =
            bftkv_roaming::prove(record, keys, purpose, &node(who), &self.me.clone(), nonce);
        let variable = record.variable().clone();
        self.ask(who, RoamingRequest::Prove { variable, proof })
    }
}

pub(crate) fn deal(enrolled: &Enrolled, share: &Share) -> RoamingRequest {
    let variable = enrolled.record.variable().clone();
    let record = enrolled.record.to_bytes().unwrap();
    RoamingRequest::Deal { variable, record, share: share.secret() }
}

pub(crate) fn evaluate(record: &Record, element: ElementBytes) -> RoamingRequest {
    let variable = record.variable().clone();
    RoamingRequest::Evaluate { variable, record: record.id(), element }
}

/// A blinded guess; another number, another element.
pub(crate) fn element(number: u64) -> ElementBytes {
    let mut rng = ChaCha20Rng::seed_from_u64(number);
    Blinded::new(&password("a guess"), &mut rng).unwrap().element()
}

pub(crate) fn no_attempts(answer: &Result<u16, Refusal>) -> bool {
    matches!(answer, Err(Refusal::Roaming(RoamingRefusal::NoAttempts { .. })))
}

/// n servers that hold the shares of one certified record.
pub(crate) fn hosts(enrolled: &Enrolled) -> Vec<Host> {
    let n = u8::try_from(enrolled.record.nodes().len()).unwrap();
    let mut hosts: Vec<Host> = (1..=n).map(Host::new).collect();
    hosts.iter_mut().for_each(|host| host.enrol(enrolled, 1));
    hosts
}

/// How a login went.
pub(crate) struct Ran {
    pub(crate) result: Result<bftkv_roaming::client::LoggedIn, bftkv_roaming::client::Failure>,
    /// Round trips until there was a result, and until it was over.
    pub(crate) rounds: (u32, u32),
}

/// Runs a login in lock-step: everything that is sent at once is one round trip. `answer` stands
/// for the network and what servers say.
pub(crate) fn run(
    record: &Record,
    text: &str,
    seed: u64,
    mut answer: impl FnMut(&NodeId, &RoamingRequest) -> Option<Answered>,
) -> Ran {
    let options = LoginOptions {
        requester: node(ALICE),
        purpose: LoginPurpose::Open,
        round: Duration::from_secs(1),
        deadline: Duration::from_secs(10),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut now = Duration::ZERO;
    let mut login = Login::start(now, record.clone(), password(text), options, &mut rng).unwrap();
    let (mut rounds, mut at_result) = (0, None);
    while !login.is_over() {
        let mut heard = Vec::new();
        while let Some(action) = login.poll() {
            match action {
                LoginAction::Send { to, request } => {
                    let Request::Roaming(request) = *request else { panic!("{request:?}") };
                    let ask = |to: NodeId| (to.clone(), answer(&to, &request));
                    heard.extend(to.into_iter().map(ask));
                }
                LoginAction::Show(at) => login.handle_shown(&at),
                LoginAction::Stretch(stretch) => login.handle_stretched(Stretch::run(*stretch)),
            }
        }
        if login.result().is_some() && at_result.is_none() {
            at_result = Some(rounds);
        }
        if heard.is_empty() && !login.is_over() {
            now = login.wake_at().unwrap();
            login.handle_timeout(now);
        } else {
            rounds += 1;
            heard.into_iter().for_each(|(from, answer)| login.handle_response(&from, said(answer)));
        }
    }
    let result = login.result().unwrap().clone();
    Ran { result, rounds: (at_result.unwrap_or(rounds), rounds) }
}

fn said(answer: Option<Answered>) -> Result<Response, Lost> {
    let outcome: Outcome = answer.ok_or(Lost::Silent)?.map(Answer::Roaming);
    Ok(Response { configuration: configuration(), outcome })
}

/// The places of these nodes, from 1 on.
pub(crate) fn places<T>(named: &BTreeMap<NodeId, T>) -> BTreeSet<u8> {
    named.keys().map(|id| id.as_bytes()[0]).collect()
}
