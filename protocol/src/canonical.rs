//! Signed bytes: a domain string, the realm, then length-prefixed fields (rule R7).
//!
//! `docs/wire.md` describes them for other implementations; `testdata/canonical.txt` pins them.

use crate::planted::{self, Bug};
use crate::{Purpose, Realm};

/// What a signature is for. The domain string begins the signed bytes, so that a signature made
/// for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Domain {
    /// A writer signs an entry: s_C.
    Entry,
    /// A clique member signs a signed entry: s_i.
    Share,
    /// A clique member states the largest timestamp that it has seen for a variable.
    Time,
    /// A writer abandons an attempt.
    Abandon,
    /// The digest of a realm configuration.
    Configuration,
    /// The name of a signed entry.
    EntryHash,
    /// A sealed message between two parties.
    Message,
    /// A clique member signs a successor of a configuration.
    Change,
    /// A node announces from which memory it speaks.
    Announcement,
    /// A member vouches for an entry that it stores.
    Vouch,
    /// The name under which vouches of a configuration's members certify.
    Vouched,
    /// A password's key shows that its holder knows the password.
    Login,
    /// A file outside of the store. Its own bytes are signed, so that other programs can check the
    /// signature; the domain stands in the notation alone.
    File,
    /// Many messages of one purpose are signed by one signature.
    Batch,
}

impl Domain {
    /// The domain string, also the value of the OpenPGP notation that names the purpose.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "bftkv 1 entry",
            Self::Share => "bftkv 1 share",
            Self::Time => "bftkv 1 time",
            Self::Abandon => "bftkv 1 abandon",
            Self::Configuration => "bftkv 1 configuration",
            Self::EntryHash => "bftkv 1 entry-hash",
            Self::Message => "bftkv 1 message",
            Self::Change => "bftkv 1 change",
            Self::Announcement => "bftkv 1 announcement",
            Self::Vouch => "bftkv 1 vouch",
            Self::Vouched => "bftkv 1 vouched",
            Self::Login => "bftkv 1 login",
            Self::File => "bftkv 1 file",
            Self::Batch => "bftkv 1 batch",
        }
    }
}

/// Signed bytes with names of ordinary length fit into so many without growing.
const MOST_SIGNED: usize = 320;

/// Builds signed bytes. Every field is prefixed by its length as a 64-bit big-endian number, so no
/// two different lists of fields give the same bytes.
#[derive(Debug)]
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    pub(crate) fn new(domain: Domain, realm: &Realm) -> Self {
        let empty = Self(Vec::with_capacity(MOST_SIGNED));
        let begun = if planted::is(Bug::NoDomain) {
            empty
        } else {
            empty.field(domain.as_str().as_bytes())
        };
        begun.field(realm.as_str().as_bytes())
    }

    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn number(self, number: u64) -> Self {
        self.field(&number.to_be_bytes())
    }

    pub(crate) fn flag(self, flag: bool) -> Self {
        self.field(&[u8::from(flag)])
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The first two fields of signed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub(crate) domain: &'a [u8],
    pub(crate) realm: &'a [u8],
}

impl<'a> Head<'a> {
    /// Those of this message; `None` if it does not begin with two fields.
    pub(crate) fn of(message: &'a [u8]) -> Option<Self> {
        let (domain, rest) = first_field(message)?;
        if planted::is(Bug::NoDomain) {
            return Some(Self { domain: &[], realm: domain });
        }
        let (realm, _) = first_field(rest)?;
        Some(Self { domain, realm })
    }

    /// Whether the message is for this purpose.
    pub(crate) fn is_of(&self, purpose: Purpose) -> bool {
        self.domain == purpose.domain().as_str().as_bytes() || planted::is(Bug::NoDomain)
    }
}

fn first_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)
}

/// The bytes that are signed for many messages with this head at once: what they are for, how many
/// they are, and the root over them.
pub(crate) fn batch_bytes(head: &Head<'_>, count: usize, root: &[u8; 32]) -> Vec<u8> {
    let domain = if planted::is(Bug::BatchForAnyPurpose) { &[] } else { head.domain };
    Canonical(Vec::with_capacity(MOST_SIGNED))
        .field(Domain::Batch.as_str().as_bytes())
        .field(head.realm)
        .field(domain)
        .number(u64::try_from(count).unwrap_or(u64::MAX))
        .field(root)
        .into_bytes()
}
