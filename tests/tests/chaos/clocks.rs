//! Clocks that are wrong by ten years: they change which certificates have expired, and nothing
//! else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bftkv::protocol::Configurations;
use bftkv::transport::{ClientLimits, Transport};
use bftkv::wot::{Keyring, KeyringOptions, Origin};
use bftkv::{
    Certificates, Client, ClientParts, GetOptions, Home, Node, NodeParts, PutOptions, RunningNode,
    Value, Variable,
};

use crate::block_on;
use crate::homes::{Homes, Plan};

const TEN_YEARS: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The certificates of a home, judged at another time than now.
fn certificates(home: &Home, time: SystemTime) -> Certificates {
    let known = home.certificates().unwrap();
    let keyring = Keyring::new(KeyringOptions { time: Some(time), ..KeyringOptions::default() });
    for (record, _) in known.keyring().records() {
        keyring.add((*record).clone(), Origin::Local).unwrap();
    }
    Certificates::in_memory(keyring)
}

fn transport(certificates: &Certificates, home: &Home) -> Arc<dyn Transport> {
    Arc::new(certificates.transport(&home.key(), ClientLimits::default()).unwrap())
}

async fn serve(home: &Home, time: SystemTime) -> Result<RunningNode, bftkv::Error> {
    let (certificates, key) = (certificates(home, time), home.key());
    let configuration = certificates.configuration(key.certificate().id(), &home.config().realm)?;
    let (store, settings) = (home.store()?, home.config().node.clone());
    let transport = transport(&certificates, home);
    let own = Some(home.path().to_owned());
    let parts = NodeParts {
        configuration: Some(configuration),
        realm: home.config().realm.clone(),
        certificates,
        key,
        store,
        transport,
        settings,
        home: own,
    };
    Node::assemble(parts)?.serve().await
}

/// A node that served before: its configuration is on its disk, whatever its web of trust shows now.
fn open_again(home: &Home, time: SystemTime) -> Node {
    let (certificates, key) = (certificates(home, time), home.key());
    let transport = transport(&certificates, home);
    let parts = NodeParts {
        configuration: None,
        realm: home.config().realm.clone(),
        certificates,
        key,
        store: home.store().unwrap(),
        transport,
        settings: home.config().node.clone(),
        home: Some(home.path().to_owned()),
    };
    Node::assemble(parts).unwrap()
}

async fn client(home: &Home, time: SystemTime) -> Result<Client, bftkv::Error> {
    let (certificates, key) = (certificates(home, time), home.key());
    let transport = transport(&certificates, home);
    Client::assemble(ClientParts {
        certificates,
        key,
        transport,
        memory: home.writer_log()?,
        realm: home.config().realm.clone(),
        settings: home.config().client.clone(),
        configurations: None,
    })
    .await
}

fn later() -> SystemTime {
    SystemTime::now() + TEN_YEARS
}

fn earlier() -> SystemTime {
    SystemTime::now() - TEN_YEARS
}

async fn put(client: &Client, text: &str) -> Result<(), bftkv::Error> {
    let value = Value::new(text.as_bytes()).unwrap();
    client.put(&variable(), value, PutOptions::default()).await.map(drop)
}

async fn get(client: &Client) -> String {
    let found = client.get(&variable(), GetOptions::default()).await.unwrap();
    assert!(found.culprits.is_empty(), "a wrong clock is no lie: {:?}", found.culprits);
    String::from_utf8(found.entry.unwrap().entry().value.as_bytes().to_vec()).unwrap()
}

fn variable() -> Variable {
    Variable::new(&b"x"[..]).unwrap()
}

#[test]
fn nodes_and_clients_ten_years_ahead_work_with_the_others() {
    block_on(async {
        let homes = Homes::new(&Plan::default());
        let now = SystemTime::now();
        // Node 3 is down: the two whose clocks are ahead are needed for every quorum.
        let mut nodes = Vec::new();
        for (i, time) in [now, later(), later()].into_iter().enumerate() {
            nodes.push(serve(&homes.node(i), time).await.unwrap());
        }
        let home = Home::open(homes.user_path(0)).unwrap();
        for (text, time) in [("now", now), ("ahead", later())] {
            let client = client(&home, time).await.unwrap();
            put(&client, text).await.unwrap();
            assert_eq!(get(&client).await, text);
        }
    });
}

#[test]
fn a_clock_before_all_certificates_trusts_nobody_and_harms_nobody() {
    block_on(async {
        let homes = Homes::new(&Plan::default());
        let refused = serve(&homes.node(3), earlier()).await;
        assert!(refused.is_err(), "no certificate was valid then");
        let mut nodes = Vec::new();
        for i in 0..3 {
            nodes.push(serve(&homes.node(i), SystemTime::now()).await.unwrap());
        }
        let home = Home::open(homes.user_path(0)).unwrap();
        assert!(client(&home, earlier()).await.is_err(), "it finds no quorum");
        let client = client(&home, SystemTime::now()).await.unwrap();
        put(&client, "x").await.unwrap();
        assert_eq!(get(&client).await, "x");
    });
}

#[test]
fn certifications_expire_for_those_who_are_ahead_and_what_was_certified_stays_valid() {
    block_on(async {
        let year = Duration::from_secs(365 * 24 * 3600);
        let homes = Homes::new(&Plan { valid_for: Some(year), ..Plan::default() });
        let mut nodes = Vec::new();
        for i in 0..3 {
            nodes.push(serve(&homes.node(i), SystemTime::now()).await.unwrap());
        }
        assert!(serve(&homes.node(3), later()).await.is_err(), "its clique has expired");
        let home = Home::open(homes.user_path(0)).unwrap();
        let client = client(&home, SystemTime::now()).await.unwrap();
        put(&client, "x").await.unwrap();
        let options = GetOptions { proof: true, ..GetOptions::default() };
        let entry = client.get(&variable(), options).await.unwrap().entry.unwrap();
        let proof = bftkv::ProofFile::new(entry).to_bytes();
        let first = client.configuration().unwrap();
        let known = Configurations::starting_with((*first).clone());
        for time in [earlier(), SystemTime::now(), later()] {
            let certificates = certificates(&home, time);
            let keys = certificates.keyring();
            assert!(bftkv::ProofFile::verify(&proof, &known, keys).is_ok());
        }
    });
}

/// All certifications have expired, of the members and of the writer: what is stored stays valid, is
/// written back to a member that lacks it, and is certified again when a signer is cut out. New values
/// are refused.
#[test]
fn expired_keys_stop_no_read_no_write_back_and_no_repair() {
    block_on(async {
        let year = Duration::from_secs(365 * 24 * 3600);
        let homes = Homes::new(&Plan { valid_for: Some(year), ..Plan::default() });
        let home = Home::open(homes.user_path(0)).unwrap();
        let client = client(&home, SystemTime::now()).await.unwrap();
        let mut nodes = Vec::new();
        for i in 0..4 {
            nodes.push(serve(&homes.node(i), SystemTime::now()).await.unwrap());
        }
        nodes.pop().unwrap().shutdown().await.unwrap();
        put(&client, "x").await.unwrap();
        for node in nodes {
            node.shutdown().await.unwrap();
        }
        // Ten years later node 0 is gone; node 3 has never heard of the value, and is needed.
        let again: Vec<Node> = (1..4).map(|i| open_again(&homes.node(i), later())).collect();
        let mut running = Vec::new();
        for node in &again {
            running.push(node.serve().await.unwrap());
        }
        for node in &again {
            tokio::time::timeout(Duration::from_secs(60), node.ready()).await.unwrap();
        }
        assert_eq!(get(&client).await, "x");
        // The members might judge otherwise soon, so it is tried again until its time is over.
        let options =
            PutOptions { deadline: Some(Duration::from_secs(3)), ..PutOptions::default() };
        let refused = client.put(&variable(), Value::new("y").unwrap(), options).await;
        assert!(refused.is_err(), "its quorum certificate has expired");
        for node in &again {
            node.certificates().revoked().command(&homes.ids[0], "it is gone").unwrap();
        }
        let cut = std::collections::BTreeSet::from([homes.ids[0].clone()]);
        let known = Configurations::starting_with((*client.configuration().unwrap()).clone());
        let backing = || async {
            let options = GetOptions { proof: true, ..GetOptions::default() };
            let entry = client.get(&variable(), options).await.unwrap().entry.unwrap();
            bftkv::protocol::Backing::of(&entry, &known, &cut)
        };
        let status = client.repair(Duration::from_secs(15), |_| {}).await.unwrap();
        let rest = status.iter().filter(|(id, _)| **id != homes.ids[0]);
        let done = rest.filter(|(_, said)| said.is_some_and(|said| said.done)).count();
        assert_eq!(done, 3, "{status:?}");
        assert_eq!(backing().await, bftkv::protocol::Backing::Full);
        for node in running {
            node.shutdown().await.unwrap();
        }
    });
}
