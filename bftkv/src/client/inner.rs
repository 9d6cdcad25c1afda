//! What a client has: certificates, a key, a way to the nodes, and its own memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bftkv_protocol::client::{Convoys, ReadOptions, Reserve};
use bftkv_protocol::{
    Abandon, Address, Answer, Configuration, Configurations, Entry, EntryId, EquivocationProof,
    Evidence, Group, Identities, NodeId, ProofError, Purpose, Request, Response, Sign, SignedEntry,
    Variable, Verify, WriterSignature, sign_batch,
};
use bftkv_storage::{ReserveError, WriterLog};
use bftkv_wot::{OwnKey, QuorumCertificates};
use tokio::sync::mpsc;

use super::GetOptions;
use super::lanes::Lanes;
use super::notes::Notes;
use super::own::OwnEntries;
use super::pace::Pace;
use super::puts::Booking;
use crate::config::{ClientConfig, RealmConfig};
use crate::peers::{Heard, Patience, Peers};
use crate::record_file::RecordFile;
use crate::{Certificates, Error, HomeError};

/// How many pages of proofs are taken from one node. One holds two million bytes, so that a liar
/// who sends pages for ever is heard for a while only.
const MAX_PAGES: usize = 64;

/// Everything that operations share.
pub(super) struct Inner {
    pub(super) certificates: Certificates,
    pub(super) key: OwnKey,
    pub(super) peers: Peers,
    pub(super) memory: WriterLog,
    pub(super) realm: RealmConfig,
    pub(super) settings: ClientConfig,
    pub(super) configurations: RwLock<Option<Arc<Configurations>>>,
    /// Where adopted configurations are kept.
    pub(super) file: RecordFile,
    pub(super) began: Instant,
    pub(super) pace: Pace,
    pub(super) convoys: Mutex<Convoys<Booking>>,
    pub(super) lanes: Lanes,
    pub(super) notes: Notes,
    pub(super) own: OwnEntries,
}

impl Inner {
    /// The driver's clock: time since the client was made.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    pub(super) fn keys(&self) -> &dyn Verify {
        self.certificates.keys()
    }

    pub(super) fn configurations(&self) -> Result<Arc<Configurations>, Error> {
        let current = self.configurations.read().unwrap_or_else(PoisonError::into_inner);
        current.clone().ok_or(Error::NotConfigured)
    }

    /// The configuration in force.
    pub(super) fn configuration(&self) -> Result<Arc<Configuration>, Error> {
        self.configurations().map(|known| Arc::clone(known.newest()))
    }

    /// Everybody in the configuration.
    pub(super) fn everyone(&self) -> BTreeSet<NodeId> {
        self.configuration().map(|c| c.everyone()).unwrap_or_default()
    }

    /// The address under which this client writes.
    pub(super) fn owner(&self) -> Result<Address, Error> {
        self.certificates.address(self.key.id()).ok_or(Error::NoAddress)
    }

    /// The owner whom an entry at this name gets. Who has no quorum certificate yet claims its user
    /// ID by its record.
    pub(super) fn owner_of(&self, variable: &Variable) -> Result<Address, Error> {
        let owner = self.owner()?;
        if variable.user().as_ref() != Some(&owner) || self.is_certified()? {
            return Ok(owner);
        }
        // An address of a fingerprint is short enough.
        Address::of_applicant(self.key.id()).map_err(|_| Error::NoAddress)
    }

    /// Whether the own certificate has a quorum certificate, as far as this client knows.
    pub(super) fn is_certified(&self) -> Result<bool, Error> {
        Ok(self.writers()?.has_quorum_certificate(self.key.id(), &self.owner()?))
    }

    /// What the certificates of this client say of writers.
    pub(super) fn writers(&self) -> Result<QuorumCertificates, Error> {
        let keyring = self.certificates.keyring().clone();
        Ok(QuorumCertificates::of_all(keyring, &*self.configuration()?))
    }

    pub(super) fn cut(&self) -> BTreeSet<NodeId> {
        self.certificates.keyring().cut()
    }

    // ----- messages -----

    /// Asks nodes; their answers come as they arrive. A store phase goes on in the background.
    pub(super) fn ask(
        &self,
        to: BTreeSet<NodeId>,
        request: Request,
        lingers: bool,
    ) -> mpsc::UnboundedReceiver<Heard> {
        let deadline = self.settings.deadline();
        let patience =
            if lingers { Patience::lingering(deadline) } else { Patience::within(deadline) };
        self.peers.ask(to, request, patience)
    }

    /// Looks for certificates at all nodes; tells who answered.
    pub(super) async fn fetch(&self, ids: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        self.fetch_from(self.everyone(), ids).await
    }

    /// Looks for certificates at these nodes; tells who answered.
    pub(super) async fn fetch_from(
        &self,
        nodes: BTreeSet<NodeId>,
        ids: BTreeSet<NodeId>,
    ) -> BTreeSet<NodeId> {
        let request = Request::Certificates { ids: ids.into_iter().collect() };
        let mut answers = self.ask(nodes, request, false);
        let mut answered = BTreeSet::new();
        while let Some((node, response)) = answers.recv().await {
            let Ok(Response { outcome: Ok(Answer::Certificates(found)), .. }) = response else {
                continue;
            };
            answered.insert(node);
            found.iter().for_each(|certificate| self.learn(certificate));
        }
        answered
    }

    /// Keeps a certificate; one that is no good is not worth more than a word in the log.
    pub(super) fn learn(&self, certificate: &bftkv_protocol::CertificateBytes) {
        if let Err(error) = self.certificates.add(certificate) {
            tracing::debug!(%error, "a node sent a certificate that cannot be used");
        }
    }

    // ----- the writer's own memory and key -----

    /// Signs under the lock of the home, and remembers what was signed before it leaves. What is
    /// more than one entry has one signature.
    pub(super) fn reserve_many(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Vec<Result<SignedEntry, Reserve>>, Reserve> {
        let wanted: Vec<_> = entries.iter().map(|e| (e.variable.clone(), e.timestamp)).collect();
        let mut signed: BTreeMap<usize, SignedEntry> = BTreeMap::new();
        let make = |free: &[usize]| -> Result<_, String> {
            let chosen: Vec<&Entry> = free.iter().filter_map(|place| entries.get(*place)).collect();
            let messages: Vec<Vec<u8>> = chosen.iter().map(|entry| entry.signed_bytes()).collect();
            let sign = |purpose, bytes: &[u8]| self.key.sign(purpose, bytes);
            let packets = sign_batch(Purpose::Entry, &messages, sign).map_err(|e| e.to_string())?;
            let mut hashes = Vec::with_capacity(free.len());
            for ((place, entry), packet) in free.iter().zip(chosen).zip(packets) {
                let signature = WriterSignature::new(packet);
                let made = SignedEntry { entry: entry.clone(), signature };
                hashes.push(made.hash());
                signed.insert(*place, made);
            }
            Ok(hashes)
        };
        let reserved = self.memory.reserve_many(&wanted, make).map_err(not_reserved)?;
        let each = reserved.into_iter().enumerate().map(|(place, one)| match one {
            Ok(_) => signed
                .remove(&place)
                .ok_or_else(|| Reserve::Failed("nothing was signed".to_owned())),
            Err(error) => Err(not_reserved(error)),
        });
        Ok(each.collect())
    }

    /// Notes that the attempts have S: for each whether it may be used.
    pub(super) fn record_all_assembled(&self, attempts: &[EntryId]) -> Vec<Result<(), String>> {
        match self.memory.assembled_many(attempts) {
            Ok(each) => each.into_iter().map(|one| one.map_err(|e| e.to_string())).collect(),
            Err(error) => attempts.iter().map(|_| Err(error.to_string())).collect(),
        }
    }

    pub(super) fn settle_all(&self, attempts: &[EntryId]) {
        if let Err(error) = self.memory.settled_many(attempts) {
            tracing::warn!(%error, "cannot note that attempts are settled");
        }
    }

    /// Attempts on the variables that a crashed process of this home left behind.
    pub(super) fn leftovers_of(&self, variables: &BTreeSet<Variable>) -> Vec<EntryId> {
        self.memory.abandonable_of(variables).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look for abandoned attempts");
            Vec::new()
        })
    }

    fn settle(&self, attempt: &EntryId) {
        if let Err(error) = self.memory.settled(attempt) {
            tracing::warn!(%error, "cannot note that an attempt is settled");
        }
    }

    /// Gives an attempt up: first on the own disk, so that it can never be assembled, then at the
    /// members. When a quorum of every clique knows it is settled; until then it is sent again by
    /// the next write of the variable.
    pub(super) async fn abandon(
        self: Arc<Self>,
        to: BTreeSet<NodeId>,
        attempt: EntryId,
        evidence: Evidence,
    ) {
        let inner = Arc::clone(&self);
        let given_up = attempt.clone();
        let sign = move || -> Result<Abandon, Error> {
            inner.memory.abandon(&given_up).map_err(HomeError::Memory)?;
            inner.sign_abandon(&given_up)
        };
        let request = match tokio::task::spawn_blocking(sign).await {
            Ok(Ok(abandon)) => Request::Abandon { abandon, evidence },
            Ok(Err(error)) => return tracing::warn!(%error, "cannot give up an attempt"),
            Err(_) => return,
        };
        let mut answers = self.ask(to, request, true);
        let mut done = BTreeSet::new();
        while let Some((node, response)) = answers.recv().await {
            if matches!(response, Ok(Response { outcome: Ok(Answer::Done), .. })) {
                done.insert(node);
            }
        }
        let known = |group: &Group| group.count(&done) >= group.thresholds().q();
        if self.configuration().is_ok_and(|c| c.cliques().iter().all(known)) {
            self.settle(&attempt);
        } else {
            self.memory.release(&attempt);
        }
    }

    fn sign_abandon(&self, attempt: &EntryId) -> Result<Abandon, Error> {
        let realm = self.configuration()?.realm().clone();
        let (writer, owner) = (self.key.id().clone(), self.owner_of(&attempt.variable)?);
        let bytes = Abandon::statement(&realm, attempt, &writer, &owner);
        let signature = self.key.sign(Purpose::Abandon, &bytes)?;
        Ok(Abandon { realm, attempt: attempt.clone(), writer, owner, signature })
    }

    /// Cuts out whoever is convicted, keeps the proof, and tells the nodes, once.
    ///
    /// Paper: §4.1 read, "revoke the signer on the spot, and write back a proof of malicious work".
    pub(super) fn accuse(&self, proof: EquivocationProof) {
        if self.certificates.revoked().convict(&proof) {
            tracing::warn!(guilty = %proof.guilty(), "signed two entries for one timestamp");
            let mut others = self.everyone();
            others.remove(proof.guilty());
            self.peers.post(others, Request::Accuse(Box::new(proof)));
        }
    }

    /// Asks all nodes whom they have convicted, and checks what they say.
    pub(super) async fn learn_revocations(&self) {
        let mut asked: BTreeMap<NodeId, Option<NodeId>> =
            self.everyone().into_iter().map(|node| (node, None)).collect();
        for _ in 0..MAX_PAGES {
            let mut next = BTreeMap::new();
            for (after, nodes) in by_place(asked) {
                let mut answers = self.ask(nodes, Request::Revocations { after }, false);
                while let Some((node, response)) = answers.recv().await {
                    let Ok(Response { outcome: Ok(Answer::Proofs { proofs, more }), .. }) =
                        response
                    else {
                        continue;
                    };
                    let last = proofs.last().map(|proof| proof.guilty().clone());
                    for proof in proofs {
                        self.believe(&node, proof).await;
                    }
                    if more && last.is_some() {
                        next.insert(node, last);
                    }
                }
            }
            if next.is_empty() {
                return;
            }
            asked = next;
        }
    }

    /// Takes a proof from a node, if it is one.
    async fn believe(&self, node: &NodeId, proof: EquivocationProof) {
        if self.certificates.revoked().proof(proof.guilty()).is_some() {
            return;
        }
        let Ok(known) = self.configurations() else { return };
        let mut verdict = proof.verify(&known, self.keys());
        if let Some(missing) = verdict.as_ref().err().and_then(ProofError::missing_certificate) {
            self.fetch(BTreeSet::from([missing.clone()])).await;
            verdict = proof.verify(&known, self.keys());
        }
        match verdict {
            Ok(()) => drop(self.certificates.revoked().convict(&proof)),
            Err(error) => tracing::warn!(%node, %error, "sent a proof that proves nothing"),
        }
    }

    /// A seed for waiting times.
    pub(super) fn seed() -> u64 {
        let mut bytes = [0; 8];
        // Without randomness writers would only wait in step.
        let _ = getrandom::fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// How to read until then.
    pub(super) fn read_options(&self, options: GetOptions, deadline: Duration) -> ReadOptions {
        let [hedge, whole] = self.pace.of_read(Instant::now());
        ReadOptions {
            at: options.at,
            consistency: options.consistency.unwrap_or_else(|| self.settings.consistency.into()),
            proof: options.proof,
            cut: self.cut(),
            hedge,
            whole,
            deadline,
            round_timeout: self.settings.round(),
        }
    }

    /// When an operation that begins now gives up.
    pub(super) fn deadline(&self, wanted: Option<Duration>) -> Duration {
        self.now() + wanted.unwrap_or_else(|| self.settings.deadline())
    }
}

fn not_reserved(error: ReserveError<String>) -> Reserve {
    match error {
        ReserveError::Used { mark } => Reserve::Used { mark },
        ReserveError::Make(reason) => Reserve::Failed(reason),
        error => Reserve::Failed(error.to_string()),
    }
}

/// Nodes by the place from which they are asked to go on.
fn by_place(asked: BTreeMap<NodeId, Option<NodeId>>) -> BTreeMap<Option<NodeId>, BTreeSet<NodeId>> {
    let mut places: BTreeMap<Option<NodeId>, BTreeSet<NodeId>> = BTreeMap::new();
    for (node, after) in asked {
        places.entry(after).or_default().insert(node);
    }
    places
}
