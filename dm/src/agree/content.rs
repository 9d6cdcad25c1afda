//! What the DMs agree on: RRsets, as opaque bytes under their keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::differing::differing;

use super::codec::{Malformed, Reader, Writer};

/// A hash (SHA-256).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Source: the plan (`docs/dm.md`), section 3.3.2, `<name, type, class>`: what an RRset is found by. The class is IN.
///
/// The name is a list of labels from the top down, in lower case, each with its length before it,
/// so that all of one delegation stand together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetKey {
    labels: Vec<u8>,
    rtype: u16,
}

impl SetKey {
    /// The most bytes of a name (RFC 1035 section 2.3.4).
    pub const MAX_NAME: usize = 254;

    /// The set of this type at the name with these labels, from the top down. `None` if that is no
    /// name.
    #[must_use]
    pub fn new<'a>(labels: impl IntoIterator<Item = &'a [u8]>, rtype: u16) -> Option<Self> {
        let mut out = Vec::new();
        for label in labels {
            let length = u8::try_from(label.len()).ok().filter(|l| (1..=63).contains(l))?;
            out.push(length);
            out.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        (out.len() <= Self::MAX_NAME).then_some(Self { labels: out, rtype })
    }

    /// The type's number.
    #[must_use]
    pub fn rtype(&self) -> u16 {
        self.rtype
    }

    /// The labels from the top down.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        let mut found = Vec::new();
        let mut rest = self.labels.as_slice();
        while let Some((&length, after)) = rest.split_first() {
            let Some((label, after)) = after.split_at_checked(usize::from(length)) else { break };
            found.push(label);
            rest = after;
        }
        found.into_iter()
    }

    /// To which delegation it belongs, for a zone with so many labels: the label below the apex, or
    /// nothing for the apex itself. NS, DS and glue of one are agreed on together.
    #[must_use]
    pub fn delegation(&self, apex: usize) -> Delegation {
        Delegation(self.labels().nth(apex).map(<[u8]>::to_vec).unwrap_or_default())
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u8(u8::try_from(self.labels.len()).unwrap_or(u8::MAX)).raw(&self.labels);
        out.u16(self.rtype);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = usize::from(from.u8()?);
        let labels = from.raw(length)?.to_vec();
        let rtype = from.u16()?;
        let key = Self { labels, rtype };
        let again = Self::new(key.labels(), rtype).ok_or(from.malformed())?;
        if again == key { Ok(key) } else { Err(from.malformed()) }
    }
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels().rev() {
            write!(f, "{}.", label.escape_ascii())?;
        }
        if self.labels.is_empty() {
            f.write_str(".")?;
        }
        match self.rtype {
            1 => f.write_str(" A"),
            2 => f.write_str(" NS"),
            6 => f.write_str(" SOA"),
            28 => f.write_str(" AAAA"),
            43 => f.write_str(" DS"),
            other => write!(f, " TYPE{other}"),
        }
    }
}

impl fmt::Debug for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The label below the apex to which sets belong; the apex itself has none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delegation(Vec<u8>);

impl fmt::Display for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("the apex")
        } else {
            write!(f, "{}", self.0.escape_ascii())
        }
    }
}

impl fmt::Debug for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All RRsets: `<name, type, class>` to `<TTL, RRset>`, the latter as bytes in one form.
#[derive(Clone, Default, Debug)]
pub struct Content {
    sets: BTreeMap<SetKey, Vec<u8>>,
    /// Of these sets, once it was asked for.
    root: OnceLock<Hash>,
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        // What has another root is other; what has the same is the same, because nobody finds two for one hash.
        match (self.root.get(), other.root.get()) {
            (Some(mine), Some(other)) => mine == other,
            _ => self.sets == other.sets,
        }
    }
}

impl Eq for Content {}

/// How sets differ from what was before: the new value, or `None` for a set that is gone.
pub type Delta = BTreeMap<SetKey, Option<Vec<u8>>>;

impl Content {
    /// The most sets in a zone: ten times those of the root zone of 2026.
    pub const MAX_SETS: usize = 1 << 16;

    /// The sets.
    #[must_use]
    pub fn sets(&self) -> &BTreeMap<SetKey, Vec<u8>> {
        &self.sets
    }

    /// Puts a set there.
    pub fn insert(&mut self, key: SetKey, value: Vec<u8>) {
        self.sets.insert(key, value);
        self.root = OnceLock::new();
    }

    /// Takes a set away.
    pub fn remove(&mut self, key: &SetKey) {
        self.sets.remove(key);
        self.root = OnceLock::new();
    }

    /// What must change here to have that.
    #[must_use]
    pub fn delta_to(&self, that: &Self) -> Delta {
        let differing = differing(&self.sets, &that.sets);
        differing.map(|(key, _, after)| (key.clone(), after.cloned())).collect()
    }

    /// This with these changes.
    #[must_use]
    pub fn with(&self, delta: &Delta) -> Self {
        let mut sets = self.sets.clone();
        for (key, value) in delta {
            match value {
                Some(value) => drop(sets.insert(key.clone(), value.clone())),
                None => drop(sets.remove(key)),
            }
        }
        Self { sets, root: OnceLock::new() }
    }

    /// The Merkle root over the sets in the order of their keys (the tree of RFC 9162 section 2.1: leaves and
    /// nodes are hashed with different first bytes).
    #[must_use]
    pub fn root(&self) -> Hash {
        *self.root.get_or_init(|| self.make_root())
    }

    fn make_root(&self) -> Hash {
        let mut level: Vec<[u8; 32]> =
            self.sets.iter().map(|(key, value)| leaf(key, value)).collect();
        while level.len() > 1 {
            level = level.chunks(2).map(node).collect();
        }
        Hash(level.first().copied().unwrap_or_else(|| Sha256::digest([]).into()))
    }

    /// As bytes, in pieces of at most this size (a set that is larger alone has a piece of its own).
    #[must_use]
    pub fn to_chunks(&self, size: usize) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let mut out = Writer::beginning(CHUNK);
        let mut length = 0;
        for (key, value) in &self.sets {
            if length > 0 && length + value.len() > size {
                chunks.push(std::mem::replace(&mut out, Writer::beginning(CHUNK)).finish());
                length = 0;
            }
            key.write(&mut out);
            out.bytes(value);
            length += value.len() + key.labels.len() + 7;
        }
        chunks.push(out.finish());
        chunks
    }

    /// From pieces.
    ///
    /// # Errors
    /// They are malformed, or there are more than [`Content::MAX_SETS`].
    pub fn from_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Malformed> {
        let mut content = Self::default();
        for chunk in chunks {
            let mut from = Reader::new(chunk, CHUNK, "piece of content")?;
            while !from.is_empty() {
                let key = SetKey::read(&mut from)?;
                let is_above = content.sets.last_key_value().is_none_or(|(last, _)| *last < key);
                if !is_above || content.sets.len() >= Self::MAX_SETS {
                    return Err(from.malformed());
                }
                content.sets.insert(key, from.bytes()?.to_vec());
            }
        }
        Ok(content)
    }
}

const CHUNK: &[u8] = b"bftkv dm content 1";

fn leaf(key: &SetKey, value: &[u8]) -> [u8; 32] {
    let mut bytes = Writer::beginning(&[0]);
    key.write(&mut bytes);
    bytes.count(value.len());
    Sha256::new_with_prefix(bytes.finish()).chain_update(value).finalize().into()
}

fn node(pair: &[[u8; 32]]) -> [u8; 32] {
    match pair {
        [left, right] => {
            Sha256::new_with_prefix([1]).chain_update(left).chain_update(right).finalize().into()
        }
        // One without a neighbour goes up as it is.
        other => other.first().copied().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::agree) fn key(name: &str, rtype: u16) -> SetKey {
        let labels = name.split('.').filter(|label| !label.is_empty());
        SetKey::new(labels.rev().map(str::as_bytes), rtype).unwrap()
    }

    fn content() -> Content {
        let mut content = Content::default();
        for (name, rtype, value) in
            [("", 2, "root"), ("org", 2, "ns"), ("org", 43, "ds"), ("a.nic.org", 1, "glue")]
        {
            content.insert(key(name, rtype), value.into());
        }
        content
    }

    #[test]
    fn glue_belongs_to_its_delegation() {
        assert_eq!(key("a.nic.org", 1).delegation(0), key("org", 43).delegation(0));
        assert_ne!(key("a.nic.org", 1).delegation(0), key("net", 43).delegation(0));
        assert_eq!(key("", 2).delegation(0).to_string(), "the apex");
        assert_eq!(key("a.nic.org", 28).to_string(), "a.nic.org. AAAA");
    }

    #[test]
    fn a_delta_leads_from_one_to_the_other() {
        let (before, mut after) = (content(), content());
        after.remove(&key("org", 43));
        after.insert(key("net", 2), b"ns2".to_vec());
        let delta = before.delta_to(&after);
        assert_eq!(delta.len(), 2);
        assert_eq!(before.with(&delta), after);
        assert_eq!(before.with(&delta).root(), after.root());
    }

    #[test]
    fn every_bit_changes_the_root() {
        let root = content().root();
        let mut roots = std::collections::BTreeSet::from([root]);
        for name in ["", "org", "b.nic.org"] {
            let mut other = content();
            other.insert(key(name, 2), b"other".to_vec());
            assert!(roots.insert(other.root()));
        }
        let mut fewer = content();
        fewer.remove(&key("a.nic.org", 1));
        assert!(roots.insert(fewer.root()));
        // A golden value: DMs of two versions must not disagree.
        assert_eq!(
            root.to_string(),
            "80ec0a6abb4f43517e7c6993fc6d13667519fd7c2a7fb2913ad312d497e3810c"
        );
    }

    #[test]
    fn pieces_make_the_whole_again() {
        for size in [1, 10, 1000] {
            let chunks = content().to_chunks(size);
            let again = Content::from_chunks(chunks.iter().map(Vec::as_slice)).unwrap();
            assert_eq!(again, content());
            let mut turned: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            turned.reverse();
            assert_eq!(Content::from_chunks(turned).is_ok(), chunks.len() == 1);
        }
    }
}
