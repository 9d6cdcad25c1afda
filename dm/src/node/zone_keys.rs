//! Which ZSK signs, as it was agreed on.

use super::work::Signed;
use crate::agree::Refusal;
use crate::keys::PUBLICATION;
use crate::sign::{Dnskey, KeySet, zone_signer};
use crate::zone::{Delta, Key, Name, RrSet, Rtype, Zone, is_after};

/// What a manifest says of keys: the DNSKEY set, and what became of each ZSK in it.
///
/// ```text
///   title | length (4) | set and signatures | for each ZSK, in the order of the set: phase (1), time (4)
/// ```
///
/// All of it but the set and the choice of the signer follows from the manifest before, so that nobody can make up
/// how long a key has been to be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ZoneKeys {
    set: KeySet,
    zsks: Vec<(Dnskey, Phase)>,
}

/// Where a ZSK is (RFC 6781 section 4.1.1.1). Times are inceptions of zones, in seconds since 1970 modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// It has been in the set of every zone since then, and has not signed.
    Waits { since: u32 },
    /// It signs.
    Signs,
    /// It signs no more. Until then caches may have its signatures.
    Left { until: u32 },
}

const TITLE: &[u8] = b"bftkv dm keys 1\n";

fn lie<T>(what: &str) -> Result<T, Refusal> {
    Err(Refusal::Lie(format!("keys: {what}")))
}

impl ZoneKeys {
    /// Those of a zone with this set that this key signs; `base` is the zone before, with its keys. `None` if the set
    /// does not have the key.
    pub(super) fn next(
        base: Option<(&Self, &Zone)>,
        set: KeySet,
        signer: &Dnskey,
        inception: u32,
    ) -> Option<Self> {
        let phase = |key: &Dnskey| {
            let before = base.and_then(|(keys, _)| keys.phase(key));
            match (key == signer, before, base) {
                (true, ..) => Phase::Signs,
                (false, Some(Phase::Signs), Some((_, zone))) => {
                    let stays = longest_ttl(zone).saturating_add(PUBLICATION);
                    Phase::Left { until: inception.wrapping_add(stays) }
                }
                (false, Some(before), _) => before,
                // Before the first zone nobody had any: no key is newer than another.
                (false, None, None) => Phase::Waits { since: 0 },
                (false, None, Some(_)) => Phase::Waits { since: inception },
            }
        };
        let zsks = zsks_of(&set).map(|key| (key.clone(), phase(&key))).collect();
        let keys = Self { set, zsks };
        keys.signer().is_some().then_some(keys)
    }

    /// Those of a zone of which nothing else is known.
    pub(super) fn of_zone(zone: &Zone) -> Option<Self> {
        let key = Key::new(zone.apex().clone(), Rtype::DNSKEY);
        let signatures = zone.set(&Key::signatures_over(&key))?.clone();
        let set = KeySet::new(zone.apex(), zone.set(&key)?.clone(), signatures).ok()?;
        Self::next(None, set, &zone_signer(zone)?, 0)
    }

    /// The set, signed by the KSK.
    pub(super) fn set(&self) -> &KeySet {
        &self.set
    }

    /// The ZSK that signs.
    pub(super) fn signer(&self) -> Option<&Dnskey> {
        let mut signing = self.zsks.iter().filter(|(_, phase)| *phase == Phase::Signs);
        signing.next().map(|(key, _)| key).filter(|_| signing.next().is_none())
    }

    fn phase(&self, key: &Dnskey) -> Option<Phase> {
        self.zsks.iter().find(|(known, _)| known == key).map(|(_, phase)| *phase)
    }

    /// Whether these may follow on the base's, by what is certified alone.
    pub(super) fn check_after(
        &self,
        base: Option<(&Self, &Zone)>,
        inception: u32,
    ) -> Result<(), Refusal> {
        let Some(signer) = self.signer() else { return lie("not one ZSK that signs") };
        if Self::next(base, self.set.clone(), signer, inception).as_ref() != Some(self) {
            return lie("that is not what became of the ZSKs");
        }
        let Some((before, _)) = base else { return Ok(()) };
        match before.phase(signer) {
            Some(Phase::Signs) => {}
            Some(Phase::Waits { since }) => {
                let ttl = before.set.keys().ttl().max(self.set.keys().ttl());
                let wait = ttl.saturating_add(PUBLICATION);
                if inception.wrapping_sub(since) < wait {
                    return lie("the ZSK is too new: caches may hold a set without it");
                }
            }
            Some(Phase::Left { .. }) => return lie("back to a ZSK that was given up"),
            None => return lie("the ZSK was in no zone before"),
        }
        for (key, phase) in before.zsks.iter().filter(|(key, _)| !self.set.has(key)) {
            let tag = key.tag();
            match phase {
                Phase::Signs => {
                    return lie("the DNSKEY set does not have the key that signed the last zone");
                }
                Phase::Left { until } if is_after(*until, inception) => {
                    return lie(&format!("caches may hold signatures by ZSK {tag}, which is gone"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// As it stands in a manifest.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let set = set_to_bytes(&self.set);
        let length = u32::try_from(set.len()).unwrap_or(u32::MAX);
        let mut out = [TITLE, &length.to_be_bytes(), &set].concat();
        for (_, phase) in &self.zsks {
            let (phase, time) = match phase {
                Phase::Waits { since } => (0, *since),
                Phase::Signs => (1, 0),
                Phase::Left { until } => (2, *until),
            };
            out.push(phase);
            out.extend(time.to_be_bytes());
        }
        out
    }

    /// From bytes.
    ///
    /// # Errors
    /// What is wrong with them: their writer's fault.
    pub(super) fn from_bytes(apex: &Name, bytes: &[u8]) -> Result<Self, String> {
        let cut = || "malformed".to_owned();
        let rest = bytes.strip_prefix(TITLE).ok_or_else(cut)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
        let (set, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let set = set_from_bytes(apex, set)?;
        let phase = |bytes: &[u8]| match bytes {
            [kind, time @ ..] => {
                let time = u32::from_be_bytes(time.try_into().ok()?);
                match (kind, time) {
                    (0, since) => Some(Phase::Waits { since }),
                    (1, 0) => Some(Phase::Signs),
                    (2, until) => Some(Phase::Left { until }),
                    _ => None,
                }
            }
            [] => None,
        };
        let phases: Option<Vec<Phase>> = rest.chunks(5).map(phase).collect();
        let (keys, phases) = (zsks_of(&set).collect::<Vec<_>>(), phases.ok_or_else(cut)?);
        if keys.len() != phases.len() {
            return Err(cut());
        }
        let read = Self { set, zsks: keys.into_iter().zip(phases).collect() };
        // One form only.
        if read.to_bytes() == bytes { Ok(read) } else { Err(cut()) }
    }
}

/// The ZSKs of a set, in its order.
fn zsks_of(set: &KeySet) -> impl Iterator<Item = Dnskey> {
    Dnskey::all(set.keys()).filter(|key| key.is_active() && !key.is_entry_point())
}

/// For how long caches may have anything of a zone.
fn longest_ttl(zone: &Zone) -> u32 {
    zone.sets().values().map(RrSet::ttl).max().unwrap_or(0)
}

fn set_to_bytes(keys: &KeySet) -> Vec<u8> {
    Delta::new(0, 0, keys.sets().map(|(key, set)| (key, Some(set))).into()).to_bytes()
}

fn set_from_bytes(apex: &Name, bytes: &[u8]) -> Result<KeySet, String> {
    let delta = Delta::from_bytes(bytes).map_err(|error| error.to_string())?;
    let key = Key::new(apex.clone(), Rtype::DNSKEY);
    let set = |key: &Key| delta.changes().get(key).cloned().flatten();
    let (Some(keys), Some(signatures)) = (set(&key), set(&Key::signatures_over(&key))) else {
        return Err("no DNSKEY set with signatures".to_owned());
    };
    KeySet::new(apex, keys, signatures).map_err(|error| error.to_string())
}

/// What a manifest says of keys for a zone with this DNSKEY set that this ZSK signs, after the zone that it builds on;
/// `None` if the set does not have the ZSK. Whether that may be is for [`Work::check_keys`](crate::agree::Work::check_keys) to say.
#[must_use]
pub fn keys_in_manifest(
    base: Option<&Signed>,
    set: KeySet,
    signer: &Dnskey,
    inception: u32,
) -> Option<Vec<u8>> {
    let base = base.and_then(Signed::keys);
    ZoneKeys::next(base, set, signer, inception).map(|keys| keys.to_bytes())
}
