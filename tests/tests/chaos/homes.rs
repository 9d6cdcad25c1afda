//! Homes of a cluster: keys, certifications, settings, ports chosen by the system.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bftkv::wot::{OwnKey, Statement, generate_key, generate_sealing_key};
use bftkv::{Client, Home, NewHome, NodeId};

/// A cluster's folder. Node i is `n<i>`, user i is `u<i>`.
#[derive(Debug)]
pub(crate) struct Homes {
    folder: tempfile::TempDir,
    pub(crate) ids: Vec<NodeId>,
    users: usize,
}

/// What differs from cluster to cluster.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) users: usize,
    /// The port in each node's URL, where something else listens; the nodes choose others.
    pub(crate) fronts: Vec<u16>,
    /// The storage kind of each node, repeated.
    pub(crate) kinds: Vec<&'static str>,
    /// Appended to the section `[node]`.
    pub(crate) node_settings: String,
    /// The section `[client]`.
    pub(crate) client_settings: String,
    /// How long certifications are valid; `None` is for ever.
    pub(crate) valid_for: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 4,
            users: 1,
            fronts: Vec::new(),
            kinds: vec!["redb"],
            node_settings: String::new(),
            client_settings: "deadline_ms = 30000".to_owned(),
            valid_for: None,
        }
    }
}

/// A port that nobody uses at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn certified(by: &[&OwnKey], key: &OwnKey, valid_for: Option<Duration>) -> Vec<u8> {
    let address = key.certificate().identities(SystemTime::now())[0].address.clone();
    let mut bytes = key.certificate_bytes().clone();
    for issuer in by.iter().filter(|issuer| issuer.certificate().id() != key.certificate().id()) {
        bytes = issuer.certify(&bytes, &address, Statement::Certify { valid_for }).unwrap();
    }
    bytes.as_bytes().to_vec()
}

impl Homes {
    /// Nodes and users that have all certified each other. The last node has no key for TLS: it is
    /// asked, and asks, by sealed messages, and all others by TLS among themselves.
    pub(crate) fn new(plan: &Plan) -> Self {
        let listen: Vec<u16> = (0..plan.nodes).map(|_| free_port()).collect();
        let url = |i: usize| plan.fronts.get(i).copied().unwrap_or(listen[i]);
        let node = |i: usize| format!("Node {i} (http://127.0.0.1:{})", url(i));
        let user = |i: usize| format!("User {i} <user{i}@example.org>");
        let names = (0..plan.nodes).map(node).chain((0..plan.users).map(user));
        let generate = |(i, name): (usize, String)| {
            let make = if i + 1 == plan.nodes { generate_sealing_key } else { generate_key };
            make(&name, None).unwrap().key
        };
        let keys: Vec<OwnKey> = names.enumerate().map(generate).collect();
        let all: Vec<&OwnKey> = keys.iter().collect();
        let ring: Vec<Vec<u8>> =
            keys.iter().map(|key| certified(&all, key, plan.valid_for)).collect();
        let ids = all.iter().take(plan.nodes).map(|key| key.certificate().id().clone()).collect();
        let homes = Self { folder: tempfile::tempdir().unwrap(), ids, users: plan.users };
        for (i, key) in keys.iter().enumerate() {
            let config = match i.checked_sub(plan.nodes) {
                None => node_config(plan, i, listen[i]),
                Some(_) => format!("[client]\n{}\n", plan.client_settings),
            };
            let new = NewHome { key, certificates: &ring, config: &config };
            Home::create(&homes.any_path(i), &new).unwrap();
        }
        homes
    }

    fn any_path(&self, i: usize) -> PathBuf {
        match i.checked_sub(self.ids.len()) {
            None => self.node_path(i),
            Some(user) => self.user_path(user),
        }
    }

    pub(crate) fn node_path(&self, i: usize) -> PathBuf {
        self.folder.path().join(format!("n{i}"))
    }

    pub(crate) fn user_path(&self, i: usize) -> PathBuf {
        assert!(i < self.users, "no such user");
        self.folder.path().join(format!("u{i}"))
    }

    pub(crate) fn node(&self, i: usize) -> Home {
        Home::open(self.node_path(i)).unwrap()
    }

    pub(crate) async fn client(&self, user: usize) -> Client {
        Client::open(&Home::open(self.user_path(user)).unwrap()).await.unwrap()
    }
}

fn node_config(plan: &Plan, i: usize, listen: u16) -> String {
    let kind = plan.kinds[i % plan.kinds.len()];
    let more = &plan.node_settings;
    format!(
        "[node]\nlisten = \"127.0.0.1:{listen}\"\n{more}\n[storage]\nkind = \"{kind}\"\ncache_mib = 4\n"
    )
}
