//! DS records that follow from what the delegated zones show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::agree::{Content, Delta};
use crate::sign::{Dnskey, Signature, dnskey_key};
use crate::zone::{Key, Name, RrSet, Rtype, is_after};

use super::content::{place_of, set_of, value_of};
use super::{Primary, Source};

/// The most keys, and signatures, of a delegated zone that are looked at: more is no honest zone, and
/// each pair costs a verification (KeyTrap, CVE-2023-50387).
const MAX_PER_SET: usize = 16;

/// A delegated zone, and a server of it.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Child {
    /// Its name.
    pub name: Name,
    /// Who is asked for its DNSKEY set.
    pub server: Primary,
}

/// The DS records of one zone: their data.
type DsSet = BTreeSet<Vec<u8>>;

/// Another source, in which the DS records of some delegations follow from the DNSKEY sets that the
/// delegated zones show, with SHA-256 (RFC 4509): one for each key that is an entry point and signs
/// the set. So a change of a TLD's key reaches each DM by itself, and is agreed on like any
/// other change.
///
/// A set counts only if a key that a DS record of before names has signed it, and the signature
/// holds. If none has, or the server does not answer, the DS records stay what they were, and the
/// log says why. A delegation without DS records gets none, because nothing would vouch for them.
/// The idea is that of RFC 7344, without its CDS records.
///
/// What was accepted is kept in memory only: whoever is started again begins with the DS records of
/// the other source, so that must follow before the old key is gone.
pub struct ChildKeys {
    under: Arc<dyn Source>,
    children: Vec<Child>,
    every: Duration,
    shared: Arc<Shared>,
    told: Mutex<Option<Told>>,
}

/// What was told last: of which content, with which DS records.
struct Told {
    under: Arc<Content>,
    accepted: BTreeMap<Name, DsSet>,
    content: Arc<Content>,
}

#[derive(Default)]
struct Shared {
    accepted: Mutex<BTreeMap<Name, DsSet>>,
    asked: Mutex<Option<Instant>>,
    is_asking: AtomicBool,
}

impl std::fmt::Debug for ChildKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildKeys").field("children", &self.children).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChildKeys {
    /// For these delegations, each of which is asked so often, beside reading: a server that does not
    /// answer holds up nothing.
    #[must_use]
    pub fn new(under: Arc<dyn Source>, children: Vec<Child>, every: Duration) -> Self {
        Self { under, children, every, shared: Arc::default(), told: Mutex::new(None) }
    }

    /// Asks them all, if it is time, in a thread of its own.
    fn ask(&self, content: &Content) {
        let is_due = lock(&self.shared.asked).is_none_or(|at| at.elapsed() >= self.every);
        if !is_due || self.shared.is_asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let known = |child: &Child| Some((child.clone(), ds_in(content, &child.name)?));
        let children: Vec<(Child, DsSet)> = self.children.iter().filter_map(known).collect();
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for (child, known) in children {
                shared.ask_one(&child, known);
            }
            *lock(&shared.asked) = Some(Instant::now());
            shared.is_asking.store(false, Ordering::Release);
        });
    }
}

impl Shared {
    fn ask_one(&self, child: &Child, mut known: DsSet) {
        let name = &child.name;
        if let Some(accepted) = lock(&self.accepted).get(name) {
            known.extend(accepted.iter().cloned());
        }
        let asked = child.server.keys(name);
        match asked.and_then(|(keys, signatures)| wanted(name, (&keys, &signatures), &known, now()))
        {
            Ok(ds) => {
                if lock(&self.accepted).insert(name.clone(), ds.clone()).as_ref() != Some(&ds) {
                    tracing::info!(%name, records = ds.len(), "DS records follow its keys");
                }
            }
            Err(why) => tracing::warn!(%name, why, "its DS records stay as they are"),
        }
    }
}

impl Source for ChildKeys {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        let (serial, under) = self.under.read()?;
        self.ask(&under);
        let accepted = lock(&self.shared.accepted).clone();
        let mut told = lock(&self.told);
        if let Some(told) = &*told
            && Arc::ptr_eq(&told.under, &under)
            && told.accepted == accepted
        {
            return Ok((serial, Arc::clone(&told.content)));
        }
        let content = Arc::new(under.with(&changes(&under, &accepted)?));
        let _ = content.root();
        *told = Some(Told { under, accepted, content: Arc::clone(&content) });
        Ok((serial, content))
    }
}

fn ds_key(name: &Name) -> Key {
    Key::new(name.clone(), Rtype::DS)
}

/// The DS records of a delegation; `None` if it has none.
fn ds_in(content: &Content, name: &Name) -> Option<DsSet> {
    let place = place_of(&ds_key(name))?;
    let (_, set) = set_of(&place, content.sets().get(&place)?).ok()?;
    Some(set.records().map(<[u8]>::to_vec).collect())
}

/// What is to be said otherwise, with the times to live of before.
fn changes(content: &Content, accepted: &BTreeMap<Name, DsSet>) -> Result<Delta, String> {
    let mut delta = Delta::new();
    for (name, ds) in accepted {
        let place = place_of(&ds_key(name)).ok_or_else(|| format!("{name}: a long name"))?;
        let Some(before) = content.sets().get(&place) else { continue };
        let (_, set) = set_of(&place, before)?;
        let after = RrSet::new(Rtype::DS, set.ttl(), ds.iter().cloned().collect());
        let value = value_of(&after.map_err(|fault| format!("{name}: {fault}"))?);
        if value != *before {
            delta.insert(place, Some(value));
        }
    }
    Ok(delta)
}

/// The DS records that this DNSKEY set wants.
///
/// # Errors
/// None of the keys that are known by a DS record has signed it for now.
fn wanted(
    name: &Name,
    (keys, signatures): (&RrSet, &RrSet),
    known: &DsSet,
    now: u32,
) -> Result<DsSet, String> {
    if keys.len() > MAX_PER_SET || signatures.len() > MAX_PER_SET {
        return Err("more keys or signatures than anybody checks".to_owned());
    }
    let holds = |it: &Signature| !is_after(now, it.expiration) && !is_after(it.inception, now);
    let signatures: Vec<Signature> =
        signatures.records().filter_map(Signature::read).filter(holds).collect();
    let own = dnskey_key(name);
    let signs = |key: &Dnskey| signatures.iter().any(|it| it.is_by(key, name, &own, keys));
    let entry_points = Dnskey::all(keys).filter(|key| key.is_active() && key.is_entry_point());
    let wanted: DsSet = entry_points.filter(signs).map(|key| key.ds(name)).collect();
    if wanted.is_disjoint(known) {
        return Err("no key that a DS record names has signed its keys for now".to_owned());
    }
    Ok(wanted)
}

/// Seconds since 1970 modulo 2^32, as DNSSEC has them.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "child_keys_tests.rs"]
mod tests;
