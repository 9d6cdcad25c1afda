//! DS records that follow from what the delegated zones show.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::agree::{Content, Delta};
use crate::zone::{Key, Name, RrSet, Rtype};

use super::content::{place_of, set_of, value_of};
use super::followed::{Accepted, Followed};
use super::vouched::{DsSet, Vouched};
use super::{Primary, Source, lock};

/// A delegated zone, and a server of it.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Child {
    /// Its name.
    pub name: Name,
    /// Who is asked for its DNSKEY set.
    pub server: Primary,
}

/// Another source, in which the DS records of some delegations follow from the DNSKEY sets that the
/// delegated zones show, with SHA-256 (RFC 4509): one for each key that is an entry point and signs
/// the set. So a change of a TLD's key reaches each DM by itself, and is agreed on like any
/// other change.
///
/// * A set counts only if a key that a DS record of before names has signed it, and the signature
///   holds. Of before: as was accepted last, and those of the source that no set has wanted yet: they are of keys that
///   are still to come (RFC 6781, section 4.1.2), and stay. A change must be
///   signed later than what was accepted, so nobody gets an older set accepted again. What was
///   accepted is on disk before it counts.
/// * The source goes first: when its own DS records for a delegation change, what was accepted is over, and
///   following begins with the new ones.
/// * Otherwise, and if the server does not answer, the DS records stay what they were, and
///   [`Source::notes`] says why. A delegation without DS records gets none, because nothing would
///   vouch for them.
///
/// The idea is that of RFC 7344, without its CDS records.
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

struct Shared {
    accepted: Mutex<Accepted>,
    /// Why DS records stay as they are, of those that do.
    reasons: Mutex<BTreeMap<Name, String>>,
    asked: Mutex<Option<Instant>>,
    is_asking: AtomicBool,
}

/// How many are asked at once.
const AT_ONCE: usize = 8;

impl std::fmt::Debug for ChildKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildKeys").field("children", &self.children).finish_non_exhaustive()
    }
}

impl ChildKeys {
    /// For these delegations, each of which is asked so often, beside reading: a server that does not
    /// answer holds up nothing. What is accepted is kept in this file.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged. Without it the DS records of the source count again.
    pub fn new(
        under: Arc<dyn Source>,
        children: Vec<Child>,
        every: Duration,
        kept: PathBuf,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            accepted: Mutex::new(Accepted::open(kept)?),
            reasons: Mutex::default(),
            asked: Mutex::default(),
            is_asking: AtomicBool::default(),
        });
        Ok(Self { under, children, every, shared, told: Mutex::new(None) })
    }

    /// Asks them all, if it is time, in threads of their own.
    fn ask(&self, content: &Content) {
        let is_due = lock(&self.shared.asked).is_none_or(|at| at.elapsed() >= self.every);
        if !is_due || self.shared.is_asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let known = |child: &Child| (child.clone(), ds_in(content, &child.name));
        let children: Vec<_> = self.children.iter().map(known).collect();
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            let threads = children.len().min(AT_ONCE);
            let left = Mutex::new(children.into_iter());
            let next = || lock(&left).next();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        while let Some((child, known)) = next() {
                            shared.ask_one(&child, known);
                        }
                    });
                }
            });
            *lock(&shared.asked) = Some(Instant::now());
            shared.is_asking.store(false, Ordering::Release);
        });
    }

    /// What counts for the delegations that are followed, with the source's content as it is now.
    fn accepted(&self, under: &Content) -> BTreeMap<Name, DsSet> {
        let mut accepted = lock(&self.shared.accepted);
        let records = |child: &Child| {
            let beside = ds_in(under, &child.name).unwrap_or_default();
            if let Err(error) = accepted.follow_source(&child.name, &beside) {
                tracing::warn!(%error, "what was accepted of keys is over, which cannot be written");
            }
            Some((child.name.clone(), accepted.get(&child.name, &beside)?.records()))
        };
        self.children.iter().filter_map(records).collect()
    }
}

impl Shared {
    fn ask_one(&self, child: &Child, beside: Option<DsSet>) {
        let name = &child.name;
        let beside = beside.ok_or("it has no DS record, so nothing vouches for its keys");
        let followed = beside.map_err(str::to_owned).and_then(|beside| self.follow(child, beside));
        let reason = followed.err();
        let mut reasons = lock(&self.reasons);
        let before = reasons.remove(name);
        if let Some(reason) = reason {
            if before.as_ref() != Some(&reason) {
                tracing::warn!(%name, reason, "its DS records stay as they are");
            }
            reasons.insert(name.clone(), reason);
        }
    }

    /// Asks for its keys, and accepts what follows from them.
    fn follow(&self, child: &Child, beside: DsSet) -> Result<(), String> {
        let name = &child.name;
        let (keys, signatures) = child.server.keys(name)?;
        let mut accepted = lock(&self.accepted);
        let before = accepted.get(name, &beside);
        let before = before.unwrap_or_else(|| Followed::from(beside));
        let vouched = Vouched::by(&before.records(), name, (&keys, &signatures), now())?;
        let next = before.then(vouched)?;
        accepted.put(name, next).map_err(|error| format!("it cannot be kept on disk: {error}"))
    }
}

impl Source for ChildKeys {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        let (serial, under) = self.under.read()?;
        self.ask(&under);
        let accepted = self.accepted(&under);
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

    fn notes(&self) -> Vec<String> {
        let reasons = lock(&self.shared.reasons);
        let note = |(name, reason): (&Name, &String)| {
            format!("{name}: DS records stay as they are: {reason}")
        };
        self.under.notes().into_iter().chain(reasons.iter().map(note)).collect()
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

/// Seconds since 1970 modulo 2^32, as DNSSEC has them.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs() & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "child_keys_tests.rs"]
mod tests;
