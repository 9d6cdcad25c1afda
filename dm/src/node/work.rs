//! Real zones for the agreement.

use std::sync::{Arc, OnceLock};

use crate::agree::{Content, Draft, Hash, Refusal, SetKey, SignedZone, Work};
use crate::keys::{check_change, current};
use crate::sign::{
    Denial, Digesting, Dnskey, KeySet, Recipe, Signing, Terms, is_made_by_signer, strip,
    zone_signer,
};
use crate::zone::{Class, Delta, Key, Limits, Name, RrSet, Rtype, Zone, ZoneBuilder, is_after};

/// Makes signed zones: NSEC, ZONEMD, signatures by the ZSK; what did not change keeps its own.
#[derive(Debug)]
pub struct ZoneWork {
    apex: Name,
    sets: Vec<KeySet>,
    zsk: Dnskey,
    most_percent: usize,
}

/// A zone that is being signed.
#[derive(Debug)]
pub struct ZonePlan {
    signing: Signing,
    messages: Vec<Vec<u8>>,
    /// The first signatures that were put in, by their hash, and what came of it: checking them
    /// takes long.
    digesting: OnceLock<(Hash, Digesting)>,
}

/// A signed zone.
#[derive(Clone, Debug)]
pub struct Signed {
    zone: Arc<Zone>,
    digest: Hash,
    renew_at: u32,
}

impl Signed {
    /// A zone that was signed before.
    #[must_use]
    pub fn of(zone: Zone) -> Self {
        Self {
            digest: Hash(*zone.root().as_bytes()),
            renew_at: renew_at(&zone),
            zone: Arc::new(zone),
        }
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
    /// For the zone of this name, with DNSKEY sets that were signed ahead and have this ZSK. More
    /// changes than so many of a hundred sets are held.
    #[must_use]
    pub fn new(apex: Name, sets: Vec<KeySet>, zsk: Dnskey, most_percent: usize) -> Self {
        Self { apex, sets, zsk, most_percent }
    }

    fn bytes_of(&self, keys: &KeySet) -> Vec<u8> {
        let key = Key::new(self.apex.clone(), Rtype::DNSKEY);
        let signatures = Key::signatures_over(&key);
        let sets =
            [(key, Some(keys.keys().clone())), (signatures, Some(keys.signatures().clone()))];
        Delta::new(0, 0, sets.into()).to_bytes()
    }

    fn keys_from(&self, bytes: &[u8]) -> Result<KeySet, String> {
        let delta = Delta::from_bytes(bytes).map_err(|error| error.to_string())?;
        let key = Key::new(self.apex.clone(), Rtype::DNSKEY);
        let set = |key: &Key| delta.changes().get(key).cloned().flatten();
        let (Some(keys), Some(signatures)) = (set(&key), set(&Key::signatures_over(&key))) else {
            return Err("no DNSKEY set with signatures".to_owned());
        };
        KeySet::new(&self.apex, keys, signatures).map_err(|error| error.to_string())
    }
}

impl Work for ZoneWork {
    type Plan = ZonePlan;
    type Zone = Signed;

    fn keys(&self, base: Option<&Signed>, inception: u32, expiry: u32) -> Result<Vec<u8>, String> {
        // The one that began last, unless caches still need a key that it does not have.
        let age = |set: &&KeySet| set.times().map(|(from, _)| inception.wrapping_sub(from));
        let mut sets: Vec<&KeySet> = self.sets.iter().collect();
        sets.sort_by_key(age);
        let mut refusal = None;
        for set in sets {
            let bytes = self.bytes_of(set);
            match self.check_keys(&bytes, base, inception, expiry) {
                Ok(()) => return Ok(bytes),
                Err(why) if current(std::slice::from_ref(set), inception).is_some() => {
                    refusal.get_or_insert(why);
                }
                Err(_) => {}
            }
        }
        let none =
            "no DNSKEY set that was signed ahead holds now; bftkv dm ksk sign makes new ones";
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
        let never = |what: &str| Err(Refusal::Never(format!("keys: {what}")));
        let keys = self.keys_from(keys).map_err(|why| Refusal::Lie(format!("keys: {why}")))?;
        let Some((from, until)) = keys.times() else { return lie("the DNSKEY set is not signed") };
        if is_after(from, inception) || !is_after(until, inception) {
            return lie("the DNSKEY set's signatures do not hold now");
        }
        if let Some(base) = base {
            let began = key_set_of(&self.apex, &base.zone).and_then(|set| set.times());
            if began.is_some_and(|(began, _)| is_after(began, from)) {
                return lie("an older DNSKEY set than the last zone's");
            }
            if zone_signer(&base.zone).is_some_and(|before| !keys.has(&before)) {
                return lie("the DNSKEY set does not have the key that signed the last zone");
            }
        }
        if !self.sets.contains(&keys) {
            return never("another DNSKEY set than those that were signed ahead");
        }
        if !keys.has(&self.zsk) {
            return never("the DNSKEY set does not have the key of our share");
        }
        check_change(&self.sets, &self.zsk, None, inception)
            .or_else(|error| never(&error.to_string()))
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
        let keys = self.keys_from(&manifest.keys)?;
        let recipe = Recipe::new(keys, self.zsk.clone(), Denial::Nsec, true, terms);
        let recipe = recipe.map_err(text)?;
        let zone = zone_of(&self.apex, draft.content, manifest.serial)?;
        let signing = recipe.begin(&zone, draft.base.map(|base| &*base.zone)).map_err(text)?;
        Ok(ZonePlan { messages: signing.messages(), signing, digesting: OnceLock::new() })
    }

    fn messages<'a>(&self, plan: &'a ZonePlan) -> &'a [Vec<u8>] {
        &plan.messages
    }

    fn digest_message(&self, plan: &ZonePlan, sigs: &[Vec<u8>]) -> Result<Vec<u8>, String> {
        let message = digesting(plan, sigs)?.messages().pop();
        message.ok_or_else(|| "there is no digest".to_owned())
    }

    fn finish(&self, plan: &ZonePlan, sigs: &[Vec<u8>], last: &[u8]) -> Result<Signed, String> {
        let zone = digesting(plan, sigs)?.put(&[last.to_vec()]);
        let zone = zone.map_err(|error| error.to_string())?;
        Ok(Signed::of(zone))
    }
}

/// The DNSKEY set of a signed zone.
fn key_set_of(apex: &Name, zone: &Zone) -> Option<KeySet> {
    let key = Key::new(apex.clone(), Rtype::DNSKEY);
    let signatures = zone.set(&Key::signatures_over(&key))?.clone();
    KeySet::new(apex, zone.set(&key)?.clone(), signatures).ok()
}

fn digesting(plan: &ZonePlan, sigs: &[Vec<u8>]) -> Result<Digesting, String> {
    let hash = Hash::of(&sigs.concat());
    if let Some((_, known)) = plan.digesting.get().filter(|(known, _)| *known == hash) {
        return Ok(known.clone());
    }
    let made = plan.signing.clone().put(sigs).map_err(|error| error.to_string())?;
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

/// What the agreement is about: the zone without what signers make, and without its serial, which
/// the DMs give it.
///
/// # Errors
/// The zone cannot be stripped; never in fact.
pub fn content_of(zone: &Zone) -> Result<Content, crate::zone::Error> {
    let zone = strip(zone)?.with_serial(0)?;
    let mut content = Content::default();
    for (key, set) in zone.sets() {
        debug_assert!(!is_made_by_signer(key.rtype()) || key.name() != zone.apex());
        let labels: Vec<&[u8]> = key.name().labels().collect();
        if let Some(place) = SetKey::new(labels.into_iter().rev(), key.rtype().to_int()) {
            let value = [&set.ttl().to_be_bytes(), set.raw()].concat();
            content.insert(place, value);
        }
    }
    Ok(content)
}

/// The zone with that content and serial.
///
/// # Errors
/// It is no zone.
pub fn zone_of(apex: &Name, content: &Content, serial: u32) -> Result<Zone, String> {
    let mut builder = ZoneBuilder::new(Some(apex.clone()), Limits::default());
    for (key, value) in content.sets() {
        let wrong = || format!("{key}: malformed");
        let mut name = Name::root();
        for label in key.labels() {
            name = name.child(label).ok_or_else(wrong)?;
        }
        let (ttl, mut rest) = value.split_first_chunk().ok_or_else(wrong)?;
        let (rtype, mut records) = (Rtype::from_int(key.rtype()), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (rdata, after) = after.split_at_checked(length).ok_or_else(wrong)?;
            records.push(rdata.to_vec());
            rest = after;
        }
        let ttl = u32::from_be_bytes(*ttl);
        // One form only: what is in canonical order and complete.
        let set = RrSet::new(rtype, ttl, records).map_err(|fault| format!("{key}: {fault}"))?;
        if set.raw() != value.get(4..).unwrap_or_default() {
            return Err(wrong());
        }
        for rdata in set.records() {
            let added = builder.add(None, name.clone(), (rtype, Class::IN), ttl, rdata);
            added.map_err(|error| error.to_string())?;
        }
    }
    let zone = builder.finish().map_err(|error| error.to_string())?;
    zone.with_serial(serial).map_err(|error| error.to_string())
}
