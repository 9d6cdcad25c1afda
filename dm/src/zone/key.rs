//! What an RRset is found by.

use std::fmt;

use domain::base::iana::{Class, Rtype};

use super::Name;

/// `<name, type, class>`: what an RRset is found by, in the order in which RFC 8976 section 3.3.1
/// hashes a zone.
///
/// RRSIG records of one name are several sets, one for each type that they cover, because they
/// have different TTLs (RFC 4034 section 3: that of the covered set). For them `covered` is set.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    name: Name,
    rtype: Rtype,
    covered: Option<Rtype>,
    class: Class,
}

impl Key {
    /// The set of this type at this name, in class IN. For signatures see
    /// [`Key::signatures_over`].
    #[must_use]
    pub fn new(name: Name, rtype: Rtype) -> Self {
        Self { name, rtype, covered: None, class: Class::IN }
    }

    /// The signatures over a set.
    #[must_use]
    pub fn signatures_over(covered: &Self) -> Self {
        Self {
            name: covered.name.clone(),
            rtype: Rtype::RRSIG,
            covered: Some(covered.rtype),
            class: covered.class,
        }
    }

    /// The key of the set that a record belongs to; `None` for an RRSIG without a type.
    #[must_use]
    pub fn of_record(name: Name, rtype: Rtype, rdata: &[u8]) -> Option<Self> {
        let covered = if rtype == Rtype::RRSIG {
            Some(Rtype::from_int(u16::from_be_bytes(*rdata.first_chunk()?)))
        } else {
            None
        };
        Some(Self { name, rtype, covered, class: Class::IN })
    }

    /// The owner.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The type.
    #[must_use]
    pub fn rtype(&self) -> Rtype {
        self.rtype
    }

    /// For signatures, the type that they cover.
    #[must_use]
    pub fn covered(&self) -> Option<Rtype> {
        self.covered
    }

    /// The class: always IN, as yet.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// For signatures, the key of what they cover.
    #[must_use]
    pub fn signed(&self) -> Option<Self> {
        self.covered.map(|rtype| Self::new(self.name.clone(), rtype))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)?;
        self.covered.map_or(Ok(()), |rtype| write!(f, " {rtype}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
