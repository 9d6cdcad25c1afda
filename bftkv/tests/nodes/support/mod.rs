//! A whole cluster in a temporary folder: keys, certifications, homes, ports chosen by the system.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use bftkv::protocol::Sign as _;
use bftkv::wot::{CertificateRecord, OwnKey, Statement, generate_key, generate_sealing_key};
use bftkv::{Client, Home, NewHome, Node, RunningNode};

/// Homes of nodes and users under one folder.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    pub(crate) keys: Vec<OwnKey>,
    certificates: Vec<Vec<u8>>,
}

/// Who is certified by whom.
fn certified(by: &[&OwnKey], key: &OwnKey) -> Vec<u8> {
    let address = key.certificate().identities(std::time::SystemTime::now())[0].address.clone();
    let mut bytes = key.certificate_bytes().clone();
    for issuer in by {
        bytes = issuer.certify(&bytes, &address, Statement::Certify { valid_for: None }).unwrap();
    }
    bytes.as_bytes().to_vec()
}

fn node_name(i: usize) -> String {
    format!("Node {i} (http://{})", free_address())
}

/// A port that the system chose, at an address of loopback that nobody else has: at 127.0.0.1 a connection of
/// some other test may take the port before the node listens, or while it is being restarted.
fn free_address() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = 1 + u8::try_from(std::process::id() % 250).unwrap();
    TcpListener::bind((Ipv4Addr::new(127, process, high, low), 0)).unwrap().local_addr().unwrap()
}

impl Cluster {
    /// `n` nodes that have all certified each other, and users whom all nodes have certified.
    pub(crate) fn new(n: usize, users: &[&str]) -> Self {
        Self::mixed(n, users, |_| false)
    }

    /// The same; the keys of `sealed` offer no TLS.
    pub(crate) fn mixed(n: usize, users: &[&str], sealed: impl Fn(usize) -> bool) -> Self {
        let names = (0..n).map(node_name).chain(users.iter().map(|user| (*user).to_owned()));
        let generate = |(i, name): (usize, String)| {
            let make = if sealed(i) { generate_sealing_key } else { generate_key };
            make(&name, None).unwrap().key
        };
        let keys: Vec<OwnKey> = names.enumerate().map(generate).collect();
        let nodes: Vec<&OwnKey> = keys[..n].iter().collect();
        let certificates = keys.iter().enumerate().map(|(i, key)| {
            let others: Vec<&OwnKey> =
                nodes.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, k)| *k).collect();
            certified(&others, key)
        });
        let certificates: Vec<Vec<u8>> = certificates.collect();
        // Users certify the nodes: that is how they find the clique.
        let mut cluster = Self { folder: tempfile::tempdir().unwrap(), keys, certificates };
        for user in n..cluster.keys.len() {
            for i in 0..n {
                let merged = certified(&[&cluster.keys[user]], &cluster.keys[i]);
                cluster.certificates.push(merged);
            }
        }
        for i in 0..cluster.keys.len() {
            cluster.make_home(i);
        }
        cluster
    }

    /// One more node, which has certified these nodes and is certified by them; only its own home
    /// knows. Gives its number.
    pub(crate) fn add_guest(&mut self, nodes: &[usize]) -> usize {
        let number = self.keys.len();
        let key = generate_key(&node_name(number), None).unwrap().key;
        let nodes: Vec<&OwnKey> = nodes.iter().map(|i| &self.keys[*i]).collect();
        let mut certificates = self.certificates.clone();
        certificates.push(certified(&nodes, &key));
        certificates.extend(nodes.iter().map(|node| certified(&[&key], node)));
        self.keys.push(key);
        self.make_home_with(number, &certificates);
        number
    }

    /// What node `of` knows of everybody is imported into the home of `to`, as its operator does.
    pub(crate) fn import(&self, to: usize, of: usize) {
        let (to, of) =
            (self.home(to).certificates().unwrap(), self.home(of).certificates().unwrap());
        for (record, _) in of.keyring().records() {
            to.import((*record).clone()).unwrap();
        }
    }

    /// Node `by` withdraws its certification of node `of`, in its home.
    pub(crate) fn revoke(&self, by: usize, of: usize) {
        let certificates = self.home(by).certificates().unwrap();
        let of = self.keys[of].id();
        let (bytes, address) = (certificates.bytes(of).unwrap(), certificates.url(of).unwrap());
        let statement = Statement::Revoke { reason: "its disk died" };
        let revoked = self.keys[by].certify(&bytes, &address, statement).unwrap();
        certificates.import(CertificateRecord::new(&revoked).unwrap()).unwrap();
    }

    fn make_home(&self, i: usize) {
        self.make_home_with(i, &self.certificates);
    }

    fn make_home_with(&self, i: usize, certificates: &[Vec<u8>]) {
        let new = NewHome { key: &self.keys[i], certificates, config: bftkv::TEMPLATE };
        Home::create(&self.home_path(i), &new).unwrap();
    }

    pub(crate) fn home_path(&self, i: usize) -> PathBuf {
        self.folder.path().join(i.to_string())
    }

    pub(crate) fn home(&self, i: usize) -> Home {
        Home::open(self.home_path(i)).unwrap()
    }

    pub(crate) async fn serve(&self, i: usize) -> RunningNode {
        Node::open(&self.home(i)).unwrap().serve().await.unwrap()
    }

    pub(crate) async fn client(&self, i: usize) -> Client {
        Client::open(&self.home(i)).await.unwrap()
    }
}
