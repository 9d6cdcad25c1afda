//! What members announced of their memories, and how far this node has come with its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bftkv_protocol::{Announcement, NodeId, Refusal, StoreAge, ValueDigest, decode, encode};
use serde::{Deserialize, Serialize};

use crate::HomeError;
use crate::files::replace;

use super::lock;

/// The own memory, as it was when it was written down last. It lies beside the key, not in the
/// store: so a store that is lost or old is noticed here first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Own {
    /// Counts the memories.
    pub(super) epoch: u64,
    /// The store.
    pub(super) age: StoreAge,
    /// The node lost a memory and has not read all from the others yet.
    pub(super) recovering: bool,
    /// It has its fresh signing key already.
    pub(super) renewed: bool,
}

impl Own {
    /// Whether a store that was just opened is the one that was written down, opened once more and
    /// with nothing missing.
    fn is_continued_by(&self, age: &StoreAge) -> bool {
        self.age.identity == age.identity
            && age.generation > self.age.generation
            && age.commits >= self.age.commits
    }

    /// Whether it is the very same opening, with nothing missing: the node stopped serving and
    /// serves again, and its store was open all the time.
    fn is_continued_unclosed_by(&self, age: &StoreAge) -> bool {
        let StoreAge { identity, generation, commits } = self.age;
        (identity, generation) == (age.identity, age.generation) && age.commits >= commits
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    own: Option<Own>,
    others: Vec<Announcement>,
}

/// One file of a home; without a home, memory only.
#[derive(Debug)]
pub(super) struct Announced {
    path: Option<PathBuf>,
    own: Mutex<Option<Own>>,
    /// The own state was written down during this opening of the store.
    is_ours: AtomicBool,
    others: Mutex<BTreeMap<NodeId, Announcement>>,
}

impl Announced {
    /// Reads the file. One that is damaged counts as missing: the other members know what this node
    /// announced.
    pub(super) fn open(path: Option<PathBuf>) -> Self {
        let bytes = path.as_deref().and_then(|path| std::fs::read(path).ok());
        let kept = bytes.as_deref().map(read);
        if matches!(kept, Some(None)) {
            tracing::warn!(?path, "the record of announcements is damaged and was passed over");
        }
        let Kept { own, others } = kept.flatten().unwrap_or_default();
        let others = others.into_iter().map(|one| (one.node.clone(), one)).collect();
        let is_ours = AtomicBool::new(false);
        Self { path, own: Mutex::new(own), is_ours, others: Mutex::new(others) }
    }

    /// Whether the store goes on where `own` was written down.
    pub(super) fn is_continued(&self, own: &Own, age: &StoreAge) -> bool {
        let is_ours = self.is_ours.load(Ordering::Relaxed);
        own.is_continued_by(age) || (is_ours && own.is_continued_unclosed_by(age))
    }

    pub(super) fn own(&self) -> Option<Own> {
        *lock(&self.own)
    }

    /// Writes the own state down, synced.
    pub(super) fn set_own(&self, own: Own) -> Result<(), HomeError> {
        let others = lock(&self.others);
        self.write(Some(own), &others)?;
        *lock(&self.own) = Some(own);
        self.is_ours.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a member's announcement, whose signature was checked: it is on disk on return, or
    /// refused by the member's own later word.
    pub(super) fn take(&self, announcement: Announcement) -> Result<(), Refusal> {
        let mut others = lock(&self.others);
        match others.get(&announcement.node) {
            Some(known) if known == &announcement => return Ok(()),
            Some(known) if !announcement.follows(known) => {
                return Err(Refusal::Outdated(Box::new(known.clone())));
            }
            _ => {}
        }
        let mut changed = others.clone();
        changed.insert(announcement.node.clone(), announcement);
        self.write(self.own(), &changed).map_err(|error| {
            tracing::error!(%error, "cannot keep an announcement");
            Refusal::StorageUnavailable
        })?;
        *others = changed;
        Ok(())
    }

    fn write(
        &self,
        own: Option<Own>,
        others: &BTreeMap<NodeId, Announcement>,
    ) -> Result<(), HomeError> {
        let Some(path) = &self.path else { return Ok(()) };
        let body = encode(&Kept { own, others: others.values().cloned().collect() });
        let digest = ValueDigest::of(&body);
        replace(path, &[digest.as_bytes().as_slice(), &body].concat())
    }
}

/// The file is a SHA-256 digest and what it covers.
fn read(bytes: &[u8]) -> Option<Kept> {
    let (digest, body) = bytes.split_first_chunk::<32>()?;
    (ValueDigest::of(body).as_bytes() == digest).then(|| decode(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Realm, SignatureBytes};

    use super::*;

    fn age(generation: u64, commits: u64) -> StoreAge {
        StoreAge { identity: [1; 16], generation, commits }
    }

    fn announcement(epoch: u64, age: StoreAge) -> Announcement {
        Announcement {
            realm: Realm::new("r").unwrap(),
            node: NodeId::from_bytes(&[7; 20]).unwrap(),
            epoch,
            age,
            session: [2; 16],
            signature: SignatureBytes::new([1]).unwrap(),
        }
    }

    #[test]
    fn what_was_announced_survives_and_older_words_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join("announced"));
        let announced = Announced::open(path.clone());
        let own = Own { epoch: 3, age: age(5, 9), recovering: true, renewed: false };
        announced.set_own(own).unwrap();
        announced.take(announcement(1, age(4, 4))).unwrap();
        announced.take(announcement(1, age(4, 5))).unwrap();
        let again = Announced::open(path.clone());
        assert_eq!(again.own(), Some(own));
        let refused = again.take(announcement(0, age(9, 9))).unwrap_err();
        assert_eq!(refused, Refusal::Outdated(Box::new(announcement(1, age(4, 5)))));
        let file = path.clone().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(Announced::open(path).own(), None, "damage is noticed");
    }

    #[test]
    fn a_node_that_serves_again_over_the_same_opening_has_lost_nothing() {
        let announced = Announced::open(None);
        let own = Own { epoch: 3, age: age(5, 9), recovering: false, renewed: false };
        assert!(!announced.is_continued(&own, &age(5, 9)), "written by an earlier opening");
        announced.set_own(own).unwrap();
        assert!(announced.is_continued(&own, &age(5, 9)));
        assert!(announced.is_continued(&own, &age(5, 12)));
        assert!(!announced.is_continued(&own, &age(5, 8)), "commits are missing");
    }

    #[test]
    fn a_store_is_continued_only_by_itself_and_later() {
        let own = Own { epoch: 0, age: age(5, 9), recovering: false, renewed: false };
        assert!(own.is_continued_by(&age(6, 9)));
        assert!(!own.is_continued_by(&age(5, 9)), "a copy that was opened as often");
        assert!(!own.is_continued_by(&age(6, 8)), "commits are missing");
        assert!(
            !own.is_continued_by(&StoreAge { identity: [2; 16], ..age(6, 9) }),
            "another store"
        );
    }
}
