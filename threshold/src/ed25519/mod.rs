//! Ed25519 (RFC 8032) by FROST (RFC 9591), from the crate `frost-ed25519`.
//!
//! A key is made by a dealer ([`deal`]) or by the parties together ([`Dkg`]), so that no one ever
//! has it. Its shares can be replaced by others of the same key: [`Refresh`] makes all old ones
//! worthless, and [`repair`] gives a new party a share in the place of a lost one.
//!
//! Signing takes two rounds; the first (nonces) can be done ahead. The signers are fixed by the
//! session. Signatures differ from session to session: parties that publish them must agree on
//! one.

mod combine;
mod dkg;
mod group;
mod key;
mod order;
mod refresh;
pub mod repair;
mod share;

pub use dkg::{Dkg, DkgDealt, dealing_is_right};
pub use key::Ed25519Key;
pub use refresh::{Refresh, RefreshDealt, refresh_dealing_is_right};
pub use share::{Ed25519Share, deal};
