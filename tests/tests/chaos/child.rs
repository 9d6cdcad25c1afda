//! What a child process does: this program started again, with its orders in the environment.

use std::path::PathBuf;
use std::sync::Arc;

use bftkv::protocol::Store;
use bftkv::storage::{StorageConfig, WriterLog, open_on};
use bftkv::transport::ClientLimits;
use bftkv::{Client, ClientParts, Home, Node, NodeParts, PutOptions, Value, Variable};

use crate::block_on;
use crate::points::{
    DeadlyDisk, DeadlyHandler, DeadlyStore, DeadlyTransport, Points, listen_address,
};
use crate::secrets::use_and_forget;

/// "node", "writer" or "secrets".
pub(crate) const ROLE: &str = "CHAOS_ROLE";
/// Its home.
pub(crate) const HOME: &str = "CHAOS_HOME";
/// Where it dies, see [`Points::parse`].
pub(crate) const POINT: &str = "CHAOS_POINT";
/// The variables of a writer: this, and a number.
pub(crate) const PREFIX: &str = "CHAOS_PREFIX";
/// How many variables a writer has.
pub(crate) const VARIABLES: usize = 8;

#[test]
#[ignore = "started by the others, with orders in the environment"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let path = PathBuf::from(std::env::var(HOME).unwrap());
    if role == "secrets" {
        return use_and_forget(&path);
    }
    let home = Home::open(path).unwrap();
    let points = Points::parse(std::env::var(POINT).ok().as_deref());
    std::thread::spawn(end_with_stdin);
    match role.as_str() {
        "node" => block_on(serve(&home, points)),
        "writer" => block_on(write(&home, points)),
        other => panic!("{other}"),
    }
}

/// No child outlives the one who started it.
fn end_with_stdin() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::exit(0);
}

async fn serve(home: &Home, points: Points) {
    let settings = &home.config().storage;
    let config = StorageConfig {
        kind: settings.kind,
        path: home.path().join(Home::STORE),
        cache_bytes: settings.cache_mib << 20,
        // So short that kills hit commits on their way into the tree, too.
        log_bytes: 64 << 10,
    };
    let store: Arc<dyn Store> = open_on(&config, Arc::new(DeadlyDisk(points.clone()))).unwrap();
    let store = Arc::new(DeadlyStore(store, points.clone()));
    let (certificates, key) = (home.certificates().unwrap(), home.key());
    let configuration =
        certificates.configuration(key.certificate().id(), &home.config().realm).unwrap();
    let settings = home.config().node.clone();
    let transport = Arc::new(certificates.transport(&key, ClientLimits::default()).unwrap());
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
    let node = Node::assemble(parts).unwrap();
    let shares = home.path().join("shares");
    let handler = Arc::new(DeadlyHandler { handler: node.handler(), points, shares });
    let running = node.serve_with(listen_address(home), handler).await.unwrap();
    println!("\nlistening");
    node.ready().await;
    println!("ready");
    std::future::pending::<()>().await;
    drop(running);
}

/// A client whose disk and whose way to the nodes can kill it.
pub(crate) async fn deadly_client(home: &Home, points: Points) -> Client {
    let (certificates, key) = (home.certificates().unwrap(), home.key());
    let transport = certificates.transport(&key, ClientLimits::default()).unwrap();
    let disk = Arc::new(DeadlyDisk(points.clone()));
    let parts = ClientParts {
        certificates,
        key,
        transport: Arc::new(DeadlyTransport(transport, points)),
        memory: WriterLog::open_on(home.path(), disk).unwrap(),
        realm: home.config().realm.clone(),
        settings: home.config().client.clone(),
        configurations: None,
    };
    Client::assemble(parts).await.unwrap()
}

/// Writes for ever, and tells what it tries and what was acknowledged.
async fn write(home: &Home, points: Points) {
    let client = deadly_client(home, points).await;
    println!("\nlistening");
    let prefix = std::env::var(PREFIX).unwrap();
    for n in 0.. {
        let variable = format!("{prefix}{}", n % VARIABLES);
        let value = format!("{}-{n}", std::process::id());
        println!("try {variable} {value}");
        let name = Variable::new(variable.as_bytes()).unwrap();
        let outcome =
            client.put(&name, Value::new(value.as_bytes()).unwrap(), PutOptions::default()).await;
        match outcome {
            Ok(written) => println!("ack {variable} {} {value}", written.timestamp),
            Err(error) => println!("not {variable} {error}"),
        }
        assert!(client.convicted().is_empty(), "somebody honest was convicted");
    }
}
