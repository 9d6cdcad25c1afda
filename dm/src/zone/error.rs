//! What can be wrong with a zone.

use std::fmt;

use domain::base::iana::Class;

use super::Name;

/// What is wrong, and where: the source's fault. The same source gives the same error again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    place: Option<Place>,
    record: Option<String>,
    fault: Fault,
}

/// Where a record stood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Place {
    /// A line of a file, counted from 1.
    Line(usize),
    /// A record of a transfer, counted from 1.
    Record(usize),
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be read, as the crate `domain` says.
    #[error("{0}")]
    Syntax(String),
    /// Data that are not of the type that they should be.
    #[error("malformed record data")]
    Malformed,
    /// Another class than IN.
    #[error("class {0}, and only IN is served")]
    Class(Class),
    /// `$INCLUDE`, which could name any file.
    #[error("$INCLUDE is not followed; put the files together first")]
    Include,
    /// The owner is not in the zone.
    #[error("outside of the zone {0}")]
    OutOfZone(Name),
    /// The very same record again.
    #[error("the same record again")]
    Duplicate,
    /// Records of one set with different TTLs (RFC 2181 section 5.2).
    #[error("TTL {found} where the set's first record has {first}")]
    OtherTtl {
        /// That of the first record.
        first: u32,
        /// That of this one.
        found: u32,
    },
    /// A second record where there can be only one.
    #[error("a second record of a type of which there can be only one")]
    Singleton,
    /// Something beside a CNAME (RFC 1034 section 3.6.2).
    #[error("a CNAME beside other data")]
    CnameClash,
    /// A TTL of zero, which would make every resolver ask every time.
    #[error("TTL of zero")]
    ZeroTtl,
    /// A TTL above the limit.
    #[error("TTL of {found} s, above the limit of {limit} s")]
    HugeTtl {
        /// The record's.
        found: u32,
        /// The most.
        limit: u32,
    },
    /// No SOA at all.
    #[error("no SOA record")]
    NoSoa,
    /// An SOA somewhere else than at the apex.
    #[error("an SOA record that is not at the apex {0}")]
    SecondSoa(Name),
    /// No NS at the apex (RFC 1035 section 5.2).
    #[error("no NS record at the apex")]
    NoNs,
    /// A set without records.
    #[error("a set without records")]
    Empty,
    /// A set that no message can carry.
    #[error("a set that is too large for a message")]
    LargeSet,
    /// More records than the limit.
    #[error("more than {0} records")]
    ManyRecords(usize),
    /// A larger file than the limit.
    #[error("larger than {0} bytes")]
    LargeFile(usize),
    /// A change that does not begin where the zone is.
    #[error("a change of serial {found}, but the zone has {have}")]
    OtherSerial {
        /// The zone's.
        have: u32,
        /// Where the change begins.
        found: u32,
    },
    /// A set is to be deleted that is not there.
    #[error("it is to be deleted and is not there")]
    NotThere,
    /// The file cannot be read: the machine's fault, or a wrong name. The same may work later.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl Error {
    /// An error of the zone as a whole.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { place: None, record: None, fault }
    }

    /// At this place.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// With this record, or set.
    #[must_use]
    pub fn with(mut self, record: &impl fmt::Display) -> Self {
        self.record = Some(record.to_string());
        self
    }

    /// What is wrong.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Where.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// With which record or set: name and type.
    #[must_use]
    pub fn record(&self) -> Option<&str> {
        self.record.as_deref()
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Record(number) => write!(f, "record {number}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.map_or(Ok(()), |place| write!(f, "{place}: "))?;
        self.record.as_ref().map_or(Ok(()), |record| write!(f, "{record}: "))?;
        fmt::Display::fmt(&self.fault, f)
    }
}

impl std::error::Error for Error {}
