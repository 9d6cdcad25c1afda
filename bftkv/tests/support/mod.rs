//! A whole cluster in a temporary folder: keys, certifications, homes, ports chosen by the system.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::net::TcpListener;
use std::path::PathBuf;

use bftkv::wot::{OwnKey, Statement, generate_key};
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Cluster {
    /// `n` nodes that have all certified each other, and users whom all nodes have certified.
    pub(crate) fn new(n: usize, users: &[&str]) -> Self {
        let node = |i: usize| format!("Node {i} (http://127.0.0.1:{})", free_port());
        let names = (0..n).map(node).chain(users.iter().map(|user| (*user).to_owned()));
        let keys: Vec<OwnKey> = names.map(|name| generate_key(&name, None).unwrap().key).collect();
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

    fn make_home(&self, i: usize) {
        let new = NewHome {
            key: &self.keys[i],
            certificates: &self.certificates,
            config: bftkv::TEMPLATE,
        };
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
