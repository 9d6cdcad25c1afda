//! From a zone to a signed zone, in two batches.

use std::collections::BTreeMap;

use domain::base::iana::Rtype;

use crate::zone::{Key, Name, RrSet, Zone};

use super::authority::{is_denial, owners};
use super::denial::denial;
use super::rrsig::{Signature, Task, is_after, put_together};
use super::zonemd::{placeholder, zonemd};
use super::{BatchSigner, Checked, Denial, Dnskey, Error, KeySet, Role, Terms};

/// How a zone is signed. The same recipe, zone and previous zone give the same bytes to sign,
/// wherever it is done.
#[derive(Clone, Debug)]
pub struct Recipe {
    keys: KeySet,
    zsk: Dnskey,
    denial: Denial,
    digest: bool,
    terms: Terms,
    checked: Checked,
}

impl Recipe {
    /// With this ZSK, which the key set must have; with a ZONEMD record if `digest`.
    ///
    /// # Errors
    ///
    /// [`Error::Terms`] if the set does not have the ZSK.
    pub fn new(
        keys: KeySet,
        zsk: Dnskey,
        denial: Denial,
        digest: bool,
        terms: Terms,
    ) -> Result<Self, Error> {
        if !keys.has(&zsk) || !zsk.is_active() {
            return Err(Error::Terms("the DNSKEY set does not have the zone-signing key"));
        }
        Ok(Self { keys, zsk, denial, digest, terms, checked: Checked::default() })
    }

    /// With what this process has verified elsewhere.
    #[must_use]
    pub fn with_checked(mut self, checked: Checked) -> Self {
        self.checked = checked;
        self
    }

    /// Puts everything into the zone but signatures, and finds out which of them are to be made:
    /// those of the previous signed zone stay where nothing has changed and they hold long enough.
    ///
    /// The content must come without DNSSEC records ([`strip`]).
    ///
    /// # Errors
    ///
    /// [`Error::Unwanted`] for what a stripped zone does not have, or cannot be signed here;
    /// what the zone or the denial says.
    pub fn begin(&self, content: &Zone, previous: Option<&Zone>) -> Result<Signing, Error> {
        check_content(content)?;
        let mut made: BTreeMap<Key, Option<RrSet>> = BTreeMap::new();
        let mut put = |(key, set): (Key, RrSet)| made.insert(key, Some(set));
        self.keys.sets().into_iter().for_each(|pair| _ = put(pair));
        if self.digest {
            put(placeholder(content)?);
        }
        let zone = content.with_sets(&made)?;
        let denials = denial(&zone, &self.denial)?;
        let denials = denials.into_iter().map(|(key, set)| (key, Some(set))).collect();
        let zone = zone.with_sets(&denials)?;

        // A previous zone with another key has no signature that could stay.
        let previous = previous.filter(|zone| has_key(zone, &self.zsk));
        let (mut tasks, mut kept) = (Vec::new(), BTreeMap::new());
        for owner in owners(&zone) {
            for (key, set) in owner.signed().filter(|(key, _)| self.is_ours(&zone, key)) {
                match previous.and_then(|previous| self.kept(previous, key, set)) {
                    Some(signature) => {
                        kept.insert(Key::signatures_over(key), Some(signature));
                    }
                    None => tasks.push(Task::new(zone.apex(), key, set, &self.zsk, &self.terms)),
                }
            }
        }
        let zone = zone.with_sets(&kept)?;
        Ok(Signing { recipe: self.clone(), zone, tasks, kept: kept.len() })
    }

    /// Whether the ZSK signs it now: not what the KSK has signed, nor what comes last.
    fn is_ours(&self, zone: &Zone, key: &Key) -> bool {
        let last = [Rtype::DNSKEY, Rtype::ZONEMD].contains(&key.rtype());
        !(last && key.name() == zone.apex())
    }

    fn kept(&self, previous: &Zone, key: &Key, set: &RrSet) -> Option<RrSet> {
        if previous.set(key) != Some(set) {
            return None;
        }
        let signatures = previous.set(&Key::signatures_over(key))?;
        let mut records = signatures.records();
        let signature = Signature::read(records.next()?)?;
        let holds = is_after(signature.expiration, self.terms.renew_before)
            && !is_after(signature.inception, self.terms.inception);
        let right = signature.fits(&self.zsk, previous.apex(), key, set);
        (holds && right && records.next().is_none()).then(|| signatures.clone())
    }

    /// Does it all with a signer.
    ///
    /// # Errors
    ///
    /// As [`Recipe::begin`], and what the signer says.
    pub fn sign(
        &self,
        content: &Zone,
        previous: Option<&Zone>,
        signer: &mut dyn BatchSigner,
    ) -> Result<Zone, Error> {
        if Dnskey::of(signer.key(), Role::Zsk)? != self.zsk {
            return Err(bftkv_threshold::Error::OtherKey.into());
        }
        let signing = self.begin(content, previous)?;
        let messages = signing.messages();
        let signatures = if messages.is_empty() { Vec::new() } else { signer.sign(&messages)? };
        let digesting = signing.put(&signatures)?;
        let messages = digesting.messages();
        let signatures = if messages.is_empty() { Vec::new() } else { signer.sign(&messages)? };
        digesting.put(&signatures)
    }
}

/// A zone that waits for its signatures: the first batch.
#[derive(Clone, Debug)]
pub struct Signing {
    recipe: Recipe,
    zone: Zone,
    tasks: Vec<Task>,
    kept: usize,
}

impl Signing {
    /// What is to be signed, in canonical order of the sets.
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.tasks.iter().map(|task| task.message().to_vec()).collect()
    }

    /// The sets that are to be signed, in the same order.
    pub fn sets(&self) -> impl Iterator<Item = &Key> {
        self.tasks.iter().map(|task| &task.key)
    }

    /// How many signatures of the previous zone stay.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Puts the signatures into the zone, and computes the digest over it all.
    ///
    /// # Errors
    ///
    /// [`Error::WrongSignature`] with the number of the message.
    pub fn put(&self, signatures: &[Vec<u8>]) -> Result<Digesting, Error> {
        let made = put_together(&self.tasks, signatures, &self.recipe.checked)?;
        let made = made.into_iter().map(|(key, set)| (key, Some(set))).collect();
        let mut zone = self.zone.with_sets(&made)?;
        let mut task = None;
        if self.recipe.digest {
            let (key, set) = zonemd(&zone)?;
            let recipe = &self.recipe;
            task = Some(Task::new(zone.apex(), &key, &set, &recipe.zsk, &recipe.terms));
            zone = zone.with_sets(&[(key, Some(set))].into())?;
        }
        Ok(Digesting { zone, task, checked: self.recipe.checked.clone() })
    }
}

/// A zone that waits for the signature over its digest: the second batch, of one message or none.
#[derive(Clone, Debug)]
pub struct Digesting {
    zone: Zone,
    task: Option<Task>,
    checked: Checked,
}

impl Digesting {
    /// What is to be signed.
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.task.iter().map(|task| task.message().to_vec()).collect()
    }

    /// The signed zone.
    ///
    /// # Errors
    ///
    /// [`Error::WrongSignature`].
    pub fn put(&self, signatures: &[Vec<u8>]) -> Result<Zone, Error> {
        let made = put_together(self.task.as_slice(), signatures, &self.checked)?;
        let made = made.into_iter().map(|(key, set)| (key, Some(set))).collect();
        Ok(self.zone.with_sets(&made)?)
    }
}

fn has_key(zone: &Zone, key: &Dnskey) -> bool {
    let set = zone.apex_set(Rtype::DNSKEY);
    set.is_some_and(|set| Dnskey::all(set).any(|has| has == *key))
}

/// Whether a signer makes sets of this type, so that it wants none from outside.
#[must_use]
pub fn is_made_by_signer(rtype: Rtype) -> bool {
    let made = [Rtype::RRSIG, Rtype::DNSKEY, Rtype::ZONEMD, Rtype::NSEC3PARAM];
    is_denial(rtype) || made.contains(&rtype)
}

/// The zone without anything that a signer makes: signatures, keys, denials, digest. What is at
/// other names than the apex and of type DNSKEY or ZONEMD is data like any other, and stays.
///
/// # Errors
///
/// Never: what makes a zone is not taken out.
pub fn strip(zone: &Zone) -> Result<Zone, crate::zone::Error> {
    zone.without(|key| is_made_at(zone.apex(), key))
}

/// Whether [`strip`] takes this out of the zone of this name.
pub(crate) fn is_made_at(apex: &Name, key: &Key) -> bool {
    let anywhere = is_denial(key.rtype()) || key.rtype() == Rtype::RRSIG;
    anywhere || is_made_by_signer(key.rtype()) && key.name() == apex
}

fn check_content(zone: &Zone) -> Result<(), Error> {
    if let Some(key) =
        zone.sets().keys().find(|key| is_denial(key.rtype()) || key.rtype() == Rtype::RRSIG)
    {
        return Err(Error::Unwanted(key.rtype()));
    }
    let at_apex = [Rtype::DNSKEY, Rtype::ZONEMD, Rtype::NSEC3PARAM];
    // CDS and CDNSKEY are the KSK's to sign (RFC 7344 section 4.1), ahead of time.
    let unwanted = at_apex.into_iter().chain([Rtype::CDS, Rtype::CDNSKEY]);
    match unwanted.into_iter().find(|rtype| zone.apex_set(*rtype).is_some()) {
        Some(rtype) => Err(Error::Unwanted(rtype)),
        None => Ok(()),
    }
}
