//! What one DM sees.

use std::collections::BTreeMap;

use super::codec::{Malformed, Reader, Writer};
use super::content::{Content, Delta, Hash, SetKey};

/// A manifest or a signed zone, by serial and hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a pair")]
pub struct Link {
    /// Its serial.
    pub serial: u32,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    pub(super) fn write(&self, out: &mut Writer) {
        out.u32(self.serial).raw(&self.hash.0);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { serial: from.u32()?, hash: Hash(from.array()?) })
    }
}

/// The sets that changed, by the hashes of their new values; `None` for those that are gone.
pub type Changes = BTreeMap<SetKey, Option<Hash>>;

/// The hashes of a delta.
#[must_use]
pub fn changes_of(delta: &Delta) -> Changes {
    let hash = |value: &Option<Vec<u8>>| value.as_deref().map(Hash::of);
    delta.iter().map(|(key, value)| (key.clone(), hash(value))).collect()
}

/// What a DM sees, written once for each serial for which it takes part.
///
/// Source: the plan (`docs/dm.md`), section 3.3.2: each DM pulls the data independently; its values are to be confirmed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "what stands in the bytes")]
pub struct View {
    /// The serial for which it is given.
    pub serial: u32,
    /// The newest certified manifest that the DM knew.
    pub newest: Link,
    /// The serial of its source, for people.
    pub source_serial: u32,
    /// The Merkle root over all that it sees.
    pub root: Hash,
    /// How that differs from the newest manifest's content; `None` for more than
    /// [`View::MAX_CHANGES`] changes, which can be agreed on only as a whole.
    pub changes: Option<Changes>,
}

const VIEW: &[u8] = b"bftkv dm view 1";

impl View {
    /// The most changes that are listed.
    pub const MAX_CHANGES: usize = 2048;

    /// The view of a source with this content.
    #[must_use]
    pub fn of(
        serial: u32,
        newest: Link,
        before: &Content,
        source_serial: u32,
        seen: &Content,
    ) -> Self {
        let delta = before.delta_to(seen);
        let changes = (delta.len() <= Self::MAX_CHANGES).then(|| changes_of(&delta));
        Self { serial, newest, source_serial, root: seen.root(), changes }
    }

    /// As bytes, in one form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(VIEW);
        out.u32(self.serial);
        self.newest.write(&mut out);
        out.u32(self.source_serial).raw(&self.root.0);
        out.u8(u8::from(self.changes.is_some()));
        if let Some(changes) = &self.changes {
            out.count(changes.len());
            for (key, hash) in changes {
                key.write(&mut out);
                out.u8(u8::from(hash.is_some()));
                if let Some(hash) = hash {
                    out.raw(&hash.0);
                }
            }
        }
        out.finish()
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are not the one form of a view: its writer's fault.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, VIEW, "view")?;
        let (serial, newest) = (from.u32()?, Link::read(&mut from)?);
        let (source_serial, root) = (from.u32()?, Hash(from.array()?));
        let changes = if flag(&mut from)? { Some(read_changes(&mut from)?) } else { None };
        from.end()?;
        Ok(Self { serial, newest, source_serial, root, changes })
    }
}

fn read_changes(from: &mut Reader<'_>) -> Result<Changes, Malformed> {
    let count = from.count()?;
    if count > View::MAX_CHANGES {
        return Err(from.malformed());
    }
    let mut changes = Changes::new();
    for _ in 0..count {
        let key = SetKey::read(from)?;
        if changes.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(from.malformed());
        }
        let hash = if flag(from)? { Some(Hash(from.array()?)) } else { None };
        changes.insert(key, hash);
    }
    Ok(changes)
}

pub(super) fn flag(from: &mut Reader<'_>) -> Result<bool, Malformed> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(from.malformed()),
    }
}
