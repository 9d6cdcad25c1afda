//! A node's part in changes of members: votes, stops, takes over, and keeps it all on disk.
//!
//! What may be promised when is decided in `bftkv_protocol::server::Membership`.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bftkv_protocol::client::Source;
use bftkv_protocol::server::{
    Certifications, Judgement, Membership, MembershipRecord, Proposal, Standing,
};
use bftkv_protocol::{
    Answer, Change, ChangeError, Configuration, ConfigurationDigest, Configurations, Group, NodeId,
    Objection, Outcome, Purpose, Refusal, Request, Sign, SignatureShare, SignedChange,
};
use bftkv_wot::{OwnKey, TrustGraph};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedRwLockReadGuard;

use super::catching_up::catch_up;
use super::core::Core;
use super::recovery::Recovery;
use crate::bootstrap;
use crate::config::RealmConfig;
use crate::peers::{Patience, Peers};
use crate::record_file::RecordFile;
use crate::{Certificates, Error};

/// The first line of the file.
const MAGIC: &[u8] = b"bftkv members 1\n";

/// How long one round of questions may take.
const ROUND: Duration = Duration::from_secs(5);

/// How often the others are asked for changes: while something is open, and otherwise.
const SOON: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(60);

/// A request that is being answered holds this: the node does not stop under a configuration
/// before everything that it promises under it is on disk and said.
pub(super) type Serving = OwnedRwLockReadGuard<Membership>;

/// What is on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OnDisk {
    record: MembershipRecord,
    /// Whether q members were heard of to have the same; until then the web of trust was believed
    /// alone, and the node may learn that the realm has moved on long since.
    confirmed: bool,
}

/// The state and everything that it takes to change it. Shared by all tasks of a node.
pub(super) struct Members {
    state: Arc<tokio::sync::RwLock<Membership>>,
    /// A copy for those who only look.
    seen: RwLock<Membership>,
    confirmed: RwLock<bool>,
    /// Nothing is known of the realm but nodes that may be in it: neither the web of trust nor a quorum
    /// has shown a configuration yet. What stands in for one is never told to anybody, never changed
    /// by votes, and not kept on disk.
    waiting: RwLock<bool>,
    file: RecordFile,
    realm: RealmConfig,
    certificates: Certificates,
    key: OwnKey,
    peers: Peers,
    wake: tokio::sync::Notify,
}

/// The trust graph as a vote sees it.
struct Trust<'a>(&'a TrustGraph);

impl Certifications for Trust<'_> {
    fn certifies(&self, from: &NodeId, to: &NodeId) -> bool {
        self.0.certifies(from, to) && self.0.vertex(to).is_some_and(|vertex| vertex.is_node)
    }
}

impl Members {
    /// Reads what is on disk, or begins with what the web of trust gives. If that is nothing, the node
    /// is a guest among the nodes that it knows, until it hears what the realm has.
    pub(super) fn open(
        first: Option<Configuration>,
        path: Option<std::path::PathBuf>,
        realm: RealmConfig,
        certificates: Certificates,
        key: OwnKey,
        peers: Peers,
    ) -> Result<Self, Error> {
        let file = RecordFile::new(path, MAGIC);
        let me = key.id().clone();
        let on_disk = file.read::<OnDisk>()?;
        let waiting = on_disk.is_none() && first.is_none();
        let (membership, confirmed) = match (on_disk, first) {
            (Some(found), _) => {
                (Membership::restore(me, found.record).map_err(Error::Members)?, found.confirmed)
            }
            (None, Some(first)) => {
                let known = Arc::new(Configurations::starting_with(first));
                (Membership::begin(me, known), false)
            }
            (None, None) => {
                let others = everybody_else(&me, &realm, &certificates)?;
                (Membership::arrive(me, Arc::new(Configurations::starting_with(others))), false)
            }
        };
        certificates.keep_members(membership.configurations().newest());
        let members = Self {
            state: Arc::new(tokio::sync::RwLock::new(membership.clone())),
            seen: RwLock::new(membership),
            confirmed: RwLock::new(confirmed),
            waiting: RwLock::new(waiting),
            file,
            realm,
            certificates,
            key,
            peers,
            wake: tokio::sync::Notify::new(),
        };
        members.save(&members.seen())?;
        Ok(members)
    }

    /// Whether something is on disk, so that the web of trust need not be asked.
    pub(super) fn is_on_disk(path: &std::path::Path) -> bool {
        path.exists()
    }

    /// What the node is now. It may change at any time; for promises hold [`Members::hold`].
    pub(super) fn seen(&self) -> Membership {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn configurations(&self) -> Arc<Configurations> {
        Arc::clone(self.seen.read().unwrap_or_else(PoisonError::into_inner).configurations())
    }

    /// Keeps the node from stopping while a request is answered.
    pub(super) async fn hold(&self) -> Serving {
        Arc::clone(&self.state).read_owned().await
    }

    /// Whether the web of trust was confirmed by a quorum, or nothing but it is known.
    fn is_confirmed(&self) -> bool {
        *self.confirmed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirm(&self) {
        *self.confirmed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether neither the web of trust nor a quorum has shown a configuration yet.
    pub(super) fn is_waiting(&self) -> bool {
        *self.waiting.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, membership: &Membership) -> Result<(), Error> {
        if self.is_waiting() {
            return Ok(());
        }
        let on_disk = OnDisk { record: membership.record(), confirmed: self.is_confirmed() };
        Ok(self.file.write(&on_disk)?)
    }

    /// Makes a new state durable, then lets everybody see it. The caller holds the lock.
    fn change(&self, state: &mut Membership, new: Membership) -> Result<(), Error> {
        self.save(&new)?;
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        *state = new;
        Ok(())
    }

    // ----- answers -----

    pub(super) fn answer_configurations(&self, above: u64) -> Outcome {
        if self.is_waiting() {
            return Err(Refusal::NotMember);
        }
        let seen = self.seen();
        let known = seen.configurations();
        Ok(Answer::Configurations {
            lineage: Box::new(known.lineage_above(above)),
            newest: known.newest().digest(),
            serving: seen.standing() == Standing::Serving,
        })
    }

    /// Votes, or says whether it would.
    pub(super) async fn answer_proposal(
        &self,
        sender: &NodeId,
        predecessor: ConfigurationDigest,
        change: &Change,
        binding: bool,
    ) -> Outcome {
        let state = if binding { Some(self.state.write().await) } else { None };
        let graph = self.certificates.keyring().graph();
        let (trust, cut) = (Trust(&graph), self.certificates.keyring().cut());
        let by = Judgement { trust: &trust, cut: &cut, allow_small: self.realm.allow_small };
        let proposal = Proposal { sender, predecessor, change };
        let Some(mut state) = state else {
            self.seen().judge(&proposal, &by).map_err(Refusal::Objection)?;
            return Ok(Answer::Vote(None));
        };
        let mut new = state.clone();
        let statement = new.vote(&proposal, &by).map_err(Refusal::Objection)?;
        self.change(&mut state, new).map_err(|error| {
            tracing::error!(%error, "cannot keep a vote on disk");
            Refusal::StorageUnavailable
        })?;
        let signature = self.key.sign(Purpose::Change, &statement.signed_bytes());
        let signature = signature.map_err(|error| {
            tracing::error!(%error, "cannot sign");
            Refusal::StorageUnavailable
        })?;
        Ok(Answer::Vote(Some(SignatureShare { signer: self.key.id().clone(), signature })))
    }

    /// Takes a change that somebody tells of, and tells the others.
    pub(super) async fn answer_change(&self, core: &Core, change: SignedChange) -> Outcome {
        match self.take(core, change.clone()).await {
            Ok(_) => Ok(Answer::Done),
            Err(Taken::Not(error)) => match error.missing_certificate() {
                Some(id) => Err(Refusal::UnknownWriter(id.clone())),
                None => {
                    let ours = self.configurations().newest().digest();
                    Err(Refusal::Objection(Objection::Predecessor(ours)))
                }
            },
            Err(Taken::Disk) => Err(Refusal::StorageUnavailable),
        }
    }

    // ----- changing -----

    /// Takes a successor: stops under the old configuration, durably. Tells whether it was new.
    async fn take(&self, core: &Core, change: SignedChange) -> Result<bool, Taken> {
        if self.is_waiting() {
            let (named, newest) =
                (change.votes.configuration(), self.configurations().newest().digest());
            return Err(Taken::Not(ChangeError::Predecessor { named, newest }));
        }
        // The votes are checked before anybody is kept waiting.
        let checked = self.seen().extend(change.clone(), self.certificates.keys());
        if !checked.map_err(Taken::Not)? {
            return Ok(false);
        }
        // Waits for what is being answered; what comes meanwhile waits for this.
        let mut state = self.state.write().await;
        let mut new = state.clone();
        let is_new = new.extend(change.clone(), self.certificates.keys()).map_err(Taken::Not)?;
        if !is_new {
            return Ok(false);
        }
        let old = state.configurations().newest().everyone();
        self.certificates.keep_members(new.configurations().newest());
        self.confirm();
        self.change(&mut state, new).map_err(|error| {
            tracing::error!(%error, "cannot keep a change of members on disk");
            Taken::Disk
        })?;
        core.reconfigure(state.configurations());
        let newest = Arc::clone(state.configurations().newest());
        drop(state);
        tracing::info!(number = newest.number(), standing = ?self.seen().standing(), "the members change");
        self.wake.notify_one();
        let everybody = old.union(&newest.everyone()).cloned().collect();
        self.peers.post(everybody, Request::Change(Box::new(change)));
        Ok(true)
    }

    /// Uses what a quorum of the realm has, instead of what the web of trust gave.
    async fn replace(&self, core: &Core, known: Configurations) -> Result<(), Error> {
        self.confirm();
        self.begin_with(core, known).await
    }

    /// Uses these instead of what was known.
    async fn begin_with(&self, core: &Core, known: Configurations) -> Result<(), Error> {
        let mut state = self.state.write().await;
        let me = self.key.id().clone();
        let known = Arc::new(known);
        let new = match known.predecessor() {
            Some(_) => Membership::arrive(me, known),
            None => Membership::begin(me, known),
        };
        self.certificates.keep_members(new.configurations().newest());
        *self.waiting.write().unwrap_or_else(PoisonError::into_inner) = false;
        self.change(&mut state, new)?;
        core.reconfigure(state.configurations());
        let standing = state.standing();
        tracing::info!(?standing, "took the configuration that the realm has");
        Ok(())
    }

    // ----- what a node does by itself -----

    /// Learns of changes that were made while it was away, and takes over what it must.
    pub(super) async fn run(self: Arc<Self>, core: Arc<Core>, recovery: Recovery) {
        loop {
            if self.is_confirmed() {
                self.learn(&core).await;
            } else {
                self.look_around(&core).await;
            }
            if self.seen().standing() == Standing::TakingOver {
                self.take_over(&core, &recovery).await;
            }
            let open = !self.is_confirmed() || self.seen().standing() == Standing::TakingOver;
            let guest = self.seen().standing() == Standing::Guest;
            let pause = if open || guest { SOON } else { SELDOM };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks the others for changes that are not known here.
    async fn learn(&self, core: &Core) {
        for node in self.others() {
            let mut known = (*self.configurations()).clone();
            let before = known.changes().len();
            let patience = Patience::within(ROUND);
            bootstrap::follow(&self.peers, &self.certificates, &mut known, &node, patience).await;
            for change in known.changes().iter().skip(before).cloned() {
                if self.take(core, change).await.is_err() {
                    break;
                }
            }
        }
    }

    /// The web of trust alone was believed so far: what has the realm?
    async fn look_around(&self, core: &Core) {
        let ours = self.configurations();
        let patience = Patience::within(ROUND);
        let derived = if self.is_waiting() {
            self.certificates.configuration(self.key.id(), &self.realm).ok()
        } else {
            Some((**ours.first()).clone())
        };
        let found = bootstrap::find(&self.peers, &self.certificates, derived.as_ref(), patience);
        let Some(found) = found.await else {
            // What was imported since may show a clique: then the node begins as one that had seen it
            // at its start.
            if let Some(derived) = derived.filter(|_| self.is_waiting())
                && let Err(error) = self.begin_with(core, derived.into()).await
            {
                tracing::error!(%error, "cannot take the configuration that the web of trust shows");
            }
            return;
        };
        // What stands in for a configuration while a guest waits may have the same members as the one
        // that the realm has; it is replaced all the same.
        let is_waiting = self.is_waiting();
        if !is_waiting && found.newest().digest() == ours.newest().digest() {
            return;
        }
        let result = if !is_waiting && found.first().digest() == ours.first().digest() {
            for change in found.changes().iter().cloned() {
                if self.take(core, change).await.is_err() {
                    return;
                }
            }
            Ok(())
        } else {
            self.replace(core, found).await
        };
        if let Err(error) = result {
            tracing::error!(%error, "cannot take the configuration that the realm has");
        }
    }

    /// Collects the state of those who have stopped, then serves.
    async fn take_over(&self, core: &Arc<Core>, recovery: &Recovery) {
        // A node that lost its memory reads it from its peers first.
        if recovery.gate.pass().await.is_err() {
            return;
        }
        let seen = self.seen();
        let newest = seen.configurations().newest().digest();
        match catch_up(recovery, core, Source::Predecessor, seen.may_hand_over()).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return tracing::error!(%error, "cannot take over the state"),
        }
        let mut state = self.state.write().await;
        let mut new = state.clone();
        new.complete(newest);
        match self.change(&mut state, new) {
            Ok(()) => {
                tracing::info!(standing = ?state.standing(), "has taken over the state");
            }
            Err(error) => tracing::error!(%error, "cannot note that the state was taken over"),
        }
    }

    pub(super) fn others(&self) -> BTreeSet<NodeId> {
        let mut others = self.configurations().newest().everyone();
        others.remove(self.key.id());
        others
    }
}

/// What the home of a node has in this file.
pub(crate) fn known_configurations(
    path: &std::path::Path,
) -> Result<Option<Configurations>, Error> {
    let file = RecordFile::new(Some(path.to_owned()), MAGIC);
    let Some(found) = file.read::<OnDisk>()? else { return Ok(None) };
    found.record.configurations().map(Some).map_err(Error::Members)
}

/// What stands in for a configuration as long as none is known: all nodes but this one, so that
/// it has no part in it.
fn everybody_else(
    me: &NodeId,
    realm: &RealmConfig,
    certificates: &Certificates,
) -> Result<Configuration, Error> {
    let others = || Group::new(certificates.nodes().into_iter().filter(|id| id != me));
    if others().members().next().is_none() {
        return Err(Error::NotConfigured);
    }
    let made = Configuration::new(realm.realm()?, 1, vec![others()], others(), true);
    made.map_err(|error| Error::Quorum(error.into()))
}

/// Why a change was not taken.
enum Taken {
    /// It does not count.
    Not(ChangeError),
    /// It cannot be kept.
    Disk,
}
