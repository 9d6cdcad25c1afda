//! What a zone of one serial consists of.

use std::collections::BTreeMap;

use super::codec::{Malformed, Reader, Writer};
use super::content::{Delta, Hash, SetKey};
use super::council::Dm;
use super::view::{Link, flag};

/// How the content comes about.
///
/// Differs: the plan has a value in the store for each RRset, under its hash. An update changes a set or
/// two, which take less room than their hashes and signatures would: they stand in the manifest, so that whoever
/// votes has them. A whole root zone is 18,589 sets; in pieces it is a handful of values that a quorum signs.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Change {
    /// These sets change; absent means deleted.
    Sets(Delta),
    /// All of it anew, in pieces with these hashes.
    Whole(Vec<Hash>),
}

/// What is to be signed and published under a serial. It counts when a quorum has certified it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "what stands in the bytes")]
pub struct Manifest {
    /// The zone's serial.
    pub serial: u32,
    /// The manifest before.
    pub prev: Link,
    /// The last signed zone, whose signatures stay where nothing changed; `None` for the first.
    pub base: Option<Link>,
    /// The Merkle root of the content.
    pub root: Hash,
    /// How it follows from the one before.
    pub change: Change,
    /// The views that say so, by the hashes of their bytes.
    pub cited: BTreeMap<Dm, Hash>,
    /// From when the new signatures are valid: seconds since 1970.
    pub inception: u32,
    /// Until when.
    pub expiry: u32,
    /// The DNSKEY set and the signatures over it, in the form of whoever builds the zone.
    pub keys: Vec<u8>,
}

const MANIFEST: &[u8] = b"bftkv dm manifest 1";

impl Manifest {
    /// The most bytes of a delta. A larger one goes as a whole in pieces.
    pub const MAX_DELTA: usize = 256 * 1024;
    /// The most pieces.
    pub const MAX_CHUNKS: usize = 256;
    /// The most bytes of a piece, unless a set is larger.
    pub const CHUNK: usize = 512 * 1024;
    /// The most bytes of keys.
    pub const MAX_KEYS: usize = 16 * 1024;

    /// Serial and hash.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { serial: self.serial, hash: Hash::of(&self.to_bytes()) }
    }

    /// As bytes, in one form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::beginning(MANIFEST);
        out.u32(self.serial);
        self.prev.write(&mut out);
        out.u8(u8::from(self.base.is_some()));
        if let Some(base) = &self.base {
            base.write(&mut out);
        }
        out.raw(&self.root.0).u32(self.inception).u32(self.expiry).bytes(&self.keys);
        out.count(self.cited.len());
        for (dm, hash) in &self.cited {
            out.u8(dm.number()).raw(&hash.0);
        }
        match &self.change {
            Change::Sets(delta) => {
                out.u8(0).count(delta.len());
                for (key, value) in delta {
                    key.write(&mut out);
                    out.u8(u8::from(value.is_some()));
                    if let Some(value) = value {
                        out.bytes(value);
                    }
                }
            }
            Change::Whole(chunks) => {
                out.u8(1).count(chunks.len());
                for chunk in chunks {
                    out.raw(&chunk.0);
                }
            }
        }
        out.finish()
    }

    /// From bytes.
    ///
    /// # Errors
    /// They are not the one form of a manifest: its writer's fault.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes, MANIFEST, "manifest")?;
        let (serial, prev) = (from.u32()?, Link::read(&mut from)?);
        let base = if flag(&mut from)? { Some(Link::read(&mut from)?) } else { None };
        let (root, inception, expiry) = (Hash(from.array()?), from.u32()?, from.u32()?);
        let keys = from.bytes()?.to_vec();
        let mut cited = BTreeMap::new();
        for _ in 0..from.count()? {
            let dm = Dm::new(from.u8()?).ok_or(from.malformed())?;
            if cited.last_key_value().is_some_and(|(last, _)| *last >= dm) {
                return Err(from.malformed());
            }
            cited.insert(dm, Hash(from.array()?));
        }
        let change = read_change(&mut from)?;
        if keys.len() > Self::MAX_KEYS {
            return Err(from.malformed());
        }
        from.end()?;
        Ok(Self { serial, prev, base, root, change, cited, inception, expiry, keys })
    }
}

fn read_change(from: &mut Reader<'_>) -> Result<Change, Malformed> {
    let is_whole = flag(from)?;
    let count = from.count()?;
    if is_whole {
        if count > Manifest::MAX_CHUNKS {
            return Err(from.malformed());
        }
        let chunks: Result<_, _> = (0..count).map(|_| from.array().map(Hash)).collect();
        return Ok(Change::Whole(chunks?));
    }
    let mut delta = Delta::new();
    for _ in 0..count {
        let key = SetKey::read(from)?;
        if delta.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(from.malformed());
        }
        let value = if flag(from)? { Some(from.bytes()?.to_vec()) } else { None };
        delta.insert(key, value);
    }
    Ok(Change::Sets(delta))
}
