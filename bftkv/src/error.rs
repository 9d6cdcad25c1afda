//! What can go wrong, and who lied on the way.

use std::collections::BTreeMap;

use bftkv_protocol::client::{ClientError, Fault};
use bftkv_protocol::{NodeId, SignError, StoreError};
use bftkv_roaming::client::Failure;

use crate::{ConfigError, HomeError};

/// Why something was not done. The message says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A put, a get or a listing failed.
    #[error(transparent)]
    Operation(#[from] ClientError),
    /// The home is not usable. Ours to mend.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The configuration file is not usable. Ours to mend.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file of members does not hold together.
    #[error("the file of members: {0}")]
    Members(bftkv_protocol::ChangeError),
    /// The certificates do not make a quorum.
    #[error("no quorum: {0}")]
    Quorum(#[from] bftkv_wot::DeriveError),
    /// No configuration was found yet: join first.
    #[error("no quorum is known yet: join first")]
    NotConfigured,
    /// The own certificate has no user ID with an address.
    #[error(
        "the own certificate has no user ID of the form \"Real name <email>\" or \"Real name (URL)\""
    )]
    NoAddress,
    /// This certificate has no part in the realm, so it cannot serve.
    #[error(
        "{0} is neither in an authority clique nor in the store group, so it cannot serve: \
         `bftkv graph` shows which certifications are missing"
    )]
    NotMember(NodeId),
    /// The own certificate is a node's: nodes are certified by their operators.
    #[error(
        "only a user ID of the form \"Real name <email>\" can be registered; nodes are certified by \
         the operators of the others (`bftkv cert certify`)"
    )]
    NoUser,
    /// The URL in the own user ID stands for no address here.
    #[error("{0:?} in the own user ID stands for no address here: set `listen` in config.toml")]
    ListenAddress(String),
    /// The own key cannot sign.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The own key cannot be used for connections. Ours to mend.
    #[error(transparent)]
    Channel(#[from] bftkv_protocol::SealError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store cannot be opened.
    #[error(transparent)]
    OpenStore(#[from] bftkv_storage::OpenError),
    /// A login failed, or shares of a password could not be dealt.
    #[error(transparent)]
    Password(Box<Failure>),
    /// A value under a password cannot be made or opened.
    #[error(transparent)]
    Roaming(#[from] bftkv_roaming::Error),
    /// The node cannot listen.
    #[error(transparent)]
    Listen(#[from] bftkv_transport::ServeError),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Password(Box::new(failure))
    }
}

impl Error {
    /// Who lied, and how. They need not have caused the error.
    #[must_use]
    pub fn culprits(&self) -> BTreeMap<NodeId, Fault> {
        match self {
            Self::Operation(error) => error.culprits.clone(),
            Self::Password(failure) => failure.culprits.clone(),
            _ => BTreeMap::new(),
        }
    }
}
