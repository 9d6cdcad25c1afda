//! The node: open, serve, shut down.

mod announced;
mod catching_up;
mod core;
mod members;
mod old_versions;
mod passwords;
mod policy;
mod recovery;
mod registration;
mod repairs;
mod revocation;
mod service;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bftkv_protocol::server::Standing;
use bftkv_protocol::{
    Configuration, ConfigurationError, NodeId, RepairProgress, Sign, Store, StoreError,
};
use bftkv_storage::{RecordStore, Salvage};
use bftkv_transport::{ClientLimits, Handler, HttpServer, Rate, ServerLimits, Transport};
use bftkv_wot::{DeriveError, OwnKey};

use self::announced::Announced;
use self::core::Core;
pub(crate) use self::members::known_configurations;

use self::members::Members;
use self::passwords::Passwords;
pub use self::policy::Policy;
use self::recovery::{Gate, Recovery};
use self::registration::Registration;
use self::repairs::Repairs;
use self::revocation::Revocation;
use self::service::Service;
use crate::config::{NodeConfig, RealmConfig};
use crate::peers::Peers;
use crate::register::Register;
use crate::{Certificates, Error, Home, Reloaded};

/// A poisoned lock means that a thread panicked; what is behind these locks is changed in single
/// steps, so it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node of a realm that is ready to serve, or to be added to its members.
pub struct Node {
    service: Arc<Service>,
    core: Arc<Core>,
    members: Arc<Members>,
    revocation: Revocation,
    recovery: Recovery,
    repairs: Arc<Repairs>,
    certificates: Certificates,
    key: OwnKey,
    peers: Peers,
    settings: NodeConfig,
}

/// What a node is made of, for programs that do not use a [`Home`].
#[allow(missing_debug_implementations, reason = "it holds a key and trait objects")]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct NodeParts {
    /// Who signs and who stores at first, as the web of trust shows it; `None` if the home
    /// holds it already.
    pub configuration: Option<Configuration>,
    /// How the web of trust is judged.
    pub realm: RealmConfig,
    /// The certificates that it knows.
    pub certificates: Certificates,
    /// Its key.
    pub key: OwnKey,
    /// Its memory.
    pub store: Arc<dyn Store>,
    /// The way to the other members.
    pub transport: Arc<dyn Transport>,
    /// Where to listen, and limits.
    pub settings: NodeConfig,
    /// The folder of the key, where the node notes what members announce and what it promised about
    /// members; `None`: nothing is kept but in the store, and a lost memory is noticed by the others alone.
    pub home: Option<PathBuf>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("id", self.id()).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens a home: reads its key and certificates, derives the configuration, opens and checks
    /// the store. Where the web of trust shows no clique, the node begins as a guest
    /// ([`Node::is_waiting`]).
    ///
    /// # Errors
    /// The home, the disk or the web of trust is at fault; the message says what to do.
    pub fn open(home: &Home) -> Result<Self, Error> {
        Self::open_over(home, || home.store())
    }

    /// As [`Node::open`], for a store that may be damaged: what is sound is kept, and the rest comes
    /// from the other members. `None`: it was not damaged.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub fn open_salvaging(home: &Home) -> Result<(Self, Option<Salvage>), Error> {
        let mut salvage = None;
        let node = Self::open_over(home, || {
            let (store, found) = home.salvaged_store()?;
            salvage = found;
            Ok(store)
        })?;
        Ok((node, salvage))
    }

    fn open_over(
        home: &Home,
        open: impl FnOnce() -> Result<Arc<RecordStore>, Error>,
    ) -> Result<Self, Error> {
        let (certificates, key) = (home.certificates()?, home.key());
        let members = home.path().join(Home::MEMBERS);
        let realm = home.config().realm.clone();
        // Once a node has begun to serve, the graph only says what it votes for.
        let configuration = if Members::is_on_disk(&members) {
            None
        } else {
            first_configuration(&certificates, key.id(), &realm)?
        };
        let store = open()?;
        let transport = certificates.transport(&key, ClientLimits::default())?;
        Self::assemble(NodeParts {
            configuration,
            realm,
            certificates,
            key,
            store,
            transport: Arc::new(transport),
            settings: home.config().node.clone(),
            home: Some(home.path().to_owned()),
        })
    }

    /// A node of these parts.
    ///
    /// # Errors
    /// The store or the file of members cannot be read, or no configuration is known.
    pub fn assemble(parts: NodeParts) -> Result<Self, Error> {
        let NodeParts { certificates, key, store, transport, settings, home, .. } = parts;
        let peers = Peers::new(certificates.clone(), key.clone(), transport, false);
        let members = Members::open(
            parts.configuration,
            home.as_ref().map(|home| home.join(Home::MEMBERS)),
            parts.realm,
            certificates.clone(),
            key.clone(),
            peers.clone(),
        )?;
        let members = Arc::new(members);
        let revocation = Revocation {
            members: Arc::clone(&members),
            certificates: certificates.clone(),
            key: key.clone(),
            peers: peers.clone(),
        };
        let recovery = Recovery {
            members: Arc::clone(&members),
            certificates: certificates.clone(),
            key: key.clone(),
            peers: peers.clone(),
            store: Arc::clone(&store),
            announced: Arc::new(Announced::open(home.as_ref().map(|h| h.join(Home::ANNOUNCED)))),
            gate: Arc::new(Gate::shut()),
            home,
            session: session()?,
            heard: Arc::default(),
        };
        let register = Register::new(
            settings.registration,
            settings.recovery_delay_seconds,
            recovery.home.as_ref().map(|home| home.join(Home::REGISTER)),
        );
        let registration = Registration::new(register, recovery.clone());
        let passwords = Passwords::new(recovery.clone());
        let core = Arc::new(Core::new(revocation.clone(), registration, passwords, store)?);
        let repairs = Arc::new(Repairs::new(recovery.clone()));
        let service = Service::new(
            Arc::clone(&core),
            recovery.clone(),
            Arc::clone(&members),
            Arc::clone(&repairs),
        );
        let service = Arc::new(service);
        Ok(Self {
            service,
            core,
            members,
            revocation,
            recovery,
            repairs,
            certificates,
            key,
            peers,
            settings,
        })
    }

    /// Begins what a node does by itself: talking to the other members. [`Node::serve`] calls it;
    /// a program that puts [`Node::handler`] behind a transport of its own calls it once that
    /// transport works. Needs a Tokio runtime.
    pub fn begin(&self) {
        self.revocation.begin(&self.core);
        let (members, core) = (Arc::clone(&self.members), Arc::clone(&self.core));
        self.peers.in_background(members.run(core, self.recovery.clone()));
        self.peers.in_background(self.recovery.clone().run(Arc::clone(&self.core)));
        self.peers.in_background(Arc::clone(&self.repairs).run(Arc::clone(&self.core)));
    }

    /// Waits until the node speaks: it has heard from the others that its memory is whole, or has
    /// read from them what it had lost. Until then it refuses as catching up.
    pub async fn ready(&self) {
        self.recovery.gate.opened().await;
    }

    /// Lets the embedding program have a say in what this node signs; to be called before it
    /// serves. False, and nothing changes, if there is a policy already.
    pub fn set_policy(&self, policy: Arc<dyn Policy>) -> bool {
        self.core.set_policy(policy)
    }

    /// Ends what [`Node::begin`] began.
    pub fn stop(&self) {
        self.peers.stop();
    }

    /// The node's certificate.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        self.key.id()
    }

    /// The configuration that it serves.
    #[must_use]
    pub fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(self.members.configurations().newest())
    }

    /// What the node is in it: whether it serves, takes over the state, or waits to be added.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.members.seen().standing()
    }

    /// Whether neither its web of trust nor a quorum has shown it a configuration yet: it is a guest that
    /// asks the nodes that it knows.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.members.is_waiting()
    }

    /// How far it has come with having entries certified again whose signers were cut out.
    #[must_use]
    pub fn repair_progress(&self) -> RepairProgress {
        self.repairs.progress(false)
    }

    /// The certificates that it knows, and who was cut out of the graph.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Reads the home's certificates and revocations again: what was imported, certified or revoked
    /// there since counts from now on. The key and the settings are read at a start only.
    ///
    /// # Errors
    /// A folder cannot be read; the node goes on with what it knows.
    pub fn reload(&self) -> Result<Reloaded, Error> {
        let reloaded = self.certificates.reload()?;
        let Reloaded { certificates, cut } = reloaded;
        tracing::info!(certificates, cut, "read the certificates again");
        Ok(reloaded)
    }

    /// What answers requests, to be put behind another transport.
    #[must_use]
    pub fn handler(&self) -> Arc<dyn Handler> {
        Arc::clone(&self.service) as Arc<dyn Handler>
    }

    /// Listens where the configuration says, or where the URL in the own user ID says.
    ///
    /// # Errors
    /// The port is in use, or the address is not ours.
    pub async fn serve(&self) -> Result<RunningNode, Error> {
        self.serve_with(self.listen_address()?, self.handler()).await
    }

    /// Listens at `address` and lets `handler` answer. Tests put handlers in front of the node's
    /// own that lie.
    ///
    /// # Errors
    /// As [`Node::serve`].
    pub async fn serve_with(
        &self,
        address: SocketAddr,
        handler: Arc<dyn Handler>,
    ) -> Result<RunningNode, Error> {
        let limits = ServerLimits {
            connections: self.settings.connections,
            connections_per_address: self.settings.connections_per_address,
            requests_per_address: Rate::per_second(self.settings.requests_per_address),
            requests_per_identity: Rate::per_second(self.settings.requests_per_identity),
            requests_of_strangers: strangers(self.settings.requests_of_strangers),
            ..ServerLimits::default()
        };
        let seal = self.certificates.seal(&self.key);
        let channel = self.certificates.channel(&self.key);
        let address = address.to_string();
        let server = HttpServer::bind_with(&address, limits, seal, channel, handler).await?;
        let patience = Duration::from_secs(self.settings.shutdown_seconds);
        tracing::info!(node = %self.id(), address = %server.local_addr(), "serving");
        self.begin();
        Ok(RunningNode { server, peers: self.peers.clone(), patience })
    }

    fn listen_address(&self) -> Result<SocketAddr, Error> {
        if let Some(address) = self.settings.listen {
            return Ok(address);
        }
        let url = self.certificates.url(self.id()).ok_or(Error::NoAddress)?;
        let place = url.as_str().trim_start_matches("http://").trim_end_matches('/');
        let place = if place.contains(':') { place.to_owned() } else { format!("{place}:80") };
        // A name that stands for several addresses is listened to at the first.
        let found = place.to_socket_addrs().ok().and_then(|mut all| all.next());
        found.ok_or_else(|| Error::ListenAddress(url.as_str().to_owned()))
    }
}

/// Strangers come in crowds (a program that starts asks every node at once) and then go.
fn strangers(per_second: u32) -> Rate {
    Rate { per_second, burst: per_second.saturating_mul(10) }
}

/// A random number that names one opening of a store.
fn session() -> Result<[u8; 16], Error> {
    let mut session = [0; 16];
    getrandom::fill(&mut session).map_err(|error| StoreError::Io(error.to_string()))?;
    Ok(session)
}

/// A node that is serving.
pub struct RunningNode {
    server: HttpServer,
    peers: Peers,
    patience: Duration,
}

impl std::fmt::Debug for RunningNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningNode").field("address", &self.local_addr()).finish_non_exhaustive()
    }
}

impl RunningNode {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Takes no more requests, finishes those under way, and stops.
    ///
    /// # Errors
    /// None today; what is acknowledged is on disk whether or not this is called.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.peers.stop();
        let stopped = self.server.shutdown(self.patience).await;
        tracing::info!(?stopped, "stopped serving");
        Ok(())
    }
}

/// What the web of trust shows; `None` if there is no clique in it but there are nodes to ask.
fn first_configuration(
    certificates: &Certificates,
    me: &NodeId,
    realm: &RealmConfig,
) -> Result<Option<Configuration>, Error> {
    let no_clique = |error: &Error| {
        matches!(error, Error::Quorum(DeriveError::Configuration(ConfigurationError::NoClique)))
    };
    match certificates.configuration(me, realm) {
        Ok(found) => Ok(Some(found)),
        Err(error) if no_clique(&error) && certificates.nodes().iter().any(|id| id != me) => {
            tracing::warn!(%error, "this node is a guest until it hears what the realm has");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
