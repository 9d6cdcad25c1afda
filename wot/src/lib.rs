//! OpenPGP for bftkv: certificates, the web of trust, quorum cliques, signatures, sealed messages.
//!
//! ```text
//!   files, peers --> CertificateRecord --> Keyring --(verified certifications)--> TrustGraph
//!                    (kept unparsed)        |   |                                    |
//!                                           |   |                 quorum_cliques, derive_configuration
//!   secret key file --> OwnKey              |   |                                    |
//!                         |  Sign           |  Verify, QuorumCertificates            v
//!                         +-----> Sealer <--+  (Identities)                bftkv_protocol::Configuration
//!                                 (Seal)
//! ```
//!
//! What it does not do: it decides nothing about the protocol (`bftkv-protocol` does), stores
//! nothing but keys that it is told to save, and opens no connection. No cryptography of its own:
//! all of it is `sequoia-openpgp`'s.
//!
//! Three things to know:
//! * Where the present counts (who is in a clique, whose user ID is vouched for, who may send a
//!   message) certificates are judged at the keyring's time: expired, revoked and too weak ones do
//!   not count. Where the past counts ([`bftkv_protocol::Verify`]) only the keys matter.
//! * Sequoia remembers every verified signature for ever. Protocol signatures, certifications and
//!   messages go past that memory; [`Keyring`] has a bounded one. (The signatures by which a
//!   certificate binds its own keys still go through it: 54 bytes each.)
//! * Everything that strangers can send has a limit: see [`MAX_RAW_BYTES`], [`MAX_USER_IDS`],
//!   [`KeyringOptions`], [`CliqueSearch::budget`], [`MAX_RECIPIENTS`].
//!
//! Papers: "A BFT KV Storage" (Yahoo Paranoids): §3.1, App. B (`GetQC`, `FindMaximalClique`),
//! "Sybil attack", "Transport Security". RFC 9580 (OpenPGP).
//!
//! # Example
//!
//! ```
//! use bftkv_protocol::{Address, Purpose, Realm, Sign, Verify};
//! use bftkv_wot::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Four nodes certify each other.
//! let name = |n| format!("n{n} (http://127.0.0.1:570{n})");
//! let keys: Vec<OwnKey> =
//!     (1..5).map(|n| Ok(generate_key(&name(n), None)?.key)).collect::<Result<_, KeyError>>()?;
//! let keyring = Keyring::new(KeyringOptions::default());
//! for (n, node) in (1..).zip(&keys) {
//!     let url = Address::new(format!("http://127.0.0.1:570{n}"))?;
//!     for other in keys.iter().filter(|other| other.id() != node.id()) {
//!         let statement = Statement::Certify { valid_for: None };
//!         let certified = other.certify(node.certificate_bytes(), &url, statement)?;
//!         keyring.add(CertificateRecord::new(&certified)?, Origin::Local)?;
//!     }
//! }
//!
//! // They are a quorum clique, and the whole configuration.
//! let Some(first) = keys.first() else { return Ok(()) };
//! let (realm, options) = (Realm::new("example")?, ConfigurationOptions::default());
//! let configuration = derive_configuration(&keyring.graph(), first.id(), realm, &options)?;
//! assert_eq!(configuration.store().thresholds().b(), 1);
//!
//! // What one signs, all can verify.
//! let signature = first.sign(Purpose::Share, b"some bytes")?;
//! keyring.verify(first.id(), Purpose::Share, b"some bytes", &signature)?;
//! # Ok(())
//! # }
//! ```

mod cache;
mod certificate;
mod certification;
mod certifier_memory;
mod channel;
mod clique;
mod configuration;
mod container;
mod email_proof;
mod error;
mod file_signature;
mod framing;
mod generate;
mod graph;
mod graph_builder;
mod identities;
mod keyring;
mod known_certificates;
mod own_key;
mod read;
mod record;
mod renew;
mod report;
mod seal;
mod secret_key;
mod signature;
#[cfg(test)]
mod testing;
mod user_id;
mod verification_key;

pub use certificate::{Certificate, Standing};
pub use channel::ChannelKeys;
pub use clique::{
    CliqueError, CliqueSearch, FoundCliques, QuorumClique, maximal_clique, quorum_cliques,
};
pub use configuration::{ConfigurationOptions, DeriveError, derive_configuration};
pub use email_proof::EMAIL_PROOF_SUBTYPE;
pub use error::{CertificateError, KeyError, ReadError};
pub use file_signature::{FileSignature, FileSignatureError, REALM_NOTATION};
pub use generate::{Generated, Statement, armor, generate_key, generate_sealing_key};
pub use graph::{TrustGraph, Vertex};
pub use identities::QuorumCertificates;
pub use keyring::{Keyring, KeyringOptions, LookupError, Origin};
pub use own_key::{AskPassphrase, OwnKey, Passphrase, no_passphrase};
pub use read::{
    ENDINGS, Found, MAX_FILE_BYTES, MAX_FILES, read_certificates, read_file, read_folder,
};
pub use record::{CertificateRecord, MAX_PACKETS, MAX_RAW_BYTES, MAX_SUBKEYS, MAX_USER_IDS};
pub use report::{GraphReport, MAX_OUTSIDERS, Outsider, graph_report, to_dot};
pub use seal::{MAX_RECIPIENTS, Sealer};
pub use signature::PURPOSE_NOTATION;
pub use user_id::{Identity, IdentityKind, UserIdError};
