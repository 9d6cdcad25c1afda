//! bftkv: wot (under construction).

mod cache;
mod certificate;
mod certification;
mod clique;
mod configuration;
mod error;
mod framing;
mod generate;
mod graph;
mod graph_builder;
mod identities;
mod keyring;
mod own_key;
mod read;
mod record;
mod seal;
mod signature;
#[cfg(test)]
mod testing;
mod user_id;

pub use certificate::{Certificate, Standing};
pub use clique::{
    CliqueError, CliqueSearch, FoundCliques, QuorumClique, maximal_clique, quorum_cliques,
};
pub use configuration::{ConfigurationOptions, DeriveError, derive_configuration};
pub use error::{CertificateError, KeyError, ReadError};
pub use generate::{Generated, Statement, armor, generate_key};
pub use graph::{TrustGraph, Vertex};
pub use identities::QuorumCertificates;
pub use keyring::{Keyring, KeyringOptions, LookupError, Origin};
pub use own_key::{AskPassphrase, OwnKey, Passphrase, no_passphrase};
pub use read::{
    ENDINGS, Found, MAX_FILE_BYTES, MAX_FILES, read_certificates, read_file, read_folder,
};
pub use record::{CertificateRecord, MAX_PACKETS, MAX_RAW_BYTES, MAX_SUBKEYS, MAX_USER_IDS};
pub use seal::{MAX_RECIPIENTS, Sealer};
pub use signature::PURPOSE_NOTATION;
pub use user_id::{Identity, IdentityKind, UserIdError};
