//! A public key that is ready for use.

use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::types::HashAlgorithm;

use crate::certificate::PublicKey;

/// A key that checks signatures.
///
/// Before an Ed25519 key can be used its point is worked out from its 32 bytes, which takes a
/// tenth of the time of a check. Here that is done once, and the library that Sequoia's own Rust
/// backend calls is called in the same way. Other keys are left to Sequoia.
#[derive(Debug)]
pub(crate) struct VerificationKey {
    public: PublicKey,
    #[cfg(feature = "crypto-rust")]
    point: Option<ed25519_dalek::VerifyingKey>,
}

impl VerificationKey {
    pub(crate) fn new(public: PublicKey) -> Self {
        #[cfg(feature = "crypto-rust")]
        let point = ed25519::point(&public);
        Self {
            public,
            #[cfg(feature = "crypto-rust")]
            point,
        }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Whether the signature over the digest is good. Goes past Sequoia's unbounded memory.
    pub(crate) fn verifies(
        &self,
        signature: &mpi::Signature,
        hash: HashAlgorithm,
        digest: &[u8],
    ) -> bool {
        #[cfg(feature = "crypto-rust")]
        if let Some(point) = &self.point {
            return ed25519::verifies(self.public.mpis(), point, signature, digest);
        }
        self.public.verify(signature, hash, digest).is_ok()
    }
}

#[cfg(feature = "crypto-rust")]
mod ed25519 {
    use ed25519_dalek::{Signature, Verifier, VerifyingKey};
    use sequoia_openpgp::crypto::mpi;
    use sequoia_openpgp::types::Curve;

    use crate::certificate::PublicKey;

    pub(super) fn point(public: &PublicKey) -> Option<VerifyingKey> {
        let bytes = match public.mpis() {
            mpi::PublicKey::Ed25519 { a } => *a,
            mpi::PublicKey::EdDSA { curve: Curve::Ed25519, q } => {
                q.decode_point(&Curve::Ed25519).ok()?.0.try_into().ok()?
            }
            _ => return None,
        };
        VerifyingKey::from_bytes(&bytes).ok()
    }

    pub(super) fn verifies(
        public: &mpi::PublicKey,
        point: &VerifyingKey,
        signature: &mpi::Signature,
        digest: &[u8],
    ) -> bool {
        let signature = match (public, signature) {
            (mpi::PublicKey::Ed25519 { .. }, mpi::Signature::Ed25519 { s }) => {
                Some(Signature::from_bytes(s))
            }
            // Written as two numbers, without leading zeros.
            (mpi::PublicKey::EdDSA { .. }, mpi::Signature::EdDSA { r, s }) => parts(r, s),
            _ => None,
        };
        signature.is_some_and(|signature| point.verify(digest, &signature).is_ok())
    }

    fn parts(r: &mpi::MPI, s: &mpi::MPI) -> Option<Signature> {
        let (r, s) = (r.value_padded(32).ok()?, s.value_padded(32).ok()?);
        let (r, s): (&[u8; 32], &[u8; 32]) = ((&*r).try_into().ok()?, (&*s).try_into().ok()?);
        Some(Signature::from_components(*r, *s))
    }
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Purpose, Sign};
    use sequoia_openpgp::Packet;
    use sequoia_openpgp::crypto::hash::Hash;
    use sequoia_openpgp::parse::Parse;

    use crate::generate_key;
    use crate::testing::key;

    /// What Sequoia says of the same signature is the measure.
    #[test]
    fn keys_say_what_sequoia_says() {
        let generated = generate_key("a <a@example.org>", None).unwrap().key;
        // Among 600 signatures some have numbers with leading zeros.
        let keys = [(key("gnupg-ed25519/n1"), 600), (key("gnupg-rsa2048/a01"), 3), (generated, 9)];
        for (own, count) in keys {
            for n in 0..count {
                let signed = own.sign(Purpose::Share, &u32::to_be_bytes(n)).unwrap();
                let Packet::Signature(signature) = Packet::from_bytes(signed.as_bytes()).unwrap()
                else {
                    panic!("no signature")
                };
                let maker = signature.issuer_fingerprints().next().unwrap().clone();
                let key = own.certificate().signing_key(&maker).unwrap();
                let mut hash = signature.hash_algo().context().unwrap().for_signature(4);
                hash.update(&u32::to_be_bytes(n));
                signature.hash(&mut hash).unwrap();
                let mut digest = hash.into_digest().unwrap();
                let (mpis, algorithm) = (signature.mpis().clone(), signature.hash_algo());
                assert!(key.verifies(&mpis, algorithm, &digest));
                assert!(key.public().verify(&mpis, algorithm, &digest).is_ok());
                digest[0] ^= 1;
                assert!(!key.verifies(&mpis, algorithm, &digest));
            }
        }
    }
}
