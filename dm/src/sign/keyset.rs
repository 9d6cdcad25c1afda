//! The DNSKEY set with the signatures over it.

use crate::zone::{Key, Limits, Lines, Name, RrSet, Rtype, read_sets};

use super::dnskey::{check_answer, dnskey_key};
use super::rrsig::{Signature, Task, put_together};
use super::{BatchSigner, Checked, Dnskey, Error, Role, Terms};

/// A DNSKEY set that a KSK has signed. It can be made long before it is used, so that whoever
/// signs the zone holds no KSK share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySet {
    apex: Name,
    keys: RrSet,
    signatures: RrSet,
}

impl KeySet {
    /// Signs a set of these keys and of the signer's own, which is added as a KSK.
    ///
    /// # Errors
    ///
    /// [`Error::Terms`] for no ZSK, [`Error::LargeAnswer`], and what the signer says.
    pub fn sign(
        apex: &Name,
        keys: Vec<Dnskey>,
        ttl: u32,
        terms: &Terms,
        signer: &mut dyn BatchSigner,
    ) -> Result<Self, Error> {
        let own = Dnskey::of(signer.key(), Role::Ksk)?;
        Self::sign_by(apex, keys, ttl, terms, vec![(own, signer)])
    }

    /// Signs a set of these keys and of all signers' own, as they are given: a KSK, or one that is
    /// revoked ([`Dnskey::revoked`]).
    ///
    /// # Errors
    ///
    /// As [`KeySet::sign`] and [`KeySet::new`].
    pub fn sign_by(
        apex: &Name,
        mut keys: Vec<Dnskey>,
        ttl: u32,
        terms: &Terms,
        signers: Vec<(Dnskey, &mut dyn BatchSigner)>,
    ) -> Result<Self, Error> {
        keys.extend(signers.iter().map(|(own, _)| own.clone()));
        keys.sort();
        keys.dedup();
        if !keys.iter().any(|key| key.is_active() && !key.is_entry_point()) {
            return Err(Error::Terms("there is no zone-signing key"));
        }
        let mut rdata: Vec<_> = keys.iter().map(Dnskey::rdata).collect();
        rdata.sort();
        let keys = RrSet::sorted(ttl, &rdata)?;
        let mut signatures = Vec::new();
        for (own, signer) in signers {
            let task = Task::new(apex, &dnskey_key(apex), &keys, &own, terms);
            let messages = [task.message().to_vec()];
            let made = put_together(&[task], &signer.sign(&messages)?, &Checked::default())?;
            let made = made.iter().flat_map(|(_, set)| set.records()).map(<[u8]>::to_vec);
            signatures.extend(made);
        }
        let signatures = RrSet::new(Rtype::RRSIG, ttl, signatures)?;
        Self::new(apex, keys, signatures)
    }

    /// A set that was signed before.
    ///
    /// # Errors
    ///
    /// [`Error::WrongSignature`] if a signature is by none of the set's KSKs, or is wrong;
    /// [`Error::LargeAnswer`]; [`Error::Terms`] if all its signers are revoked.
    pub fn new(apex: &Name, keys: RrSet, signatures: RrSet) -> Result<Self, Error> {
        check_answer(apex, &keys, &signatures)?;
        let key = dnskey_key(apex);
        let mut is_active = false;
        for (place, rdata) in signatures.records().enumerate() {
            let signature = Signature::read(rdata).ok_or(Error::WrongSignature(place))?;
            if signatures.ttl() != keys.ttl() {
                return Err(Error::WrongSignature(place));
            }
            let mut entries = Dnskey::all(&keys).filter(Dnskey::is_entry_point);
            let by = entries.find(|by| signature.is_by(by, apex, &key, &keys));
            is_active |= by.ok_or(Error::WrongSignature(place))?.is_active();
        }
        if !is_active {
            return Err(Error::Terms("only a revoked key has signed the DNSKEY set"));
        }
        Ok(Self { apex: apex.clone(), keys, signatures })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &RrSet {
        &self.keys
    }

    /// The signatures.
    #[must_use]
    pub fn signatures(&self) -> &RrSet {
        &self.signatures
    }

    /// Whether the set has this key.
    #[must_use]
    pub fn has(&self, key: &Dnskey) -> bool {
        Dnskey::all(&self.keys).any(|has| has == *key)
    }

    /// Inception of the latest, expiration of the earliest of its signatures.
    #[must_use]
    pub fn times(&self) -> Option<(u32, u32)> {
        let signatures = self.signatures.records().filter_map(Signature::read);
        signatures.map(|it| (it.inception, it.expiration)).reduce(|(a, b), (c, d)| {
            (
                if super::rrsig::is_after(c, a) { c } else { a },
                if super::rrsig::is_after(b, d) { d } else { b },
            )
        })
    }

    /// As lines of a zone file.
    #[must_use]
    pub fn to_text(&self) -> String {
        Lines(&self.sets()).to_string()
    }

    /// Reads what [`KeySet::to_text`] wrote, and checks it as [`KeySet::new`] does.
    ///
    /// # Errors
    ///
    /// [`Error::Zone`]; [`Error::Terms`] for other sets than these two; as [`KeySet::new`].
    pub fn from_text(text: &str, apex: &Name) -> Result<Self, Error> {
        let key = dnskey_key(apex);
        let mut sets = read_sets(text.as_bytes(), apex, Limits::default())?;
        let found = (sets.remove(&key), sets.remove(&Key::signatures_over(&key)));
        let (Some(keys), Some(signatures), true) = (found.0, found.1, sets.is_empty()) else {
            return Err(Error::Terms("not one DNSKEY set with its signatures, and nothing else"));
        };
        Self::new(apex, keys, signatures)
    }

    /// The two sets with their keys, for a zone.
    pub(crate) fn sets(&self) -> [(Key, RrSet); 2] {
        let key = dnskey_key(&self.apex);
        let signatures = Key::signatures_over(&key);
        [(key, self.keys.clone()), (signatures, self.signatures.clone())]
    }
}
