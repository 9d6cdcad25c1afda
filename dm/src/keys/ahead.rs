//! DNSKEY sets that are signed ahead.

use crate::sign::{BatchSigner, Dnskey, KeySet, Terms};
use crate::zone::Name;

use super::Error;

const DAY: u32 = 86_400;
/// How much a clock may be behind.
const SKEW: u32 = 3_600;

/// Sets for a time to come, as ICANN's key ceremonies make them for the root: 90 days in slots
/// of 10, each signature holding for 21. A ceremony can be 11 days late and nothing happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Schedule {
    /// When the first slot begins, in seconds since 1970 modulo 2^32.
    pub start: u32,
    /// Days in all.
    pub days: u32,
    /// Days of a slot.
    pub slot_days: u32,
    /// Days for which a slot's signature holds.
    pub valid_days: u32,
}

impl Schedule {
    /// 90 days in slots of 10 with 21 days each.
    #[must_use]
    pub fn usual(start: u32) -> Self {
        Self { start, days: 90, slot_days: 10, valid_days: 21 }
    }

    /// The slots' times.
    ///
    /// # Errors
    ///
    /// [`crate::sign::Error::Terms`] for a time of nothing, above two years, or with holes
    /// between the signatures.
    pub fn slots(&self) -> Result<Vec<Terms>, Error> {
        let Self { start, days, slot_days, valid_days } = *self;
        let holes = slot_days == 0 || valid_days <= slot_days;
        if holes || days < slot_days || days > 732 {
            let why = "slots must follow each other, within two years, and hold into the next";
            return Err(crate::sign::Error::Terms(why).into());
        }
        let count = days.div_ceil(slot_days);
        let one = |slot: u32| {
            let from = start.wrapping_add(slot.wrapping_mul(slot_days).wrapping_mul(DAY));
            let inception = from.wrapping_sub(SKEW);
            let expiration = from.wrapping_add(valid_days.wrapping_mul(DAY));
            let next = from.wrapping_add(slot_days.wrapping_mul(DAY));
            Terms::new(inception, expiration, next)
        };
        Ok((0..count).map(one).collect::<Result<_, _>>()?)
    }

    /// Signs all slots' sets, of these keys and the signer's own.
    ///
    /// # Errors
    ///
    /// As [`Schedule::slots`] and [`KeySet::sign`].
    pub fn sign(
        &self,
        apex: &Name,
        keys: &[Dnskey],
        ttl: u32,
        signer: &mut dyn BatchSigner,
    ) -> Result<Vec<KeySet>, Error> {
        let slots = self.slots()?;
        let one = |terms: &Terms| Ok(KeySet::sign(apex, keys.to_vec(), ttl, terms, signer)?);
        slots.iter().map(one).collect()
    }
}

/// The set to be used at a time: of those that hold, the one that began last.
#[must_use]
pub fn current(sets: &[KeySet], now: u32) -> Option<&KeySet> {
    let holds = |set: &&KeySet| {
        set.times().is_some_and(|(inception, expiration)| {
            // Ahead of `now` or equal, in a time of 32 bits.
            now.wrapping_sub(inception) < 1 << 31 && expiration.wrapping_sub(now) < 1 << 31
        })
    };
    let age = |set: &&KeySet| set.times().map(|(inception, _)| now.wrapping_sub(inception));
    sets.iter().filter(holds).min_by_key(age)
}
