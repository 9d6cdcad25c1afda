//! A secret key that is ready for use.

use sequoia_openpgp::crypto::{Decryptor, KeyPair, SessionKey, Signer, mpi};
use sequoia_openpgp::types::HashAlgorithm;

use crate::certificate::PublicKey;

/// One secret key of the own certificate.
///
/// Sequoia keeps secrets in memory encrypted under a key that it derives anew from 64 KiB for each
/// use. That is more than a tenth of what a node computes, so keys on Curve25519 are unprotected
/// once, when they are read, and kept in the types of the library that Sequoia's own Rust backend
/// calls; they are zeroized when they are dropped. Other keys (RSA, other curves, other backends)
/// stay in Sequoia's keeping: there the derivation is a small part of the work.
pub(crate) struct SecretKey {
    public: PublicKey,
    secret: Secret,
}

enum Secret {
    #[cfg(feature = "crypto-rust")]
    Curve25519(curve25519::Secret),
    Protected(Box<KeyPair>),
}

impl SecretKey {
    pub(crate) fn new(pair: KeyPair) -> Self {
        let public = pair.public().clone();
        #[cfg(feature = "crypto-rust")]
        if let Some(secret) = curve25519::Secret::of(&pair) {
            return Self { public, secret: Secret::Curve25519(secret) };
        }
        Self { public, secret: Secret::Protected(Box::new(pair)) }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl SecretKey {
    /// Signs a whole message by Ed25519 (RFC 8032), as TLS wants it; not its digest.
    pub(crate) fn sign_channel(&self, message: &[u8]) -> sequoia_openpgp::Result<[u8; 64]> {
        let mut key = self;
        // With these keys there is no hash but the one inside of Ed25519, whatever is named.
        match Signer::sign(&mut key, HashAlgorithm::SHA512, message)? {
            mpi::Signature::Ed25519 { s } => Ok(*s),
            mpi::Signature::EdDSA { r, s } => {
                let mut signature = [0; 64];
                let (first, second) = signature.split_at_mut(32);
                first.copy_from_slice(&r.value_padded(32)?);
                second.copy_from_slice(&s.value_padded(32)?);
                Ok(signature)
            }
            _ => Err(sequoia_openpgp::Error::InvalidOperation("not Ed25519".to_owned()).into()),
        }
    }
}

/// Signing and decrypting only read the key, so threads share it.
impl Signer for &SecretKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(
        &mut self,
        hash: HashAlgorithm,
        digest: &[u8],
    ) -> sequoia_openpgp::Result<mpi::Signature> {
        match &self.secret {
            #[cfg(feature = "crypto-rust")]
            Secret::Curve25519(secret) => secret.sign(&self.public, digest),
            Secret::Protected(pair) => (**pair).clone().sign(hash, digest),
        }
    }
}

impl Decryptor for &SecretKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn decrypt(
        &mut self,
        ciphertext: &mpi::Ciphertext,
        length: Option<usize>,
    ) -> sequoia_openpgp::Result<SessionKey> {
        match &self.secret {
            #[cfg(feature = "crypto-rust")]
            Secret::Curve25519(secret) => secret.decrypt(&self.public, ciphertext, length),
            Secret::Protected(pair) => (**pair).clone().decrypt(ciphertext, length),
        }
    }
}

/// The same calls as in Sequoia's Rust backend, without taking the key out of its protection.
#[cfg(feature = "crypto-rust")]
mod curve25519 {
    use ed25519_dalek::Signer as _;
    use sequoia_openpgp::crypto::mem::Protected;
    use sequoia_openpgp::crypto::{KeyPair, SessionKey, ecdh, mpi};
    use sequoia_openpgp::types::Curve;

    use crate::certificate::PublicKey;

    /// Boxed, so that moving it leaves no copies behind. Both types zeroize themselves.
    pub(super) enum Secret {
        Signing(Box<ed25519_dalek::SigningKey>),
        Decryption(Box<x25519_dalek::StaticSecret>),
    }

    impl Secret {
        /// The secret of a version 4 or 6 Ed25519 key, or of a version 4 Curve25519 key for ECDH.
        /// The newer X25519 keys derive their wrapping key in a way that Sequoia does not export.
        pub(super) fn of(pair: &KeyPair) -> Option<Self> {
            pair.secret().map(|secret| match (pair.public().mpis(), secret) {
                (
                    mpi::PublicKey::EdDSA { curve: Curve::Ed25519, .. },
                    mpi::SecretKeyMaterial::EdDSA { scalar },
                ) => Self::signing(&scalar.value_padded(32)),
                (mpi::PublicKey::Ed25519 { .. }, mpi::SecretKeyMaterial::Ed25519 { x }) => {
                    Self::signing(x)
                }
                (
                    mpi::PublicKey::ECDH { curve: Curve::Cv25519, .. },
                    mpi::SecretKeyMaterial::ECDH { scalar },
                ) => {
                    // OpenPGP writes this number the other way round than X25519 does.
                    let mut scalar = scalar.value_padded(32);
                    scalar.reverse();
                    let scalar: &[u8; 32] = (&*scalar).try_into().ok()?;
                    Some(Self::Decryption(Box::new((*scalar).into())))
                }
                _ => None,
            })
        }

        fn signing(seed: &Protected) -> Option<Self> {
            let seed: &[u8; 32] = (**seed).try_into().ok()?;
            Some(Self::Signing(Box::new(seed.into())))
        }

        pub(super) fn sign(
            &self,
            public: &PublicKey,
            digest: &[u8],
        ) -> sequoia_openpgp::Result<mpi::Signature> {
            let Self::Signing(key) = self else { return Err(wrong_key()) };
            let signature = key.sign(digest);
            Ok(match public.mpis() {
                mpi::PublicKey::Ed25519 { .. } => {
                    mpi::Signature::Ed25519 { s: Box::new(signature.to_bytes()) }
                }
                _ => mpi::Signature::EdDSA {
                    r: mpi::MPI::new(signature.r_bytes()),
                    s: mpi::MPI::new(signature.s_bytes()),
                },
            })
        }

        pub(super) fn decrypt(
            &self,
            public: &PublicKey,
            ciphertext: &mpi::Ciphertext,
            length: Option<usize>,
        ) -> sequoia_openpgp::Result<SessionKey> {
            let (Self::Decryption(secret), mpi::Ciphertext::ECDH { e, .. }) = (self, ciphertext)
            else {
                return Err(wrong_key());
            };
            let point: [u8; 32] = e.decode_point(&Curve::Cv25519)?.0.try_into()?;
            let shared = secret.diffie_hellman(&point.into());
            ecdh::decrypt_unwrap(public, &shared.as_bytes()[..].into(), ciphertext, length)
        }
    }

    fn wrong_key() -> sequoia_openpgp::anyhow::Error {
        let reason = "this key is not for that".to_owned();
        sequoia_openpgp::Error::InvalidOperation(reason).into()
    }
}

#[cfg(test)]
mod tests {
    use sequoia_openpgp::packet::PKESK;
    use sequoia_openpgp::packet::pkesk::PKESK3;
    use sequoia_openpgp::types::SymmetricAlgorithm;

    use super::*;
    use crate::testing::key;

    /// What Sequoia's own key pair does with the same key is the measure.
    #[test]
    fn keys_do_what_sequoia_does_with_them() {
        for folder in ["gnupg-ed25519/n1", "gnupg-rsa2048/a01"] {
            let own = key(folder);
            let keys = own.stored().keys().unencrypted_secret();
            for pair in keys.map(|ka| ka.key().clone().into_keypair().unwrap()) {
                let secret = SecretKey::new(pair.clone());
                if pair.public().pk_algo().for_signing() {
                    signs_as(&mut pair.clone(), &secret);
                }
                if pair.public().pk_algo().for_encryption() {
                    opens_as(&mut pair.clone(), &secret);
                }
            }
        }
    }

    fn signs_as(pair: &mut KeyPair, mut secret: &SecretKey) {
        let digest = [7; 32];
        let expected = Signer::sign(pair, HashAlgorithm::SHA256, &digest).unwrap();
        let made = Signer::sign(&mut secret, HashAlgorithm::SHA256, &digest).unwrap();
        assert_eq!(made, expected, "both Ed25519 and PKCS#1 signatures are deterministic");
        assert!(secret.public().verify(&made, HashAlgorithm::SHA256, &digest).is_ok());
    }

    fn opens_as(pair: &mut KeyPair, mut secret: &SecretKey) {
        let algorithm = SymmetricAlgorithm::AES256;
        let session = SessionKey::new(32).unwrap();
        let packet = PKESK3::for_recipient(algorithm, &session, pair.public()).unwrap();
        let packet = PKESK::from(packet);
        let expected = (Some(algorithm), session);
        assert_eq!(packet.decrypt(pair, None), Some(expected.clone()));
        assert_eq!(packet.decrypt(&mut secret, None), Some(expected));
        let mut broken = PKESK3::for_recipient(algorithm, &[1; 32][..].into(), pair.public());
        if let Ok(packet) = &mut broken {
            packet.set_esk(mpi::Ciphertext::Unknown { mpis: Box::new([]), rest: vec![].into() });
            assert_eq!(PKESK::from(packet.clone()).decrypt(&mut secret, None), None);
        }
    }

    #[cfg(feature = "crypto-rust")]
    #[test]
    fn keys_on_curve25519_are_unprotected_once_and_others_stay_protected() {
        let is_open = |folder: &str| {
            let keys = key(folder);
            let keys = keys.stored().keys().unencrypted_secret();
            let pairs = keys.map(|ka| ka.key().clone().into_keypair().unwrap());
            let open = pairs.map(|p| matches!(SecretKey::new(p).secret, Secret::Curve25519(_)));
            open.collect::<Vec<bool>>()
        };
        assert!(is_open("gnupg-ed25519/n1").into_iter().all(|open| open));
        assert!(!is_open("gnupg-rsa2048/a01").into_iter().any(|open| open));
    }
}
