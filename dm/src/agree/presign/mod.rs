//! Presignatures: what a P-256 key signs with, made together ahead of need.
//!
//! A *batch* is some presignatures that are made at once; it has a number, and is led by a DM in
//! turn, as a serial is:
//!
//! ```text
//!   every DM      First      commitments, before it is known who is there
//!   leader        Call       n-b or more of those whose commitments are there
//!   those         Dealt 1    shares for each of the others, signed and sealed to it
//!   those         Second     products with proofs
//!   those         Dealt 2    shares for each of the others
//!   leader        Done       the public parts; certified: they can be used
//!   any of those  Complaint  shares that are wrong, as their dealer signed them: all see who lies
//! ```
//!
//! A batch that fails is never tried again: the next number is, without who lied or was silent. So
//! nobody ever needs two values of one topic.
//!
//! **One presignature, one session.** Two sessions that use one presignature for two messages give
//! the key away. A session names the presignatures that it uses, in ascending order ([`Range`]). A DM
//! votes for it only if all of them lie at or above its *mark* ([`Mark`]), and then its mark is the
//! session's end, on disk before the vote leaves ([`super::Memory::spent`]). Two certified sessions
//! have a quorum of voters each, and two quorums share an honest DM: it voted for one of them first,
//! and the other begins at or above the first one's end. So they have no presignature in common,
//! whoever proposed them, and whoever crashed between. Signers sign for certified sessions only, and
//! take each of their presignatures out of memory when they do.
//!
//! **Done is right** although not everybody can check it. Whoever took part votes for the public
//! parts that it has itself; those who did not, at most b, vote for any, and so may b liars. A quorum
//! is more than 2b. So an honest DM that took part has seen all proofs, and that these are the parts
//! that follow from what was certified.

mod batch;
mod job;
mod judging;
mod pool;
mod range;
mod sealing;
mod spending;
mod steps;
mod values;

pub(super) use batch::Presigning;
pub(super) use job::{PresignJob, Presigned};
pub use range::{Mark, Range};
pub use sealing::{NotSigned, Sealing};
