//! Signing a zone: DNSSEC with keys in shares.
//!
//! ```text
//!   Zone (stripped) --Recipe::begin--> Signing --messages--> signers: first batch
//!        previous signed zone --^         |put                  |
//!                                         v    <--signatures----+
//!                                     Digesting --messages--> signers: second batch (ZONEMD)
//!                                         |put                  |
//!                                         v    <--signatures----+
//!                                   signed Zone --verify--> Report
//! ```
//!
//! RFC 4033 to 4035, 5155, 6605, 6840, 8080, 8976. Everything but [`ShareSigner`] is a pure
//! function of what it is given, so that all distribution masters come to the same bytes.

mod authority;
mod batch;
mod checked;
mod denial;
mod dnskey;
mod error;
mod keyset;
mod recipe;
mod rrsig;
mod share_signer;
mod terms;
mod verify;
mod zonemd;

#[cfg(test)]
mod tests;

pub use batch::BatchSigner;
pub use checked::Checked;
pub use denial::{Denial, MAX_NSEC3_ITERATIONS, Nsec3};
pub(crate) use dnskey::dnskey_key;
pub use dnskey::{Dnskey, MAX_DNSKEY_ANSWER, Role, dnskey_answer_bytes};
pub use domain::base::iana::SecurityAlgorithm;
pub use error::Error;
pub use keyset::KeySet;
pub(crate) use recipe::is_made_at;
pub use recipe::{Digesting, Recipe, Signing, is_made_by_signer, strip};
pub(crate) use rrsig::Signature;
#[cfg(test)]
pub(crate) use rrsig::Task;
pub use share_signer::ShareSigner;
pub use terms::Terms;
pub(crate) use verify::MAX_PER_SET;
pub use verify::{MAX_PROBLEMS, Problem, Report, verify, verify_with, zone_signer};
pub use zonemd::{DigestCheck, check_zonemd};
