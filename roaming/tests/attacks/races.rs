//! Devices that change one password at the same time: whatever comes to be certified can be opened.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bftkv_protocol::{
    EntryHash, SignatureBytes, Slot, Timestamp, ValueDigest, Variable, WriterSignature,
};
use bftkv_roaming::{Enrolled, Record, Rule};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::support::*;

const SERVERS: usize = 4;
const QUORUM: usize = 3;
/// Records of each epoch, for devices that change the password at once.
const RIVALS: usize = 6;
const EPOCHS: usize = 5;

/// Making records is slow, so all runs draw from the same.
static RECORDS: LazyLock<Vec<Vec<Enrolled>>> = LazyLock::new(|| {
    let mut rng = rng();
    let mut enrol = |epoch: usize| {
        let plan = plan(4, Rule::Majority, u64::try_from(epoch).unwrap());
        Record::enrol(plan, &password("right"), &mut rng).unwrap()
    };
    (1..=EPOCHS).map(|epoch| (0..RIVALS).map(|_| enrol(epoch)).collect()).collect()
});

/// A change of the password that is under way.
struct Change {
    dealer: u8,
    record: &'static Enrolled,
    dealt: BTreeSet<usize>,
    /// t of the attempt, who was asked, who may sign and has not yet, who signed it, who has stored it.
    attempt: u64,
    asked: BTreeSet<usize>,
    may: BTreeSet<usize>,
    signed: BTreeSet<usize>,
    stored: BTreeSet<usize>,
}

impl Change {
    fn is_certified(&self) -> bool {
        self.signed.len() >= QUORUM
    }
}

struct Race {
    rng: ChaCha20Rng,
    hosts: Vec<Host>,
    changes: Vec<Change>,
    used: [usize; EPOCHS],
    last_attempt: u64,
    /// What was certified: t, and the servers that signed.
    certified: Vec<(u64, &'static Enrolled, BTreeSet<usize>)>,
    refused: usize,
}

fn x() -> Variable {
    variable("x")
}

impl Race {
    fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            hosts: (1..=4).map(Host::new).collect(),
            changes: Vec::new(),
            used: [0; EPOCHS],
            last_attempt: 0,
            certified: Vec::new(),
            refused: 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.rng.next_u32()).unwrap() % n
    }

    /// One thing happens, somewhere.
    fn step(&mut self) {
        if self.changes.is_empty() || self.below(12) == 0 {
            return self.begin();
        }
        let which = self.below(self.changes.len());
        let server = self.below(SERVERS);
        let (is_lost, waits) = (self.below(60) == 0, self.below(3) > 0);
        let change = &self.changes[which];
        if is_lost && !change.is_certified() {
            self.give_up(which);
        } else if change.is_certified() {
            self.store(which, server);
        } else if change.dealt.len() < QUORUM || (change.attempt == 0 && waits) {
            self.deal(which, server);
        } else {
            self.sign(which, server);
        }
    }

    /// A device reads what some server has, and writes again under that record, or makes the next one.
    /// Two of three devices have one key.
    fn begin(&mut self) {
        let server = self.below(SERVERS);
        let dealer = [ALICE, ALICE, ALICES_PHONE][self.below(3)];
        let newest = self.hosts[server].disk.latest.get(&x()).map(|entry| entry.timestamp().get());
        let found = self.certified.iter().find(|one| Some(one.0) == newest).map(|one| one.1);
        if let Some(record) = found.filter(|_| self.below(2) == 0) {
            return self.change(dealer, record, (0..SERVERS).collect());
        }
        let epoch = found.map_or(0, |found| usize::try_from(found.record.epoch()).unwrap());
        let Some(rivals) = RECORDS.get(epoch) else { return };
        let Some(record) = rivals.get(self.used[epoch]) else { return };
        self.used[epoch] += 1;
        self.change(dealer, record, BTreeSet::new());
    }

    fn change(&mut self, dealer: u8, record: &'static Enrolled, dealt: BTreeSet<usize>) {
        let none = BTreeSet::new;
        let (asked, may, signed, stored) = (none(), none(), none(), none());
        self.changes.push(Change { dealer, record, dealt, attempt: 0, asked, may, signed, stored });
    }

    fn deal(&mut self, which: usize, server: usize) {
        let Change { dealer, record, dealt, .. } = &mut self.changes[which];
        let request = deal(record, &record.shares[server]);
        if self.hosts[server].ask(*dealer, request).is_ok() {
            dealt.insert(server);
        }
    }

    /// A server signs as rule R3 says: nothing below what it has seen. It asks whether it may some time
    /// before.
    fn sign(&mut self, which: usize, server: usize) {
        let change = &self.changes[which];
        if change.attempt == 0 || (change.asked.len() == SERVERS && change.may.is_empty()) {
            self.try_again(which);
        }
        let Change { dealer, record, attempt, signed, asked, may, .. } = &mut self.changes[which];
        let host = &mut self.hosts[server];
        if asked.insert(server) {
            let allowed = host.may_sign(*dealer, &record.record, *attempt) && may.insert(server);
            self.refused += usize::from(!allowed);
            return;
        }
        let marks = host.disk.marks.entry(x()).or_default();
        if !may.remove(&server) || Timestamp::new(*attempt) <= marks.seen {
            return;
        }
        marks.seen = Timestamp::new(*attempt);
        marks.slots.push(slot(*attempt));
        signed.insert(server);
        if signed.len() == QUORUM {
            self.certified.push((*attempt, record, signed.clone()));
        }
    }

    /// The same record under a fresh timestamp; what was signed before is abandoned.
    fn try_again(&mut self, which: usize) {
        self.abandon(which);
        self.last_attempt += 1;
        let change = &mut self.changes[which];
        change.attempt = self.last_attempt;
        for group in [&mut change.asked, &mut change.may, &mut change.signed] {
            group.clear();
        }
    }

    fn abandon(&mut self, which: usize) {
        let attempt = Timestamp::new(self.changes[which].attempt);
        for host in &mut self.hosts {
            let marks = host.disk.marks.entry(x()).or_default();
            marks.slots.retain(|slot| slot.timestamp != attempt);
            marks.seen = marks.seen.max(attempt);
        }
    }

    fn give_up(&mut self, which: usize) {
        self.abandon(which);
        self.changes.remove(which);
    }

    fn store(&mut self, which: usize, server: usize) {
        let Change { record, attempt, stored, .. } = &mut self.changes[which];
        stored.insert(server);
        let host = &mut self.hosts[server];
        let attempt = Timestamp::new(*attempt);
        let marks = host.disk.marks.entry(x()).or_default();
        marks.seen = marks.seen.max(attempt);
        marks.slots.retain(|slot| slot.timestamp > attempt);
        if host.disk.latest.get(&x()).is_none_or(|latest| latest.timestamp() < attempt) {
            host.certify(record, attempt.get());
        }
        host.settle(&x());
        if stored.len() == SERVERS {
            self.changes.remove(which);
        }
    }

    /// Whoever signed what is the newest certified entry now holds its share.
    fn check(&self, seed: u64, step: usize) {
        let Some((t, enrolled, signers)) = self.certified.iter().max_by_key(|one| one.0) else {
            return;
        };
        for server in signers {
            let vault = self.hosts[*server].disk.vaults[&x()].as_bytes();
            let share = enrolled.shares[*server].secret();
            let is_there = vault.windows(32).any(|part| part == share.as_bytes());
            assert!(is_there, "seed {seed}, step {step}: server {server} lost its share of t={t}");
        }
    }
}

fn slot(attempt: u64) -> Slot {
    let entry = certified(x(), protected(&RECORDS[0][0], 1), attempt).entry().clone();
    let signature = WriterSignature::new(SignatureBytes::new([1]).unwrap());
    Slot {
        timestamp: entry.timestamp,
        hash: EntryHash::from_bytes([0; 32]),
        writer: entry.writer,
        owner: entry.owner,
        value: ValueDigest::from_bytes([0; 32]),
        is_final: false,
        signature,
    }
}

#[test]
fn whatever_is_certified_can_be_opened_however_many_change_it_at_once() {
    let (mut certified, mut refused, mut raced) = (0, 0, 0);
    for seed in 0..400 {
        let mut race = Race::new(seed);
        for step in 0..300 {
            race.step();
            race.check(seed, step);
        }
        certified += race.certified.len();
        refused += race.refused;
        raced += usize::from(race.used.iter().any(|used| *used > 1));
    }
    // The runs are such that something can go wrong.
    assert!(certified > 400 && refused > 0 && raced > 300, "{certified} {refused} {raced}");
}

/// Anybody may ask to have an entry signed. Only the owner's keeps a share that is to be erased.
#[test]
fn nobody_else_keeps_an_old_share_from_being_erased() {
    let (mut host, old, new) = (Host::new(1), &RECORDS[0][0], &RECORDS[1][0]);
    let holds = |host: &Host| {
        let vault = host.disk.vaults[&x()].as_bytes();
        vault.windows(32).any(|part| part == old.shares[0].secret().as_bytes())
    };
    assert!(host.ask(ALICE, deal(old, &old.shares[0])).is_ok());
    assert!(!host.may_sign(MALLORY, &old.record, 1), "she has dealt none");
    assert!(host.may_sign(ALICE, &old.record, 1));
    host.certify(old, 1);
    assert!(host.may_sign(MALLORY, &old.record, 1_000), "it is for rule R3 to refuse");
    assert!(host.ask(ALICE, deal(new, &new.shares[0])).is_ok());
    host.certify(new, 2);
    host.settle(&x());
    assert!(!holds(&host));
    // It is kept for what the owner may have certified next.
    host.certify(old, 3);
    assert!(!host.may_sign(ALICE, &old.record, 4));
}
