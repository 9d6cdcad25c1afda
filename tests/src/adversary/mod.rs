//! Traitors: one behaviour in each file.
//!
//! Byzantine servers answer requests as they like (`ByzantineServer`); Byzantine writers do what
//! they like, whenever they like (`ByzantineWriter`). All of them share what they know
//! (`Loot`), and Byzantine servers sign whatever Byzantine writers want. They cannot forge: each
//! holds its own key only.

mod abandon_then_store;
mod amnesia;
mod careless;
mod catalogue;
mod collector;
mod equivocating_server;
mod equivocating_writer;
mod error_spam;
mod false_accuser;
mod false_voucher;
mod foreign_signatures;
mod foreign_writer;
mod forger;
mod forked_view;
mod garbage;
mod giving_up;
mod hollow;
mod honest_core;
mod huge_answer;
mod huge_timestamp;
mod lurking_writer;
mod mixed;
mod other_variable;
mod overtaker;
mod parked;
mod password_liar;
mod refuser;
mod repeated_signatures;
mod replayer;
mod replaying_writer;
mod revoked;
mod seal_breaker;
mod silent;
mod slow_drip;
mod squatter;
mod stale_reader;
mod thief;
mod timestamp_jumper;
mod twin;
mod wrong_value;

pub use catalogue::Adversary;
pub(crate) use catalogue::{any_server, any_writer, silent_server};
pub(crate) use hollow::name_only;
pub(crate) use password_liar::PasswordLiar;

use std::collections::BTreeMap;
use std::time::Duration;

use bftkv_protocol::{
    Abandon, Address, CertifiedEntry, CollectiveSignature, Configuration, ConfigurationDigest,
    Configurations, Entry, EntryHash, EquivocationProof, Evidence, NodeId, Outcome, Purpose,
    Request, ShareStatement, Sign, SignatureShare, SignedEntry, Timestamp, Value, Variable, Verify,
    WriterSignature, verify_certified,
};

use crate::sim::{Disk, FakeKeys, FakeSigner, Rng};

/// How many things traitors remember of each kind.
const MAX_LOOT: usize = 64;

/// What the traitors know together.
#[derive(Debug, Default)]
pub(crate) struct Loot {
    /// Certified entries that passed by.
    pub(crate) certified: Vec<CertifiedEntry>,
    /// Signed entries that passed by.
    pub(crate) signed: Vec<SignedEntry>,
    /// Shares that honest nodes gave away.
    shares: BTreeMap<EntryHash, Vec<SignatureShare>>,
}

impl Loot {
    pub(crate) fn note_certified(&mut self, entry: &CertifiedEntry) {
        if self.certified.len() < MAX_LOOT && !self.certified.contains(entry) {
            self.certified.push(entry.clone());
        }
    }

    fn note_signed(&mut self, entry: &SignedEntry) {
        if self.signed.contains(entry) {
            return;
        }
        if self.signed.len() >= MAX_LOOT {
            self.signed.remove(0);
        }
        self.signed.push(entry.clone());
    }

    /// Takes a share, and tells for which of the signed entries it is.
    pub(crate) fn note_share(
        &mut self,
        share: &SignatureShare,
        configuration: &Configuration,
        keys: &dyn Verify,
    ) -> Option<SignedEntry> {
        let fits = |signed: &&SignedEntry| {
            let bytes = statement_of(signed, configuration).signed_bytes();
            keys.verify(&share.signer, Purpose::Share, &bytes, &share.signature).is_ok()
        };
        let signed = self.signed.iter().find(fits)?.clone();
        let shares = self.shares.entry(signed.hash()).or_default();
        if !shares.contains(share) {
            shares.push(share.clone());
        }
        Some(signed)
    }

    /// Makes a certified entry of what is there, with the help of the Byzantine servers.
    pub(crate) fn assemble(
        &mut self,
        entry: &SignedEntry,
        helpers: &[FakeSigner],
        configuration: &Configuration,
        keys: &dyn Verify,
    ) -> Option<CertifiedEntry> {
        let mut shares = self.shares.get(&entry.hash()).cloned().unwrap_or_default();
        shares.extend(helpers.iter().filter_map(|helper| share_by(helper, entry, configuration)));
        shares.retain(|share| configuration.clique_of(&share.signer).is_some());
        let certified = CertifiedEntry {
            signed: entry.clone(),
            collective: CollectiveSignature::new(configuration.digest(), shares),
        };
        let known = Configurations::starting_with(configuration.clone());
        let enough = verify_certified(&certified, &known, keys).is_ok();
        if enough {
            self.note_certified(&certified);
        }
        enough.then_some(certified)
    }
}

fn statement_of(entry: &SignedEntry, configuration: &Configuration) -> ShareStatement {
    ShareStatement {
        realm: configuration.realm().clone(),
        configuration: configuration.digest(),
        variable: entry.entry.variable.clone(),
        timestamp: entry.entry.timestamp,
        entry: entry.hash(),
    }
}

fn share_by(
    signer: &FakeSigner,
    entry: &SignedEntry,
    configuration: &Configuration,
) -> Option<SignatureShare> {
    let bytes = statement_of(entry, configuration).signed_bytes();
    let signature = signer.sign(Purpose::Share, &bytes).ok()?;
    Some(SignatureShare { signer: signer.id().clone(), signature })
}

/// A true proof that this server signed two things: a member's entry, and a changed one.
fn own_proof(lair: &Lair<'_>, entry: &SignedEntry) -> Option<EquivocationProof> {
    let mut other = entry.clone();
    other.entry.value = Value::new(*b"the other").ok()?;
    let count = |entry: &SignedEntry| {
        let share = share_by(lair.signer, entry, lair.configuration)?;
        Some((statement_of(entry, lair.configuration), share.signature))
    };
    let (first, second) = (count(entry)?, count(&other)?);
    EquivocationProof::of_shares(lair.signer.id().clone(), first, second, lair.keys).ok()
}

/// What one Byzantine server remembers of one variable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered {
    seen: Timestamp,
    latest: Option<CertifiedEntry>,
}

/// What a Byzantine server has at hand.
#[derive(Debug)]
pub(crate) struct Lair<'a> {
    pub(crate) signer: &'a FakeSigner,
    pub(crate) configuration: &'a Configuration,
    pub(crate) rng: &'a mut Rng,
    pub(crate) loot: &'a mut Loot,
    pub(crate) memory: &'a mut BTreeMap<Variable, Remembered>,
    /// Everybody's public keys.
    pub(crate) keys: &'a FakeKeys,
    /// Keys that belong to nobody.
    pub(crate) sybils: &'a [FakeSigner],
    /// Who asks.
    pub(crate) sender: &'a NodeId,
    /// How long it waits before it answers.
    pub(crate) delay: Duration,
    /// The configuration under which it pretends to answer.
    pub(crate) digest: ConfigurationDigest,
    /// Requests that it sends in its own name.
    pub(crate) posts: Vec<(NodeId, Request)>,
}

/// A server that does as it likes.
pub(crate) trait ByzantineServer: std::fmt::Debug {
    /// Answers, or not.
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome>;
}

/// What a Byzantine writer has at hand.
#[derive(Debug)]
pub(crate) struct Hand<'a> {
    pub(crate) signer: &'a FakeSigner,
    pub(crate) owner: &'a Address,
    /// Somebody else's address.
    pub(crate) victim: &'a Address,
    pub(crate) configuration: &'a Configuration,
    pub(crate) helpers: &'a [FakeSigner],
    /// Everybody's public keys.
    pub(crate) keys: &'a FakeKeys,
    pub(crate) rng: &'a mut Rng,
    pub(crate) loot: &'a mut Loot,
    pub(crate) variable: &'a Variable,
    /// The largest timestamp that any honest member has seen: traitors know everything.
    pub(crate) top: Timestamp,
    /// Its own attempts so far.
    pub(crate) attempts: &'a mut Vec<SignedEntry>,
    /// Requests that it sends.
    pub(crate) posts: Vec<(NodeId, Request)>,
}

impl Hand<'_> {
    /// Signs an entry and remembers it as an attempt.
    fn attempt(
        &mut self,
        timestamp: Timestamp,
        text: &str,
        is_final: bool,
        owner: &Address,
    ) -> Option<SignedEntry> {
        let entry = Entry {
            realm: self.configuration.realm().clone(),
            variable: self.variable.clone(),
            timestamp,
            value: Value::new(text.as_bytes()).ok()?,
            is_final,
            writer: self.signer.id().clone(),
            owner: owner.clone(),
        };
        let signature = self.signer.sign(Purpose::Entry, &entry.signed_bytes()).ok()?;
        let signed = SignedEntry { entry, signature: WriterSignature::new(signature) };
        self.loot.note_signed(&signed);
        self.attempts.push(signed.clone());
        Some(signed)
    }

    /// A value that nobody else writes.
    fn text(&mut self) -> String {
        format!("{}.{}.{}", self.owner, self.attempts.len(), self.rng.below(1000))
    }

    /// Asks members for shares, now and then showing the newest entry.
    fn ask(&mut self, members: &[NodeId], entry: &SignedEntry) {
        let newest = self.loot.certified.iter().filter(|c| c.variable() == self.variable);
        let latest = newest.max_by_key(|c| c.timestamp()).cloned().map(Box::new);
        let latest = latest.filter(|_| self.rng.percent(50));
        let evidence = Evidence { latest, times: Vec::new() };
        let request = Request::Sign { entry: entry.clone(), evidence };
        self.posts.extend(members.iter().map(|id| (id.clone(), request.clone())));
    }

    /// Signs a new attempt `step` above all that was seen, and asks these members for shares.
    fn begin(&mut self, step: u64, is_final: bool, members: &[NodeId]) {
        let (t, owner, text) = (self.top.saturating_add(step), self.owner.clone(), self.text());
        if let Some(entry) = self.attempt(t, &text, is_final, &owner) {
            self.ask(members, &entry);
        }
    }

    /// Says that an attempt is given up.
    fn give_up(&mut self, entry: &SignedEntry, members: Vec<NodeId>) {
        let (realm, attempt) = (self.configuration.realm().clone(), entry.id());
        let (writer, owner) = (self.signer.id().clone(), self.owner.clone());
        let bytes = Abandon::statement(&realm, &attempt, &writer, &owner);
        let Ok(signature) = self.signer.sign(Purpose::Abandon, &bytes) else { return };
        let abandon = Abandon { realm, attempt, writer, owner, signature };
        let request = Request::Abandon { abandon, evidence: Evidence::default() };
        self.posts.extend(members.into_iter().map(|id| (id, request.clone())));
    }

    /// Makes a certified entry of an attempt, if there are enough shares.
    fn assemble(&mut self, attempt: &SignedEntry) -> Option<CertifiedEntry> {
        self.loot.assemble(attempt, self.helpers, self.configuration, self.keys)
    }

    /// Some nodes, of all groups.
    fn some_nodes(&mut self) -> Vec<NodeId> {
        let all: Vec<NodeId> = self.configuration.everyone().into_iter().collect();
        let count = self.rng.index(all.len()).saturating_add(1);
        self.rng.sample(&all, count)
    }

    fn members(&self) -> Vec<NodeId> {
        self.configuration.authority().into_iter().collect()
    }

    /// Some members: one, two, or (more often) all.
    fn some_members(&mut self) -> Vec<NodeId> {
        let all = self.members();
        let count = match self.rng.below(5) {
            0 => 1,
            1 => 2,
            _ => all.len(),
        };
        self.rng.sample(&all, count)
    }
}

/// A writer that does as it likes.
pub(crate) trait ByzantineWriter: std::fmt::Debug {
    /// Does something.
    fn act(&mut self, hand: &mut Hand<'_>);
}
