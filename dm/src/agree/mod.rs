//! Agreement: the DMs decide on one content, sign it with their shares, and end with one zone.
//!
//! Pure: no socket, file, clock or randomness but what is handed in. [`Member`] is one DM's part:
//!
//! ```text
//!   every DM     View        what its source shows                     write once, each DM
//!   proposer     Manifest    what q views have in common               certified by q
//!   every DM     Nonces      commitments for the signatures
//!   proposer     Session     which k DMs sign                          certified before any share
//!   k DMs        Share 0     the zone's signatures
//!   those k      Proof       only if they come out wrong
//!   proposer     Sigs        put together; all verify                  certified by q
//!   k DMs        Share 1     the signature over the ZONEMD
//!   proposer     Signed      the zone's hash; all build and check it   certified by q: published
//! ```
//!
//! Certifying is the store's: a value that q DMs have signed. Here it is [`Member::judge`], which
//! says whether one DM signs, and [`Member::handle_certified`], which takes what q have signed.

mod attempts;
mod chain;
pub(crate) mod codec;
mod content;
mod council;
mod decide;
mod dispute;
mod failed;
mod job;
mod judge;
mod manifest;
mod member;
mod presign;
mod rounds;
mod settings;
mod signing;
mod status;
mod topic;
mod values;
mod view;
mod work;

pub use codec::Malformed;
pub use content::{Content, Delegation, Delta, Hash, SetKey};
pub use council::{Council, Dm};
pub use decide::{Decision, Dissent, decide};
pub use job::{Computed, Job};
pub use manifest::{Change, Manifest};
pub use member::{Action, Member, Memory, Refusal};
pub use presign::{Mark, NotSigned, Range, Sealing};
pub use settings::Settings;
pub use status::Status;
pub use topic::{NoTopic, Topic};
pub use values::SessionValue;
pub use view::{Changes, Link, View, changes_of};
pub use work::{Draft, SignedZone, Work};
