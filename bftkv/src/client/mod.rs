//! The client: put, get, history, join.

mod drive;
mod inner;
mod lanes;
mod many;
mod members;
mod notes;
mod own;
mod pace;
mod passwords;
mod puts;
mod refresh;
mod registration;
mod renewal;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use bftkv_protocol::client::{Consistency, Found, ListVersions, Problem, Read, Written};
use bftkv_protocol::{Answer, Configuration, NodeId, Response, Sign, Timestamp, Value, Variable};
use bftkv_storage::WriterLog;
use bftkv_transport::{ClientLimits, Transport};
use bftkv_wot::OwnKey;

use self::drive::drive;
use self::inner::Inner;
use self::lanes::Lanes;
use self::notes::Notes;
pub(crate) use self::refresh::known_configurations;

pub use self::members::{ChangeFailure, ChangeProgress, MemberStatus, Place};
use self::own::OwnEntries;
use self::pace::Pace;
pub use self::passwords::{Opened, PasswordOptions, PutProtected};
use self::puts::Wanted;
pub use self::registration::Registered;
pub use self::renewal::Renewal;
pub use self::repair::RepairStatus;
use crate::config::{ClientConfig, RealmConfig};
use crate::peers::Peers;
use crate::record_file::RecordFile;
use crate::{Certificates, Error, Home};

/// How to put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers fill it in with ..Default::default()")]
pub struct PutOptions {
    /// Seal the variable: nothing else may ever follow this value.
    pub once: bool,
    /// When to give up, instead of the configured deadline.
    pub deadline: Option<Duration>,
}

/// How to get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers fill it in with ..Default::default()")]
pub struct GetOptions {
    /// Exactly this version instead of the newest.
    pub at: Option<Timestamp>,
    /// What the read promises, instead of the configured consistency.
    pub consistency: Option<Consistency>,
    /// Check the collective signature even if the nodes agree, so that the entry can be shown to
    /// others as a proof.
    pub proof: bool,
    /// When to give up, instead of the configured deadline.
    pub deadline: Option<Duration>,
}

/// One version of a variable, read and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The entry.
    pub entry: bftkv_protocol::CertifiedEntry,
}

/// What joining came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinReport {
    /// Nodes that answered.
    pub answered: BTreeSet<NodeId>,
    /// Nodes that did not.
    pub silent: BTreeSet<NodeId>,
}

/// What a client is made of, for programs that do not use a [`Home`].
#[allow(missing_debug_implementations, reason = "it holds a key and a trait object")]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct ClientParts {
    /// The certificates that it knows.
    pub certificates: Certificates,
    /// Its key.
    pub key: OwnKey,
    /// The way to the nodes.
    pub transport: Arc<dyn Transport>,
    /// The writer's own memory.
    pub memory: WriterLog,
    /// Who belongs together.
    pub realm: RealmConfig,
    /// Deadlines and the like.
    pub settings: ClientConfig,
    /// Where to keep the configurations that it adopts; `None`: nowhere.
    pub configurations: Option<PathBuf>,
}

/// Puts and gets. Cheap to clone; all clones share connections, certificates and memory.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("id", self.inner.key.id()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of this home. It talks to nobody, unless the certificates of the home do not make a
    /// quorum: then it joins the nodes that it knows, and learns theirs.
    ///
    /// # Errors
    /// The home's fault, or no quorum can be found: the message says what to do.
    pub async fn open(home: &Home) -> Result<Self, Error> {
        let certificates = home.certificates()?;
        let key = home.key();
        let transport = certificates.transport(&key, ClientLimits::default())?;
        let parts = ClientParts {
            certificates,
            key,
            transport: Arc::new(transport),
            memory: home.writer_log()?,
            realm: home.config().realm.clone(),
            settings: home.config().client.clone(),
            configurations: Some(home.path().join(Home::CONFIGURATIONS)),
        };
        Self::assemble(parts).await
    }

    /// A client of these parts.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn assemble(parts: ClientParts) -> Result<Self, Error> {
        let peers =
            Peers::new(parts.certificates.clone(), parts.key.clone(), parts.transport, true);
        let file = RecordFile::new(parts.configurations, refresh::MAGIC);
        let adopted = refresh::read(&file)?;
        let is_known = adopted.is_some();
        let inner = Inner {
            certificates: parts.certificates,
            key: parts.key,
            peers,
            memory: parts.memory,
            realm: parts.realm,
            settings: parts.settings,
            configurations: RwLock::new(adopted.map(Arc::new)),
            file,
            began: Instant::now(),
            pace: Pace::beginning_with(Inner::seed()),
            convoys: Mutex::default(),
            lanes: Lanes::default(),
            notes: Notes::default(),
            own: OwnEntries::default(),
        };
        let client = Self { inner: Arc::new(inner) };
        if !is_known && client.inner.derive().is_err() {
            client.join().await;
            client.reconfigure().await?;
            client.inner.learn_revocations().await;
        }
        Ok(client)
    }

    /// The client's own certificate.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        self.inner.key.id()
    }

    /// The configuration that it uses now.
    ///
    /// # Errors
    /// Never after [`Client::assemble`] succeeded, short of a bug.
    pub fn configuration(&self) -> Result<Arc<Configuration>, Error> {
        self.inner.configuration()
    }

    /// Hands the own certificate to every node that is known, and learns the certificates that
    /// they know and whom they have convicted. Paper: §4.2 join.
    pub async fn join(&self) -> JoinReport {
        let mut report = JoinReport::default();
        let mut asked = BTreeSet::new();
        // Newly learned nodes are asked too; each round learns or ends.
        for _ in 0..4 {
            let known: BTreeSet<NodeId> = self.inner.certificates.nodes();
            let new: BTreeSet<NodeId> = known.difference(&asked).cloned().collect();
            let Some(request) = self.inner.peers.join_request().filter(|_| !new.is_empty()) else {
                break;
            };
            asked.extend(new.iter().cloned());
            let mut answers = self.inner.ask(new, request, false);
            while let Some((node, response)) = answers.recv().await {
                match response {
                    Ok(Response { outcome: Ok(Answer::Certificates(list)), .. }) => {
                        list.iter().for_each(|certificate| self.inner.learn(certificate));
                        report.answered.insert(node);
                    }
                    _ => {
                        report.silent.insert(node);
                    }
                }
            }
        }
        self.inner.learn_revocations().await;
        report
    }

    /// Finds out which configuration the realm has: by the changes that follow what is known; if
    /// nothing but the web of trust is known, by what a quorum of the nodes answers.
    async fn reconfigure(&self) -> Result<(), Error> {
        let inner = &self.inner;
        if inner.is_adopted() {
            inner.refresh().await;
            return Ok(());
        }
        if !inner.bootstrap().await {
            // Nobody answers, or all have what the web of trust shows.
            inner.derive()?;
        }
        Ok(())
    }

    /// Writes `value` to `variable`. On success a quorum of every clique and of the store group
    /// has it on disk.
    ///
    /// # Errors
    /// [`Error::Operation`]: its [`Problem`] says what happened and what to do, and whether
    /// the value may still appear ([`Problem::Unknown`]).
    pub async fn put(
        &self,
        variable: &Variable,
        value: Value,
        options: PutOptions,
    ) -> Result<Written, Error> {
        let deadline = self.inner.deadline(options.deadline);
        match self.put_once(variable, value.clone(), options.once, deadline).await {
            Err(error) if self.joining_may_help(&error).await => {
                self.put_once(variable, value, options.once, deadline).await
            }
            other => other,
        }
    }

    async fn put_once(
        &self,
        variable: &Variable,
        value: Value,
        is_final: bool,
        deadline: Duration,
    ) -> Result<Written, Error> {
        let inner = &self.inner;
        let (owner, variable) = (inner.owner_of(variable)?, variable.clone());
        inner.put(Wanted { variable, value, is_final, owner, deadline }).await
    }

    /// Reads `variable`.
    ///
    /// # Errors
    /// [`Error::Operation`].
    pub async fn get(&self, variable: &Variable, options: GetOptions) -> Result<Found, Error> {
        let deadline = self.inner.deadline(options.deadline);
        match self.get_once(variable, options, deadline).await {
            Err(error) if self.joining_may_help(&error).await => {
                self.get_once(variable, options, deadline).await
            }
            other => other,
        }
    }

    async fn get_once(
        &self,
        variable: &Variable,
        options: GetOptions,
        deadline: Duration,
    ) -> Result<Found, Error> {
        let inner = &self.inner;
        let read_options = inner.read_options(options, deadline);
        let known = inner.configurations()?;
        let mut read = Read::start(inner.now(), known, variable.clone(), read_options);
        drive(&mut read, inner).await;
        Ok(read.into_result()?)
    }

    /// The versions of `variable` below `below` (all, if `None`), newest first, at most `limit`,
    /// each read and verified.
    ///
    /// # Errors
    /// [`Error::Operation`].
    pub async fn history(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: u16,
    ) -> Result<Vec<Version>, Error> {
        let mut versions = Vec::new();
        for timestamp in self.list_versions(variable, below, limit).await? {
            let options = GetOptions { at: Some(timestamp), proof: true, ..GetOptions::default() };
            // A timestamp that a liar made up has no entry.
            if let Some(entry) = self.get(variable, options).await?.entry {
                versions.push(Version { timestamp, entry });
            }
        }
        Ok(versions)
    }

    async fn list_versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: u16,
    ) -> Result<Vec<Timestamp>, Error> {
        let inner = &self.inner;
        let mut list = ListVersions::start(
            inner.configuration()?,
            variable.clone(),
            below,
            limit,
            &inner.cut(),
            inner.deadline(None),
        );
        drive(&mut list, inner).await;
        Ok(list.into_result()?)
    }

    /// Whether the failure may come from certificates that one side lacks: if so, joins. Nobody
    /// who lies can make a client do this more than once for an operation.
    async fn joining_may_help(&self, error: &Error) -> bool {
        let Error::Operation(operation) = error else { return false };
        wants_to_join(&operation.problem) && self.join_again().await
    }

    /// Joins, and finds out which configuration the realm has; tells whether it is known.
    async fn join_again(&self) -> bool {
        self.join().await;
        self.reconfigure().await.is_ok()
    }

    /// Waits, at most so long, for what goes on in the background: storing at the last nodes,
    /// giving up attempts, telling of liars. To be called before a program ends.
    pub async fn finish(&self, patience: Duration) {
        self.inner.peers.finish(patience).await;
    }

    /// Who has been convicted of signing two entries, as far as this client knows.
    #[must_use]
    pub fn convicted(&self) -> BTreeSet<NodeId> {
        self.inner.certificates.revoked().convicted()
    }

    /// The certificates that it knows, and who was cut out of the graph.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.inner.certificates
    }

    /// The names of nodes, for messages to people.
    #[must_use]
    pub fn names(&self) -> BTreeMap<NodeId, String> {
        self.inner.certificates.names()
    }
}

/// Whether a failure may come from certificates or configurations that one side lacks.
fn wants_to_join(problem: &Problem) -> bool {
    matches!(problem, Problem::OtherConfiguration { .. } | Problem::NoQuorumCertificate { .. })
}
