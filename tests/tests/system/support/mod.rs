//! Homes made from the keyrings that GnuPG made, served over loopback in this process.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    reason = "a test may fail, and each test uses a part of this"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bftkv::wot::{OwnKey, no_passphrase};
use bftkv::{Client, Error, Home, NewHome, Node, NodeId, Problem, RunningNode, Value, Variable};

/// The ports are in the keys: one cluster at a time.
pub(crate) static PORTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A folder of keyrings, and homes made from them as they are.
pub(crate) struct Keyrings {
    keyrings: PathBuf,
    homes: tempfile::TempDir,
    settings: String,
    running: BTreeMap<String, RunningNode>,
}

impl Keyrings {
    /// Uses the keyrings `name` of the crate `wot`. `settings` is appended to every config.toml.
    pub(crate) fn new(name: &str, settings: &str) -> Self {
        let keyrings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wot/testdata").join(name);
        let homes = tempfile::tempdir().unwrap();
        Self { keyrings, homes, settings: settings.to_owned(), running: BTreeMap::new() }
    }

    pub(crate) fn key(&self, who: &str) -> OwnKey {
        let secret = std::fs::read(self.keyrings.join(who).join("secring.gpg")).unwrap();
        OwnKey::from_bytes(&secret, &no_passphrase).unwrap()
    }

    pub(crate) fn id(&self, who: &str) -> NodeId {
        self.key(who).certificate().id().clone()
    }

    /// The home of `who`, made when it is first asked for.
    pub(crate) fn home(&self, who: &str) -> Home {
        let path = self.homes.path().join(who);
        if path.exists() {
            return Home::open(&path).unwrap();
        }
        let ring = std::fs::read(self.keyrings.join(who).join("pubring.gpg")).unwrap();
        let new = NewHome { key: &self.key(who), certificates: &[ring], config: &self.settings };
        Home::create(&path, &new).unwrap()
    }

    pub(crate) async fn start(&mut self, who: &str) {
        let node = Node::open(&self.home(who)).unwrap();
        let running = node.serve().await.unwrap();
        self.running.insert(who.to_owned(), running);
    }

    pub(crate) async fn start_all(&mut self, nodes: &[&str]) {
        for node in nodes {
            self.start(node).await;
        }
    }

    /// Stops a node; its data stays on disk.
    pub(crate) async fn stop(&mut self, who: &str) {
        self.running.remove(who).unwrap().shutdown().await.unwrap();
    }

    pub(crate) async fn stop_all(&mut self) {
        while let Some((_, node)) = self.running.pop_first() {
            node.shutdown().await.unwrap();
        }
    }

    pub(crate) async fn client(&self, who: &str) -> Client {
        Client::open(&self.home(who)).await.unwrap()
    }
}

pub(crate) fn variable(name: impl AsRef<[u8]>) -> Variable {
    Variable::new(name.as_ref()).unwrap()
}

pub(crate) fn value(bytes: impl AsRef<[u8]>) -> Value {
    Value::new(bytes.as_ref()).unwrap()
}

/// What went wrong with an operation.
pub(crate) fn problem(error: &Error) -> &Problem {
    match error {
        Error::Operation(operation) => &operation.problem,
        other => panic!("not an operation's error: {other}"),
    }
}

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
