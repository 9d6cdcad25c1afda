//! Which DS records a DNSKEY set wants, and since when somebody who is known says so.

use std::collections::BTreeSet;

use crate::sign::{Dnskey, MAX_PER_SET, Signature, dnskey_key};
use crate::zone::{Name, RrSet, is_after};

/// The DS records of one zone: their data.
pub(super) type DsSet = BTreeSet<Vec<u8>>;

/// What a DNSKEY set wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Vouched {
    /// One record with SHA-256 (RFC 4509) for each key that is an entry point and signs the set.
    pub(super) ds: DsSet,
    /// When the newest signature of a key that was known before was made, in seconds since 1970
    /// modulo 2^32. Other signatures do not count: whoever has stolen a key that was given up could
    /// add one of today to a set of long ago.
    pub(super) signed: u32,
}

impl Vouched {
    /// By the keys and signatures that a zone shows, if one of the keys that `known` names has signed
    /// them for now.
    ///
    /// # Errors
    /// None has.
    pub(super) fn by(
        known: &DsSet,
        name: &Name,
        (keys, signatures): (&RrSet, &RrSet),
        now: u32,
    ) -> Result<Self, String> {
        if keys.len() > MAX_PER_SET || signatures.len() > MAX_PER_SET {
            return Err("more keys or signatures than anybody checks".to_owned());
        }
        let holds = |it: &Signature| !is_after(now, it.expiration) && !is_after(it.inception, now);
        let signatures: Vec<Signature> =
            signatures.records().filter_map(Signature::read).filter(holds).collect();
        let own = dnskey_key(name);
        let mut ds = DsSet::new();
        let mut vouched = None;
        for key in Dnskey::all(keys).filter(|key| key.is_active() && key.is_entry_point()) {
            let by_it = signatures.iter().filter(|it| it.is_by(&key, name, &own, keys));
            let Some(newest) = by_it.map(|it| it.inception).reduce(later) else { continue };
            let record = key.ds(name);
            if known.contains(&record) {
                vouched = Some(vouched.map_or(newest, |before| later(before, newest)));
            }
            ds.insert(record);
        }
        let signed = vouched.ok_or("no key that a DS record names has signed its keys for now")?;
        Ok(Self { ds, signed })
    }
}

fn later(a: u32, b: u32) -> u32 {
    if is_after(b, a) { b } else { a }
}
