//! A Byzantine-fault-tolerant key-value store whose nodes are OpenPGP certificates: what an
//! embedding program depends on.
//!
//! [`Node`] serves a share of the data; [`Client`] puts and gets. Both live in a [`Home`], a folder
//! with a key, certificates, a configuration file and, for a node, a store. Who the nodes are, who
//! must sign and who must store follows from the certificates: nodes that have all certified each
//! other are a quorum clique.
//!
//! ```no_run
//! use bftkv::{Client, GetOptions, Home, Node, PutOptions, Value, Variable};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A node, in its own program: `bftkv init` made its home.
//! let node = Node::open(&Home::open("/var/lib/bftkv")?)?;
//! let running = node.serve().await?;
//! println!("listening on {}", running.local_addr());
//!
//! // A client, in another program.
//! let client = Client::open(&Home::open("/home/alice/.bftkv")?).await?;
//! let variable = Variable::new(*b"greeting")?;
//! let written = client.put(&variable, Value::new(*b"hello")?, PutOptions::default()).await?;
//! println!("stored at timestamp {}", written.timestamp);
//!
//! let found = client.get(&variable, GetOptions::default()).await?;
//! match found.entry {
//!     Some(entry) => println!("{:?}", entry.entry().value.as_bytes()),
//!     None => println!("never written"),
//! }
//! // Whoever lied on the way is named, although the answer is right.
//! for (node, fault) in &found.culprits {
//!     eprintln!("{node} {fault}");
//! }
//! running.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What it does not do: it makes no decision of the protocol (those are in `bftkv-protocol`), and
//! has no command line (that is `bftkv-cmd`). All functions that are `async` need a Tokio runtime.

// What ships has no bugs that were put in on purpose.
const _: () = assert!(!bftkv_protocol::planted::POSSIBLE, "built with planted bugs");

mod bootstrap;
mod certificates;
mod client;
mod config;
mod error;
mod files;
mod home;
mod malice_file;
mod node;
mod peers;
mod proof_file;
mod publish;
mod random;
mod record_file;
mod register;
mod revoked;
mod signed_file;
mod together;

pub use bftkv_protocol as protocol;
pub use bftkv_roaming as roaming;
pub use bftkv_storage as storage;
pub use bftkv_transport as transport;
pub use bftkv_wot as wot;

pub use bftkv_protocol::client::{Consistency, Fault, Found, Problem, Written};
pub use bftkv_protocol::{
    CertifiedEntry, Configuration, NodeId, RepairProgress, Timestamp, Value, Variable,
};
pub use certificates::{Certificates, Reloaded};
pub use client::{
    ChangeFailure, ChangeProgress, Client, ClientParts, GetOptions, JoinReport, MemberStatus,
    Opened, PasswordOptions, Place, PutOptions, PutProtected, Registered, Renewal, RepairStatus,
    Version,
};
pub use config::{
    ClientConfig, Config, ConfigError, ConfiguredConsistency, LogConfig, NodeConfig, RealmConfig,
    StorageConfig, TEMPLATE,
};
pub use error::Error;
pub use home::{Home, HomeError, NewHome};
pub use malice_file::{MaliceFile, MaliceFileError};
pub use node::{Node, NodeParts, Policy, RunningNode};
pub use proof_file::{DetachedSignature, ProofFile, ProofFileError};
pub use publish::publish;
pub use register::Register;
pub use revoked::{Cause, Revoked};
pub use signed_file::{SignedFile, SignedFileError, sign_file, verify_file};
