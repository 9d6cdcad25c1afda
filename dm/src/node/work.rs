//! Real zones for the agreement.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bftkv_threshold::GroupKey;

use crate::agree::{Content, Draft, Hash, Refusal, SignedZone, Work};
use crate::keys::{check_change, current};
use crate::sign::{Checked, Denial, Digesting, Dnskey, KeySet, Recipe, Role, Signing, Terms};
use crate::zone::{Name, Rtype, Zone, is_after};

use super::content::{zone_after, zone_of};
use super::zone_keys::ZoneKeys;

/// Makes signed zones: NSEC, ZONEMD, signatures by the ZSK; what did not change keeps its own.
#[derive(Debug)]
pub struct ZoneWork {
    apex: Name,
    sets: Vec<KeySet>,
    /// Those of which we have shares.
    zsks: Vec<Dnskey>,
    most_percent: usize,
    checked: Checked,
    /// The content that was planned last, and its zone without signatures: the next is mostly the same.
    planned: Mutex<Option<(Arc<Content>, Zone)>>,
}

/// A zone that is being signed.
#[derive(Debug)]
pub struct ZonePlan {
    zsk: Dnskey,
    keys: ZoneKeys,
    signing: Signing,
    messages: Vec<Vec<u8>>,
    /// The first signatures that were put in, by their hash, and what came of it: that takes long.
    digesting: OnceLock<(Hash, Digesting)>,
    /// The same with the digest's signature.
    finished: OnceLock<(Hash, Signed)>,
}

/// A signed zone.
#[derive(Clone, Debug)]
pub struct Signed {
    zone: Arc<Zone>,
    digest: Hash,
    renew_at: u32,
    /// As they were agreed on.
    keys: Option<ZoneKeys>,
}

impl Signed {
    /// A zone that was signed before, of which nothing else is known.
    #[must_use]
    pub fn of(zone: Zone) -> Self {
        let keys = ZoneKeys::of_zone(&zone);
        Self::with(zone, keys)
    }

    /// A zone with what its manifest says of keys.
    #[must_use]
    pub fn agreed(zone: Zone, keys: &[u8]) -> Self {
        match ZoneKeys::from_bytes(zone.apex(), keys) {
            Ok(keys) => Self::with(zone, Some(keys)),
            // A manifest from before there were changes of the key that signs.
            Err(_) => Self::of(zone),
        }
    }

    fn with(zone: Zone, keys: Option<ZoneKeys>) -> Self {
        Self {
            digest: Hash(*zone.root().as_bytes()),
            renew_at: renew_at(&zone),
            zone: Arc::new(zone),
            keys,
        }
    }

    pub(super) fn keys(&self) -> Option<(&ZoneKeys, &Zone)> {
        Some((self.keys.as_ref()?, &self.zone))
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> &Arc<Zone> {
        &self.zone
    }
}

impl SignedZone for Signed {
    fn digest(&self) -> Hash {
        self.digest
    }

    fn renew_at(&self) -> u32 {
        self.renew_at
    }
}

impl ZoneWork {
    /// For the zone of this name, with DNSKEY sets that were signed ahead. We have shares of these ZSKs; for a first
    /// zone the first of them that may sign does. More changes than so many of a hundred sets are held.
    #[must_use]
    pub fn new(apex: Name, sets: Vec<KeySet>, zsks: Vec<Dnskey>, most_percent: usize) -> Self {
        let (checked, planned) = (Checked::default(), Mutex::new(None));
        Self { apex, sets, zsks, most_percent, checked, planned }
    }

    /// With what this process has verified elsewhere.
    #[must_use]
    pub fn with_checked(mut self, checked: Checked) -> Self {
        self.checked = checked;
        self
    }

    /// The zone of this content. What was planned last is only where it starts from: any failure there is looked
    /// at from the beginning.
    fn zone(&self, content: &Arc<Content>, serial: u32) -> Result<Zone, String> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let last = planned.as_ref();
        let after =
            last.and_then(|(before, zone)| zone_after((zone, before), content, serial).ok());
        let zone = after.map_or_else(|| zone_of(&self.apex, content, serial), Ok)?;
        *planned = Some((Arc::clone(content), zone.clone()));
        Ok(zone)
    }

    /// Whether the holders of the KSK want another ZSK to sign in place of this one: their last set does not have it.
    fn is_given_up(&self, zsk: &Dnskey) -> bool {
        self.last_set().is_some_and(|set| !set.has(zsk))
    }

    /// The set that begins last.
    fn last_set(&self) -> Option<&KeySet> {
        let from = |set: &KeySet| set.times().map(|(from, _)| from);
        self.sets.iter().reduce(|last, set| match (from(last), from(set)) {
            (Some(before), Some(from)) if is_after(from, before) => set,
            _ => last,
        })
    }

    /// The ZSKs that we would sign with, the best first: that which is to come, if it may, else that of before.
    fn signers(&self, base: Option<&Signed>) -> Vec<&Dnskey> {
        let signer = base.and_then(|base| base.keys.as_ref()?.signer());
        let Some(signer) = signer else { return self.zsks.iter().collect() };
        let comes = |zsk: &&Dnskey| self.last_set().is_some_and(|set| set.has(zsk));
        let new =
            self.zsks.iter().filter(|zsk| *zsk != signer && self.is_given_up(signer)).filter(comes);
        new.chain(self.zsks.iter().filter(|zsk| *zsk == signer)).collect()
    }

    /// What depends on our own files; it makes nobody a liar.
    fn check_own(
        &self,
        keys: &ZoneKeys,
        signer: &Dnskey,
        (base, inception): (Option<&Signed>, u32),
    ) -> Result<(), Refusal> {
        let never = |what: &str| Err(Refusal::Never(format!("keys: {what}")));
        if !self.sets.contains(keys.set()) {
            return never("another DNSKEY set than those that were signed ahead");
        }
        let before = base.and_then(|base| base.keys.as_ref()?.signer());
        if let Some(before) = before.filter(|before| *before != signer)
            && !(self.is_given_up(before) && self.last_set().is_some_and(|set| set.has(signer)))
        {
            return never("another ZSK is to sign than those planned who signed the sets");
        }
        check_change(&self.sets, signer, None, inception).or_else(|error| never(&error.to_string()))
    }
}

impl Work for ZoneWork {
    type Plan = ZonePlan;
    type Zone = Signed;

    fn keys(&self, base: Option<&Signed>, inception: u32, expiry: u32) -> Result<Vec<u8>, String> {
        // The set that began last, unless caches still need a key that it does not have.
        let age = |set: &&KeySet| set.times().map(|(from, _)| inception.wrapping_sub(from));
        let mut sets: Vec<&KeySet> = self.sets.iter().collect();
        sets.sort_by_key(age);
        let signers = self.signers(base);
        let mut refusal = None;
        for set in sets {
            for signer in &signers {
                let before = base.and_then(Signed::keys);
                let keys = ZoneKeys::next(before, set.clone(), signer, inception);
                let Some(bytes) = keys.map(|keys| keys.to_bytes()) else { continue };
                match self.check_keys(&bytes, base, inception, expiry) {
                    Ok(()) => return Ok(bytes),
                    Err(why) if current(std::slice::from_ref(set), inception).is_some() => {
                        refusal.get_or_insert(why);
                    }
                    Err(_) => {}
                }
            }
        }
        let none = if signers.is_empty() {
            "no share of the ZSK that signs"
        } else {
            "no DNSKEY set that was signed ahead holds now; bftkv dm ksk sign makes new ones"
        };
        Err(refusal.map_or(none.to_owned(), |refusal| refusal.to_string()))
    }

    /// So a change of keys goes on as those planned it who signed the sets, whoever proposes: the
    /// zones that were agreed on say how far it is, and nobody goes back, ahead or leaves out what
    /// caches need.
    fn check_keys(
        &self,
        keys: &[u8],
        base: Option<&Signed>,
        inception: u32,
        _: u32,
    ) -> Result<(), Refusal> {
        let lie = |what: &str| Err(Refusal::Lie(format!("keys: {what}")));
        let keys = ZoneKeys::from_bytes(&self.apex, keys)
            .map_err(|why| Refusal::Lie(format!("keys: {why}")))?;
        let Some((from, until)) = keys.set().times() else {
            return lie("the DNSKEY set is not signed");
        };
        if is_after(from, inception) || !is_after(until, inception) {
            return lie("the DNSKEY set's signatures do not hold now");
        }
        let before = base.and_then(Signed::keys);
        let began = before.and_then(|(before, _)| before.set().times());
        if began.is_some_and(|(began, _)| is_after(began, from)) {
            return lie("an older DNSKEY set than the last zone's");
        }
        keys.check_after(before, inception)?;
        let Some(signer) = keys.signer() else { return lie("no ZSK signs") };
        self.check_own(&keys, signer, (base, inception))
    }

    fn check_change(&self, before: &Content, after: &Content) -> Result<(), String> {
        let (changed, of) = (before.delta_to(after).len(), before.sets().len());
        if changed * 100 > self.most_percent * of {
            return Err(format!("{changed} of {of} sets change"));
        }
        Ok(())
    }

    fn plan(&self, draft: &Draft<'_, Signed>) -> Result<ZonePlan, String> {
        let manifest = draft.manifest;
        let text = |error: crate::sign::Error| error.to_string();
        let validity = manifest.expiry.saturating_sub(manifest.inception);
        let renew = manifest.inception.saturating_add(validity / 3);
        let terms = Terms::new(manifest.inception, manifest.expiry, renew).map_err(text)?;
        let keys = ZoneKeys::from_bytes(&self.apex, &manifest.keys)?;
        let zsk = keys.signer().ok_or("no ZSK signs")?.clone();
        let set = keys.set().clone();
        let recipe = Recipe::new(set, zsk.clone(), Denial::Nsec, true, terms);
        let recipe = recipe.map_err(text)?.with_checked(self.checked.clone());
        let zone = self.zone(draft.content, manifest.serial)?;
        let signing = recipe.begin(&zone, draft.base.map(|base| &*base.zone)).map_err(text)?;
        let (digesting, finished) = (OnceLock::new(), OnceLock::new());
        let messages = signing.messages();
        Ok(ZonePlan { zsk, keys, signing, messages, digesting, finished })
    }

    fn messages<'a>(&self, plan: &'a ZonePlan) -> &'a [Vec<u8>] {
        &plan.messages
    }

    fn is_signer(&self, plan: &ZonePlan, key: &dyn GroupKey) -> bool {
        Dnskey::of(key, Role::Zsk).is_ok_and(|key| key == plan.zsk)
    }

    fn is_signed(&self, plan: &ZonePlan, message: &[u8], signature: &[u8]) -> bool {
        self.checked.verify(&plan.zsk, message, signature)
    }

    fn digest_message(&self, plan: &ZonePlan, sigs: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        let message = digesting(plan, sigs)?.messages().pop();
        message.ok_or_else(|| "there is no digest".to_owned())
    }

    fn finish(&self, plan: &ZonePlan, sigs: &[Vec<u8>], last: &[u8]) -> Result<Signed, String> {
        let hash = Hash::of(&[&hash_of(sigs).0, last].concat());
        if let Some((_, known)) = plan.finished.get().filter(|(known, _)| *known == hash) {
            return Ok(known.clone());
        }
        let zone = digesting(plan, sigs)?.put(&[last.to_vec()]);
        let zone = zone.map_err(|error| error.to_string())?;
        let signed = Signed::with(zone, Some(plan.keys.clone()));
        let _ = plan.finished.set((hash, signed.clone()));
        Ok(signed)
    }
}

/// Each with its length, so that others do not look the same.
fn hash_of(sigs: &[Vec<u8>]) -> Hash {
    let parts = sigs.iter().flat_map(|sig| [sig.len().to_be_bytes().to_vec(), sig.clone()]);
    Hash::of(&parts.collect::<Vec<_>>().concat())
}

fn digesting(plan: &ZonePlan, sigs: &[Vec<u8>]) -> Result<Digesting, String> {
    let hash = hash_of(sigs);
    if let Some((_, known)) = plan.digesting.get().filter(|(known, _)| *known == hash) {
        return Ok(known.clone());
    }
    let made = plan.signing.put(sigs).map_err(|error| error.to_string())?;
    // Others than the first are made again each time.
    let _ = plan.digesting.set((hash, made.clone()));
    Ok(made)
}

/// Three quarters of the way to the first expiration; the KSK's signatures are not ours to renew.
fn renew_at(zone: &Zone) -> u32 {
    let field = |rdata: &[u8], at: usize| {
        let bytes = rdata.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    };
    let ours = zone
        .sets()
        .iter()
        .filter(|(key, _)| key.covered().is_some_and(|covered| covered != Rtype::DNSKEY));
    let times = ours.flat_map(|(_, set)| set.records()).filter_map(|rdata| {
        let (until, from) = (field(rdata, 8)?, field(rdata, 12)?);
        Some(until.saturating_sub(until.saturating_sub(from) / 4))
    });
    times.min().unwrap_or(u32::MAX)
}
