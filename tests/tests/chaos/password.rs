//! Uses a password as a client and its servers do, with everything that the library makes of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Read as _;
use std::time::Duration;

use bftkv::protocol::{
    Address, Answer, Evaluated, Identities, LoginPurpose, NodeId, Nonce, Realm, Request, Response,
    RoamingAnswer, RoamingRequest, Variable, decode, encode_secret,
};
use bftkv::roaming::client::{Dealing, DealingAction, Login, LoginAction, LoginOptions, Stretch};
use bftkv::roaming::rand_core::{CryptoRng, Error, RngCore, impls};
use bftkv::roaming::server::{Action, Asked, Asker, Loaded, Reply, Server};
use bftkv::roaming::{
    Enrolled, Password, Plan, Protected, Record, Rule, Share, Stretching, evaluate,
};

use crate::secrets::{MASK, Masked};

/// The system's randomness. One with a state of its own would keep secrets there.
struct System;

impl RngCore for System {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for System {}

/// Random bytes, which nobody sees without the mask.
pub(crate) fn masked() -> Masked {
    let mut bytes = [0; 32];
    System.fill_bytes(&mut bytes);
    bytes
}

pub(crate) fn unmasked(masked: &Masked) -> Vec<u8> {
    masked.iter().map(|byte| byte ^ MASK).collect()
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).unwrap()
}

/// Enrols, deals, logs in and opens; then everything is dropped. Returns what must be nowhere: the
/// password, the value, and all shares.
pub(crate) fn use_and_forget() -> Vec<Masked> {
    let (password, value) = (masked(), masked());
    let mut secrets = vec![password, value];
    let plan = Plan {
        realm: Realm::new("test").unwrap(),
        variable: Variable::new("x").unwrap(),
        epoch: 1,
        nodes: (1..=4).map(node).collect(),
        rule: Rule::Majority,
        stretching: Stretching::LEAST,
    };
    let typed = Password::new(unmasked(&password)).unwrap();
    let enrolled = Record::enrol(plan, &typed, &mut System).unwrap();
    secrets.extend(enrolled.shares.iter().map(|share| {
        let secret = share.secret();
        // Byte by byte: no copy of the whole is made.
        std::array::from_fn(|place| secret.as_bytes()[place] ^ MASK)
    }));
    let protected = seal(&enrolled, &value);
    let servers = deal(&enrolled);
    let record = enrolled.record.clone();
    drop(enrolled);
    log_in_and_open(&record, typed, &servers, &protected);
    secrets
}

fn seal(enrolled: &Enrolled, value: &Masked) -> Protected {
    let mut value = unmasked(value);
    let sealed = Protected::seal(&enrolled.record, &enrolled.keys, 1, &value, &mut System);
    // The caller's own copy is the caller's to wipe.
    value.fill(0);
    black_box(&value);
    sealed.unwrap()
}

/// What the servers keep. Each share goes as a message, and into a server's vault.
fn deal(enrolled: &Enrolled) -> BTreeMap<NodeId, Share> {
    let later = Duration::from_secs(1);
    let mut dealing = Dealing::start(enrolled, later, later).unwrap();
    let mut servers = BTreeMap::new();
    while let Some(DealingAction { to, request }) = dealing.poll() {
        let message = encode_secret(&*request);
        drop(request);
        let Request::Roaming(request) = decode(&message).unwrap() else {
            panic!("nothing else is dealt")
        };
        let RoamingRequest::Deal { share, .. } = &request else { panic!("it is dealt") };
        let index = enrolled.record.index_of(&to).unwrap();
        let kept = Share::new(index, share, enrolled.record.commitments()).unwrap();
        keep_twice(&to, &request);
        servers.insert(to, kept);
    }
    servers
}

/// The server writes its vault, and reads it again when the same comes once more.
fn keep_twice(me: &NodeId, request: &RoamingRequest) {
    let mut server = Server::new(me.clone());
    let mut vault = None;
    for ticket in 0..2 {
        let address = Some(Address::new("alice@example.org").unwrap());
        let asker = Asker { id: node(9), address, is_applicant: false };
        let nonce = Nonce::from_bytes([7; 32]);
        let asked = Asked { asker, request: request.clone(), now: 1, memory: 1, nonce };
        server.handle_request(ticket, asked);
        while let Some(action) = server.poll() {
            match action {
                Action::Load { ticket, .. } => {
                    let loaded = Loaded { vault: vault.clone(), ..Loaded::default() };
                    server.handle_loaded(ticket, Ok(loaded), &Everybody);
                }
                Action::Persist { ticket, vault: new, .. } => {
                    vault = Some(new);
                    server.handle_persisted(ticket, Ok(()));
                }
                Action::Reply { reply: Reply::Plain(answer), .. } => {
                    assert_eq!(answer, Ok(RoamingAnswer::Done));
                }
                Action::Reply { reply, .. } => panic!("{reply:?}"),
            }
        }
    }
    assert!(vault.is_some(), "it keeps nothing");
}

/// Everybody has a quorum certificate.
struct Everybody;

impl Identities for Everybody {
    fn has_quorum_certificate(&self, _: &NodeId, _: &Address) -> bool {
        true
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}

fn log_in_and_open(
    record: &Record,
    password: Password,
    servers: &BTreeMap<NodeId, Share>,
    protected: &Protected,
) {
    let options = LoginOptions {
        requester: node(9),
        purpose: LoginPurpose::Open,
        round: Duration::from_secs(1),
        deadline: Duration::from_secs(2),
    };
    let mut login =
        Login::start(Duration::ZERO, record.clone(), password, options, &mut System).unwrap();
    while !login.is_over() {
        match login.poll().unwrap() {
            LoginAction::Send { to, request } => {
                for node in to {
                    let answer = answer(&servers[&node], &request);
                    let response = Response {
                        configuration: bftkv::protocol::ConfigurationDigest::from_bytes([0; 32]),
                        outcome: Ok(answer),
                    };
                    login.handle_response(&node, Ok(response));
                }
            }
            LoginAction::Stretch(stretch) => login.handle_stretched(Stretch::run(*stretch)),
            LoginAction::Show(node) => panic!("{node}"),
        }
    }
    let keys = login.result().unwrap().clone().unwrap().keys;
    black_box(protected.open(&keys).unwrap());
}

fn answer(share: &Share, request: &Request) -> Answer {
    let Request::Roaming(RoamingRequest::Evaluate { element, .. }) = request else {
        return Answer::Roaming(RoamingAnswer::Done);
    };
    let (element, proof) = evaluate(share, element, &mut System).unwrap();
    let (proof, nonce) = (proof.to_bytes(), Nonce::from_bytes([1; 32]));
    Answer::Roaming(RoamingAnswer::Evaluated(Evaluated { element, proof, nonce, left: 9 }))
}
