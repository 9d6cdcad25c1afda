//! What a transport needs to know who is at the other end of a connection. Implemented by
//! `bftkv-wot` with the authentication subkeys of OpenPGP certificates.

use crate::{CertificateBytes, NodeId, SignError};

/// The public half of an Ed25519 key by which its holder shows who it is when a connection is
/// made. RFC 8032.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelKey([u8; 32]);

impl ChannelKey {
    /// Takes the 32 bytes of the point.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the point.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a key is to a certificate, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelStanding {
    /// The certificate holds it for authentication, and both are valid.
    Valid,
    /// The certificate holds it, but one of the two is expired or revoked.
    NotValidNow,
    /// The certificate is not known here, or this copy of it does not hold the key.
    Unknown,
}

/// The own key for connections, and the keys of others.
pub trait Channel: Send + Sync {
    /// The own certificate's fingerprint.
    fn id(&self) -> &NodeId;

    /// The own key.
    fn own_key(&self) -> ChannelKey;

    /// Signs with the own key, by Ed25519: 64 bytes. Called by the implementation of TLS alone,
    /// over what TLS 1.3 says is to be signed.
    ///
    /// # Errors
    /// The key does not work; ours.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;

    /// Whether the certificates of both, as they are known here and count now, hold a key for
    /// connections. It alone decides how a node is asked: nothing that comes over the network in
    /// answer to a question changes it.
    fn offers(&self, node: &NodeId) -> bool;

    /// What the key is to the certificate of `node`.
    fn standing(&self, node: &NodeId, key: &ChannelKey) -> ChannelStanding;

    /// The same, for a stranger who brings a certificate. It is used for this only and not kept.
    fn standing_in(
        &self,
        node: &NodeId,
        key: &ChannelKey,
        certificate: &CertificateBytes,
    ) -> ChannelStanding;
}
