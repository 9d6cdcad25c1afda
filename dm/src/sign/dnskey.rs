//! Keys as the DNS shows them.

use bftkv_threshold::{GroupKey, Scheme, ecdsa, ed25519, rsa};
use domain::base::iana::{DigestAlgorithm, Rtype, SecurityAlgorithm};
use domain::rdata::{Dnskey as Data, ZoneRecordData};
use ring::signature as ring;
use sha2::{Digest as _, Sha256};

use crate::zone::{Key, Name, RrSet};

use super::Error;

/// The most bytes of an answer to DNSKEY, with EDNS and signatures: what goes through IPv6
/// without fragments (DNS Flag Day 2020). Of answers with 1,414 bytes 2.5 percent got lost in
/// Yeti's measurements, of those with 1,139 bytes 0.4 (RFC 8483).
pub const MAX_DNSKEY_ANSWER: usize = 1_232;

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Role {
    /// Signs the DNSKEY set. Others' trust anchors and DS records name it.
    Ksk,
    /// Signs everything else.
    Zsk,
}

/// A DNSKEY record's data (RFC 4034 section 2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dnskey {
    flags: u16,
    algorithm: SecurityAlgorithm,
    public: Vec<u8>,
}

impl Dnskey {
    /// A threshold key in this role.
    ///
    /// # Errors
    ///
    /// [`Error::Terms`] for a scheme that DNSSEC does not have.
    pub fn of(key: &dyn GroupKey, role: Role) -> Result<Self, Error> {
        let bytes = key.to_bytes();
        let (algorithm, public) = match key.scheme() {
            Scheme::Rsa => {
                let exponent = rsa::EXPONENT.to_be_bytes();
                let exponent: Vec<_> = exponent.into_iter().skip_while(|byte| *byte == 0).collect();
                let length = u8::try_from(exponent.len()).unwrap_or(u8::MAX);
                let modulus = rsa::RsaKey::from_bytes(&bytes)?.modulus();
                // RFC 3110 section 2.
                (SecurityAlgorithm::RSASHA256, [&[length], &*exponent, &modulus].concat())
            }
            Scheme::EcdsaP256 => {
                let point = ecdsa::EcdsaKey::from_bytes(&bytes)?.verifying_key();
                (SecurityAlgorithm::ECDSAP256SHA256, point)
            }
            Scheme::Ed25519 => {
                let point = ed25519::Ed25519Key::from_bytes(&bytes)?.verifying_key().to_vec();
                (SecurityAlgorithm::ED25519, point)
            }
            _ => return Err(Error::Terms("DNSSEC has no such signatures")),
        };
        let flags = match role {
            Role::Ksk => 257,
            Role::Zsk => 256,
        };
        Ok(Self { flags, algorithm, public })
    }

    /// Reads a record's data; `None` if it is none.
    #[must_use]
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        let Some(ZoneRecordData::Dnskey(data)) = crate::zone::parse(Rtype::DNSKEY, rdata) else {
            return None;
        };
        let (flags, algorithm) = (data.flags(), data.algorithm());
        (data.protocol() == 3).then(|| Self {
            flags,
            algorithm,
            public: data.public_key().to_vec(),
        })
    }

    /// The keys of a DNSKEY set.
    pub fn all(set: &RrSet) -> impl Iterator<Item = Self> {
        set.records().filter_map(Self::from_rdata)
    }

    /// The record's data.
    #[must_use]
    pub fn rdata(&self) -> Vec<u8> {
        let head = self.flags.to_be_bytes();
        [&head, [3, self.algorithm.to_int()].as_slice(), &self.public].concat()
    }

    /// The flags: 256 for a ZSK, 257 for a KSK, 385 for a revoked KSK (RFC 5011).
    #[must_use]
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// Whether this is a zone's key, and not revoked.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.flags & 0x0100 != 0 && self.flags & 0x0080 == 0
    }

    /// The same key, revoked (RFC 5011 section 7). Its tag is another one.
    #[must_use]
    pub fn revoked(mut self) -> Self {
        self.flags |= 0x0080;
        self
    }

    /// Whether others' trust is meant to begin here: a KSK.
    #[must_use]
    pub fn is_entry_point(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> SecurityAlgorithm {
        self.algorithm
    }

    /// The key tag (RFC 4034 appendix B). Several keys may have the same.
    #[must_use]
    pub fn tag(&self) -> u16 {
        let data = Data::new(self.flags, 3, self.algorithm, self.public.as_slice());
        data.map(|data| data.key_tag()).unwrap_or_default()
    }

    /// The data of a DS record with SHA-256 that names the key (RFC 4509): a trust anchor.
    #[must_use]
    pub fn ds(&self, apex: &Name) -> Vec<u8> {
        let digest = Sha256::new_with_prefix(apex.as_wire()).chain_update(self.rdata()).finalize();
        let head = self.tag().to_be_bytes();
        let kinds = [self.algorithm.to_int(), DigestAlgorithm::SHA256.to_int()];
        [&head, kinds.as_slice(), &digest].concat()
    }

    /// The DNSKEY record as a line of a zone file.
    #[must_use]
    pub fn line(&self, apex: &Name) -> String {
        let (flags, algorithm) = (self.flags, self.algorithm.to_int());
        let key = domain::utils::base64::encode_string(&self.public);
        format!("{apex} IN DNSKEY {flags} 3 {algorithm} {key}")
    }

    /// The DS record as a line of a zone file.
    #[must_use]
    pub fn ds_line(&self, apex: &Name) -> String {
        let digest = self.ds(apex).into_iter().skip(4).map(|byte| format!("{byte:02X}"));
        let (tag, algorithm) = (self.tag(), self.algorithm.to_int());
        format!("{apex} IN DS {tag} {algorithm} 2 {}", digest.collect::<String>())
    }

    /// Whether this is the key's signature over the message. Algorithms 8, 10, 13, 14 and 15;
    /// signatures of others do not count.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let point = |algorithm: &'static dyn ring::VerificationAlgorithm, prefix: &[u8]| {
            let public = [prefix, &self.public].concat();
            ring::UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
        };
        match self.algorithm {
            SecurityAlgorithm::RSASHA256 => self.verify_rsa(
                &ring::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                message,
                signature,
            ),
            SecurityAlgorithm::RSASHA512 => self.verify_rsa(
                &ring::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                message,
                signature,
            ),
            SecurityAlgorithm::ECDSAP256SHA256 => point(&ring::ECDSA_P256_SHA256_FIXED, &[4]),
            SecurityAlgorithm::ECDSAP384SHA384 => point(&ring::ECDSA_P384_SHA384_FIXED, &[4]),
            SecurityAlgorithm::ED25519 => point(&ring::ED25519, &[]),
            _ => false,
        }
    }

    fn verify_rsa(
        &self,
        how: &'static ring::RsaParameters,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let Some((e, n)) = self.rsa_numbers() else { return false };
        ring::RsaPublicKeyComponents { n, e }.verify(how, message, signature).is_ok()
    }

    /// Exponent and modulus (RFC 3110 section 2).
    fn rsa_numbers(&self) -> Option<(&[u8], &[u8])> {
        let (first, rest) = self.public.split_first()?;
        if *first > 0 {
            return rest.split_at_checked(usize::from(*first));
        }
        let (length, rest) = rest.split_first_chunk()?;
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
    }
}

impl std::fmt::Debug for Dnskey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} {} {}", self.flags, self.algorithm, self.tag())
    }
}

/// How many bytes the answer to DNSKEY has, with EDNS and these signatures.
#[must_use]
pub fn dnskey_answer_bytes(apex: &Name, keys: &RrSet, signatures: &RrSet) -> usize {
    let name = apex.as_wire().len();
    // The owner's name is in the question already; a pointer to it has two bytes.
    let head = name.min(2).saturating_add(10);
    let records = keys.records().chain(signatures.records());
    let answers: usize = records.map(|rdata| rdata.len().saturating_add(head)).sum();
    // Header; type and class of the question; OPT.
    answers.saturating_add(12 + 4 + 11).saturating_add(name)
}

/// # Errors
///
/// [`Error::LargeAnswer`].
pub(crate) fn check_answer(apex: &Name, keys: &RrSet, signatures: &RrSet) -> Result<(), Error> {
    let (bytes, limit) = (dnskey_answer_bytes(apex, keys, signatures), MAX_DNSKEY_ANSWER);
    if bytes > limit { Err(Error::LargeAnswer { bytes, limit }) } else { Ok(()) }
}

/// The key of a zone's DNSKEY set.
pub(crate) fn dnskey_key(apex: &Name) -> Key {
    Key::new(apex.clone(), Rtype::DNSKEY)
}
