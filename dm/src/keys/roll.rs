//! Changing keys, as a plan that is known before.

use crate::sign::{BatchSigner, Dnskey, Error as SignError, KeySet, Role, Terms};
use crate::zone::{Name, is_after};

use super::{Error, Schedule};

const DAY: u32 = 86_400;
/// How long a new zone may take to all secondaries, and how far clocks may be apart.
pub(crate) const PUBLICATION: u32 = 3_600;

/// When a KSK gives way to another one, in seconds since 1970 modulo 2^32. Resolvers that follow
/// RFC 5011 learn the new key by themselves.
///
/// ```text
///            publish            switch            revoke             remove
///   keys        |  old new         |  old new        |  old* new        |  new
///   signed by   |  old             |      new        |  old* new        |  new
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KskRoll {
    /// From when the new key is in the set.
    pub publish: u32,
    /// From when it signs, and the old one no more.
    pub switch: u32,
    /// From when the old key is revoked (`old*`), so that resolvers drop it. `None`: never. With
    /// RSA-2048 the answer with both signatures would be too large.
    pub revoke: Option<u32>,
    /// From when the old key is gone.
    pub remove: u32,
}

/// Where a KSK roll stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(clippy::exhaustive_enums, reason = "a caller has to handle every phase")]
pub enum KskPhase {
    /// Not begun.
    Old,
    /// The new key is to be seen, and waits.
    Published,
    /// The new key signs.
    Switched,
    /// The old key is revoked.
    Revoked,
    /// The old key is gone.
    New,
}

impl KskRoll {
    /// How long a resolver waits before it trusts a new key, or forgets a revoked one (RFC 5011
    /// section 2.4).
    pub const HOLD_DOWN: u32 = 30 * DAY;

    /// A roll that begins then: after so many days the new key signs, then after so many the old
    /// one is revoked, then after so many it is gone; with two numbers it is never revoked.
    ///
    /// # Errors
    ///
    /// [`SignError::Terms`] for days in which a resolver could not follow: the new key must be
    /// seen for 30 days, and for as long as its set may be in a cache (`ttl`, in seconds); so must
    /// a revoked one.
    pub fn new(publish: u32, days: &[u32], ttl: u32) -> Result<Self, Error> {
        let wrong = |why| Err(SignError::Terms(why).into());
        if days.iter().any(|days| *days == 0 || *days > 366) {
            return wrong("each step of a change of KSK takes 1 to 366 days");
        }
        let later = |time: u32, days: u32| time.wrapping_add(days.wrapping_mul(DAY));
        let (seen, revoke, remove) = match *days {
            [seen, stays] => (seen, None, later(later(publish, seen), stays)),
            [seen, stays, revoked] => {
                let revoke = later(later(publish, seen), stays);
                if revoked.saturating_mul(DAY) < Self::HOLD_DOWN.saturating_add(ttl) {
                    return wrong("a KSK must be revoked for 30 days and its TTL");
                }
                (seen, Some(revoke), later(revoke, revoked))
            }
            _ => return wrong("a change of KSK has two or three steps"),
        };
        // It is looked for twice in a TTL (RFC 5011 section 2.3), and found half of one late.
        if seen.saturating_mul(DAY) < Self::HOLD_DOWN.saturating_add(ttl) {
            return wrong("a new KSK must be seen for 30 days and its TTL before it signs alone");
        }
        Ok(Self { publish, switch: later(publish, seen), revoke, remove })
    }

    /// Where it stands at a time.
    #[must_use]
    pub fn phase(&self, time: u32) -> KskPhase {
        let is_over = |event: u32| !is_after(event, time);
        if is_over(self.remove) {
            KskPhase::New
        } else if self.revoke.is_some_and(is_over) {
            KskPhase::Revoked
        } else if is_over(self.switch) {
            KskPhase::Switched
        } else if is_over(self.publish) {
            KskPhase::Published
        } else {
            KskPhase::Old
        }
    }

    fn events(&self) -> impl Iterator<Item = u32> {
        [Some(self.publish), Some(self.switch), self.revoke, Some(self.remove)]
            .into_iter()
            .flatten()
    }
}

/// When another ZSK begins to sign (RFC 6781 section 4.1.1.1, pre-publication).
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct ZskRoll {
    /// The key that comes.
    pub new: Dnskey,
    /// From when it signs, in seconds since 1970 modulo 2^32.
    pub switch: u32,
    /// The longest TTL of the zone in seconds: for so long caches may hold the old key's
    /// signatures, and want the old key.
    pub zone_ttl: u32,
}

/// The keys for sets to come, and who signs these.
pub struct Signers<'a> {
    /// The KSK.
    pub ksk: &'a mut dyn BatchSigner,
    /// The KSK that comes, and when.
    pub new_ksk: Option<(KskRoll, &'a mut dyn BatchSigner)>,
    /// The ZSKs.
    pub zsks: Vec<Dnskey>,
    /// The ZSK that comes, and when.
    pub new_zsk: Option<ZskRoll>,
}

impl std::fmt::Debug for Signers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signers").field("zsks", &self.zsks).finish_non_exhaustive()
    }
}

impl Signers<'_> {
    /// The set of a phase, with these ZSKs.
    ///
    /// # Errors
    ///
    /// As [`KeySet::sign_by`]; [`SignError::Terms`] for a phase without a KSK that comes.
    pub fn set(
        &mut self,
        apex: &Name,
        zsks: &[Dnskey],
        (phase, ttl, terms): (KskPhase, u32, &Terms),
    ) -> Result<KeySet, Error> {
        let old = Dnskey::of(self.ksk.key(), Role::Ksk)?;
        let old_signer: &mut dyn BatchSigner = &mut *self.ksk;
        if phase == KskPhase::Old {
            let signers = vec![(old, old_signer)];
            return Ok(KeySet::sign_by(apex, zsks.to_vec(), ttl, terms, signers)?);
        }
        let Some((_, other)) = &mut self.new_ksk else {
            return Err(SignError::Terms("there is no KSK that comes").into());
        };
        let new_signer: &mut dyn BatchSigner = &mut **other;
        let new = Dnskey::of(new_signer.key(), Role::Ksk)?;
        let mut keys = zsks.to_vec();
        let signers = match phase {
            KskPhase::Old | KskPhase::Published => {
                keys.push(new);
                vec![(old, old_signer)]
            }
            KskPhase::Switched => {
                keys.push(old);
                vec![(new, new_signer)]
            }
            KskPhase::Revoked => vec![(old.revoked(), old_signer), (new, new_signer)],
            KskPhase::New => vec![(new, new_signer)],
        };
        Ok(KeySet::sign_by(apex, keys, ttl, terms, signers)?)
    }
}

impl Schedule {
    /// Signs all slots' sets while keys change. Each set is right for as long as its slot lasts:
    /// a new ZSK is in the sets for a TTL before it signs, the old one for as long as caches hold
    /// its signatures.
    ///
    /// # Errors
    ///
    /// As [`Schedule::slots`] and [`KeySet::sign_by`]; [`SignError::Terms`] if a step of the
    /// KSK's change falls into a slot instead of on its beginning.
    pub fn sign_changing(
        &self,
        apex: &Name,
        ttl: u32,
        signers: &mut Signers<'_>,
    ) -> Result<Vec<KeySet>, Error> {
        let slots = self.slots()?;
        let length = self.slot_days.wrapping_mul(DAY);
        let beginning = |slot: u32| self.start.wrapping_add(slot.wrapping_mul(length));
        let roll = signers.new_ksk.as_ref().map(|(roll, _)| *roll);
        let inside = |slot: u32, event: u32| {
            let since = event.wrapping_sub(beginning(slot));
            since != 0 && since < length
        };
        let mut sets = Vec::new();
        for (slot, terms) in (0u32..).zip(&slots) {
            if roll.is_some_and(|roll| roll.events().any(|event| inside(slot, event))) {
                let why = "each step of a change of KSK must fall on the first day of a slot";
                return Err(SignError::Terms(why).into());
            }
            let from = beginning(slot);
            let phase = roll.map_or(KskPhase::Old, |roll| roll.phase(from));
            let zsks = self.zsks(signers, ttl, from);
            sets.push(signers.set(apex, &zsks, (phase, ttl, terms))?);
        }
        Ok(sets)
    }

    /// The ZSKs of the slot that begins then.
    fn zsks(&self, signers: &Signers<'_>, ttl: u32, from: u32) -> Vec<Dnskey> {
        let mut keys = signers.zsks.clone();
        let Some(roll) = &signers.new_zsk else { return keys };
        let end = from.wrapping_add(self.slot_days.wrapping_mul(DAY));
        let earliest = roll.switch.wrapping_sub(ttl).wrapping_sub(DAY);
        let latest = roll.switch.wrapping_add(roll.zone_ttl).wrapping_add(DAY);
        if is_after(from, latest) {
            keys.clear();
        }
        if is_after(end, earliest) {
            keys.push(roll.new.clone());
        }
        keys
    }
}

/// Whether a ZSK may sign now, by the sets that were signed ahead: the set that a cache may still
/// have must have the key. And whoever has signatures of the zone before this one (`before`)
/// must find their key in the set of now.
///
/// # Errors
///
/// [`SignError::Terms`]: wait, or sign with the other key.
pub fn check_change(
    sets: &[KeySet],
    zsk: &Dnskey,
    before: Option<&Dnskey>,
    now: u32,
) -> Result<(), Error> {
    let Some(set) = super::current(sets, now) else { return Ok(()) };
    let ago = set.keys().ttl().saturating_add(PUBLICATION);
    // A set begins to hold an hour before it is used.
    let cached = super::current(sets, now.wrapping_sub(ago).wrapping_sub(PUBLICATION));
    if cached.is_some_and(|cached| !cached.has(zsk)) {
        let why = "this ZSK is too new: caches may hold a DNSKEY set that does not have it";
        return Err(SignError::Terms(why).into());
    }
    if before.is_some_and(|before| !set.has(before)) {
        let why = "the previous zone's ZSK is gone from the DNSKEY set: caches hold signatures \
                   that nobody could verify";
        return Err(SignError::Terms(why).into());
    }
    Ok(())
}
