//! Zones: read, checked, compared, changed, written.
//!
//! ```text
//!   zone file --read--> ZoneBuilder --finish--> Zone --Display--> zone file
//!   transfer  --add---->                         |
//!                                                +-- root()      one hash over everything
//!                                                +-- with(Delta) the next version
//! ```
//!
//! Everything is kept in canonical form (RFC 4034 section 6), so that two DMs that see the same
//! zone hold the same bytes, whatever the case, order and layout of what they read.

mod builder;
pub(crate) mod codec;
mod delta;
mod error;
mod key;
mod limits;
mod merkle;
mod name;
mod read;
mod reread;
mod rrset;
mod write;
#[allow(clippy::module_inception, reason = "a zone is the main type of this module")]
mod zone;

pub(crate) use builder::Changes;
pub use builder::ZoneBuilder;
pub use delta::{Delta, MAX_CHANGES};
pub use domain::base::iana::{Class, Rtype};
pub use error::{Error, Fault, Place};
pub use key::Key;
pub use limits::Limits;
pub use merkle::{ZoneRoot, set_hash};
pub use name::Name;
pub use read::read_sets;
pub(crate) use read::text_of;
pub(crate) use reread::reread;
pub use rrset::{Data, MAX_SET_BYTES, Records, RrSet, parse};
pub use write::Lines;
pub(crate) use zone::serial_of;
pub use zone::{Soa, Zone};

/// Whether a number of 32 bits comes after another: serials (RFC 1982), times of signatures (RFC
/// 4034 section 3.1.5). Of two that are 2^31 apart, neither does.
#[must_use]
pub fn is_after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}
