//! What the rules need from keys and certificates. Implemented by `bftkv-wot` with OpenPGP, and by
//! the simulator with cheap fake signatures.

use crate::{Address, Entry, NodeId, Purpose, SignatureBytes};

/// Why a signature was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The signer's certificate is not known here: fetch it and try again.
    #[error("the certificate {0} is not known here")]
    UnknownCertificate(NodeId),
    /// The signature does not fit the bytes, the key or the purpose, or is not in canonical form.
    #[error("not a valid signature by {signer}: {reason}")]
    Bad {
        /// The alleged signer.
        signer: NodeId,
        /// What is wrong, in words.
        reason: String,
    },
}

/// Checks signatures of the protocol.
///
/// The answer depends only on the certificate's keys, never on today's expiry or revocations:
/// what was certified stays valid everywhere (rule R4). Implementations must not remember
/// verified signatures without bound.
pub trait Verify {
    /// Checks that `packet` is an OpenPGP detached signature by `signer` over `message` whose
    /// hashed area names `purpose`, in canonical form. The rules call [`Verify::verify`].
    ///
    /// # Errors
    /// [`VerifyError::UnknownCertificate`] can be mended by fetching the certificate; anything
    /// else is the signer's or the sender's fault.
    fn verify_packet(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        packet: &SignatureBytes,
    ) -> Result<(), VerifyError>;

    /// Checks that `signature` is `signer`'s over `message`, for `purpose`: an OpenPGP packet over
    /// the message itself, or one over a root to which the message's path leads. An implementation may
    /// remember trees ([`crate::TreeMemory`]); the answer is the same.
    ///
    /// # Errors
    /// As [`Verify::verify_packet`].
    fn verify(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        if !signature.is_batched() {
            return self.verify_packet(signer, purpose, message, signature);
        }
        match signature.detach(purpose, message) {
            Ok(one) => self.verify_packet(signer, one.purpose, &one.message, &one.packet),
            Err(reason) => {
                let (signer, reason) = (signer.clone(), reason.to_owned());
                Err(VerifyError::Bad { signer, reason })
            }
        }
    }

    /// The fingerprint of the key that a signature names as its maker: the certificate's primary
    /// key or one of its subkeys. It is worth something only for a signature that
    /// [`Verify::verify`] accepts for `signer`, because then that very key made it. `None` if it
    /// names none.
    ///
    /// Conviction is per key (rule R6): a member that lost its memory comes back with a fresh
    /// subkey of the same certificate. Where certificates have one key each this need not be said.
    fn made_by(&self, signer: &NodeId, signature: &SignatureBytes) -> Option<NodeId> {
        self.packet_made_by(signer, &signature.packet()?)
    }

    /// The same for a packet without a path.
    fn packet_made_by(&self, signer: &NodeId, packet: &SignatureBytes) -> Option<NodeId> {
        let _ = packet;
        Some(signer.clone())
    }
}

/// The own key could not sign: an agent was out of reach, the key is expired. Ours to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct SignError(pub String);

/// Signs with the own key.
pub trait Sign {
    /// The own certificate.
    fn id(&self) -> &NodeId;

    /// Makes a detached signature over `message` that names `purpose`.
    ///
    /// # Errors
    /// When the key is not usable; the message says why.
    fn sign(&self, purpose: Purpose, message: &[u8]) -> Result<SignatureBytes, SignError>;
}

/// What a server knows about the people who write: their quorum certificates.
pub trait Identities {
    /// Whether the certificate `writer` has, valid now, a user ID with `address` that more than b
    /// members of every authority clique to which this server belongs have certified (rule R3).
    ///
    /// Paper: §3.1, "b+1 members in a quorum must agree on the client's certificate".
    fn has_quorum_certificate(&self, writer: &NodeId, address: &Address) -> bool;

    /// Whether the certificate had such a user ID at any time, whatever has expired or was revoked
    /// since. What a writer did while it had one still counts for a member that lost its memory.
    fn had_quorum_certificate(&self, writer: &NodeId, address: &Address) -> bool {
        self.has_quorum_certificate(writer, address)
    }

    /// Whether this server may sign the claim of a certificate that has no quorum certificate yet:
    /// the identity check accepts it, and no other certificate of that user ID is certified here,
    /// or about to be. `entry` is `None` when the certificate gives up its attempt. By default
    /// nobody may: whoever gets a quorum certificate gets it by other means.
    fn may_claim(&self, writer: &NodeId, address: &Address, entry: Option<&Entry>) -> bool {
        let _ = (writer, address, entry);
        false
    }

    /// Whether the certificate is known here at all (whoever joined is).
    fn is_known(&self, id: &NodeId) -> bool;
}

macro_rules! delegate_references {
    ($($pointer:ty),*) => {$(
        impl<T: Verify + ?Sized> Verify for $pointer {
            fn verify_packet(
                &self,
                signer: &NodeId,
                purpose: Purpose,
                message: &[u8],
                packet: &SignatureBytes,
            ) -> Result<(), VerifyError> {
                (**self).verify_packet(signer, purpose, message, packet)
            }

            fn verify(
                &self,
                signer: &NodeId,
                purpose: Purpose,
                message: &[u8],
                signature: &SignatureBytes,
            ) -> Result<(), VerifyError> {
                (**self).verify(signer, purpose, message, signature)
            }

            fn packet_made_by(&self, signer: &NodeId, packet: &SignatureBytes) -> Option<NodeId> {
                (**self).packet_made_by(signer, packet)
            }
        }
    )*};
}
delegate_references!(&T, std::sync::Arc<T>);
