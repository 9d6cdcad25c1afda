//! Real nodes with real keys on a network within this process, and traitors among them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test may fail, and each test uses a part of this"
)]

mod damage;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bftkv::protocol::{
    Address, Batch, CertifiedEntry, CollectiveSignature, Configurations, Entry, EquivocationProof,
    Evidence, Outcome, Purpose, Request, Response, ShareStatement, Sign, SignatureShare,
    SignedEntry, Store, StoreAge, StoreError, Timestamp, VariableState, Vault, WriterSignature,
};
use bftkv::storage::{StorageConfig, StorageKind, WriterLog};
use bftkv::transport::{Handler, MemoryNetwork};
use bftkv::wot::{Keyring, KeyringOptions, OwnKey, Statement, generate_key};
use bftkv::{
    Certificates, Client, ClientConfig, ClientParts, Configuration, NodeConfig, NodeId, NodeParts,
    RealmConfig, Value, Variable,
};

/// Four nodes, three people whom all nodes have certified, and a stranger.
const NAMES: [&str; 8] = [
    "n1 (http://127.0.0.1:5701)",
    "n2 (http://127.0.0.1:5702)",
    "n3 (http://127.0.0.1:5703)",
    "n4 (http://127.0.0.1:5704)",
    "Alice <alice@example.org>",
    "Bob <bob@example.org>",
    "Mallory <mallory@example.org>",
    "Stranger <stranger@example.org>",
];
pub(crate) const ALICE: usize = 4;
pub(crate) const BOB: usize = 5;
pub(crate) const MALLORY: usize = 6;
pub(crate) const STRANGER: usize = 7;

/// Keys with certifications. They are the same in all tests of a file: making them takes longest.
struct People {
    keys: Vec<OwnKey>,
    keyring: Vec<Vec<u8>>,
}

fn people() -> &'static People {
    static PEOPLE: OnceLock<People> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        let keys: Vec<OwnKey> =
            NAMES.iter().map(|name| generate_key(name, None).unwrap().key).collect();
        let keyring = (0..keys.len()).map(|who| certified(&keys, who)).collect();
        People { keys, keyring }
    })
}

/// Nodes certify everybody but the stranger; everybody certifies the nodes.
fn certified(keys: &[OwnKey], who: usize) -> Vec<u8> {
    let mut bytes = keys[who].certificate_bytes().clone();
    for (by, key) in keys.iter().enumerate() {
        if by != who && (who < 4 || (by < 4 && who != STRANGER)) {
            let forever = Statement::Certify { valid_for: None };
            bytes = key.certify(&bytes, &address(who), forever).unwrap();
        }
    }
    bytes.as_bytes().to_vec()
}

pub(crate) fn address(who: usize) -> Address {
    let name = NAMES[who];
    let (_, rest) = name.split_once(['(', '<']).unwrap();
    Address::new(rest.trim_end_matches([')', '>'])).unwrap()
}

pub(crate) fn key(who: usize) -> &'static OwnKey {
    &people().keys[who]
}

pub(crate) fn id(who: usize) -> NodeId {
    key(who).id().clone()
}

/// Everybody's certificates, in a keyring of one's own.
pub(crate) fn certificates() -> Certificates {
    let keyring = Keyring::new(KeyringOptions::default());
    for certificate in &people().keyring {
        keyring.import(certificate).unwrap();
    }
    Certificates::in_memory(keyring)
}

/// What the web of trust shows: the same for all, so it is worked out once.
pub(crate) fn configuration() -> Configuration {
    static CONFIGURATION: OnceLock<Configuration> = OnceLock::new();
    let find = || certificates().configuration(&id(0), &RealmConfig::default()).unwrap();
    CONFIGURATION.get_or_init(find).clone()
}

pub(crate) fn configurations() -> Configurations {
    Configurations::starting_with(configuration())
}

/// A store that outlives its node: each node that is opened over it counts as an opening.
pub(crate) struct Memory {
    store: Arc<dyn Store>,
    openings: AtomicU64,
}

impl Memory {
    /// A new one, in memory.
    pub(crate) fn new() -> Arc<Self> {
        let kind = StorageKind::Memory;
        let config = StorageConfig {
            kind,
            path: "nowhere".into(),
            cache_bytes: 1 << 20,
            ..StorageConfig::default()
        };
        let store = bftkv::storage::open(&config).unwrap();
        Arc::new(Self { store, openings: AtomicU64::new(0) })
    }
}

impl Store for Memory {
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        self.store.load(variable)
    }

    fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError> {
        self.store.version(variable, timestamp)
    }

    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.store.versions(variable, below, limit)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        self.store.scan(prefix, after, limit)
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        self.store.known(after, limit)
    }

    fn age(&self) -> Result<StoreAge, StoreError> {
        let generation = self.openings.load(Ordering::Relaxed);
        Ok(StoreAge { generation, ..self.store.age()? })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.store.commit(batch)
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        self.store.proofs()
    }

    fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError> {
        self.store.vault(variable)
    }
}

/// The cluster, its network and its disks.
pub(crate) struct Cluster {
    pub(crate) network: MemoryNetwork,
    pub(crate) nodes: Vec<bftkv::Node>,
    pub(crate) stores: Vec<Arc<Memory>>,
    folder: tempfile::TempDir,
    settings: NodeConfig,
}

impl Cluster {
    /// Four honest nodes.
    pub(crate) fn new() -> Self {
        Self::with_settings(NodeConfig::default())
    }

    /// Four honest nodes with these settings.
    pub(crate) fn with_settings(settings: NodeConfig) -> Self {
        let mut cluster = Self::empty(settings);
        for node in 0..4 {
            let path = cluster.folder.path().join(format!("store{node}"));
            let config = StorageConfig {
                kind: StorageKind::Memory,
                path,
                cache_bytes: 1 << 20,
                ..StorageConfig::default()
            };
            let store = bftkv::storage::open(&config).unwrap();
            cluster.stores.push(Arc::new(Memory { store, openings: AtomicU64::new(0) }));
            let started = cluster.open(node);
            cluster.nodes.push(started);
        }
        cluster.nodes.iter().for_each(bftkv::Node::begin);
        cluster
    }

    fn empty(settings: NodeConfig) -> Self {
        let (network, folder) = (MemoryNetwork::new(), tempfile::tempdir().unwrap());
        Self { network, nodes: Vec::new(), stores: Vec::new(), folder, settings }
    }

    /// Four honest nodes over these stores, of which the first has a home with its key in it.
    pub(crate) fn over(first: &Arc<dyn Store>, others: &[Arc<Memory>], home: &Path) -> Self {
        let mut cluster = Self::empty(NodeConfig::default());
        let own = OwnKey::load(&home.join(bftkv::Home::KEY), &bftkv::wot::no_passphrase).unwrap();
        cluster.nodes.push(cluster.open_with(0, Arc::clone(first), own, Some(home)));
        for (node, store) in (1..).zip(others) {
            store.openings.fetch_add(1, Ordering::Relaxed);
            let store: Arc<dyn Store> = Arc::<Memory>::clone(store);
            cluster.nodes.push(cluster.open_with(node, store, key(node).clone(), None));
        }
        cluster.nodes.iter().for_each(bftkv::Node::begin);
        cluster
    }

    /// A node over its store, reachable for the others.
    fn open(&self, node: usize) -> bftkv::Node {
        self.stores[node].openings.fetch_add(1, Ordering::Relaxed);
        let store: Arc<dyn Store> = Arc::<Memory>::clone(&self.stores[node]);
        self.open_with(node, store, key(node).clone(), None)
    }

    fn open_with(
        &self,
        node: usize,
        store: Arc<dyn Store>,
        key: OwnKey,
        home: Option<&Path>,
    ) -> bftkv::Node {
        let opened = bftkv::Node::assemble(NodeParts {
            configuration: Some(configuration()),
            realm: RealmConfig::default(),
            certificates: certificates(),
            key,
            store,
            transport: Arc::new(self.network.transport(id(node))),
            settings: self.settings.clone(),
            home: home.map(Path::to_owned),
        });
        let opened = opened.unwrap();
        self.network.add_node(id(node), opened.handler());
        opened
    }

    /// The node is gone from the network.
    pub(crate) fn stop(&self, node: usize) {
        self.nodes[node].stop();
        self.network.remove_node(&id(node));
    }

    /// All nodes are gone; their stores are let go of.
    pub(crate) fn end(self) {
        (0..self.nodes.len()).for_each(|node| self.stop(node));
    }

    /// The node starts anew: of its former life only the store is left.
    pub(crate) fn restart(&mut self, node: usize) {
        self.nodes[node].stop();
        self.nodes[node] = self.open(node);
        self.nodes[node].begin();
    }

    /// Another handler answers for the node.
    pub(crate) fn replace(&self, node: usize, handler: impl Handler + 'static) {
        self.network.add_node(id(node), Arc::new(handler));
    }

    /// Asks a node as somebody.
    pub(crate) async fn ask(&self, node: usize, sender: usize, request: Request) -> Outcome {
        self.nodes[node].handler().handle(id(sender), request).await.outcome
    }

    /// A client with certificates of its own.
    pub(crate) async fn client(&self, who: usize) -> Client {
        self.client_with(who, certificates()).await
    }

    pub(crate) async fn client_with(&self, who: usize, certificates: Certificates) -> Client {
        self.client_of(key(who), certificates).await
    }

    /// A client with any key.
    pub(crate) async fn client_of(&self, key: &OwnKey, certificates: Certificates) -> Client {
        let home = self.folder.path().join(format!("home-{}", key.id()));
        std::fs::create_dir_all(&home).unwrap();
        let mut settings = ClientConfig::default();
        (settings.deadline_ms, settings.round_ms) = (20_000, 1000);
        let parts = ClientParts {
            configurations: None,
            certificates,
            key: key.clone(),
            transport: Arc::new(self.network.transport(key.id().clone())),
            memory: WriterLog::open(&home).unwrap(),
            realm: RealmConfig::default(),
            settings,
        };
        Client::assemble(parts).await.unwrap()
    }

    /// Waits until all these nodes have cut somebody out.
    pub(crate) async fn until_cut(&self, at: &[usize], guilty: usize) {
        let all = || {
            let cut = |node: &usize| self.nodes[*node].certificates().keyring().is_cut(&id(guilty));
            at.iter().all(cut)
        };
        until(all).await;
    }

    /// Who was cut out at a node.
    pub(crate) fn cut_at(&self, node: usize) -> Vec<NodeId> {
        self.nodes[node].certificates().keyring().cut().into_iter().collect()
    }

    /// Has an entry signed by honest nodes (by asking them) and by traitors (with their keys).
    pub(crate) async fn signed_by(
        &self,
        entry: &SignedEntry,
        honest: &[usize],
        traitors: &[usize],
    ) -> CertifiedEntry {
        let writer = (0..NAMES.len()).find(|who| id(*who) == entry.entry.writer).unwrap();
        let mut shares = Vec::new();
        for node in honest {
            let request = Request::Sign { entry: entry.clone(), evidence: Evidence::default() };
            match self.ask(*node, writer, request).await {
                Ok(bftkv::protocol::Answer::Share(share)) => shares.push(share),
                other => unreachable!("{other:?}"),
            }
        }
        shares.extend(traitors.iter().map(|traitor| share(entry, *traitor)));
        let collective = CollectiveSignature::new(configuration().digest(), shares);
        CertifiedEntry { signed: entry.clone(), collective }
    }
}

/// Waits for something that comes sooner or later.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it never came");
}

/// An entry that its writer has signed.
pub(crate) fn entry(writer: usize, name: &str, t: u64, value: &str) -> SignedEntry {
    entry_in(configuration().realm().clone(), writer, name, t, value)
}

pub(crate) fn entry_in(
    realm: bftkv::protocol::Realm,
    writer: usize,
    name: &str,
    t: u64,
    value: &str,
) -> SignedEntry {
    let entry = Entry {
        realm,
        variable: variable(name),
        timestamp: Timestamp::new(t),
        value: Value::new(value).unwrap(),
        is_final: false,
        writer: id(writer),
        owner: address(writer),
    };
    let signature = key(writer).sign(Purpose::Entry, &entry.signed_bytes()).unwrap();
    SignedEntry { entry, signature: WriterSignature::new(signature) }
}

/// What a member states when it signs an entry.
pub(crate) fn statement(entry: &SignedEntry) -> ShareStatement {
    ShareStatement {
        realm: entry.entry.realm.clone(),
        configuration: configuration().digest(),
        variable: entry.entry.variable.clone(),
        timestamp: entry.entry.timestamp,
        entry: entry.hash(),
    }
}

/// A share that a traitor gives without asking anybody.
pub(crate) fn share(entry: &SignedEntry, signer: usize) -> SignatureShare {
    let bytes = statement(entry).signed_bytes();
    SignatureShare {
        signer: id(signer),
        signature: key(signer).sign(Purpose::Share, &bytes).unwrap(),
    }
}

pub(crate) fn variable(name: &str) -> Variable {
    Variable::new(name).unwrap()
}

/// An answer under the right configuration.
pub(crate) fn response(outcome: Outcome) -> Response {
    Response { configuration: configuration().digest(), outcome }
}
